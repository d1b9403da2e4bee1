package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/api"
)

// upgraded is who served before and who serves now.
type upgraded struct {
	OldPID     int    `json:"old_pid"`
	PID        int    `json:"pid"`
	OldVersion string `json:"old_version"`
	Version    string `json:"version"`
}

func (e *env) upgradeCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Replace the running Trivet by the program that now stands in its place",
		Long: `Upgrade has the running Trivet start the program file anew (the new version, once it is installed
there) and hand its listening sockets over. It returns when the new process serves; the old one then
answers what it has begun, and ends. No connection is refused in between. If the new process does not
come up, the old one goes on.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.ask(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				before, err := c.Status(ctx)
				if err != nil {
					return err
				}
				if err := c.Upgrade(ctx); err != nil {
					return err
				}
				c.Close() // the next question is for the new process
				after, err := c.Status(ctx)
				if err != nil {
					return err
				}
				out := upgraded{OldPID: before.PID, PID: after.PID, OldVersion: before.Version, Version: after.Version}
				return e.result(out, func(w io.Writer) {
					fmt.Fprintf(w, "process %d (%s) has handed over to %d (%s)\n", out.OldPID, out.OldVersion, out.PID, out.Version)
				})
			})
		},
	}
	t.flags(cmd)
	return cmd
}
