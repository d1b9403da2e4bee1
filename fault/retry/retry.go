// Package retry answers whether a request that failed is sent again, and when.
//
// Three questions must all be answered yes: the policy wants it ([Policy]), it
// can do no harm ([Safe]), and the service can bear it ([Budget]). The package
// sends nothing, waits for nothing, and reads no clock.
package retry

import (
	"fmt"
	"math/bits"
	"time"
)

// When is a set of reasons to send a request again.
type When uint8

// The reasons.
const (
	// Connect: no connection could be made; nothing was sent.
	Connect When = 1 << iota
	// Reset: the connection ended before the answer began.
	Reset
	// Timeout: the attempt took longer than it may.
	Timeout
	// Stall: the endpoint has stopped answering.
	Stall
	// Status: the answer has one of the statuses of the policy.
	Status
)

// Policy says which failures are worth another attempt. The zero Policy means
// the defaults.
type Policy struct {
	// Attempts is the number of times a request is sent, the first included.
	// Default 3; 1 is never again.
	Attempts int
	// When is the set of reasons. Default all but Timeout, which has used the
	// client's patience up already. Status is implied by Statuses.
	When When
	// Statuses are worth another attempt if Status is in When.
	Statuses StatusSet
	// BackoffBase and BackoffMax bound the wait before an attempt, see Backoff.
	// Defaults 25 ms and 250 ms: what Envoy uses.
	BackoffBase time.Duration
	BackoffMax  time.Duration
}

// WithDefaults returns p with the default in place of each zero.
func (p Policy) WithDefaults() Policy {
	if p.Attempts == 0 {
		p.Attempts = 3
	}
	if p.When == 0 {
		p.When = Connect | Reset | Stall
	}
	if p.Statuses != (StatusSet{}) {
		p.When |= Status
	}
	if p.BackoffBase == 0 {
		p.BackoffBase = 25 * time.Millisecond
	}
	if p.BackoffMax == 0 {
		p.BackoffMax = 10 * p.BackoffBase
	}
	return p
}

// Check reports the first value of p that makes no sense.
func (p Policy) Check() error {
	p = p.WithDefaults()
	switch {
	case p.Attempts < 1:
		return fmt.Errorf("retry: %d attempts are below 1", p.Attempts)
	case p.BackoffBase < 0:
		return fmt.Errorf("retry: backoff base %v is negative", p.BackoffBase)
	case p.BackoffMax < p.BackoffBase:
		return fmt.Errorf("retry: backoff maximum %v is below the base %v", p.BackoffMax, p.BackoffBase)
	}
	return nil
}

// Wants reports whether the policy, defaults filled in, asks for another attempt
// after the given number of them, the last of which failed for reason. status is
// that of the answer if the reason is Status.
func (p *Policy) Wants(attempts int, reason When, status int) bool {
	if attempts >= p.Attempts || p.When&reason == 0 {
		return false
	}
	return reason != Status || p.Statuses.Has(status)
}

// Backoff returns how long to wait before the next attempt, after the given
// number of them, the last of which failed for reason. random is any random
// number.
//
// The wait is anything from nothing to a limit that doubles with each attempt
// ("full jitter": M. Brooker, "Exponential Backoff and Jitter", 2015). But the
// first retry of a request that an endpoint did not answer at all is for another
// endpoint and goes at once: there is nothing to wait for.
func (p *Policy) Backoff(attempts int, reason When, random uint64) time.Duration {
	if attempts <= 1 && reason&(Connect|Reset|Stall) != 0 {
		return 0
	}
	limit := p.BackoffBase
	for ; attempts > 1 && limit < p.BackoffMax; attempts-- {
		limit *= 2
	}
	wait, _ := bits.Mul64(random, uint64(min(limit, p.BackoffMax)))
	return time.Duration(wait)
}

// Safe reports whether a request may be sent again without the risk of its
// effect happening twice: its method is idempotent, or no byte of it was sent.
// RFC 9110 §9.2.2: idempotent methods. Methods are case-sensitive (§9.1).
func Safe[S ~string | ~[]byte](method S, sent bool) bool {
	if !sent {
		return true
	}
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// StatusSet is a set of HTTP statuses, 100 to 599.
type StatusSet [8]uint64

// Statuses returns the set of the given statuses. It panics if one is not
// between 100 and 599.
func Statuses(list ...int) (s StatusSet) {
	for _, status := range list {
		if status < 100 || status > 599 {
			panic(fmt.Sprintf("retry: status %d is not between 100 and 599", status))
		}
		i := status - 100
		s[i/64] |= 1 << (i % 64)
	}
	return s
}

// Has reports whether the status is in the set.
func (s *StatusSet) Has(status int) bool {
	i := status - 100
	return uint(i) < 500 && s[i/64]&(1<<(i%64)) != 0
}
