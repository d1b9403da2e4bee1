package balance

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// ErrQueueFull is what Wait answers if as many requests wait as may.
var ErrQueueFull = errors.New("too many requests are waiting for an endpoint")

// Waiter is a request that waits for a place in a pool. It may be used again
// after it was woken or cancelled.
type Waiter struct {
	// Wake is called exactly once for each Wait that returned nil and was not
	// cancelled, with an endpoint on which a place is reserved; Done is then due.
	// The caller is the goroutine that freed the place, which may be the one that
	// is in Wait, before that returns. It holds no lock. Wake must not block.
	Wake func(*Endpoint)

	queued     bool
	next, prev *Waiter
}

// queue holds the waiting requests, first come first served. Senders of
// places look at pending before they lock; waiters raise it before they look for
// a place once more, so that one of the two sees the other.
type queue struct {
	pending atomic.Int64

	mu          sync.Mutex
	first, last *Waiter
}

func (q *queue) push(w *Waiter) {
	w.queued, w.next, w.prev = true, nil, q.last
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.pending.Add(1)
}

func (q *queue) remove(w *Waiter) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.queued, w.next, w.prev = false, nil, nil
	q.pending.Add(-1)
}

// Wait puts w at the end of the queue for a place, after Pick has answered
// ErrSaturated, or ErrNone if the caller hopes for an endpoint to come back. The
// error is ErrQueueFull. How long to wait is up to the caller, who ends it with
// Cancel.
func (p *Pool) Wait(w *Waiter, now time.Duration) error {
	q := &p.queue
	limit := int64(p.view.Load().config.MaxPending)
	q.mu.Lock()
	if w.queued {
		q.mu.Unlock()
		panic("balance: Wait with a Waiter that is waiting already")
	}
	if q.pending.Load() >= limit {
		q.mu.Unlock()
		return ErrQueueFull
	}
	q.push(w)
	q.mu.Unlock()
	p.dispatch(now)
	return nil
}

// Cancel takes w out of the queue. It reports false if w does not wait, because
// its Wake was called or is about to be.
func (p *Pool) Cancel(w *Waiter) bool {
	q := &p.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if !w.queued {
		return false
	}
	q.remove(w)
	return true
}

// Pending returns the number of requests that wait.
func (p *Pool) Pending() int { return int(p.queue.pending.Load()) }

// handOver gives the place that a request has on e to the first in the queue, if
// e may take another.
func (p *Pool) handOver(e *Endpoint) bool {
	v := p.view.Load()
	if !e.open(v.block) || len(v.spare) > 0 || e.inFlight.Load() > e.limit.Load() || p.inFlight.Load() > v.maxTotal {
		return false
	}
	q := &p.queue
	q.mu.Lock()
	w := q.first
	if w != nil {
		q.remove(w)
	}
	q.mu.Unlock()
	if w == nil {
		return false
	}
	w.Wake(e)
	return true
}

// dispatch gives places to those who wait for as long as there are any.
func (p *Pool) dispatch(now time.Duration) {
	q := &p.queue
	for q.pending.Load() > 0 {
		q.mu.Lock()
		w := q.first
		var e *Endpoint
		if w != nil {
			e = p.reserve(p.view.Load(), &Request{Now: now})
		}
		if e != nil {
			q.remove(w)
		}
		q.mu.Unlock()
		if e == nil {
			return
		}
		w.Wake(e)
	}
}
