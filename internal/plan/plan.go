// Package plan answers what availability a trivet.yaml can give, what of it costs most, how many servers its load takes,
// and what would be the cheapest change that keeps its promises. The mathematics is package avail's; here a file, and what
// was measured if that is known, become a design, and figures become sentences.
//
// It measures nothing and changes nothing; every figure that it takes for granted is in the result, with where it is from.
package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/avail"
	"github.com/trivet-ha/trivet/avail/design"
	"github.com/trivet-ha/trivet/config"
)

// Confidence is that of all intervals: 19 of 20 hold.
const Confidence = 0.95

// Plan is what a file can be expected to give.
type Plan struct {
	File      string `json:"file"`
	Objective Goal   `json:"objective"`

	Availability float64 `json:"availability"`
	// Down is the downtime to be expected in a year, and in the objective's window.
	DownPerYear   Minutes `json:"down_minutes_per_year"`
	DownPerWindow Minutes `json:"down_minutes_per_window"`
	// OutagesPerYear is how often it goes down, and OutageMean for how long.
	OutagesPerYear float64 `json:"outages_per_year"`
	OutageMean     Minutes `json:"outage_mean_minutes"`
	// Interval is what a window's availability lies in, 19 times in 20, by chance alone.
	Low  float64 `json:"availability_low"`
	High float64 `json:"availability_high"`
	// Met tells whether the expected downtime keeps the promise; Kept is the chance that a window does.
	Met  bool    `json:"met"`
	Kept float64 `json:"chance_kept"`

	Parts       []Part       `json:"parts"`
	Importances []Importance `json:"importances"`
	WhatIf      []WhatIf     `json:"what_if"`
	// Cheapest is what keeps the promise, if it is not kept; nil is that nothing within reach does.
	Cheapest *Remedy `json:"cheapest,omitempty"`

	Assumed []Figure `json:"assumed"`

	design *design.Design
	window avail.Seconds
}

// Goal is what is promised.
type Goal struct {
	Availability  float64       `json:"availability,omitempty"` // 0 is none
	Window        time.Duration `json:"-"`
	WindowDays    float64       `json:"window_days"`
	LatencyP99    time.Duration `json:"-"`
	RecoveryTime  time.Duration `json:"-"`
	RecoveryPoint time.Duration `json:"-"`
}

// Allowed is the downtime that the promise leaves.
func (g *Goal) Allowed() avail.Down { return avail.FromAvailability(g.Availability) }

// Minutes is a time; in JSON a number of minutes, or null for one without end.
type Minutes avail.Seconds

// MarshalJSON implements json.Marshaler.
func (m Minutes) MarshalJSON() ([]byte, error) {
	if f := float64(m) / 60; !math.IsInf(f, 0) && !math.IsNaN(f) {
		return fmt.Appendf(nil, "%.6g", f), nil
	}
	return []byte("null"), nil
}

// Part is a part of the service: a pool, or Trivet itself.
type Part struct {
	Name        string   `json:"name"`
	Servers     int      `json:"servers"`
	Needed      int      `json:"needed"`
	Why         string   `json:"why"` // so many are needed
	DownPerYear Minutes  `json:"down_minutes_per_year"`
	Capacity    *Loading `json:"capacity,omitempty"`

	Availability float64 `json:"availability"`
}

// Importance is one thing that costs availability.
type Importance struct {
	What        string  `json:"what"`
	Kind        string  `json:"kind"`
	Part        string  `json:"part,omitempty"`
	Single      bool    `json:"single_point_of_failure"`
	Birnbaum    float64 `json:"birnbaum"`
	DownPerYear Minutes `json:"down_minutes_per_year"`
}

// WhatIf is what would be if.
type WhatIf struct {
	What         string  `json:"what"`
	Availability float64 `json:"availability"`
	DownPerYear  Minutes `json:"down_minutes_per_year"`
}

// Remedy is changes that keep the promise.
type Remedy struct {
	Changes      []string `json:"changes"`
	Cost         float64  `json:"cost"`
	CostPerNine  float64  `json:"cost_per_nine"`
	Availability float64  `json:"availability"`
	DownPerYear  Minutes  `json:"down_minutes_per_year"`
}

// Figure is something taken for granted, and where it is from.
type Figure struct {
	What  string `json:"what"`
	Value string `json:"value"`
	From  string `json:"from"` // the file, measured, or default
}

// New plans for a file, with what was measured; nil is nothing. The error says what can not be planned for.
func New(c *config.Config, measured *Measured) (*Plan, error) {
	b := newBuilder(c, measured)
	d := b.design()
	if err := d.Check(); err != nil {
		return nil, fmt.Errorf("plan %s: %w", c.File(), err)
	}
	if len(d.Parts) == 1 { // Trivet alone
		return nil, fmt.Errorf("plan %s: no route leads to a pool", c.File())
	}
	o := &c.Objectives
	p := &Plan{
		File: c.File(), design: d, window: avail.Of(o.Window),
		Objective: Goal{Availability: o.Availability.Fraction(), Window: o.Window, WindowDays: o.Window.Hours() / 24, LatencyP99: o.LatencyP99,
			RecoveryTime: o.RecoveryTime, RecoveryPoint: o.RecoveryPoint},
		Assumed: b.assumed,
	}
	p.expect()
	p.parts(b)
	p.rank()
	p.whatIf(b)
	p.remedy(b)
	return p, nil
}

// Design is the model behind the plan. It must not be changed.
func (p *Plan) Design() *design.Design { return p.design }

// expect fills in what the whole gives.
func (p *Plan) expect() {
	down, outages := p.design.Down(), p.design.Outages()
	p.Availability = down.Availability()
	p.DownPerYear, p.DownPerWindow = Minutes(down.PerYear()), Minutes(down.In(p.window))
	p.OutagesPerYear, p.OutageMean = outages.Expected(avail.Year), Minutes(outages.Mean)
	sure := outages.Interval(p.window, Confidence)
	p.Low, p.High = 1-sure.High/float64(p.window), 1-sure.Low/float64(p.window)
	p.Met, p.Kept = true, 1
	if p.Objective.Availability > 0 {
		p.Met = down <= p.Objective.Allowed()
		p.Kept = outages.Within(p.Objective.Allowed().In(p.window), p.window)
	}
}

func (p *Plan) parts(b *builder) {
	for i := range p.design.Parts {
		part := &p.design.Parts[i]
		down := p.design.PartDown(part.Name)
		p.Parts = append(p.Parts, Part{
			Name: part.Name, Servers: len(part.Units), Needed: part.Needed, Why: b.why[part.Name], DownPerYear: Minutes(down.PerYear()),
			Availability: down.Availability(), Capacity: b.loads[part.Name],
		})
	}
}

func (p *Plan) rank() {
	p.Importances = []Importance{}
	for _, i := range p.design.Importances() {
		one := Importance{
			What: p.describe(&i), Kind: string(i.Kind), Single: i.Single && (i.Kind == design.Machine || i.Kind == design.Zone || i.Kind == design.Units),
			Birnbaum: i.Birnbaum, DownPerYear: Minutes(i.Costs.PerYear()),
		}
		if i.Kind != design.Machine && i.Kind != design.Zone {
			one.Part = i.Name
		}
		p.Importances = append(p.Importances, one)
	}
}

// describe says what a thing is in words.
func (p *Plan) describe(i *design.Importance) string {
	switch i.Kind {
	case design.Machine:
		if i.Name == thisMachine {
			return thisMachineText
		}
		return "machine " + i.Name
	case design.Zone:
		return "zone " + i.Name
	case design.Shared:
		return "causes that take all of " + i.Name + " at once"
	case design.Uncovered:
		return "failures in " + i.Name + " that wait for somebody"
	case design.Switching:
		return "the time until a failure in " + i.Name + " is handled"
	}
	if i.Name == trivet {
		return "the machines that Trivet runs on"
	}
	if p.design.Units(i.Name) == 1 {
		return "the one server of " + i.Name
	}
	if i.Count == 1 {
		return "one endpoint of " + i.Name
	}
	return fmt.Sprintf("%d servers of %s", i.Count, i.Name)
}

// whatIf tries what people ask.
func (p *Plan) whatIf(b *builder) {
	var changes []design.Change
	for _, z := range p.design.Zones {
		changes = append(changes, design.WithoutZone(z.Name))
	}
	changes = append(changes, design.Covered(0.95, 0), design.Covered(1, 0), design.FasterRepair(2, 0))
	for i := range p.design.Parts {
		changes = append(changes, b.oneMore(p.design.Parts[i].Name))
	}
	for _, c := range changes {
		o := p.design.Try(c)
		p.WhatIf = append(p.WhatIf, WhatIf{What: c.Name, Availability: o.Down.Availability(), DownPerYear: Minutes(o.Down.PerYear())})
	}
}

// remedy looks for the cheapest change that keeps the promise.
func (p *Plan) remedy(b *builder) {
	if p.Met {
		return
	}
	costs, coverage := b.file.Objectives.Assume.Costs, b.coverage()
	changes := []design.Change{design.FasterRepair(2, costs.FasterRepair)}
	drills := design.Covered(1-(1-coverage)/10, costs.Drills)
	drills.Name = fmt.Sprintf("drills, until %.4g %% of failures are handled", 100*(1-(1-coverage)/10))
	changes = append(changes, drills)
	for i := range p.design.Parts {
		changes = append(changes, b.oneMore(p.design.Parts[i].Name))
	}
	slices.SortStableFunc(changes, func(a, b design.Change) int { return cmp.Compare(a.Cost, b.Cost) })
	o, ok := p.design.Cheapest(p.Objective.Allowed(), changes)
	if !ok {
		return
	}
	before := p.design.Down()
	p.Cheapest = &Remedy{
		Changes: o.Changes, Cost: o.Cost, CostPerNine: avail.CostPerNine(0, o.Cost, before, o.Down), Availability: o.Down.Availability(),
		DownPerYear: Minutes(o.Down.PerYear()),
	}
}
