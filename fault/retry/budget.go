package retry

import (
	"fmt"
	"sync/atomic"
	"time"
)

// BudgetConfig bounds retries to a share of the requests. The zero BudgetConfig
// means the defaults.
type BudgetConfig struct {
	// Ratio is the number of retries per request within Window. Default 0.2;
	// negative is 0.
	Ratio float64
	// MinPerSecond is the number of retries a second that are allowed whatever
	// the number of requests, so that a service with little traffic can retry at
	// all. Default 3; negative is 0.
	MinPerSecond float64
	// Window is how far back requests and retries count. Default 10 s.
	Window time.Duration
}

func (c BudgetConfig) withDefaults() BudgetConfig {
	if c.Ratio == 0 {
		c.Ratio = 0.2
	}
	if c.MinPerSecond == 0 {
		c.MinPerSecond = 3
	}
	if c.Window == 0 {
		c.Window = 10 * time.Second
	}
	c.Ratio, c.MinPerSecond = max(0, c.Ratio), max(0, c.MinPerSecond)
	return c
}

// Check reports the first value of c that makes no sense.
func (c BudgetConfig) Check() error {
	c = c.withDefaults()
	switch {
	case !(c.Ratio <= 100):
		return fmt.Errorf("retry: budget ratio %v is not between 0 and 100", c.Ratio)
	case !(c.MinPerSecond <= 1e6):
		return fmt.Errorf("retry: budget minimum %v a second is not between 0 and 1000000", c.MinPerSecond)
	case c.Window < parts*time.Millisecond:
		return fmt.Errorf("retry: budget window %v is below %v", c.Window, parts*time.Millisecond)
	}
	return nil
}

// parts of the window.
const parts = 10

// Budget keeps retries from multiplying an overload. A retry is counted when it
// is decided upon and not when it is sent: a thousand requests that fail at the
// same moment can't all pass while they wait in back-off. Its methods may be
// called concurrently, take no lock and allocate nothing.
type Budget struct {
	ratio   float64
	reserve float64 // retries per window that are always allowed
	slice   time.Duration

	requests counter
	retries  counter
}

// NewBudget returns a budget without any requests so far. The caller has checked
// c.
func NewBudget(c BudgetConfig) *Budget {
	c = c.withDefaults()
	return &Budget{
		ratio:   c.Ratio,
		reserve: c.MinPerSecond * c.Window.Seconds(),
		slice:   c.Window / parts,
	}
}

// Request counts a request; its retries are not counted here.
func (b *Budget) Request(now time.Duration) { b.requests.add(b.slot(now), 1) }

// Take counts a retry and reports true, or reports false if it would be above
// the budget.
func (b *Budget) Take(now time.Duration) bool {
	slot := b.slot(now)
	b.retries.add(slot, 1)
	if b.retries.sum(slot) <= b.limit(slot) {
		return true
	}
	b.retries.sub(slot)
	return false
}

// Return takes a retry back that was not sent after all.
func (b *Budget) Return(now time.Duration) { b.retries.sub(b.slot(now)) }

// Remaining returns how many retries the budget allows for at once.
func (b *Budget) Remaining(now time.Duration) int {
	slot := b.slot(now)
	return int(max(0, b.limit(slot)-b.retries.sum(slot)))
}

func (b *Budget) limit(slot uint32) int64 {
	return int64(b.reserve + b.ratio*float64(b.requests.sum(slot)))
}

func (b *Budget) slot(now time.Duration) uint32 { return uint32(now / b.slice) }

// counter counts by slots of time. Each word has the number of its slot above
// and the count below, so that a slot can be begun anew in one step.
type counter [parts]atomic.Uint64

func (c *counter) add(slot uint32, n uint64) {
	w := &c[slot%parts]
	for {
		old := w.Load()
		if age := age(old, slot); age <= 0 && age > -parts { // another thread may be a slot ahead
			w.Add(n)
			return
		}
		if w.CompareAndSwap(old, uint64(slot)<<32|n) {
			return
		}
	}
}

// sub takes one off the slot, or off the newest before it that has any.
func (c *counter) sub(slot uint32) {
	for back := range uint32(parts) {
		w := &c[(slot-back)%parts]
		for old := w.Load(); uint32(old) > 0 && within(old, slot); old = w.Load() {
			if w.CompareAndSwap(old, old-1) {
				return
			}
		}
	}
}

func (c *counter) sum(slot uint32) (sum int64) {
	for i := range c {
		if w := c[i].Load(); within(w, slot) {
			sum += int64(uint32(w))
		}
	}
	return sum
}

// age is by how many slots a word is behind; negative if it is ahead.
func age(word uint64, slot uint32) int32 { return int32(slot - uint32(word>>32)) }

// within reports whether a word belongs to the window.
func within(word uint64, slot uint32) bool {
	age := age(word, slot)
	return age < parts && age > -parts
}
