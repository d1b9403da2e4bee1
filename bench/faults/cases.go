package main

import (
	"context"
	"syscall"
	"time"
)

// A faultCase is one kind of trouble.
type faultCase struct {
	name, title string
	rate        float64
	work        time.Duration // what a request takes at a backend
	workers     int           // requests that a backend serves at a time
	storm       time.Duration // how long the trouble is watched
	config      string        // instead of trivet-fault.yaml.tmpl: what Trivet is told beyond its defaults
	note        string        // the same for people
	strike      func(context.Context, *scene) error
}

// rate is the load of all cases but the overload, in requests per second.
const rate = 2000

func faultCases() []faultCase {
	one := func(mode string) func(context.Context, *scene) error {
		return func(ctx context.Context, s *scene) error {
			if err := s.tell(1, mode); err != nil {
				return err
			}
			return pause(ctx, s.c.storm)
		}
	}
	send := func(sig syscall.Signal) func(context.Context, *scene) error {
		return func(ctx context.Context, s *scene) error {
			if err := s.backends[1].child.Signal(sig); err != nil {
				return err
			}
			return pause(ctx, s.c.storm)
		}
	}
	plain := faultCase{rate: rate, work: time.Millisecond, workers: 1000, storm: 8 * time.Second}
	c := func(name, title string, strike func(context.Context, *scene) error) faultCase {
		x := plain
		x.name, x.title, x.strike = name, title, strike
		return x
	}
	held := c("all-gone", "all three are gone for 2 s", func(ctx context.Context, s *scene) error { return s.allGone(ctx) })
	held.config, held.note = "hold: 10s", "Trivet is told `hold: 10s`: requests wait for a backend, and go out in their order."
	errors := c("errors", "one answers every second request with 500", one(modeErrors))
	errors.config, errors.note = "retry500", "Trivet is told `retry: {when: [connect, reset, stall, 500]}`."
	over := faultCase{
		name: "overload", title: "five times what the backends can bear, for 30 s", rate: 150, work: 20 * time.Millisecond, workers: 2,
		storm: 30 * time.Second, config: "concurrency: gradient", note: "They can bear 300 requests a second, and get 150 before and 1 500 in the storm. Trivet is told `concurrency: gradient`.",
		strike: func(ctx context.Context, s *scene) error { return s.overload(ctx, 5) },
	}
	return []faultCase{
		c("killed", "one is killed", send(syscall.SIGKILL)),
		c("hung", "one hangs (SIGSTOP)", send(syscall.SIGSTOP)),
		c("slow", "one becomes ten times as slow", one(modeSlow)),
		c("flapping", "one goes and comes every second", func(ctx context.Context, s *scene) error { return s.flap(ctx) }),
		errors,
		c("resets", "one breaks off in the middle of its answers", one(modeResets)),
		held,
		over,
	}
}
