// Package design answers what availability a whole service gets from the parts it is built of, which part costs most of
// it, what a change would do, and which is the cheapest change that keeps a promise.
//
// A Design is parts that are all needed; each has units of which some must be up, and units stand on machines in zones,
// which take all that is on them down. What several parts share (a machine, a zone) is counted once: the states of what
// is shared are gone through one by one, and the parts are independent within each. Units, machines and zones fail and
// are repaired independently of each other; what does not is each part's Common and Coverage.
//
// The package knows no file and no measurement, reads no clock and draws no random number: figures come in, figures go
// out. Its arithmetic is avail's, sums of positive terms in unavailability.
package design

import (
	"fmt"
	"math"
	"slices"

	"github.com/trivet-ha/trivet/avail"
)

// Figures are how often something fails and how long that lasts. The zero Figures are of something that never fails.
type Figures struct {
	MTBF avail.Seconds // mean time up, above 0
	MTTR avail.Seconds // mean time to repair, at least 0
}

// Down is the share of time that it is down.
func (f Figures) Down() avail.Down {
	if f == (Figures{}) {
		return 0
	}
	return avail.FromTimes(f.MTBF, f.MTTR)
}

// rate is how often it fails, in the long run.
func (f Figures) rate() float64 {
	if f == (Figures{}) {
		return 0
	}
	return 1 / float64(f.MTBF+f.MTTR)
}

// Place is a machine or a zone: what is in it is down when it is.
type Place struct {
	Name string
	Figures
	Zone string // of a machine: the zone that it is in; "" is none
}

// Part is something that the service needs: a pool of servers, say.
type Part struct {
	Name   string
	Needed int // units that must be up, 0 (it is never down) to len(Units)
	Units  []Unit
	Unit   Figures // of each unit, apart from the machine that it is on

	// Coverage is the share of a unit's failures that the rest takes over without anybody doing something, 0 to 1. The
	// others take the part down for Manual.
	Coverage float64
	Manual   avail.Seconds
	// Common is the share β (0 to 1) of a unit's downtime whose cause takes all units of the part at once.
	Common float64
	// Switch is what a failure costs until the rest has taken over: so long, for a share SwitchShare (0 to 1) of the
	// requests.
	Switch      avail.Seconds
	SwitchShare float64
}

// Unit is where one unit of a part stands.
type Unit struct {
	Machine string // of Design.Machines; "" is one that it has for itself and that never fails
}

// Design is a service.
type Design struct {
	Parts    []Part
	Machines []Place
	Zones    []Place
}

// Check returns what is wrong with a design, or nil. The other methods want one with which nothing is.
func (d *Design) Check() error {
	places := map[string]bool{}
	for _, z := range d.Zones {
		if places["zone "+z.Name] || z.Down() < 0 || math.IsNaN(float64(z.Down())) {
			return fmt.Errorf("zone %s: twice, or figures that are none", z.Name)
		}
		places["zone "+z.Name] = true
	}
	for _, m := range d.Machines {
		if places["machine "+m.Name] || math.IsNaN(float64(m.Down())) {
			return fmt.Errorf("machine %s: twice, or figures that are none", m.Name)
		}
		if m.Zone != "" && !places["zone "+m.Zone] {
			return fmt.Errorf("machine %s: there is no zone %s", m.Name, m.Zone)
		}
		places["machine "+m.Name] = true
	}
	for i := range d.Parts {
		if err := d.Parts[i].check(places); err != nil {
			return err
		}
	}
	return nil
}

func (p *Part) check(places map[string]bool) error {
	within := func(x float64) bool { return x >= 0 && x <= 1 }
	switch {
	case p.Needed < 0 || p.Needed > len(p.Units):
		return fmt.Errorf("part %s: needs %d of %d units", p.Name, p.Needed, len(p.Units))
	case math.IsNaN(float64(p.Unit.Down())):
		return fmt.Errorf("part %s: figures that are none", p.Name)
	case !within(p.Coverage) || !within(p.Common) || !within(p.SwitchShare):
		return fmt.Errorf("part %s: coverage, common and switch share are from 0 to 1", p.Name)
	case !(p.Manual >= 0) || !(p.Switch >= 0):
		return fmt.Errorf("part %s: a time below 0", p.Name)
	}
	for _, u := range p.Units {
		if u.Machine != "" && !places["machine "+u.Machine] {
			return fmt.Errorf("part %s: there is no machine %s", p.Name, u.Machine)
		}
	}
	return nil
}

// Down is the share of time in which a part of the service is down.
func (d *Design) Down() avail.Down { return newModel(d).down(nothing) }

// Outages is how often the service goes down and for how long: the sum over all that can fail of how often it does, times
// the chance that it makes the difference then (Vesely, "A time-dependent methodology for fault tree evaluation", 1970; it
// is Birnbaum's importance). The mean length follows from the downtime. How much lengths vary is estimated: what takes the
// service down alone lasts as long as its repair, and the rest share what is left of the downtime in proportion to theirs.
func (d *Design) Outages() avail.Outages {
	m := newModel(d)
	left := float64(m.down(nothing))
	rates, alone, others := make([]float64, len(m.events)), 0.0, 0.0
	for i, e := range m.events {
		rates[i] = e.rate * float64(e.count) * m.birnbaum(e)
		if m.alone(e) {
			alone += rates[i] * e.lasts()
		} else {
			others += rates[i] * e.lasts()
		}
	}
	whole, rest := min(1, left/max(alone, 1e-300)), max(0, left-alone)/max(others, 1e-300)
	var all []avail.Outages
	for i, e := range m.events {
		lasts := e.lasts() * rest
		if m.alone(e) {
			lasts = e.lasts() * whole
		}
		all = append(all, avail.Outages{Rate: avail.PerSecond(rates[i]), Mean: avail.Seconds(lasts)})
	}
	o := avail.InSeries(all...)
	if o.Rate > 0 { // to the last digit, and not by a sum of estimates
		o.Mean = avail.Seconds(left / float64(o.Rate))
	}
	return o
}

// PartDown is the share of time in which one part alone is down.
func (d *Design) PartDown(name string) avail.Down {
	p := d.part(name)
	if p == nil {
		return avail.Down(math.NaN())
	}
	one := *d
	one.Parts = []Part{*p}
	return one.Down()
}

// Units is how many units a part has; 0 if there is no such part.
func (d *Design) Units(part string) int {
	if p := d.part(part); p != nil {
		return len(p.Units)
	}
	return 0
}

// Clone is a copy that shares nothing with d.
func (d *Design) Clone() *Design {
	c := &Design{Parts: slices.Clone(d.Parts), Machines: slices.Clone(d.Machines), Zones: slices.Clone(d.Zones)}
	for i := range c.Parts {
		c.Parts[i].Units = slices.Clone(c.Parts[i].Units)
	}
	return c
}

// Importance is what one thing costs.
type Importance struct {
	Kind Kind
	Name string // of the zone, the machine or the part
	// Count is how many alike there are: units of a part in one place.
	Count int
	// Birnbaum is the chance that one of them makes the difference between up and down (Birnbaum, "On the importance of
	// different components in a multicomponent system", 1969).
	Birnbaum float64
	// Single is that the service is down whenever one of them is: a single point of failure.
	Single bool
	// Costs is the downtime that there would not be if they never failed.
	Costs avail.Down
}

// Kind is what can fail.
type Kind string

// The kinds.
const (
	Zone      Kind = "zone"
	Machine   Kind = "machine"
	Units     Kind = "units"     // of a part, apart from their machines
	Shared    Kind = "common"    // a cause that takes all units of a part
	Uncovered Kind = "uncovered" // failures that the rest does not take over
	Switching Kind = "switching" // the time until the rest has taken over
)

// Importances is all that can fail, what costs most first. Costs do not add up to the whole: with two servers neither
// costs much, as each is the other's help.
func (d *Design) Importances() []Importance {
	m := newModel(d)
	all, whole := []Importance{}, m.down(nothing)
	for _, e := range m.events {
		i := Importance{Kind: e.kind, Name: e.name, Count: e.count, Birnbaum: m.birnbaum(e)}
		i.Single = m.alone(e)
		i.Costs = max(0, whole-m.down(override{event: e, all: true}))
		if i.Costs > 0 || i.Single && e.rate > 0 {
			all = append(all, i)
		}
	}
	slices.SortStableFunc(all, func(a, b Importance) int {
		switch {
		case a.Costs > b.Costs:
			return -1
		case a.Costs < b.Costs:
			return 1
		}
		return 0
	})
	return all
}
