package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/api"
)

func (e *env) reloadCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the running Trivet load its configuration file again",
		Long: `Reload has the running Trivet load its configuration file again, and returns when that is in force. A
file that is not valid changes nothing, and everything that is wrong with it is shown. Connections,
health and statistics of what stays are untouched.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.ask(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				if err := c.Reload(ctx); err != nil {
					return err
				}
				s, err := c.Status(ctx)
				if err != nil {
					return err
				}
				return e.result(s.File, func(w io.Writer) { fmt.Fprintf(w, "%s is in force\n", s.File.Path) })
			})
		},
	}
	t.flags(cmd)
	return cmd
}
