package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/avail"
	"github.com/trivet-ha/trivet/avail/design"
	"github.com/trivet-ha/trivet/config"
)

// Names in the design that are no pools and no hosts. Names of pools have no space, and hosts neither.
const (
	trivet      = "trivet itself"
	thisMachine = "this machine"

	thisMachineText = "this machine, on which Trivet runs"
)

// Measured is what is known of pools from running them.
type Measured struct {
	Pools map[string]MeasuredPool
	// Since when, for people.
	Over string
}

// MeasuredPool is what was seen of one. What was seen too seldom to say is left as it is assumed.
type MeasuredPool struct {
	Failures int           // of endpoints
	Up, Down avail.Seconds // of all endpoints together
	Covered  int           // failures that no client noticed
	Rate     avail.PerSecond
	Service  avail.Seconds // mean time of a request at an endpoint
}

// enoughFailures is how many make a figure: with five, the interval of a rate still spans a factor of six.
const enoughFailures = 5

type builder struct {
	file     *config.Config
	measured *Measured
	assumed  []Figure
	why      map[string]string
	loads    map[string]*Loading
}

func newBuilder(c *config.Config, m *Measured) *builder {
	return &builder{file: c, measured: m, why: map[string]string{}, loads: map[string]*Loading{}}
}

func (b *builder) assume(what, value, path string) {
	from := "default"
	if b.file.Has(path) {
		from = "file"
	}
	b.assumed = append(b.assumed, Figure{What: what, Value: value, From: from})
}

func (b *builder) coverage() float64 { return b.file.Objectives.Assume.Coverage.Fraction() }

// design makes the design of the file: Trivet itself, and every pool that something leads to.
func (b *builder) design() *design.Design {
	a, d := &b.file.Objectives.Assume, &design.Design{}
	const at = "objectives.assume."
	b.assume("machines that Trivet runs on", fmt.Sprint(a.Nodes), at+"nodes")
	b.assume("a machine fails", every(a.Machine.MTBF, a.Machine.MTTR), at+"machine")
	b.assume("an endpoint fails, apart from its machine", every(a.Endpoint.MTBF, a.Endpoint.MTTR), at+"endpoint")
	for _, z := range b.file.Objectives.Zones {
		d.Zones = append(d.Zones, design.Place{Name: string(z.Name), Figures: figures(a.Zone.MTBF, a.Zone.MTTR)})
	}
	if len(d.Zones) > 0 {
		b.assume("a zone fails", every(a.Zone.MTBF, a.Zone.MTTR), at+"zone")
	}
	b.assume("failures handled with nobody doing anything", a.Coverage.String(), at+"coverage")
	b.assume("the others last", duration(a.ByHand), at+"by_hand")
	b.assume("failures with a cause that takes the whole pool", a.CommonCause.String(), at+"common_cause")

	nodes := design.Part{Name: trivet, Needed: 1, Coverage: b.coverage(), Manual: avail.Of(a.ByHand)}
	b.why[trivet] = "one is enough"
	for i := range a.Nodes {
		nodes.Units = append(nodes.Units, design.Unit{Machine: b.machine(d, node(i), "")})
	}
	d.Parts = append(d.Parts, nodes)
	for i := range b.file.Pools {
		if pool := &b.file.Pools[i]; leads(b.file, pool.Name) {
			d.Parts = append(d.Parts, b.part(d, pool))
		}
	}
	return d
}

// node is the machine of one Trivet.
func node(i int) string {
	if i == 0 {
		return thisMachine
	}
	return fmt.Sprintf("%s %d", thisMachine, i+1)
}

// machine is the machine of that name, made if it is not there.
func (b *builder) machine(d *design.Design, name, zone string) string {
	if !slices.ContainsFunc(d.Machines, func(p design.Place) bool { return p.Name == name }) {
		m := b.file.Objectives.Assume.Machine
		d.Machines = append(d.Machines, design.Place{Name: name, Zone: zone, Figures: figures(m.MTBF, m.MTTR)})
	}
	return name
}

func (b *builder) part(d *design.Design, pool *config.Pool) design.Part {
	a := &b.file.Objectives.Assume
	name := string(pool.Name)
	p := design.Part{
		Name: name, Unit: figures(a.Endpoint.MTBF, a.Endpoint.MTTR), Coverage: b.coverage(), Manual: avail.Of(a.ByHand), Common: a.CommonCause.Fraction(),
	}
	for i := range pool.Endpoints {
		e := &pool.Endpoints[i]
		if e.Run == nil && !local(e.Address) {
			p.Units = append(p.Units, design.Unit{Machine: b.machine(d, e.Address.Host, string(b.file.Objectives.ZoneOf(e.Address.Host)))})
			continue
		}
		replicas := 1
		if e.Run != nil {
			replicas = e.Run.Replicas
		}
		for range replicas {
			for n := range a.Nodes { // each Trivet has its own
				p.Units = append(p.Units, design.Unit{Machine: b.machine(d, node(n), "")})
			}
		}
	}
	b.learn(d, &p)
	p.Switch, p.SwitchShare = detection(b.file, pool, len(p.Units))
	p.Needed = b.needed(pool, &p)
	return p
}

// learn puts what was measured in place of what is assumed.
func (b *builder) learn(d *design.Design, p *design.Part) {
	if b.measured == nil {
		return
	}
	m, ok := b.measured.Pools[p.Name]
	if !ok || m.Failures < enoughFailures {
		return
	}
	from := fmt.Sprintf("measured over %s, %d failures", b.measured.Over, m.Failures)
	p.Unit = design.Figures{MTBF: avail.MTBF(m.Up, m.Failures), MTTR: avail.MTTR(m.Down, m.Failures)}
	// What was seen of endpoints has their machines in it: each gets one that never fails, in the same zone.
	for i := range p.Units {
		at := slices.IndexFunc(d.Machines, func(m design.Place) bool { return m.Name == p.Units[i].Machine })
		seen := design.Place{Name: fmt.Sprintf("%s, endpoint %d", p.Name, i+1), Zone: d.Machines[at].Zone}
		d.Machines = append(d.Machines, seen)
		p.Units[i].Machine = seen.Name
	}
	p.Coverage = float64(m.Covered) / float64(m.Failures)
	b.assumed = append(b.assumed,
		Figure{What: "an endpoint of " + p.Name + " fails, with its machine", Value: every(p.Unit.MTBF.Duration(), p.Unit.MTTR.Duration()), From: from},
		Figure{What: "failures in " + p.Name + " that no client noticed", Value: fmt.Sprintf("%d of %d", m.Covered, m.Failures), From: from})
}

// needed is how many units of a pool must be up, and why.
func (b *builder) needed(pool *config.Pool, p *design.Part) int {
	load, name := b.file.Objectives.Assume.LoadOf(pool.Name), string(pool.Name)
	at := "objectives.assume.pools." + name
	from := "file"
	if load.Needed > 0 {
		b.why[name] = "the file says so"
		return load.Needed
	}
	if m := b.measuredLoad(name); m != nil && load.Rate == 0 {
		load.Rate, load.ServiceTime, from = config.Rate(m.Rate), m.Service.Duration(), "measured over "+b.measured.Over
		if pool.EndpointMaxRequests > 0 && !b.file.Has(at+".workers") {
			load.Workers = pool.EndpointMaxRequests
		}
	}
	if load.Rate == 0 {
		b.why[name] = "nothing is known of its load"
		return min(1, len(p.Units))
	}
	l := newLoading(load, len(p.Units))
	b.loads[name] = l
	b.assumed = append(b.assumed, Figure{What: "the load of " + name, From: from,
		Value: fmt.Sprintf("%s of %s, %d at a time on each endpoint", load.Rate, duration(load.ServiceTime), load.Workers)})
	b.why[name] = fmt.Sprintf("%s of %s, all but 1 %% waiting at most %s", load.Rate, duration(load.ServiceTime), duration(load.Wait))
	if l.Servers > len(p.Units) {
		b.why[name] += fmt.Sprintf("; it takes %d", l.Servers)
	}
	return min(l.Servers, len(p.Units))
}

func (b *builder) measuredLoad(pool string) *MeasuredPool {
	if b.measured == nil {
		return nil
	}
	if m, ok := b.measured.Pools[pool]; ok && m.Rate > 0 && m.Service > 0 {
		return &m
	}
	return nil
}

// oneMore is another server of a part, or another Trivet.
func (b *builder) oneMore(part string) design.Change {
	c := design.OneMore(part, b.file.Objectives.Assume.Costs.Server)
	if part == trivet {
		c.Name = "one more machine for Trivet"
	}
	return c
}

func figures(mtbf, mttr time.Duration) design.Figures {
	return design.Figures{MTBF: avail.Of(mtbf), MTTR: avail.Of(mttr)}
}

// local tells whether an endpoint is on the machine that Trivet runs on.
func local(a config.Address) bool {
	ip, err := netip.ParseAddr(a.Host)
	return a.Unix != "" || a.Host == "" || a.Host == "localhost" || err == nil && ip.IsLoopback()
}

// leads tells whether requests are served from a pool, or names answered; a pool that only stands in for another is not
// needed.
func leads(c *config.Config, pool config.Name) bool {
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.Pool == pool {
			return true
		}
		for j := range l.Routes {
			if slices.Contains(l.Routes[j].Pools(), pool) {
				return true
			}
		}
	}
	return c.DNS.Uses(pool)
}

// detection is how long an endpoint that fails gets requests until probes take it out, and what share of the requests
// suffers. Requests of HTTP that meet it are tried again elsewhere unless retries are off.
func detection(c *config.Config, pool *config.Pool, units int) (avail.Seconds, float64) {
	h := &pool.Health
	if h.Off || units == 0 {
		return 0, 0 // then it counts as not handled, which coverage is for
	}
	takes := h.Interval/2 + time.Duration(h.Fall-1)*h.FastInterval + h.Timeout
	if pool.Role != "" && pool.Role != config.RoleAny {
		return avail.Of(takes), 1 // there is one of its kind
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.Protocol.ByAddress() && l.Pool == pool.Name {
			return avail.Of(takes), 1 / float64(units)
		}
		for j := range l.Routes {
			if slices.Contains(l.Routes[j].Pools(), pool.Name) && (l.Routes[j].Retry.Off || l.Routes[j].Retry.Attempts < 2) {
				return avail.Of(takes), 1 / float64(units)
			}
		}
	}
	return 0, 0
}
