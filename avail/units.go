package avail

import (
	"math"
	"time"
)

// Seconds is a time. It may be +Inf: never.
type Seconds float64

// Times.
const (
	Second Seconds = 1
	Minute         = 60 * Second
	Hour           = 60 * Minute
	Day            = 24 * Hour
	// Year is 365.25 days, so that downtime per year is right in the long run.
	Year = 365.25 * Day
)

// Of returns a duration in seconds.
func Of(d time.Duration) Seconds { return Seconds(d.Seconds()) }

// Duration returns s as the standard library's type; what it cannot hold (more than 292 years) is its largest. NaN is 0.
func (s Seconds) Duration() time.Duration {
	switch ns := float64(s) * 1e9; {
	case math.IsNaN(ns):
		return 0
	case ns >= math.MaxInt64:
		return math.MaxInt64
	case ns <= math.MinInt64:
		return math.MinInt64
	default:
		return time.Duration(math.Round(ns))
	}
}

// PerSecond is how often something happens, in events a second.
type PerSecond float64

// Down is the chance of being down at a random moment, 0 to 1: 1 − availability.
type Down float64

// FromAvailability is 1 − a, for a from 0 to 1. Beyond twelve nines a float64 has no digits left for a: begin with
// FromTimes or a Down instead.
func FromAvailability(a float64) Down { return Down(probability(1 - a)) }

// FromTimes is the steady state of a part that works for mtbf on average and is then repaired for mttr on average,
// whatever the distributions: U = MTTR / (MTBF + MTTR) (the renewal reward theorem; Barlow and Proschan, "Statistical
// Theory of Reliability and Life Testing", 1975, §7.2). Both are at least 0 and not both 0.
//
// MTBF here is the mean up time, which reliability engineers call MTTF; where it is counted from failure to failure,
// subtract the MTTR first.
func FromTimes(mtbf, mttr Seconds) Down {
	if !(mtbf >= 0) || !(mttr >= 0) || mtbf+mttr == 0 {
		return Down(math.NaN())
	}
	return FromOdds(float64(mttr / mtbf))
}

// FromOdds is x/(1+x) for odds x = MTTR/MTBF of at least 0, +Inf included.
func FromOdds(x float64) Down {
	switch {
	case !(x >= 0):
		return Down(math.NaN())
	case math.IsInf(x, 1):
		return 1
	}
	return Down(x / (1 + x))
}

// FromNines is 10⁻ⁿ: three nines are 99.9 %.
func FromNines(n float64) Down { return Down(probability(math.Pow(10, -n))) }

// Availability is 1 − d.
func (d Down) Availability() float64 { return 1 - float64(d) }

// Odds is d/(1−d): how long it is down for each second that it is up; +Inf if it is always down.
func (d Down) Odds() float64 { return float64(d) / (1 - float64(d)) }

// Nines is −log₁₀ d: 3 for 99.9 %, 3.30103 for 99.95 %; +Inf for 0.
func (d Down) Nines() float64 { return -math.Log10(float64(d)) }

// In is the downtime to be expected in a window.
func (d Down) In(window Seconds) Seconds { return Seconds(d) * window }

// PerYear is the downtime to be expected in a year of 365.25 days.
func (d Down) PerYear() Seconds { return d.In(Year) }

// MTBF is the mean up time: time up over number of failures; +Inf if there were none (see RateInterval for what may
// then be said).
func MTBF(up Seconds, failures int) Seconds {
	if !(up >= 0) || failures < 0 {
		return Seconds(math.NaN())
	}
	if failures == 0 {
		return Seconds(math.Inf(1))
	}
	return up / Seconds(failures)
}

// MTTR is the mean time to repair: time down over number of repairs; NaN if there were none.
func MTTR(down Seconds, repairs int) Seconds {
	if !(down >= 0) || repairs <= 0 {
		return Seconds(math.NaN())
	}
	return down / Seconds(repairs)
}

// probability is p, or NaN if p is none.
func probability(p float64) float64 {
	if p >= 0 && p <= 1 {
		return p
	}
	return math.NaN()
}

// isProbability reports whether p is from 0 to 1; NaN is not.
func isProbability(p float64) bool { return p >= 0 && p <= 1 }
