package hedge

import (
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/fault/retry"
)

// Config says when a call is made a second time. The zero Config means the
// defaults.
type Config struct {
	// Quantile (0..1) of the latencies of late is how long a call may take before
	// it is made again. Default 0.95, as in "The Tail at Scale": one call in
	// twenty.
	Quantile float64
	// Window is how far back latencies count. Default 30 s.
	Window time.Duration
	// Samples is the number of latencies from which the quantile is inferred;
	// before, no call is hedged. Default 100: five are above the quantile.
	Samples int
	// Min is the shortest wait before a call is made again. Default 1 ms.
	Min time.Duration
	// Delay replaces what is learned: this long, always. 0 is off.
	Delay time.Duration
	// Hedges is how often a call is made again, each time after the same wait.
	// Default 1.
	Hedges int
	// Budget bounds the hedges to a share of the calls, lest a service that has
	// become slow get twice the load. Its Ratio is 0.1 by default here, twice
	// what the quantile asks for as long as nothing changes, and its
	// MinPerSecond 1.
	Budget retry.BudgetConfig
}

// WithDefaults returns c with the default in place of each zero.
func (c Config) WithDefaults() Config {
	if c.Quantile == 0 {
		c.Quantile = 0.95
	}
	if c.Window == 0 {
		c.Window = 30 * time.Second
	}
	if c.Samples == 0 {
		c.Samples = 100
	}
	if c.Min == 0 {
		c.Min = time.Millisecond
	}
	if c.Hedges == 0 {
		c.Hedges = 1
	}
	if c.Budget.Ratio == 0 {
		c.Budget.Ratio = 0.1
	}
	if c.Budget.MinPerSecond == 0 {
		c.Budget.MinPerSecond = 1
	}
	return c
}

// Check reports the first value of c that makes no sense.
func (c Config) Check() error {
	c = c.WithDefaults()
	switch {
	case !(c.Quantile > 0 && c.Quantile < 1):
		return fmt.Errorf("hedge: quantile %v is not between 0 and 1", c.Quantile)
	case c.Window < time.Second:
		return fmt.Errorf("hedge: window %v is below 1s", c.Window)
	case c.Samples < 1:
		return fmt.Errorf("hedge: %d samples are below 1", c.Samples)
	case c.Min < 0:
		return fmt.Errorf("hedge: minimum wait %v is negative", c.Min)
	case c.Delay < 0:
		return fmt.Errorf("hedge: delay %v is negative", c.Delay)
	case c.Hedges < 1:
		return fmt.Errorf("hedge: %d hedges are below 1", c.Hedges)
	}
	return c.Budget.Check()
}
