package avail

import "math"

// Interval is where a figure lies, with the confidence that was asked for.
type Interval struct {
	Low, High float64
}

// Holds reports whether x lies in the interval, its ends included.
func (i Interval) Holds(x float64) bool { return i.Low <= x && x <= i.High }

func noInterval() Interval { return Interval{math.NaN(), math.NaN()} }

// isConfidence reports whether c is a confidence: above 0 and below 1.
func isConfidence(c float64) bool { return c > 0 && c < 1 }

// ClopperPearson is the exact interval of a chance of which it is known that it happened k times in n independent
// trials: it holds the truth at least as often as confidence says. Low is the α/2 quantile of Beta(k, n−k+1), High the
// 1−α/2 quantile of Beta(k+1, n−k). 0 ≤ k ≤ n; with n = 0 it is 0 to 1. Source: Clopper and Pearson, "The use of
// confidence or fiducial limits illustrated in the case of the binomial", Biometrika 26, 1934.
func ClopperPearson(k, n int, confidence float64) Interval {
	if k < 0 || n < k || !isConfidence(confidence) {
		return noInterval()
	}
	tail, i := (1-confidence)/2, Interval{0, 1}
	if k > 0 {
		i.Low = betaQuantile(tail, float64(k), float64(n-k+1))
	}
	if k < n {
		i.High = betaQuantile(1-tail, float64(k+1), float64(n-k))
	}
	return i
}

// RuleOfThree is what may be said of the chance of a failure of which none was seen in n trials (n ≥ 0): with the given
// confidence it is at most 1 − (1−confidence)^1/n; at 95 % that is about 3/n. Thirty clean restores leave 9.5 %.
// Source: Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249, 1983.
func RuleOfThree(n int, confidence float64) float64 {
	switch {
	case n < 0 || !isConfidence(confidence):
		return math.NaN()
	case n == 0:
		return 1
	}
	return -math.Expm1(math.Log1p(-confidence) / float64(n))
}

// TrialsFor is how many trials without a failure (the rule of three, the other way) it takes to be so confident that
// the chance of one is at most p, above 0 and below 1: ln(1−confidence)/ln(1−p), rounded up.
func TrialsFor(p, confidence float64) int {
	if !isConfidence(p) || !isConfidence(confidence) {
		return -1
	}
	return int(math.Ceil(math.Log1p(-confidence) / math.Log1p(-p) * (1 - 1e-15)))
}

// RateInterval is the exact interval of the rate of something that happened k times (k ≥ 0) in a time (above 0) and
// comes at random: χ²(2k)/2T to χ²(2k+2)/2T; none seen gives 0 to −ln(α/2)/T. Source: Garwood, "Fiducial limits for the
// Poisson distribution", Biometrika 28, 1936. The inverse of its ends is the interval of the MTBF.
func RateInterval(k int, during Seconds, confidence float64) Interval {
	if k < 0 || !(during > 0) || !isConfidence(confidence) {
		return noInterval()
	}
	tail, i := (1-confidence)/2, Interval{}
	if k > 0 {
		i.Low = gammaQuantile(tail, float64(k)) / float64(during)
	}
	i.High = gammaQuantile(1-tail, float64(k+1)) / float64(during)
	return i
}

// DownInterval is the interval of the long-run downtime of something that was up and down so long and failed k times,
// if both times are exponential: its odds are down/up over the quantiles of F(2k, 2k), as the ratio of two gamma
// variables is (Kotz and Johnson, "Continuous Univariate Distributions" 2, §27.8.1). Without a failure Low is 0 and High
// is what mttr, the mean repair to be expected, makes of RateInterval. up is above 0, down and mttr at least 0.
func DownInterval(k int, up, down, mttr Seconds, confidence float64) Interval {
	if k < 0 || !(up > 0) || !(down >= 0) || !isConfidence(confidence) {
		return noInterval()
	}
	tail := (1 - confidence) / 2
	if k == 0 {
		worst := RateInterval(0, up, confidence).High * float64(mttr)
		return Interval{0, float64(FromOdds(worst))}
	}
	// F(2k,2k) at p is b/(1−b) with b the quantile of Beta(k,k); it is its own inverse at 1−p.
	b := betaQuantile(1-tail, float64(k), float64(k))
	odds, f := float64(down/up), b/(1-b)
	return Interval{float64(FromOdds(odds / f)), float64(FromOdds(odds * f))}
}
