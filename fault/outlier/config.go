package outlier

import (
	"fmt"
	"time"
)

// Config says what counts as evidence and for how long it keeps an endpoint
// out. The zero Config means the defaults below.
type Config struct {
	// Disabled turns ejection off; outcomes are still counted.
	Disabled bool
	// Consecutive is the number of failures in a row that make a suspect.
	// Default 5: enough that a single bad request, tried twice, ejects nobody.
	Consecutive int
	// MinRequests is the smallest number of requests within Window from which
	// a failure rate is inferred. Default 10.
	MinRequests int
	// Window is how far back the failure rate looks. Default 30 s, so that one
	// request a second still makes a sample.
	Window time.Duration
	// Margin is by how much an endpoint's failure rate (0..1), at the low end
	// of what its sample allows, must exceed that of its peers. Default 0.2.
	Margin float64
	// BaseEjection is the length of the first ejection; each further one is
	// twice as long, up to MaxEjection. Defaults 10 s and 300 s.
	BaseEjection time.Duration
	MaxEjection  time.Duration
	// ConnectEjection replaces BaseEjection after a failure to connect, and
	// BaseEjection is then the longest. Default 1 s: trying again costs
	// nothing, as a request that was never sent can always be sent elsewhere.
	ConnectEjection time.Duration
	// MaxEjected is the largest share (0..1) of a pool that failures after
	// connecting may eject; one endpoint always may be. Default 0.5.
	MaxEjected float64
	// Probation is the number of successes, one request at a time, after which
	// an endpoint whose ejection has ended is trusted again. Default 3.
	Probation int
}

// WithDefaults returns c with the default in place of each zero.
func (c Config) WithDefaults() Config {
	or(&c.Consecutive, 5)
	or(&c.MinRequests, 10)
	or(&c.Window, 30*time.Second)
	or(&c.Margin, 0.2)
	or(&c.BaseEjection, 10*time.Second)
	or(&c.MaxEjection, max(300*time.Second, c.BaseEjection))
	or(&c.ConnectEjection, min(time.Second, c.BaseEjection))
	or(&c.MaxEjected, 0.5)
	or(&c.Probation, 3)
	return c
}

func or[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Check reports the first value of c that makes no sense. Zeros are the
// defaults and make sense.
func (c Config) Check() error {
	c = c.WithDefaults()
	switch {
	case c.Consecutive < 1:
		return fmt.Errorf("outlier: consecutive %d is below 1", c.Consecutive)
	case c.MinRequests < 1:
		return fmt.Errorf("outlier: minimum requests %d is below 1", c.MinRequests)
	case c.Window < buckets*time.Millisecond:
		return fmt.Errorf("outlier: window %v is below %v", c.Window, buckets*time.Millisecond)
	case !(c.Margin > 0 && c.Margin < 1):
		return fmt.Errorf("outlier: margin %v is not between 0 and 1", c.Margin)
	case c.BaseEjection <= 0:
		return fmt.Errorf("outlier: base ejection %v is not positive", c.BaseEjection)
	case c.MaxEjection < c.BaseEjection:
		return fmt.Errorf("outlier: maximum ejection %v is below the base ejection %v", c.MaxEjection, c.BaseEjection)
	case c.ConnectEjection <= 0 || c.ConnectEjection > c.BaseEjection:
		return fmt.Errorf("outlier: connect ejection %v is not between 0 and the base ejection %v", c.ConnectEjection, c.BaseEjection)
	case !(c.MaxEjected > 0 && c.MaxEjected <= 1):
		return fmt.Errorf("outlier: maximum ejected share %v is not above 0 and at most 1", c.MaxEjected)
	case c.Probation < 1:
		return fmt.Errorf("outlier: probation of %d successes is below 1", c.Probation)
	}
	return nil
}

// MayEject reports whether one more endpoint of a pool may be ejected, when
// ejected of its total already are and available could still be used, the
// suspect among them. The last available one never may.
func (c Config) MayEject(cause Cause, ejected, available, total int) bool {
	if c.Disabled || available <= 1 {
		return false
	}
	if cause.certain() {
		return true
	}
	return ejected == 0 || float64(ejected+1) <= c.MaxEjected*float64(total)
}
