package avail

import "math"

// Outages is a stream of outages: how often they begin and how long they last on average. They come at random (Poisson),
// which is what rare failures of a system with spares do whatever its parts do (Keilson, "Markov Chain Models: Rarity and
// Exponentiality", 1979).
type Outages struct {
	Rate PerSecond // at least 0
	Mean Seconds   // at least 0
	// Variation is the squared coefficient of variation of how long they last, at least 0; 0 is taken for 1, which is
	// exponential. Short ones of one cause and long ones of another have more, and make a year less foreseeable.
	Variation float64
}

// shape is that of the gamma distribution of an outage's length.
func (o Outages) shape() float64 {
	if o.Variation == 0 {
		return 1
	}
	return 1 / o.Variation
}

// Down is the share of time: Rate·Mean / (1 + Rate·Mean), as an outage does not begin during another.
func (o Outages) Down() Down { return FromOdds(float64(o.Rate) * float64(o.Mean)) }

// Expected is how many outages to expect in a window: Rate·window.
func (o Outages) Expected(window Seconds) float64 { return InSystem(o.Rate, window) }

// None is the chance that a window (at least 0) has no outage at all: e^−Rate·window.
func (o Outages) None(window Seconds) float64 {
	if !(window >= 0) {
		return math.NaN()
	}
	return math.Exp(-o.Expected(window))
}

// Within is the chance that the downtime of a window is at most t, both at least 0. It is a compound Poisson sum:
// Σ Poisson(n; Rate·window) · P(na, at/Mean), with P the regularised incomplete gamma function and a = 1/Variation: n
// outages whose lengths are gamma distributed, with a = 1 exponential. Source: Takács, "On certain sojourn time problems", 1957; Barlow and Proschan 1975, §7.3. It is for outages
// that are short beside the window.
func (o Outages) Within(t, window Seconds) float64 {
	lambda := o.Expected(window)
	switch {
	case !(t >= 0) || !(lambda >= 0) || !(o.Mean >= 0) || !(o.Variation >= 0) || math.IsInf(lambda, 1):
		return math.NaN()
	case o.Mean == 0 || lambda == 0 || t >= window:
		return 1
	}
	a := o.shape()
	x := a * float64(t/o.Mean)
	// Terms outside ten standard deviations do not count; those before the first are 1 if they did.
	first := max(0, int(lambda-10*math.Sqrt(lambda))-20)
	sum, counted := 0.0, 0.0
	for n := first; ; n++ {
		mass := poissonMass(float64(n), lambda)
		counted += mass
		if n == 0 {
			sum += mass
		} else {
			sum += mass * gammaLower(float64(n)*a, x)
		}
		if float64(n) > lambda && mass < 1e-17 {
			return min(sum/counted, 1)
		}
	}
}

// Quantile is the downtime of a window that is not exceeded with chance p, from 0 to below 1.
func (o Outages) Quantile(p float64, window Seconds) Seconds {
	switch w := o.Within(0, window); {
	case math.IsNaN(w) || !(p >= 0 && p < 1):
		return Seconds(math.NaN())
	case w >= p:
		return 0
	}
	// Nine digits are enough for a time, and each look is a sum of some hundred terms.
	low, high := 0.0, float64(window)
	for high-low > 1e-9*high && high > 1e-9 {
		if mid := (low + high) / 2; o.Within(Seconds(mid), window) < p {
			low = mid
		} else {
			high = mid
		}
	}
	return Seconds((low + high) / 2)
}

// Interval holds the downtime of a window with the given confidence (0 to 1), half of the rest on each side. It is what
// chance alone does to a known design: a year of a service with one outage every two years may have none, or three.
func (o Outages) Interval(window Seconds, confidence float64) Interval {
	tail := (1 - confidence) / 2
	return Interval{Low: float64(o.Quantile(tail, window)), High: float64(o.Quantile(1-tail, window))}
}

// InSeries are the outages of parts that are all needed, if they seldom overlap: rates are added, and the first two
// moments of the lengths are weighed by them.
func InSeries(parts ...Outages) Outages {
	rate, down, squares := 0.0, 0.0, 0.0
	for _, p := range parts {
		mean := float64(p.Mean)
		rate += float64(p.Rate)
		down += float64(p.Rate) * mean
		squares += float64(p.Rate) * mean * mean * (1 + 1/p.shape())
	}
	if rate == 0 || down == 0 {
		return Outages{Rate: PerSecond(rate)}
	}
	mean := down / rate
	return Outages{Rate: PerSecond(rate), Mean: Seconds(mean), Variation: squares/rate/mean/mean - 1}
}
