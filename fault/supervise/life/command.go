package life

import (
	"fmt"
	"time"
)

// Restart ends a process and starts it again, or all one after the other. One
// that was given up, halted or waits is started at once. The error says that
// there is no such place.
func (g *Group) Restart(slot int, now time.Duration) error {
	return g.each(slot, func(s *Slot) {
		s.Again = !s.Failed && !s.Halted && s.Current != nil
		s.Failed, s.Halted, s.History, s.Level, s.NotBefore = false, false, nil, 0, now
	})
}

// Start undoes Stop, and resumes what was given up. The error says that there is
// no such place.
func (g *Group) Start(slot int) error {
	return g.each(slot, func(s *Slot) {
		s.Halted = false
		s.resume()
	})
}

// Stop ends a process, or all, drained first, until Start or Restart. The error
// says that there is no such place.
func (g *Group) Stop(slot int) error {
	return g.each(slot, func(s *Slot) { s.Halted, s.Again = true, false })
}

func (g *Group) each(slot int, do func(*Slot)) error {
	if slot != All && (slot < 0 || slot >= g.policy.Replicas) {
		return fmt.Errorf("there is no process %d: they are 0 to %d", slot, g.policy.Replicas-1)
	}
	for _, s := range g.slots {
		if s.Index < g.policy.Replicas && (slot == All || slot == s.Index) {
			do(s)
		}
	}
	return nil
}
