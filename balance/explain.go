package balance

import (
	"fmt"
	"slices"
)

// Consideration says what a choice makes of one endpoint.
type Consideration struct {
	Endpoint *Endpoint
	// Considered: it could have been chosen.
	Considered bool
	// Chosen: it is the one. At most one is.
	Chosen bool
	// Reason says for people why it was chosen, or was not considered.
	Reason string
	// Score is what the algorithm goes by, lower is better: requests in flight
	// per weight, or latency times load in nanoseconds; 0 where endpoints
	// are not compared.
	Score float64
	// Share is the fraction of requests that the endpoint would get of all like
	// this one, were it not for hashing and load: by priority and weight.
	Share float64
	// Slot is the slot of the Maglev table, or the point on the ring, that the
	// request falls on; negative for other endpoints than the first choice.
	Slot int
}

// Explain tells what Pick would answer to r and why, for each endpoint in
// configuration order. It reserves nothing. A choice that rests on random
// numbers is explained for r.Random.
func (p *Pool) Explain(r *Request) []Consideration {
	v := p.current(r.Now)
	s := search{pool: p, view: v, hash: r.Hash, random: r.Random, now: r.Now, tried: r.Tried, dry: true}
	if s.random == 0 {
		s.random = mix(p.draws.Load() + 1)
	}
	full := p.inFlight.Load() >= v.maxTotal
	var chosen *Endpoint
	if !full {
		chosen = s.find(r.Prefer)
	}
	s.tried, s.turns = r.Tried, 0
	all := make([]Consideration, 0, len(v.all))
	for _, e := range v.all {
		c := Consideration{Endpoint: e, Chosen: e == chosen, Slot: -1}
		c.Reason = s.objection(e)
		c.Considered = c.Reason == "" && !full
		s.measure(&c)
		if full {
			c.Reason = fmt.Sprintf("the pool is at its limit of %d requests", v.maxTotal)
		}
		if c.Chosen {
			c.Considered, c.Reason = true, s.grounds(e, r, c.Reason)
		}
		all = append(all, c)
	}
	return all
}

// objection says why e may not be chosen, or nothing.
func (s *search) objection(e *Endpoint) string {
	if !e.open(s.view.block) {
		return e.Status(s.now).Reason
	}
	if s.groupOf(e) == nil {
		return fmt.Sprintf("priority %d is not needed", e.Priority())
	}
	if !e.hasRoom() {
		return fmt.Sprintf("at its limit of %d requests in flight", e.limit.Load())
	}
	if slices.Contains(s.tried, e) {
		return "tried already"
	}
	return ""
}

func (s *search) groupOf(e *Endpoint) *group {
	for _, g := range s.view.groups {
		if slices.Contains(g.members, e) {
			return g
		}
	}
	return nil
}

// measure fills in the figures that the algorithm goes by.
func (s *search) measure(c *Consideration) {
	g := s.groupOf(c.Endpoint)
	if g == nil {
		return
	}
	i := slices.Index(g.members, c.Endpoint)
	w := float64(g.table.weights[i])
	if c.Endpoint.open(s.view.block) {
		c.Share = s.loadOf(g) * w / s.openWeight(g)
	}
	switch s.view.config.Algorithm {
	case LeastRequest:
		c.Score = float64(c.Endpoint.InFlight()) * float64(g.table.total) / (w * float64(len(g.members)))
	case P2C:
		latency := c.Endpoint.latency.at(s.now, s.view.config.Decay)
		c.Score = float64(latency * g.table.load(i, c.Endpoint))
	case Maglev:
		if slot := scale(mix(s.hash), len(g.table.maglev)); int(g.table.maglev[slot]) == i {
			c.Slot = slot
		}
	case RingHash:
		if slot := g.table.ring.find(mix(s.hash)); g.table.ring.points[slot].owner() == i {
			c.Slot = slot
		}
	}
}

// loadOf is the part of the load that goes to the group, one of the view's.
func (s *search) loadOf(g *group) float64 {
	i := slices.Index(s.view.groups, g)
	from := uint64(0)
	if i > 0 {
		from = s.view.groups[i-1].upTo
	}
	return float64(min(g.upTo, 1<<32)-from) / (1 << 32)
}

func (s *search) openWeight(g *group) (sum float64) {
	for i, e := range g.members {
		if e.open(s.view.block) {
			sum += float64(g.table.weights[i])
		}
	}
	return sum
}

// grounds says why e was chosen, against the objection if there is one.
func (s *search) grounds(e *Endpoint, r *Request, objection string) string {
	switch {
	case e == r.Prefer && s.honours(e):
		return "affinity: the request prefers it"
	case objection != "":
		return "nothing better is left, although " + objection
	case s.view.panicking:
		return "too few endpoints are available, so all are used"
	}
	return s.view.config.Algorithm.grounds()
}

func (a Algorithm) grounds() string {
	switch a {
	case RoundRobin:
		return "its turn"
	case WeightedRandom:
		return "drawn at random by weight"
	case Random:
		return "drawn at random"
	case LeastRequest:
		return "fewest requests in flight per weight"
	case P2C:
		return "the better of two drawn, by latency and load"
	case IPHash:
		return "the key's endpoint"
	case Maglev:
		return "the owner of the key's slot"
	}
	return "the first on the ring within its share of the load"
}
