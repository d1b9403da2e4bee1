package design

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/trivet-ha/trivet/avail"
)

func agree(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b)) }

// servers is a part of units with a machine each.
func servers(name string, n, needed int, f Figures) (Part, []Place) {
	p := Part{Name: name, Needed: needed, Coverage: 1}
	var machines []Place
	for i := range n {
		m := Place{Name: fmt.Sprintf("%s%d", name, i), Figures: f}
		machines = append(machines, m)
		p.Units = append(p.Units, Unit{m.Name})
	}
	return p, machines
}

var hours = Figures{MTBF: 1000 * avail.Hour, MTTR: 4 * avail.Hour}

func TestIndependentServersAreKOfN(t *testing.T) {
	p, machines := servers("web", 5, 3, hours)
	d := &Design{Parts: []Part{p}, Machines: machines}
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	if got, want := d.Down(), avail.KOfN(3, 5, hours.Down()); !agree(float64(got), float64(want)) {
		t.Errorf("3 of 5: %g, want %g", got, want)
	}
	r := avail.Repairable{N: 5, Needed: 3, MTBF: hours.MTBF, MTTR: hours.MTTR}
	if got, want := d.Outages(), r.Outages(); !agree(float64(got.Rate), float64(want.Rate)) || !agree(float64(got.Mean), float64(want.Mean)) {
		t.Errorf("outages %+v, by the chain %+v", got, want)
	}
}

func TestWhatIsSharedIsCountedOnce(t *testing.T) {
	one := Place{Name: "box", Figures: hours}
	d := &Design{Machines: []Place{one}, Parts: []Part{
		{Name: "web", Needed: 1, Units: []Unit{{"box"}, {"box"}}, Coverage: 1},
		{Name: "api", Needed: 1, Units: []Unit{{"box"}}, Coverage: 1},
		{Name: "db", Needed: 1, Units: []Unit{{"box"}}, Coverage: 1},
	}}
	if got := d.Down(); !agree(float64(got), float64(hours.Down())) {
		t.Errorf("three parts on one machine are down %g, the machine %g", got, hours.Down())
	}
	top := d.Importances()
	if len(top) != 1 || top[0].Kind != Machine || !top[0].Single || top[0].Costs != d.Down() {
		t.Errorf("importances %+v: want the machine alone, as a single point of failure", top)
	}
}

func TestAZoneTakesItsServers(t *testing.T) {
	zone := Figures{MTBF: 10000 * avail.Hour, MTTR: 10 * avail.Hour}
	p, machines := servers("web", 4, 2, hours)
	d := &Design{Parts: []Part{p}, Machines: machines, Zones: []Place{{Name: "a", Figures: zone}, {Name: "b", Figures: zone}}}
	for i := range d.Machines {
		d.Machines[i].Zone = []string{"a", "b"}[i%2]
	}
	z, u := float64(zone.Down()), float64(hours.Down())
	k := func(k, n int) float64 { return float64(avail.KOfN(k, n, avail.Down(u))) }
	want := z*z + 2*z*(1-z)*k(2, 2) + (1-z)*(1-z)*k(2, 4)
	if got := d.Down(); !agree(float64(got), want) {
		t.Errorf("two of four in two zones: %g, want %g", got, want)
	}
	lost := d.Try(WithoutZone("a"))
	if want := z + (1-z)*k(2, 2); !agree(float64(lost.Down), want) {
		t.Errorf("with one zone lost: %g, want %g", lost.Down, want)
	}
	if whole := d.Try(WithoutMachine("web0")).Down; whole <= d.Down() {
		t.Errorf("a machine lost makes it better: %g", whole)
	}
}

func TestChainsOfAPart(t *testing.T) {
	p := Part{Name: "web", Needed: 1, Units: make([]Unit, 2), Unit: hours, Coverage: .99, Manual: avail.Hour, Common: .02, Switch: 10, SwitchShare: .5}
	d := &Design{Parts: []Part{p}}
	u, rate := hours.Down(), 2/float64(hours.MTBF+hours.MTTR)
	want := avail.Series(u*u, u*.02, avail.FromOdds(rate*.01*3600), avail.Down(rate*.99*10*.5))
	if got := d.Down(); !agree(float64(got), float64(want)) {
		t.Errorf("down %g, want %g", got, want)
	}
	kinds := map[Kind]bool{}
	for _, i := range d.Importances() {
		kinds[i.Kind] = true
	}
	if len(kinds) != 4 {
		t.Errorf("kinds of importance %v, want units, common, uncovered and switching", kinds)
	}
	p.Needed = 2
	if got, want := (&Design{Parts: []Part{p}}).Down(), avail.Series(avail.KOfN(2, 2, u), u*.02); !agree(float64(got), float64(want)) {
		t.Errorf("without a spare %g, want %g: there is nothing to take over", got, want)
	}
	p.Needed = 0
	if got := (&Design{Parts: []Part{p}}).Down(); got != 0 {
		t.Errorf("what nobody needs is down %g", got)
	}
}

// TestTheModelIsAllStatesGoneThrough compares random designs with the sum over every state of everything.
func TestTheModelIsAllStatesGoneThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &Design{}
		share := func(label string) Figures {
			return Figures{MTBF: 1, MTTR: avail.Seconds(rapid.SampledFrom([]float64{.001, .1, 1}).Draw(t, label))}
		}
		for i := range rapid.IntRange(0, 2).Draw(t, "zones") {
			d.Zones = append(d.Zones, Place{Name: fmt.Sprint("z", i), Figures: share("zone")})
		}
		for i := range rapid.IntRange(1, 4).Draw(t, "machines") {
			m := Place{Name: fmt.Sprint("m", i), Figures: share("machine")}
			if n := len(d.Zones); n > 0 {
				if z := rapid.IntRange(0, n).Draw(t, "zone of machine"); z < n {
					m.Zone = d.Zones[z].Name
				}
			}
			d.Machines = append(d.Machines, m)
		}
		for i := range rapid.IntRange(1, 2).Draw(t, "parts") {
			p := Part{Name: fmt.Sprint("p", i), Unit: share("unit"), Coverage: 1}
			for range rapid.IntRange(1, 3).Draw(t, "units") {
				m := rapid.IntRange(0, len(d.Machines)).Draw(t, "machine of unit")
				u := Unit{}
				if m < len(d.Machines) {
					u.Machine = d.Machines[m].Name
				}
				p.Units = append(p.Units, u)
			}
			p.Needed = rapid.IntRange(1, len(p.Units)).Draw(t, "needed")
			d.Parts = append(d.Parts, p)
		}
		if err := d.Check(); err != nil {
			t.Fatal(err)
		}
		got, rate := float64(d.Down()), float64(d.Outages().Rate)
		want, wantRate := byStates(d)
		if !agree(got, want) || !agree(rate, wantRate) {
			t.Fatalf("down %.15g at rate %.15g, by all states %.15g at %.15g", got, rate, want, wantRate)
		}
		for _, i := range d.Importances() {
			if i.Birnbaum < -1e-12 || i.Birnbaum > 1+1e-12 || float64(i.Costs) > got*(1+1e-9) {
				t.Fatalf("%+v of %g", i, got)
			}
		}
	})
}

// byStates goes through every state: the chance of being down, and the rate of going down.
func byStates(d *Design) (down, rate float64) {
	type thing struct {
		Figures
	}
	var things []thing
	index := map[string]int{}
	for _, z := range d.Zones {
		index["z"+z.Name] = len(things)
		things = append(things, thing{z.Figures})
	}
	for _, m := range d.Machines {
		index["m"+m.Name] = len(things)
		things = append(things, thing{m.Figures})
	}
	units := len(things)
	for _, p := range d.Parts {
		for range p.Units {
			things = append(things, thing{p.Unit})
		}
	}
	isDown := func(state int) bool {
		unit := units
		for _, p := range d.Parts {
			up := 0
			for _, u := range p.Units {
				broken := state>>unit&1 == 1
				if u.Machine != "" {
					broken = broken || state>>index["m"+u.Machine]&1 == 1
					for _, m := range d.Machines {
						if m.Name == u.Machine && m.Zone != "" {
							broken = broken || state>>index["z"+m.Zone]&1 == 1
						}
					}
				}
				if !broken {
					up++
				}
				unit++
			}
			if up < p.Needed {
				return true
			}
		}
		return false
	}
	for state := range 1 << len(things) {
		weight := 1.0
		for i, x := range things {
			if state>>i&1 == 1 {
				weight *= float64(x.Down())
			} else {
				weight *= 1 - float64(x.Down())
			}
		}
		if isDown(state) {
			down += weight
			continue
		}
		for i, x := range things {
			if state>>i&1 == 0 && isDown(state|1<<i) {
				rate += weight / float64(x.MTBF)
			}
		}
	}
	return down, rate
}

func TestTheCheapestChangeIsFound(t *testing.T) {
	p, machines := servers("web", 1, 1, hours)
	d := &Design{Parts: []Part{p}, Machines: machines}
	changes := []Change{OneMore("web", 10), FasterRepair(2, 4)}
	for _, v := range []struct {
		allowed avail.Down
		want    string
		cost    float64
	}{
		{.005, "", 0},
		{.002, "repairs 2 times as fast", 4},
		{.001, "repairs 2 times as fast, repairs 2 times as fast", 8},
		{2e-5, "one more server for web", 10},
		{1e-6, "one more server for web, repairs 2 times as fast, repairs 2 times as fast", 18},
	} {
		got, ok := d.Cheapest(v.allowed, changes)
		if !ok || got.Text() != v.want || got.Cost != v.cost || got.Down > v.allowed {
			t.Errorf("at most %g: %q for %g with %g, %v; want %q for %g", v.allowed, got.Text(), got.Cost, got.Down, ok, v.want, v.cost)
		}
	}
	if _, ok := d.Cheapest(1e-40, changes); ok {
		t.Error("forty nines are found")
	}
	if len(d.Machines) != 1 || len(d.Parts[0].Units) != 1 {
		t.Error("the search has changed the design")
	}
}

func TestOneMoreGoesWhereFewestAre(t *testing.T) {
	p, machines := servers("web", 3, 2, hours)
	machines[0].Zone, machines[1].Zone, machines[2].Zone = "a", "a", "b"
	p.SwitchShare = 1.0 / 3
	d := &Design{Parts: []Part{p}, Machines: machines, Zones: []Place{{Name: "a"}, {Name: "b"}}}
	OneMore("web", 0).Apply(d)
	last := d.Machines[len(d.Machines)-1]
	if last.Zone != "b" || last.Figures != hours || d.Parts[0].SwitchShare != .25 {
		t.Errorf("the new machine is %+v, share of switching %g", last, d.Parts[0].SwitchShare)
	}
	if err := d.Check(); err != nil {
		t.Error(err)
	}
	OneMore("nothing", 0).Apply(d)
}

func TestAPoolOfTenThousandIsQuick(t *testing.T) {
	p, machines := servers("web", 10_000, 9_900, hours)
	d := &Design{Parts: []Part{p}, Machines: machines}
	if got, want := d.Down(), avail.KOfN(9_900, 10_000, hours.Down()); !agree(float64(got), float64(want)) && math.Abs(float64(got/want)-1) > 1e-6 {
		t.Errorf("down %g, want %g", got, want)
	}
}

func TestWrongDesignsAreRefused(t *testing.T) {
	for name, d := range map[string]Design{
		"a zone twice":         {Zones: []Place{{Name: "a"}, {Name: "a"}}},
		"a machine twice":      {Machines: []Place{{Name: "a"}, {Name: "a"}}},
		"no such zone":         {Machines: []Place{{Name: "a", Zone: "z"}}},
		"no such machine":      {Parts: []Part{{Name: "p", Units: []Unit{{"m"}}}}},
		"too many needed":      {Parts: []Part{{Name: "p", Needed: 1}}},
		"figures that are not": {Parts: []Part{{Name: "p", Unit: Figures{MTBF: -1}}}},
		"coverage above 1":     {Parts: []Part{{Name: "p", Coverage: 2}}},
		"time below 0":         {Parts: []Part{{Name: "p", Manual: -1}}},
	} {
		if d.Check() == nil {
			t.Errorf("%s is taken", name)
		}
	}
	d := Design{}
	if !math.IsNaN(float64(d.PartDown("x"))) || d.Down() != 0 || d.Outages() != (avail.Outages{}) {
		t.Error("a design of nothing is down, or knows a part")
	}
}

func BenchmarkDownOfThreePoolsInTwoZones(b *testing.B) {
	d := &Design{Zones: []Place{{Name: "a", Figures: hours}, {Name: "b", Figures: hours}}}
	for _, name := range []string{"web", "api", "db"} {
		p, machines := servers(name, 6, 3, hours)
		for i := range machines {
			machines[i].Zone = []string{"a", "b"}[i%2]
		}
		d.Parts, d.Machines = append(d.Parts, p), append(d.Machines, machines...)
	}
	b.ReportAllocs()
	for b.Loop() {
		d.Down()
	}
}
