package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/avail"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/internal/page"
	"github.com/trivet-ha/trivet/internal/plan"
)

func (e *env) planCommand() *cobra.Command {
	var t target
	html, measured := "", false
	cmd := &cobra.Command{
		Use:   "plan [FILE]",
		Short: "Say what availability a design gives, what costs most of it, and what would be cheaper or better",
		Long: `Plan works out what a configuration file (trivet.yaml here, or else /etc/trivet/trivet.yaml; - is
standard input) can give: the availability to be expected, which part costs most of it, what would
be if a zone were lost or there were one more server, and, if it breaks what objectives promise, the
cheapest change that keeps them. How often things fail is set under objectives.assume; the defaults
are shown with the result. With --measured they give way to what the running Trivet has measured, where
it has seen five faults of a pool or more; otherwise it connects to nothing.

Exit status: 0, or 1 when the promised availability can not be kept.`,
		Example: "  trivet plan\n  trivet plan shop.yaml --html plan.html\n  trivet plan capacity --arrival-rate 200/s --service-time 50ms --wait 100ms --probability 0.99\n  trivet plan availability --mtbf 1000h --mttr 4h --servers 2 --needed 1 --coverage 0.99",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("takes one file at a time", "write trivet plan FILE")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := e.loadFile(args)
			if problems, invalid := config.IsInvalid(err); invalid {
				return e.showInvalid(problems)
			}
			if err != nil {
				return fileProblem(err)
			}
			var known *plan.Measured
			if measured {
				if known, err = t.measured(cmd.Context()); err != nil {
					return err
				}
			}
			p, err := plan.New(file, known)
			if err != nil {
				return fail(err, "write a route to a pool")
			}
			if err := e.planned(p, func(w io.Writer) { writePlan(w, painterFor(w), p) }, p.Page(), html); err != nil {
				return err
			}
			if !p.Met {
				return exit(exitFailed)
			}
			return nil
		},
	}
	htmlFlag(cmd, &html)
	cmd.Flags().BoolVar(&measured, "measured", false, "use what the running Trivet has measured")
	t.flags(cmd)
	cmd.AddCommand(e.planCapacityCommand(), e.planAvailabilityCommand())
	return cmd
}

// measured asks the running Trivet for the figures that a plan needs.
func (t *target) measured(ctx context.Context) (*plan.Measured, error) {
	var m *plan.Measured
	err := t.ask(ctx, func(ctx context.Context, c *api.Client) error {
		r, err := c.Report(ctx, "")
		if err != nil {
			return err
		}
		m = &plan.Measured{Over: plan.Duration(r.Counted), Pools: map[string]plan.MeasuredPool{}}
		for _, p := range r.Pools {
			m.Pools[p.Name] = plan.MeasuredPool{
				Failures: p.Faults, Up: p.EndpointUp, Down: p.EndpointDown, Covered: p.Covered, Rate: avail.PerSecond(p.Rate), Service: p.Service,
			}
		}
		return nil
	})
	return m, err
}

func htmlFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "html", "", "write a page with charts to this file as well")
}

// planned shows a result, and writes its page if that is asked for.
func (e *env) planned(v any, text func(io.Writer), p *page.Page, file string) error {
	if err := e.result(v, text); err != nil || file == "" {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.Write(f); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	e.say("the page is in %s", file)
	return nil
}

// parsed is a flag that one function reads.
type parsed[T any] struct {
	to    *T
	name  string
	parse func(string) (T, error)
	text  string
}

func (p *parsed[T]) String() string { return p.text }

func (p *parsed[T]) Type() string { return p.name }

func (p *parsed[T]) Set(text string) error {
	v, err := p.parse(text)
	if err == nil {
		*p.to, p.text = v, text
	}
	return err
}

func durationFlag(cmd *cobra.Command, to *time.Duration, name, def, help string) {
	f := &parsed[time.Duration]{to: to, name: "duration", parse: config.ParseDuration}
	if def != "" {
		_ = f.Set(def) // a constant
	}
	cmd.Flags().Var(f, name, help)
}

// parseShare reads 0.99 or 99%.
func parseShare(text string) (float64, error) {
	if p, err := config.ParsePercent(text); err == nil {
		return p.Fraction(), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return 0, fmt.Errorf("%q is no share: write 0.99 or 99%%", text)
	}
	return f, nil
}

func shareFlag(cmd *cobra.Command, to *float64, name, def, help string) {
	f := &parsed[float64]{to: to, name: "share", parse: parseShare}
	if def != "" {
		_ = f.Set(def) // a constant
	}
	cmd.Flags().Var(f, name, help)
}

func (e *env) planCapacityCommand() *cobra.Command {
	var rate config.Rate
	var service, wait time.Duration
	var share, busy float64
	workers, servers, variation, html := 1, 0, 1.0, ""
	cmd := &cobra.Command{
		Use:   "capacity --arrival-rate RATE --service-time TIME",
		Short: "Say how many servers a load takes",
		Long: `Capacity says how many servers a load takes so that requests seldom wait long: by Erlang's formula,
with Allen and Cunneen's correction if times vary otherwise than at random. It shows what fewer and
more servers would give, and what plain proportion (n/m = s/t) asks for, which leaves no room for
chance.`,
		Example: "  trivet plan capacity --arrival-rate 200/s --service-time 50ms --wait 100ms --probability 0.99\n  trivet plan capacity --arrival-rate 5000/s --service-time 20ms --workers 8 --variation 4 --html capacity.html",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case rate <= 0:
				return usage("lacks --arrival-rate", "write --arrival-rate 200/s")
			case service <= 0:
				return usage("lacks --service-time", "write --service-time 50ms")
			case workers < 1 || servers < 0 || variation < 0:
				return usage("--workers is at least 1, --servers and --variation at least 0", "see "+cmd.CommandPath()+" --help")
			case share >= 1:
				return usage("--probability is below 1", "no number of servers lets nobody wait: write 0.999")
			}
			load := avail.Load{Arrivals: avail.PerSecond(rate), Service: avail.Of(service), ArrivalSCV: 1, ServiceSCV: variation}
			l := plan.Capacity(load, workers, avail.Want{Wait: avail.Of(wait), Share: share, Utilisation: busy}, servers)
			return e.planned(l, func(w io.Writer) { writeLoading(w, painterFor(w), l, "") }, l.Page(), html)
		},
	}
	f := cmd.Flags()
	f.Var(&parsed[config.Rate]{to: &rate, name: "rate", parse: config.ParseRate}, "arrival-rate", "requests at the busiest time, as in 200/s")
	durationFlag(cmd, &service, "service-time", "", "what one takes a server")
	durationFlag(cmd, &wait, "wait", "100ms", "how long requests may wait before that")
	shareFlag(cmd, &share, "probability", "0.99", "the share of requests that wait no longer, as 0.99 or 99%")
	shareFlag(cmd, &busy, "busy", "", "how busy servers may be at most, as 0.7 or 70%")
	f.IntVar(&workers, "workers", 1, "requests that a server works on at a time")
	f.Float64Var(&variation, "variation", 1, "variance of the service time by the square of its mean: 0 is all alike, 1 is usual")
	f.IntVar(&servers, "servers", 0, "how many there are")
	htmlFlag(cmd, &html)
	return cmd
}

func (e *env) planAvailabilityCommand() *cobra.Command {
	r := avail.Repairable{}
	var mtbf, mttr time.Duration
	var coverage, common float64
	html := ""
	cmd := &cobra.Command{
		Use:   "availability --mtbf TIME --mttr TIME",
		Short: "Say what availability servers give, by how often they fail and how long that lasts",
		Long: `Availability works out what equal servers give of which some must work: how much of the time, how
often they do not, and for how long; with repair crews, failovers that fail, and causes that take
all servers at once. An exact model (a Markov chain), not a rule of thumb.`,
		Example: "  trivet plan availability --mtbf 1000h --mttr 4h --servers 2 --needed 1 --coverage 0.99\n  trivet plan availability --mtbf 30d --mttr 10m --servers 5 --needed 3 --common-cause 2%",
		Args:    noArgs,
		RunE: func(_ *cobra.Command, _ []string) error {
			r.MTBF, r.MTTR, r.Uncovered, r.Common = avail.Of(mtbf), avail.Of(mttr), 1-coverage, common
			switch {
			case mtbf <= 0:
				return usage("lacks --mtbf", "write --mtbf 1000h")
			case mttr <= 0:
				return usage("lacks --mttr", "write --mttr 4h")
			}
			h, err := plan.NewByHand(r)
			if err != nil {
				return usage(err.Error(), "write --servers 2 --needed 1")
			}
			return e.planned(h, func(w io.Writer) { writeByHand(w, painterFor(w), h) }, h.Page(), html)
		},
	}
	f := cmd.Flags()
	durationFlag(cmd, &mtbf, "mtbf", "", "how long a server works on average, as in 1000h or 90d")
	durationFlag(cmd, &mttr, "mttr", "", "how long it then takes to repair")
	f.IntVar(&r.N, "servers", 1, "how many there are")
	f.IntVar(&r.Needed, "needed", 1, "how many must work")
	f.IntVar(&r.Crews, "crews", 1, "how many are repaired at a time; 0 is all")
	shareFlag(cmd, &coverage, "coverage", "1", "the share of failures that the others take over, as 0.99 or 99%")
	shareFlag(cmd, &common, "common-cause", "0", "the share of failures whose cause takes all servers at once")
	htmlFlag(cmd, &html)
	return cmd
}
