// Package quantile learns a quantile of recent durations, for policies that
// wait for as long as most calls take. It keeps a histogram and not the samples:
// its memory is bounded, and its answer is the truth or up to a thirty-second
// above it, so that no more than the wanted share of the samples exceeds it.
// It takes no lock that another waits for, allocates nothing, and reads no clock.
package quantile

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// The histogram's buckets are 1024 ns wide up to 66 µs; from there on each power of
// two is divided into 32, up to 69 s (as in G. Tene's HdrHistogram).
const (
	unitBits = 10
	partBits = 5
	parts    = 1 << partBits
	longest  = 1<<36 - 1 // nanoseconds
	buckets  = (36-unitBits-partBits-1)*parts + 2*parts
)

// refreshes is how often within a window the quantile is computed.
const refreshes = 64

// Estimator learns one quantile. Its methods may be called concurrently.
type Estimator struct {
	rank   float64
	window time.Duration
	least  int

	value     atomic.Int64 // nanoseconds; 0 is not known
	refreshAt atomic.Int64 // time.Duration
	active    atomic.Uint32

	mu       sync.Mutex
	rotateAt time.Duration
	begun    bool

	halves [2]histogram // of the window: the active one, and the one before
}

type histogram [buckets]atomic.Uint32

// New returns an estimator of the quantile rank (0..1) over what is between half
// a window and a whole one old. It is not known until there are at least so many
// samples.
func New(rank float64, window time.Duration, least int) *Estimator {
	e := &Estimator{rank: rank, window: window, least: least}
	e.refreshAt.Store(math.MinInt64)
	return e
}

// Observe takes a sample.
func (e *Estimator) Observe(now, sample time.Duration) {
	e.halves[e.active.Load()][bucket(sample)].Add(1)
	if int64(now) >= e.refreshAt.Load() && e.mu.TryLock() {
		e.refresh(now)
		e.mu.Unlock()
	}
}

// Value returns the quantile as it was computed last, or reports that it is not
// known.
func (e *Estimator) Value() (d time.Duration, known bool) {
	v := e.value.Load()
	return time.Duration(v), v != 0
}

// refresh computes the quantile, and begins a new half of the window if it is
// time to.
func (e *Estimator) refresh(now time.Duration) {
	e.refreshAt.Store(int64(now + e.window/refreshes))
	e.value.Store(int64(e.compute()))
	switch {
	case !e.begun:
		e.begun = true
		e.rotateAt = now + e.window/2
	case now >= e.rotateAt:
		next := 1 - e.active.Load()
		clear(&e.halves[next])
		if now-e.rotateAt >= e.window/2 { // a pause: the other half is old, too
			clear(&e.halves[1-next])
		}
		e.active.Store(next)
		e.rotateAt = now + e.window/2
	}
}

func clear(h *histogram) {
	for i := range h {
		h[i].Store(0)
	}
}

func (e *Estimator) compute() time.Duration {
	total := 0
	for i := range buckets {
		total += e.count(i)
	}
	if total < e.least {
		return 0
	}
	below := int(math.Ceil(e.rank * float64(total)))
	for i := range buckets {
		if below -= e.count(i); below <= 0 {
			return highest(i)
		}
	}
	return longest
}

func (e *Estimator) count(i int) int {
	return int(e.halves[0][i].Load()) + int(e.halves[1][i].Load())
}

// bucket returns the number of the bucket that d falls into.
func bucket(d time.Duration) int {
	v := uint64(min(max(d, 0), longest)) >> unitBits
	exponent := max(0, bits.Len64(v)-partBits-1)
	return exponent<<partBits + int(v>>exponent)
}

// highest returns the longest duration of a bucket.
func highest(i int) time.Duration {
	exponent := max(0, i>>partBits-1)
	next := uint64(i-exponent<<partBits+1) << exponent
	return time.Duration(next<<unitBits - 1)
}
