package balance

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/fault/outlier"
)

// TestConcurrentUse: requests of every kind on many threads, while endpoints
// fail, drain, come and go. No place may be lost, and while at least one endpoint
// is left alone, no request may be refused.
func TestConcurrentUse(t *testing.T) {
	for _, a := range Algorithms() {
		t.Run(string(a), func(t *testing.T) {
			t.Parallel()
			cfg := func(n int) Config {
				c := Config{Name: "busy", Algorithm: a, TableSize: 1009, SlowStart: 100 * ms, MaxRequests: 1000}
				for i := range n {
					c.Endpoints = append(c.Endpoints, EndpointConfig{Address: name(i), Weight: 1 + i%3})
				}
				return c
			}
			p, err := New(cfg(6), 0)
			if err != nil {
				t.Fatal(err)
			}
			var clock atomic.Int64
			var stop atomic.Bool
			var workers, changers sync.WaitGroup
			for i := range 4 {
				workers.Go(func() { work(t, p, &clock, rand.New(rand.NewPCG(uint64(i), 1))) })
			}
			changers.Go(func() {
				rnd := rand.New(rand.NewPCG(9, 9))
				for !stop.Load() {
					change(t, p, cfg, time.Duration(clock.Load()), rnd)
				}
			})
			workers.Wait()
			stop.Store(true)
			changers.Wait()
			if p.InFlight() != 0 || p.Pending() != 0 {
				t.Errorf("in flight %d, pending %d", p.InFlight(), p.Pending())
			}
			for _, e := range p.Endpoints() {
				if e.InFlight() != 0 {
					t.Errorf("%s has %d in flight", e.Address(), e.InFlight())
				}
			}
		})
	}
}

func work(t *testing.T, p *Pool, clock *atomic.Int64, rnd *rand.Rand) {
	for range 4000 {
		now := time.Duration(clock.Add(int64(50 * time.Microsecond)))
		r := Request{Hash: rnd.Uint64(), Random: rnd.Uint64(), Now: now}
		e, err := p.Pick(&r)
		if err != nil {
			t.Errorf("Pick: %v", err)
			return
		}
		e.Sent(now)
		o := Outcome{Latency: time.Duration(rnd.IntN(int(10 * ms)))}
		if e.Address() != "a" && rnd.IntN(10) == 0 {
			o = Outcome{Result: Result(1 + rnd.IntN(6))}
			e.Abandoned(now)
		} else {
			e.Answered(now, o.Latency)
		}
		if e.Address() != "a" {
			p.CheckStall(e, now-300*ms, now)
		}
		p.Done(e, o, now)
	}
}

// change does something to an endpoint other than the first, which keeps its
// place in every configuration.
func change(t *testing.T, p *Pool, cfg func(int) Config, now time.Duration, rnd *rand.Rand) {
	all := p.Endpoints()
	e := all[1+rnd.IntN(len(all)-1)]
	switch rnd.IntN(6) {
	case 0:
		p.SetHealth(e, Health(rnd.IntN(3)), "test", now)
	case 1:
		p.SetAdmin(e, Admin(rnd.IntN(3)), now)
	case 2:
		if err := p.SetWeight(e, 1+rnd.IntN(9), now); err != nil {
			t.Error(err)
		}
	case 3:
		if err := p.Update(cfg(3+rnd.IntN(5)), now); err != nil {
			t.Error(err)
		}
	case 4:
		p.Explain(&Request{Hash: rnd.Uint64(), Random: rnd.Uint64(), Now: now})
	case 5:
		e.Status(now)
	}
}

func TestRequestsAllocateNothing(t *testing.T) {
	for _, a := range Algorithms() {
		for _, n := range []int{3, 100} {
			p := newPool(t, n, func(c *Config) {
				c.Algorithm = a
				for i := range c.Endpoints {
					c.Endpoints[i].Weight = 1 + i%3
				}
			})
			tried := p.Endpoints()[:1]
			x := uint64(0)
			if got := testing.AllocsPerRun(100, func() {
				x++
				e, err := p.Pick(&Request{Hash: mix(x), Random: mix(x + 1), Tried: tried, Now: second})
				if err != nil {
					t.Fatal(err)
				}
				e.Sent(second)
				e.Answered(second, ms)
				p.CheckStall(e, second, second)
				p.Done(e, Outcome{Latency: ms}, second)
			}); got != 0 {
				t.Errorf("%s with %d endpoints: %v allocations", a, n, got)
			}
		}
	}
}

// TestPickWaitsForAViewBeforeItRefuses: another goroutine is building the view in
// which there is an endpoint.
func TestPickWaitsForAViewBeforeItRefuses(t *testing.T) {
	p := newPool(t, 2, nil)
	a := p.Endpoints()[0]
	p.SetAdmin(p.Endpoints()[1], Maintenance, 0)
	p.SetAdmin(a, Maintenance, 0)
	p.Tick(0)

	p.mu.Lock() // as SetAdmin does
	a.setGate(gateMaintenance, false)
	p.nextChange.Store(stale)
	got := make(chan *Endpoint)
	go func() {
		e, err := p.Pick(&Request{})
		if err != nil {
			t.Error(err)
		}
		got <- e
	}()
	for p.draws.Load() == 0 { // until it has looked in vain
		runtime.Gosched()
	}
	p.mu.Unlock()
	if e := <-got; e != a {
		t.Error("refused")
	}
}

// TestLatecomersChangeNothing: between a decision and the lock another may have
// decided.
func TestLatecomersChangeNothing(t *testing.T) {
	p := newPool(t, 2, nil)
	e := p.Endpoints()[0]
	p.Done(reserveOn(t, p, e), Outcome{Result: ConnectFailed}, 0)
	p.trust(e, 0)
	if e.open(gateEjected) {
		t.Error("an ejected endpoint is trusted")
	}
	if !p.eject(e, outlier.Suspicion{Cause: outlier.Connect}, second) || e.record.State().Until != second {
		t.Error("ejected twice")
	}
	reserveOn(t, p, p.Endpoints()[1])
	if p.handOver(p.Endpoints()[1]) {
		t.Error("a place is handed to nobody")
	}
	if err := p.Remove("b", 0); err != nil {
		t.Fatal(err)
	}
	if e.Pool() != p {
		t.Error("the pool is another")
	}
}

func TestNumberOfEndpointsIsLimited(t *testing.T) {
	cfg := Config{Algorithm: RoundRobin}
	for i := range MaxEndpoints {
		cfg.Endpoints = append(cfg.Endpoints, EndpointConfig{Address: name(i)})
	}
	p := newPool(t, 0, nil)
	x, err := p.Add(EndpointConfig{Address: "x"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Update(cfg, 0); err != nil { // which names x too
		t.Fatal(err)
	}
	if p.ByAddress("x") != x {
		t.Error("x is another")
	}
	if _, err := p.Add(EndpointConfig{Address: "one too many"}, 0); err == nil {
		t.Error("one too many is added")
	}
	q := newPool(t, 0, nil)
	if _, err := q.Add(EndpointConfig{Address: "one too many"}, 0); err != nil {
		t.Fatal(err)
	}
	if err := q.Update(cfg, 0); err == nil || len(q.Endpoints()) != 1 {
		t.Errorf("one too many by an update: %v", err)
	}
}
