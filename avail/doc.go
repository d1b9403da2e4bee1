// Package avail answers how often a service will be down, how long its clients will wait, how sure that is, and what
// one more server, copy or drill is worth. It is the mathematics below `trivet plan` and `trivet report`, and a library
// that stands on its own.
//
// # Quantities
//
// Down is the chance of being down at a random moment: the complement of availability. It is what the functions take
// and give, because 1 − 10⁻¹² keeps four digits of the part that matters and 10⁻¹² keeps all of them. Times are
// Seconds, so that a mean time to failure of ten thousand years fits; rates are per second.
//
// # Which function for which question
//
//   - how many servers: [Servers], [MMC], [GGC] for the wait, [MMCK] when the queue has a limit
//   - what a design gives: [Series], [Parallel], [KOfN] for parts that are repaired independently, [Repairable] when
//     there are few repair crews, failovers that can fail, or causes in common
//   - what a promise allows: [Budget] and its alerts
//   - what was measured, and how sure that is: [Sample], [ClopperPearson], [RuleOfThree], [RateInterval],
//     [Outages.Interval]
//   - whether a backup can be restored: [Copies]
//
// Every function states its formula, its source, its domain and its units. Outside its domain a function returns NaN,
// as package math does; none panics. All are accurate to six digits or better for 1 to 10⁶ servers and for
// probabilities from 10⁻¹² to 1: sums have only positive terms, and small differences are never taken of large numbers.
//
// The package knows nothing of Trivet's file or events. It starts no goroutine, reads no clock and draws no number of
// its own: chance comes in as a *rand.Rand.
package avail
