// Package window counts events of the last stretch of time for policies that
// judge by recent history. It forgets by slots: a tenth of the stretch at a
// time. It takes no lock, allocates nothing, and reads no clock.
package window

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Slots is the number of parts of a window. The oldest is dropped as a new one
// begins, so a window covers between nine tenths and all of its length.
const Slots = 10

// Min is the shortest length of a window.
const Min = Slots * time.Millisecond

// Scale maps times to the slots of windows of one length.
type Scale struct{ inverse uint64 } // 2^64 slots a nanosecond

// NewScale returns the scale of windows of the given length, at least Min.
func NewScale(length time.Duration) Scale {
	return Scale{^uint64(0)/uint64(max(length, Min)/Slots) + 1}
}

// Slot returns the number of the slot that now falls into. It divides by
// multiplying with the inverse, whose error moves the borders of all slots
// alike, by half a slot at most.
func (s Scale) Slot(now time.Duration) uint32 {
	slot, _ := bits.Mul64(uint64(now)^1<<63, s.inverse) // the lowest time is 0
	return uint32(slot)
}

// Counter counts events by slot. Each word has the number of its slot above and
// the count below, so that a slot is begun anew in one step. The zero Counter
// has counted nothing. Its methods may be called concurrently.
type Counter [Slots]atomic.Uint64

// Add counts n events in the slot. A slot that has been dropped since takes
// none.
func (c *Counter) Add(slot, n uint32) {
	w := &c[slot%Slots]
	for {
		old := w.Load()
		switch age := int32(slot - uint32(old>>32)); {
		case age == 0 && uint32(old) != 0:
			w.Add(uint64(n))
			return
		case age < 0 && age > -2*Slots && uint32(old) != 0:
			return // this thread was asleep for a whole window
		}
		if w.CompareAndSwap(old, uint64(slot)<<32|uint64(n)) {
			return
		}
	}
}

// Sum returns the number of events in the window that ends with the slot. A
// thread that is a little behind sees also those of its future.
func (c *Counter) Sum(slot uint32) (sum int) {
	for i := range c {
		w := c[i].Load()
		if age := int32(slot - uint32(w>>32)); age < Slots && age > -Slots {
			sum += int(uint32(w))
		}
	}
	return sum
}
