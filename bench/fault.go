package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/trivet-ha/trivet/internal/demo/load"
)

// How long a fault case watches before and after the fault.
const (
	calmFor  = 5 * time.Second
	stormFor = 10 * time.Second
)

// A faultSample is what the clients saw of one fault.
type faultSample struct {
	name, peer string
	round      int

	before, after load.Summary
	struck        time.Time
}

// lastAfter returns how long after the fault a request was still concerned.
func (f *faultSample) lastAfter(t time.Time) time.Duration {
	if t.Before(f.struck) {
		return 0
	}
	return t.Sub(f.struck)
}

// runFault takes one of three backends away, for each proxy in turn.
func runFault(ctx context.Context, l *lab, c benchCase) error {
	for round := range max(l.rounds/5, 1) {
		for _, peer := range l.peers {
			alone := *l
			alone.peers = []string{peer}
			f, err := alone.strike(ctx, c)
			if err != nil {
				return fmt.Errorf("%s: %w", peer, err)
			}
			f.round = round
			l.faults = append(l.faults, f)
			fmt.Fprintf(os.Stderr, "  round %d  %-8s failed %d (%s), over 1 s %d, last slow %.2f s after, p99 %v then %v, max %v\n", round+1, peer,
				f.after.Failures(), f.after.Why(), f.after.Slow, f.lastAfter(f.after.LastSlow).Seconds(),
				f.before.Latency.Quantile(0.99).Round(time.Microsecond), f.after.Latency.Quantile(0.99).Round(time.Microsecond), f.after.Latency.Max().Round(time.Millisecond))
		}
	}
	return nil
}

// strike sends the load through one proxy, and the signal to one backend in the middle of it.
func (l *lab) strike(ctx context.Context, c benchCase) (f faultSample, err error) {
	backends, err := l.backends(ctx, 3)
	if err != nil {
		return f, err
	}
	defer stopAll(backends)
	proxies, err := l.proxies(ctx, "-fault", backends)
	if err != nil {
		return f, err
	}
	defer stopAll(proxies)
	if err := pause(ctx, time.Second); err != nil { // every proxy has probed every backend
		return f, err
	}
	f = faultSample{name: c.name, peer: proxies[0].name}
	victim := backends[1].child
	rec := load.NewRecorder(time.Second)
	err = sendUntil(ctx, proxies[0].address(), "/128", c.rate, rec, func(ctx context.Context) error {
		if err := pause(ctx, time.Second); err != nil { // connections are made, response times are known
			return err
		}
		rec.Phase("before")
		if err := pause(ctx, calmFor); err != nil {
			return err
		}
		f.struck = time.Now()
		rec.Phase("after")
		if err := victim.Signal(c.signal); err != nil {
			return err
		}
		return pause(ctx, stormFor)
	})
	if c.signal == syscall.SIGSTOP {
		_ = victim.Signal(syscall.SIGCONT) // so that it can hear the end
	}
	if err != nil {
		return f, err
	}
	phases := rec.Summaries()
	f.before, f.after = phases[0], phases[1]
	return f, nil
}
