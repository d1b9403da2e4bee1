// Package adaptive answers how many calls a service can bear at a time, by
// looking at how long they take: when more calls in flight only make each of
// them slower, there are too many. So nobody need guess a limit, and the limit
// follows when the service becomes faster or slower.
//
// A [Limiter] lets calls in up to its limit and refuses the others, or has them
// wait in a bulkhead's queue. The limit is found from the latencies by one of
// the algorithms of Netflix's concurrency-limits.
//
// The package makes no call, starts no goroutine and reads no clock.
package adaptive

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/fault/bulkhead"
)

// Outcome is how a call went, as far as it says something about load.
type Outcome uint8

// The outcomes.
const (
	// OK: it was answered; how long that took counts.
	OK Outcome = iota
	// Dropped: the service turned it away, or did not answer in time.
	Dropped
	// Ignored: it says nothing about load, as when its caller gave up, or it
	// failed at once.
	Ignored
)

func (o Outcome) String() string { return [...]string{"ok", "dropped", "ignored"}[o] }

// Limiter lets as many calls run at a time as the service can bear. Its methods
// may be called concurrently and allocate nothing; without a queue they take no
// lock that another waits for.
type Limiter struct {
	config Config
	gate   *bulkhead.Bulkhead

	// The calls that have ended in the present window.
	count   atomic.Int64
	total   atomic.Int64 // of their latencies, in nanoseconds
	most    atomic.Int32 // in flight
	dropped atomic.Bool
	end     atomic.Int64 // time.Duration at which the window ends

	mu       sync.Mutex
	estimate *estimate
}

// Ticket is the leave to make one call.
type Ticket struct {
	begun    time.Duration
	inFlight int32 // with this one
}

// New returns a limiter with its initial limit. The caller has checked c.
func New(c Config) *Limiter {
	c = c.WithDefaults()
	l := &Limiter{config: c, gate: bulkhead.New(c.Queue)}
	l.estimate = newEstimate(&l.config)
	l.end.Store(math.MinInt64)
	return l
}

// Config returns the rules, defaults filled in.
func (l *Limiter) Config() Config { return l.config }

// Limit returns the present limit.
func (l *Limiter) Limit() int { return l.gate.Limit() }

// Gate is where the calls run and wait. Who finds no room may wait with
// [bulkhead.Bulkhead.Wait] and, once admitted, call [Limiter.Admitted]; nothing
// else of it is for callers to change.
func (l *Limiter) Gate() *bulkhead.Bulkhead { return l.gate }

// Acquire lets a call run if there is room for it. If so, [Limiter.Done] must be
// called exactly once with the ticket.
func (l *Limiter) Acquire(now time.Duration) (Ticket, bool) {
	if !l.gate.Acquire() {
		return Ticket{}, false
	}
	return l.Admitted(now), true
}

// Admitted returns the ticket of a call that waited at the gate and was admitted
// now.
func (l *Limiter) Admitted(now time.Duration) Ticket {
	return Ticket{now, int32(l.gate.Running())}
}

// Done reports how the call with the ticket went, which ended now.
func (l *Limiter) Done(t Ticket, o Outcome, now time.Duration) {
	if o != Ignored {
		l.observe(t, o == Dropped, now)
	}
	l.gate.Release(now)
}

func (l *Limiter) observe(t Ticket, dropped bool, now time.Duration) {
	for most := l.most.Load(); t.inFlight > most && !l.most.CompareAndSwap(most, t.inFlight); most = l.most.Load() {
	}
	if dropped {
		l.dropped.Store(true)
	}
	l.total.Add(int64(now - t.begun))
	n := l.count.Add(1)
	if n >= int64(l.config.Samples) && int64(now) >= l.end.Load() && l.mu.TryLock() {
		l.adjust(now)
		l.mu.Unlock()
	}
}

// adjust ends the window and infers the next limit from it. Calls that end
// meanwhile count for this window or the next.
func (l *Limiter) adjust(now time.Duration) {
	l.end.Store(int64(now + l.config.Window))
	n, total := l.count.Swap(0), l.total.Swap(0)
	if n == 0 { // another goroutine has just ended it
		return
	}
	l.estimate.update(Sample{
		Latency:  max(time.Duration(total/n), 1),
		InFlight: int(l.most.Swap(0)),
		Dropped:  l.dropped.Swap(false),
	})
	l.gate.SetLimit(int(l.estimate.limit), now)
}
