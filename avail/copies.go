package avail

import "math"

// Copies is a backup kept in several places and looked at now and then.
type Copies struct {
	N   int     // copies, at least 1
	Bad float64 // the chance that one cannot be restored, 0 to 1
	// Common is the share β (0 to 1) of bad copies whose cause makes all of them bad: the same key, the same bug, the
	// same account.
	Common float64
	// Verified is how many verifications each copy has passed, at least 0, each of which would have found a bad one with
	// the chance Finds (0 to 1). A check of hashes finds rot and misses a wrong dump; a restore that asks the restored
	// data finds nearly all.
	Verified int
	Finds    float64
}

// BadNow is the chance that a copy which has passed its verifications is bad all the same, by Bayes' rule:
// q(1−s)ᵐ / (q(1−s)ᵐ + 1−q).
func (c Copies) BadNow() float64 {
	if !isProbability(c.Bad) || !isProbability(c.Finds) || c.Verified < 0 {
		return math.NaN()
	}
	missed := c.Bad * math.Pow(1-c.Finds, float64(c.Verified))
	if missed == 0 {
		return 0
	}
	return missed / (missed + 1 - c.Bad)
}

// Loss is the chance that no copy can be restored: βq + ((1−β)q)ⁿ with q = BadNow. Three copies at 10 % with β = 5 % lose
// in 0.59 % of cases, not in 0.1 %. Source: the β-factor of CommonCause.
func (c Copies) Loss() float64 {
	q := c.BadNow()
	if c.N < 1 || !isProbability(c.Common) {
		return math.NaN()
	}
	return c.Common*q + math.Pow((1-c.Common)*q, float64(c.N))
}

// Success is 1 − Loss.
func (c Copies) Success() float64 { return 1 - c.Loss() }

// Chain is the chance that a restore succeeds which needs k parts that each are good with chance p: pᵏ. A chain of
// weekly fulls with 15-minute increments is long: it is why full backups are made again, or synthesised. k ≥ 0.
func Chain(p float64, k int) float64 {
	if !isProbability(p) || k < 0 {
		return math.NaN()
	}
	return math.Pow(p, float64(k))
}

// RestoreTime is how long a restore takes: size/rate + log/replay, with sizes in bytes, rates in bytes a second (above
// 0). 500 GB at 200 MB/s and 20 GB of log at 100 MB/s are 45 minutes. Detecting, deciding and handing over come on top.
func RestoreTime(sizeBytes float64, rate PerSecond, logBytes float64, replay PerSecond) Seconds {
	if !(sizeBytes >= 0) || !(rate > 0) || !(logBytes >= 0) || !(replay > 0) {
		return Seconds(math.NaN())
	}
	return Seconds(sizeBytes/float64(rate) + logBytes/float64(replay))
}

// RecoveryPoint is the most that a recovery loses when changes are shipped every so often and each shipment takes so
// long: every + shipping. Half of it is lost on average.
func RecoveryPoint(every, shipping Seconds) Seconds { return every + shipping }

// CostPerNine is what a design costs more for each nine that it has more than another: (cost−cost₀)/(nines−nines₀), in
// the money of the costs. +Inf if it has none more.
func CostPerNine(from, to float64, before, after Down) float64 {
	nines := after.Nines() - before.Nines()
	switch {
	case math.IsInf(before.Nines(), 1) || !(nines > 0):
		return math.Inf(1)
	case math.IsInf(nines, 1):
		return 0
	}
	return (to - from) / nines
}

// CostPerHour is what an hour of downtime less in a year costs: (cost−cost₀)/(hours₀−hours), for costs by the year. A
// change is worth it if an hour down costs more. +Inf if it saves none.
func CostPerHour(from, to float64, before, after Down) float64 {
	saved := float64((before - after).PerYear() / Hour)
	if !(saved > 0) {
		return math.Inf(1)
	}
	return (to - from) / saved
}
