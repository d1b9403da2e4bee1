package bulkhead

import (
	"fmt"
	"math"
	"time"
)

// Config says how many calls may run and wait. The zero Config means the
// defaults.
type Config struct {
	// Limit is the number of calls that may run at a time. Default 25, as in
	// resilience4j. What a service can bear is its throughput times its response
	// time (Little's law); package adaptive finds it by itself.
	Limit int
	// Queue is the number of calls that may wait for others to end. Default ten
	// times Limit; negative lets none wait.
	Queue int
	// Interval is how long a call may wait in a burst: the queue has been empty
	// within an Interval, and nobody waited too long. Default 100 ms, as in "Fail
	// at Scale".
	Interval time.Duration
	// Target is how long a call may wait in an overload, which waiting does not
	// help. Default 5 ms, likewise.
	Target time.Duration
	// Order is OldestFirst by default.
	Order Order
}

// Order is who of those that wait goes first.
type Order uint8

// The orders.
const (
	// OldestFirst: first come, first served.
	OldestFirst Order = iota
	// NewestInOverload serves the newest first in an overload: its caller is the
	// least likely to have given up ("Fail at Scale": adaptive LIFO).
	NewestInOverload
)

func (o Order) String() string { return [...]string{"oldest first", "newest in overload"}[o] }

// maxCalls is what half a word can count.
const maxCalls = math.MaxInt32

// WithDefaults returns c with the default in place of each zero.
func (c Config) WithDefaults() Config {
	if c.Limit == 0 {
		c.Limit = 25
	}
	if c.Queue == 0 {
		c.Queue = min(10*c.Limit, maxCalls)
	}
	if c.Interval == 0 {
		c.Interval = 100 * time.Millisecond
	}
	if c.Target == 0 {
		c.Target = min(5*time.Millisecond, c.Interval)
	}
	return c
}

// Check reports the first value of c that makes no sense.
func (c Config) Check() error {
	c = c.WithDefaults()
	switch {
	case c.Limit < 1 || c.Limit > maxCalls:
		return fmt.Errorf("bulkhead: limit %d is not between 1 and %d", c.Limit, maxCalls)
	case c.Queue > maxCalls:
		return fmt.Errorf("bulkhead: queue of %d is above %d", c.Queue, maxCalls)
	case c.Interval < 0:
		return fmt.Errorf("bulkhead: interval %v is negative", c.Interval)
	case c.Target < 0 || c.Target > c.Interval:
		return fmt.Errorf("bulkhead: target %v is not between 0 and the interval %v", c.Target, c.Interval)
	case c.Order > NewestInOverload:
		return fmt.Errorf("bulkhead: order %d is not known", c.Order)
	}
	return nil
}
