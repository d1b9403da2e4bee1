package avail

import "math"

// MMCK is M/M/c with room for Places requests in all, in service and waiting: one that finds no room is turned away.
// It is what a pool with a queue limit is. It never overflows, so every load has a steady state.
type MMCK struct {
	MMC
	Places int // K, at least Servers
}

// Lengths is the steady state of an MMCK.
type Lengths struct {
	Empty   float64 // p₀: the chance that nothing is there
	Full    float64 // p_K: the chance of being turned away (arrivals see the steady state)
	Waiting float64 // Lq: how many wait on average
	Present float64 // L: how many are there on average
}

// Steady returns the steady state: p_n ∝ Π a/min(i,c) over i = 1..n. Source: Gross and Harris, "Fundamentals of
// Queueing Theory", §2.5. It is summed outwards from the largest term, so that nothing overflows and every term is
// positive; it takes a few nanoseconds for each place.
func (q MMCK) Steady() Lengths {
	a := q.Offered()
	if q.Servers < 1 || q.Places < q.Servers || math.IsNaN(a) || math.IsInf(a, 1) {
		nan := math.NaN()
		return Lengths{nan, nan, nan, nan}
	}
	mode := min(int(min(a, float64(q.Places))), q.Places)
	if a >= float64(q.Servers) {
		mode = q.Places
	}
	sum, s := 0.0, Lengths{}
	take := func(n int, w float64) {
		sum += w
		s.Present += w * float64(n)
		s.Waiting += w * float64(max(n-q.Servers, 0))
		if n == 0 {
			s.Empty = w
		}
		if n == q.Places {
			s.Full = w
		}
	}
	ratio := func(n int) float64 { return a / float64(min(n, q.Servers)) }
	for n, w := mode, 1.0; n >= 0 && w > 0; n-- {
		take(n, w)
		w /= ratio(n)
	}
	for n, w := mode+1, 1.0; n <= q.Places && w > 0; n++ {
		w *= ratio(n)
		take(n, w)
	}
	s.Empty, s.Full, s.Waiting, s.Present = s.Empty/sum, s.Full/sum, s.Waiting/sum, s.Present/sum
	return s
}

// Turned is the share of requests that find no room.
func (q MMCK) Turned() float64 { return q.Steady().Full }

// MeanWait is the mean time before service of those let in: Lq/(λ(1 − p_K)).
func (q MMCK) MeanWait() Seconds {
	s := q.Steady()
	return Seconds(s.Waiting / (float64(q.Arrivals) * (1 - s.Full)))
}

// MeanResponse is the mean time of those let in, wait and service: L/(λ(1 − p_K)).
func (q MMCK) MeanResponse() Seconds {
	s := q.Steady()
	return Seconds(s.Present / (float64(q.Arrivals) * (1 - s.Full)))
}
