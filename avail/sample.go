package avail

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Sample is measured times, in ascending order: recoveries, say, for an RTO, or what a restore had lost, for an RPO. A
// mean hides the one recovery that took a day, so an objective is asked of the distribution.
type Sample []Seconds

// NewSample sorts a copy of the times.
func NewSample(times []Seconds) Sample {
	s := slices.Clone(times)
	slices.Sort(s)
	return s
}

// Mean is the mean; NaN of nothing.
func (s Sample) Mean() Seconds {
	sum := Seconds(0)
	for _, t := range s {
		sum += t
	}
	return sum / Seconds(len(s))
}

// Quantile is the time that a share p (0 to 1) of the sample does not exceed: the smallest with at least p·n of them at
// or below (type 1 of Hyndman and Fan, "Sample Quantiles in Statistical Packages", 1996), which is a time that was
// measured. NaN of nothing.
func (s Sample) Quantile(p float64) Seconds {
	if len(s) == 0 || !isProbability(p) {
		return Seconds(math.NaN())
	}
	return s[max(0, int(math.Ceil(p*float64(len(s))*(1-1e-12)))-1)]
}

// QuantileInterval holds the p-quantile (0 to 1) of what the sample was taken from with at least the given confidence,
// whatever its distribution: its ends are order statistics, whose ranks are quantiles of Binomial(n, p). An end that
// the sample is too small to bound is 0 or +Inf: to bound the 95th percentile from above at 95 % takes 72 times. Source:
// David and Nagaraja, "Order Statistics", 3rd ed. 2003, §7.1.
func (s Sample) QuantileInterval(p, confidence float64) Interval {
	n := len(s)
	if !isProbability(p) || !isConfidence(confidence) {
		return noInterval()
	}
	tail, i := (1-confidence)/2, Interval{0, math.Inf(1)}
	// The chance that fewer than r of n are below the quantile is that of at least n−r+1 above it.
	fewer := func(r int) float64 { return float64(KOfN(r, n, Down(1-p))) }
	for r := 1; r <= n && fewer(r) <= tail; r++ {
		i.Low = float64(s[r-1])
	}
	for r := n; r >= 1 && 1-fewer(r) <= tail; r-- {
		i.High = float64(s[r-1])
	}
	return i
}

// Within is the share of times that are at most t, with its ClopperPearson interval: how often an objective is met.
func (s Sample) Within(t Seconds, confidence float64) (share float64, sure Interval) {
	met, _ := slices.BinarySearchFunc(s, t, func(a, t Seconds) int {
		if a <= t {
			return -1
		}
		return 1
	})
	return float64(met) / float64(len(s)), ClopperPearson(met, len(s), confidence)
}

// MeanInterval is Bootstrap of the mean.
func (s Sample) MeanInterval(rounds int, confidence float64, rnd *rand.Rand) Interval {
	return Bootstrap(s, func(s Sample) float64 { return float64(s.Mean()) }, rounds, confidence, rnd)
}

// Bootstrap is the interval of any figure of a sample, by drawing samples from the sample (the percentile method of
// Efron, "Bootstrap Methods: Another Look at the Jackknife", Ann. Statist. 7, 1979). A thousand rounds are usual. It
// knows nothing beyond the sample: with fewer than some twenty times it is too narrow. figure gets samples in order, and
// must not keep them. NaN of nothing, and of less than two rounds.
func Bootstrap(s Sample, figure func(Sample) float64, rounds int, confidence float64, rnd *rand.Rand) Interval {
	if len(s) == 0 || rounds < 2 || !isConfidence(confidence) {
		return noInterval()
	}
	figures, drawn := make([]float64, rounds), make(Sample, len(s))
	for r := range figures {
		for i := range drawn {
			drawn[i] = s[rnd.IntN(len(s))]
		}
		slices.Sort(drawn)
		figures[r] = figure(drawn)
	}
	slices.Sort(figures)
	tail := (1 - confidence) / 2
	last := float64(rounds - 1)
	return Interval{figures[int(math.Floor(tail*last))], figures[int(math.Ceil((1-tail)*last))]}
}
