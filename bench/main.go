// Command bench compares Trivet with HAProxy and nginx on this machine: same load, same backends, same run, interleaved round
// by round, medians and ratios. It writes a page to bench/results and says which of the project's own bars are met.
//
// Everything listens on loopback. Each server is started by the runner, and nothing else is ever signalled. All of it
// shares the machine's cores with the load, so what the proxy itself used per request is the figure to look at first.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// command is the runner, or one of the servers that it starts as processes of their own.
func command(ctx context.Context, args []string) error {
	if len(args) == 2 {
		switch args[0] {
		case udpBackend:
			return serveUDP(args[1])
		case acceptCommand:
			return accept(args[1])
		}
	}
	return run(ctx, args)
}

// settings are the runner's flags.
type settings struct {
	peers    []string
	dnsPeers []string
	cases    []string
	rounds   int
	seconds  float64
	trivet   string
	configs  string
	results  string
	quiet    float64 // percent of the machine that others may use in a round
	idle     int
}

func parseFlags(args []string) (settings, error) {
	var s settings
	var peers, dns, cases string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&peers, "peers", "haproxy,nginx,trivet", "who is compared, in the order of a round")
	flags.StringVar(&dns, "dns-peers", strings.Join(dnsPeers(), ","), "which name servers are compared")
	flags.StringVar(&cases, "cases", "all", "which cases: "+strings.Join(caseNames(), ","))
	flags.IntVar(&s.rounds, "rounds", 5, "rounds of each speed case; the faults take one in five of these, at least one")
	flags.Float64Var(&s.seconds, "seconds", 3, "seconds of each measurement, after one second to warm up")
	flags.StringVar(&s.trivet, "trivet", "bin/trivet", "the trivet binary")
	flags.StringVar(&s.configs, "configs", "bench/peers", "folder of the configurations")
	flags.StringVar(&s.results, "results", "bench/results", "folder for the page of results; empty for none")
	flags.Float64Var(&s.quiet, "quiet", 10, "repeat a measurement, twice at most, when other processes used more percent of the machine")
	flags.IntVar(&s.idle, "idle", 10000, "connections of the idle memory case")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	s.peers, s.dnsPeers = strings.Split(peers, ","), strings.Split(dns, ",")
	s.cases = caseNames()
	if cases != "all" {
		s.cases = strings.Split(cases, ",")
	}
	for _, name := range s.cases {
		if !slices.Contains(caseNames(), name) {
			return s, fmt.Errorf("no case %q; there are %s", name, strings.Join(caseNames(), ", "))
		}
	}
	for _, name := range s.peers {
		if !slices.Contains([]string{"haproxy", "nginx", "trivet"}, name) {
			return s, fmt.Errorf("no peer %q; there are haproxy, nginx and trivet", name)
		}
	}
	for _, name := range s.dnsPeers {
		if !slices.Contains(dnsPeers(), name) {
			return s, fmt.Errorf("no name server %q; there are %s", name, strings.Join(dnsPeers(), ", "))
		}
	}
	if s.rounds < 1 || s.seconds < 1 {
		return s, fmt.Errorf("%d rounds of %g s: at least one of each", s.rounds, s.seconds)
	}
	return s, nil
}

func run(ctx context.Context, args []string) error {
	s, err := parseFlags(args)
	if err != nil {
		return err
	}
	lab, err := newLab(s)
	if err != nil {
		return err
	}
	defer lab.close()
	began := time.Now()
	for _, c := range cases() {
		if !slices.Contains(s.cases, c.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", c.name, c.title)
		if err := c.run(ctx, lab, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	page := lab.page(began)
	fmt.Print(page)
	if s.results == "" {
		return nil
	}
	if err := os.MkdirAll(s.results, 0o755); err != nil {
		return err
	}
	name := filepath.Join(s.results, began.Format("2006-01-02-1504")+".md")
	fmt.Fprintln(os.Stderr, "written to", name)
	return os.WriteFile(name, []byte(page), 0o644)
}
