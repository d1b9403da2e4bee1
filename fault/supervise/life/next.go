package life

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Verb is what an action is.
type Verb string

// The actions to be carried out, and, from Restarts on, those that only tell
// what was decided.
const (
	Start Verb = "start" // the process; tell Ready or Exited
	Drain Verb = "drain" // send it no more; tell Idle
	Stop  Verb = "stop"  // end it, by force in the end; tell Exited

	Late       Verb = "late"     // it did not become ready in time, and is stopped
	Restarts   Verb = "restarts" // it has ended, and starts again after Delay
	GaveUp     Verb = "gave_up"
	Stopped    Verb = "stopped" // as it was wished
	Rolling    Verb = "rolling" // a new generation begins
	Rolled     Verb = "rolled"
	RollFailed Verb = "roll_failed"
)

// Action is what is to be done, or was decided.
type Action struct {
	Do      Verb
	Process Process
	Why     string        // for people
	Delay   time.Duration // of Restarts
}

// Never is a time that does not come.
const Never time.Duration = math.MaxInt64

// Next returns what is to be done now, and when to ask again if nothing happens
// before: Never if there is nothing to wait for.
func (g *Group) Next(now time.Duration) (actions []Action, wake time.Duration) {
	g.wake = Never
	for _, s := range g.slots {
		g.step(s, now)
	}
	for n := len(g.slots); n > g.policy.Replicas && g.slots[n-1].empty(); n-- {
		g.slots = g.slots[:n-1]
	}
	g.finishRoll()
	actions, g.actions = g.actions, nil
	return actions, g.wake
}

// step decides about one place.
func (g *Group) step(s *Slot, now time.Duration) {
	if s.Leaving != nil {
		g.leave(s.Leaving, now)
	}
	if p := s.Coming; p != nil && p.Phase == Starting {
		g.await(s, p, now)
	}
	p := s.Current
	switch {
	case p == nil:
		g.fill(s, now)
	case p.Phase == Starting && g.wanted(s) && (s.Again || g.behind(s)) && g.undisturbed():
		s.Again, s.Renewing = false, true // nothing is lost with it, so the next one need not wait
		g.stop(p, now, "")
	case p.Phase == Starting:
		g.await(s, p, now)
	case p.Phase == Draining || !g.wanted(s):
		g.leave(p, now)
	case p.Phase != Ready:
	case s.Again && g.undisturbed():
		s.Again, s.Renewing = false, true
		g.drain(p, now)
	case g.behind(s) && g.undisturbed():
		s.Coming = g.start(s, g.generation, now)
	}
}

// fill starts a process in a place that has none.
func (g *Group) fill(s *Slot, now time.Duration) {
	switch {
	case !g.wanted(s) || s.Failed || s.Coming != nil:
	case g.behind(s) && (s.Renewing || g.undisturbed()):
		s.Renewing = false
		s.Coming = g.start(s, g.generation, now)
	case now < s.NotBefore:
		g.wakeAt(s.NotBefore)
	default:
		s.Again = false
		s.Current = g.start(s, s.Generation, now)
	}
}

// await looks after a process that is not ready yet.
func (g *Group) await(s *Slot, p *Process, now time.Duration) {
	switch due := p.Started + g.policy.StartTimeout; {
	case !g.wanted(s):
		g.stop(p, now, "")
	case now >= due:
		p.Fault = fmt.Sprintf("not ready within %v", g.policy.StartTimeout)
		g.tell(Late, p, p.Fault, 0)
		g.stop(p, now, p.Fault)
	default:
		g.wakeAt(due)
	}
}

// leave looks after a process that is to go.
func (g *Group) leave(p *Process, now time.Duration) {
	switch p.Phase {
	case Ready:
		if !g.hold {
			g.drain(p, now)
		}
	case Draining:
		if due := p.Since + g.policy.DrainTimeout; now < due {
			g.wakeAt(due)
			return
		}
		g.stop(p, now, "")
	}
}

// finishRoll tells when every place has arrived at the generation that is wanted.
func (g *Group) finishRoll() {
	if !g.rolling || g.closing {
		return
	}
	for _, s := range g.slots {
		if s.Halted && s.empty() {
			s.Generation = g.generation // its next start is of the new one
		}
		if s.Generation != g.generation || s.Coming != nil || s.Leaving != nil {
			return
		}
	}
	g.rolling = false
	g.actions = append(g.actions, Action{Do: Rolled, Process: Process{Generation: g.generation}})
}

// wanted reports whether there shall be a process in the place.
func (g *Group) wanted(s *Slot) bool { return !g.closing && !s.Halted && s.Index < g.policy.Replicas }

// behind reports whether the place is of an older generation than is wanted.
func (g *Group) behind(s *Slot) bool { return !g.stuck && s.Generation != g.generation }

// undisturbed reports whether a process that is well may be replaced: if no other
// is being replaced.
func (g *Group) undisturbed() bool {
	return !g.hold && !slices.ContainsFunc(g.slots, func(s *Slot) bool { return s.Coming != nil || s.Leaving != nil || s.Renewing })
}

func (g *Group) start(s *Slot, generation int, now time.Duration) *Process {
	p := &Process{ID: g.nextID, Slot: s.Index, Generation: generation, Phase: Starting, Since: now, Started: now}
	g.nextID++
	g.tell(Start, p, "", 0)
	g.wakeAt(now + g.policy.StartTimeout)
	return p
}

func (g *Group) drain(p *Process, now time.Duration) {
	p.enter(Draining, now)
	g.tell(Drain, p, "", 0)
	g.wakeAt(now + g.policy.DrainTimeout)
}

func (g *Group) stop(p *Process, now time.Duration, why string) {
	p.enter(Stopping, now)
	g.tell(Stop, p, why, 0)
}

func (g *Group) wakeAt(at time.Duration) { g.wake = min(g.wake, at) }
