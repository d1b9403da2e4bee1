package cli

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/api"
)

func (e *env) dnsCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "Say what names are answered with, and why",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	t.flags(cmd)
	cmd.AddCommand(e.dnsListCommand(&t), e.dnsQueryCommand(&t))
	return cmd
}

func (e *env) dnsListCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "Show the zones, and the names that follow pools with their addresses now",
		Example: "  trivet dns list\n  trivet dns list --json | jq '.names[] | select(.mode != \"healthy\")'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.ask(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				d, err := c.DNS(ctx)
				if err != nil {
					return err
				}
				return e.result(d, func(w io.Writer) { writeDNS(w, painterFor(w), &d) })
			})
		},
	}
}

func writeDNS(w io.Writer, p painter, d *api.DNS) {
	switch {
	case !d.Ready:
		fmt.Fprintf(w, "%s: pools wait for their first probes: %s\n", p.paint(yellow, "nothing is answered yet"), strings.Join(d.Waiting, ", "))
	case len(d.Waiting) > 0:
		fmt.Fprintf(w, "%s: pools wait for their first probes: %s\n", p.paint(yellow, "a newer configuration is not in force yet"), strings.Join(d.Waiting, ", "))
	}
	zones := table{}
	zones.heading("ZONE", ">SERIAL", ">NAMES", ">QUERIES")
	for _, z := range d.Zones {
		zones.row(cell{text: z.Name, color: bold}, cell{text: fmt.Sprint(z.Serial), right: true}, number(z.Names), number(z.Queries))
	}
	zones.write(w, p)
	if len(d.Names) == 0 {
		return
	}
	fmt.Fprintln(w)
	names := table{}
	names.heading("NAME", "POOL", "ANSWER", "MODE", ">TTL", "ADDRESSES")
	for _, n := range d.Names {
		names.row(cell{text: n.Name, color: bold}, text(n.Pool), text(n.Answer), cell{text: n.Mode, color: modeColor(n.Mode)},
			cell{text: fmt.Sprintf("%ds", n.TTL), right: true}, text(strings.Join(n.Addresses, " ")))
	}
	names.write(w, p)
}

func modeColor(mode string) color {
	switch mode {
	case "healthy":
		return green
	case "down", "empty":
		return red
	}
	return yellow
}

func (e *env) dnsQueryCommand(t *target) *cobra.Command {
	var q api.DNSQuestion
	explain := false
	cmd := &cobra.Command{
		Use:   "query NAME [TYPE]",
		Short: "Say what a client would be answered, and why; nothing is sent",
		Long: `Query asks the running Trivet what it would answer to a DNS query. With --explain it also says how the
name was found, which endpoints were considered, and why each was in or out. Nothing is sent over the
network and nothing is counted. A name whose answers are drawn at random may be answered differently
the next time.`,
		Example: "  trivet dns query www.example.com\n  trivet dns query www.example.com AAAA --from 203.0.113.7 --explain",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return usage("takes a name, and a type", "write "+cmd.UseLine())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Name, q.Type = args[0], "A"
			if len(args) > 1 {
				q.Type = args[1]
			}
			if q.From != "" {
				if _, err := netip.ParseAddr(q.From); err != nil {
					return usage(`"`+q.From+`" is no address`, "write --from 192.0.2.7")
				}
			}
			return t.ask(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				a, err := c.QueryDNS(ctx, q)
				if err != nil {
					return err
				}
				return e.result(a, func(w io.Writer) { writeDNSAnswer(w, painterFor(w), &a, explain) })
			})
		},
	}
	cmd.Flags().StringVar(&q.From, "from", "", "the client's address (default: this machine)")
	cmd.Flags().BoolVar(&explain, "explain", false, "say how the name was found, and why each endpoint is in or out")
	return cmd
}

func writeDNSAnswer(w io.Writer, p painter, a *api.DNSAnswer, explain bool) {
	shade := green
	if a.Rcode != "NOERROR" {
		shade = red
	}
	authority := ""
	if a.Authoritative {
		authority = ", authoritative"
	}
	fmt.Fprintf(w, "%s%s, to %s\n", p.paint(shade, a.Rcode), authority, a.From)
	for _, section := range []struct {
		name    string
		records []string
	}{{"", a.Answer}, {"authority", a.Authority}, {"additional", a.Additional}} {
		for i, record := range section.records {
			if i == 0 && section.name != "" {
				fmt.Fprintln(w, p.paint(dim, section.name))
			}
			fmt.Fprintf(w, "  %s\n", record)
		}
	}
	if !explain {
		return
	}
	fmt.Fprintln(w)
	for _, step := range a.Steps {
		fmt.Fprintln(w, step)
	}
	if a.Steering != nil {
		writeSteering(w, p, a.Steering)
	}
}

func writeSteering(w io.Writer, p painter, s *api.DNSSteering) {
	pool := "the addresses of a view"
	if s.Pool != "" {
		pool = "pool " + s.Pool
	}
	fmt.Fprintf(w, "the client is led to %s %s\n", p.paint(bold, pool), s.Led)
	fmt.Fprintf(w, "answer %s, on what is %s, for %d s:\n", s.Answer, p.paint(modeColor(s.Mode), s.Mode), s.TTL)
	t := table{indent: "  "}
	for _, e := range s.Endpoints {
		mark, shade, verdict := " ", dim, "out"
		switch {
		case e.Answered:
			mark, shade, verdict = ">", green, "answered"
		case e.In:
			shade, verdict = plain, "in"
		}
		t.row(cell{text: mark, color: shade}, cell{text: e.Endpoint, color: shade}, text(strings.Join(e.Addresses, " ")),
			text(fmt.Sprintf("priority %d, weight %g", e.Priority, e.Weight)), cell{text: verdict, color: shade}, text(e.Reason))
	}
	t.write(w, p)
}
