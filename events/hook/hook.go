// Package hook tells other programs what happens: by a webhook, which is retried,
// or by a command of this machine.
//
// A hook reads a stream of events at its own pace. While its receiver is slow or
// away, events wait in the stream's memory and nowhere else; when that overflows
// the oldest are lost, and counted. A hook holds up nobody, and what becomes of
// hooks is told to no hook.
package hook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/events/stream"
)

// Notice is what a hook is told.
type Notice struct {
	Node  string       `json:"node"` // the name of this machine
	Event events.Event `json:"event"`
	// Incident is that of the event, as it stands; nil if it belongs to none.
	Incident *events.Incident `json:"incident,omitempty"`
}

// Deliverer brings a notice to where it belongs. An error may be a *Refusal or a
// *Later; after any other it is asked again.
type Deliverer interface {
	Deliver(context.Context, Notice) error
}

// Refusal is an error after which it makes no sense to try again.
type Refusal struct{ Reason string }

func (r *Refusal) Error() string { return r.Reason }

// Later is an error that says when to try again.
type Later struct {
	Reason string
	After  time.Duration
}

func (l *Later) Error() string { return l.Reason }

// Config describes a hook.
type Config struct {
	Name string
	// Filter chooses what it is told.
	Filter events.Filter
	// To is who delivers.
	To Deliverer
	// Node is the name of this machine.
	Node string
	// Concurrency is how many notices may be under way; 0 is 1, which keeps their
	// order.
	Concurrency int
	// Attempts is how often a notice is tried; 0 is once.
	Attempts int
	Log      *slog.Logger
}

// Pauses between attempts: the second comes after about a second, the eighth
// after two minutes more.
const (
	backoffBase = time.Second
	backoffMax  = time.Minute
)

// Hook is made by New. Its methods may be called by any goroutine.
type Hook struct {
	cfg    Config
	stream *stream.Stream
	from   *stream.Cursor // Run's

	delivered atomic.Uint64
	retried   atomic.Uint64
	failed    atomic.Uint64
	lost      atomic.Uint64
	pending   atomic.Int64
}

// New returns a hook that tells, once it runs, what happens in s from now on.
func New(cfg Config, s *stream.Stream) *Hook {
	cfg.Concurrency, cfg.Attempts = max(1, cfg.Concurrency), max(1, cfg.Attempts)
	return &Hook{cfg: cfg, stream: s, from: s.Live()}
}

// Name returns the hook's name.
func (h *Hook) Name() string { return h.cfg.Name }

// Run tells what happens until the stream ends, or until ctx ends, which also
// gives up what is under way. It returns nil and may be called once.
func (h *Hook) Run(ctx context.Context) error {
	var under sync.WaitGroup
	defer under.Wait()
	places := make(chan struct{}, h.cfg.Concurrency)
	for {
		batch, lost, err := h.from.Next(ctx)
		if err != nil {
			return nil // ended, or told to
		}
		if lost > 0 {
			h.lost.Add(lost)
			h.cfg.Log.Warn("hook is too slow; events are lost to it", "hook", h.cfg.Name, "events", lost)
		}
		for i := range batch {
			e := &batch[i]
			if !h.cfg.Filter.Match(e) || strings.HasPrefix(string(e.Kind), "hook.") {
				continue
			}
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			h.pending.Add(1)
			under.Go(func() {
				h.tell(ctx, *e)
				h.pending.Add(-1)
				<-places
			})
		}
	}
}

// tell delivers one event, or says that it could not.
func (h *Hook) tell(ctx context.Context, e events.Event) {
	n := Notice{Node: h.cfg.Node, Event: e}
	if i, ok := h.stream.Incident(e.Incident); ok {
		n.Incident = &i
	}
	err := h.try(ctx, n)
	switch {
	case err == nil:
		h.delivered.Add(1)
	case ctx.Err() != nil:
		h.failed.Add(1)
	default:
		h.failed.Add(1)
		h.stream.Publish(events.Event{
			Kind: events.HookFailed, Where: events.Where{Hook: h.cfg.Name}, Evidence: err.Error(),
			Action: fmt.Sprintf("gave up telling of %s, event %d", e.Kind, e.ID),
		})
	}
}

// try delivers a notice as often as it is allowed to.
func (h *Hook) try(ctx context.Context, n Notice) error {
	for attempt := 1; ; attempt++ {
		err := h.cfg.To.Deliver(ctx, n)
		var refused *Refusal
		if err == nil || errors.As(err, &refused) || attempt >= h.cfg.Attempts {
			return err
		}
		pause := backoff(attempt)
		var later *Later
		if errors.As(err, &later) {
			pause = min(max(later.After, pause), backoffMax)
		}
		h.retried.Add(1)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// backoff is the pause after so many attempts: doubled each time, with a half of
// it left to chance, so that hooks of many nodes do not call in step.
func backoff(attempts int) time.Duration {
	d := min(backoffBase<<min(attempts-1, 16), backoffMax)
	return d/2 + rand.N(d/2)
}

// Stats are a hook's counters since New.
type Stats struct {
	Delivered uint64 // notices
	Retried   uint64 // attempts after the first
	Failed    uint64 // notices given up
	Lost      uint64 // events it was too slow for
	Pending   int    // notices under way
}

// Stats returns the counters.
func (h *Hook) Stats() Stats {
	return Stats{
		Delivered: h.delivered.Load(), Retried: h.retried.Load(), Failed: h.failed.Load(), Lost: h.lost.Load(),
		Pending: int(h.pending.Load()),
	}
}
