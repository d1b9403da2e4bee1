// Package health turns the results of probes into up or down.
//
// A [Tracker] counts results in a row: Policy.Fall failures take an endpoint
// down, Policy.Rise successes bring it up, and one result to the contrary
// begins the count anew. The very first probe decides at once. While a count is
// under way the next probe comes sooner.
//
// The package sends no probe, starts no goroutine and reads no clock.
package health

import (
	"fmt"
	"math/bits"
	"time"
)

// Verdict is what a series of probes says.
type Verdict uint8

// The verdicts.
const (
	Unknown Verdict = iota // no probe has returned yet
	Up
	Down
)

func (v Verdict) String() string {
	switch v {
	case Up:
		return "up"
	case Down:
		return "down"
	}
	return "unknown"
}

// Policy says how many probes decide and how often they are sent. The zero
// Policy means the defaults.
type Policy struct {
	// Fall is the number of failures in a row that take an endpoint down.
	// Default 3.
	Fall int
	// Rise is the number of successes in a row that bring it up. Default 2.
	Rise int
	// Interval is the time from the result of one probe to the next. Default 2 s.
	Interval time.Duration
	// FastInterval replaces Interval while the last results disagree with the
	// verdict. Default a quarter of Interval.
	FastInterval time.Duration
	// Timeout is the longest a probe may take. Default 1 s, or Interval if that
	// is shorter.
	Timeout time.Duration
	// Jitter is the share (0..1) of an interval that is left to chance, half of
	// it before and half after the interval's end, lest all nodes probe in step.
	// Default 0.2; negative is none.
	Jitter float64
}

// WithDefaults returns p with the default in place of each zero.
func (p Policy) WithDefaults() Policy {
	if p.Fall == 0 {
		p.Fall = 3
	}
	if p.Rise == 0 {
		p.Rise = 2
	}
	if p.Interval == 0 {
		p.Interval = 2 * time.Second
	}
	if p.FastInterval == 0 {
		p.FastInterval = max(p.Interval/4, 1)
	}
	if p.Timeout == 0 {
		p.Timeout = min(time.Second, p.Interval)
	}
	if p.Jitter == 0 {
		p.Jitter = 0.2
	}
	return p
}

// Check reports the first value of p that makes no sense.
func (p Policy) Check() error {
	p = p.WithDefaults()
	switch {
	case p.Fall < 1:
		return fmt.Errorf("health: fall %d is below 1", p.Fall)
	case p.Rise < 1:
		return fmt.Errorf("health: rise %d is below 1", p.Rise)
	case p.Interval < 0:
		return fmt.Errorf("health: interval %v is negative", p.Interval)
	case p.FastInterval < 0 || p.FastInterval > p.Interval:
		return fmt.Errorf("health: fast interval %v is not between 0 and the interval %v", p.FastInterval, p.Interval)
	case p.Timeout < 0:
		return fmt.Errorf("health: timeout %v is negative", p.Timeout)
	case !(p.Jitter <= 1):
		return fmt.Errorf("health: jitter %v is above 1", p.Jitter)
	}
	return nil
}

// State is what a [Tracker] knows; it can be kept and restored.
type State struct {
	Verdict Verdict
	// Since is when the verdict was given, by the caller's clock. Who restores a
	// state under another clock shifts it.
	Since time.Duration
	// Run is the number of results in a row that disagree with the verdict.
	Run int
}

// Tracker follows the probes of one endpoint. It is not safe for concurrent use.
type Tracker struct {
	policy Policy
	state  State
	seen   bool // a probe has returned since New or Restore
}

// New returns a tracker that knows nothing. The caller has checked p.
func New(p Policy) *Tracker { return &Tracker{policy: p.WithDefaults()} }

// SetPolicy changes the rules. What is known stays.
func (t *Tracker) SetPolicy(p Policy) { t.policy = p.WithDefaults() }

// Policy returns the rules, defaults filled in.
func (t *Tracker) Policy() Policy { return t.policy }

// Verdict returns what the probes say so far.
func (t *Tracker) Verdict() Verdict { return t.state.Verdict }

// State returns what is known.
func (t *Tracker) State() State { return t.state }

// Restore makes what was known before known again. The next probe is due at
// once.
func (t *Tracker) Restore(s State) { t.state, t.seen = s, false }

// Observe takes the result of a probe that ended now. It reports whether the
// verdict has changed.
func (t *Tracker) Observe(now time.Duration, ok bool) (changed bool) {
	t.seen = true
	verdict, needed := Down, t.policy.Fall
	if ok {
		verdict, needed = Up, t.policy.Rise
	}
	if t.state.Verdict == verdict {
		t.state.Run = 0
		return false
	}
	t.state.Run++
	if t.state.Run < needed && t.state.Verdict != Unknown {
		return false
	}
	t.state = State{Verdict: verdict, Since: now}
	return true
}

// Changing reports whether the last results disagree with the verdict, or there
// is none.
func (t *Tracker) Changing() bool { return t.state.Run > 0 || t.state.Verdict == Unknown }

// Next returns when the next probe is due, if the last one ended now: at once if
// there was none. random is any random number.
func (t *Tracker) Next(now time.Duration, random uint64) time.Duration {
	if !t.seen {
		return now
	}
	interval := t.policy.Interval
	if t.Changing() {
		interval = t.policy.FastInterval
	}
	spread := time.Duration(float64(interval) * max(0, t.policy.Jitter))
	offset, _ := bits.Mul64(random, uint64(spread))
	return now + interval - spread/2 + time.Duration(offset)
}
