// Package simulate answers the questions of package avail a second time, without its formulas: it plays queues and
// failing servers event by event and counts. It is for what no closed form covers (lives and repairs of any
// distribution), and for proving the closed forms: both are compared in a thousand random designs.
//
// It reads no clock and starts no goroutine: chance comes in as a *rand.Rand, and the same source plays the same events.
package simulate

import (
	"math"
	"math/rand/v2"

	"github.com/trivet-ha/trivet/avail"
)

// Draw draws a time.
type Draw func(*rand.Rand) avail.Seconds

// Exponential draws times without memory.
func Exponential(mean avail.Seconds) Draw {
	return func(r *rand.Rand) avail.Seconds { return avail.Seconds(r.ExpFloat64()) * mean }
}

// Always draws the same time.
func Always(t avail.Seconds) Draw { return func(*rand.Rand) avail.Seconds { return t } }

// Uniform draws times from 0 to twice the mean; their squared coefficient of variation is 1/3.
func Uniform(mean avail.Seconds) Draw {
	return func(r *rand.Rand) avail.Seconds { return avail.Seconds(r.Float64()) * 2 * mean }
}

// Lognormal draws times of which many are short and a few very long, as repairs by people are: with a squared
// coefficient of variation scv, above 0.
func Lognormal(mean avail.Seconds, scv float64) Draw {
	variance := math.Log1p(scv)
	return func(r *rand.Rand) avail.Seconds {
		return mean * avail.Seconds(math.Exp(r.NormFloat64()*math.Sqrt(variance)-variance/2))
	}
}

// Estimate is what a simulation found, with its standard error.
type Estimate struct {
	Mean  float64
	Error float64 // of the mean: the truth is within three of them in 99.7 % of simulations
}

// Agrees reports whether x is within so many standard errors.
func (e Estimate) Agrees(x, errors float64) bool { return math.Abs(e.Mean-x) <= errors*e.Error }

// batches is how many parts a simulation is cut into for the standard error: what happens in one hardly depends on the
// one before if each is long (the method of batch means; Law, "Simulation Modeling and Analysis", §9.5.3).
const batches = 100

// fromBatches is the mean of independent figures.
func fromBatches(figures []float64) Estimate {
	n, sum, squares := float64(len(figures)), 0.0, 0.0
	for _, x := range figures {
		sum += x
	}
	mean := sum / n
	for _, x := range figures {
		squares += (x - mean) * (x - mean)
	}
	return Estimate{Mean: mean, Error: math.Sqrt(squares / (n - 1) / n)}
}
