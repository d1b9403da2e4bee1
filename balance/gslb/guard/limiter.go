package guard

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Limiter holds many things, each known by a hash, to a rate: answers to a network, or questions of an address. It has
// room for a fixed number of them and forgets the one that was quiet for longest.
//
// Each entry is one word: the upper half of the hash, and the time from which the thing has used up nothing (GCRA: the
// "theoretical arrival time" of ITU-T I.371, in units of 2^-16 s). Threads that ask about the same thing at the same
// time compete for that word and for nothing else.
type Limiter struct {
	cells    []atomic.Uint64
	mask     uint64
	interval uint32 // between two, in units
	burst    uint32 // how far ahead the time may be
}

// Rate is how often something may happen.
type Rate struct {
	PerSecond float64 // above 0
	Burst     float64 // how many at once; 0 is what a second brings, at least one
}

const (
	unitsPerSecond = 1 << 16
	ways           = 4 // entries that one hash may be in
)

// NewLimiter makes a limiter that remembers about entries things, 32 KiB for 4096.
func NewLimiter(r Rate, entries int) *Limiter {
	size := max(ways, 1<<bits.Len(uint(max(entries, 1)-1)))
	if r.Burst == 0 {
		r.Burst = max(1, r.PerSecond)
	}
	interval := max(1, unitsPerSecond/r.PerSecond)
	return &Limiter{
		cells: make([]atomic.Uint64, size), mask: uint64(size/ways - 1),
		interval: uint32(min(interval, 1<<30)), burst: uint32(min(interval*(r.Burst-1), 1<<30)),
	}
}

// Allow counts one more of the thing with that hash, and reports whether it is within the rate. now is the time since
// an origin of the caller's choice.
func (l *Limiter) Allow(hash uint64, now time.Duration) bool {
	at := uint32(uint64(now) * unitsPerSecond / uint64(time.Second)) // wraps after 18 hours; differences stay right
	tag := hash>>32 | 1                                              // 0 is an entry never used
	set := l.cells[(hash&l.mask)*ways:][:ways]
	for {
		cell, old := l.pick(set, tag, at)
		due := uint32(old)
		if old>>32 != tag || l.isPast(due, at) {
			due = at
		}
		if due-at > l.burst {
			return false
		}
		if cell.CompareAndSwap(old, tag<<32|uint64(due+l.interval)) {
			return true
		}
	}
}

// isPast reports whether a time is over. One that is further ahead than any may be is from before the clock's last turn.
func (l *Limiter) isPast(due, at uint32) bool { return due-at > l.burst+l.interval }

// pick returns the entry of a tag, or else one whose time is over, or else the one whose time is over first.
func (l *Limiter) pick(set []atomic.Uint64, tag uint64, at uint32) (cell *atomic.Uint64, value uint64) {
	soonest := ^uint32(0)
	for i := range set {
		v := set[i].Load()
		if v>>32 == tag {
			return &set[i], v
		}
		ahead := uint32(v) - at
		if v == 0 || l.isPast(uint32(v), at) {
			ahead = 0
		}
		if cell == nil || ahead < soonest {
			cell, value, soonest = &set[i], v, ahead
		}
	}
	return cell, value
}
