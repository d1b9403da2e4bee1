package balance

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// machine is a pool and what a user of it remembers.
type machine struct {
	pool    *Pool
	now     time.Duration
	held    []*Endpoint
	waiting map[*Waiter]bool
	added   int
	woken   int
}

// TestPoolKeepsItsPromises lets everything happen in any order, and checks after
// each step: places are neither lost nor invented; only endpoints are chosen that
// may be; limits hold; nobody waits who could be served.
func TestPoolKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{
			Name:           "p",
			Algorithm:      rapid.SampledFrom(Algorithms()).Draw(t, "algorithm"),
			Probed:         rapid.Bool().Draw(t, "probed"),
			SlowStart:      rapid.SampledFrom([]time.Duration{0, 5 * second}).Draw(t, "slow start"),
			PanicThreshold: rapid.SampledFrom([]float64{0, 0.5, -1}).Draw(t, "panic"),
			MaxRequests:    rapid.SampledFrom([]int{0, 0, 5}).Draw(t, "max"),
			TableSize:      1009,
			MaxPending:     4,
		}
		cfg.Endpoints = drawEndpoints(t, 1)
		p, err := New(cfg, 0)
		if err != nil {
			t.Fatal(err)
		}
		m := &machine{pool: p, waiting: map[*Waiter]bool{}, added: 100}
		t.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"pick":    m.pick,
			"done":    m.done,
			"health":  m.health,
			"admin":   m.admin,
			"weight":  m.weight,
			"add":     m.add,
			"remove":  m.remove,
			"wait":    m.wait,
			"cancel":  m.cancel,
			"advance": m.advance,
			"update": func(t *rapid.T) {
				cfg.Endpoints = drawEndpoints(t, 0)
				cfg.Algorithm = rapid.SampledFrom(Algorithms()).Draw(t, "algorithm")
				if err := p.Update(cfg, m.now); err != nil {
					t.Fatal(err)
				}
			},
		})
		m.end(t)
	})
}

func drawEndpoints(t *rapid.T, least int) (all []EndpointConfig) {
	for i := range rapid.IntRange(least, 6).Draw(t, "endpoints") {
		all = append(all, EndpointConfig{
			Address:     name(i),
			Weight:      rapid.IntRange(0, 3).Draw(t, "weight"),
			Priority:    rapid.IntRange(0, 1).Draw(t, "priority"),
			MaxRequests: rapid.IntRange(0, 3).Draw(t, "limit"),
		})
	}
	return all
}

func (m *machine) check(t *rapid.T) {
	if got := m.pool.InFlight(); got != len(m.held) {
		t.Fatalf("%d in flight, %d are held", got, len(m.held))
	}
	counts := map[*Endpoint]int{}
	for _, e := range m.held {
		counts[e]++
	}
	for _, e := range m.pool.Endpoints() {
		if e.InFlight() != counts[e] {
			t.Fatalf("%s has %d in flight, %d are held", e.Address(), e.InFlight(), counts[e])
		}
	}
	if got := m.pool.Pending(); got != len(m.waiting) {
		t.Fatalf("%d are pending, %d wait", got, len(m.waiting))
	}
	if len(m.waiting) == 0 {
		return
	}
	m.pool.Tick(m.now)
	if len(m.waiting) == 0 {
		return
	}
	if e, err := m.pool.Pick(&Request{Now: m.now}); err == nil {
		t.Fatalf("%d wait, and %s has room", len(m.waiting), e.Address())
	}
}

func (m *machine) pick(t *rapid.T) {
	r := Request{Now: m.now, Random: rapid.Uint64().Draw(t, "random"), Hash: rapid.Uint64().Draw(t, "hash")}
	all := m.pool.Endpoints()
	for _, e := range all {
		if rapid.IntRange(0, 3).Draw(t, "tried") == 0 {
			r.Tried = append(r.Tried, e)
		}
	}
	if len(all) > 0 && rapid.Bool().Draw(t, "affinity") {
		r.Prefer = rapid.SampledFrom(all).Draw(t, "prefer")
	}
	foretold := m.pool.Explain(&r)
	e, err := m.pool.Pick(&r)
	if err != nil {
		m.mayRefuse(t, err)
		return
	}
	if !slices.ContainsFunc(foretold, func(c Consideration) bool { return c.Chosen && c.Endpoint == e }) && r.Random != 0 {
		t.Fatalf("%s is picked, explained was %v", e.Address(), foretold)
	}
	s := e.Status(m.now)
	switch panicking := m.pool.Panicking(m.now); {
	case s.Removed || s.Admin == Maintenance:
		t.Fatalf("%s is picked although %s", e.Address(), s.Reason)
	case !s.Available && !panicking && !(e == r.Prefer && s.Admin == Drain && s.Health != Down):
		t.Fatalf("%s is picked although %s", e.Address(), s.Reason)
	case s.MaxRequests > 0 && s.InFlight > s.MaxRequests:
		t.Fatalf("%s has %d of %d in flight", e.Address(), s.InFlight, s.MaxRequests)
	}
	if slices.Contains(r.Tried, e) {
		for _, o := range all {
			if o.open(gateAll) && o.hasRoom() && !slices.Contains(r.Tried, o) {
				t.Fatalf("%s is tried again while %s has room", e.Address(), o.Address())
			}
		}
	}
	m.held = append(m.held, e)
}

// mayRefuse checks that a refusal is right.
func (m *machine) mayRefuse(t *rapid.T, err error) {
	v := m.pool.current(m.now)
	if m.pool.InFlight() >= int(v.maxTotal) {
		if v.usable != (err == ErrSaturated) {
			t.Fatalf("the pool is at its limit: %v", err)
		}
		return
	}
	open := 0
	for _, g := range v.groups {
		for _, e := range g.members {
			if e.open(v.block) {
				open++
				if e.hasRoom() {
					t.Fatalf("%v, but %s has room", err, e.Address())
				}
			}
		}
	}
	if (open == 0) != (err == ErrNone) {
		t.Fatalf("%v with %d endpoints at their limits", err, open)
	}
}

func (m *machine) done(t *rapid.T) {
	if len(m.held) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.held)-1).Draw(t, "which")
	e := m.held[i]
	m.held = slices.Delete(m.held, i, i+1)
	m.pool.Done(e, Outcome{
		Result:  Result(rapid.IntRange(0, int(Canceled)).Draw(t, "result")),
		Latency: time.Duration(rapid.IntRange(0, 1e9).Draw(t, "latency")),
	}, m.now)
}

func (m *machine) some(t *rapid.T) *Endpoint {
	all := m.pool.Endpoints()
	if len(all) == 0 {
		return nil
	}
	return rapid.SampledFrom(all).Draw(t, "endpoint")
}

func (m *machine) health(t *rapid.T) {
	if e := m.some(t); e != nil {
		m.pool.SetHealth(e, Health(rapid.IntRange(0, 2).Draw(t, "health")), "test", m.now)
	}
}

func (m *machine) admin(t *rapid.T) {
	if e := m.some(t); e != nil {
		m.pool.SetAdmin(e, Admin(rapid.IntRange(0, 2).Draw(t, "admin")), m.now)
	}
}

func (m *machine) weight(t *rapid.T) {
	if e := m.some(t); e != nil {
		if err := m.pool.SetWeight(e, rapid.IntRange(1, 50).Draw(t, "weight"), m.now); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *machine) add(t *rapid.T) {
	m.added++
	if _, err := m.pool.Add(EndpointConfig{Address: name(m.added), MaxRequests: rapid.IntRange(0, 2).Draw(t, "limit")}, m.now); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) remove(t *rapid.T) {
	if e := m.some(t); e != nil {
		if err := m.pool.Remove(e.Address(), m.now); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *machine) wait(t *rapid.T) {
	w := &Waiter{}
	w.Wake = func(e *Endpoint) {
		if !m.waiting[w] {
			panic(fmt.Sprint("woken without waiting, on ", e.Address()))
		}
		delete(m.waiting, w)
		m.woken++
		m.held = append(m.held, e)
	}
	m.waiting[w] = true
	if err := m.pool.Wait(w, m.now); err != nil {
		delete(m.waiting, w)
		if err != ErrQueueFull || len(m.waiting) < 4 {
			t.Fatalf("%v with %d waiting", err, len(m.waiting))
		}
	}
}

func (m *machine) cancel(t *rapid.T) {
	for w := range m.waiting {
		if !m.pool.Cancel(w) {
			t.Fatal("a waiter can't be cancelled")
		}
		delete(m.waiting, w)
		return
	}
}

func (m *machine) advance(t *rapid.T) {
	m.now += time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * ms
}

// end gives everything back.
func (m *machine) end(t *rapid.T) {
	for len(m.waiting) > 0 {
		m.cancel(t)
	}
	for _, e := range m.held {
		m.pool.Done(e, Outcome{}, m.now)
	}
	m.held = nil
	m.check(t)
}
