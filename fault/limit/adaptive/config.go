package adaptive

import (
	"fmt"
	"math"
	"time"

	"github.com/trivet-ha/trivet/fault/bulkhead"
)

// Algorithm names a way of finding the limit.
type Algorithm uint8

// The algorithms. Their names and constants are those of Netflix's
// concurrency-limits, but for the smallest limit (see Config.Min).
const (
	// Gradient2 compares the latency of a window with that of the long run, and
	// takes the limit back in proportion as the former is longer.
	Gradient2 Algorithm = iota
	// AIMD adds one while all is well, and takes a tenth away when a call was
	// dropped or took too long: it needs no stable latency, but failures to learn
	// from (D.-M. Chiu, R. Jain, 1989; RFC 5681).
	AIMD
	// Vegas estimates from the shortest latency how many calls wait in the
	// service's own queue, and keeps that number small (L. Brakmo, L. Peterson,
	// "TCP Vegas", 1995).
	Vegas
)

func (a Algorithm) String() string { return [...]string{"gradient2", "aimd", "vegas"}[a] }

// Config says how a limit is found. The zero Config means the defaults.
type Config struct {
	// Algorithm is Gradient2 by default.
	Algorithm Algorithm
	// Initial is the limit to begin with. Default 20, or the nearest within
	// bounds.
	Initial int
	// Min and Max bound the limit. Defaults 1 and 200, for Vegas 1 and 1000. In
	// the original Gradient2 and AIMD stop at 20, and so protect no service that
	// can bear fewer calls at a time: a small database, say.
	Min, Max int
	// Window is the time whose calls make one sample: their mean latency. It is
	// longer if fewer than Samples end in it. Defaults 200 ms and 10.
	Window  time.Duration
	Samples int

	// Tolerance is how many times the long run's latency a window's may be before
	// Gradient2 lowers the limit. Default 1.5.
	Tolerance float64
	// LongRun is the number of windows that Gradient2's long run averages over.
	// Default 600.
	LongRun int
	// Headroom is the largest number of calls that Gradient2 lets wait in the
	// service's own queue, so that a limit can grow. Under a small limit it is the
	// limit's square root. Default 4.
	Headroom int
	// Smoothing (0..1) is the weight of a new limit against the old. Default 0.2
	// for Gradient2, 1 for the others.
	Smoothing float64

	// Backoff (0..1) is what AIMD multiplies the limit with. Default 0.9.
	Backoff float64
	// Timeout is the latency from which AIMD takes a call for dropped. Default 5 s.
	Timeout time.Duration

	// Queue is for calls above the limit. By default there is none, so they are
	// refused. Queue.Limit is ignored.
	Queue bulkhead.Config
}

// WithDefaults returns c with the default in place of each zero.
func (c Config) WithDefaults() Config {
	or(&c.Min, 1)
	if c.Algorithm == Vegas {
		or(&c.Max, max(1000, c.Min))
	}
	or(&c.Max, max(200, c.Min))
	or(&c.Initial, min(max(20, c.Min), c.Max))
	or(&c.Window, 200*time.Millisecond)
	or(&c.Samples, 10)
	or(&c.Tolerance, 1.5)
	or(&c.LongRun, 600)
	or(&c.Headroom, 4)
	if c.Algorithm == Gradient2 {
		or(&c.Smoothing, 0.2)
	}
	or(&c.Smoothing, 1)
	or(&c.Backoff, 0.9)
	or(&c.Timeout, 5*time.Second)
	or(&c.Queue.Queue, -1)
	c.Queue.Limit = c.Initial
	c.Queue = c.Queue.WithDefaults()
	return c
}

func or[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Check reports the first value of c that makes no sense.
func (c Config) Check() error {
	c = c.WithDefaults()
	switch {
	case c.Algorithm > Vegas:
		return fmt.Errorf("adaptive: algorithm %d is not known", c.Algorithm)
	case c.Min < 1:
		return fmt.Errorf("adaptive: minimum %d is below 1", c.Min)
	case c.Max < c.Min || c.Max > math.MaxInt32:
		return fmt.Errorf("adaptive: maximum %d is not between the minimum %d and %d", c.Max, c.Min, math.MaxInt32)
	case c.Initial < c.Min || c.Initial > c.Max:
		return fmt.Errorf("adaptive: initial limit %d is not between %d and %d", c.Initial, c.Min, c.Max)
	case c.Window < 0:
		return fmt.Errorf("adaptive: window %v is negative", c.Window)
	case c.Samples < 1:
		return fmt.Errorf("adaptive: %d samples are below 1", c.Samples)
	case !(c.Tolerance >= 1) || math.IsInf(c.Tolerance, 1):
		return fmt.Errorf("adaptive: tolerance %v is below 1", c.Tolerance)
	case c.LongRun < 1:
		return fmt.Errorf("adaptive: long run of %d windows is below 1", c.LongRun)
	case c.Headroom < 0:
		return fmt.Errorf("adaptive: headroom %d is negative", c.Headroom)
	case !(c.Smoothing > 0 && c.Smoothing <= 1):
		return fmt.Errorf("adaptive: smoothing %v is not above 0 and at most 1", c.Smoothing)
	case !(c.Backoff > 0 && c.Backoff < 1):
		return fmt.Errorf("adaptive: backoff %v is not between 0 and 1", c.Backoff)
	case c.Timeout < 0:
		return fmt.Errorf("adaptive: timeout %v is negative", c.Timeout)
	}
	return c.Queue.Check()
}
