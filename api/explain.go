package api

import "time"

// A Question is a request that is not sent: where would it go?
type Question struct {
	Method   string  `json:"method"`
	URL      string  `json:"url"` // http://host/path?query, tcp://host:port or udp://host:port; a port chooses the listener
	Headers  []Field `json:"headers,omitempty"`
	From     string  `json:"from,omitempty"`     // the client's address; "" is the machine itself
	Listener string  `json:"listener,omitempty"` // its name, when the URL's port does not say
}

// Field is a header of a Question.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Explanation is what a listener would do with a request, and why.
type Explanation struct {
	Listener string    `json:"listener"`
	Refused  string    `json:"refused,omitempty"` // why no route was asked
	Status   int       `json:"status,omitempty"`  // of the answer, if Trivet gives it itself
	Source   string    `json:"source"`            // the client's address, behind trusted proxies too
	Host     string    `json:"host"`
	Path     string    `json:"path"`
	Routes   []Verdict `json:"routes"` // that were looked at, in order
	Route    string    `json:"route,omitempty"`
	Action   string    `json:"action,omitempty"` // what the route does, for people
	Pool     string    `json:"pool,omitempty"`
	Target   string    `json:"target,omitempty"`   // as the endpoint gets it
	Affinity string    `json:"affinity,omitempty"` // the endpoint that the client's cookie names
	Choices  []Choice  `json:"choices,omitempty"`  // the pool's endpoints
}

// Verdict is what a route says to a request.
type Verdict struct {
	Route string `json:"route"`
	Why   string `json:"why,omitempty"` // why it does not take it; "" if it does
}

// Choice is what the pool makes of one endpoint for a request.
type Choice struct {
	Address    string  `json:"address"`
	Chosen     bool    `json:"chosen"`
	Considered bool    `json:"considered"` // it could have been chosen
	Reason     string  `json:"reason,omitempty"`
	Score      float64 `json:"score"` // what the algorithm goes by, lower is better; 0 where nothing is compared
	Share      float64 `json:"share"` // of all requests like this one, 0 to 1
}

// EndpointExplanation is why an endpoint of a pool is in or out.
type EndpointExplanation struct {
	Pool     string   `json:"pool"`
	Endpoint Endpoint `json:"endpoint"`
	Events   []Event  `json:"events,omitempty"` // what happened to it last, the latest first
}

// Event is a change of an endpoint's state.
type Event struct {
	At     time.Time `json:"at"`
	What   string    `json:"what"` // for people: "down", "ejected for 10s"
	Reason string    `json:"reason,omitempty"`
}
