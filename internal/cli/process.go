package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/fault/supervise"
)

// processVerbs is the state that the verbs of `trivet process` share.
type processVerbs struct {
	*env
	target
	yes  bool
	wait time.Duration
}

func (e *env) processCommand() *cobra.Command {
	v := &processVerbs{env: e}
	cmd := &cobra.Command{
		Use:   "process",
		Short: "Show, restart, roll, stop and start the processes that Trivet keeps running",
		Long: `Process shows the processes of endpoints that are commands (run: in the configuration file), and
steers them. A pool's processes are numbered from 0.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	v.flags(cmd)
	cmd.AddCommand(v.list(), v.restart(), v.roll(), v.stop(), v.start())
	return cmd
}

func (v *processVerbs) list() *cobra.Command {
	return &cobra.Command{
		Use:               "list [POOL]",
		Short:             "Show processes, how they are and why",
		Example:           "  trivet process list\n  trivet process list shop",
		ValidArgsFunction: v.completePools,
		Args:              func(cmd *cobra.Command, args []string) error { return atMost(1, cmd, args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			return v.ask(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				list, err := c.Processes(ctx, strings.Join(args, ""))
				if err != nil {
					return err
				}
				return v.result(list, func(w io.Writer) { writeProcesses(w, painterFor(w), list, time.Now()) })
			})
		},
	}
}

func (v *processVerbs) restart() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restart POOL [NUMBER]",
		Short: "End processes and start them again; resume what was given up",
		Long: `Restart ends processes, drained first, and starts them again: one after the other, or the one with
the number. What was given up, stopped, or waits is started at once.`,
		Example:           "  trivet process restart shop\n  trivet process restart shop 2",
		Args:              processArgs,
		ValidArgsFunction: v.completePools,
		RunE:              func(cmd *cobra.Command, args []string) error { return v.change(cmd.Context(), api.Restart, args) },
	}
	v.waitFlag(cmd)
	return cmd
}

func (v *processVerbs) roll() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "roll POOL",
		Short: "Replace all processes by new ones, without losing a request",
		Long: `Roll replaces the processes of a pool one after the other: a new one is started, and when it is ready
the old one is drained and stopped. It is how a new version of the program that stands in the same
place comes into service. If a new one does not come up, the old ones stay.

With --wait it returns when all are replaced, and fails if they are not.`,
		Example:           "  trivet process roll shop --wait 5m",
		Args:              exactly("POOL"),
		ValidArgsFunction: v.completePools,
		RunE:              func(cmd *cobra.Command, args []string) error { return v.change(cmd.Context(), api.Roll, args) },
	}
	v.waitFlag(cmd)
	return cmd
}

func (v *processVerbs) stop() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stop POOL [NUMBER]",
		Short: "Stop processes, drained first, until they are started",
		Long: `Stop ends processes: all of the pool, or the one with the number. Requests in flight end first. They
stay stopped, over reloads and upgrades too, until trivet process start or restart.`,
		Example:           "  trivet process stop shop 2",
		Args:              processArgs,
		ValidArgsFunction: v.completePools,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				v.say("stop all processes of pool %s: unless it has other endpoints, its requests are answered with 503.", args[0])
				if err := v.confirm(v.yes); err != nil {
					return err
				}
			}
			return v.change(cmd.Context(), api.Stop, args)
		},
	}
	cmd.Flags().BoolVarP(&v.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (v *processVerbs) start() *cobra.Command {
	return &cobra.Command{
		Use:               "start POOL [NUMBER]",
		Short:             "Start processes that were stopped or given up",
		Example:           "  trivet process start shop",
		Args:              processArgs,
		ValidArgsFunction: v.completePools,
		RunE:              func(cmd *cobra.Command, args []string) error { return v.change(cmd.Context(), api.Start, args) },
	}
}

func (v *processVerbs) waitFlag(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&v.wait, "wait", 0, "wait until all are ready again, this long at most")
}

func atMost(most int, cmd *cobra.Command, args []string) error {
	if len(args) > most {
		return usage("does not know what to do with "+quoteAll(args[most:]), "write "+cmd.UseLine())
	}
	return nil
}

func processArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usage("lacks POOL", "write "+cmd.UseLine())
	case len(args) > 2:
		return atMost(2, cmd, args)
	case len(args) == 2:
		if n, err := strconv.Atoi(args[1]); err != nil || n < 0 {
			return usage(strconv.Quote(args[1])+" is no number of a process", "trivet process list shows them, from 0")
		}
	}
	return nil
}

func (v *processVerbs) change(ctx context.Context, do api.ProcessVerb, args []string) error {
	change := api.ProcessChange{Do: do}
	if len(args) == 2 {
		n, _ := strconv.Atoi(args[1]) // processArgs has looked
		change.Replica = &n
	}
	return v.ask(ctx, func(ctx context.Context, c *api.Client) error {
		list, err := c.ChangeProcesses(ctx, args[0], change)
		if err == nil && v.wait > 0 {
			list, err = v.waitReady(ctx, c, args[0], do)
		}
		if err != nil {
			return err
		}
		return v.result(list, func(w io.Writer) { writeProcesses(w, painterFor(w), list, time.Now()) })
	})
}

// waitReady waits until every process of the pool is ready and none is to be replaced.
func (v *processVerbs) waitReady(ctx context.Context, c *api.Client, pool string, do api.ProcessVerb) ([]api.Process, error) {
	late, cancel := context.WithTimeout(ctx, v.wait)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-late.Done():
			return nil, fail(fmt.Errorf("not all processes are ready after %s", v.wait), "trivet process list "+pool+" shows how it goes")
		case <-tick.C:
		}
		list, err := c.Processes(ctx, pool)
		if err != nil {
			return nil, err
		}
		if settled(list) {
			if do == api.Roll && differ(list) {
				return nil, fail(errors.New("the new version did not come up; the old one stays"), "trivet events --pool "+pool+" --kind 'process.*' says why")
			}
			return list, nil
		}
		if gaveUp(list) {
			return nil, fail(errors.New("processes were given up"), "trivet process list "+pool+" says why")
		}
	}
}

// settled reports whether nothing more is about to change.
func settled(list []api.Process) bool {
	for _, p := range list {
		if p.State != "ready" && p.State != "stopped" || p.Replacement != "" || p.Rolling {
			return false
		}
	}
	return true
}

// differ reports whether a roll has left two versions, or the old one.
func differ(list []api.Process) bool {
	for _, p := range list {
		if p.Version != p.Wanted {
			return true
		}
	}
	return false
}

func gaveUp(list []api.Process) bool {
	for _, p := range list {
		if p.State == "failed" {
			return true
		}
	}
	return false
}

func writeProcesses(w io.Writer, p painter, list []api.Process, now time.Time) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no processes: no endpoint is run: {command: ...}")
		return
	}
	var t table
	t.heading("PROCESS", "STATE", ">PID", "ADDRESS", ">VERSION", ">UP FOR", ">RESTARTS", "LAST END")
	for i := range list {
		one := &list[i]
		pid, up := cell{text: "-", right: true}, cell{text: "-", right: true}
		if one.PID > 0 {
			pid.text = strconv.Itoa(one.PID)
			up.text = ago(now.Sub(one.Started))
		}
		t.row(text(one.Name), processState(one, now), pid, text(dash(one.Address)), number(one.Version), up, number(one.Restarts), cell{text: firstLine(one.LastExit), color: dim})
	}
	t.write(w, p)
}

func processState(p *api.Process, now time.Time) cell {
	c := cell{text: p.State, color: yellow}
	switch p.State {
	case "ready":
		c.color = green
	case "failed":
		c.color = red
	case "waiting":
		if wait := p.Next.Sub(now); wait > 0 {
			c.text += " " + short(wait)
		}
	}
	if p.Replacement != "" {
		c.text += ", the next " + p.Replacement
	}
	return c
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// completePools offers the pools that have processes to the shell.
func (v *processVerbs) completePools(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second) // a shell that waits is worse than one that offers nothing
	defer cancel()
	var offers []string
	err := v.ask(ctx, func(ctx context.Context, c *api.Client) error {
		list, err := c.Processes(ctx, "")
		for _, p := range list {
			if p.Replica == 0 {
				offers = append(offers, p.Pool)
			}
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return offers, cobra.ShellCompDirectiveNoFileComp
}

// keepCommand is what Trivet starts as the parent of a command that it keeps running. It is nothing for people.
func (e *env) keepCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "keep",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE:               func(*cobra.Command, []string) error { return exit(supervise.Keep()) },
	}
}
