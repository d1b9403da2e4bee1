package backupcli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup/repository"
)

func (v *verbs) copy() *cobra.Command {
	var p place
	var filter filterFlags
	var from, fromFile, fromPassword, fromCommand string
	cmd := &cobra.Command{
		Use:   "copy --from-repo REPO --repo REPO [SNAPSHOT...]",
		Short: "Copy snapshots into another repository, sealed with its own key",
		Long: `Copy brings snapshots, all or those selected, from one repository into another one. What was copied before is not
copied again. It is also the way to move from restic: the source may be any repository that restic made.`,
		Example: "  trivet copy --from-repo /mnt/old --from-password-file old.pw -r s3://backups/web -p pw",
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		source := p
		source.location = first(from, "TRIVET_FROM_REPOSITORY", "RESTIC_FROM_REPOSITORY")
		source.locationFile = first(fromFile, "RESTIC_FROM_REPOSITORY_FILE")
		if source.location == "" && source.locationFile == "" {
			return usage("add --from-repo REPO", "no source is named")
		}
		source.passwordFile = first(fromPassword, "TRIVET_FROM_PASSWORD_FILE", "RESTIC_FROM_PASSWORD_FILE")
		source.passwordCommand = first(fromCommand, "RESTIC_FROM_PASSWORD_COMMAND")
		if source.passwordFile == "" && source.passwordCommand == "" && os.Getenv("RESTIC_FROM_PASSWORD") == "" {
			source.passwordFile, source.passwordCommand = p.passwordFile, p.passwordCommand
		}
		src, err := source.openFrom(cmd)
		if err != nil {
			return fmt.Errorf("the source: %w", err)
		}
		defer src.close()
		return p.withRepository(func(cmd *cobra.Command, dst *opened, args []string) error {
			return runCopy(cmd, &filter, src, dst, args)
		})(cmd, args)
	}
	p.flags(cmd)
	filter.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&from, "from-repo", "", "where the snapshots are ($TRIVET_FROM_REPOSITORY, $RESTIC_FROM_REPOSITORY)")
	f.StringVar(&fromFile, "from-repository-file", "", "read it from a file")
	f.StringVar(&fromPassword, "from-password-file", "", "file with its password; that of --password-file if not given")
	f.StringVar(&fromCommand, "from-password-command", "", "program that prints its password")
	return cmd
}

// openFrom opens the source; its password may be in an environment variable of its own.
func (p *place) openFrom(cmd *cobra.Command) (*opened, error) {
	location, err := p.where()
	if err != nil {
		return nil, err
	}
	text := os.Getenv("RESTIC_FROM_PASSWORD")
	if text == "" || p.passwordFile != "" || p.passwordCommand != "" {
		return p.openAt(cmd, location)
	}
	options, err := p.options()
	if err != nil {
		return nil, err
	}
	st, err := p.openStore(cmd, location, false)
	if err != nil {
		return nil, err
	}
	repo, err := repository.Open(cmd.Context(), st, text, options)
	if err != nil {
		closeStore(st)
		return nil, explainOpen(err, location)
	}
	return &opened{repo, st, location}, nil
}

func runCopy(cmd *cobra.Command, filter *filterFlags, src, dst *opened, args []string) error {
	list, err := filter.choose(cmd, src, args)
	if err != nil {
		return err
	}
	stats, err := repository.Copy(cmd.Context(), dst.Repository, src.Repository, list, repository.CopyOptions{
		Done: func(s *repository.Snapshot, copied repository.ID) {
			switch {
			case asJSON(cmd):
				_ = writeJSON(cmd.OutOrStdout(), map[string]any{"source": s.ID(), "copied": copied, "skipped": copied.IsZero()})
			case copied.IsZero():
				say(cmd, "snapshot %s of %s is there already", s.ID().Short(), moment(s.Time))
			default:
				fmt.Fprintf(cmd.OutOrStdout(), "snapshot %s of %s copied as %s\n", s.ID().Short(), moment(s.Time), copied.Short())
			}
		},
	})
	if err != nil {
		return err
	}
	if !asJSON(cmd) {
		fmt.Fprintf(cmd.OutOrStdout(), "copied %s, %s new\n", plural(stats.Snapshots, "snapshot"), size(stats.Bytes))
	}
	return nil
}
