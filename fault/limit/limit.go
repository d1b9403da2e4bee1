// Package limit answers whether a call is within its rate, and if not, how long
// it is until it would be.
//
// A [Limiter] limits one thing; a [Keyed] limits each of millions, told apart by
// a key (a client's address, a user, a path), in memory of a fixed size. A call
// may take any number of tokens: its size in bytes, say.
//
// The package delays nothing, starts no goroutine and reads no clock.
package limit

import (
	"math"
	"sync/atomic"
	"time"
)

// Never is the wait of a call that asks for more tokens than there can be.
const Never = time.Duration(math.MaxInt64)

// Limiter limits the rate of one thing. Its methods may be called concurrently,
// take no lock and allocate nothing.
type Limiter struct {
	rule  rule
	state atomic.Uint64
}

// New returns a limiter that has given no token yet. The caller has checked c.
func New(c Config) *Limiter { return &Limiter{rule: newRule(c.WithDefaults())} }

// Config returns the rules, defaults filled in.
func (l *Limiter) Config() Config { return l.rule.config }

// Take takes n tokens, and reports true; or it takes none, and returns how long
// to wait before they are there, if nobody else takes them: the value of a
// Retry-After (RFC 9110 §10.2.3).
func (l *Limiter) Take(now time.Duration, n int) (wait time.Duration, ok bool) {
	return l.rule.take(&l.state, now, n)
}

// Reserve takes n tokens that will be there within atMost, and returns how long
// the caller must wait before using them. Whoever reserves first goes first. A
// sliding window gives nothing in advance: its Reserve waits for nothing.
func (l *Limiter) Reserve(now time.Duration, n int, atMost time.Duration) (wait time.Duration, ok bool) {
	return l.rule.reserve(&l.state, now, n, atMost)
}

// Return gives n tokens back that were taken and not used.
func (l *Limiter) Return(now time.Duration, n int) { l.rule.put(&l.state, now, n) }

// Remaining returns how many tokens may be taken at once.
func (l *Limiter) Remaining(now time.Duration) int { return l.rule.remaining(l.state.Load(), now) }

// rule is what one word of state means and becomes. The zero state is that of
// something never used.
type rule struct {
	config Config
	bucket bucket
	window sliding
}

func newRule(c Config) rule {
	return rule{config: c, bucket: newBucket(c), window: newSliding(c)}
}

func (r *rule) take(state *atomic.Uint64, now time.Duration, n int) (wait time.Duration, ok bool) {
	n = max(n, 0)
	for {
		old := state.Load()
		var next uint64
		if r.config.Algorithm == TokenBucket {
			next, wait = r.bucket.take(old, now, n)
		} else {
			next, wait = r.window.take(old, now, n)
		}
		if wait > 0 {
			return wait, false
		}
		if state.CompareAndSwap(old, next) {
			return 0, true
		}
	}
}

func (r *rule) reserve(state *atomic.Uint64, now time.Duration, n int, atMost time.Duration) (wait time.Duration, ok bool) {
	if r.config.Algorithm == SlidingWindow {
		return r.take(state, now, n)
	}
	n = max(n, 0)
	for {
		old := state.Load()
		next, wait := r.bucket.take(old, now, n)
		if wait > max(atMost, 0) || wait == Never {
			return wait, false
		}
		if state.CompareAndSwap(old, next) {
			return wait, true
		}
	}
}

func (r *rule) put(state *atomic.Uint64, now time.Duration, n int) {
	for {
		old := state.Load()
		next := r.window.put(old, now, n)
		if r.config.Algorithm == TokenBucket {
			next = r.bucket.put(old, n)
		}
		if state.CompareAndSwap(old, next) {
			return
		}
	}
}

func (r *rule) remaining(state uint64, now time.Duration) int {
	if r.config.Algorithm == TokenBucket {
		return r.bucket.remaining(state, now)
	}
	return r.window.remaining(state, now)
}

// debt is how much is used up: 0 if the state might as well be new.
func (r *rule) debt(state uint64, now time.Duration) int64 {
	if r.config.Algorithm == TokenBucket {
		return int64(r.bucket.behind(state, now))
	}
	return r.window.used(state, now)
}
