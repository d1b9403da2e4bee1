package design

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/trivet-ha/trivet/avail"
)

// Change is something that could be done to a design, and what it costs.
type Change struct {
	Name  string  // as in "one more unit of site"
	Cost  float64 // in whatever money the caller counts
	Apply func(*Design)
}

// Outcome is what changes make of a design.
type Outcome struct {
	Changes []string
	Cost    float64
	Down    avail.Down
}

// Text is the changes in one line.
func (o Outcome) Text() string { return strings.Join(o.Changes, ", ") }

// Try is what one change makes of the design, which stays as it is.
func (d *Design) Try(c Change) Outcome {
	changed := d.Clone()
	c.Apply(changed)
	return Outcome{Changes: []string{c.Name}, Cost: c.Cost, Down: changed.Down()}
}

// stepsMax and triesMax bound the search for the cheapest change: it is for a handful of steps, not for a redesign.
const (
	stepsMax = 6
	triesMax = 5000
)

// Cheapest is the cheapest set of changes, each of which may be done several times, that brings the downtime to at most
// allowed: the cheapest set is looked at first, and of several at one cost the first that does (uniform-cost search).
// None is an empty outcome with ok; not ok is that six steps, or five thousand sets, do not.
func (d *Design) Cheapest(allowed avail.Down, changes []Change) (Outcome, bool) {
	type set struct {
		design *Design
		Outcome
		from int // changes before this one are not tried again, as order does not count
	}
	open := []set{{design: d.Clone(), Outcome: Outcome{Down: d.Down()}}}
	for tries := 0; len(open) > 0; {
		best := 0
		for i := range open {
			if cmp.Or(cmp.Compare(open[i].Cost, open[best].Cost), cmp.Compare(open[i].Down, open[best].Down)) < 0 {
				best = i
			}
		}
		s := open[best]
		open = slices.Delete(open, best, best+1)
		if s.Down <= allowed {
			return s.Outcome, true
		}
		if len(s.Changes) == stepsMax {
			continue
		}
		for i := s.from; i < len(changes) && tries < triesMax; i++ {
			tries++
			next := set{design: s.design.Clone(), from: i}
			changes[i].Apply(next.design)
			next.Outcome = Outcome{Changes: append(slices.Clone(s.Changes), changes[i].Name), Cost: s.Cost + changes[i].Cost, Down: next.design.Down()}
			if next.Down < s.Down { // what does not help by itself is not built upon
				open = append(open, next)
			}
		}
	}
	return Outcome{}, false
}

// OneMore is another unit of a part: on a machine of its own, with the figures of the part's other machines, in the zone
// that has the fewest of its units.
func OneMore(part string, cost float64) Change {
	return Change{Name: "one more server for " + part, Cost: cost, Apply: func(d *Design) {
		p := d.part(part)
		if p == nil {
			return
		}
		at := Place{Name: fmt.Sprintf("%s, server %d", part, len(p.Units)+1)}
		for i := range d.Machines {
			if len(p.Units) > 0 && d.Machines[i].Name == p.Units[0].Machine {
				at.Figures = d.Machines[i].Figures
			}
		}
		at.Zone = d.emptiestZone(p)
		d.Machines = append(d.Machines, at)
		p.Units = append(p.Units, Unit{Machine: at.Name})
		if p.SwitchShare > 0 && p.SwitchShare < 1 {
			p.SwitchShare *= float64(len(p.Units)-1) / float64(len(p.Units))
		}
	}}
}

func (d *Design) part(name string) *Part {
	i := slices.IndexFunc(d.Parts, func(p Part) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &d.Parts[i]
}

// emptiestZone is the zone with the fewest units of a part.
func (d *Design) emptiestZone(p *Part) string {
	units := map[string]int{}
	for _, u := range p.Units {
		for i := range d.Machines {
			if d.Machines[i].Name == u.Machine {
				units[d.Machines[i].Zone]++
			}
		}
	}
	best := ""
	for i, z := range d.Zones {
		if i == 0 || units[z.Name] < units[best] {
			best = z.Name
		}
	}
	return best
}

// FasterRepair divides every time to repair, and the time to take over by hand, by a number above 0.
func FasterRepair(by float64, cost float64) Change {
	return Change{Name: fmt.Sprintf("repairs %g times as fast", by), Cost: cost, Apply: func(d *Design) {
		for i := range d.Parts {
			d.Parts[i].Unit.MTTR /= avail.Seconds(by)
			d.Parts[i].Manual /= avail.Seconds(by)
		}
		for i := range d.Machines {
			d.Machines[i].MTTR /= avail.Seconds(by)
		}
	}}
}

// Covered sets the coverage of every part that has more than one unit to at least, or if worse is said, to exactly, a
// share.
func Covered(share float64, cost float64) Change {
	return Change{Name: fmt.Sprintf("%g %% of failures taken over", share*100), Cost: cost, Apply: func(d *Design) {
		for i := range d.Parts {
			d.Parts[i].Coverage = share
		}
	}}
}

// WithoutZone takes a zone away for good: what a loss of it leaves.
func WithoutZone(zone string) Change {
	return Change{Name: "zone " + zone + " lost", Apply: func(d *Design) {
		for i := range d.Zones {
			if d.Zones[i].Name == zone {
				d.Zones[i].Figures = Figures{MTBF: 1e-300, MTTR: 1} // always down
			}
		}
	}}
}

// WithoutMachine takes a machine away for good.
func WithoutMachine(machine string) Change {
	return Change{Name: "machine " + machine + " lost", Apply: func(d *Design) {
		for i := range d.Machines {
			if d.Machines[i].Name == machine {
				d.Machines[i].Figures = Figures{MTBF: 1e-300, MTTR: 1}
			}
		}
	}}
}
