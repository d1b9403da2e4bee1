package backupcli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup/repository"
)

// pruneFlags say how thorough to be.
type pruneFlags struct {
	maxUnused, maxRepack string
	repackUncompressed   bool
	keepCondemned        time.Duration
}

func (p *pruneFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.maxUnused, "max-unused", "5%", "how much of the repository may stay unused, to save copying; 0 for none")
	f.StringVar(&p.maxRepack, "max-repack-size", "", "copy at most so much in one run: 10G")
	f.BoolVar(&p.repackUncompressed, "repack-uncompressed", false, "compress what was stored before the format knew compression")
	f.DurationVar(&p.keepCondemned, "keep-condemned", 0, "wait at least so long before unneeded files are deleted (for stores whose listings lag)")
}

func (p *pruneFlags) pruneOptions() (o repository.PruneOptions, err error) {
	percent, err := strconv.ParseFloat(strings.TrimSuffix(p.maxUnused, "%"), 64)
	if err != nil || percent < 0 || percent > 100 {
		return o, usage("write --max-unused 5%", "the share %q cannot be read", p.maxUnused)
	}
	o = repository.PruneOptions{MaxUnusedPercent: percent, RepackUncompressed: p.repackUncompressed, KeepCondemned: p.keepCondemned}
	if percent == 0 {
		o.MaxUnusedPercent = -1
	}
	if p.maxRepack != "" {
		if o.MaxRepackBytes, err = parseSize(p.maxRepack); err != nil {
			return o, usage("", "%v", err)
		}
	}
	return o, nil
}

func (v *verbs) prune() *cobra.Command {
	var p place
	var flags pruneFlags
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use:   "prune --repo REPO",
		Short: "Remove data that no snapshot needs",
		Long: `Prune removes what no snapshot needs. It runs beside backups: unneeded files are condemned first, and deleted by this
or a later run when no backup can count on them any more. It shows its plan, and asks, first.`,
		Example: "  trivet prune -r /mnt/disk/repo -p pw\n  trivet prune -r s3://backups/web -p pw --max-unused 10% --yes",
		Args:    exactly(),
	}
	cmd.RunE = p.withRepository(func(cmd *cobra.Command, repo *opened, _ []string) error {
		o, err := flags.pruneOptions()
		if err != nil {
			return err
		}
		o.DryRun = true
		plan, err := repo.Prune(cmd.Context(), o)
		if err != nil {
			return err
		}
		if dryRun && asJSON(cmd) {
			return writeJSON(cmd.OutOrStdout(), pruneJSON(plan, true))
		}
		say(cmd, "needed:   %s, %s", plural(plan.NeededBlobs, "blob"), size(plan.NeededBytes))
		say(cmd, "unneeded: %s, %s", plural(plan.UnneededBlobs, "blob"), size(plan.UnneededBytes))
		say(cmd, "to copy:  %s, %s", plural(plan.RepackedPacks, "pack"), size(plan.RepackedBytes))
		say(cmd, "to go:    %s, %s", plural(plan.CondemnedPacks+plan.DeletedPacks, "pack"), size(plan.CondemnedBytes+plan.DeletedBytes))
		if dryRun || plan.CondemnedPacks+plan.DeletedPacks+plan.RepackedPacks+plan.UnindexedPacks+plan.RevivedPacks == 0 {
			return nil
		}
		if err := confirm(cmd, yes); err != nil {
			return err
		}
		o.DryRun = false
		return runPrune(cmd, repo, o)
	})
	p.flags(cmd)
	flags.flags(cmd)
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "show the plan and change nothing")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func pruneJSON(r repository.PruneResult, dryRun bool) map[string]any {
	return map[string]any{
		"message_type": "summary", "dry_run": dryRun, "needed_blobs": r.NeededBlobs, "needed_bytes": r.NeededBytes, "unneeded_blobs": r.UnneededBlobs,
		"unneeded_bytes": r.UnneededBytes, "repacked_packs": r.RepackedPacks, "condemned_packs": r.CondemnedPacks, "deleted_packs": r.DeletedPacks,
		"deleted_bytes": r.DeletedBytes, "waiting_for_sessions": r.WaitingFor, "postponed": r.Postponed != nil,
	}
}

func runPrune(cmd *cobra.Command, repo *opened, o repository.PruneOptions) error {
	r, err := repo.Prune(cmd.Context(), o)
	if err != nil {
		return err
	}
	if asJSON(cmd) {
		return writeJSON(cmd.OutOrStdout(), pruneJSON(r, false))
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "copied %s (%s), condemned %s (%s), deleted %s (%s)\n", plural(r.RepackedPacks, "pack"), size(r.RepackedBytes),
		plural(r.CondemnedPacks, "pack"), size(r.CondemnedBytes), plural(r.DeletedPacks, "pack"), size(r.DeletedBytes))
	if r.WaitingFor > 0 {
		fmt.Fprintf(out, "%s must end before condemned packs are deleted: the next prune does it\n", plural(r.WaitingFor, "session"))
	}
	if r.Postponed != nil {
		fmt.Fprintf(out, "the index is in use by %v: the next prune goes on\n", *r.Postponed)
	}
	return nil
}
