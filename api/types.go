package api

import "time"

// Status is a node at a glance.
type Status struct {
	Version   string           `json:"version"`
	PID       int              `json:"pid"`
	File      string           `json:"file,omitempty"` // the configuration in force
	Started   time.Time        `json:"started"`
	Loaded    time.Time        `json:"loaded"` // when the configuration came into force
	Draining  bool             `json:"draining,omitempty"`
	Listeners []ListenerStatus `json:"listeners"`
	Pools     []PoolStatus     `json:"pools"`
}

// ListenerStatus is a listener and its routes.
type ListenerStatus struct {
	Name        string        `json:"name"`
	Addresses   []string      `json:"addresses"`
	Connections int64         `json:"connections"`  // open now
	Accepted    uint64        `json:"accepted"`     // since the process began
	Refused     uint64        `json:"refused"`      // connections closed at once
	Bad         uint64        `json:"bad_requests"` // requests that were no valid HTTP
	Limited     uint64        `json:"limit_met"`    // times that the limit of connections was met
	Routes      []RouteStatus `json:"routes"`
}

// RouteStatus is a route with its counts since the process began.
type RouteStatus struct {
	Name     string            `json:"name"`
	Action   string            `json:"action"` // what it does, for people
	Requests uint64            `json:"requests"`
	Status   map[string]uint64 `json:"status"` // requests by class of status; "none" were given up without an answer
	Retries  uint64            `json:"retries"`
	Latency  Latency           `json:"latency"`
}

// Latency sums up a distribution. The quantiles are upper bounds of the histogram's buckets.
type Latency struct {
	Mean Millis `json:"mean_ms"`
	P50  Millis `json:"p50_ms"`
	P99  Millis `json:"p99_ms"`
}

// Millis is a time in milliseconds.
type Millis float64

// InMillis turns a duration into milliseconds.
func InMillis(d time.Duration) Millis { return Millis(float64(d) / float64(time.Millisecond)) }

// PoolStatus is a pool and its endpoints.
type PoolStatus struct {
	Name      string           `json:"name"`
	Algorithm string           `json:"algorithm"`
	Available int              `json:"available"` // endpoints that take requests
	Panic     bool             `json:"panic,omitempty"`
	InFlight  int              `json:"in_flight"`
	Queue     int              `json:"queue"`    // requests that wait for a place
	Queued    uint64           `json:"queued"`   // since the process began
	Rejected  uint64           `json:"rejected"` // answered with 503 for want of an endpoint
	Endpoints []EndpointStatus `json:"endpoints"`
}

// EndpointStatus is what is known about an endpoint, and why.
type EndpointStatus struct {
	Pool        string            `json:"pool"`
	Address     string            `json:"address"`
	State       string            `json:"state"`            // ready, or why not: down, ejected, draining, maintenance, waiting
	Reason      string            `json:"reason,omitempty"` // for people
	Available   bool              `json:"available"`
	Health      string            `json:"health"` // up, down or unknown, as the probes say
	HealthText  string            `json:"health_reason,omitempty"`
	HealthFor   Seconds           `json:"health_for_s,omitempty"`
	Admin       string            `json:"admin"` // ready, drain or maintenance
	EjectedFor  Seconds           `json:"ejected_for_s,omitempty"`
	Weight      int               `json:"weight"`
	RampPercent int               `json:"ramp_percent"` // of the weight that counts; below 100 in a slow start
	Priority    int               `json:"priority"`
	InFlight    int               `json:"in_flight"`
	MaxRequests int               `json:"max_requests,omitempty"`
	Requests    uint64            `json:"requests"`
	Status      map[string]uint64 `json:"status"`
	Failures    map[string]uint64 `json:"failures"`
	Connections int64             `json:"connections"`
	Latency     Latency           `json:"latency"`            // to the first byte
	RunTime     bool              `json:"run_time,omitempty"` // added by command, not by the file
}

// Seconds is a time in seconds.
type Seconds float64

// InSeconds turns a duration into seconds.
func InSeconds(d time.Duration) Seconds { return Seconds(d.Seconds()) }

// EndpointChange says what to change of an endpoint; nil leaves it as it is.
type EndpointChange struct {
	State  *string `json:"state,omitempty"` // ready, drain or maintenance
	Weight *int    `json:"weight,omitempty"`
}

// NewEndpoint is an endpoint to be added at run time. It stays until it is removed, the file names it, or the
// process ends.
type NewEndpoint struct {
	Address     string `json:"address"`
	Weight      int    `json:"weight,omitempty"` // 0 is 1
	Priority    int    `json:"priority,omitempty"`
	MaxRequests int    `json:"max_requests,omitempty"`
}

// RequestQuestion describes a request, to ask where it would go.
type RequestQuestion struct {
	Method   string   `json:"method"`
	URL      string   `json:"url"`               // http://host/path?query, or a path
	Headers  []string `json:"headers,omitempty"` // "Name: value"
	From     string   `json:"from,omitempty"`    // the client's address; empty is this machine
	Listener string   `json:"listener,omitempty"`
}

// RequestExplanation says what would become of a request.
type RequestExplanation struct {
	Listener string   `json:"listener"`
	Source   string   `json:"source"`            // the client's address, as far as trusted proxies tell
	Refused  string   `json:"refused,omitempty"` // why no route was asked
	Status   int      `json:"status,omitempty"`  // if the node answers itself
	Routes   []Tried  `json:"routes"`            // those that were looked at, in order
	Route    string   `json:"route,omitempty"`
	Action   string   `json:"action,omitempty"`
	Pool     string   `json:"pool,omitempty"`
	Target   string   `json:"target,omitempty"` // as the endpoint would get it
	Affinity string   `json:"affinity,omitempty"`
	Choices  []Choice `json:"choices,omitempty"`
}

// Tried is a route that was looked at, and why it did not take the request; Why is empty if it did.
type Tried struct {
	Route string `json:"route"`
	Why   string `json:"why,omitempty"`
}

// Choice is what the pool makes of one endpoint for a request.
type Choice struct {
	Address    string  `json:"address"`
	Considered bool    `json:"considered"`
	Chosen     bool    `json:"chosen"`
	Reason     string  `json:"reason"`
	Score      float64 `json:"score"`
	Share      float64 `json:"share"` // of all requests like this one
}
