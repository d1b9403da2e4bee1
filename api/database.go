package api

import "time"

// Database is a database that is streamed into a repository.
type Database struct {
	Name       string `json:"name"`
	Engine     string `json:"engine"` // sqlite
	Source     string `json:"source"` // its file
	Repository string `json:"repository"`
	// State is streaming, stalled (Error says why), stopped, or "bases only".
	State      string    `json:"state"`
	Since      time.Time `json:"since,omitzero"` // the stream began, or ended
	Error      string    `json:"error,omitempty"`
	Failures   uint64    `json:"failures"` // since the process began
	Line       string    `json:"line,omitempty"`
	Position   uint64    `json:"position,omitempty"`   // durable
	Durable    time.Time `json:"durable,omitzero"`     // up to when nothing is missing in the store
	LastCommit time.Time `json:"last_commit,omitzero"` // durable
	Lag        float64   `json:"lag_ms"`               // how long the oldest transaction waits that is not durable
}
