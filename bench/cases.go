package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"
)

// A benchCase is one kind of load.
type benchCase struct {
	name, title string
	run         func(context.Context, *lab, benchCase) error

	kind        string // of the proxies' configurations: "", "-tcp" or "-udp"
	path        string // speed cases
	connections int
	perRequest  bool // a connection for each request
	window      int  // datagrams that each client has under way

	rate   float64        // open loop
	signal syscall.Signal // faults
	dns    bool           // name servers are asked
}

// openRate is the load of the open-loop cases, in requests per second.
const openRate = 2000

func cases() []benchCase {
	return []benchCase{
		{name: "128-c64", title: "128 B, 64 connections", run: runSpeed, path: "/128", connections: 64},
		{name: "128-c512", title: "128 B, 512 connections", run: runSpeed, path: "/128", connections: 512},
		{name: "16k-c64", title: "16 KiB, 64 connections", run: runSpeed, path: "/16k", connections: 64},
		{name: "1m-c16", title: "1 MiB, 16 connections", run: runSpeed, path: "/1m", connections: 16},
		{name: "close-c64", title: "128 B, a connection per request, 64 at a time", run: runSpeed, path: "/128", connections: 64, perRequest: true},
		{name: "open-2000", title: "128 B, open loop, 2 000 requests/s", run: runSpeed, path: "/128", rate: openRate},
		{name: "idle", title: "memory of an idle client connection", run: runIdle},
		{name: "tcp-128-c64", title: "By address: 128 B, 64 connections", run: runSpeed, kind: "-tcp", path: "/128", connections: 64},
		{name: "tcp-1m-c16", title: "By address: 1 MiB, 16 connections", run: runSpeed, kind: "-tcp", path: "/1m", connections: 16},
		{name: "tcp-close-c64", title: "By address: 128 B, a connection per session, 64 at a time", run: runSpeed, kind: "-tcp", path: "/128", connections: 64, perRequest: true},
		{name: "tcp-idle", title: "By address: memory of an idle session", run: runIdle, kind: "-tcp"},
		{name: "udp-c64", title: "UDP: 128 B there and back, 64 clients with 8 under way", run: runSpeed, kind: "-udp", connections: 64, window: 8},
		{name: "udp-c512", title: "UDP: 128 B there and back, 512 clients with 1 under way", run: runSpeed, kind: "-udp", connections: 512, window: 1},
		{name: "kill", title: "one of three backends is killed, open loop, 2 000 requests/s", run: runFault, rate: openRate, signal: syscall.SIGKILL},
		{name: "stop", title: "one of three backends hangs, open loop, 2 000 requests/s", run: runFault, rate: openRate, signal: syscall.SIGSTOP},
		{name: "dns", title: "DNS, A records that follow health", run: runNames, connections: 32, dns: true},
		{name: "dns-death", title: "DNS, a server behind the name is killed", run: runDeath},
	}
}

func caseNames() (names []string) {
	for _, c := range cases() {
		names = append(names, c.name)
	}
	return names
}

// A sample is one measurement of one proxy.
type sample struct {
	name, peer string
	round      int

	requests, errors float64
	perSecond        float64
	p50, p99         time.Duration
	cpuPerRequest    time.Duration // user and system time of the proxy's processes
	memoryBytes      float64       // proportional set size; per connection in the idle case
	foreign          float64       // percent of the machine that others used
}

// runSpeed measures every proxy in turn, round after round.
func runSpeed(ctx context.Context, l *lab, c benchCase) error {
	start := l.backends
	if c.window > 0 {
		start = l.udpBackends
	}
	backends, err := start(ctx, 2)
	if err != nil {
		return err
	}
	proxies, err := l.proxies(ctx, c.kind, backends)
	if err != nil {
		return err
	}
	defer stopAll(proxies, backends)
	for round := range l.rounds {
		for _, p := range proxies {
			s, err := l.measureQuietly(ctx, c, p, append(backends, p))
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			s.round = round
			l.samples = append(l.samples, s)
			fmt.Fprintf(os.Stderr, "  round %d  %-8s %9.0f/s  p50 %8v  p99 %8v  cpu %8v/request  errors %.0f  others %.0f %%\n",
				round+1, p.name, s.perSecond, s.p50.Round(time.Microsecond), s.p99.Round(time.Microsecond), s.cpuPerRequest.Round(10*time.Nanosecond), s.errors, s.foreign)
		}
	}
	return nil
}

// measureQuietly repeats a measurement, twice at most, that others have disturbed, and keeps the quietest.
func (l *lab) measureQuietly(ctx context.Context, c benchCase, p *server, ours []*server) (best sample, err error) {
	for try := range 3 {
		s, err := l.measure(ctx, c, p, ours)
		if err != nil {
			return s, err
		}
		if try == 0 || s.foreign < best.foreign {
			best = s
		}
		if best.foreign <= l.quiet {
			break
		}
	}
	return best, nil
}

func (l *lab) measure(ctx context.Context, c benchCase, p *server, ours []*server) (sample, error) {
	load := func(seconds float64) (outcome, error) {
		if c.window > 0 {
			return closedUDP(ctx, p.port, c.connections, c.window, seconds)
		}
		if c.rate > 0 {
			return openLoop(ctx, p.address(), c.path, c.rate, seconds)
		}
		return closedLoop(ctx, p.url(c.path), c.connections, c.perRequest, seconds)
	}
	if _, err := load(1); err != nil {
		return sample{}, err
	}
	before, machine, err := l.meter(p, ours)
	if err != nil {
		return sample{}, err
	}
	out, err := load(l.seconds)
	if err != nil {
		return sample{}, err
	}
	after, machineAfter, err := l.meter(p, ours)
	if err != nil {
		return sample{}, err
	}
	memory, err := memoryOf(p.child.PID())
	if err != nil {
		return sample{}, err
	}
	s := sample{name: c.name, peer: p.name, requests: out.requests, errors: out.errors, perSecond: out.requests / out.seconds,
		p50: out.p50, p99: out.p99, memoryBytes: memory, foreign: machineAfter.foreignSince(machine, out.cpu)}
	if out.requests > 0 {
		s.cpuPerRequest = time.Duration(float64(after-before) / out.requests)
	}
	return s, nil
}

// stopAll ends servers and waits for them.
func stopAll(groups ...[]*server) {
	for _, group := range groups {
		for _, s := range group {
			s.child.Stop(500 * time.Millisecond)
		}
	}
}
