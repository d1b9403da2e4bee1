package breaker

import (
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/fault/internal/window"
)

// Config says what opens a breaker and what closes it again. The zero Config
// means the defaults.
type Config struct {
	// Window is how far back calls count. Default 10 s. Ignored if Calls is set.
	Window time.Duration
	// Calls makes the window one of the latest calls instead, that many of them.
	Calls int
	// MinCalls is the smallest number of calls in the window from which a rate
	// is inferred. Default 10, or Calls if that is less.
	MinCalls int
	// FailureRate (0..1) is the share of failed calls from which the breaker
	// opens. Default 0.5, as in resilience4j and Hystrix; negative is never.
	FailureRate float64
	// SlowCall is how long a call takes that counts as slow. 0 is none.
	SlowCall time.Duration
	// SlowRate (0..1) is the share of slow calls from which the breaker opens.
	// Default 1, as in resilience4j.
	SlowRate float64
	// Consecutive is the number of failures in a row that open the breaker,
	// whatever the rates. 0 is off. To have nothing but this, the only rule of
	// sony/gobreaker (which takes 6), set FailureRate to -1.
	Consecutive int
	// OpenFor is how long the breaker stays open before it lets probes through;
	// also how long it waits for their results before it lets others through.
	// Default 5 s, as in Hystrix and Polly: half a minute of refusals after a
	// restart of two seconds would be the greater outage.
	OpenFor time.Duration
	// Probes is the number of calls that are let through after that, and must
	// all go well. Default 3.
	Probes int
	// OnChange, if set, is called after each change, by the goroutine whose call
	// brought it about and outside all locks. It must not block. Calls by several
	// goroutines may overlap.
	OnChange func(Change)
}

// maxCalls bounds the memory of a window of calls: two bits each.
const maxCalls = 1 << 20

// WithDefaults returns c with the default in place of each zero.
func (c Config) WithDefaults() Config {
	if c.Window == 0 {
		c.Window = 10 * time.Second
	}
	if c.MinCalls == 0 {
		c.MinCalls = 10
		if c.Calls > 0 {
			c.MinCalls = min(c.MinCalls, c.Calls)
		}
	}
	if c.FailureRate == 0 {
		c.FailureRate = 0.5
	}
	if c.SlowRate == 0 {
		c.SlowRate = 1
	}
	if c.OpenFor == 0 {
		c.OpenFor = 5 * time.Second
	}
	if c.Probes == 0 {
		c.Probes = 3
	}
	return c
}

// Check reports the first value of c that makes no sense.
func (c Config) Check() error {
	c = c.WithDefaults()
	switch {
	case c.Window < window.Min:
		return fmt.Errorf("breaker: window %v is below %v", c.Window, window.Min)
	case c.Calls < 0 || c.Calls > maxCalls:
		return fmt.Errorf("breaker: window of %d calls is not between 0 and %d", c.Calls, maxCalls)
	case c.MinCalls < 1 || c.Calls > 0 && c.MinCalls > c.Calls:
		return fmt.Errorf("breaker: minimum of %d calls is not between 1 and those of the window", c.MinCalls)
	case !(c.FailureRate <= 1):
		return fmt.Errorf("breaker: failure rate %v is above 1", c.FailureRate)
	case c.SlowCall < 0:
		return fmt.Errorf("breaker: slow call %v is negative", c.SlowCall)
	case !(c.SlowRate > 0 && c.SlowRate <= 1):
		return fmt.Errorf("breaker: slow rate %v is not above 0 and at most 1", c.SlowRate)
	case c.Consecutive < 0:
		return fmt.Errorf("breaker: %d failures in a row are negative", c.Consecutive)
	case c.OpenFor < 0:
		return fmt.Errorf("breaker: open time %v is negative", c.OpenFor)
	case c.Probes < 1:
		return fmt.Errorf("breaker: %d probes are below 1", c.Probes)
	case c.FailureRate < 0 && c.SlowCall == 0 && c.Consecutive == 0:
		return fmt.Errorf("breaker: neither a failure rate nor slow calls nor failures in a row can open it")
	}
	return nil
}

// judge returns why the counts open the breaker, or "".
func (c *Config) judge(n Counts) string {
	if c.Consecutive > 0 && n.Run >= c.Consecutive {
		return fmt.Sprintf("%d failures in a row", n.Run)
	}
	if n.Calls < c.MinCalls {
		return ""
	}
	if c.FailureRate >= 0 && n.Failures > 0 && share(n.Failures, n.Calls) >= c.FailureRate {
		return fmt.Sprintf("%d of %d calls failed", n.Failures, n.Calls)
	}
	if c.SlowCall > 0 && share(n.Slow, n.Calls) >= c.SlowRate {
		return fmt.Sprintf("%d of %d calls took %v or more", n.Slow, n.Calls, c.SlowCall)
	}
	return ""
}

func share(part, whole int) float64 { return float64(part) / float64(whole) }
