package balance

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/fault/outlier"
)

const second = time.Second

// reached lists who gets requests, in alphabetical order.
func reached(t *testing.T, p *Pool, now time.Duration) string {
	t.Helper()
	got := map[string]bool{}
	for i := range 300 {
		got[pick(t, p, Request{Random: mix(uint64(i) + 1), Hash: mix(uint64(i)), Now: now}).Address()] = true
	}
	s := ""
	for i := range 26 {
		if got[name(i)] {
			s += name(i)
		}
	}
	return s
}

func TestOnlyTheAvailableAreChosen(t *testing.T) {
	for _, a := range Algorithms() {
		t.Run(string(a), func(t *testing.T) {
			p := newPool(t, 5, func(c *Config) { c.Algorithm = a })
			e := p.Endpoints()
			if got := reached(t, p, 0); got != "abcde" {
				t.Fatalf("at first %s are reached", got)
			}
			p.SetHealth(e[0], Down, "refused", 0)
			p.SetAdmin(e[1], Drain, 0)
			p.SetAdmin(e[2], Maintenance, 0)
			if got := reached(t, p, 0); got != "de" {
				t.Errorf("%s are reached, want de", got)
			}
			if got := p.Available(0); got != 2 {
				t.Errorf("available: %d", got)
			}
			p.SetHealth(e[0], Up, "200 OK", 0)
			p.SetAdmin(e[1], Ready, 0)
			p.SetAdmin(e[2], Ready, 0)
			if got := reached(t, p, 0); got != "abcde" {
				t.Errorf("at last %s are reached", got)
			}
		})
	}
}

func TestAffinityIsKeptWhileDraining(t *testing.T) {
	p := newPool(t, 3, nil)
	e := p.Endpoints()[1]
	prefer := Request{Prefer: e}
	p.SetAdmin(e, Drain, 0)
	for range 5 {
		if got := pick(t, p, prefer); got != e {
			t.Fatalf("%s is chosen over the preferred one, which is draining", got.Address())
		}
	}
	p.SetAdmin(e, Maintenance, 0)
	if got := pick(t, p, prefer); got == e {
		t.Error("affinity reaches into maintenance")
	}
	p.SetAdmin(e, Ready, 0)
	p.SetHealth(e, Down, "", 0)
	if got := pick(t, p, prefer); got == e {
		t.Error("affinity reaches one that is down")
	}
	p.SetHealth(e, Up, "", 0)
	if got := pick(t, p, Request{Prefer: e, Tried: []*Endpoint{e}}); got == e {
		t.Error("affinity reaches one that was tried")
	}
	other := newPool(t, 1, nil).Endpoints()[0]
	if got := pick(t, p, Request{Prefer: other}); got == other {
		t.Error("affinity reaches into another pool")
	}
}

func TestNobodyLeft(t *testing.T) {
	p := newPool(t, 2, nil)
	for _, e := range p.Endpoints() {
		p.SetAdmin(e, Drain, 0)
	}
	if _, err := p.Pick(&Request{}); err != ErrNone {
		t.Errorf("all are draining: %v", err)
	}
	if p.Panicking(0) {
		t.Error("an order is taken for a fault")
	}
	empty := newPool(t, 0, nil)
	if _, err := empty.Pick(&Request{Prefer: p.Endpoints()[0]}); err != ErrNone {
		t.Errorf("empty pool: %v", err)
	}
	if got := empty.Explain(&Request{}); len(got) != 0 {
		t.Errorf("empty pool is explained: %v", got)
	}
}

func TestAllDownIsPanicByDefault(t *testing.T) {
	for _, a := range Algorithms() {
		p := newPool(t, 4, func(c *Config) { c.Algorithm = a })
		e := p.Endpoints()
		for _, e := range e[:3] {
			p.SetHealth(e, Down, "", 0)
		}
		p.SetAdmin(e[3], Maintenance, 0)
		if got := reached(t, p, 0); got != "abc" || !p.Panicking(0) {
			t.Errorf("%s: all down: %s are reached, panicking is %v", a, got, p.Panicking(0))
		}
		p.SetHealth(e[1], Up, "", 0)
		if got := reached(t, p, 0); got != "b" || p.Panicking(0) {
			t.Errorf("%s: one up: %s are reached, panicking is %v", a, got, p.Panicking(0))
		}
	}
}

func TestPanicThreshold(t *testing.T) {
	p := newPool(t, 4, func(c *Config) { c.PanicThreshold = 0.5 })
	e := p.Endpoints()
	p.SetHealth(e[0], Down, "", 0)
	p.SetHealth(e[1], Down, "", 0)
	if got := reached(t, p, 0); got != "cd" {
		t.Errorf("at the threshold %s are reached", got)
	}
	p.SetHealth(e[2], Down, "", 0)
	if got := reached(t, p, 0); got != "abcd" {
		t.Errorf("below the threshold %s are reached", got)
	}
	p.SetAdmin(e[0], Maintenance, 0) // does not count any more: 1 of 3 ready
	p.SetAdmin(e[1], Maintenance, 0) // 1 of 2
	if got := reached(t, p, 0); got != "d" {
		t.Errorf("with the others in maintenance %s are reached", got)
	}

	never := newPool(t, 2, func(c *Config) { c.PanicThreshold = -1 })
	for _, e := range never.Endpoints() {
		never.SetHealth(e, Down, "", 0)
	}
	if _, err := never.Pick(&Request{}); err != ErrNone {
		t.Errorf("without panic: %v", err)
	}
}

func TestJoiningAProbedPoolWaitsForAVerdict(t *testing.T) {
	p := newPool(t, 2, func(c *Config) { c.Probed = true })
	if got := reached(t, p, 0); got != "ab" {
		t.Errorf("before the first probe %s are reached", got)
	}
	c, err := p.Add(EndpointConfig{Address: "c"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := reached(t, p, 0); got != "ab" {
		t.Errorf("with one that was not probed yet %s are reached", got)
	}
	if got := c.Status(0); got.Available || got.Reason != "waiting for its first probe" {
		t.Errorf("status is %+v", got)
	}
	for _, e := range p.Endpoints()[:2] {
		p.SetHealth(e, Down, "", 0)
	}
	if got := reached(t, p, 0); got != "abc" {
		t.Errorf("with all others down %s are reached", got)
	}
	p.SetHealth(c, Up, "", 0)
	if got := reached(t, p, 0); got != "c" {
		t.Errorf("after its verdict %s are reached", got)
	}
	d, _ := p.Add(EndpointConfig{Address: "d"}, 0)
	p.SetHealth(d, HealthUnknown, "probing has ended", 0)
	if got := reached(t, p, 0); got != "cd" {
		t.Errorf("without probes %s are reached", got)
	}
}

// TestPriorityOverflow: Envoy's table for two priorities, with an overprovision
// of 1.4 ("Priority levels" in its documentation).
func TestPriorityOverflow(t *testing.T) {
	for _, c := range []struct {
		up0, up1 int // of 100 each
		p0       float64
	}{{100, 100, 1}, {72, 72, 1}, {71, 71, 0.994}, {50, 50, 0.7}, {25, 100, 0.35}, {25, 25, 0.5}, {0, 100, 0}, {1, 0, 1}, {5, 15, 0.25}} {
		for _, a := range []Algorithm{WeightedRandom, Maglev} {
			p := newPool(t, 200, func(cfg *Config) {
				cfg.Algorithm = a
				for i := range 100 {
					cfg.Endpoints[100+i].Priority = 1
				}
			})
			for i, e := range p.Endpoints() {
				if i < 100 && i >= c.up0 || i >= 100+c.up1 {
					p.SetHealth(e, Down, "", 0)
				}
			}
			counts := count(t, p, 20_000, rand.New(rand.NewPCG(1, 1)))
			got := 0
			for _, n := range counts[:100] {
				got += n
			}
			if share := float64(got) / 20_000; share < c.p0-0.015 || share > c.p0+0.015 {
				t.Errorf("%s, %d and %d %% up: priority 0 gets %.3f, want %.3f", a, c.up0, c.up1, share, c.p0)
			}
		}
	}
}

func TestRetryMayReachASparePriority(t *testing.T) {
	p := newPool(t, 2, func(c *Config) { c.Endpoints[1].Priority = 7 })
	a, b := p.Endpoints()[0], p.Endpoints()[1]
	if got := pick(t, p, Request{Tried: []*Endpoint{a}}); got != b {
		t.Errorf("%s is tried again while b is idle", got.Address())
	}
	if got := pick(t, p, Request{Tried: []*Endpoint{a, b}}); got != a {
		t.Errorf("with all tried, %s is chosen", got.Address())
	}
}

func TestTriedArePassedBy(t *testing.T) {
	for _, a := range Algorithms() {
		p := newPool(t, 3, func(c *Config) { c.Algorithm = a })
		e := p.Endpoints()
		for i := range uint64(200) {
			r := Request{Hash: mix(i), Random: mix(i + 1), Tried: []*Endpoint{e[0], e[2]}}
			if got := pick(t, p, r); got != e[1] {
				t.Fatalf("%s: %s was tried", a, got.Address())
			}
		}
	}
}

func TestSlowStartRampsTheWeight(t *testing.T) {
	for _, a := range []Algorithm{RoundRobin, WeightedRandom, Random, LeastRequest, P2C} {
		t.Run(string(a), func(t *testing.T) {
			p := newPool(t, 2, func(c *Config) {
				c.Algorithm = a
				c.SlowStart = 10 * second
			})
			e := p.Endpoints()[1]
			p.SetHealth(e, Down, "", 0)
			p.SetHealth(e, Up, "", 100*second)
			last := -1.0
			for _, at := range []time.Duration{0, 5 * second, 9500 * time.Millisecond, 10 * second} {
				n := 0
				for i := range uint64(4000) {
					if pick(t, p, Request{Random: mix(i + 1), Now: 100*second + at}) == e {
						n++
					}
				}
				share := float64(n) / 4000
				factor := max(0.1, float64(at/second)/10)
				if want := factor / (1 + factor); a != P2C && (share < want-0.04 || share > want+0.04) {
					t.Errorf("after %v it gets %.2f of the requests, want %.2f", at, share, want)
				}
				if share < last-0.04 {
					t.Errorf("after %v its share falls from %.2f to %.2f", at, last, share)
				}
				last = share
				if got := e.Status(100*second + at).RampTenths; got != int(factor*10+0.5) {
					t.Errorf("after %v the status tells %d tenths", at, got)
				}
			}
		})
	}
}

func TestSlowStartBegins(t *testing.T) {
	ramp := func(e *Endpoint) int { return e.Status(second).RampTenths }
	p := newPool(t, 3, func(c *Config) { c.SlowStart = 10 * second })
	e := p.Endpoints()[0]
	if ramp(e) != 10 {
		t.Error("a new pool starts slowly")
	}
	p.SetAdmin(e, Drain, second)
	p.SetAdmin(e, Ready, second)
	if ramp(e) != 10 {
		t.Error("one that was only drained starts slowly")
	}
	p.SetAdmin(e, Maintenance, second)
	p.SetAdmin(e, Ready, second)
	if ramp(e) != 1 {
		t.Error("one back from maintenance does not start slowly")
	}
	added, _ := p.Add(EndpointConfig{Address: "x"}, second)
	if ramp(added) != 1 {
		t.Error("one that joins does not start slowly")
	}
	if got := added.Status(second).Reason; got != "slow start at 10 % of its weight" {
		t.Errorf("reason is %q", got)
	}
	if err := p.Update(Config{Endpoints: []EndpointConfig{{Address: "x"}}}, second); err != nil {
		t.Fatal(err)
	}
	if ramp(added) != 10 {
		t.Error("slow start goes on although it was turned off")
	}
}

func TestUpdateKeepsIdentityAndState(t *testing.T) {
	p := newPool(t, 4, func(c *Config) { c.Name = "shop" })
	e := p.Endpoints()
	held, err := p.Pick(&Request{Prefer: e[0]})
	if err != nil || held != e[0] {
		t.Fatal(err)
	}
	p.SetHealth(e[0], Down, "refused", second)
	p.SetAdmin(e[1], Drain, second)
	p.Done(reserveOn(t, p, e[2]), Outcome{Result: ConnectFailed}, second)
	if got := e[2].Status(second); got.Outlier.Standing != outlier.Ejected {
		t.Fatalf("c is not ejected: %+v", got)
	}
	if err := p.SetWeight(e[3], 9, second); err != nil {
		t.Fatal(err)
	}
	extra, err := p.Add(EndpointConfig{Address: "x"}, second)
	if err != nil {
		t.Fatal(err)
	}

	err = p.Update(Config{Name: "store", Algorithm: Maglev, Endpoints: []EndpointConfig{
		{Address: "d"}, {Address: "c"}, {Address: "a", Weight: 5, Priority: 1, MaxRequests: 7}, {Address: "new"},
	}}, 1500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if got := addresses(p); got != "d c a new x" {
		t.Errorf("endpoints are %s", got)
	}
	now := p.Endpoints()
	if now[0] != e[3] || now[1] != e[2] || now[2] != e[0] || now[4] != extra {
		t.Error("identities are lost")
	}
	if s := e[0].Status(1500 * time.Millisecond); s.Health != Down || s.HealthReason != "refused" || s.InFlight != 1 ||
		s.Weight != 5 || s.Priority != 1 || s.MaxRequests != 7 {
		t.Errorf("a: %+v", s)
	}
	if s := e[2].Status(1500 * time.Millisecond); s.Outlier.Standing != outlier.Ejected {
		t.Errorf("c: %+v", s)
	}
	if e[3].Weight() != 9 {
		t.Errorf("the weight set at run time is gone: %d", e[3].Weight())
	}
	if s := e[1].Status(second); !s.Removed || s.Reason != "removed from the pool; draining for 0s: only its sessions" {
		t.Errorf("b: %+v", s)
	}
	if p.Name() != "store" || p.Algorithm() != Maglev {
		t.Errorf("pool is %s by %s", p.Name(), p.Algorithm())
	}
	p.Done(held, Outcome{}, 2*second)
	if e[0].InFlight() != 0 || p.InFlight() != 0 {
		t.Errorf("in flight: %d of %d", e[0].InFlight(), p.InFlight())
	}
	// The file names x and another weight for d.
	if err := p.Update(Config{Endpoints: []EndpointConfig{{Address: "d", Weight: 2}, {Address: "x"}}}, 2*second); err != nil {
		t.Fatal(err)
	}
	if e[3].Weight() != 2 || extra.Status(2*second).RunTime {
		t.Errorf("d weighs %d; x: %+v", e[3].Weight(), extra.Status(2*second))
	}
	if err := p.Update(Config{Endpoints: []EndpointConfig{{Address: "d"}}}, 2*second); err != nil || addresses(p) != "d" {
		t.Errorf("%v; endpoints are %s", err, addresses(p))
	}
}

func addresses(p *Pool) string {
	var all []string
	for _, e := range p.Endpoints() {
		all = append(all, e.Address())
	}
	return strings.Join(all, " ")
}

// reserveOn picks e.
func reserveOn(t testing.TB, p *Pool, e *Endpoint) *Endpoint {
	t.Helper()
	got, err := p.Pick(&Request{Prefer: e})
	if err != nil || got != e {
		t.Fatalf("Pick with a preference for %s: %v", e.Address(), err)
	}
	return got
}

func TestBadUpdateChangesNothing(t *testing.T) {
	p := newPool(t, 2, nil)
	before := p.view.Load()
	err := p.Update(Config{Name: "test", Algorithm: "fastest", Endpoints: []EndpointConfig{{Address: "z"}}}, second)
	if err == nil || !strings.Contains(err.Error(), `algorithm "fastest" is not known`) {
		t.Errorf("error is %v", err)
	}
	if p.current(second) != before || addresses(p) != "a b" {
		t.Error("the pool has changed")
	}
}

func TestRunTimeChangesAreChecked(t *testing.T) {
	p := newPool(t, 1, nil)
	if _, err := p.Add(EndpointConfig{Address: "a"}, 0); err == nil || err.Error() != "add endpoint a: pool test has it already" {
		t.Error(err)
	}
	if _, err := p.Add(EndpointConfig{Address: ""}, 0); err == nil {
		t.Error("an endpoint without an address is added")
	}
	if err := p.Remove("b", 0); err == nil || err.Error() != "remove endpoint b: pool test does not have it" {
		t.Error(err)
	}
	for _, w := range []int{0, -1, MaxWeight + 1} {
		if err := p.SetWeight(p.Endpoints()[0], w, 0); err == nil {
			t.Errorf("weight %d is taken", w)
		}
	}
	if err := p.Remove("a", 0); err != nil || len(p.Endpoints()) != 0 {
		t.Errorf("%v; %d endpoints are left", err, len(p.Endpoints()))
	}
}

func TestCheckNamesEverythingThatIsWrong(t *testing.T) {
	err := Config{
		Name: "shop", Algorithm: "best", TableSize: -1, LoadFactor: 1, Decay: -1, SlowStart: -1, PanicThreshold: 2,
		Overprovision: 0.5, MaxRequests: -1, Outlier: outlier.Config{Margin: 2}, Stall: StallConfig{Requests: -1},
		Endpoints: []EndpointConfig{{}, {Address: "a", Weight: -1}, {Address: "b", Priority: -1}, {Address: "c", MaxRequests: -1}, {Address: "c"}},
	}.Check()
	for _, want := range []string{
		`pool shop: algorithm "best" is not known`, "table size -1", "load factor 1 ", "decay -1ns", "slow start -1ns", "panic threshold 2",
		"overprovision 0.5", "maximum requests -1 is", "margin 2", "-1 waiting requests", "without an address", "endpoint a: weight -1",
		"endpoint b: priority -1", "endpoint c: maximum requests -1", "endpoint c is listed twice",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %q in:\n%v", want, err)
		}
	}
	for _, c := range []StallConfig{{Min: -1}, {Min: 2, Max: 1}} {
		if (Config{Stall: c}).Check() == nil {
			t.Errorf("%+v is taken", c)
		}
	}
	if _, err := New(Config{Endpoints: make([]EndpointConfig, MaxEndpoints+1)}, 0); err == nil {
		t.Error("too many endpoints are taken")
	}
	if _, err := New(Config{}, 0); err != nil {
		t.Errorf("the zero Config: %v", err)
	}
}

func TestKeysSurviveRestarts(t *testing.T) {
	p, q := newPool(t, 3, nil), newPool(t, 3, nil)
	for i, e := range p.Endpoints() {
		key := e.Key()
		if len(key) != keyLen || q.Endpoints()[i].Key() != key {
			t.Errorf("key %q is not stable", key)
		}
		if p.ByKey([]byte(key)) != e || p.ByAddress(e.Address()) != e {
			t.Errorf("%s is not found", key)
		}
		if other := string(key[:10]) + string(key[10]+1); p.ByKey([]byte(other)) != nil {
			t.Errorf("%s finds an endpoint too", other)
		}
	}
	if got := p.Endpoints()[0].Key(); got != "ypeBEsobvco" { // SHA-256("a") begins ca978112ca1bbdca
		t.Errorf("key of a is %q", got)
	}
	for _, bad := range []string{"", "x", "!!!!!!!!!!!", "ypeBEsobvcoypeBEsobvco", "ypeBEsobvcp"} {
		if p.ByKey([]byte(bad)) != nil {
			t.Errorf("%q finds an endpoint", bad)
		}
	}
	if p.ByAddress("z") != nil {
		t.Error("z is found")
	}
}

func TestChangesAreTold(t *testing.T) {
	var told []string
	p := newPool(t, 2, func(c *Config) {
		c.OnChange = func(e *Endpoint, c Change) {
			who := "pool"
			if e != nil {
				who = e.Address()
			}
			told = append(told, strings.TrimSpace(fmt.Sprintf("%v %s %v %s", c.At, who, c.Kind, c.Reason)))
		}
	})
	e := p.Endpoints()
	p.SetHealth(e[0], Down, "refused", 1*second)
	p.SetHealth(e[0], Down, "refused again", 2*second) // no change
	p.SetHealth(e[1], Down, "timeout", 3*second)
	p.Available(4 * second)
	p.SetHealth(e[1], Up, "200", 5*second)
	p.Available(5 * second)
	p.SetHealth(e[0], Up, "200", 6*second)
	p.SetAdmin(e[0], Drain, 7*second)
	p.SetAdmin(e[0], Drain, 7*second) // no change
	p.SetAdmin(e[0], Ready, 7*second)
	_ = p.SetWeight(e[0], 3, 8*second)
	p.Done(reserveOn(t, p, e[0]), Outcome{Result: ConnectFailed}, 9*second)
	p.Tick(10 * second)
	for range 3 {
		p.Done(reserveOn(t, p, e[0]), Outcome{}, 11*second)
	}
	_, _ = p.Add(EndpointConfig{Address: "x"}, 12*second)
	_ = p.Remove("x", 13*second)
	want := `1s a health refused
3s b health timeout
4s pool panic too few endpoints are available; using all
5s b health 200
5s pool panic_ended
6s a health 200
7s a admin
7s a admin
8s a weight
9s a ejected connect failed
10s a probation ejection is over
11s a trusted
12s x added
13s x removed`
	if got := strings.Join(told, "\n"); got != want {
		t.Errorf("told:\n%s\nwant:\n%s", got, want)
	}
}

func TestStatusGivesReasons(t *testing.T) {
	p := newPool(t, 3, func(c *Config) { c.Endpoints[0].MaxRequests = 5 })
	e := p.Endpoints()[0]
	if s := e.Status(second); !s.Available || s.Reason != "" || s.MaxRequests != 5 || s.Health.String() != "unknown" || s.Admin.String() != "ready" {
		t.Errorf("at first: %+v", s)
	}
	p.SetHealth(e, Down, "connect: refused", second)
	p.SetAdmin(e, Maintenance, 2*second)
	if got, want := e.Status(5500*time.Millisecond).Reason, "in maintenance for 3.5s; down for 4.5s: connect: refused"; got != want {
		t.Errorf("reason is %q, want %q", got, want)
	}
	p.SetHealth(e, Down, "timeout", 6*second)
	if got := e.Status(6 * second); got.HealthReason != "timeout" || got.HealthSince != second {
		t.Errorf("a new reason for the same verdict: %+v", got)
	}
	f := p.Endpoints()[1]
	p.Done(reserveOn(t, p, f), Outcome{Result: ConnectFailed}, second)
	if got, want := f.Status(1500*time.Millisecond).Reason, "ejected for 500ms more: connect failed"; got != want {
		t.Errorf("reason is %q, want %q", got, want)
	}
	if got, want := f.Status(2*second).Reason, "on probation, 3 more successes needed: was ejected because connect failed"; got != want {
		t.Errorf("reason is %q, want %q", got, want)
	}
}
