package api

import "time"

// Status is everything at a glance.
type Status struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	// State is serving, or draining once the process ends.
	State       string     `json:"state"`
	Loops       int        `json:"loops"`       // event loops
	Connections int        `json:"connections"` // of clients, open
	File        File       `json:"file"`
	Listeners   []Listener `json:"listeners"`
	Pools       []Pool     `json:"pools"`
	Backups     []Backup   `json:"backups,omitempty"`
	Databases   []Database `json:"databases,omitempty"`
}

// File is the configuration in force.
type File struct {
	Path  string    `json:"path"`
	Since time.Time `json:"since"` // when it was taken into force
	// Error is why the last attempt to load another one failed; "" if it did not.
	Error   string    `json:"error,omitempty"`
	ErrorAt time.Time `json:"error_at,omitzero"`
}

// Listener is one front door.
type Listener struct {
	Name           string            `json:"name"`
	Protocol       string            `json:"protocol"`
	Addresses      []string          `json:"addresses"`
	Connections    int               `json:"connections"`     // open
	MaxConnections int               `json:"max_connections"` // 0 is no limit
	Pool           string            `json:"pool,omitempty"`  // of a listener that passes on by address
	Accepted       uint64            `json:"accepted"`        // connections since the start
	Refused        map[string]uint64 `json:"refused,omitempty"`
	BadRequests    uint64            `json:"bad_requests"` // that were no valid HTTP
	Routes         []Route           `json:"routes"`
}

// Route is what some requests meet.
type Route struct {
	Name     string            `json:"name"`
	Action   string            `json:"action"`   // for people: "pool site", "redirect 308"
	Requests uint64            `json:"requests"` // since the start
	Statuses map[string]uint64 `json:"statuses"` // by class: 2xx; none are requests given up without an answer
	Retries  uint64            `json:"retries"`
	P50      float64           `json:"p50_ms"` // of whole requests, to the nearest bound of the histogram
	P99      float64           `json:"p99_ms"`
}

// Pool is a set of endpoints that serve the same thing.
type Pool struct {
	Name        string `json:"name"`
	Balance     string `json:"balance"`
	Available   int    `json:"available"` // endpoints that take requests
	Panic       bool   `json:"panic"`     // too few are available, so all are used
	InFlight    int    `json:"in_flight"`
	MaxRequests int    `json:"max_requests"` // 0 is no limit
	Pending     int    `json:"pending"`      // in the queue
	MaxPending  int    `json:"max_pending"`
	Rejected    uint64 `json:"rejected"`          // answered with 503 for want of an endpoint, since the start
	Role        string `json:"role,omitempty"`    // that endpoints must have: primary, replica or any
	Dropped     uint64 `json:"dropped,omitempty"` // datagrams that could not be passed on, since the start
	// Failed says that processes of the pool were given up; "" if none was.
	Failed    string     `json:"failed,omitempty"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Endpoint is one server, and why it is as it is.
type Endpoint struct {
	Address string `json:"address"`
	// Process is the name of the process that answers there, if Trivet keeps it running.
	Process string `json:"process,omitempty"`
	// Available: it takes requests like any other.
	Available bool `json:"available"`
	// Reason says for people why it does not, or takes less than its share; "" if neither is so.
	Reason string `json:"reason,omitempty"`

	Health      string    `json:"health"`                // up, down or unknown
	HealthSays  string    `json:"health_says,omitempty"` // the probe's own words
	HealthSince time.Time `json:"health_since,omitzero"`
	Role        string    `json:"role,omitempty"` // primary, replica or unknown, as the probe said
	Admin       Admin     `json:"admin"`
	AdminSince  time.Time `json:"admin_since,omitzero"`
	// Outlier is what its answers to requests have led to: good, ejected or probation.
	Outlier      string    `json:"outlier"`
	EjectedUntil time.Time `json:"ejected_until,omitzero"`
	RunTime      bool      `json:"run_time,omitempty"` // added by command: no file names it

	Weight      int     `json:"weight"`
	RampPercent int     `json:"ramp_percent"` // of the weight, 100 but in a slow start
	Priority    int     `json:"priority"`
	InFlight    int     `json:"in_flight"`
	MaxRequests int     `json:"max_requests"` // 0 is no limit
	Connections int     `json:"connections"`  // to it, open
	Latency     float64 `json:"latency_ms"`   // to the head of its answers, a moving average
	StallAfter  float64 `json:"stall_after_ms"`

	Statuses map[string]uint64 `json:"statuses"` // of its answers since the start, by class: 2xx
	Failures map[string]uint64 `json:"failures"` // attempts without an answer, by kind: connect, reset, ...

	// Of what is passed on by address, since the start.
	Sessions uint64 `json:"sessions,omitempty"`
	BytesIn  uint64 `json:"bytes_in,omitempty"`  // to the endpoint
	BytesOut uint64 `json:"bytes_out,omitempty"` // from it
}

// Admin is what the administrator wants of an endpoint.
type Admin string

// The administrator's wishes.
const (
	Ready       Admin = "ready"       // takes requests
	Drain       Admin = "drain"       // takes only those of its sessions
	Maintenance Admin = "maintenance" // takes none
)

// Answers is the number of answers since the start.
func (e *Endpoint) Answers() uint64 { return sum(e.Statuses) }

// Failed is the number of answers of 500 and above, and of attempts without an answer.
func (e *Endpoint) Failed() uint64 { return e.Statuses["5xx"] + sum(e.Failures) }

func sum(counts map[string]uint64) (total uint64) {
	for _, n := range counts {
		total += n
	}
	return total
}
