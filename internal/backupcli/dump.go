package backupcli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files"
)

func (v *verbs) dump() *cobra.Command {
	var p place
	var filter filterFlags
	var archive, target string
	cmd := &cobra.Command{
		Use:   "dump --repo REPO SNAPSHOT PATH",
		Short: "Write a file of a snapshot, or a directory as an archive, to the standard output",
		Example: `  trivet dump -r /mnt/disk/repo -p pw latest /etc/fstab
  trivet dump -r /mnt/disk/repo -p pw latest /home/anna > anna.tar`,
		Args: exactly("SNAPSHOT", "PATH"),
	}
	cmd.RunE = p.withRepository(func(cmd *cobra.Command, repo *opened, args []string) (err error) {
		_, sub, node, err := filter.tree(cmd, repo, args[0])
		if err != nil {
			return err
		}
		if node.Subtree == nil {
			return fmt.Errorf("%s is no directory", sub)
		}
		name := path.Join("/", args[1])
		if node, err = repo.Lookup(cmd.Context(), *node.Subtree, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		out := cmd.OutOrStdout()
		if target != "" {
			f, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			out = f
		} else if node.Subtree != nil && isTerminal(out) {
			return usage("write it into a file: > archive."+archive, "an archive is nothing for a terminal")
		}
		return dumpNode(cmd, repo, node, name, archive, out)
	})
	p.flags(cmd)
	filter.flags(cmd)
	cmd.Flags().StringVarP(&archive, "archive", "a", "tar", "form of a directory: tar or zip")
	cmd.Flags().StringVarP(&target, "target", "t", "", "write into this file instead")
	return cmd
}

func dumpNode(cmd *cobra.Command, repo *opened, node *repository.Node, name, archive string, out io.Writer) error {
	switch {
	case node.Type == repository.TypeFile:
		f, err := repo.OpenFile(cmd.Context(), node)
		if err != nil {
			return err
		}
		_, err = f.WriteTo(out)
		return err
	case node.Subtree == nil:
		return fmt.Errorf("%s is a %s, which has no content", name, node.Type)
	case archive == "tar":
		return files.WriteTar(cmd.Context(), repo.Repository, *node.Subtree, out)
	case archive == "zip":
		return files.WriteZip(cmd.Context(), repo.Repository, *node.Subtree, out)
	}
	return usage("write --archive tar or zip", "the archive %q is not known", archive)
}
