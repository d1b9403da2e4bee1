package backupcli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/retention"
)

func (v *verbs) snapshots() *cobra.Command {
	var p place
	var filter filterFlags
	var latest int
	var by string
	cmd := &cobra.Command{
		Use:     "snapshots --repo REPO [SNAPSHOT...]",
		Short:   "List snapshots",
		Example: "  trivet snapshots -r /mnt/disk/repo -p pw --latest 1",
	}
	cmd.RunE = p.withRepository(func(cmd *cobra.Command, repo *opened, args []string) error {
		list, err := filter.choose(cmd, repo, args)
		if err != nil {
			return err
		}
		grouping, err := retention.ParseBy(by)
		if err != nil {
			return usage("", "%v", err)
		}
		if latest > 0 {
			list = newestOf(list, latest)
		}
		if asJSON(cmd) {
			return writeJSON(cmd.OutOrStdout(), snapshotsJSON(list))
		}
		if by == "" {
			writeSnapshots(cmd, list)
			return nil
		}
		for _, g := range retention.Groups(forRetention(list), grouping) {
			fmt.Fprintln(cmd.OutOrStdout(), groupName(g))
			writeSnapshots(cmd, pick(list, g.Snapshots))
			fmt.Fprintln(cmd.OutOrStdout())
		}
		return nil
	})
	p.flags(cmd)
	filter.flags(cmd)
	cmd.Flags().IntVar(&latest, "latest", 0, "only the newest N of each host and set of paths")
	cmd.Flags().StringVarP(&by, "group-by", "g", "", "group by host, paths and tags")
	return cmd
}

// snapshotJSON is restic's form of a snapshot in lists.
type snapshotJSON struct {
	*repository.Snapshot
	ID      string `json:"id"`
	ShortID string `json:"short_id"`
}

func snapshotsJSON(list []*repository.Snapshot) []snapshotJSON {
	out := make([]snapshotJSON, len(list))
	for i, s := range list {
		out[i] = snapshotJSON{s, s.ID().String(), s.ID().Short()}
	}
	return out
}

func writeSnapshots(cmd *cobra.Command, list []*repository.Snapshot) {
	t := newTable("ID", "Time", "Host", "Tags", "Paths", ">Files", ">Size", ">Added")
	for _, s := range list {
		files, bytes, added := "", "", ""
		if s.Summary != nil {
			files, bytes, added = number(s.Summary.TotalFilesProcessed), size(s.Summary.TotalBytesProcessed), size(s.Summary.DataAddedPacked)
		}
		t.row(s.ID().Short(), moment(s.Time), printable(s.Hostname), printable(strings.Join(visibleTags(s), ",")), printable(shortPaths(s.Paths)), files, bytes, added)
	}
	t.write(cmd.OutOrStdout())
	fmt.Fprintln(cmd.OutOrStdout(), plural(len(list), "snapshot"))
}

func visibleTags(s *repository.Snapshot) []string {
	return slices.DeleteFunc(slices.Clone(s.Tags), repository.IsChainTag)
}

func shortPaths(paths []string) string {
	if len(paths) > 3 {
		return strings.Join(paths[:3], " ") + fmt.Sprintf(" … (%d)", len(paths))
	}
	return strings.Join(paths, " ")
}

// forRetention is what retention needs to know. Hours and days are those of this machine's zone.
func forRetention(list []*repository.Snapshot) []retention.Snapshot {
	out := make([]retention.Snapshot, len(list))
	for i, s := range list {
		out[i] = retention.Snapshot{Time: s.Time.In(time.Local), Hostname: s.Hostname, Paths: s.Paths, Tags: visibleTags(s)}
	}
	return out
}

func pick(list []*repository.Snapshot, positions []int) []*repository.Snapshot {
	out := make([]*repository.Snapshot, len(positions))
	for i, at := range positions {
		out[i] = list[at]
	}
	return out
}

func groupName(g retention.Group) string {
	var parts []string
	if g.Hostname != "" {
		parts = append(parts, "host "+printable(g.Hostname))
	}
	if len(g.Paths) > 0 {
		parts = append(parts, "paths "+printable(strings.Join(g.Paths, " ")))
	}
	if len(g.Tags) > 0 {
		parts = append(parts, "tags "+printable(strings.Join(g.Tags, ",")))
	}
	if len(parts) == 0 {
		return "all snapshots:"
	}
	return strings.Join(parts, ", ") + ":"
}

// newestOf keeps the newest n of each host and set of paths.
func newestOf(list []*repository.Snapshot, n int) []*repository.Snapshot {
	keep := map[*repository.Snapshot]bool{}
	for _, g := range retention.Groups(forRetention(list), retention.By{Host: true, Paths: true}) {
		members := pick(list, g.Snapshots)
		slices.SortStableFunc(members, func(a, b *repository.Snapshot) int { return b.Time.Compare(a.Time) })
		for _, s := range members[:min(n, len(members))] {
			keep[s] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(s *repository.Snapshot) bool { return !keep[s] })
}
