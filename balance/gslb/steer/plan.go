package steer

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
)

// Mode is what a plan rests on.
type Mode uint8

// The modes.
const (
	Healthy  Mode = iota // endpoints that are in
	Unproven             // none is in, and some have never been probed: those
	Panicked             // the pool says that so few in are not to be believed: all
	Down                 // none is in: what Rules.Serve says
	Drained              // none is left but those being drained: those
	Empty                // nothing: all are in maintenance, or there are none
)

func (m Mode) String() string {
	return [...]string{"healthy", "unproven", "panic", "down", "drained", "empty"}[m]
}

// Plan is what a slot answers until something changes. It is immutable.
type Plan struct {
	Mode Mode
	// TTL of the answers, in seconds.
	TTL uint32
	// Verdicts tell of each endpoint of the pool whether it may be answered, and why not.
	Verdicts []Verdict

	policy   Policy
	limit    int
	families [2]family
	last     []string // the endpoints that were in when any was
}

// Verdict is what a plan makes of one endpoint.
type Verdict struct {
	Address  string
	Hosts    []netip.Addr
	In       bool // it may be answered
	Weight   int  // with which it is drawn
	Priority int
	Why      string
}

// family is the addresses of one kind.
type family struct {
	records []byte // of the answer, one behind the other, owned by the question
	size    int    // of one
	hosts   []netip.Addr
	sums    []uint64 // weights, each added to those before
	table   []uint16 // of Hash; nil with fewer than two addresses
	lacks   bool     // there would be some, were all endpoints in
}

// member is an endpoint that the plan may answer.
type member struct {
	endpoint *Endpoint
	hosts    []netip.Addr
	weight   int
}

// NewPlan makes a plan of a pool's present state. last are the endpoints that were in when any was; factors multiply
// weights, by address. Both may be nil. The rules have their defaults.
func NewPlan(r *Rules, s *State, last []string, factors map[string]float64) *Plan {
	p := &Plan{policy: r.Policy, limit: r.Limit, TTL: r.TTL, last: last}
	b := planner{rules: r, state: s, factors: factors, plan: p}
	members := b.members()
	if b.troubled {
		p.TTL = min(r.TTL, r.DownTTL)
	}
	if p.Mode == Down && r.Serve == ServeFallback {
		members = []member{{endpoint: &Endpoint{}, hosts: r.Fallback, weight: 1}}
	}
	for six := range p.families {
		p.families[six].build(members, six == 1, p.TTL, r.Policy)
	}
	b.findLacks()
	return p
}

// planner holds what NewPlan works with.
type planner struct {
	rules    *Rules
	state    *State
	factors  map[string]float64
	plan     *Plan
	troubled bool // something is out
}

// members decides who may be answered, and writes down why.
func (b *planner) members() (chosen []member) {
	groups := map[Standing][]member{}
	for i := range b.state.Endpoints {
		e := &b.state.Endpoints[i]
		v := Verdict{Address: e.Address, Hosts: b.hosts(e), Priority: e.Priority, Weight: b.weight(e), Why: e.Reason}
		if len(v.Hosts) == 0 {
			v.Why = "has no IP address to answer with"
		} else {
			groups[e.Standing] = append(groups[e.Standing], member{e, v.Hosts, v.Weight})
		}
		b.plan.Verdicts = append(b.plan.Verdicts, v)
	}
	b.troubled = len(groups[Out]) > 0
	chosen = b.choose(groups)
	for _, m := range chosen {
		i := slices.IndexFunc(b.plan.Verdicts, func(v Verdict) bool { return v.Address == m.endpoint.Address })
		b.plan.Verdicts[i].In = true
	}
	b.explain()
	return chosen
}

// choose picks the best standing that has anybody.
func (b *planner) choose(groups map[Standing][]member) []member {
	in := groups[In]
	switch {
	case len(in) > 0 && b.state.Panic:
		b.plan.Mode = Panicked
		in = b.inOrder(slices.Concat(in, groups[Out], groups[Awaited]))
	case len(in) > 0:
		b.plan.Mode = Healthy
	case len(groups[Awaited]) > 0:
		b.plan.Mode, in = Unproven, groups[Awaited]
	case len(groups[Out]) > 0:
		b.plan.Mode = Down
		return b.served(groups[Out])
	case len(groups[Draining]) > 0:
		b.plan.Mode, b.troubled = Drained, true
		return groups[Draining]
	default:
		b.plan.Mode, b.troubled = Empty, true
		return nil
	}
	in = b.preferred(in)
	if b.plan.Mode != Unproven {
		b.plan.last = addresses(in)
	}
	return in
}

// inOrder restores the pool's order.
func (b *planner) inOrder(all []member) []member {
	place := func(m member) int {
		return slices.IndexFunc(b.state.Endpoints, func(e Endpoint) bool { return e.Address == m.endpoint.Address })
	}
	slices.SortFunc(all, func(x, y member) int { return cmp.Compare(place(x), place(y)) })
	return all
}

// preferred keeps the members of the lowest priority; or for Failover all, the most wanted first.
func (b *planner) preferred(in []member) []member {
	in = slices.Clone(in)
	slices.SortStableFunc(in, func(x, y member) int { return cmp.Compare(x.endpoint.Priority, y.endpoint.Priority) })
	if b.rules.Policy == Failover {
		return in
	}
	best := in[0].endpoint.Priority
	return slices.DeleteFunc(in, func(m member) bool { return m.endpoint.Priority != best })
}

// served is who is answered when none is in, by the rules.
func (b *planner) served(out []member) []member {
	switch b.rules.Serve {
	case ServeFallback:
		return nil
	case ServeLast:
		known := slices.DeleteFunc(slices.Clone(out), func(m member) bool { return !slices.Contains(b.plan.last, m.endpoint.Address) })
		if len(known) > 0 {
			return known
		}
	}
	if b.rules.Policy == Failover { // an order still, but no better one than by priority
		out = b.preferred(out)
	}
	return out
}

// explain completes the reasons of those that are not answered.
func (b *planner) explain() {
	for i := range b.plan.Verdicts {
		v, e := &b.plan.Verdicts[i], &b.state.Endpoints[i]
		switch {
		case v.In && b.plan.Mode == Down:
			v.Why = "answered all the same, since none is in; " + v.Why
		case v.In || v.Why != "":
		case e.Standing == In:
			v.Why = "a lower priority has endpoints that are in"
		default:
			v.Why = e.Standing.String()
		}
	}
}

func (b *planner) hosts(e *Endpoint) []netip.Addr {
	if published, ok := b.rules.Publish[e.Address]; ok {
		return published
	}
	return e.Hosts
}

// weightScale makes room for factors below one.
const weightScale = 100

func (b *planner) weight(e *Endpoint) int {
	w := max(1, e.Weight) * weightScale
	if f, ok := b.factors[e.Address]; ok {
		w = max(1, int(float64(w)*f))
	}
	return w
}

// findLacks marks a family without addresses that would have some.
func (b *planner) findLacks() {
	for six := range b.plan.families {
		f := &b.plan.families[six]
		f.lacks = len(f.hosts) == 0 && slices.ContainsFunc(b.state.Endpoints, func(e Endpoint) bool {
			return slices.ContainsFunc(b.hosts(&e), func(a netip.Addr) bool { return isSix(a) == (six == 1) })
		})
	}
}

func isSix(a netip.Addr) bool { return a.Is6() && !a.Is4In6() }

func addresses(members []member) []string {
	all := make([]string, len(members))
	for i, m := range members {
		all[i] = m.endpoint.Address
	}
	return all
}

// build fills a family from the members that have addresses of it.
func (f *family) build(members []member, six bool, ttl uint32, policy Policy) {
	var seeds []uint64
	var weights []int
	for _, m := range members {
		for _, host := range m.hosts {
			if isSix(host) != six || len(f.hosts) == AddressesMax || slices.Contains(f.hosts, host.Unmap()) {
				continue
			}
			host = host.Unmap()
			f.hosts = append(f.hosts, host)
			f.records = appendRecord(f.records, host, ttl)
			seeds = append(seeds, seedOf(m.endpoint.Address, host))
			weights = append(weights, m.weight)
		}
	}
	if len(f.hosts) == 0 {
		return
	}
	f.size = len(f.records) / len(f.hosts)
	sum := uint64(0)
	for _, w := range weights {
		sum += uint64(w)
		f.sums = append(f.sums, sum)
	}
	if policy == Hash && len(f.hosts) > 1 {
		f.table = rendezvous(seeds, weights)
	}
}

// appendRecord writes an A or AAAA record that is owned by the question: a pointer to offset 12 (RFC 1035 §4.1.4).
func appendRecord(b []byte, host netip.Addr, ttl uint32) []byte {
	kind, address := byte(1), host.AsSlice()
	if len(address) == 16 {
		kind = 28
	}
	b = append(b, 0xC0, 12, 0, kind, 0, 1, byte(ttl>>24), byte(ttl>>16), byte(ttl>>8), byte(ttl), 0, byte(len(address)))
	return append(b, address...)
}

// SameAs reports whether two plans answer with the same addresses, whatever their weights and TTLs.
func (p *Plan) SameAs(other *Plan) bool {
	if other == nil || p.Mode != other.Mode {
		return false
	}
	for i := range p.families {
		if !slices.Equal(p.families[i].hosts, other.families[i].hosts) {
			return false
		}
	}
	return true
}

// Equal reports whether two plans answer alike in everything.
func (p *Plan) Equal(other *Plan) bool {
	if !p.SameAs(other) || p.policy != other.policy || p.limit != other.limit {
		return false
	}
	for i := range p.families {
		a, b := &p.families[i], &other.families[i]
		if !bytes.Equal(a.records, b.records) || !slices.Equal(a.sums, b.sums) {
			return false
		}
	}
	return true
}

// Hosts returns all addresses that the plan may answer with.
func (p *Plan) Hosts() []netip.Addr { return slices.Concat(p.families[0].hosts, p.families[1].hosts) }

// Policy returns how it chooses.
func (p *Plan) Policy() Policy { return p.policy }

// Lacks reports that the plan has no addresses of a family, but would have if all endpoints were in: the answer that
// there are none must not be kept for long.
func (p *Plan) Lacks(six bool) bool { return p.family(six).lacks }

// Has reports whether the plan has addresses of a family.
func (p *Plan) Has(six bool) bool { return len(p.family(six).hosts) > 0 }

func (p *Plan) family(six bool) *family {
	if six {
		return &p.families[1]
	}
	return &p.families[0]
}
