package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Supervisor keeps the processes of pools running.
type Supervisor interface {
	// Processes returns those of a pool, or of all pools if the name is empty.
	Processes(pool string) ([]Process, error)
	// ChangeProcesses does something to processes of a pool, and returns all of the pool's.
	ChangeProcesses(pool string, c ProcessChange) ([]Process, error)
}

// Process is one process that Trivet keeps running.
type Process struct {
	Name    string `json:"name"` // pool/replica
	Pool    string `json:"pool"`
	Replica int    `json:"replica"` // from 0
	// State is waiting (for its next start), starting, ready, draining, stopping, stopped (as it was wished) or failed (given up).
	State    string    `json:"state"`
	Since    time.Time `json:"since,omitzero"`
	PID      int       `json:"pid,omitempty"`
	Address  string    `json:"address,omitempty"`
	Version  int       `json:"version"` // counts the rolls, from 1
	Wanted   int       `json:"wanted"`  // the version that it shall be; another one after a roll that has failed
	Started  time.Time `json:"started,omitzero"`
	Next     time.Time `json:"next_start,omitzero"`
	Restarts int       `json:"restarts"` // because it had ended by itself
	LastExit string    `json:"last_exit,omitempty"`
	// Replacement is the state of the process that is to take this one's place; "" is none.
	Replacement string   `json:"replacement,omitempty"`
	Command     []string `json:"command"`           // as the file says
	Rolling     bool     `json:"rolling,omitempty"` // the pool's are being replaced by a newer version
}

// ProcessVerb is what may be done to processes.
type ProcessVerb string

// The verbs.
const (
	Restart ProcessVerb = "restart" // end it, drained first, and start it again; resumes one that was given up or stopped
	Roll    ProcessVerb = "roll"    // replace all one by one, each new one ready before its old one goes
	Stop    ProcessVerb = "stop"    // until start or restart
	Start   ProcessVerb = "start"
)

// ProcessChange is what is to be done to processes of a pool.
type ProcessChange struct {
	Do      ProcessVerb `json:"do"`
	Replica *int        `json:"replica,omitempty"` // nil is all of them
}

// Processes asks for the processes of a pool, or of all if the name is empty.
func (c *Client) Processes(ctx context.Context, pool string) ([]Process, error) {
	path := "/v1/processes"
	if pool != "" {
		path += "/" + url.PathEscape(pool)
	}
	return ask[[]Process](ctx, c, http.MethodGet, path, nil)
}

// ChangeProcesses has something done to processes of a pool. It returns how they are at once: what takes time goes on.
func (c *Client) ChangeProcesses(ctx context.Context, pool string, change ProcessChange) ([]Process, error) {
	return ask[[]Process](ctx, c, http.MethodPost, "/v1/processes/"+url.PathEscape(pool), change)
}

func (h handler) processes(r *http.Request) (any, error) {
	list, err := h.node.Processes(r.PathValue("pool"))
	return append([]Process{}, list...), err
}

func (h handler) changeProcesses(r *http.Request) (any, error) {
	var c ProcessChange
	if err := read(r, &c); err != nil {
		return nil, err
	}
	switch c.Do {
	case Restart, Stop, Start:
	case Roll:
		if c.Replica != nil {
			return nil, Invalid("one process alone is not rolled", "roll replaces all of the pool's; to end one and start it again, restart it")
		}
	default:
		return nil, Invalid(fmt.Sprintf("%q is nothing that can be done to a process", c.Do), `send {"do": "restart"}, "roll", "stop" or "start"`)
	}
	return h.node.ChangeProcesses(r.PathValue("pool"), c)
}
