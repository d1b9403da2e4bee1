package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/api"
)

func (e *env) statusCommand() *cobra.Command {
	var t target
	watch, every := false, time.Second
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show listeners, routes, pools, endpoints and backups of the running Trivet",
		Long: `Status shows the running Trivet at a glance: what it listens on, how requests fare on each route,
the state of every endpoint with the reason for it, and how old the last success of each backup is. Counts are since the process started.`,
		Example: "  trivet status\n  trivet status --watch\n  trivet status --json | jq '.pools[].available'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.ask(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				if watch {
					return e.watchStatus(ctx, c, every)
				}
				s, err := c.Status(ctx)
				if err != nil {
					return err
				}
				return e.result(s, func(w io.Writer) { writeStatus(w, painterFor(w), s, time.Now()) })
			})
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again and again, until interrupted")
	cmd.Flags().DurationVar(&every, "every", time.Second, "how often, with --watch")
	t.flags(cmd)
	return cmd
}

// watchStatus shows the status until ctx ends: on a terminal in place, as JSON one line each time.
func (e *env) watchStatus(ctx context.Context, c *api.Client, every time.Duration) error {
	if every < 100*time.Millisecond {
		return usage("--every is shorter than 100ms", "write --every 1s")
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		s, err := c.Status(ctx)
		if canceled(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := e.showAgain(s); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (e *env) showAgain(s api.Status) error {
	if e.json {
		line, err := json.Marshal(s)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "%s\n", line)
		return err
	}
	var page strings.Builder
	writeStatus(&page, painterFor(e.Out), s, time.Now())
	if isTerminal(e.Out) {
		_, err := fmt.Fprintf(e.Out, "\x1b[H\x1b[2J%s", page.String()) // home, clear
		return err
	}
	_, err := fmt.Fprintf(e.Out, "%s\n", page.String())
	return err
}

func writeStatus(w io.Writer, p painter, s api.Status, now time.Time) {
	state := p.paint(green, s.State)
	if s.State != "serving" {
		state = p.paint(yellow, s.State)
	}
	fmt.Fprintf(w, "trivet %s, %s since %s (%s), pid %d, %s, %s\n", s.Version, state, clock(s.Started, now), ago(now.Sub(s.Started)), s.PID,
		plural(s.Loops, "event loop"), plural(s.Connections, "connection"))
	fmt.Fprintf(w, "file %s, in force since %s\n", s.File.Path, clock(s.File.Since, now))
	if s.File.Error != "" {
		fmt.Fprintln(w, p.paint(red, fmt.Sprintf("the reload at %s failed, and changed nothing:", clock(s.File.ErrorAt, now))))
		for line := range strings.SplitSeq(s.File.Error, "\n") {
			fmt.Fprintf(w, "  %s\n", line)
		}
	}
	fmt.Fprintln(w)
	writeListeners(w, p, s.Listeners)
	fmt.Fprintln(w)
	writeRoutes(w, p, s.Listeners)
	for _, pool := range s.Pools {
		fmt.Fprintln(w)
		writePool(w, p, pool)
	}
	if len(s.Backups) > 0 {
		fmt.Fprintln(w)
		writeBackups(w, p, s.Backups, now)
	}
	if len(s.Databases) > 0 {
		fmt.Fprintln(w)
		writeDatabases(w, p, s.Databases, now)
	}
}

func writeListeners(w io.Writer, p painter, listeners []api.Listener) {
	var t table
	t.heading("LISTENER", "ADDRESS", "PROTOCOL", ">CONNECTIONS", ">ACCEPTED", ">REFUSED", ">BAD REQUESTS")
	for _, l := range listeners {
		refused := uint64(0)
		for _, n := range l.Refused {
			refused += n
		}
		connections := number(l.Connections)
		if l.MaxConnections > 0 && l.Connections >= l.MaxConnections {
			connections.color = red
		}
		t.row(text(l.Name), text(strings.Join(l.Addresses, " ")), text(protocolText(&l)), connections, number(l.Accepted), number(refused), number(l.BadRequests))
	}
	t.write(w, p)
}

// protocolText names what clients speak, and where it goes if nobody looks into it.
func protocolText(l *api.Listener) string {
	if l.Pool == "" {
		return l.Protocol
	}
	return l.Protocol + " to " + l.Pool
}

func writeRoutes(w io.Writer, p painter, listeners []api.Listener) {
	var t table
	t.heading("ROUTE", "ACTION", ">REQUESTS", ">4XX", ">5XX", ">RETRIES", ">P50", ">P99")
	for _, l := range listeners {
		for _, r := range l.Routes {
			failed := number(r.Statuses["5xx"])
			if r.Statuses["5xx"] > 0 {
				failed.color = red
			}
			t.row(text(l.Name+"/"+r.Name), text(r.Action), number(r.Requests), number(r.Statuses["4xx"]), failed, number(r.Retries),
				cell{text: millis(r.P50), right: true}, cell{text: millis(r.P99), right: true})
		}
	}
	t.write(w, p)
}

func writePool(w io.Writer, p painter, pool api.Pool) {
	shade := green
	switch {
	case pool.Available == 0:
		shade = red
	case pool.Available < len(pool.Endpoints) || pool.Panic:
		shade = yellow
	}
	available := p.paint(shade, fmt.Sprintf("%d of %d available", pool.Available, len(pool.Endpoints)))
	fmt.Fprintf(w, "%s: %s, %s, %s in flight", p.paint(bold, "pool "+pool.Name), available, pool.Balance, count(pool.InFlight))
	if pool.Pending > 0 {
		fmt.Fprintf(w, ", %s waiting", count(pool.Pending))
	}
	if pool.Rejected > 0 {
		fmt.Fprintf(w, ", %s", p.paint(red, count(pool.Rejected)+" rejected"))
	}
	if pool.Dropped > 0 {
		fmt.Fprintf(w, ", %s", p.paint(red, count(pool.Dropped)+" datagrams dropped"))
	}
	if pool.Panic {
		fmt.Fprintf(w, ", %s", p.paint(red, "too few are available, so all are used"))
	}
	fmt.Fprintln(w)
	if pool.Failed != "" {
		fmt.Fprintf(w, "  %s\n", p.paint(red, pool.Failed))
	}
	t := table{indent: "  "}
	t.heading("ENDPOINT", "STATE", ">WEIGHT", ">PRIORITY", ">IN FLIGHT", ">ANSWERS", ">FAILED", ">LATENCY", "WHY")
	for i := range pool.Endpoints {
		endpoint := &pool.Endpoints[i]
		t.row(text(endpointName(endpoint)), stateCell(endpoint), number(endpoint.Weight), number(endpoint.Priority), number(endpoint.InFlight),
			number(endpoint.Answers()+endpoint.Sessions), number(endpoint.Failed()), cell{text: millis(endpoint.Latency), right: true}, cell{text: endpoint.Reason, color: dim})
	}
	t.write(w, p)
}

// endpointName is an endpoint's address, and the name of the process that answers there if Trivet keeps it running.
func endpointName(e *api.Endpoint) string {
	if e.Process == "" {
		return e.Address
	}
	return e.Address + " (" + e.Process + ")"
}

// stateCell is an endpoint's state in one word: what keeps it out, or else what its probes say.
func stateCell(e *api.Endpoint) cell {
	switch {
	case e.Admin == api.Maintenance, e.Admin == api.Drain:
		return cell{text: string(e.Admin), color: yellow}
	case e.Health == "down":
		return cell{text: "down", color: red}
	case e.Outlier == "ejected":
		return cell{text: "ejected", color: red}
	case e.Outlier == "probation":
		return cell{text: "probation", color: yellow}
	case !e.Available && e.Health == "up":
		return cell{text: roleOr(e, "waiting"), color: yellow}
	case !e.Available:
		return cell{text: "waiting", color: yellow}
	case e.Health == "unknown":
		return cell{text: "unprobed"}
	default:
		return cell{text: roleOr(e, e.Health), color: green}
	}
}

// roleOr is the endpoint's role, or a word if it is not known.
func roleOr(e *api.Endpoint, word string) string {
	if e.Role == "" || e.Role == "unknown" {
		return word
	}
	return e.Role
}
