package backupcli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup/repository"
)

func (v *verbs) tag() *cobra.Command {
	var p place
	var filter filterFlags
	var set, add, remove []string
	cmd := &cobra.Command{
		Use:     "tag --repo REPO [SNAPSHOT...]",
		Short:   "Change the tags of snapshots",
		Long:    "Tag changes the tags of the snapshots named, or of all that are selected. A changed snapshot gets a new ID.",
		Example: "  trivet tag -r /mnt/disk/repo -p pw --add release latest",
	}
	cmd.RunE = p.withRepository(func(cmd *cobra.Command, repo *opened, args []string) error {
		set, add, remove := splitTags(set), splitTags(add), splitTags(remove)
		if !cmd.Flags().Changed("set") && len(add) == 0 && len(remove) == 0 {
			return usage("add --set, --add or --remove", "nothing is to be changed")
		}
		list, err := filter.choose(cmd, repo, args)
		if err != nil {
			return err
		}
		changed := 0
		for _, s := range list {
			tags := newTags(s, cmd.Flags().Changed("set"), set, add, remove)
			if slices.Equal(tags, s.Tags) {
				continue
			}
			id, err := repo.RewriteSnapshot(cmd.Context(), s, func(s *repository.Snapshot) { s.Tags = tags })
			if err != nil {
				return fmt.Errorf("snapshot %s: %w", s.ID().Short(), err)
			}
			changed++
			if asJSON(cmd) {
				if err := writeJSON(cmd.OutOrStdout(), map[string]any{"message_type": "changed", "old_snapshot_id": s.ID(), "new_snapshot_id": id}); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(cmd.OutOrStdout(), "snapshot %s is now %s\n", s.ID().Short(), id.Short())
			}
		}
		if !asJSON(cmd) {
			say(cmd, "changed %s", plural(changed, "snapshot"))
		}
		return nil
	})
	p.flags(cmd)
	filter.flags(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&set, "set", nil, "replace all tags by these")
	f.StringArrayVar(&add, "add", nil, "add tags, separated by commas")
	f.StringArrayVar(&remove, "remove", nil, "remove tags")
	return cmd
}

// newTags are the tags after the change. Those that the repository keeps for itself stay.
func newTags(s *repository.Snapshot, replace bool, set, add, remove []string) []string {
	var tags []string
	for _, t := range s.Tags {
		if repository.IsChainTag(t) || !replace && !slices.Contains(remove, t) {
			tags = append(tags, t)
		}
	}
	for _, t := range append(slices.Clone(set), add...) {
		if !slices.Contains(tags, t) {
			tags = append(tags, t)
		}
	}
	return tags
}
