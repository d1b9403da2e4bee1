package steer

import (
	"fmt"
	"net/netip"
)

// Policy is how a plan chooses among the addresses it has.
type Policy uint8

// The policies.
const (
	All      Policy = iota // all of them, in random order, up to the limit
	One                    // at random, each as often as the others
	Weighted               // at random, by weight
	Failover               // the first, by priority and then by order
	Hash                   // the same for the same client, as long as that is in
	policies
)

var policyNames = [policies]string{"all", "one", "weighted", "failover", "hash"}

func (p Policy) String() string { return policyNames[p] }

// ParsePolicy reads a policy's name.
func ParsePolicy(name string) (Policy, bool) {
	for p, n := range policyNames {
		if n == name {
			return Policy(p), true
		}
	}
	return 0, false
}

// Serve is what is answered when no endpoint is in. An empty answer is none of the choices: resolvers keep it (RFC 2308),
// and clients then fail even when the probes are wrong.
type Serve uint8

// The choices.
const (
	ServeAll      Serve = iota // every endpoint, as if all were in
	ServeLast                  // those that were in last
	ServeFallback              // other addresses
)

// Weigh is what weights follow.
type Weigh uint8

// What weights may follow.
const (
	Fixed      Weigh = iota // nothing: they are as they are set
	ByLatency               // less to whoever answers slowly
	ByRequests              // less to whoever has many requests in flight
)

// load is how busy an endpoint is, in a unit of its own; 0 is not known.
func (w Weigh) load(e *Endpoint) float64 {
	switch w {
	case ByLatency:
		return float64(e.Latency)
	case ByRequests:
		return (float64(e.Requests) + 1) / float64(max(1, e.Weight)) // an idle one is not infinitely better
	}
	return 0
}

// Limits.
const (
	// LimitMax is the most addresses that one answer may have.
	LimitMax = 64
	// AddressesMax is the most addresses of a family that a plan chooses among; more are left out.
	AddressesMax = 1024

	// defaultLimit of All: more than clients try before they give up, and small enough for a message of 512 bytes with any
	// name (12 + 255 + 4 + 8 × 28 = 495).
	defaultLimit = 8
)

// Rules are how a record answers from a pool. The zero Rules are usable.
type Rules struct {
	Policy Policy
	// Limit is the most addresses in an answer. 0 is eight for All and one for the others.
	Limit int
	// TTL of the answers, and DownTTL while an endpoint is out, both in seconds.
	TTL, DownTTL uint32
	// Serve says what is answered when no endpoint is in, and Fallback which addresses that is for ServeFallback.
	Serve    Serve
	Fallback []netip.Addr
	// Prefix4 and Prefix6 are how many bits of a client's address Hash looks at. 0 is 24 and 56.
	Prefix4, Prefix6 int
	// Publish has the addresses that clients reach an endpoint at, where they differ from its own.
	Publish map[string][]netip.Addr
	// Weigh says what weights follow besides what they are set to, damped.
	Weigh Weigh
}

// WithDefaults returns r with the default in place of each zero.
func (r Rules) WithDefaults() Rules {
	if r.Limit == 0 {
		r.Limit = 1
		if r.Policy == All {
			r.Limit = defaultLimit
		}
	}
	if r.Prefix4 == 0 {
		r.Prefix4 = 24 // what resolvers tell of clients' addresses (RFC 7871 §11.1)
	}
	if r.Prefix6 == 0 {
		r.Prefix6 = 56
	}
	return r
}

// Check reports what in r makes no sense.
func (r Rules) Check() error {
	switch {
	case r.Policy >= policies:
		return fmt.Errorf("policy %d is not known", r.Policy)
	case r.Limit < 0 || r.Limit > LimitMax:
		return fmt.Errorf("limit %d is not between 0 and %d", r.Limit, LimitMax)
	case r.Prefix4 < 0 || r.Prefix4 > 32 || r.Prefix6 < 0 || r.Prefix6 > 128:
		return fmt.Errorf("prefixes of %d and %d bits are longer than addresses", r.Prefix4, r.Prefix6)
	case r.Serve == ServeFallback && len(r.Fallback) == 0:
		return fmt.Errorf("there is no fallback to serve")
	}
	return nil
}
