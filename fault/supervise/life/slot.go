package life

import (
	"slices"
	"time"
)

// ID tells processes of a group apart. It is never used twice.
type ID int64

// Phase is what a process is in its life.
type Phase string

// The phases, in their order.
const (
	Starting Phase = "starting"
	Ready    Phase = "ready"
	Draining Phase = "draining"
	Stopping Phase = "stopping"
)

// Process is one process of a group.
type Process struct {
	ID         ID            `json:"id"`
	Slot       int           `json:"slot"`
	Generation int           `json:"generation"`
	Phase      Phase         `json:"phase"`
	Since      time.Duration `json:"since"` // it is in that phase
	Started    time.Duration `json:"started"`
	ReadyAt    time.Duration `json:"ready_at"`
	WasReady   bool          `json:"was_ready"`
	// Fault is why it is being ended although it was wanted; "" if it is not.
	Fault string `json:"fault,omitempty"`
}

func (p *Process) enter(phase Phase, now time.Duration) {
	p.Phase, p.Since = phase, now
	if phase == Ready {
		p.ReadyAt = now
	}
}

// Slot is one place of a group: what shall be there, and what is.
type Slot struct {
	Index   int      `json:"index"`
	Current *Process `json:"current,omitempty"`
	Coming  *Process `json:"coming,omitempty"`  // of a newer generation, not ready yet
	Leaving *Process `json:"leaving,omitempty"` // replaced by the current one

	Generation int  `json:"generation"`       // that a restart is of
	Halted     bool `json:"halted,omitempty"` // as somebody wished
	Failed     bool `json:"failed,omitempty"` // given up
	Again      bool `json:"again,omitempty"`  // to be restarted, as somebody wished
	Renewing   bool `json:"renewing,omitempty"`

	NotBefore time.Duration   `json:"not_before"` // no start until then
	Level     int             `json:"level"`      // of the pause
	History   []time.Duration `json:"history,omitempty"`
	Restarts  int             `json:"restarts"` // ever
	LastExit  string          `json:"last_exit,omitempty"`
}

func (s *Slot) empty() bool { return s.Current == nil && s.Coming == nil && s.Leaving == nil }

// resume forgets that the place was given up.
func (s *Slot) resume() {
	if s.Failed {
		s.Failed, s.History, s.Level, s.NotBefore = false, nil, 0, 0
	}
}

// clone is a copy that shares nothing, with all times moved.
func (s *Slot) clone(by time.Duration) *Slot {
	c := *s
	c.Current, c.Coming, c.Leaving = s.Current.clone(by), s.Coming.clone(by), s.Leaving.clone(by)
	c.NotBefore += by
	c.History = slices.Clone(s.History)
	for i := range c.History {
		c.History[i] += by
	}
	return &c
}

func (p *Process) clone(by time.Duration) *Process {
	if p == nil {
		return nil
	}
	c := *p
	c.Since, c.Started, c.ReadyAt = c.Since+by, c.Started+by, c.ReadyAt+by
	return &c
}
