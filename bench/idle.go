package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// runIdle opens connections, asks once on each, and looks at what they cost the proxy while nothing happens on them.
func runIdle(ctx context.Context, l *lab, c benchCase) error {
	backends, err := l.backends(ctx, 2)
	if err != nil {
		return err
	}
	defer stopAll(backends)
	// A fresh proxy each time: what a peak has left behind must not hide what connections cost.
	for round := range max(l.rounds/2, 1) {
		proxies, err := l.proxies(ctx, c.kind, backends)
		if err != nil {
			return err
		}
		for _, p := range proxies {
			perConnection, err := idleMemory(ctx, p, l.idle)
			if err != nil {
				stopAll(proxies)
				return fmt.Errorf("%s: %w", p.name, err)
			}
			l.samples = append(l.samples, sample{name: c.name, peer: p.name, round: round, memoryBytes: perConnection})
			fmt.Fprintf(os.Stderr, "  round %d  %-8s %7.0f bytes per connection\n", round+1, p.name, perConnection)
		}
		stopAll(proxies)
	}
	return nil
}

// idleMemory returns how many bytes each of n idle connections adds to the proxy's proportional set size.
func idleMemory(ctx context.Context, p *server, n int) (perConnection float64, err error) {
	before, err := memoryOf(p.child.PID())
	if err != nil {
		return 0, err
	}
	open := make([]net.Conn, 0, n)
	defer func() {
		for _, nc := range open {
			nc.Close()
		}
	}()
	for range n {
		nc, err := askOnce(ctx, p)
		if err != nil {
			return 0, fmt.Errorf("connection %d of %d: %w", len(open)+1, n, err)
		}
		open = append(open, nc)
	}
	if err := pause(ctx, 2*time.Second); err != nil { // let garbage collectors and timers settle
		return 0, err
	}
	after, err := memoryOf(p.child.PID())
	return (after - before) / float64(n), err
}

func askOnce(ctx context.Context, p *server) (nc net.Conn, err error) {
	var d net.Dialer
	if nc, err = d.DialContext(ctx, "tcp", p.address()); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			nc.Close()
		}
	}()
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(nc, "GET /128 HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(bufio.NewReaderSize(nc, 1024), nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	return nc, nil
}
