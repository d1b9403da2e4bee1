package config

import (
	"fmt"
	"time"
)

// RateLimit bounds the requests of each client, or of whatever key tells apart. Who is above it gets 429, and is told in
// Retry-After when to come back. The limit is this process's own.
type RateLimit struct {
	// How many requests in how long, such as 10/s or 1000/h. They are given evenly over the time.
	Rate Rate `yaml:"rate,required" scalar:"*" min:"0.0001/s"`
	// How many may come at once, saved up in quiet times. The default, 0, is a second's worth, and at least one.
	Burst int `yaml:"burst" default:"0" min:"0" max:"1000000"`
	// What tells clients apart: their address, a header, a cookie, a part of the URL; or all, to have one limit for
	// everybody. A request that lacks the header or cookie is counted by its address.
	Key LimitKey `yaml:"key" default:"source" aka:"by per"`
	// How many bits of an IPv4 address count.
	Prefix4 int `yaml:"prefix4" default:"32" min:"1" max:"32"`
	// How many bits of an IPv6 address count. A client has a /64 network and changes its address within.
	Prefix6 int `yaml:"prefix6" default:"64" min:"1" max:"128"`
	// How many clients are told apart at a time, at 16 bytes each. If more come, they share.
	Keys int `yaml:"keys" default:"65536" min:"1" max:"100000000"`
}

// LimitKey is what a rate limit tells clients apart by.
type LimitKey struct {
	All bool
	HashKey
}

// String is the key as it is written.
func (k LimitKey) String() string {
	if k.All {
		return "all"
	}
	return k.HashKey.String()
}

func parseLimitKey(text string) (LimitKey, error) {
	if text == "all" {
		return LimitKey{All: true}, nil
	}
	k, err := parseHashKey(text)
	return LimitKey{HashKey: k}, err
}

// Hedge makes a second attempt on another endpoint when the first takes unusually long, and goes on with whichever answers
// first. Only requests that may be repeated are hedged.
type Hedge struct {
	// The share of requests that are answered sooner than a second attempt is made: 95% hedges one in twenty. The time
	// itself is learned.
	After Percent `yaml:"after" default:"95%" scalar:"*" min:"50%" max:"99.99%" aka:"quantile percentile"`
	// A fixed time instead of a learned one. The default, 0, is to learn it.
	Delay time.Duration `yaml:"delay" default:"0"`
	// How much of the traffic may be second attempts, so that a service that has become slow does not get twice the load.
	Budget Percent `yaml:"budget" default:"10%" min:"0%" max:"100%"`
}

// Fallback is what a client gets in place of a failure: a fixed response, or that of another pool.
type Fallback struct {
	// The failures, by the status that the client would get. The defaults are those of Trivet itself when no endpoint
	// answers, and of gateways behind.
	When []Status `yaml:"when" default:"502 503 504" aka:"on statuses"`
	// Answer with this.
	Respond *Respond `yaml:"respond"`
	// Ask this pool once more. A request that may have had an effect is not sent again.
	Pool Name `yaml:"pool" scalar:"*"`
}

func (f *Fallback) validate(c *checker, path string) {
	if (f.Respond == nil) == (f.Pool == "") {
		c.fail(path, "a fallback is either a response or a pool", "write fallback: {respond: {status: 503, body: ...}}, or fallback: POOL")
	}
	c.poolExists(join(path, "pool"), f.Pool)
	for i, s := range f.When {
		if s < 400 {
			c.fail(fmt.Sprintf("%s.when[%d]", path, i), fmt.Sprintf("%d is no failure", s), "write statuses of 400 and above")
		}
	}
}

// Inject makes a route misbehave on purpose, to see whether those who depend on it can bear it. It is for drills: status and
// check say so as long as it is there.
type Inject struct {
	// Answer this share of requests with abort_status.
	Abort Percent `yaml:"abort" default:"0%" min:"0%" max:"100%"`
	// The status.
	AbortStatus Status `yaml:"abort_status" default:"503"`
	// Reset the connection of this share of requests.
	Reset Percent `yaml:"reset" default:"0%" min:"0%" max:"100%"`
	// Let this share of requests wait for delay_for before they go out.
	Delay Percent `yaml:"delay" default:"0%" min:"0%" max:"100%"`
	// How long.
	DelayFor time.Duration `yaml:"delay_for" default:"1s" max:"1h"`
	// Send the body of each response at this rate, in bytes. 0/s is no limit.
	Bandwidth Rate `yaml:"bandwidth" default:"0/s"`
}

// Importance is how important a route's requests are, when not all can be served (the criticalities of the SRE book).
type Importance string

// The degrees, the first ones shed first.
const (
	ImportanceSheddable     Importance = "sheddable"      // nobody waits for them
	ImportanceSheddablePlus Importance = "sheddable_plus" // they can be done later
	ImportanceCritical      Importance = "critical"       // users notice
	ImportanceCriticalPlus  Importance = "critical_plus"  // the business notices
)

// Values is every degree.
func (Importance) Values() []string {
	return []string{string(ImportanceSheddable), string(ImportanceSheddablePlus), string(ImportanceCritical), string(ImportanceCriticalPlus)}
}

// Circuit stops asking a pool that fails: after too many failures requests are refused at once (503) for a while, then a few
// try whether it is well again. Single endpoints that fail are taken out by outlier; this is for what all of them depend on.
type Circuit struct {
	// The share of failed requests (5xx, resets, timeouts) from which it opens.
	FailureRate Percent `yaml:"failure_rate" default:"50%" min:"1%" max:"100%" aka:"error_rate failure_percentage"`
	// The time over which the share is taken.
	Window time.Duration `yaml:"window" default:"10s" min:"100ms" max:"1h"`
	// Requests that a window needs before the share counts.
	MinRequests int `yaml:"min_requests" default:"20" min:"1" max:"1000000" aka:"min_calls request_volume"`
	// Failures in a row that open it, whatever the share. 0 is none.
	Consecutive int `yaml:"consecutive" default:"0" min:"0" max:"100000"`
	// A request that takes longer counts as slow. 0 is none.
	Slow time.Duration `yaml:"slow" default:"0" aka:"slow_call"`
	// The share of slow requests from which it opens.
	SlowRate Percent `yaml:"slow_rate" default:"100%" min:"1%" max:"100%"`
	// How long it stays open before a few requests try again.
	OpenFor time.Duration `yaml:"open_for" default:"5s" min:"10ms" max:"1h" aka:"wait open_duration"`
	// Requests that try, and must all go well.
	Probes int `yaml:"probes" default:"3" min:"1" max:"1000" aka:"half_open_requests"`
}

// Concurrency finds by itself how many requests a pool can bear at a time, from how long they take, and refuses more at once
// (503): under overload the admitted ones are then served about as fast as ever.
type Concurrency struct {
	// How the limit is found.
	Algorithm ConcurrencyAlgorithm `yaml:"algorithm" default:"gradient" scalar:"*"`
	// The limit to begin with.
	Initial int `yaml:"initial" default:"20" min:"1" max:"100000"`
	// The least it may be.
	Min int `yaml:"min" default:"4" min:"1" max:"100000"`
	// The most it may be.
	Max int `yaml:"max" default:"1000" min:"1" max:"100000"`
}

func (o *Concurrency) validate(c *checker, path string) {
	if o.Min > o.Max {
		c.fail(join(path, "min"), fmt.Sprintf("%d is more than max, %d", o.Min, o.Max), "lower min, or raise max")
	}
}

// ConcurrencyAlgorithm is how a limit of concurrency is found.
type ConcurrencyAlgorithm string

// The algorithms.
const (
	ConcurrencyGradient ConcurrencyAlgorithm = "gradient" // compares latencies with those of a longer time (Netflix's Gradient2)
	ConcurrencyAIMD     ConcurrencyAlgorithm = "aimd"     // grows by one, shrinks by a tenth when a request is lost or late
	ConcurrencyVegas    ConcurrencyAlgorithm = "vegas"    // estimates the queue from the least latency seen (as TCP Vegas)
)

// Values is every algorithm.
func (ConcurrencyAlgorithm) Values() []string {
	return []string{string(ConcurrencyGradient), string(ConcurrencyAIMD), string(ConcurrencyVegas)}
}

// Shed refuses a share of the requests when the pool fails or refuses many, the least important first (priority of routes).
type Shed struct {
	// How the share is found.
	Algorithm ShedAlgorithm `yaml:"algorithm" default:"throttle" scalar:"*"`
	// The time over which requests count.
	Window time.Duration `yaml:"window" default:"30s" min:"1s" max:"1h"`
	// The largest share that is refused, so that some always find out whether the pool is well again.
	Max Percent `yaml:"max" default:"80%" min:"1%" max:"99%"`
}

// ShedAlgorithm is how the share of shed requests is found.
type ShedAlgorithm string

// The algorithms.
const (
	ShedThrottle  ShedAlgorithm = "throttle"  // the SRE book's client throttling: nothing while every second request is served
	ShedAdmission ShedAlgorithm = "admission" // Envoy's admission control: keeps the rate of good responses above 95%
)

// Values is every algorithm.
func (ShedAlgorithm) Values() []string { return []string{string(ShedThrottle), string(ShedAdmission)} }
