// Package timeout answers until when a call, an attempt of it, and the silence
// within an attempt may last.
//
// A [Policy] is the arithmetic of fixed times; a [Learned] time-out follows how
// long calls usually take. What has no limit lasts until [Never].
//
// The package waits for nothing, sets no timer and reads no clock.
package timeout

import (
	"fmt"
	"math"
	"time"
)

// Never is the end of what has no limit.
const Never = time.Duration(math.MaxInt64)

// Policy says how long things may take. The zero Policy sets no limit.
type Policy struct {
	// Total is for the whole call: its attempts and the waits between them. 0 is
	// no limit.
	Total time.Duration
	// PerTry is for each attempt. 0 is no limit but Total.
	PerTry time.Duration
	// Idle is for the silence within an attempt: the time in which nothing of the
	// answer comes. 0 is no limit but PerTry and Total.
	Idle time.Duration
	// Least is how much time must be left for another attempt to be worth it.
	// Default 1 ms.
	Least time.Duration
}

// WithDefaults returns p with the default in place of each zero.
func (p Policy) WithDefaults() Policy {
	if p.Least == 0 {
		p.Least = time.Millisecond
	}
	return p
}

// Check reports the first value of p that makes no sense.
func (p Policy) Check() error {
	p = p.WithDefaults()
	switch {
	case p.Total < 0:
		return fmt.Errorf("timeout: total %v is negative", p.Total)
	case p.PerTry < 0:
		return fmt.Errorf("timeout: %v per try is negative", p.PerTry)
	case p.Idle < 0:
		return fmt.Errorf("timeout: idle %v is negative", p.Idle)
	case p.Least < 0:
		return fmt.Errorf("timeout: least %v is negative", p.Least)
	case p.Total > 0 && p.PerTry > p.Total:
		return fmt.Errorf("timeout: %v per try is longer than the total %v", p.PerTry, p.Total)
	case p.Total > 0 && p.Least > p.Total:
		return fmt.Errorf("timeout: least %v is longer than the total %v", p.Least, p.Total)
	}
	return nil
}

// End returns until when a call that begins now may last, if its caller waits
// until atMost.
func (p *Policy) End(now, atMost time.Duration) time.Duration {
	return min(after(now, p.Total), atMost)
}

// Try returns until when an attempt that begins now may last, if the call ends at
// end. It reports false if that is too soon for an attempt to be worth it.
func (p *Policy) Try(now, end time.Duration) (until time.Duration, worth bool) {
	until = min(after(now, p.PerTry), end)
	return until, end == Never || end-now >= p.Least
}

// Silence returns until when the next part of an answer must have come, if the
// last came now and the attempt ends at until.
func (p *Policy) Silence(now, until time.Duration) time.Duration {
	return min(after(now, p.Idle), until)
}

func after(now, limit time.Duration) time.Duration {
	if limit == 0 || now > Never-limit {
		return Never
	}
	return now + limit
}
