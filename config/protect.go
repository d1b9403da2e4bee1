package config

import (
	"fmt"
	"time"
)

// Outlier takes out endpoints whose answers to real requests are bad (5xx, resets, timeouts). The defaults work with two to
// five endpoints and a few requests a second. The last endpoint is never taken out.
type Outlier struct {
	// Never take one out.
	Off bool `yaml:"off" default:"false" scalar:"off"`
	// Failures in a row that take an endpoint out.
	Consecutive int `yaml:"consecutive" default:"5" min:"1" max:"10000" aka:"consecutive_5xx consecutive_errors max_fails"`
	// By how much its rate of failures must exceed that of the others, in percent of its requests. What small numbers can't
	// tell apart from chance does not count.
	Margin Percent `yaml:"margin" default:"20%" min:"0%" max:"100%" aka:"failure_rate failure_percentage_threshold"`
	// Requests that a window needs before its rate counts.
	MinRequests int `yaml:"min_requests" default:"10" min:"1" max:"1000000" aka:"request_volume minimum_hosts"`
	// The time over which the rate is taken: at the default, one request a second makes a sample.
	Window time.Duration `yaml:"window" default:"30s" min:"1s" max:"1h" aka:"interval"`
	// How long an endpoint is out the first time; each time after, twice as long.
	BaseEjection time.Duration `yaml:"base_ejection" default:"10s" min:"100ms" max:"1d" aka:"base_ejection_time fail_timeout"`
	// The longest time out.
	MaxEjection time.Duration `yaml:"max_ejection" default:"5m" min:"100ms" max:"7d" aka:"max_ejection_time"`
	// How long an endpoint is out the first time when it could not be connected to. Trying again costs nothing then: a
	// request that was never sent can be sent elsewhere.
	ConnectEjection time.Duration `yaml:"connect_ejection" default:"1s" min:"10ms" max:"1d"`
	// Requests, one at a time, that must succeed before an endpoint that comes back is trusted again.
	Probation int `yaml:"probation" default:"3" min:"1" max:"1000"`
	// Part of the pool that may be out at a time; one always may, unless it is the last. When all fail alike, the fault is
	// elsewhere, and taking all out helps nobody.
	MaxEjected Percent `yaml:"max_ejected" default:"50%" min:"0%" max:"100%" aka:"max_ejection_percent"`
}

// Stall takes requests away from an endpoint that has stopped answering: a hung process, a machine that is gone without a
// word. Connections to it still stand, so nothing else tells until a timeout does.
type Stall struct {
	// Never.
	Off bool `yaml:"off" default:"false" scalar:"off"`
	// The time without an answer to any request is learned from the endpoint's own response times: four times what is usual.
	// This is the least it may be.
	Min time.Duration `yaml:"min" default:"200ms" min:"1ms" max:"1h"`
	// And the most; also while nothing is known of the endpoint yet.
	Max time.Duration `yaml:"max" default:"5s" min:"1ms" max:"1h" aka:"after timeout"`
	// Requests that must wait at once: one alone is a slow request.
	Requests int `yaml:"requests" default:"3" min:"1" max:"10000"`
}

// Breaker is what the pool takes on at most, all endpoints together; more is answered with 503 at once. The defaults are far
// above what small services see: they keep a pool that is stuck from taking the balancer with it.
type Breaker struct {
	// Requests in flight. 0 is no limit.
	MaxRequests int `yaml:"max_requests" default:"10000" min:"0" aka:"max_connections"`
	// Requests that wait in the queue; the lesser of this and the queue's limit holds.
	MaxPending int `yaml:"max_pending" default:"1000" min:"0" aka:"max_pending_requests"`
}

// Queue is where requests wait while every endpoint has as many as it may take.
type Queue struct {
	// Requests that may wait; more are answered with 503 at once. 0 lets none wait.
	Limit int `yaml:"limit" default:"1000" min:"0" max:"1000000" aka:"size length max"`
	// The longest wait; then the answer is 503. Who waits longer has often gone already. 0 is no limit.
	Timeout time.Duration `yaml:"timeout" default:"5s"`
}

func (o *Outlier) validate(c *checker, path string) {
	c.offAlone(path, o.Off)
	if o.BaseEjection > o.MaxEjection {
		c.fail(join(path, "base_ejection"), fmt.Sprintf("%s is longer than max_ejection, %s", o.BaseEjection, o.MaxEjection), "raise max_ejection")
	}
}

func (s *Stall) validate(c *checker, path string) {
	c.offAlone(path, s.Off)
	if s.Min > s.Max {
		c.fail(join(path, "min"), fmt.Sprintf("%s is longer than max, %s", s.Min, s.Max), "raise max")
	}
}
