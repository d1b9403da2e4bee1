package design

import (
	"slices"

	"github.com/trivet-ha/trivet/avail"
)

// sharedMax is of how many places that several parts share every combination is gone through: 4096. Of more, those that
// fail least are taken for different places, which is pessimistic.
const sharedMax = 12

// model is a design made ready for arithmetic: equal units in equal places are one group, and what can fail is a list.
type model struct {
	events []*event
	shared []*event // places that several parts stand on
	parts  []part
}

// event is something that can fail, count times alike.
type event struct {
	kind  Kind
	name  string
	down  float64
	rate  float64 // of one
	count int
	// bit is where its state stands among those of shared places; -1 is nowhere.
	bit int
}

// override changes one thing: all alike never fail, or one of them is down, or is up, for certain.
type override struct {
	event *event
	all   bool    // count of them never fail; else:
	one   float64 // 1: one of them is down; 0: it is up
}

var nothing = override{}

type part struct {
	needed, units int
	zones         []zone // the last may be none
	chain         []*event
}

type zone struct {
	place    *event // nil: none, or one that does not fail
	machines []machine
	loose    []*event // units that are alone on their machines, with it, by their figures
}

type machine struct {
	place *event
	units *event
}

// newModel finds what is shared and what is alike.
func newModel(d *Design) *model {
	m := &model{}
	b := builder{d: d, m: m, machines: map[string]*Place{}, places: map[string]*event{}, users: map[string][]int{}}
	for i := range d.Machines {
		b.machines[d.Machines[i].Name] = &d.Machines[i]
	}
	for i := range d.Parts {
		for _, u := range d.Parts[i].Units {
			b.use(u.Machine, i)
		}
	}
	for i := range d.Parts {
		m.parts = append(m.parts, b.part(i))
	}
	candidates := []*event{}
	for _, e := range m.events {
		if b.isShared(e) && e.down > 0 {
			candidates = append(candidates, e)
		}
	}
	slices.SortStableFunc(candidates, func(a, b *event) int {
		switch {
		case a.down > b.down:
			return -1
		case a.down < b.down:
			return 1
		}
		return 0
	})
	for i, e := range candidates[:min(len(candidates), sharedMax)] {
		e.bit = i
		m.shared = append(m.shared, e)
	}
	return m
}

type builder struct {
	d        *Design
	m        *model
	machines map[string]*Place
	places   map[string]*event
	users    map[string][]int // of a place: the parts; a unit for each entry
}

func key(kind Kind, name string) string { return string(kind) + " " + name }

func (b *builder) machine(name string) *Place {
	if m := b.machines[name]; m != nil {
		return m
	}
	return &Place{}
}

func (b *builder) use(machine string, part int) {
	if machine == "" {
		return
	}
	b.users[key(Machine, machine)] = append(b.users[key(Machine, machine)], part)
	if z := b.machine(machine).Zone; z != "" {
		b.users[key(Zone, z)] = append(b.users[key(Zone, z)], part)
	}
}

// isShared reports whether units of several parts stand on a place.
func (b *builder) isShared(e *event) bool {
	users := b.users[key(e.kind, e.name)]
	return (e.kind == Machine || e.kind == Zone) && len(users) > 0 && slices.Min(users) != slices.Max(users)
}

func (b *builder) event(kind Kind, name string, f Figures, count int) *event {
	e := &event{kind: kind, name: name, down: float64(f.Down()), rate: f.rate(), count: count, bit: -1}
	b.m.events = append(b.m.events, e)
	return e
}

// place is the event of a place, one for all parts.
func (b *builder) place(kind Kind, p *Place) *event {
	if p.Figures == (Figures{}) {
		return nil
	}
	k := key(kind, p.Name)
	if b.places[k] == nil {
		b.places[k] = b.event(kind, p.Name, p.Figures, 1)
	}
	return b.places[k]
}

func (b *builder) part(i int) part {
	p := &b.d.Parts[i]
	made := part{needed: p.Needed, units: len(p.Units)}
	byZone := map[string]map[string]int{} // zone, machine, units
	for _, u := range p.Units {
		z := b.machine(u.Machine).Zone
		if byZone[z] == nil {
			byZone[z] = map[string]int{}
		}
		byZone[z][u.Machine]++
	}
	for _, name := range sortedKeys(byZone) {
		made.zones = append(made.zones, b.zone(p, name, byZone[name]))
	}
	made.chain = b.chain(p)
	return made
}

func (b *builder) zone(p *Part, name string, machines map[string]int) zone {
	z := zone{}
	if i := slices.IndexFunc(b.d.Zones, func(z Place) bool { return z.Name == name }); i >= 0 {
		z.place = b.place(Zone, &b.d.Zones[i])
	}
	own := Figures{p.Unit.MTBF, p.Unit.MTTR}
	loose := map[Figures]*event{}
	single := 0
	for _, name := range sortedKeys(machines) {
		count, at := machines[name], b.machine(name)
		switch {
		case name == "" || at.Figures == (Figures{}):
			single += count
		case count == 1 && len(b.users[key(Machine, name)]) == 1: // a server that nothing else is on: one thing, with its machine
			f := inSeries(own, at.Figures)
			if loose[f] == nil {
				loose[f] = b.event(Units, p.Name, f, 0)
				z.loose = append(z.loose, loose[f])
			}
			loose[f].count++
		default:
			z.machines = append(z.machines, machine{place: b.place(Machine, at), units: b.event(Units, p.Name, own, count)})
		}
	}
	if single > 0 {
		z.loose = append(z.loose, b.event(Units, p.Name, own, single))
	}
	return z
}

// inSeries are the figures of two things that are both needed.
func inSeries(a, b Figures) Figures {
	switch {
	case a == Figures{}:
		return b
	case b == Figures{}:
		return a
	}
	down := avail.Series(a.Down(), b.Down())
	mtbf := 1 / (1/a.MTBF + 1/b.MTBF)
	return Figures{MTBF: mtbf, MTTR: mtbf * avail.Seconds(down.Odds())}
}

// chain is what takes a part down beside too few units.
func (b *builder) chain(p *Part) (chain []*event) {
	if p.Needed == 0 {
		return nil
	}
	add := func(kind Kind, down avail.Down, rate float64) {
		if down > 0 {
			e := b.event(kind, p.Name, Figures{}, 1)
			e.down, e.rate = float64(down), rate
			chain = append(chain, e)
		}
	}
	fails := 0.0 // failures of units a second, with their machines
	for _, u := range p.Units {
		fails += inSeries(p.Unit, b.machine(u.Machine).Figures).rate()
	}
	add(Shared, p.Unit.Down()*avail.Down(p.Common), p.Unit.rate()*p.Common)
	spare := len(p.Units) > p.Needed // without, every failure is an outage already
	if spare {
		missed := fails * (1 - p.Coverage)
		add(Uncovered, avail.Outages{Rate: avail.PerSecond(missed), Mean: p.Manual}.Down(), missed)
		covered := avail.Switching(avail.PerSecond(fails*p.Coverage), p.Switch)
		add(Switching, covered*avail.Down(p.SwitchShare), fails*p.Coverage*p.SwitchShare)
	}
	return chain
}

// down is the share of time down, with one thing changed.
func (m *model) down(o override) avail.Down {
	sum := 0.0
	for state := range 1 << len(m.shared) {
		weight := 1.0
		for _, e := range m.shared {
			d := o.down(e)
			if state>>e.bit&1 == 0 {
				d = 1 - d
			}
			weight *= d
		}
		if weight == 0 {
			continue
		}
		downs := make([]avail.Down, len(m.parts))
		for i := range m.parts {
			downs[i] = avail.Down(m.parts[i].down(state, o))
		}
		sum += weight * float64(avail.Series(downs...))
	}
	return avail.Down(min(sum, 1))
}

// down is the chance that an event's thing is down, if it is one.
func (o override) down(e *event) float64 {
	switch {
	case e != o.event:
		return e.down
	case o.all:
		return 0
	}
	return o.one
}

// alone reports whether one thing takes the service down, whatever else is up.
func (m *model) alone(e *event) bool { return m.down(override{event: e, one: 1}) > 1-1e-12 }

// lasts is how long it is down on average when it is.
func (e *event) lasts() float64 {
	if e.rate == 0 {
		return 0
	}
	return e.down / e.rate
}

// birnbaum is the chance that one thing makes the difference.
func (m *model) birnbaum(e *event) float64 {
	return float64(m.down(override{event: e, one: 1}) - m.down(override{event: e, one: 0}))
}

// down is the chance that a part is down, given which shared places are.
func (p *part) down(state int, o override) float64 {
	if p.needed == 0 {
		return 0
	}
	broken := []float64{1} // the chance of so many units down
	for i := range p.zones {
		broken = convolve(broken, p.zones[i].broken(state, o))
	}
	few := 0.0
	for _, w := range broken[p.units-p.needed+1:] {
		few += w
	}
	all := []avail.Down{avail.Down(min(few, 1))}
	for _, e := range p.chain {
		all = append(all, avail.Down(o.down(e)))
	}
	return float64(avail.Series(all...))
}

// broken is the distribution of how many of the zone's units are down.
func (z *zone) broken(state int, o override) []float64 {
	d := []float64{1}
	for _, e := range z.loose {
		d = convolve(d, o.units(e))
	}
	for _, m := range z.machines {
		d = convolve(d, within(m.place, o.units(m.units), state, o))
	}
	return within(z.place, d, state, o)
}

// within is a distribution inside a place that may be down.
func within(place *event, up []float64, state int, o override) []float64 {
	if place == nil {
		return up
	}
	d := o.down(place)
	if place.bit >= 0 {
		d = float64(state >> place.bit & 1)
	}
	mixed := make([]float64, len(up))
	for i, w := range up {
		mixed[i] = w * (1 - d)
	}
	mixed[len(up)-1] += d
	return mixed
}

// units is the distribution of how many units alike are down.
func (o override) units(e *event) []float64 {
	switch {
	case e != o.event:
		return binomial(e.count, e.down)
	case o.all:
		return binomial(e.count, 0)
	}
	return convolve(binomial(e.count-1, e.down), binomial(1, o.one))
}

// binomial is the distribution of how many of n are down, from its largest term outwards.
func binomial(n int, d float64) []float64 {
	all := make([]float64, n+1)
	switch {
	case d <= 0:
		all[0] = 1
		return all
	case d >= 1:
		all[n] = 1
		return all
	}
	mode := min(int(float64(n+1)*d), n)
	odds, sum := d/(1-d), 1.0
	all[mode] = 1
	for i := mode; i < n; i++ {
		all[i+1] = all[i] * odds * float64(n-i) / float64(i+1)
		sum += all[i+1]
	}
	for i := mode; i > 0; i-- {
		all[i-1] = all[i] / odds * float64(i) / float64(n-i+1)
		sum += all[i-1]
	}
	for i := range all {
		all[i] /= sum
	}
	return all
}

func convolve(a, b []float64) []float64 {
	sum := make([]float64, len(a)+len(b)-1)
	for i, x := range a {
		if x == 0 {
			continue
		}
		for j, y := range b {
			sum[i+j] += x * y
		}
	}
	return sum
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
