package supervise

import (
	"time"

	"github.com/trivet-ha/trivet/fault/supervise/life"
)

// Status is how one place of a group stands.
type Status struct {
	Name    string
	Replica int
	// State is waiting (for its next start), starting, ready, draining, stopping,
	// stopped (as it was wished) or failed (given up).
	State    string
	PID      int    // 0 is none
	Address  string // where it answers, or answered last; "" is nowhere
	Version  int    // counts the rolls, from 1
	Wanted   int    // the version that it shall be; another one after a roll that has failed
	Started  time.Time
	Since    time.Time // the state is that; zero is not known
	Next     time.Time // when it starts again; zero is not at all
	Restarts int       // because it had ended by itself, ever
	LastExit string    // how it ended last, for people
	// Replacement is the process that will take its place, "" is none.
	Replacement string
}

// Status returns how every place stands, in order; and whether a new version is
// being rolled out.
func (g *Group) Status() (all []Status, rolling bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.life.Slots() {
		all = append(all, g.status(s))
	}
	_, rolling = g.life.Generation()
	return all, rolling
}

// Size is how many places there are.
func (g *Group) Size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.life.Slots())
}

// Failed reports how many places were given up.
func (g *Group) Failed() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.life.Failed()
}

// status is that of one slot. The caller holds mu.
func (g *Group) status(s *life.Slot) Status {
	wanted, _ := g.life.Generation()
	st := Status{Name: g.name(s.Index), Replica: s.Index, Version: s.Generation + 1, Wanted: wanted + 1, Restarts: s.Restarts, LastExit: s.LastExit}
	if port := g.seats[s.Index].port; port != 0 {
		st.Address = addressOf(port)
	}
	p := s.Current
	if p == nil && s.Coming != nil {
		p = s.Coming
	} else if s.Coming != nil {
		st.Replacement = string(s.Coming.Phase)
	}
	switch {
	case p != nil:
		st.State, st.Since, st.Started = string(p.Phase), g.origin.Add(p.Since), g.origin.Add(p.Started)
		st.Version = p.Generation + 1
		if in := g.instances[p.ID]; in != nil {
			st.PID, st.Address, st.Started = in.last().PID, in.address(), in.started
		}
	case s.Halted && st.Address != "":
		st.State = "stopping" // its address is about to be given back
	case s.Halted:
		st.State = "stopped"
	case s.Failed:
		st.State = "failed"
	default:
		st.State, st.Next = "waiting", g.origin.Add(s.NotBefore)
	}
	return st
}
