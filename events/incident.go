package events

import (
	"cmp"
	"slices"
	"time"
)

// Incident is a fault of one thing, from its first sign to its end. Several
// faults of the thing that overlap are one incident: a server that is ejected for
// failing requests and then found down by its probes.
type Incident struct {
	ID int64 `json:"id"` // of the event that opened it
	Where
	State State `json:"state"`
	// Kinds are the faults, in the order in which they came.
	Kinds []Kind `json:"kinds"`
	// Evidence is that of the first event.
	Evidence string `json:"evidence,omitempty"`
	// Actions are what was done about it, the first ones, each once.
	Actions []string `json:"actions,omitempty"`
	Events  int      `json:"events"` // that belong to it

	Began     time.Time `json:"began"`                  // the first sign
	Detected  time.Time `json:"detected"`               // it was taken for a fault
	Handled   time.Time `json:"handled,omitzero"`       // the first action
	Ended     time.Time `json:"ended,omitzero"`         // recovered, or withdrawn
	ToDetect  Span      `json:"to_detect_ms"`           // from Began to Detected
	ToRecover Span      `json:"to_recover_ms,omitzero"` // from Began to Ended, if recovered
}

// State is how an incident stands.
type State string

// The states.
const (
	Open      State = "open"
	Recovered State = "recovered"
	// Withdrawn: it was not seen to recover, because the thing was taken away, or
	// nobody asks any more how it is.
	Withdrawn State = "withdrawn"
)

// Limits of what a tracker holds.
const (
	// MaxOpen incidents are tracked; faults of more things are not, and counted.
	MaxOpen = 10_000
	// MaxClosed incidents are remembered, the latest.
	MaxClosed = 1000
	// maxActions of an incident are kept.
	maxActions = 8
)

// Tracker groups events into incidents. The zero Tracker has seen nothing. It is
// not safe for concurrent use.
type Tracker struct {
	open      map[Where]*open
	closed    []Incident // a ring once it is full
	oldest    int        // in the ring
	untracked uint64
}

// open is an incident that is not over.
type open struct {
	Incident
	faults []fault // that the thing suffers from
	paused bool    // in maintenance: coming back acquits it of an ejection
}

// Observe takes the next event. It returns it with Level, Incident and, if it
// ends an incident, Took filled in; and the incident that it belongs to, as it
// stands now, or nil.
func (t *Tracker) Observe(e Event) (Event, *Incident) {
	e.Level = e.Kind.Level()
	if e.Kind == NodeStarted || e.Kind == NodeUpgraded {
		t.restart(e.At)
		return e, nil
	}
	key := e.subject()
	o := t.open[key]
	m := e.Kind.meaning()
	if o == nil {
		if m.opens == "" {
			return e, nil
		}
		if o = t.begin(key, &e); o == nil {
			return e, nil
		}
	}
	e.Incident = o.ID
	o.note(&e, m.opens)
	if o.recover(e.Kind, m.closes) && len(o.faults) == 0 {
		t.end(key, o, e.At, m.withdraws)
		if e.Took == 0 {
			e.Took = Span(e.At.Sub(o.Began))
		}
	}
	now := o.snapshot()
	return e, &now
}

// begin opens an incident; nil if there are too many.
func (t *Tracker) begin(key Where, e *Event) *open {
	if len(t.open) >= MaxOpen {
		t.untracked++
		return nil
	}
	o := &open{Incident: Incident{ID: e.ID, Where: e.Where, State: Open, Evidence: e.Evidence, Began: e.At, Detected: e.At}}
	if t.open == nil {
		t.open = map[Where]*open{}
	}
	t.open[key] = o
	return o
}

// note adds an event to the incident.
func (o *open) note(e *Event, f fault) {
	o.Events++
	if f != "" && !e.Since.IsZero() && e.Since.Before(o.Began) { // it may be learned later when it began
		o.Began = e.Since
		o.ToDetect = Span(o.Detected.Sub(o.Began))
	}
	if f != "" {
		if !slices.Contains(o.Kinds, e.Kind) {
			o.Kinds = append(o.Kinds, e.Kind)
		}
		if !slices.Contains(o.faults, f) {
			o.faults = append(o.faults, f)
		}
	}
	if e.Action == "" {
		return
	}
	if o.Handled.IsZero() {
		o.Handled = e.At
	}
	if len(o.Actions) < maxActions && !slices.Contains(o.Actions, e.Action) {
		o.Actions = append(o.Actions, e.Action)
	}
}

// recover takes faults away, and reports whether any was.
func (o *open) recover(k Kind, closes []fault) bool {
	if k == EndpointReady && o.paused {
		closes = []fault{"ejected"}
	}
	if k == EndpointReady || k == EndpointMaintenance {
		o.paused = k == EndpointMaintenance
	}
	before := len(o.faults)
	o.faults = slices.DeleteFunc(o.faults, func(f fault) bool {
		return slices.Contains(closes, f) || slices.Contains(closes, every)
	})
	return len(o.faults) < before
}

// end closes an incident.
func (t *Tracker) end(key Where, o *open, at time.Time, withdrawn bool) {
	delete(t.open, key)
	o.State, o.Ended = Recovered, at
	if withdrawn {
		o.State = Withdrawn
	} else {
		o.ToRecover = Span(at.Sub(o.Began))
	}
	if len(t.closed) < MaxClosed {
		t.closed = append(t.closed, o.snapshot())
		return
	}
	t.closed[t.oldest] = o.snapshot()
	t.oldest = (t.oldest + 1) % MaxClosed
}

// restart withdraws what a process that starts knows nothing about. That an
// endpoint or a process was down it will find out again, and how its backups
// stand it remembers.
func (t *Tracker) restart(at time.Time) {
	for key, o := range t.open {
		o.faults = slices.DeleteFunc(o.faults, func(f fault) bool { return !f.lasts() })
		if len(o.faults) == 0 {
			t.end(key, o, at, true)
		}
	}
}

// snapshot is a copy that shares nothing with o.
func (o *open) snapshot() Incident {
	i := o.Incident
	i.Kinds, i.Actions = slices.Clone(i.Kinds), slices.Clone(i.Actions)
	return i
}

// Incidents returns those that are open and the latest that are over, in the
// order in which they began to be incidents.
func (t *Tracker) Incidents() []Incident {
	all := t.Open()
	for _, i := range t.closed {
		i.Kinds, i.Actions = slices.Clone(i.Kinds), slices.Clone(i.Actions)
		all = append(all, i)
	}
	slices.SortFunc(all, byID)
	return all
}

// Open returns the incidents that are not over, in order.
func (t *Tracker) Open() []Incident {
	all := make([]Incident, 0, len(t.open))
	for _, o := range t.open {
		all = append(all, o.snapshot())
	}
	slices.SortFunc(all, byID)
	return all
}

// OpenCount is the number of incidents that are not over.
func (t *Tracker) OpenCount() int { return len(t.open) }

// Find returns the incident with that ID, if it is open or among the latest.
func (t *Tracker) Find(id int64) (Incident, bool) {
	for _, o := range t.open {
		if o.ID == id {
			return o.snapshot(), true
		}
	}
	i := slices.IndexFunc(t.closed, func(i Incident) bool { return i.ID == id })
	if i < 0 {
		return Incident{}, false
	}
	return t.closed[i], true
}

// Untracked counts faults that found MaxOpen incidents open.
func (t *Tracker) Untracked() uint64 { return t.untracked }

func byID(a, b Incident) int { return cmp.Compare(a.ID, b.ID) }
