package balance

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// full returns a pool of n endpoints with room for one request each, taken.
func full(t testing.TB, n int, edit func(*Config)) (p *Pool, held []*Endpoint) {
	t.Helper()
	p = newPool(t, n, func(c *Config) {
		for i := range c.Endpoints {
			c.Endpoints[i].MaxRequests = 1
		}
		if edit != nil {
			edit(c)
		}
	})
	for range n {
		e, err := p.Pick(&Request{})
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, e)
	}
	if _, err := p.Pick(&Request{}); err != ErrSaturated {
		t.Fatalf("the pool is not full: %v", err)
	}
	return p, held
}

// wait queues a waiter that appends its name to log.
func wait(t testing.TB, p *Pool, name string, log *[]string) *Waiter {
	t.Helper()
	w := &Waiter{Wake: func(e *Endpoint) { *log = append(*log, name+" on "+e.Address()) }}
	if err := p.Wait(w, 0); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestFreedPlaceGoesToTheFirstInLine(t *testing.T) {
	p, held := full(t, 2, nil)
	var log []string
	wait(t, p, "first", &log)
	wait(t, p, "second", &log)
	wait(t, p, "third", &log)
	p.Done(held[1], Outcome{}, 0)
	p.Done(held[0], Outcome{}, 0)
	if got := fmt.Sprint(log); got != "[first on b second on a]" {
		t.Errorf("woken: %s", got)
	}
	if p.InFlight() != 2 || p.Pending() != 1 {
		t.Errorf("in flight %d, pending %d", p.InFlight(), p.Pending())
	}
	if _, err := p.Pick(&Request{}); err != ErrSaturated {
		t.Error("a newcomer takes a place before those who wait")
	}
}

func TestCancelledWaiterIsPassedBy(t *testing.T) {
	p, held := full(t, 1, nil)
	var log []string
	a, b, c, d := wait(t, p, "a", &log), wait(t, p, "b", &log), wait(t, p, "c", &log), wait(t, p, "d", &log)
	for _, w := range []*Waiter{b, a, d} { // middle, first, last
		if !p.Cancel(w) {
			t.Error("Cancel of a waiting one reports false")
		}
		if p.Cancel(w) {
			t.Error("Cancel reports true twice")
		}
	}
	p.Done(held[0], Outcome{}, 0)
	if got := fmt.Sprint(log); got != "[c on a]" {
		t.Errorf("woken: %s", got)
	}
	if p.Cancel(c) {
		t.Error("Cancel of a woken one reports true")
	}
	p.Done(held[0], Outcome{}, 0)
	if p.InFlight() != 0 || p.Pending() != 0 {
		t.Errorf("in flight %d, pending %d", p.InFlight(), p.Pending())
	}
	if err := p.Wait(a, 0); err != nil { // used again, and there is room
		t.Fatal(err)
	}
	if got := fmt.Sprint(log); got != "[c on a a on a]" {
		t.Errorf("woken: %s", got)
	}
}

func TestQueueIsBounded(t *testing.T) {
	p, _ := full(t, 1, func(c *Config) { c.MaxPending = 2 })
	var log []string
	wait(t, p, "a", &log)
	wait(t, p, "b", &log)
	if err := p.Wait(&Waiter{}, 0); err != ErrQueueFull {
		t.Errorf("third of two: %v", err)
	}
	q, _ := full(t, 1, func(c *Config) { c.MaxPending = -1 })
	if err := q.Wait(&Waiter{}, 0); err != ErrQueueFull {
		t.Errorf("without a queue: %v", err)
	}
}

func TestWaitingTwicePanics(t *testing.T) {
	p, _ := full(t, 1, nil)
	var log []string
	w := wait(t, p, "a", &log)
	defer func() {
		if recover() == nil {
			t.Error("a waiter waits twice")
		}
	}()
	_ = p.Wait(w, 0)
}

// TestEveryWayBackWakes: whatever makes room, those who wait hear of it.
func TestEveryWayBackWakes(t *testing.T) {
	for name, c := range map[string]struct {
		before, after func(p *Pool, e []*Endpoint)
	}{
		"a probe succeeds": {
			func(p *Pool, e []*Endpoint) { p.SetHealth(e[1], Down, "", 0) },
			func(p *Pool, e []*Endpoint) { p.SetHealth(e[1], Up, "", 0) },
		},
		"maintenance ends": {
			func(p *Pool, e []*Endpoint) { p.SetAdmin(e[1], Maintenance, 0) },
			func(p *Pool, e []*Endpoint) { p.SetAdmin(e[1], Ready, 0) },
		},
		"an endpoint is added": {
			func(p *Pool, e []*Endpoint) { _ = p.Remove("b", 0) },
			func(p *Pool, e []*Endpoint) { _, _ = p.Add(EndpointConfig{Address: "c"}, 0) },
		},
		"a limit is raised": {
			func(p *Pool, e []*Endpoint) { _ = p.Remove("b", 0) },
			func(p *Pool, e []*Endpoint) {
				_ = p.Update(Config{Endpoints: []EndpointConfig{{Address: "a", MaxRequests: 2}}}, 0)
			},
		},
		"an ejection ends": {
			func(p *Pool, e []*Endpoint) {
				if got, err := p.Pick(&Request{Prefer: e[1]}); err == nil && got == e[1] {
					p.Done(e[1], Outcome{Result: ConnectFailed}, 0)
				}
			},
			func(p *Pool, e []*Endpoint) { p.Tick(second) },
		},
		"a probation is passed": {
			func(p *Pool, e []*Endpoint) {
				_ = p.Update(Config{Endpoints: []EndpointConfig{{Address: "a", MaxRequests: 1}, {Address: "b"}}}, 0)
				if got, err := p.Pick(&Request{Prefer: e[1]}); err == nil && got == e[1] {
					p.Done(e[1], Outcome{Result: ConnectFailed}, 0)
				}
				p.Tick(second)
				for range 2 {
					if _, err := p.Pick(&Request{Prefer: e[1], Now: second}); err != nil {
						panic(err)
					}
					p.Done(e[1], Outcome{}, second)
				}
				if _, err := p.Pick(&Request{Prefer: e[1], Now: second}); err != nil {
					panic(err)
				}
			},
			func(p *Pool, e []*Endpoint) { p.Done(e[1], Outcome{}, second) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, 2, func(c *Config) {
				c.Endpoints[0].MaxRequests = 1
				c.Endpoints[1].MaxRequests = 1
			})
			e := p.Endpoints()
			reserveOn(t, p, e[0])
			c.before(p, e)
			var log []string
			wait(t, p, "w", &log)
			if len(log) != 0 {
				t.Fatalf("woken too early: %v", log)
			}
			c.after(p, e)
			if len(log) != 1 {
				t.Errorf("woken: %v", log)
			}
		})
	}
}

// TestPlaceOnAnEndpointThatIsOutIsNotHandedOver: it is given back, and the one in
// line waits on.
func TestPlaceOnAnEndpointThatIsOutIsNotHandedOver(t *testing.T) {
	p, held := full(t, 2, nil)
	var log []string
	wait(t, p, "w", &log)
	p.SetHealth(held[0], Down, "", 0)
	p.Done(held[0], Outcome{}, 0)
	if len(log) != 0 {
		t.Fatalf("woken: %v", log)
	}
	p.Done(held[1], Outcome{}, 0)
	if got := fmt.Sprint(log); got != "[w on b]" {
		t.Errorf("woken: %s", got)
	}
}

// TestPoolLimitHandsOver: the place in the pool counts, not the endpoint.
func TestPoolLimitHandsOver(t *testing.T) {
	p := newPool(t, 2, func(c *Config) { c.MaxRequests = 1 })
	e, _ := p.Pick(&Request{})
	var log []string
	wait(t, p, "w", &log)
	p.Done(e, Outcome{}, 0)
	if len(log) != 1 || p.InFlight() != 1 {
		t.Errorf("woken: %v, in flight %d", log, p.InFlight())
	}
}

// TestNoWakeIsLost: many threads take, wait, cancel and give back; each waiter is
// woken or cancelled exactly once, and no place is lost.
func TestNoWakeIsLost(t *testing.T) {
	for _, a := range []Algorithm{RoundRobin, LeastRequest, Maglev} {
		p := newPool(t, 3, func(c *Config) {
			c.Algorithm = a
			for i := range c.Endpoints {
				c.Endpoints[i].MaxRequests = 1
			}
		})
		var woken, cancelled, direct atomic.Int64
		var wg sync.WaitGroup
		const threads, each = 8, 3000
		for i := range threads {
			wg.Go(func() {
				got := make(chan *Endpoint, 1)
				w := &Waiter{Wake: func(e *Endpoint) { got <- e }}
				for k := range each {
					e, err := p.Pick(&Request{Hash: uint64(k), Now: second})
					switch {
					case err == nil:
						direct.Add(1)
					case p.Wait(w, second) != nil:
						t.Error("queue full")
						return
					case (i+k)%3 == 0 && p.Cancel(w):
						cancelled.Add(1)
						continue
					default:
						e = <-got
						woken.Add(1)
					}
					p.Done(e, Outcome{Latency: time.Microsecond}, second)
				}
			})
		}
		wg.Wait()
		if n := direct.Load() + woken.Load() + cancelled.Load(); n != threads*each {
			t.Errorf("%s: %d of %d requests ended", a, n, threads*each)
		}
		if p.InFlight() != 0 || p.Pending() != 0 {
			t.Errorf("%s: in flight %d, pending %d", a, p.InFlight(), p.Pending())
		}
		if woken.Load() == 0 {
			t.Logf("%s: nobody had to wait", a)
		}
	}
}

func BenchmarkWaitCancel(b *testing.B) {
	p, _ := full(b, 3, nil)
	w := &Waiter{}
	b.ReportAllocs()
	for b.Loop() {
		if p.Wait(w, 0) != nil || !p.Cancel(w) {
			b.Fatal("not queued")
		}
	}
}
