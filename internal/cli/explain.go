package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/api"
)

func (e *env) explainCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Say why an endpoint is out, or where a request would go",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	t.flags(cmd)
	cmd.AddCommand(e.explainEndpointCommand(&t), e.explainRequestCommand(&t))
	return cmd
}

func (e *env) explainEndpointCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "endpoint ADDRESS",
		Short:   "Say why an endpoint is in or out, and what happened to it last",
		Example: "  trivet explain endpoint 10.0.0.12:8000",
		Args:    exactly("ADDRESS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.ask(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				all, err := c.ExplainEndpoint(ctx, args[0])
				if err != nil {
					return err
				}
				return e.result(all, func(w io.Writer) {
					for i, one := range all {
						if i > 0 {
							fmt.Fprintln(w)
						}
						writeEndpoint(w, painterFor(w), one, time.Now())
					}
				})
			})
		},
	}
}

func writeEndpoint(w io.Writer, p painter, x api.EndpointExplanation, now time.Time) {
	e := &x.Endpoint
	verdict := p.paint(green, "in")
	if !e.Available {
		verdict = p.paint(red, "out")
	}
	fmt.Fprintf(w, "%s in pool %s: %s\n", p.paint(bold, e.Address), x.Pool, verdict)
	t := table{indent: "  "}
	line := func(name, format string, args ...any) {
		t.row(cell{text: name, color: dim}, text(fmt.Sprintf(format, args...)))
	}
	if e.Reason != "" {
		line("why", "%s", e.Reason)
	}
	line("health", "%s%s%s", e.Health, since(e.HealthSince, now), colon(e.HealthSays))
	line("admin", "%s%s", e.Admin, since(e.AdminSince, now))
	if e.Role != "" && e.Role != "unknown" {
		line("role", "%s", e.Role)
	}
	line("outlier", "%s%s", e.Outlier, until(e.EjectedUntil, now))
	line("weight", "%d, of which %d %% count; priority %d", e.Weight, e.RampPercent, e.Priority)
	limit := ""
	if e.MaxRequests > 0 {
		limit = fmt.Sprintf(" of %d", e.MaxRequests)
	}
	line("now", "%s%s in flight, %s, %s to the first byte", count(e.InFlight), limit, plural(e.Connections, "connection"), millis(e.Latency))
	line("so far", "%s%s, %s%s without an answer", count(e.Answers())+" answers", breakdown(e.Statuses), count(total(e.Failures)), breakdown(e.Failures))
	if e.Sessions > 0 {
		line("by address", "%s, %s bytes to it and %s from it", plural(int(e.Sessions), "session"), count(e.BytesIn), count(e.BytesOut))
	}
	if e.StallAfter > 0 {
		line("stall", "counts as hung after %s without an answer", millis(e.StallAfter))
	}
	if e.RunTime {
		line("from", "a command: no file names it")
	}
	for i, event := range x.Events {
		name := ""
		if i == 0 {
			name = "last"
		}
		line(name, "%s %s%s", clock(event.At, now), event.What, colon(event.Reason))
	}
	t.write(w, p)
}

func since(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " since " + clock(t, now)
}

func until(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " until " + clock(t, now)
}

func colon(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

func total(counts map[string]uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// breakdown is the parts of a count that are not zero, in brackets.
func breakdown(counts map[string]uint64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if counts[name] > 0 {
			parts = append(parts, count(counts[name])+" "+name)
		}
	}
	if parts == nil {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func (e *env) explainRequestCommand(t *target) *cobra.Command {
	var q api.Question
	var headers []string
	cmd := &cobra.Command{
		Use:   "request METHOD URL",
		Short: "Say where a request would go, and why; nothing is sent",
		Long: `Request asks the running Trivet what it would do with a request: which listener and route take it,
which endpoint of the pool would get it, and why not the others. Nothing is sent and nothing counted.
The port of the URL chooses the listener; without one that fits, every listener is asked. Of listeners
that pass on by address, ask for tcp://host:port or udp://host:port.`,
		Example: `  trivet explain request GET http://shop.example.com/api/orders
  trivet explain request CONNECT tcp://:5432 --from 192.0.2.7
  trivet explain request GET http://shop.example.com/ -H 'Cookie: srv=a1b2' --from 192.0.2.7`,
		Args: exactly("METHOD", "URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Method, q.URL, q.Headers = args[0], args[1], nil
			for _, h := range headers {
				name, value, found := strings.Cut(h, ":")
				if !found || strings.TrimSpace(name) == "" {
					return usage(`"`+h+`" is no header`, "write -H 'Name: value'")
				}
				q.Headers = append(q.Headers, api.Field{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
			}
			if q.From != "" {
				if _, err := netip.ParseAddr(q.From); err != nil {
					return usage(`"`+q.From+`" is no address`, "write --from 192.0.2.7")
				}
			}
			return t.ask(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				all, err := c.ExplainRequest(ctx, q)
				if err != nil {
					return err
				}
				return e.result(all, func(w io.Writer) {
					for i, one := range all {
						if i > 0 {
							fmt.Fprintln(w)
						}
						writeRequest(w, painterFor(w), one)
					}
				})
			})
		},
	}
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "a header, as in -H 'X-Canary: 1'; may come several times")
	cmd.Flags().StringVar(&q.From, "from", "", "the client's address (default: this machine)")
	cmd.Flags().StringVar(&q.Listener, "listener", "", "ask this listener only")
	return cmd
}

func writeRequest(w io.Writer, p painter, x api.Explanation) {
	fmt.Fprintf(w, "%s: %s from %s\n", p.paint(bold, "listener "+x.Listener), cmp.Or(x.Host+x.Path, "a client"), x.Source)
	if x.Refused != "" {
		refused := "refused"
		if x.Status > 0 {
			refused += fmt.Sprintf(" with %d", x.Status)
		}
		fmt.Fprintf(w, "  %s\n", p.paint(red, refused+": "+x.Refused))
		return
	}
	t := table{indent: "  "}
	for _, r := range x.Routes {
		if r.Why == "" {
			t.row(text("route "+r.Route), cell{text: "takes it", color: green})
		} else {
			t.row(text("route "+r.Route), cell{text: "no: " + r.Why, color: dim})
		}
	}
	t.write(w, p)
	answer := ""
	if x.Status > 0 {
		answer = fmt.Sprintf(", answered with %d", x.Status)
	}
	fmt.Fprintf(w, "  %s%s\n", x.Action, answer)
	if x.Pool == "" {
		return
	}
	fmt.Fprint(w, p.paint(bold, "pool "+x.Pool))
	if x.Target != "" {
		fmt.Fprintf(w, ": asked for %s", x.Target)
	}
	if x.Affinity != "" {
		fmt.Fprintf(w, "; the cookie names %s", x.Affinity)
	}
	fmt.Fprintln(w)
	writeChoices(w, p, x.Choices)
}

func writeChoices(w io.Writer, p painter, choices []api.Choice) {
	t := table{indent: "  "}
	for _, c := range choices {
		mark, shade := " ", dim
		switch {
		case c.Chosen:
			mark, shade = ">", green
		case c.Considered:
			shade = plain
		}
		figures := ""
		if c.Share > 0 {
			figures = fmt.Sprintf("%.0f %% of such requests", c.Share*100)
		}
		if c.Score > 0 {
			figures += fmt.Sprintf(", score %.4g", c.Score)
		}
		t.row(cell{text: mark, color: shade}, cell{text: c.Address, color: shade}, text(strings.TrimPrefix(figures, ", ")), text(c.Reason))
	}
	t.write(w, p)
}
