package steer

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// Record is a name whose addresses follow the health of pools. Views are asked first, then the places, and Default takes
// the rest. It is not changed once it is in use, but for its slots' plans.
type Record struct {
	Name    string // for people
	Views   []View
	Geo     *Geo // nil: all clients are alike
	Default *Slot
}

// View leads the clients of some networks elsewhere.
type View struct {
	Networks []netip.Prefix
	Slot     *Slot
}

// Slot is one pool as one record answers from it.
type Slot struct {
	Pool  string // "" if its addresses never change
	Rules Rules  // with defaults

	plan   atomic.Pointer[Plan]
	damper Damper
	last   []string // the endpoints that were in when any was
}

// NewSlot makes a slot that answers from a pool. It has no plan until Refresh.
func NewSlot(pool string, r Rules) *Slot { return &Slot{Pool: pool, Rules: r.WithDefaults()} }

// Constant makes a slot whose addresses never change.
func Constant(r Rules, hosts []netip.Addr) *Slot {
	s := NewSlot("", r)
	s.Refresh(0, &State{Endpoints: []Endpoint{{Address: "constant", Hosts: hosts, Weight: 1}}})
	return s
}

// Plan returns what the slot answers now; nil before the first Refresh.
func (s *Slot) Plan() *Plan { return s.plan.Load() }

// Inherit takes over what another slot of the same pool knew: who was in last, and how loads were damped. It is called
// before the first Refresh.
func (s *Slot) Inherit(old *Slot) {
	if p := old.Plan(); p != nil {
		s.last = p.last
	}
	s.damper = old.damper
}

// Refresh makes a new plan of the pool's present state, and returns it with the one before, which is nil at first. They
// are the same if the answers are. Only one goroutine may call it.
func (s *Slot) Refresh(now time.Duration, st *State) (fresh, before *Plan) {
	before = s.plan.Load()
	var factors map[string]float64
	if s.Rules.Weigh != Fixed {
		factors = s.damper.Observe(now, time.Duration(s.Rules.TTL)*time.Second, s.Rules.Weigh, st.Endpoints)
	}
	fresh = NewPlan(&s.Rules, st, s.last, factors)
	s.last = fresh.last
	s.plan.Store(fresh) // the reasons may be others even if the answers are not
	if before != nil && fresh.Equal(before) {
		before = fresh
	}
	return fresh, before
}

// Slots calls f for each slot of the record.
func (r *Record) Slots(f func(*Slot)) {
	for i := range r.Views {
		f(r.Views[i].Slot)
	}
	if r.Geo != nil {
		for _, s := range r.Geo.Slots {
			f(s)
		}
	}
	if r.Default != nil {
		f(r.Default)
	}
}

// Way is by what a client was led to its slot.
type Way uint8

// The ways.
const (
	ByDefault Way = iota
	ByView
	ByCountry
	ByContinent
	ByDistance
)

func (w Way) String() string {
	return [...]string{"by default", "by its view", "by its country", "by its continent", "by distance"}[w]
}

// Selection is where a client was led.
type Selection struct {
	Record *Record
	Slot   *Slot
	Plan   *Plan // nil if the slot has none yet
	Way    Way
	Key    uint64 // of the client, for the plan
	Scope  int    // bits of the client's address that this depends on
	Place  Place  // of the client; known if places were asked for
	// Passed is how many slots would have come before, had they an endpoint in.
	Passed int
}

// Select leads a client to a slot. where may be nil: then no place is known.
func (r *Record) Select(c Client, where Locator) (s Selection) {
	s.Record, s.Slot = r, r.Default
	if len(r.Views) > 0 {
		view, scope := r.view(c)
		s.Scope = scope
		if view >= 0 {
			s.Slot, s.Way = r.Views[view].Slot, ByView
		}
	}
	if s.Way == ByDefault && r.Geo != nil {
		r.Geo.sel(c, where, r.Default, &s)
	}
	if s.Slot == nil {
		return s
	}
	s.Plan = s.Slot.Plan()
	if rules := &s.Slot.Rules; rules.Policy == Hash {
		bits := c.prefix(rules.Prefix4, rules.Prefix6)
		s.Key = c.key(bits)
		s.Scope = max(s.Scope, bits)
	}
	return s
}

// view returns the first view that has the client, or -1, and how many bits of the client's address that depends on: as
// many as it takes to be inside the networks that have it, and outside those before.
func (r *Record) view(c Client) (index, scope int) {
	for i := range r.Views {
		for _, n := range r.Views[i].Networks {
			if n.Addr().Is4() != c.Addr.Is4() {
				continue
			}
			if n.Bits() <= c.Bits && n.Contains(c.Addr) {
				return i, max(scope, n.Bits())
			}
			scope = max(scope, min(n.Bits(), common(n.Addr(), c.Addr)+1))
		}
	}
	return -1, scope
}

// common returns how many leading bits two addresses of one family share.
func common(a, b netip.Addr) int {
	x, y := a.AsSlice(), b.AsSlice()
	for i := range x {
		if d := x[i] ^ y[i]; d != 0 {
			n := 8 * i
			for d&0x80 == 0 {
				n++
				d <<= 1
			}
			return n
		}
	}
	return 8 * len(x)
}
