package balance

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// explained is what Explain says in short.
func explained(p *Pool, r Request) string {
	var lines []string
	for _, c := range p.Explain(&r) {
		mark := " "
		if c.Chosen {
			mark = "*"
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s%s %.2f %s", mark, c.Endpoint.Address(), c.Share, c.Reason)))
	}
	return strings.Join(lines, "\n")
}

// TestExplainForetellsPick, reserves nothing and takes no turn.
func TestExplainForetellsPick(t *testing.T) {
	for _, a := range Algorithms() {
		for _, n := range []int{1, 3, 50} {
			p := newPool(t, n, func(c *Config) {
				c.Algorithm = a
				for i := range c.Endpoints {
					c.Endpoints[i].Weight = 1 + i%4
					c.Endpoints[i].MaxRequests = 3
				}
			})
			var held []*Endpoint
			for i := range uint64(2 * n) {
				r := Request{Hash: mix(i), Random: mix(i + 1), Now: second}
				var chosen *Endpoint
				for _, c := range p.Explain(&r) {
					if c.Chosen {
						chosen = c.Endpoint
					}
				}
				e, err := p.Pick(&r)
				if err != nil || e != chosen {
					t.Fatalf("%s with %d endpoints: request %d explained as %v, picked %v, %v", a, n, i, chosen, e, err)
				}
				held = append(held, e)
			}
			for _, e := range held {
				p.Done(e, Outcome{}, second)
			}
			if p.InFlight() != 0 {
				t.Errorf("%s: Explain reserves", a)
			}
		}
	}
}

func TestExplainSaysWhyNot(t *testing.T) {
	p := newPool(t, 8, func(c *Config) {
		c.Endpoints[7].Priority = 1
		c.Endpoints[4].MaxRequests = 1
		c.Endpoints[6].Weight = 3
	})
	e := p.Endpoints()
	p.SetHealth(e[0], Down, "connect: refused", second)
	p.SetAdmin(e[1], Drain, second)
	p.SetAdmin(e[2], Maintenance, second)
	reserveOn(t, p, e[4])
	p.Done(reserveOn(t, p, e[3]), Outcome{Result: ConnectFailed}, second)
	got := explained(p, Request{Now: second, Random: 6, Tried: []*Endpoint{e[5]}})
	want := `a 0.00 down for 0s: connect: refused
b 0.00 draining for 0s: only its sessions
c 0.00 in maintenance for 0s
d 0.00 ejected for 1s more: connect failed
e 0.17 at its limit of 1 requests in flight
f 0.17 tried already
*g 0.50 its turn
h 0.16`
	if got != want {
		t.Errorf("explained:\n%s\nwant:\n%s", got, want)
	}
	if got := explained(p, Request{Now: second, Prefer: e[1]}); !strings.Contains(got, "*b 0.00 affinity: the request prefers it") {
		t.Errorf("affinity explained:\n%s", got)
	}
	q := newPool(t, 2, func(c *Config) { c.Endpoints[1].Priority = 1 })
	if got := explained(q, Request{Random: 1}); got != "*a 1.00 its turn\nb 0.00 priority 1 is not needed" {
		t.Errorf("explained:\n%s", got)
	}
	if got := explained(q, Request{Random: 1, Tried: q.Endpoints()[:1]}); got != "a 1.00 tried already\n*b 0.00 nothing better is left, although priority 1 is not needed" {
		t.Errorf("explained:\n%s", got)
	}
	for _, e := range q.Endpoints() {
		q.SetHealth(e, Down, "", 0)
	}
	if got := explained(q, Request{Random: 1}); !strings.Contains(got, "too few endpoints are available, so all are used") {
		t.Errorf("explained:\n%s", got)
	}
}

func TestExplainGivesScoresAndSlots(t *testing.T) {
	for _, a := range Algorithms() {
		p := newPool(t, 3, func(c *Config) { c.Algorithm = a })
		e := p.Endpoints()
		p.Done(reserveOn(t, p, e[0]), Outcome{Latency: 10 * ms}, 0)
		reserveOn(t, p, e[0])
		slots := 0
		for i, c := range p.Explain(&Request{Hash: 5, Random: 1}) {
			if c.Slot >= 0 {
				slots++
			}
			want := 0.0
			switch {
			case a == LeastRequest && i == 0:
				want = 1
			case a == P2C && i == 0:
				want = 2 * 10e6
			}
			if math.Abs(c.Score-want) > 1 {
				t.Errorf("%s: score of %s is %v, want %v", a, c.Endpoint.Address(), c.Score, want)
			}
			if c.Chosen && c.Reason != a.grounds() {
				t.Errorf("%s: reason is %q", a, c.Reason)
			}
		}
		if want := map[Algorithm]int{Maglev: 1, RingHash: 1}[a]; slots != want {
			t.Errorf("%s: %d endpoints have the key's slot", a, slots)
		}
	}
}
