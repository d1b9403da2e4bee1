// Package life answers what is to be done next about a group of supervised
// processes that do the same work: start one, wait, drain it, stop it, replace it
// by a newer one, or give up.
//
// A [Group] is told what has happened and answers with [Action]s. It starts no
// process and sends no signal, reads no clock and draws no random number: its
// caller does. Times are durations since an origin of the caller's choice.
//
// # Restarts
//
// A process that ends without being asked to is started again after a pause that
// doubles each time and begins anew once a process has been ready for as long as
// the longest pause. When one place has needed more than Restart.Limit restarts
// within Restart.Within, it is given up (the restart intensity of Erlang/OTP's
// supervisors), until somebody says [Group.Restart], or there is a new version.
//
// # New versions
//
// [Group.Roll] begins a new generation. One place after the other, a process of
// the new generation is started beside the old one; when it is ready the old one
// is drained and stopped. If it does not become ready the roll ends there, and
// the places that are left stay with the old generation.
package life

import (
	"fmt"
	"math/bits"
	"slices"
	"time"
)

// Policy is how a group is kept alive. The caller has checked it: all numbers are
// positive.
type Policy struct {
	Replicas int
	// StartTimeout is how long a process may take to become ready.
	StartTimeout time.Duration
	// DrainTimeout is how long requests in flight are waited for.
	DrainTimeout time.Duration
	Restart      Restart
}

// Restart is what is done about a process that ends by itself.
type Restart struct {
	Off        bool          // nothing: it is given up at once
	Backoff    time.Duration // the first pause
	BackoffMax time.Duration // the longest
	Limit      int           // restarts in one place ...
	Within     time.Duration // ... in this time, before it is given up
}

// All stands for every place of a group.
const All = -1

// Group decides about the processes of one group. It is made by New, and is not
// safe for concurrent use.
type Group struct {
	policy     Policy
	generation int // that is wanted
	nextID     ID
	slots      []*Slot
	rolling    bool // a roll is under way
	stuck      bool // the last roll failed: nothing more of it is tried
	hold       bool // nothing that is well is disturbed
	closing    bool // all shall end

	actions []Action
	wake    time.Duration
}

// New returns a group that has started nothing yet.
func New(p Policy) *Group {
	g := &Group{nextID: 1}
	g.Configure(p)
	return g
}

// Configure changes the policy.
func (g *Group) Configure(p Policy) {
	g.policy = p
	for len(g.slots) < p.Replicas {
		s := &Slot{Index: len(g.slots), Generation: g.generation}
		if g.stuck {
			s.Generation = g.slots[0].Generation
		}
		g.slots = append(g.slots, s)
	}
}

// Roll begins a new generation and returns its number. Places that were given up
// are tried again with it.
func (g *Group) Roll() int {
	g.generation++
	g.rolling, g.stuck = true, false
	g.actions = append(g.actions, Action{Do: Rolling, Process: Process{Generation: g.generation}})
	for _, s := range g.slots {
		s.resume()
	}
	return g.generation
}

// Hold says whether processes that are well are to be left alone for now.
func (g *Group) Hold(on bool) { g.hold = on }

// Close says that all processes are to end, drained first. Nothing is started any
// more.
func (g *Group) Close() { g.closing, g.hold = true, false }

// Empty reports whether no process is left.
func (g *Group) Empty() bool {
	return !slices.ContainsFunc(g.slots, func(s *Slot) bool { return !s.empty() })
}

// Ready says that a process has become ready.
func (g *Group) Ready(id ID, now time.Duration) {
	s, p := g.find(id)
	if p == nil || p.Phase != Starting {
		return
	}
	p.enter(Ready, now)
	p.WasReady = true
	if p != s.Coming {
		s.Renewing = false
		return
	}
	s.Current, s.Coming, s.Leaving = p, nil, s.Current
	s.Generation = p.Generation
}

// Hung says that a process that was ready no longer is alive. It is stopped, and
// counts as one that has ended by itself.
func (g *Group) Hung(id ID, why string, now time.Duration) {
	_, p := g.find(id)
	if p == nil || p.Phase != Ready {
		return
	}
	p.Fault = why
	g.stop(p, now, why)
}

// Idle says that nothing is in flight any more at a process that drains.
func (g *Group) Idle(id ID, now time.Duration) {
	if _, p := g.find(id); p != nil && p.Phase == Draining {
		g.stop(p, now, "")
	}
}

// Exited says that a process is gone. why is how it ended, random any number.
func (g *Group) Exited(id ID, why string, now time.Duration, random uint64) {
	s, p := g.find(id)
	if p == nil {
		return
	}
	wished := p.Phase == Draining || p.Phase == Stopping && p.Fault == ""
	if p.Fault != "" {
		why = p.Fault + "; " + why
	}
	s.LastExit = why
	switch {
	case p == s.Leaving:
		s.Leaving = nil
	case p == s.Coming:
		s.Coming = nil
		if !wished {
			g.rollFailed(s, p, why, now, random)
		}
	case wished:
		s.Current = nil
		s.NotBefore, s.Level = now, 0
		if !s.Renewing || !g.wanted(s) {
			s.Renewing = false
			g.tell(Stopped, p, why, 0)
		}
	default:
		s.Current, s.Renewing = nil, false
		g.crashed(s, p, why, now, random)
	}
}

// crashed decides whether a place is started again, and when.
func (g *Group) crashed(s *Slot, p *Process, why string, now time.Duration, random uint64) {
	if p.WasReady && now-p.ReadyAt >= g.policy.Restart.BackoffMax {
		s.Level = 0
	}
	if g.closing || !g.wanted(s) {
		g.tell(Stopped, p, why, 0)
		return
	}
	r := g.policy.Restart
	s.History = slices.DeleteFunc(s.History, func(at time.Duration) bool { return now-at >= r.Within })
	switch {
	case r.Off:
		s.Failed = true
		g.tell(GaveUp, p, why, 0)
	case len(s.History) >= r.Limit:
		s.Failed = true
		g.tell(GaveUp, p, fmt.Sprintf("%d restarts within %v; the last end: %s", len(s.History), r.Within, why), 0)
	default:
		s.History = append(s.History, now)
		s.Restarts++
		g.tell(Restarts, p, why, g.pause(s, now, random))
	}
}

// pause lets a place wait before its next start, and returns how long.
func (g *Group) pause(s *Slot, now time.Duration, random uint64) time.Duration {
	r := g.policy.Restart
	d := r.BackoffMax
	if s.Level < 30 {
		d = min(r.Backoff<<s.Level, r.BackoffMax)
	}
	// A tenth is left to chance, so that places that died together do not all
	// come back at the same moment.
	offset, _ := bits.Mul64(random, uint64(d/10)+1)
	d += time.Duration(offset)
	s.Level++
	s.NotBefore = now + d
	return d
}

// rollFailed ends a roll whose newcomer did not become ready.
func (g *Group) rollFailed(s *Slot, p *Process, why string, now time.Duration, random uint64) {
	g.rolling, g.stuck = false, true
	if s.Current == nil {
		g.pause(s, now, random)
	}
	g.tell(RollFailed, p, why, 0)
}

// find returns the process with that ID and its place, or nil.
func (g *Group) find(id ID) (*Slot, *Process) {
	for _, s := range g.slots {
		for _, p := range []*Process{s.Current, s.Coming, s.Leaving} {
			if p != nil && p.ID == id {
				return s, p
			}
		}
	}
	return nil, nil
}

func (g *Group) tell(v Verb, p *Process, why string, delay time.Duration) {
	g.actions = append(g.actions, Action{Do: v, Process: *p, Why: why, Delay: delay})
}
