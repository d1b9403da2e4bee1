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
)

// poolVerbs is the state that the verbs of `trivet pool` share.
type poolVerbs struct {
	*env
	target
	yes  bool
	wait time.Duration
}

func (e *env) poolCommand() *cobra.Command {
	v := &poolVerbs{env: e}
	cmd := &cobra.Command{
		Use:   "pool",
		Short: "Show pools; drain, weigh, add and remove endpoints while Trivet runs",
		Long: `Pool shows the pools of the running Trivet and changes their endpoints. A change holds until the
process ends: reloads and upgrades keep it, and the configuration file is not written.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	v.flags(cmd)
	cmd.AddCommand(v.list(), v.drain(), v.ready(), v.maintenance(), v.weight(), v.add(), v.remove())
	return cmd
}

func (v *poolVerbs) list() *cobra.Command {
	return &cobra.Command{
		Use:               "list [POOL...]",
		Short:             "Show pools and their endpoints",
		Example:           "  trivet pool list\n  trivet pool list site",
		ValidArgsFunction: v.completePools,
		RunE: func(cmd *cobra.Command, args []string) error {
			return v.ask(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				pools, err := poolsNamed(ctx, c, args)
				if err != nil {
					return err
				}
				return v.result(pools, func(w io.Writer) {
					for i, pool := range pools {
						if i > 0 {
							fmt.Fprintln(w)
						}
						writePool(w, painterFor(w), pool)
					}
				})
			})
		},
	}
}

func poolsNamed(ctx context.Context, c *api.Client, names []string) ([]api.Pool, error) {
	if len(names) == 0 {
		return c.Pools(ctx)
	}
	var pools []api.Pool
	for _, name := range names {
		pool, err := c.Pool(ctx, name)
		if err != nil {
			return nil, err
		}
		pools = append(pools, pool)
	}
	return pools, nil
}

func (v *poolVerbs) drain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain POOL ENDPOINT...",
		Short: "Send endpoints no new clients; their sessions stay",
		Long: `Drain sends endpoints no new clients. Requests in flight end, and clients that affinity keeps there
stay. With --wait it returns when nothing is in flight any more: then the server can be stopped.`,
		Example:           "  trivet pool drain site 10.0.0.11:8000\n  trivet pool drain site 10.0.0.11:8000 --wait 30s && ssh app1 systemctl restart app",
		Args:              atLeast("POOL", "ENDPOINT"),
		ValidArgsFunction: v.completeEndpoints,
		RunE: func(cmd *cobra.Command, args []string) error {
			return v.setAdmin(cmd.Context(), api.Drain, args[0], args[1:])
		},
	}
	cmd.Flags().DurationVar(&v.wait, "wait", 0, "wait until nothing is in flight there, this long at most")
	v.yesFlag(cmd)
	return cmd
}

func (v *poolVerbs) ready() *cobra.Command {
	return &cobra.Command{
		Use:               "ready POOL ENDPOINT...",
		Short:             "Take endpoints back after a drain or maintenance",
		Example:           "  trivet pool ready site 10.0.0.11:8000",
		Args:              atLeast("POOL", "ENDPOINT"),
		ValidArgsFunction: v.completeEndpoints,
		RunE: func(cmd *cobra.Command, args []string) error {
			return v.setAdmin(cmd.Context(), api.Ready, args[0], args[1:])
		},
	}
}

func (v *poolVerbs) maintenance() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "maintenance POOL ENDPOINT...",
		Short:             "Send endpoints nothing at all, not even their sessions",
		Example:           "  trivet pool maintenance site 10.0.0.11:8000",
		Args:              atLeast("POOL", "ENDPOINT"),
		ValidArgsFunction: v.completeEndpoints,
		RunE: func(cmd *cobra.Command, args []string) error {
			return v.setAdmin(cmd.Context(), api.Maintenance, args[0], args[1:])
		},
	}
	v.yesFlag(cmd)
	return cmd
}

func (v *poolVerbs) yesFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&v.yes, "yes", "y", false, "do not ask, even if no endpoint is left")
}

func (v *poolVerbs) weight() *cobra.Command {
	return &cobra.Command{
		Use:               "weight POOL ENDPOINT WEIGHT",
		Short:             "Change an endpoint's part of the requests",
		Example:           "  trivet pool weight site 10.0.0.11:8000 5",
		Args:              exactly("POOL", "ENDPOINT", "WEIGHT"),
		ValidArgsFunction: v.completeEndpoints,
		RunE: func(cmd *cobra.Command, args []string) error {
			weight, err := strconv.Atoi(args[2])
			if err != nil {
				return usage(strconv.Quote(args[2])+" is no weight", "a weight is a whole number from 1 to 1000000")
			}
			return v.each(cmd.Context(), args[0], args[1:2], func(ctx context.Context, c *api.Client, address string) (api.Endpoint, error) {
				return c.ChangeEndpoint(ctx, args[0], address, api.Change{Weight: &weight})
			})
		},
	}
}

func (v *poolVerbs) add() *cobra.Command {
	var e api.NewEndpoint
	cmd := &cobra.Command{
		Use:               "add POOL ENDPOINT...",
		Short:             "Add endpoints to a pool; they get requests when their first probe has succeeded",
		Example:           "  trivet pool add site 10.0.0.13:8000 --weight 2",
		Args:              atLeast("POOL", "ENDPOINT"),
		ValidArgsFunction: v.completePools,
		RunE: func(cmd *cobra.Command, args []string) error {
			return v.each(cmd.Context(), args[0], args[1:], func(ctx context.Context, c *api.Client, address string) (api.Endpoint, error) {
				e.Address = address
				return c.AddEndpoint(ctx, args[0], e)
			})
		},
	}
	cmd.Flags().IntVar(&e.Weight, "weight", 1, "part of the requests, relative to the others")
	cmd.Flags().IntVar(&e.Priority, "priority", 0, "0 is used first")
	cmd.Flags().IntVar(&e.MaxRequests, "max-requests", 0, "requests in flight; 0 is no limit")
	return cmd
}

func (v *poolVerbs) remove() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove POOL ENDPOINT...",
		Short: "Remove endpoints from a pool; requests in flight there end first",
		Long: `Remove takes endpoints out of a pool. Requests in flight there end. One that the configuration file
names is back after the next reload: take it out of the file too.`,
		Example:           "  trivet pool remove site 10.0.0.13:8000",
		Args:              atLeast("POOL", "ENDPOINT"),
		ValidArgsFunction: v.completeEndpoints,
		RunE: func(cmd *cobra.Command, args []string) error {
			return v.ask(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				if err := v.planRemoval(ctx, c, args[0], args[1:]); err != nil {
					return err
				}
				return v.removeAll(ctx, c, args[0], args[1:])
			})
		},
	}
	cmd.Flags().BoolVarP(&v.yes, "yes", "y", false, "do not ask")
	return cmd
}

// planRemoval says what is going to go, and asks.
func (v *poolVerbs) planRemoval(ctx context.Context, c *api.Client, name string, addresses []string) error {
	pool, err := c.Pool(ctx, name)
	if err != nil {
		return err
	}
	for _, address := range addresses {
		e := endpointOf(pool, address)
		if e == nil {
			return noEndpoint(pool, address)
		}
		v.say("remove %s from pool %s: weight %d, %s in flight", address, name, e.Weight, count(e.InFlight))
	}
	if left := availableWithout(pool, addresses); left == 0 {
		v.say("No available endpoint is left in pool %s then: its requests are answered with 503.", name)
	}
	return v.confirm(v.yes)
}

func (v *poolVerbs) removeAll(ctx context.Context, c *api.Client, pool string, addresses []string) error {
	type removed struct {
		Pool    string   `json:"pool"`
		Removed []string `json:"removed"`
	}
	out := removed{Pool: pool, Removed: []string{}}
	for _, address := range addresses {
		if err := c.RemoveEndpoint(ctx, pool, address); err != nil {
			return partly(len(out.Removed), fmt.Errorf("%s: %w", address, err))
		}
		out.Removed = append(out.Removed, address)
	}
	return v.result(out, func(w io.Writer) {
		fmt.Fprintf(w, "removed from pool %s: %s\n", pool, strings.Join(out.Removed, " "))
	})
}

// setAdmin changes what the administrator wants of endpoints; it asks when none would be left.
func (v *poolVerbs) setAdmin(ctx context.Context, admin api.Admin, pool string, addresses []string) error {
	return v.ask(ctx, func(ctx context.Context, c *api.Client) error {
		if admin != api.Ready {
			if err := v.askIfLast(ctx, c, admin, pool, addresses); err != nil {
				return err
			}
		}
		return v.apply(ctx, c, pool, addresses, func(ctx context.Context, c *api.Client, address string) (api.Endpoint, error) {
			e, err := c.ChangeEndpoint(ctx, pool, address, api.Change{Admin: &admin})
			if err == nil && v.wait > 0 {
				e, err = v.waitIdle(ctx, c, pool, e)
			}
			return e, err
		})
	})
}

func (v *poolVerbs) askIfLast(ctx context.Context, c *api.Client, admin api.Admin, name string, addresses []string) error {
	pool, err := c.Pool(ctx, name)
	if err != nil {
		return err
	}
	for _, address := range addresses {
		if endpointOf(pool, address) == nil {
			return noEndpoint(pool, address)
		}
	}
	if pool.Available == 0 || availableWithout(pool, addresses) > 0 {
		return nil
	}
	v.say("%s %s: no available endpoint is left in pool %s then, and its requests are answered with 503.", admin, strings.Join(addresses, " "), name)
	return v.confirm(v.yes)
}

// waitIdle waits until nothing is in flight at an endpoint.
func (v *poolVerbs) waitIdle(ctx context.Context, c *api.Client, pool string, e api.Endpoint) (api.Endpoint, error) {
	late, cancel := context.WithTimeout(ctx, v.wait)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for e.InFlight > 0 {
		select {
		case <-late.Done():
			return e, fail(fmt.Errorf("%s are still in flight after %s", plural(e.InFlight, "request"), v.wait), "it stays drained; trivet pool list "+pool+" shows how it goes")
		case <-tick.C:
		}
		p, err := c.Pool(ctx, pool)
		if err != nil {
			return e, err
		}
		now := endpointOf(p, e.Address)
		if now == nil {
			return e, noEndpoint(p, e.Address)
		}
		e = *now
	}
	return e, nil
}

// each connects, and does one thing to each address.
func (v *poolVerbs) each(ctx context.Context, pool string, addresses []string, do func(context.Context, *api.Client, string) (api.Endpoint, error)) error {
	return v.ask(ctx, func(ctx context.Context, c *api.Client) error { return v.apply(ctx, c, pool, addresses, do) })
}

func (v *poolVerbs) apply(ctx context.Context, c *api.Client, pool string, addresses []string, do func(context.Context, *api.Client, string) (api.Endpoint, error)) error {
	changed := make([]api.Endpoint, 0, len(addresses))
	for _, address := range addresses {
		e, err := do(ctx, c, address)
		if err != nil {
			return partly(len(changed), fmt.Errorf("%s: %w", address, err))
		}
		changed = append(changed, e)
	}
	return v.result(changed, func(w io.Writer) {
		for i := range changed {
			e := &changed[i]
			fmt.Fprintf(w, "%s in pool %s: %s, weight %d, %s in flight\n", e.Address, pool, stateCell(e).text, e.Weight, count(e.InFlight))
		}
	})
}

// partly is err, with the exit code that says that something had been done before.
func partly(done int, err error) error {
	p := explained(err)
	out := &problem{message: err.Error(), hint: p.hint, code: p.code, cause: err}
	if done > 0 {
		out.code = exitPartial
		out.message += fmt.Sprintf(" (%s done before)", plural(done, "endpoint"))
	}
	return out
}

func endpointOf(p api.Pool, address string) *api.Endpoint {
	for i := range p.Endpoints {
		if p.Endpoints[i].Address == address {
			return &p.Endpoints[i]
		}
	}
	return nil
}

func noEndpoint(p api.Pool, address string) error {
	var addresses []string
	for _, e := range p.Endpoints {
		addresses = append(addresses, e.Address)
	}
	return fail(errors.New("there is no endpoint "+address+" in pool "+p.Name), "there are "+strings.Join(addresses, ", "))
}

// availableWithout is how many endpoints take requests when these no longer do.
func availableWithout(p api.Pool, without []string) int {
	left := 0
	for _, e := range p.Endpoints {
		gone := false
		for _, address := range without {
			gone = gone || address == e.Address
		}
		if e.Available && !gone {
			left++
		}
	}
	return left
}

// completePools offers the pools of the running Trivet to the shell.
func (v *poolVerbs) completePools(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return v.complete(cmd.Context(), func(pools []api.Pool) []string {
		var names []string
		for _, p := range pools {
			if len(args) == 0 || cmd.Name() == "list" {
				names = append(names, p.Name)
			}
		}
		return names
	})
}

// completeEndpoints offers pools, then the endpoints of the pool.
func (v *poolVerbs) completeEndpoints(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return v.completePools(cmd, args, typed)
	}
	return v.complete(cmd.Context(), func(pools []api.Pool) []string {
		var addresses []string
		for _, p := range pools {
			for _, e := range p.Endpoints {
				if p.Name == args[0] {
					addresses = append(addresses, e.Address)
				}
			}
		}
		return addresses
	})
}

func (v *poolVerbs) complete(ctx context.Context, choose func([]api.Pool) []string) ([]string, cobra.ShellCompDirective) {
	const patience = time.Second // a shell that waits is worse than one that offers nothing
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var offers []string
	err := v.ask(ctx, func(ctx context.Context, c *api.Client) error {
		pools, err := c.Pools(ctx)
		offers = choose(pools)
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return offers, cobra.ShellCompDirectiveNoFileComp
}
