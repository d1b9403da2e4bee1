package backupcli

import (
	"fmt"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup/repository"
)

// filterFlags select snapshots.
type filterFlags struct {
	hosts, paths, tags []string
}

func (f *filterFlags) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.hosts, "host", "H", nil, "only snapshots of this machine; may be repeated")
	flags.StringArrayVar(&f.paths, "path", nil, "only snapshots that have this path; may be repeated")
	flags.StringArrayVar(&f.tags, "tag", nil, "only snapshots with all of these tags, separated by commas; may be repeated")
}

func (f *filterFlags) filter() repository.SnapshotFilter {
	out := repository.SnapshotFilter{Hosts: f.hosts, Paths: f.paths}
	for _, list := range f.tags {
		out.Tags = append(out.Tags, splitTags([]string{list}))
	}
	return out
}

// choose gives the snapshots named, or all that the filter selects. Some may be unreadable: that is said.
func (f *filterFlags) choose(cmd *cobra.Command, repo *opened, names []string) ([]*repository.Snapshot, error) {
	if len(names) > 0 {
		var out []*repository.Snapshot
		for _, name := range names {
			s, err := repo.FindSnapshot(cmd.Context(), name, f.filter())
			if err != nil {
				return nil, fmt.Errorf("snapshot %s: %w", name, err)
			}
			out = append(out, s)
		}
		return out, nil
	}
	all, err := repo.Snapshots(cmd.Context())
	if err != nil && len(all) == 0 {
		return nil, err
	}
	if err != nil {
		say(cmd, "warning: %v", err)
	}
	filter := f.filter()
	var out []*repository.Snapshot
	for _, s := range all {
		if filter.Match(s) {
			out = append(out, s)
		}
	}
	return out, nil
}

// tree finds a snapshot by SNAPSHOT[:PATH] and the tree at that path.
func (f *filterFlags) tree(cmd *cobra.Command, repo *opened, name string) (*repository.Snapshot, string, *repository.Node, error) {
	name, sub, _ := strings.Cut(name, ":")
	s, err := repo.FindSnapshot(cmd.Context(), name, f.filter())
	if err != nil {
		return nil, "", nil, fmt.Errorf("snapshot %s: %w", name, err)
	}
	if s.Tree == nil {
		return nil, "", nil, fmt.Errorf("snapshot %s: %w: it has no tree", s.ID().Short(), repository.ErrDamaged)
	}
	sub = path.Join("/", sub)
	node, err := repo.Lookup(cmd.Context(), *s.Tree, sub)
	if err != nil {
		return nil, "", nil, fmt.Errorf("snapshot %s: %s: %w", s.ID().Short(), sub, err)
	}
	return s, sub, node, nil
}

// directory is tree for what must be a directory.
func (f *filterFlags) directory(cmd *cobra.Command, repo *opened, name string) (*repository.Snapshot, string, repository.ID, error) {
	s, sub, node, err := f.tree(cmd, repo, name)
	if err != nil {
		return nil, "", repository.ID{}, err
	}
	if node.Subtree == nil {
		return nil, "", repository.ID{}, fmt.Errorf("snapshot %s: %s is no directory", s.ID().Short(), sub)
	}
	return s, sub, *node.Subtree, nil
}
