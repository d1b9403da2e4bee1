package backupcli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup/mountfs"
	"github.com/trivet-ha/trivet/backup/repository"
)

func (v *verbs) mount() *cobra.Command {
	var p place
	var filter filterFlags
	var allowOther, noDefaults bool
	cmd := &cobra.Command{
		Use:   "mount --repo REPO DIR",
		Short: "Show snapshots as directories (FUSE), until interrupted",
		Long: `Mount shows the repository's snapshots below a directory: ids/, snapshots/ by time, hosts/ and tags/. Files are read when
they are opened. It ends with Ctrl-C, or when the directory is unmounted.`,
		Example: "  trivet mount -r /mnt/disk/repo -p pw /mnt/backups",
		Args:    exactly("DIR"),
	}
	cmd.RunE = p.withRepository(func(cmd *cobra.Command, repo *opened, args []string) error {
		info, err := os.Stat(args[0])
		if err != nil || !info.IsDir() {
			return usage("make it: mkdir "+args[0], "%s is no directory", args[0])
		}
		lock, err := repo.Lock(cmd.Context(), repository.Shared)
		if err != nil {
			return err
		}
		defer func() { _ = lock.Unlock() }()
		return mountfs.Run(lock.Context(), repo.Repository, args[0], mountfs.Options{
			Filter: filter.filter(), AllowOther: allowOther, NoDefaultPermissions: noDefaults,
			Ready: func() {
				say(cmd, "snapshots are at %s; Ctrl-C, or umount, ends it", args[0])
				if asJSON(cmd) {
					_ = writeJSON(cmd.OutOrStdout(), map[string]string{"message_type": "mounted", "path": args[0]})
				}
			},
			Report: func(err error) { fmt.Fprintln(cmd.ErrOrStderr(), "mount:", err) },
		})
	})
	p.flags(cmd)
	filter.flags(cmd)
	cmd.Flags().BoolVar(&allowOther, "allow-other", false, "let other users look, too")
	cmd.Flags().BoolVar(&noDefaults, "no-default-permissions", false, "let everybody who may look read every file, whatever its mode says")
	return cmd
}
