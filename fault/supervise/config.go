package supervise

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/fault/health"
	"github.com/trivet-ha/trivet/fault/probe"
	"github.com/trivet-ha/trivet/fault/supervise/life"
)

// Config describes a group. Pool, Spec, Policy, Keeper and Traffic have no useful
// zero.
type Config struct {
	// Pool is the name of the pool that the processes serve; theirs are pool/0,
	// pool/1 and so on.
	Pool   string
	Spec   Spec
	Policy life.Policy
	// Keeper is the command line of a program that calls [Keep]. What the process
	// is called is appended, for those who look at lists of processes.
	Keeper []string
	// Ports hands out ports; groups of one node share it. nil is one of its own.
	Ports *Ports
	// Ready asks a process that starts whether it is ready; nil is a connection.
	Ready probe.Check
	// ReadyTimeout is how long one such question may take; 0 is a second.
	ReadyTimeout time.Duration
	// Alive asks processes that are ready whether they still are alive; nil asks
	// nobody.
	Alive *Alive
	// Traffic learns where processes are, and tells what is in flight there.
	Traffic Traffic
	Output  Output
	// Event, if set, gets what happens. It must not block.
	Event func(events.Event)
	Log   *slog.Logger // nil logs nothing
}

// Alive is how processes that are ready are watched.
type Alive struct {
	Check  probe.Check
	Policy health.Policy // Fall failures in a row are a hang
}

// Traffic is whoever sends requests to the processes. Its methods are called by
// one goroutine at a time, but for InFlight.
type Traffic interface {
	// Put says how a process stands. The last about an address is Gone.
	Put(Standing)
	// InFlight is the number of requests in flight at an address.
	InFlight(address string) int
}

// Standing is where a process is and what it may be sent.
type Standing struct {
	Process string // its name: pool/0
	Address string
	State   State
	Reason  string // for people
}

// State is what a process may be sent.
type State uint8

// The states.
const (
	Starting State = iota // nothing yet
	Serving
	Down    // nothing: it has ended or hangs, and nobody wished it
	Leaving // nothing new: it will be stopped, and perhaps Starting again
	Gone    // the address is of no process any more
)

func (s State) String() string {
	return [...]string{"starting", "serving", "down", "leaving", "gone"}[s]
}

// Check reports the first part of c that makes no sense, but for a missing
// Traffic.
func (c *Config) Check() error {
	if c.Pool == "" || len(c.Keeper) == 0 {
		return errors.New("supervise: a group needs a pool and a keeper")
	}
	if c.Policy.Replicas < 1 || c.Policy.StartTimeout <= 0 || c.Policy.DrainTimeout <= 0 {
		return fmt.Errorf("supervise %s: replicas and timeouts are not all above zero", c.Pool)
	}
	if r := c.Policy.Restart; !r.Off && (r.Backoff <= 0 || r.BackoffMax < r.Backoff || r.Limit < 1 || r.Within <= 0) {
		return fmt.Errorf("supervise %s: restarts make no sense: %+v", c.Pool, r)
	}
	if err := c.Spec.Check(); err != nil {
		return fmt.Errorf("supervise %s: %w", c.Pool, err)
	}
	return nil
}

func (c *Config) check() error {
	if c.Traffic == nil {
		return fmt.Errorf("supervise %s: nobody sends requests", c.Pool)
	}
	return c.Check()
}

func (c Config) withDefaults() Config {
	if c.Ports == nil {
		c.Ports = &Ports{}
	}
	if c.Ready == nil {
		c.Ready = &probe.TCP{}
	}
	if c.ReadyTimeout == 0 {
		c.ReadyTimeout = time.Second
	}
	if c.Event == nil {
		c.Event = func(events.Event) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
