package balance

import "time"

// rampSteps is the number of steps of a slow start, and what a weight is
// multiplied by so that a step is a whole number.
const rampSteps = 10

// startSlowly begins an endpoint's slow start. The caller holds the pool's mu.
func (e *Endpoint) startSlowly(now time.Duration) {
	if e.pool.config.SlowStart > 0 {
		e.rampFrom, e.ramping = now, true
	}
}

// step returns how many of rampSteps an endpoint's weight counts, and ends the
// slow start that is complete.
func (e *Endpoint) step(now, slowStart time.Duration) uint64 {
	if !e.ramping {
		return rampSteps
	}
	if slowStart <= 0 || now-e.rampFrom >= slowStart {
		e.ramping = false
		return rampSteps
	}
	return max(1, uint64(rampSteps*max(0, now-e.rampFrom)/slowStart))
}

// nextStep returns when the weight counts one step more.
func (e *Endpoint) nextStep(now, slowStart time.Duration) time.Duration {
	n := time.Duration(e.step(now, slowStart))
	return e.rampFrom + ((n+1)*slowStart+rampSteps-1)/rampSteps
}
