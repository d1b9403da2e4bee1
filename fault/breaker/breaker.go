// Package breaker answers whether a call may be made, judged by how the calls
// before it went: a service that fails is left alone for a while, which spares
// its callers the wait and itself the load.
//
// A [Breaker] is closed while all is well. It opens when too many calls of a
// window of time, or of the latest calls, have failed or were slow, or when a
// number of them has failed in a row. Open it refuses all calls; after a while
// it is half open and lets a few probes through. If these go well it closes, and
// if one does not it opens again. Any state can be forced by hand.
//
// Sources: M. Nygard, "Release It!", 2007, for the pattern; resilience4j for
// windows and slow calls; sony/gobreaker for failures in a row.
//
// Put one before each server and not before a pool of them: the failures of one
// of two servers would cut both off.
//
// The package makes no call, starts no goroutine and reads no clock.
package breaker

import (
	"sync/atomic"
	"time"
)

// State is what a breaker does with calls.
type State uint8

// The states.
const (
	// Closed: calls are let through and counted.
	Closed State = iota
	// Open: calls are refused.
	Open
	// HalfOpen: a few calls are let through to see how they go.
	HalfOpen
)

func (s State) String() string { return [...]string{"closed", "open", "half open"}[s] }

// Mode is who decides.
type Mode uint8

// The modes.
const (
	// Automatic: the calls decide.
	Automatic Mode = iota
	// ForcedOpen: all calls are refused, until another mode is set.
	ForcedOpen
	// ForcedClosed: all calls are let through, and none is counted.
	ForcedClosed
)

func (m Mode) String() string { return [...]string{"automatic", "forced open", "forced closed"}[m] }

// Outcome is how a call went.
type Outcome uint8

// The outcomes.
const (
	// OK: the service did what it was asked, or said why it is the caller who is
	// wrong.
	OK Outcome = iota
	// Failed: it did not.
	Failed
	// Ignored: the call says nothing about the service, as when its caller gave
	// up. It is not counted.
	Ignored
)

func (o Outcome) String() string { return [...]string{"ok", "failed", "ignored"}[o] }

// Breaker guards the calls of one service. Its methods may be called
// concurrently. While it is closed, and no call has failed lately, Allow and Done
// cost a few nanoseconds. They take no lock, and allocate only as the state changes.
type Breaker struct {
	config Config
	epoch  atomic.Pointer[epoch]
}

// epoch is the time from one change of the state to the next. Each call belongs
// to the one that it began in, and counts for no other: what was asked before the
// breaker opened says nothing about how the service does after.
type epoch struct {
	state  State
	mode   Mode
	since  time.Duration
	until  time.Duration // when an open one ends, or half open its probes are given up
	reason string

	tally tally // if closed

	admitted  atomic.Int32 // probes, if half open
	succeeded atomic.Int32
}

// Ticket is the leave to make one call.
type Ticket struct {
	epoch *epoch
	begun time.Duration
}

// Change tells of a change of the state.
type Change struct {
	From, To State
	Mode     Mode
	Reason   string // for people
	At       time.Duration
}

// New returns a closed breaker that has seen no call. The caller has checked c.
func New(c Config) *Breaker {
	b := &Breaker{config: c.WithDefaults()}
	b.epoch.Store(b.closed())
	return b
}

// Config returns the rules, defaults filled in.
func (b *Breaker) Config() Config { return b.config }

// Allow reports whether a call may begin now. If so, [Breaker.Done] must be
// called exactly once with the ticket.
func (b *Breaker) Allow(now time.Duration) (Ticket, bool) {
	e := b.epoch.Load()
	if e.state == Closed {
		return Ticket{e, now}, true
	}
	return b.probe(e, now)
}

// probe lets a call of an open or half open breaker through if it is time for
// one.
func (b *Breaker) probe(e *epoch, now time.Duration) (Ticket, bool) {
	for e.mode == Automatic {
		switch {
		case e.state == Closed, e.state == HalfOpen && e.admit(b.config.Probes):
			return Ticket{e, now}, true
		case now < e.until:
			return Ticket{}, false
		}
		reason := "it is time to try again"
		if e.state == HalfOpen {
			reason = "the probes have not returned"
		}
		b.change(e, &epoch{state: HalfOpen, since: now, until: now + b.config.OpenFor, reason: reason})
		e = b.epoch.Load()
	}
	return Ticket{e, now}, e.mode == ForcedClosed
}

// admit counts one more probe unless there are limit of them.
func (e *epoch) admit(limit int) bool {
	for n := e.admitted.Load(); n < int32(limit); n = e.admitted.Load() {
		if e.admitted.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// Timed reports whether it matters to the breaker when a call that went well has
// ended. If not, [Breaker.Done] may be told the time when it began.
func (b *Breaker) Timed() bool {
	return b.config.SlowCall > 0 || b.config.Calls == 0 && b.config.FailureRate >= 0
}

// Done reports how the call with the ticket went, which ended now. A call that
// began before the last change of the state is ignored.
func (b *Breaker) Done(t Ticket, o Outcome, now time.Duration) {
	e := t.epoch
	if e == nil || e != b.epoch.Load() || e.mode != Automatic {
		return
	}
	slow := b.config.SlowCall > 0 && now-t.begun >= b.config.SlowCall
	switch {
	case e.state == HalfOpen:
		b.probed(e, o, slow, now)
	case o != Ignored && e.tally.add(o == Failed, slow, now):
		b.judge(e, now)
	}
}

// judge opens the breaker if the calls so far say so.
func (b *Breaker) judge(e *epoch, now time.Duration) {
	if reason := b.config.judge(e.tally.counts(now)); reason != "" {
		b.open(e, reason, now)
	}
}

// probed takes the result of a probe.
func (b *Breaker) probed(e *epoch, o Outcome, slow bool, now time.Duration) {
	switch {
	case o == Ignored:
		e.admitted.Add(-1) // another may go
	case o == Failed:
		b.open(e, "a probe failed", now)
	case slow:
		b.open(e, "a probe was slow", now)
	case e.succeeded.Add(1) == int32(b.config.Probes):
		c := b.closed()
		c.since, c.reason = now, "the probes went well"
		b.change(e, c)
	}
}

func (b *Breaker) open(e *epoch, reason string, now time.Duration) {
	b.change(e, &epoch{state: Open, since: now, until: now + b.config.OpenFor, reason: reason})
}

func (b *Breaker) closed() *epoch {
	return &epoch{state: Closed, tally: newTally(&b.config)}
}

// change begins the epoch next unless another goroutine has ended old already.
func (b *Breaker) change(old, next *epoch) {
	if !b.epoch.CompareAndSwap(old, next) {
		return
	}
	if b.config.OnChange != nil && (old.state != next.state || old.mode != next.mode) {
		b.config.OnChange(Change{From: old.state, To: next.state, Mode: next.mode, Reason: next.reason, At: next.since})
	}
}

// Force sets who decides. Automatic after a forced mode begins with a closed
// breaker that has seen no call.
func (b *Breaker) Force(m Mode, reason string, now time.Duration) {
	for {
		old := b.epoch.Load()
		if old.mode == m {
			return
		}
		next := b.closed()
		if m == ForcedOpen {
			next.state = Open
		}
		next.mode, next.since, next.reason = m, now, reason
		b.change(old, next)
	}
}

// Status is what is known of a breaker, for people.
type Status struct {
	State  State
	Mode   Mode
	Since  time.Duration // the last change
	Until  time.Duration // the next probe, if open and not forced
	Reason string        // of the last change
	Counts Counts        // if closed
}

// Status returns the present state.
func (b *Breaker) Status(now time.Duration) Status {
	e := b.epoch.Load()
	s := Status{State: e.state, Mode: e.mode, Since: e.since, Reason: e.reason}
	switch {
	case e.state == Open:
		s.Until = e.until
	case e.state == Closed:
		s.Counts = e.tally.counts(now)
	}
	return s
}

// Wait returns how long it is until a refused call is worth another try: the
// value of a Retry-After. It is 0 if one may be let through now.
func (b *Breaker) Wait(now time.Duration) time.Duration {
	e := b.epoch.Load()
	switch {
	case e.mode == ForcedOpen:
		return b.config.OpenFor // nobody knows
	case e.state == Open, e.state == HalfOpen && e.admitted.Load() >= int32(b.config.Probes):
		return max(0, e.until-now)
	}
	return 0
}
