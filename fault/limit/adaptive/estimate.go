package adaptive

import (
	"math"
	"time"
)

// Sample is what the calls that ended in a window have shown.
type Sample struct {
	Latency  time.Duration // on average
	InFlight int           // at most
	Dropped  bool          // whether a call was turned away, or not answered in time
}

// estimate is a limit and what it was inferred from. The fractions of limits
// count: growth by less than one must not be lost.
type estimate struct {
	config *Config
	limit  float64

	long    longRun       // Gradient2's
	fastest time.Duration // Vegas's latency without load
	samples int           // of Vegas since fastest was measured
	probes  int           // of Vegas so far
}

func newEstimate(c *Config) *estimate {
	return &estimate{config: c, limit: float64(c.Initial)}
}

// update infers the next limit.
func (e *estimate) update(s Sample) {
	next := e.limit
	switch e.config.Algorithm {
	case Gradient2:
		next = e.gradient2(s)
	case AIMD:
		next = e.aimd(s)
	case Vegas:
		next = e.vegas(s)
	}
	next = e.limit*(1-e.config.Smoothing) + next*e.config.Smoothing
	e.limit = min(max(next, float64(e.config.Min)), float64(e.config.Max))
}

// idle reports whether so few calls were in flight that nothing can be said
// about more.
func (e *estimate) idle(s Sample) bool { return float64(s.InFlight) < e.limit/2 }

func (e *estimate) gradient2(s Sample) float64 {
	short, weight := float64(s.Latency), 1.0
	if short > e.config.Tolerance*e.long.mean {
		weight = overloadWeight
	}
	long := e.long.add(short, weight, e.config.LongRun)
	if long > 2*short { // after an overload the long run is slow to come down
		e.long.mean *= 0.95
	}
	// A service that can bear three calls must not have four more in its queue.
	headroom := min(float64(e.config.Headroom), math.Sqrt(e.limit))
	switch {
	case s.Dropped:
		return e.limit*steepest + headroom
	case e.idle(s):
		return e.limit
	}
	return e.limit*gradient(long, short, e.config.Tolerance) + headroom
}

// overloadWeight is the weight in the long run of a window that is too slow, lest
// an overload become the usual. With the default window it makes the long run as
// slow as the original's, which has windows of a second.
const overloadWeight = 0.2

// steepest is the most that one window takes away from the limit.
const steepest = 0.5

func gradient(long, short, tolerance float64) float64 {
	return min(max(tolerance*long/short, steepest), 1)
}

func (e *estimate) aimd(s Sample) float64 {
	switch {
	case s.Dropped || s.Latency > e.config.Timeout:
		return e.limit * e.config.Backoff
	case e.idle(s):
		return e.limit
	}
	return e.limit + 1
}

// vegasProbes is how many samples per unit of the limit there are between two
// measurements of the latency without load.
const vegasProbes = 30

func (e *estimate) vegas(s Sample) float64 {
	e.samples++
	if jitter := 0.5 + 0.5*fraction(e.probes); float64(e.samples) >= jitter*vegasProbes*e.limit {
		e.samples, e.probes, e.fastest = 0, e.probes+1, s.Latency
		return e.limit
	}
	if e.fastest == 0 || s.Latency < e.fastest {
		e.fastest = s.Latency
		return e.limit
	}
	log := max(1, math.Floor(math.Log10(e.limit)))
	queue := math.Ceil(e.limit * (1 - float64(e.fastest)/float64(s.Latency)))
	switch {
	case s.Dropped:
		return e.limit - log
	case e.idle(s):
		return e.limit
	case queue <= log:
		return e.limit + 6*log
	case queue < 3*log:
		return e.limit + log
	case queue > 6*log:
		return e.limit - log
	}
	return e.limit
}

// fraction returns the n-th of numbers between 0 and 1 that are spread evenly:
// the multiples of the golden ratio.
func fraction(n int) float64 {
	_, f := math.Modf(float64(n) * math.Phi)
	return f
}

// longRun is a moving average that begins as a plain one.
type longRun struct {
	mean float64
	n    int
}

// warmUp is the number of samples that are averaged plainly.
const warmUp = 10

func (l *longRun) add(x, weight float64, window int) float64 {
	if l.n++; l.n <= warmUp {
		l.mean += (x - l.mean) / float64(l.n)
	} else {
		l.mean += (x - l.mean) * weight * 2 / float64(window+1)
	}
	return l.mean
}
