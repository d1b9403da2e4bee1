package balance

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/fault/outlier"
)

func standing(e *Endpoint) outlier.Standing { return e.record.State().Standing }

func TestRefusedConnectEjectsAtOnce(t *testing.T) {
	p := newPool(t, 3, nil)
	e := p.Endpoints()[0]
	p.Done(reserveOn(t, p, e), Outcome{Result: ConnectFailed}, second)
	if got := reached(t, p, second); got != "bc" {
		t.Errorf("after a refused connect %s are reached", got)
	}
	if next := p.Tick(second); next != 2*second {
		t.Errorf("next change is at %v, want 2s", next)
	}
	if got := reached(t, p, 2*second); got != "abc" {
		t.Errorf("after the ejection %s are reached", got)
	}
	if got := standing(e); got != outlier.Good {
		t.Errorf("after successes it is %v", got)
	}
}

func TestAllButTheLastMayBeEjected(t *testing.T) {
	p := newPool(t, 3, nil)
	for _, e := range p.Endpoints()[:2] {
		p.Done(reserveOn(t, p, e), Outcome{Result: ConnectFailed}, second)
	}
	p.Done(reserveOn(t, p, p.Endpoints()[2]), Outcome{Result: Reset}, second)
	if got := reachedRaw(p, second); got != "c" {
		t.Errorf("%s are reached, want the last one", got)
	}
}

// TestOneOnProbationIsNoReasonToEjectTheLast: it takes one request at a time, and the rest would be refused.
func TestOneOnProbationIsNoReasonToEjectTheLast(t *testing.T) {
	p := newPool(t, 2, nil)
	a, b := p.Endpoints()[0], p.Endpoints()[1]
	p.Done(reserveOn(t, p, a), Outcome{Result: ConnectFailed}, 0)
	p.Tick(second)
	if got := standing(a); got != outlier.Probation {
		t.Fatalf("a is %v after its ejection", got)
	}
	p.Done(reserveOn(t, p, b), Outcome{Result: ConnectFailed}, second)
	if got := standing(b); got == outlier.Ejected {
		t.Error("b is ejected, and only a is left, for one request at a time")
	}
	for range 3 {
		p.Done(reserveOn(t, p, a), Outcome{}, second)
	}
	p.Done(reserveOn(t, p, b), Outcome{Result: ConnectFailed}, second)
	if got := standing(b); got != outlier.Ejected {
		t.Errorf("b is %v: a is good again and can do the work", got)
	}
}

// reachedRaw is reached without success reports.
func reachedRaw(p *Pool, now time.Duration) string {
	got := map[string]bool{}
	for i := range 300 {
		e, err := p.Pick(&Request{Random: mix(uint64(i) + 1), Now: now})
		if err != nil {
			return err.Error()
		}
		got[e.Address()] = true
		p.Done(e, Outcome{Result: Canceled}, now)
	}
	s := ""
	for i := range 26 {
		if got[name(i)] {
			s += name(i)
		}
	}
	return s
}

// TestWhenTheLastFailsTheOthersGetAChance: an outage of the whole network must
// not leave all but one endpoint ejected after it is over.
func TestWhenTheLastFailsTheOthersGetAChance(t *testing.T) {
	p := newPool(t, 3, nil)
	e := p.Endpoints()
	p.Done(reserveOn(t, p, e[0]), Outcome{Result: ConnectFailed}, 0)
	p.Done(reserveOn(t, p, e[1]), Outcome{Result: ConnectFailed}, 0)
	p.Done(reserveOn(t, p, e[2]), Outcome{Result: ConnectFailed}, 10*time.Millisecond)
	if standing(e[0]) != outlier.Probation || standing(e[1]) != outlier.Probation {
		t.Fatalf("after the last one failed the others are %v and %v", standing(e[0]), standing(e[1]))
	}
	p.Done(reserveOn(t, p, e[0]), Outcome{Result: ConnectFailed}, 20*time.Millisecond)
	p.Done(reserveOn(t, p, e[1]), Outcome{Result: ConnectFailed}, 20*time.Millisecond)
	p.Done(reserveOn(t, p, e[2]), Outcome{Result: ConnectFailed}, 30*time.Millisecond)
	if standing(e[0]) != outlier.Ejected {
		t.Error("ejections are cut short more than once a second")
	}
}

func TestServerErrorsEjectUnlessPeersHaveThemToo(t *testing.T) {
	for _, everywhere := range []bool{false, true} {
		p := newPool(t, 3, nil)
		now := time.Duration(0)
		for range 300 {
			now += 10 * time.Millisecond
			e, err := p.Pick(&Request{Now: now})
			if err != nil {
				t.Fatal(err)
			}
			o := Outcome{Latency: time.Millisecond, Status: 200}
			if everywhere || e.Address() == "b" {
				o = Outcome{Result: ServerError, Latency: time.Millisecond, Status: 500}
			}
			p.Done(e, o, now)
		}
		ejected := standing(p.Endpoints()[1]) == outlier.Ejected
		if ejected == everywhere {
			t.Errorf("errors everywhere: %v; b ejected: %v", everywhere, ejected)
		}
		if want := 3; everywhere && p.Available(now) != want {
			t.Errorf("a fault behind all of them leaves %d available", p.Available(now))
		}
	}
}

// TestFailureRateInAPoolOfTwo at two requests a second: a third of b's fail.
func TestFailureRateInAPoolOfTwo(t *testing.T) {
	p := newPool(t, 2, nil)
	rnd := rand.New(rand.NewPCG(1, 1))
	for now := time.Duration(0); now < 300*second; now += second / 2 {
		e, err := p.Pick(&Request{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		o := Outcome{Latency: time.Millisecond}
		if e.Address() == "b" && rnd.IntN(2) == 0 {
			o.Result = Reset
		}
		p.Done(e, o, now)
		if standing(e) == outlier.Ejected {
			return
		}
	}
	t.Error("half of b's requests fail for five minutes, and it stays")
}

func TestProbationTakesOneRequestAtATime(t *testing.T) {
	for _, a := range Algorithms() {
		p := newPool(t, 2, func(c *Config) { c.Algorithm = a })
		e := p.Endpoints()[0]
		old := reserveOn(t, p, e) // still in flight from before
		p.Done(reserveOn(t, p, e), Outcome{Result: ConnectFailed}, 0)
		p.Tick(second)
		if got := standing(e); got != outlier.Probation {
			t.Fatalf("%s: %v after the ejection", a, got)
		}
		first := reserveOn(t, p, e)
		for i := range uint64(100) {
			got, err := p.Pick(&Request{Random: i + 1, Hash: mix(i), Now: second, Prefer: e})
			if err != nil || got == e {
				t.Fatalf("%s: a second request on probation: %v", a, err)
			}
			p.Done(got, Outcome{}, second)
		}
		p.Done(first, Outcome{}, second)
		p.Done(reserveOn(t, p, e), Outcome{}, second)
		p.Done(reserveOn(t, p, e), Outcome{}, second)
		if got := standing(e); got != outlier.Good {
			t.Errorf("%s: %v after three successes", a, got)
		}
		reserveOn(t, p, e)
		reserveOn(t, p, e)
		p.Done(old, Outcome{}, second)
	}
}

func TestFailureOnProbationEjectsForLonger(t *testing.T) {
	p := newPool(t, 2, nil)
	e := p.Endpoints()[0]
	for _, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
		p.Done(reserveOn(t, p, e), Outcome{Result: ConnectFailed}, second)
		if got := e.record.State().Until; got != second+want*second {
			t.Fatalf("ejected until %v, want %v s from 1s", got, int(want))
		}
		p.Tick(second + want*second)
	}
}

func TestProbesUpEndAnEjection(t *testing.T) {
	p := newPool(t, 2, nil)
	e := p.Endpoints()[0]
	p.Done(reserveOn(t, p, e), Outcome{Result: ConnectFailed}, second)
	p.SetHealth(e, Down, "refused", second)
	p.SetHealth(e, Up, "200", 1100*time.Millisecond)
	if got := standing(e); got != outlier.Probation {
		t.Errorf("after its probes succeed again it is %v", got)
	}
}

func TestMaintenanceClearsTheRecord(t *testing.T) {
	p := newPool(t, 2, nil)
	e := p.Endpoints()[0]
	p.Done(reserveOn(t, p, e), Outcome{Result: ConnectFailed}, second)
	p.SetAdmin(e, Maintenance, second)
	p.SetAdmin(e, Ready, second)
	if got := standing(e); got != outlier.Good || !e.Status(second).Available {
		t.Errorf("back from maintenance it is %v", got)
	}
}

func TestDisabledOutlierEjectsNobody(t *testing.T) {
	p := newPool(t, 2, func(c *Config) { c.Outlier.Disabled = true })
	e := p.Endpoints()[0]
	for range 20 {
		p.Done(reserveOn(t, p, e), Outcome{Result: ConnectFailed}, second)
	}
	if p.Available(second) != 2 {
		t.Error("ejected although disabled")
	}

	q := newPool(t, 2, nil)
	e = q.Endpoints()[0]
	q.Done(reserveOn(t, q, e), Outcome{Result: ConnectFailed}, second)
	cfg := Config{Endpoints: []EndpointConfig{{Address: "a"}, {Address: "b"}}, Outlier: outlier.Config{Disabled: true}}
	if err := q.Update(cfg, second); err != nil {
		t.Fatal(err)
	}
	if q.Available(second) != 2 || standing(e) != outlier.Good {
		t.Error("still ejected after it was disabled")
	}
}

func TestFailingFastAttractsNobody(t *testing.T) {
	p := newPool(t, 2, func(c *Config) {
		c.Algorithm = P2C
		c.Outlier.Disabled = true
	})
	e := p.Endpoints()[0]
	p.Done(reserveOn(t, p, e), Outcome{Latency: 50 * time.Millisecond}, second)
	p.Done(reserveOn(t, p, e), Outcome{Result: ServerError, Latency: time.Millisecond}, 2*second)
	if got := e.Latency(); got != 50*time.Millisecond {
		t.Errorf("latency after a fast failure is %v", got)
	}
	p.Done(reserveOn(t, p, e), Outcome{Result: Timeout, Latency: 3 * second}, 3*second)
	if got := e.Latency(); got < 2999*time.Millisecond {
		t.Errorf("latency after a slow failure is %v", got)
	}
}

func TestLimitsSaturate(t *testing.T) {
	for _, a := range Algorithms() {
		p := newPool(t, 3, func(c *Config) {
			c.Algorithm = a
			for i := range c.Endpoints {
				c.Endpoints[i].MaxRequests = i + 1
			}
		})
		var held []*Endpoint
		for i := range uint64(6) {
			e, err := p.Pick(&Request{Hash: 1, Random: i + 1})
			if err != nil {
				t.Fatalf("%s: request %d of 6: %v", a, i+1, err)
			}
			held = append(held, e)
		}
		if _, err := p.Pick(&Request{Hash: 1, Random: 1}); err != ErrSaturated {
			t.Errorf("%s: beyond all limits: %v", a, err)
		}
		p.Done(held[0], Outcome{}, 0)
		if e, err := p.Pick(&Request{Hash: 1, Random: 1}); err != nil || e != held[0] {
			t.Errorf("%s: the place given back is not found: %v", a, err)
		}
	}
}

func TestPoolLimitSaturates(t *testing.T) {
	p := newPool(t, 3, func(c *Config) { c.MaxRequests = 2 })
	a, _ := p.Pick(&Request{})
	if _, err := p.Pick(&Request{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Pick(&Request{}); err != ErrSaturated {
		t.Errorf("beyond the pool's limit: %v", err)
	}
	if c := p.Explain(&Request{}); c[0].Reason != "the pool is at its limit of 2 requests" || c[0].Considered || c[0].Chosen {
		t.Errorf("explained as %+v", c[0])
	}
	p.Done(a, Outcome{}, 0)
	if p.InFlight() != 1 {
		t.Errorf("in flight: %d", p.InFlight())
	}
	if _, err := p.Pick(&Request{}); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// TestKilledEndpointCostsFewRequests plays 2000 requests a second on three
// endpoints, of which one refuses connections for 20 s: hardly any attempt goes
// there, and none is made in vain more often than its probations allow.
func TestKilledEndpointCostsFewRequests(t *testing.T) {
	p := newPool(t, 3, nil)
	dead, vain := p.Endpoints()[1], 0
	for now := time.Duration(0); now < 20*second; now += second / 2000 {
		r := Request{Now: now}
		e, err := p.Pick(&r)
		if err != nil {
			t.Fatal(err)
		}
		if e == dead {
			vain++
			p.Done(e, Outcome{Result: ConnectFailed}, now)
			r.Tried = []*Endpoint{e}
			if e, err = p.Pick(&r); err != nil || e == dead {
				t.Fatalf("retry: %v", err)
			}
		}
		p.Done(e, Outcome{Latency: time.Millisecond}, now)
	}
	if vain > 6 {
		t.Errorf("%d attempts in vain in 20 s, want one for each of 1+1+2+4+8 s", vain)
	}
}

func TestResultsHaveNames(t *testing.T) {
	got := fmt.Sprint(OK, ServerError, ConnectFailed, Reset, Timeout, Stalled, Canceled)
	if got != "ok server_error connect_failed reset timeout stalled canceled" {
		t.Error(got)
	}
	if got := fmt.Sprint(HealthUnknown, Up, Down, Ready, Drain, Maintenance); got != "unknown up down ready drain maintenance" {
		t.Error(got)
	}
}
