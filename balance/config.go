package balance

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/fault/outlier"
)

// Algorithm names a way of choosing.
type Algorithm string

// The algorithms.
const (
	// RoundRobin takes turns, smoothly by weight: an endpoint's turns are
	// spread over the cycle, not bunched.
	RoundRobin Algorithm = "round_robin"
	// WeightedRandom chooses at random, in proportion to the weights.
	WeightedRandom Algorithm = "weighted_random"
	// Random chooses at random and ignores the weights.
	Random Algorithm = "random"
	// LeastRequest chooses the endpoint with the fewest requests in flight per
	// weight. Up to 32 endpoints are all compared; of more, three are drawn by
	// weight and compared, which comes close and costs the same for any number.
	LeastRequest Algorithm = "least_request"
	// P2C draws two endpoints by weight and prefers the one with the lower
	// product of latency (a moving average that follows peaks at once) and
	// requests in flight. The other keeps a small share, so that nothing is
	// ever judged by old figures alone.
	P2C Algorithm = "p2c"
	// IPHash maps a key to an endpoint by weight. Adding or removing an endpoint
	// moves most keys; one that fails moves only its own.
	IPHash Algorithm = "ip_hash"
	// Maglev maps a key through a table that changes little when endpoints are
	// added or removed, evenly to within a percent.
	// D. Eisenbud et al., "Maglev", NSDI 2016, §3.4.
	Maglev Algorithm = "maglev"
	// RingHash maps a key to the next endpoint on a hash ring, but to none that
	// has more than Config.LoadFactor times its share of the requests in flight.
	// V. Mirrokni, M. Thorup, M. Zadimoghaddam, "Consistent Hashing with Bounded
	// Loads", 2016.
	RingHash Algorithm = "ring_hash"
)

// Algorithms lists all of them.
func Algorithms() []Algorithm {
	return []Algorithm{RoundRobin, WeightedRandom, Random, LeastRequest, P2C, IPHash, Maglev, RingHash}
}

// Hashes reports whether the algorithm chooses by Request.Hash.
func (a Algorithm) Hashes() bool { return a == IPHash || a == Maglev || a == RingHash }

// Limits of a pool.
const (
	// MaxEndpoints is the largest number of endpoints: tables hold 16-bit
	// indexes.
	MaxEndpoints = 65535
	// MaxWeight is the largest weight of an endpoint.
	MaxWeight = 1_000_000
	// DefaultMaxPending is the number of requests that may wait for a place
	// if Config.MaxPending is zero.
	DefaultMaxPending = 1000
)

// EndpointConfig describes an endpoint. Its address is its identity.
type EndpointConfig struct {
	// Address is opaque to this package; unique in the pool.
	Address string
	// Weight is its share relative to the others', 1 to MaxWeight; 0 means 1.
	// To send no requests to an endpoint, drain it.
	Weight int
	// Priority 0 is used first, then 1 and so on.
	Priority int
	// MaxRequests limits the requests in flight; 0 is no limit.
	MaxRequests int
}

// Config describes a pool. Only Endpoints has no useful zero.
type Config struct {
	// Name is for people.
	Name string
	// Algorithm is RoundRobin by default.
	Algorithm Algorithm
	Endpoints []EndpointConfig

	// Probed says that health probes watch the endpoints: one that joins the
	// running pool then waits for its first verdict.
	Probed bool

	// Role is that of the endpoints that take requests; RoleUnknown, the zero, is
	// any. Of several that say that they are the primary one is: see SetRole.
	Role Role

	// TableSize is the number of slots of the Maglev table, raised to the next
	// prime; or the largest number of points on the ring, which has 160 for each
	// unit of weight or, if those are too many, half or a quarter of them and so
	// on. 0 is at least 65537 slots and 100 for each endpoint; or 65536 points.
	TableSize int
	// LoadFactor bounds an endpoint's requests in flight on the ring to this
	// multiple of its share; above 1. Default 1.25.
	LoadFactor float64
	// Decay is the time constant of the latency average. Default 5 s.
	Decay time.Duration
	// SlowStart is the time in which an endpoint that has come up, come back
	// from ejection or joined a running pool grows from a tenth of its weight
	// to all of it. Hashing algorithms ignore it: a key has one place. 0 is off.
	SlowStart time.Duration

	// PanicThreshold is the share (0..1) of available endpoints below which all
	// are used. 0 is when none is available; negative is never.
	PanicThreshold float64
	// Overprovision is the factor on a priority's available share before load
	// spills to the next. Default 1.4: up to 28 % may be missing.
	Overprovision float64

	// MaxRequests limits the requests in flight of the whole pool; 0 is no limit.
	MaxRequests int
	// MaxPending limits the requests that wait for a place. 0 is
	// DefaultMaxPending; negative lets none wait.
	MaxPending int

	// Outlier rules the ejection of endpoints that fail requests.
	Outlier outlier.Config
	// Stall rules the detection of endpoints that have stopped answering.
	Stall StallConfig

	// OnChange, if set, is called after each change of an endpoint's state, by
	// the goroutine whose call brought the change about and outside all locks.
	// It must not block, for that may be an event loop's. Calls by
	// several goroutines may overlap. Update keeps the first function if the new
	// configuration has none.
	OnChange func(*Endpoint, Change)
	// Seed shifts where the turns begin, so that many pools do not all send
	// their first request to the same endpoint.
	Seed uint64
}

// withDefaults returns c with the default in place of each zero.
func (c Config) withDefaults() Config {
	if c.Algorithm == "" {
		c.Algorithm = RoundRobin
	}
	if c.LoadFactor == 0 {
		c.LoadFactor = 1.25 // the paper's ε = 0.25; also Vimeo's and HAProxy's advice
	}
	if c.Decay == 0 {
		c.Decay = 5 * time.Second
	}
	if c.Overprovision == 0 {
		c.Overprovision = 1.4
	}
	if c.MaxPending == 0 {
		c.MaxPending = DefaultMaxPending
	}
	c.Outlier = c.Outlier.WithDefaults()
	c.Stall = c.Stall.withDefaults()
	c.Endpoints = slices.Clone(c.Endpoints)
	for i := range c.Endpoints {
		c.Endpoints[i] = c.Endpoints[i].withDefaults()
	}
	return c
}

func (c EndpointConfig) withDefaults() EndpointConfig {
	if c.Weight == 0 {
		c.Weight = 1
	}
	return c
}

// Check reports everything in c that makes no sense, joined.
func (c Config) Check() error {
	c = c.withDefaults()
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("pool %s: "+format, append([]any{c.Name}, args...)...))
	}
	if !slices.Contains(Algorithms(), c.Algorithm) {
		bad("algorithm %q is not known", c.Algorithm)
	}
	if len(c.Endpoints) > MaxEndpoints {
		bad("%d endpoints are more than %d", len(c.Endpoints), MaxEndpoints)
	}
	if c.Role > Replica {
		bad("role %d is not known", c.Role)
	}
	if c.TableSize < 0 || c.TableSize > maxTable {
		bad("table size %d is not between 0 and %d", c.TableSize, maxTable)
	}
	if !(c.LoadFactor > 1) || math.IsInf(c.LoadFactor, 0) {
		bad("load factor %v is not above 1", c.LoadFactor)
	}
	if c.Decay < 0 {
		bad("decay %v is negative", c.Decay)
	}
	if c.SlowStart < 0 {
		bad("slow start %v is negative", c.SlowStart)
	}
	if !(c.PanicThreshold <= 1) {
		bad("panic threshold %v is above 1", c.PanicThreshold)
	}
	if !(c.Overprovision >= 1) || math.IsInf(c.Overprovision, 0) {
		bad("overprovision %v is below 1", c.Overprovision)
	}
	if c.MaxRequests < 0 {
		bad("maximum requests %d is negative", c.MaxRequests)
	}
	if err := c.Outlier.Check(); err != nil {
		bad("%w", err)
	}
	if err := c.Stall.check(); err != nil {
		bad("%w", err)
	}
	seen := make(map[string]bool, len(c.Endpoints))
	keys := make(map[uint64]string, len(c.Endpoints))
	for _, e := range c.Endpoints {
		if err := e.check(); err != nil {
			bad("%w", err)
		}
		if seen[e.Address] {
			bad("endpoint %s is listed twice", e.Address)
			continue
		}
		seen[e.Address] = true
		key := keyOf(e.Address)
		if other, ok := keys[key]; ok {
			bad("endpoints %s and %s have the same key", e.Address, other)
		}
		keys[key] = e.Address
	}
	return errors.Join(errs...)
}

func (c EndpointConfig) check() error {
	switch {
	case c.Address == "":
		return errors.New("endpoint without an address")
	case c.Weight < 1 || c.Weight > MaxWeight:
		return fmt.Errorf("endpoint %s: weight %d is not between 1 and %d", c.Address, c.Weight, MaxWeight)
	case c.Priority < 0:
		return fmt.Errorf("endpoint %s: priority %d is negative", c.Address, c.Priority)
	case c.MaxRequests < 0:
		return fmt.Errorf("endpoint %s: maximum requests %d is negative", c.Address, c.MaxRequests)
	}
	return nil
}
