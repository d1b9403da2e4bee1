// Package bulkhead answers whether a call may run beside those that run already,
// so that one slow service can't take all of a program's memory and connections
// with it.
//
// Up to Config.Limit calls run at a time, and a bounded number waits. How long
// they may wait depends on why there is a queue. One that has been empty lately,
// and from which nobody had to be sent away, is a burst, which waiting smooths.
// Any other is an overload, where waiting only makes every call late: then
// most are refused after a few milliseconds, and those that get through were
// hardly delayed. That is CoDel (RFC 8289) as in B. Maurer, "Fail at Scale", ACM
// Queue 13 (2015).
//
// Source of the name: M. Nygard, "Release It!", 2007.
//
// The package starts no goroutine, sets no timer and reads no clock.
package bulkhead

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Bulkhead lets calls in. Its methods may be called concurrently. As long as
// nobody waits, Acquire and Release are one atomic step each.
//
// state says how many run and how many wait in one word, so that nobody who
// wants to wait can miss the last one who leaves. Nobody overtakes those who
// wait: while there are any, all changes are made under mu.
type Bulkhead struct {
	config Config
	limit  atomic.Int32
	state  atomic.Uint64 // waiting above, running below

	mu        sync.Mutex
	queue     list
	lastEmpty time.Duration // when a call last found nobody waiting
	lateUntil time.Duration // an Interval after a call last waited too long
}

const oneWaiting = 1 << 32

func running(state uint64) int32 { return int32(uint32(state)) }
func waiting(state uint64) int32 { return int32(state >> 32) }

// New returns a bulkhead in which nothing runs. The caller has checked c.
func New(c Config) *Bulkhead {
	b := &Bulkhead{config: c.WithDefaults()}
	b.limit.Store(int32(b.config.Limit))
	b.lateUntil = math.MinInt64
	return b
}

// Config returns the rules, defaults filled in.
func (b *Bulkhead) Config() Config { return b.config }

// Limit returns the number of calls that may run at a time.
func (b *Bulkhead) Limit() int { return int(b.limit.Load()) }

// Running returns the number of calls that run.
func (b *Bulkhead) Running() int { return int(running(b.state.Load())) }

// Waiting returns the number of calls that wait.
func (b *Bulkhead) Waiting() int { return int(waiting(b.state.Load())) }

// Acquire lets a call run if there is room for it and nobody waits for that
// room. If so, [Bulkhead.Release] must be called exactly once.
func (b *Bulkhead) Acquire() bool {
	for {
		s := b.state.Load()
		if waiting(s) > 0 || running(s) >= b.limit.Load() {
			return false
		}
		if b.state.CompareAndSwap(s, s+1) {
			return true
		}
	}
}

// Release ends a call, and lets one that waits run in its place.
func (b *Bulkhead) Release(now time.Duration) {
	for {
		s := b.state.Load()
		if waiting(s) > 0 {
			break
		}
		if b.state.CompareAndSwap(s, s-1) {
			return
		}
	}
	b.mu.Lock()
	b.state.Add(^uint64(0))
	woken := b.dispatch(now)
	b.mu.Unlock()
	woken.wake()
}

// SetLimit changes the number of calls that may run at a time, at least 1. Calls
// above a lower limit go on.
func (b *Bulkhead) SetLimit(n int, now time.Duration) {
	n = min(max(n, 1), maxCalls)
	if b.limit.Swap(int32(n)) >= int32(n) || b.Waiting() == 0 {
		return
	}
	b.mu.Lock()
	woken := b.dispatch(now)
	b.mu.Unlock()
	woken.wake()
}

// Wait makes w wait for room, after Acquire has reported that there is none. It
// returns until when; whoever waits then still calls [Bulkhead.Cancel] and gives
// up. It reports false if too many are waiting already.
func (b *Bulkhead) Wait(w *Waiter, now time.Duration) (until time.Duration, ok bool) {
	b.mu.Lock()
	if b.Acquire() { // somebody left meanwhile
		b.mu.Unlock()
		w.Wake(true)
		return now, true
	}
	n := b.Waiting()
	if n >= b.config.Queue {
		b.mu.Unlock()
		return now, false
	}
	if n == 0 {
		b.lastEmpty = now
	}
	w.until = now + b.patience(now)
	w.queued = true
	b.queue.push(w)
	b.state.Add(oneWaiting)
	woken := b.dispatch(now) // or somebody left just now
	until = w.until
	b.mu.Unlock()
	woken.wake()
	return until, true
}

// Cancel makes w wait no longer. It reports false if w does not wait, because its
// Wake was called or is about to be.
func (b *Bulkhead) Cancel(w *Waiter, now time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !w.queued {
		return false
	}
	if now >= w.until {
		b.lateUntil = now + b.config.Interval
	}
	w.queued = false
	b.queue.remove(w)
	b.state.Add(^uint64(oneWaiting - 1))
	return true
}

// Overloaded reports whether calls wait and it does not help.
func (b *Bulkhead) Overloaded(now time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Waiting() > 0 && b.overloaded(now)
}

// overloaded reports whether the queue has not been empty for an Interval, or
// somebody waited too long within one: where few may wait the queue of an
// overload is empty every now and then.
func (b *Bulkhead) overloaded(now time.Duration) bool {
	return now-b.lastEmpty > b.config.Interval || now < b.lateUntil
}

// patience is how long a call that comes now may wait.
func (b *Bulkhead) patience(now time.Duration) time.Duration {
	if b.overloaded(now) {
		return b.config.Target
	}
	return b.config.Interval
}

// dispatch takes those from the queue who may run or have waited too long. The
// caller holds mu, and wakes them after. While anybody waits nothing but dispatch
// changes the state, so room that it sees can't be taken by another.
func (b *Bulkhead) dispatch(now time.Duration) (woken list) {
	for s := b.state.Load(); waiting(s) > 0 && running(s) < b.limit.Load(); s = b.state.Load() {
		w := b.queue.first
		if b.config.Order == NewestInOverload && b.overloaded(now) && w.until > now {
			w = b.queue.last
		}
		w.queued = false
		b.queue.remove(w)
		if w.admitted = w.until > now; w.admitted {
			s++
		} else {
			b.lateUntil = now + b.config.Interval
		}
		b.state.Store(s - oneWaiting)
		woken.push(w)
	}
	return woken
}
