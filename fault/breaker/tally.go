package breaker

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/fault/internal/window"
)

// Counts are the calls of a window. Without a rate to judge by there is none, and
// only Run is counted.
type Counts struct {
	Calls    int
	Failures int
	Slow     int
	Run      int // failures since the last success
}

// tally counts the calls of one epoch: those of a window of time, the latest ones,
// or only failures in a row.
type tally struct {
	run    atomic.Int32
	period *period
	latest *latest
}

func newTally(c *Config) tally {
	switch {
	case c.FailureRate < 0 && c.SlowCall == 0:
		return tally{} // failures in a row need no window
	case c.Calls > 0:
		return tally{latest: newLatest(c.Calls)}
	}
	p := &period{length: c.Window, scale: window.NewScale(c.Window)}
	p.clean.Store(math.MinInt64)
	return tally{period: p}
}

// add counts a call. It reports true if there is anything among those counted
// that could open a breaker.
func (t *tally) add(failed, slow bool, now time.Duration) (suspicious bool) {
	if failed {
		t.run.Add(1)
	} else if t.run.Load() != 0 {
		t.run.Store(0)
	}
	switch {
	case t.latest != nil:
		return t.latest.add(failed, slow)
	case t.period != nil:
		return t.period.add(failed, slow, now)
	}
	return failed
}

func (t *tally) counts(now time.Duration) (n Counts) {
	switch {
	case t.latest != nil:
		n = t.latest.counts()
	case t.period != nil:
		n = t.period.counts(now)
	}
	n.Run = int(t.run.Load())
	return n
}

// period counts the calls of a window of time.
type period struct {
	length time.Duration
	scale  window.Scale
	clean  atomic.Int64 // when the last call that failed or was slow is surely forgotten

	_        [64]byte // what follows is written by every call
	calls    window.Counter
	failures window.Counter
	slow     window.Counter
}

func (p *period) add(failed, slow bool, now time.Duration) (suspicious bool) {
	slot := p.scale.Slot(now)
	p.calls.Add(slot, 1)
	if failed {
		p.failures.Add(slot, 1)
	}
	if slow {
		p.slow.Add(slot, 1)
	}
	if failed || slow {
		p.clean.Store(int64(now + p.length))
		return true
	}
	return int64(now) < p.clean.Load()
}

func (p *period) counts(now time.Duration) Counts {
	slot := p.scale.Slot(now)
	return Counts{Calls: p.calls.Sum(slot), Failures: p.failures.Sum(slot), Slow: p.slow.Sum(slot)}
}

// latest counts the latest calls. Each has a place on a ring of bits, and the
// sums follow every bit that flips, so they agree with the ring however many
// threads write to it.
type latest struct {
	size     uint32
	full     atomic.Bool // the ring has gone round
	failures bitring
	slow     bitring

	_    [64]byte      // what follows is written by every call
	next atomic.Uint32 // the number of the next call
}

func newLatest(size int) *latest {
	return &latest{size: uint32(size), failures: newBitring(size), slow: newBitring(size)}
}

func (l *latest) add(failed, slow bool) (suspicious bool) {
	n := l.next.Add(1) - 1
	if n+1 >= l.size && !l.full.Load() {
		l.full.Store(true)
	}
	l.failures.set(n%l.size, failed)
	l.slow.set(n%l.size, slow)
	return l.failures.ones.Load() > 0 || l.slow.ones.Load() > 0
}

func (l *latest) counts() Counts {
	calls := int(l.size)
	if !l.full.Load() {
		calls = int(l.next.Load())
	}
	return Counts{Calls: calls, Failures: int(l.failures.ones.Load()), Slow: int(l.slow.ones.Load())}
}

// bitring is a ring of bits and the number of those that are set.
type bitring struct {
	ones  atomic.Int32
	words []atomic.Uint64
}

func newBitring(size int) bitring { return bitring{words: make([]atomic.Uint64, (size+63)/64)} }

func (r *bitring) set(i uint32, on bool) {
	w, bit := &r.words[i/64], uint64(1)<<(i%64)
	switch {
	case w.Load()&bit != 0 == on:
	case on && w.Or(bit)&bit == 0:
		r.ones.Add(1)
	case !on && w.And(^bit)&bit != 0:
		r.ones.Add(-1)
	}
}
