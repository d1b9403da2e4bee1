package balance

import (
	"errors"
	"slices"
	"time"
)

// What Pick answers if there is no endpoint to be had.
var (
	// ErrNone: no endpoint is available.
	ErrNone = errors.New("no endpoint is available")
	// ErrSaturated: there are endpoints, but all have as many requests in
	// flight as they may. The caller may Wait.
	ErrSaturated = errors.New("all available endpoints are at their limit")
)

// Request is what a choice may depend on.
type Request struct {
	// Hash is the key of the algorithms that hash; see HashBytes and HashAddr.
	Hash uint64
	// Random is a random number, new for each Pick. If it is zero the pool uses
	// a sequence of its own, at the price of a counter shared by all threads.
	Random uint64
	// Now is the time.
	Now time.Duration
	// Tried lists endpoints to be passed by if any other is available, also one
	// of a priority that would not be used otherwise.
	Tried []*Endpoint
	// Prefer, if set, is taken if it is in the pool, up and has room, also while
	// it is being drained, but not in maintenance: affinity.
	Prefer *Endpoint
	// Movable says that the request can be sent again elsewhere if it is not
	// answered. A few such requests may be sent to an endpoint to find out whether
	// it has stopped answering.
	Movable bool
}

// Pick chooses an endpoint and reserves a place on it; the caller must call
// Done. The error is ErrNone or ErrSaturated.
func (p *Pool) Pick(r *Request) (*Endpoint, error) {
	if int64(r.Now) >= p.nextChange.Load() {
		p.refresh(r.Now)
	}
	v := p.view.Load()
	if e := p.reserve(v, r); e != nil {
		return e, nil
	}
	if int64(r.Now) >= p.nextChange.Load() { // what v says has changed meanwhile
		v = p.current(r.Now)
		if e := p.reserve(v, r); e != nil {
			return e, nil
		}
	}
	if v.usable {
		return nil, ErrSaturated
	}
	return nil, ErrNone
}

// reserve picks by the view v, or returns nil.
func (p *Pool) reserve(v *view, r *Request) *Endpoint {
	if p.inFlight.Add(1) <= v.maxTotal {
		s := search{pool: p, view: v, hash: r.Hash, random: r.Random, now: r.Now, tried: r.Tried}
		if s.random == 0 {
			s.random = mix(p.draws.Add(1))
		}
		if r.Movable {
			if e := s.scouted(); e != nil {
				return e
			}
		}
		if e := s.find(r.Prefer); e != nil {
			return e
		}
	}
	p.inFlight.Add(-1)
	return nil
}

// search is one choice under way.
type search struct {
	pool   *Pool
	view   *view
	hash   uint64
	random uint64
	now    time.Duration
	tried  []*Endpoint
	dry    bool   // reserve nothing, take no turn
	turns  uint64 // taken while dry
}

func (s *search) find(prefer *Endpoint) *Endpoint {
	if prefer != nil && s.honours(prefer) && s.take(prefer) {
		return prefer
	}
	if e := s.loaded(); e != nil || len(s.tried) == 0 {
		return e
	}
	for _, g := range s.view.spare {
		if e := s.scan(g); e != nil {
			return e
		}
	}
	s.tried = nil
	return s.loaded()
}

// honours reports whether affinity to e can be kept.
func (s *search) honours(e *Endpoint) bool {
	return e.pool == s.pool && e.open(s.view.block&^gateDrain) && !slices.Contains(s.tried, e)
}

// loaded looks through the groups that take load, beginning with the one whose
// part of it the request falls into.
func (s *search) loaded() *Endpoint {
	groups := s.view.groups
	first := 0
	if len(groups) > 1 {
		x := s.random
		if s.view.config.Algorithm.Hashes() {
			x = s.hash
		}
		x = mix(x^k3) >> 32
		for x >= groups[first].upTo {
			first++
		}
	}
	for i := range groups {
		if e := s.within(groups[(first+i)%len(groups)]); e != nil {
			return e
		}
	}
	return nil
}

// attempts is how often the algorithm is asked for another endpoint before all
// are looked through.
const attempts = 8

// within chooses among the members of a group.
func (s *search) within(g *group) *Endpoint {
	for try := range uint64(attempts) {
		i := s.choose(g, try)
		if i < 0 {
			break
		}
		if e := g.members[i]; s.admits(e) && s.take(e) {
			return e
		}
	}
	return s.scan(g)
}

// choose asks the algorithm. The result is an index of g.members, or negative if
// none of them will do.
func (s *search) choose(g *group, try uint64) int {
	switch s.view.config.Algorithm {
	case RoundRobin:
		return g.table.turn(s.nextTurn())
	case WeightedRandom, Random:
		return g.table.draw(mix(s.random + try*golden))
	case LeastRequest:
		return s.leastRequest(g, try)
	case P2C:
		return s.twoChoices(g, try)
	case IPHash:
		return g.table.draw(mix(s.hash + try*golden))
	case Maglev:
		m := g.table.maglev
		return int(m[scale(mix(s.hash+try*golden), len(m))])
	default:
		return s.onRing(g)
	}
}

// nextTurn takes the next position of the rotation.
func (s *search) nextTurn() uint64 {
	if s.dry {
		s.turns++
		return s.pool.turn.Load() + s.turns - 1
	}
	return s.pool.turn.Add(1) - 1
}

// scan takes the first member that has room, from a place that depends on the
// request.
func (s *search) scan(g *group) *Endpoint {
	n := len(g.members)
	start := scale(mix(s.random), n)
	if s.view.config.Algorithm.Hashes() {
		start = scale(mix(s.hash), n)
	}
	for i := range n {
		if start+i == n {
			start = -i
		}
		if e := g.members[start+i]; s.admits(e) && s.take(e) {
			return e
		}
	}
	return nil
}

// admits reports whether e may be chosen and seems to have room.
func (s *search) admits(e *Endpoint) bool {
	return e.open(s.view.block) && e.hasRoom() && (len(s.tried) == 0 || !slices.Contains(s.tried, e))
}

func (s *search) take(e *Endpoint) bool {
	if s.dry {
		return e.hasRoom()
	}
	return e.reserve()
}
