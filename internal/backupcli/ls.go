package backupcli

import (
	"fmt"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup/repository"
)

func (v *verbs) ls() *cobra.Command {
	var p place
	var filter filterFlags
	var long, recursive bool
	cmd := &cobra.Command{
		Use:   "ls --repo REPO SNAPSHOT [DIR...]",
		Short: "List the files of a snapshot",
		Long: `Ls lists all files of a snapshot, or those in the directories named; with --recursive also those below
them.`,
		Example: "  trivet ls -r /mnt/disk/repo -p pw latest\n  trivet ls -r /mnt/disk/repo -p pw -l latest /etc",
		Args:    atLeast("SNAPSHOT"),
	}
	cmd.RunE = p.withRepository(func(cmd *cobra.Command, repo *opened, args []string) error {
		s, sub, tree, err := filter.directory(cmd, repo, args[0])
		if err != nil {
			return err
		}
		if asJSON(cmd) {
			if err := writeJSON(cmd.OutOrStdout(), lsHead{snapshotJSON{s, s.ID().String(), s.ID().Short()}, "snapshot"}); err != nil {
				return err
			}
		} else {
			say(cmd, "snapshot %s of %s", s.ID().Short(), moment(s.Time))
		}
		write := func(name string, n *repository.Node) error { return writeNode(cmd, name, n, long) }
		if len(args) == 1 {
			return repo.Walk(cmd.Context(), tree, func(name string, n *repository.Node) error { return write(path.Join(sub, name), n) })
		}
		for _, dir := range args[1:] {
			if err := lsDir(cmd, repo, tree, path.Join("/", dir), recursive, write); err != nil {
				return err
			}
		}
		return nil
	})
	p.flags(cmd)
	filter.flags(cmd)
	cmd.Flags().BoolVarP(&long, "long", "l", false, "show mode, owner, size and time")
	cmd.Flags().BoolVarP(&recursive, "recursive", "R", false, "list what is below the directories, too")
	return cmd
}

type lsHead struct {
	snapshotJSON
	Type string `json:"struct_type"`
}

func lsDir(cmd *cobra.Command, repo *opened, tree repository.ID, dir string, recursive bool, write func(string, *repository.Node) error) error {
	n, err := repo.Lookup(cmd.Context(), tree, dir)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if n.Subtree == nil {
		return write(dir, n)
	}
	return repo.Walk(cmd.Context(), *n.Subtree, func(name string, n *repository.Node) error {
		if err := write(path.Join(dir, name), n); err != nil {
			return err
		}
		if n.Type == repository.TypeDir && !recursive {
			return repository.SkipDir
		}
		return nil
	})
}

// nodeJSON is restic's form of a file in lists.
type nodeJSON struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	Path        string `json:"path"`
	UID         uint32 `json:"uid"`
	GID         uint32 `json:"gid"`
	Size        uint64 `json:"size,omitempty"`
	Mode        uint32 `json:"mode"`
	Permissions string `json:"permissions"`
	ModTime     string `json:"mtime"`
	AccessTime  string `json:"atime"`
	ChangeTime  string `json:"ctime"`
	Inode       uint64 `json:"inode,omitempty"`
	LinkTarget  string `json:"linktarget,omitempty"`
	StructType  string `json:"struct_type"`
}

func nodeForJSON(name string, n *repository.Node) nodeJSON {
	const layout = "2006-01-02T15:04:05.999999999Z07:00"
	return nodeJSON{
		Name: n.Name, Type: string(n.Type), Path: name, UID: n.UID, GID: n.GID, Size: n.Size, Mode: uint32(n.Mode), Permissions: n.Mode.String(),
		ModTime: n.ModTime.Format(layout), AccessTime: n.AccessTime.Format(layout), ChangeTime: n.ChangeTime.Format(layout),
		Inode: n.Inode, LinkTarget: n.LinkTarget, StructType: "node",
	}
}

func writeNode(cmd *cobra.Command, name string, n *repository.Node, long bool) error {
	out := cmd.OutOrStdout()
	if asJSON(cmd) {
		return writeJSON(out, nodeForJSON(name, n))
	}
	line := printable(name)
	if long {
		target := ""
		if n.LinkTarget != "" {
			target = " -> " + printable(n.LinkTarget)
		}
		owner := strings.TrimSuffix(fmt.Sprintf("%s:%s", orNumber(n.User, n.UID), orNumber(n.Group, n.GID)), ":")
		line = fmt.Sprintf("%s %-17s %12d %s %s%s", n.Mode, owner, n.Size, moment(n.ModTime), line, target)
	}
	_, err := fmt.Fprintln(out, line)
	return err
}

func orNumber(name string, id uint32) string {
	if name == "" {
		return fmt.Sprint(id)
	}
	return printable(name)
}
