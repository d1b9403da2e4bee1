package timeout

import (
	"fmt"
	"math"
	"time"

	"github.com/trivet-ha/trivet/fault/internal/quantile"
)

// LearnedConfig says how a time-out is inferred from how long calls take. The
// zero LearnedConfig means the defaults.
type LearnedConfig struct {
	// Quantile (0..1) of the latencies of late that is taken for the usual.
	// Default 0.99.
	Quantile float64
	// Factor times that is the limit. Default 3: a call that takes three times as
	// long as 99 of 100 do is not coming back.
	Factor float64
	// Min and Max bound the limit. Max also holds while nothing is known. Defaults
	// 50 ms and 10 s.
	Min, Max time.Duration
	// Window is how far back latencies count. Default 60 s.
	Window time.Duration
	// Samples is the number of latencies from which the quantile is inferred.
	// Default 100.
	Samples int
}

// WithDefaults returns c with the default in place of each zero.
func (c LearnedConfig) WithDefaults() LearnedConfig {
	if c.Quantile == 0 {
		c.Quantile = 0.99
	}
	if c.Factor == 0 {
		c.Factor = 3
	}
	if c.Min == 0 {
		c.Min = 50 * time.Millisecond
	}
	if c.Max == 0 {
		c.Max = max(10*time.Second, c.Min)
	}
	if c.Window == 0 {
		c.Window = time.Minute
	}
	if c.Samples == 0 {
		c.Samples = 100
	}
	return c
}

// Check reports the first value of c that makes no sense.
func (c LearnedConfig) Check() error {
	c = c.WithDefaults()
	switch {
	case !(c.Quantile > 0 && c.Quantile < 1):
		return fmt.Errorf("timeout: quantile %v is not between 0 and 1", c.Quantile)
	case !(c.Factor >= 1) || math.IsInf(c.Factor, 1):
		return fmt.Errorf("timeout: factor %v is below 1", c.Factor)
	case c.Min < 0:
		return fmt.Errorf("timeout: minimum %v is negative", c.Min)
	case c.Max < c.Min:
		return fmt.Errorf("timeout: maximum %v is below the minimum %v", c.Max, c.Min)
	case c.Window < time.Second:
		return fmt.Errorf("timeout: window %v is below 1s", c.Window)
	case c.Samples < 1:
		return fmt.Errorf("timeout: %d samples are below 1", c.Samples)
	}
	return nil
}

// Learned is a time-out that follows how long calls take. Its methods may be
// called concurrently, block nobody and allocate nothing.
type Learned struct {
	config LearnedConfig
	usual  *quantile.Estimator
}

// NewLearned returns a time-out that knows nothing yet. The caller has checked c.
func NewLearned(c LearnedConfig) *Learned {
	c = c.WithDefaults()
	return &Learned{config: c, usual: quantile.New(c.Quantile, c.Window, c.Samples)}
}

// Config returns the rules, defaults filled in.
func (l *Learned) Config() LearnedConfig { return l.config }

// Limit returns how long a call may take.
func (l *Learned) Limit() time.Duration {
	usual, known := l.usual.Value()
	if !known {
		return l.config.Max
	}
	limit := time.Duration(min(float64(usual)*l.config.Factor, float64(l.config.Max)))
	return max(limit, l.config.Min)
}

// Observe takes the latency of a call: of one that was answered, and of one that
// was not within its limit, too. The latter count for no more than the limit;
// but when a service has become slow there are many, and the limit grows by
// Factor until it is long enough.
func (l *Learned) Observe(now, latency time.Duration) { l.usual.Observe(now, latency) }
