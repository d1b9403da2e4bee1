package backupcli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup/repository"
)

func (v *verbs) diff() *cobra.Command {
	var p place
	var filter filterFlags
	var metadata bool
	cmd := &cobra.Command{
		Use:   "diff --repo REPO SNAPSHOT[:PATH] SNAPSHOT[:PATH]",
		Short: "Show how two snapshots differ",
		Long: `Diff lists what was added (+), removed (-), changed in content (M) or in type (T) between two snapshots, and with
--metadata also what has another owner, mode, time or attribute (U).`,
		Example: "  trivet diff -r /mnt/disk/repo -p pw 1f3a92bc latest",
		Args:    exactly("SNAPSHOT", "SNAPSHOT"),
	}
	cmd.RunE = p.withRepository(func(cmd *cobra.Command, repo *opened, args []string) error {
		a, _, treeA, err := filter.directory(cmd, repo, args[0])
		if err != nil {
			return err
		}
		b, _, treeB, err := filter.directory(cmd, repo, args[1])
		if err != nil {
			return err
		}
		if !asJSON(cmd) {
			say(cmd, "from %s of %s to %s of %s", a.ID().Short(), moment(a.Time), b.ID().Short(), moment(b.Time))
		}
		return runDiff(cmd, repo, treeA, treeB, metadata)
	})
	p.flags(cmd)
	filter.flags(cmd)
	cmd.Flags().BoolVar(&metadata, "metadata", false, "also show what differs only in its metadata")
	return cmd
}

// diffTotals counts one side of a comparison.
type diffTotals struct {
	Files  int    `json:"files"`
	Dirs   int    `json:"dirs"`
	Others int    `json:"others"`
	Bytes  uint64 `json:"bytes"`
}

func (t *diffTotals) add(n *repository.Node) {
	switch n.Type {
	case repository.TypeFile:
		t.Files++
		t.Bytes += n.Size
	case repository.TypeDir:
		t.Dirs++
	default:
		t.Others++
	}
}

func runDiff(cmd *cobra.Command, repo *opened, a, b repository.ID, metadata bool) error {
	var added, removed diffTotals
	changed := 0
	err := repo.Diff(cmd.Context(), a, b, func(c repository.Change) error {
		switch c.Kind {
		case repository.Added:
			added.add(c.New)
		case repository.Removed:
			removed.add(c.Old)
		case repository.MetaChanged:
			if !metadata {
				return nil
			}
		default:
			if c.New.Type == repository.TypeFile {
				changed++
			}
		}
		name := c.Path
		if n := c.New; n != nil && n.Type == repository.TypeDir || n == nil && c.Old.Type == repository.TypeDir {
			name += "/"
		}
		if asJSON(cmd) {
			return writeJSON(cmd.OutOrStdout(), map[string]string{"message_type": "change", "path": name, "modifier": string(c.Kind)})
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%c    %s\n", c.Kind, printable(name))
		return err
	})
	if err != nil {
		return err
	}
	if asJSON(cmd) {
		return writeJSON(cmd.OutOrStdout(), map[string]any{"message_type": "statistics", "changed_files": changed, "added": added, "removed": removed})
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "\nfiles:       %5d new, %5d removed, %5d changed\n", added.Files, removed.Files, changed)
	fmt.Fprintf(out, "directories: %5d new, %5d removed\n", added.Dirs, removed.Dirs)
	fmt.Fprintf(out, "others:      %5d new, %5d removed\n", added.Others, removed.Others)
	fmt.Fprintf(out, "bytes:       %s new, %s removed\n", size(added.Bytes), size(removed.Bytes))
	return nil
}
