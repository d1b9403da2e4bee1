package backupcli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup/repository"
)

func (v *verbs) find() *cobra.Command {
	var p place
	var filter filterFlags
	var snapshots, types, blobs []string
	var newest, oldest, smaller, larger string
	var ignoreCase, long bool
	cmd := &cobra.Command{
		Use:   "find --repo REPO PATTERN...",
		Short: "Find files in snapshots",
		Long: `Find looks in all snapshots, or those selected, for files whose names match a pattern. A pattern with a slash
is matched against the whole path.`,
		Example: "  trivet find -r /mnt/disk/repo -p pw '*.conf'\n  trivet find -r /mnt/disk/repo -p pw --snapshot latest --larger 1G '*'",
	}
	cmd.RunE = p.withRepository(func(cmd *cobra.Command, repo *opened, args []string) error {
		o := repository.FindOptions{Patterns: args, IgnoreCase: ignoreCase}
		if len(args) == 0 && len(blobs) == 0 {
			return usage("trivet find --repo REPO PATTERN...", "no pattern is given")
		}
		for _, t := range types {
			o.Types = append(o.Types, repository.NodeType(t))
		}
		for _, b := range blobs {
			id, err := repository.ParseID(b)
			if err != nil {
				return usage("", "blob %q: %v", b, err)
			}
			o.Blobs = append(o.Blobs, id)
		}
		if err := findBounds(&o, oldest, newest, smaller, larger); err != nil {
			return err
		}
		list, err := filter.choose(cmd, repo, snapshots)
		if err != nil {
			return err
		}
		return runFind(cmd, repo, list, o, long)
	})
	p.flags(cmd)
	filter.flags(cmd)
	f := cmd.Flags()
	f.StringArrayVarP(&snapshots, "snapshot", "s", nil, "look in this snapshot only; may be repeated")
	f.BoolVarP(&ignoreCase, "ignore-case", "i", false, "without regard to case")
	f.StringArrayVar(&types, "type", nil, "only this type: file, dir, symlink, …")
	f.StringArrayVar(&blobs, "blob", nil, "what is made of this blob (64 digits)")
	f.StringVarP(&newest, "newest", "N", "", "changed not after this day, 2006-01-02")
	f.StringVarP(&oldest, "oldest", "O", "", "changed not before this day")
	f.StringVar(&smaller, "smaller", "", "at most so large: 10M")
	f.StringVar(&larger, "larger", "", "at least so large: 1G")
	f.BoolVarP(&long, "long", "l", false, "show mode, owner, size and time")
	return cmd
}

func findBounds(o *repository.FindOptions, oldest, newest, smaller, larger string) error {
	for _, b := range []struct {
		text string
		to   *time.Time
		plus time.Duration
	}{{oldest, &o.Newer, -1}, {newest, &o.Older, 24 * time.Hour}} {
		if b.text == "" {
			continue
		}
		day, err := time.ParseInLocation("2006-01-02", b.text, time.Local)
		if err != nil {
			return usage("write a day like 2006-01-02", "the day %q cannot be read", b.text)
		}
		*b.to = day.Add(b.plus)
	}
	for _, b := range []struct {
		text string
		to   *uint64
	}{{larger, &o.MinBytes}, {smaller, &o.MaxBytes}} {
		if b.text == "" {
			continue
		}
		n, err := parseSize(b.text)
		if err != nil {
			return usage("", "%v", err)
		}
		*b.to = uint64(n)
	}
	return nil
}

func runFind(cmd *cobra.Command, repo *opened, list []*repository.Snapshot, o repository.FindOptions, long bool) error {
	var last *repository.Snapshot
	n := 0
	err := repo.Find(cmd.Context(), list, o, func(f repository.Found) error {
		n++
		if asJSON(cmd) {
			return writeJSON(cmd.OutOrStdout(), struct {
				nodeJSON
				Snapshot string `json:"snapshot"`
			}{nodeForJSON(f.Path, f.Node), f.Snapshot.ID().String()})
		}
		if f.Snapshot != last {
			if last != nil {
				fmt.Fprintln(cmd.OutOrStdout())
			}
			fmt.Fprintf(cmd.OutOrStdout(), "snapshot %s of %s:\n", f.Snapshot.ID().Short(), moment(f.Snapshot.Time))
			last = f.Snapshot
		}
		return writeNode(cmd, f.Path, f.Node, long)
	})
	if err == nil && n == 0 && !asJSON(cmd) {
		say(cmd, "nothing found in %s", plural(len(list), "snapshot"))
	}
	return err
}
