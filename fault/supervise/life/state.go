package life

import "time"

// State is a group as it can be handed to another process: times are relative to
// the moment, so that they mean the same by another clock.
type State struct {
	Generation int     `json:"generation"`
	NextID     ID      `json:"next_id"`
	Rolling    bool    `json:"rolling,omitempty"`
	Stuck      bool    `json:"stuck,omitempty"`
	Slots      []*Slot `json:"slots"`
}

// State returns the group as it is now.
func (g *Group) State(now time.Duration) State {
	s := State{Generation: g.generation, NextID: g.nextID, Rolling: g.rolling, Stuck: g.stuck}
	for _, slot := range g.slots {
		s.Slots = append(s.Slots, slot.clone(-now))
	}
	return s
}

// Restore returns a group that goes on where another was. Processes that are in
// the state but not known to the caller, it has to report as exited.
func Restore(p Policy, s State, now time.Duration) *Group {
	g := &Group{generation: s.Generation, nextID: max(1, s.NextID), rolling: s.Rolling, stuck: s.Stuck}
	for _, slot := range s.Slots {
		g.slots = append(g.slots, slot.clone(now))
	}
	g.Configure(p)
	return g
}

// Slots returns a copy of every place, in order.
func (g *Group) Slots() []*Slot {
	all := make([]*Slot, 0, len(g.slots))
	for _, s := range g.slots {
		all = append(all, s.clone(0))
	}
	return all
}

// Generation returns the number of the generation that is wanted, and whether a
// roll to it is under way.
func (g *Group) Generation() (number int, rolling bool) { return g.generation, g.rolling }

// Generations returns the numbers of those that processes are of, or may be
// started of.
func (g *Group) Generations() map[int]bool {
	used := map[int]bool{g.generation: true}
	for _, s := range g.slots {
		used[s.Generation] = true
		for _, p := range []*Process{s.Current, s.Coming, s.Leaving} {
			if p != nil {
				used[p.Generation] = true
			}
		}
	}
	return used
}

// Closing reports whether all processes are to end.
func (g *Group) Closing() bool { return g.closing }

// Process returns a copy of the process with that ID, and whether there is one.
func (g *Group) Process(id ID) (Process, bool) {
	_, p := g.find(id)
	if p == nil {
		return Process{}, false
	}
	return *p, true
}

// Failed counts the places that were given up.
func (g *Group) Failed() (n int) {
	for _, s := range g.slots {
		if s.Failed {
			n++
		}
	}
	return n
}
