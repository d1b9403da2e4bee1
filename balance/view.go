package balance

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// view is all that Pick needs to know, as of the last change. It is immutable
// and replaced as a whole.
type view struct {
	config Config // with defaults; Endpoints is nil
	all    []*Endpoint
	byKey  map[uint64]*Endpoint

	// groups take the load, each the part below its upTo of a 32-bit random
	// number. spare ones have available endpoints but are not needed.
	groups []*group
	spare  []*group

	block     uint32 // which gates count
	panicking bool
	usable    bool // something may be picked
	available int
	maxTotal  int64 // requests in flight of the pool
}

// group is the endpoints of one priority among which one is chosen.
type group struct {
	priority int
	upTo     uint64
	members  []*Endpoint
	table    table
	weight   uint64 // of the members that are open
}

// tier is the members that share a priority, with how many may be used.
type tier struct {
	priority        int
	members, usable []*Endpoint
	judged          int // members that count for its share: not ordered out, not awaited
	load            float64
}

// build makes the view of the pool's present state and tells when, without any
// other cause, the next one is due. The caller holds mu.
func (p *Pool) build(now time.Duration) (v *view, next time.Duration) {
	v = &view{config: p.config, all: p.endpoints, byKey: p.byKey, block: gateAll, maxTotal: noLimit}
	if n := p.config.MaxRequests; n > 0 {
		v.maxTotal = int64(n)
	}
	tiers := p.tiers()
	ready := 0
	for _, t := range tiers {
		v.available += len(t.usable)
		ready += t.judged
	}
	if p.panics(v.available, ready) {
		v.panicking, v.block = true, gatePanic
		v.groups = []*group{p.everyone(now)}
		v.usable = v.groups[0].weight > 0
	} else {
		spread(tiers, p.config.Overprovision)
		v.groups, v.spare = p.arrange(tiers, now)
		v.usable = v.available > 0
	}
	return v, p.changesAt(now)
}

// tiers sorts the endpoints into priorities, the most wanted first.
func (p *Pool) tiers() []tier {
	var tiers []tier
	for _, e := range p.endpoints {
		pr := e.Priority()
		i, found := slices.BinarySearchFunc(tiers, pr, func(t tier, pr int) int { return cmp.Compare(t.priority, pr) })
		if !found {
			tiers = slices.Insert(tiers, i, tier{priority: pr})
		}
		t := &tiers[i]
		t.members = append(t.members, e)
		if e.open(gateAll) {
			t.usable = append(t.usable, e)
		}
		if e.open(gateAdmin | gateAwaited) {
			t.judged++
		}
	}
	return tiers
}

// panics reports whether so few of the ready endpoints are available that the
// verdicts are not to be believed.
func (p *Pool) panics(available, ready int) bool {
	switch {
	case p.config.PanicThreshold < 0:
		return false
	case available == 0:
		return slices.ContainsFunc(p.endpoints, func(e *Endpoint) bool { return e.open(gateAdmin) })
	}
	return float64(available) < p.config.PanicThreshold*float64(ready)
}

// everyone is the group of all endpoints not in maintenance.
func (p *Pool) everyone(now time.Duration) *group {
	g := &group{upTo: math.MaxUint64}
	for _, e := range p.endpoints {
		if e.open(gatePanic) {
			g.members = append(g.members, e)
		}
	}
	g.weight = sumWeights(g.members)
	if p.config.Algorithm.Hashes() {
		g.members = p.endpoints
	}
	g.table = p.table(anyPriority, g.members, now)
	return g
}

// spread gives each tier its part of the load: its available share times the
// overprovision, as far as load is left; scaled up if all of them together do
// not reach one.
func spread(tiers []tier, overprovision float64) {
	left, total := 1.0, 0.0
	for i := range tiers {
		t := &tiers[i]
		if len(t.usable) == 0 {
			continue
		}
		t.load = min(left, overprovision*float64(len(t.usable))/float64(t.judged))
		left -= t.load
		total += t.load
	}
	if total == 0 {
		return
	}
	for i := range tiers {
		tiers[i].load /= total
	}
}

// arrange turns tiers into groups.
func (p *Pool) arrange(tiers []tier, now time.Duration) (groups, spare []*group) {
	sum := 0.0
	for _, t := range tiers {
		if len(t.usable) == 0 {
			continue
		}
		g := &group{priority: t.priority, members: t.usable, weight: sumWeights(t.usable)}
		if p.config.Algorithm.Hashes() {
			g.members = t.members
		}
		if t.load <= 0 {
			spare = append(spare, g)
			continue
		}
		sum += t.load
		g.upTo = uint64(sum * (1 << 32))
		g.table = p.table(t.priority, g.members, now)
		groups = append(groups, g)
	}
	if n := len(groups); n > 0 {
		groups[n-1].upTo = math.MaxUint64
	}
	return groups, spare
}

// changesAt is the first moment at which the view changes by itself: an
// ejection ends or a slow start takes its next step.
func (p *Pool) changesAt(now time.Duration) time.Duration {
	next := time.Duration(math.MaxInt64)
	for _, e := range p.endpoints {
		if e.gate.Load()&gateEjected != 0 {
			next = min(next, e.ejectedUntil)
		}
		if e.ramping {
			next = min(next, e.nextStep(now, p.config.SlowStart))
		}
	}
	return next
}

func sumWeights(members []*Endpoint) (sum uint64) {
	for _, e := range members {
		sum += uint64(e.weight.Load())
	}
	return sum
}
