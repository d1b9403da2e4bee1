package cli

import (
	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/internal/demo"
)

func (e *env) demoCommand() *cobra.Command {
	var opt demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show it all on this machine: a shop, its customers, and trouble",
		Long: `Demo starts three copies of a small shop, Trivet in front of them and customers who do not stop coming.
It kills one shop, hangs one, drains one, brings them back and reloads the configuration, tells what
happens as it happens, and ends with a table of how every request fared. It takes less than a minute,
needs neither root nor a network, and leaves nothing behind.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opt.JSON = e.json
			if e.json {
				opt.Talk = e.Err
			}
			return demo.Run(cmd.Context(), e.Out, opt)
		},
	}
	cmd.Flags().Float64Var(&opt.Rate, "rate", 0, "requests per second (default 400)")
	cmd.Flags().BoolVar(&opt.Keep, "keep", false, "leave everything running at the end, for a look around")
	return cmd
}

// demoShopCommand is a shop of the demo: it is called by the demo only.
func (e *env) demoShopCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo-shop", Hidden: true, DisableFlagParsing: true,
		Short: "A shop of the demo",
		RunE:  func(cmd *cobra.Command, args []string) error { return demo.Shop(cmd.Context(), args) },
	}
}
