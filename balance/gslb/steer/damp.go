package steer

import (
	"math"
	"time"
)

// How weights follow loads. Resolvers keep answers for a TTL, so a change is felt late; what follows such a signal
// quickly overshoots, and goes to and fro. Hence the slow approach, the square root, and the dead band.
const (
	dampTime = 30 * time.Second // in which two thirds of a difference are made up for,
	dampTTLs = 6                // and so many times the TTL on top
	dampGain = 0.5              // the exponent on the ratio of loads
	dampMin  = 0.25             // bounds of a factor
	dampMax  = 4.0
	deadBand = 0.1 // relative difference that is not worth another answer
)

// Damper turns loads into factors of weights that do not oscillate. The zero Damper is ready. It is not safe for
// concurrent use.
type Damper struct {
	at      time.Duration
	begun   bool
	factors map[string]float64 // as they are approached
	shown   map[string]float64 // as they were last given
}

// Observe takes the present loads and returns the factors by address. late is how long it takes until clients feel a
// factor. The map must not be changed.
func (d *Damper) Observe(now, late time.Duration, weigh Weigh, all []Endpoint) map[string]float64 {
	elapsed := now - d.at
	if !d.begun {
		elapsed, d.begun = 0, true
	}
	d.at = now
	step := 1 - math.Exp(-float64(elapsed)/float64(dampTime+dampTTLs*late))
	mean := meanLoad(weigh, all)
	factors, shown := make(map[string]float64, len(all)), make(map[string]float64, len(all))
	for i := range all {
		e := &all[i]
		target := 1.0
		if load := weigh.load(e); e.Standing == In && load > 0 && mean > 0 {
			target = max(dampMin, min(dampMax, math.Pow(mean/load, dampGain)))
		}
		f, known := d.factors[e.Address]
		if !known {
			f = 1
		}
		f += step * (target - f)
		factors[e.Address] = f
		shown[e.Address] = f
		if was, ok := d.shown[e.Address]; ok && math.Abs(f-was) <= deadBand*was {
			shown[e.Address] = was
		}
	}
	d.factors, d.shown = factors, shown
	return shown
}

// meanLoad averages the known loads of those that are in, by weight.
func meanLoad(weigh Weigh, all []Endpoint) float64 {
	sum, weights := 0.0, 0.0
	for i := range all {
		e := &all[i]
		if load := weigh.load(e); e.Standing == In && load > 0 {
			w := float64(max(1, e.Weight))
			sum += w * load
			weights += w
		}
	}
	if weights == 0 {
		return 0
	}
	return sum / weights
}
