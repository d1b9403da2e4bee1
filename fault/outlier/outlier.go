// Package outlier answers whether an endpoint does so much worse than its
// peers that requests should stay away from it for a while, judged only by the
// outcomes of real requests.
//
// It is made for small pools and little traffic: two endpoints and one request
// a second are enough. A run of failures or a failure rate makes an endpoint a
// suspect; it is convicted only if its peers do better, so that a broken
// database behind all of them ejects nobody. A failure to connect and an
// endpoint that has stopped answering are certain evidence and need no
// comparison.
//
// An ejected endpoint returns on probation, one request at a time, and is
// trusted again after a few successes. Ejections grow exponentially until the
// endpoint has been in good standing for as long as it was out.
//
// The package starts no goroutine, reads no clock and knows no pool: who may be
// ejected without emptying a pool is decided by its caller with
// [Config.MayEject].
package outlier

import (
	"math"
	"time"
)

// Cause is the kind of evidence against an endpoint.
type Cause uint8

const (
	// Errors: answers that say the server failed, resets, time-outs.
	Errors Cause = iota
	// Connect: no connection could be made.
	Connect
	// Stall: the endpoint has stopped answering.
	Stall
)

func (c Cause) String() string {
	switch c {
	case Connect:
		return "connect failed"
	case Stall:
		return "stopped answering"
	}
	return "errors"
}

// certain tells evidence that speaks for itself from evidence that must be
// compared with the peers'.
func (c Cause) certain() bool { return c != Errors }

// Standing is how far an endpoint is trusted.
type Standing uint8

const (
	// Good: takes its full share.
	Good Standing = iota
	// Ejected: takes nothing until its ejection ends.
	Ejected
	// Probation: takes one request at a time until it has succeeded a few times.
	Probation
)

func (s Standing) String() string {
	switch s {
	case Ejected:
		return "ejected"
	case Probation:
		return "on probation"
	}
	return "good"
}

// Sample counts requests and how many of them failed.
type Sample struct {
	Failures int
	Requests int
}

// Suspicion is the evidence that a failure has completed against an endpoint.
type Suspicion struct {
	Cause  Cause
	Sample Sample
	// OnProbation: the endpoint failed while it had to prove itself.
	OnProbation bool
}

// Conclusive reports whether the evidence needs no comparison with peers.
func (s Suspicion) Conclusive() bool { return s.Cause.certain() || s.OnProbation }

// Convicts reports whether the evidence is enough, given what the endpoint's
// peers have done in the same window.
func (c Config) Convicts(s Suspicion, peers Sample) bool {
	return s.Conclusive() || lowerBound(s.Sample) > c.Margin+shrunkRate(peers)
}

// z is the number of standard deviations of the confidence bound: two, or 97.7 %
// one-sided.
const z = 2

// lowerBound is the low end of the Wilson score interval for the failure rate:
// what the rate is at least, allowing for the size of the sample.
// E. B. Wilson, Journal of the American Statistical Association 22 (1927), 209.
func lowerBound(s Sample) float64 {
	if s.Requests == 0 {
		return 0
	}
	n := float64(s.Requests)
	p := float64(s.Failures) / n
	center := p + z*z/(2*n)
	spread := z * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	return max(0, (center-spread)/(1+z*z/n))
}

// shrunkRate is the failure rate drawn towards zero as if two more requests had
// succeeded, so that one unlucky request of a peer excuses nobody.
func shrunkRate(s Sample) float64 {
	return float64(s.Failures) / float64(s.Requests+2)
}

// duration is the length of the n-th ejection in a row, n from 1.
func (c Config) duration(cause Cause, n int) time.Duration {
	base, limit := c.BaseEjection, c.MaxEjection
	if cause == Connect {
		base, limit = c.ConnectEjection, c.BaseEjection
	}
	for ; n > 1 && base < limit; n-- {
		base *= 2
	}
	return min(base, limit)
}
