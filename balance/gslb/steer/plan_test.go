package steer

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// ep describes an endpoint: "a 10.0.0.1 w2 p1 out".
func ep(text string) Endpoint {
	f := strings.Fields(text)
	e := Endpoint{Address: f[0], Weight: 1}
	for _, word := range f[1:] {
		if a, err := netip.ParseAddr(word); err == nil {
			e.Hosts = append(e.Hosts, a)
			continue
		}
		switch word {
		case "out":
			e.Standing, e.Reason = Out, "connection refused"
		case "awaited":
			e.Standing = Awaited
		case "draining":
			e.Standing = Draining
		case "maintained":
			e.Standing = Maintained
		default:
			n := 0
			fmt.Sscan(word[1:], &n)
			if word[0] == 'w' {
				e.Weight = n
			} else {
				e.Priority = n
			}
		}
	}
	return e
}

func state(endpoints ...string) *State {
	s := &State{}
	for _, text := range endpoints {
		s.Endpoints = append(s.Endpoints, ep(text))
	}
	return s
}

func planOf(r Rules, s *State) *Plan {
	r = r.WithDefaults()
	return NewPlan(&r, s, nil, nil)
}

// hosts writes all addresses that a plan may answer.
func hosts(p *Plan) string {
	var all []string
	for _, h := range p.Hosts() {
		all = append(all, h.String())
	}
	return strings.Join(all, " ")
}

func TestWhoIsAnswered(t *testing.T) {
	ttls := Rules{TTL: 30, DownTTL: 5}
	failover, last, fallback := ttls, ttls, ttls
	failover.Policy = Failover
	last.Serve = ServeLast
	fallback.Serve, fallback.Fallback = ServeFallback, []netip.Addr{netip.MustParseAddr("192.0.2.9")}
	panicking := state("a 10.0.0.1", "b 10.0.0.2 out", "c 10.0.0.3 maintained")
	panicking.Panic = true
	published := ttls
	published.Publish = map[string][]netip.Addr{"a": {netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1")}}
	for _, tt := range []struct {
		name  string
		rules Rules
		state *State
		mode  Mode
		ttl   uint32
		want  string
	}{
		{"all that are in", ttls, state("a 10.0.0.1", "b 10.0.0.2"), Healthy, 30, "10.0.0.1 10.0.0.2"},
		{"one is out, and the TTL is lower", ttls, state("a 10.0.0.1", "b 10.0.0.2 out"), Healthy, 5, "10.0.0.1"},
		{"one being drained leaves", ttls, state("a 10.0.0.1", "b 10.0.0.2 draining"), Healthy, 30, "10.0.0.1"},
		{"one in maintenance leaves", ttls, state("a 10.0.0.1", "b 10.0.0.2 maintained"), Healthy, 30, "10.0.0.1"},
		{"one never probed waits", ttls, state("a 10.0.0.1", "b 10.0.0.2 awaited"), Healthy, 30, "10.0.0.1"},
		{"none was ever probed", ttls, state("a 10.0.0.1 awaited", "b 10.0.0.2 awaited"), Unproven, 30, "10.0.0.1 10.0.0.2"},
		{"the lowest priority answers", ttls, state("a 10.0.0.1 p1", "b 10.0.0.2", "c 10.0.0.3"), Healthy, 30, "10.0.0.2 10.0.0.3"},
		{"the next priority when it is out", ttls, state("a 10.0.0.1 p1", "b 10.0.0.2 out"), Healthy, 5, "10.0.0.1"},
		{"failover keeps the order by priority", failover, state("a 10.0.0.1 p1", "b 10.0.0.2", "c 10.0.0.3"), Healthy, 30, "10.0.0.2 10.0.0.3 10.0.0.1"},
		{"none is in: all", ttls, state("a 10.0.0.1 out", "b 10.0.0.2 out", "c 10.0.0.3 maintained"), Down, 5, "10.0.0.1 10.0.0.2"},
		{"none is in, and nobody was: all", last, state("a 10.0.0.1 out", "b 10.0.0.2 out"), Down, 5, "10.0.0.1 10.0.0.2"},
		{"none is in: the fallback", fallback, state("a 10.0.0.1 out"), Down, 5, "192.0.2.9"},
		{"none is out: no fallback", fallback, state("a 10.0.0.1"), Healthy, 30, "10.0.0.1"},
		{"only those being drained", ttls, state("a 10.0.0.1 draining", "b 10.0.0.2 maintained"), Drained, 5, "10.0.0.1"},
		{"only maintenance", ttls, state("a 10.0.0.1 maintained"), Empty, 5, ""},
		{"the pool does not believe its probes", ttls, panicking, Panicked, 5, "10.0.0.1 10.0.0.2"},
		{"published elsewhere", published, state("a 10.0.0.1", "b 10.0.0.2"), Healthy, 30, "203.0.113.1 10.0.0.2 2001:db8::1"},
		{"without an address", ttls, state("a 10.0.0.1", "unix:/run/x"), Healthy, 30, "10.0.0.1"},
		{"the same address twice", ttls, state("a 10.0.0.1", "b 10.0.0.1"), Healthy, 30, "10.0.0.1"},
		{"no endpoints", ttls, state(), Empty, 5, ""},
	} {
		p := planOf(tt.rules, tt.state)
		if got := hosts(p); got != tt.want || p.Mode != tt.mode || p.TTL != tt.ttl {
			t.Errorf("%s: %s, %s, TTL %d; want %s, %s, TTL %d", tt.name, got, p.Mode, p.TTL, tt.want, tt.mode, tt.ttl)
		}
		if len(p.Verdicts) != len(tt.state.Endpoints) {
			t.Errorf("%s: %d verdicts", tt.name, len(p.Verdicts))
		}
		for _, v := range p.Verdicts {
			if !v.In && v.Why == "" {
				t.Errorf("%s: nothing says why %s is not answered", tt.name, v.Address)
			}
		}
	}
}

func TestServeLastRemembersWhoWasInLast(t *testing.T) {
	s := NewSlot("site", Rules{Serve: ServeLast, TTL: 30, DownTTL: 5})
	s.Refresh(0, state("a 10.0.0.1", "b 10.0.0.2", "c 10.0.0.3"))
	s.Refresh(1, state("a 10.0.0.1", "b 10.0.0.2", "c 10.0.0.3 out"))
	fresh, before := s.Refresh(2, state("a 10.0.0.1 out", "b 10.0.0.2 out", "c 10.0.0.3 out"))
	if got := hosts(fresh); got != "10.0.0.1 10.0.0.2" || fresh.SameAs(before) {
		t.Errorf("%s is answered, in mode %s", got, fresh.Mode)
	}
	next := NewSlot("site", s.Rules)
	next.Inherit(s)
	if fresh, _ := next.Refresh(3, state("a 10.0.0.1 out", "b 10.0.0.2 out", "c 10.0.0.3 out")); hosts(fresh) != "10.0.0.1 10.0.0.2" {
		t.Errorf("after a reload %s is answered", hosts(fresh))
	}
	if fresh, _ := s.Refresh(4, state("c 10.0.0.3 out")); hosts(fresh) != "10.0.0.3" {
		t.Errorf("with those gone %s is answered", hosts(fresh))
	}
}

func TestAFamilyOfWhichAllAreOutIsSaidToLack(t *testing.T) {
	p := planOf(Rules{}, state("a 10.0.0.1", "b 2001:db8::1 out"))
	if p.Has(true) || !p.Lacks(true) || p.Lacks(false) || !p.Has(false) {
		t.Errorf("has %v, lacks %v", p.Has(true), p.Lacks(true))
	}
	if p := planOf(Rules{}, state("a 10.0.0.1")); p.Lacks(true) {
		t.Error("a pool without IPv6 is said to lack it")
	}
	if p := planOf(Rules{}, state("a 2001:db8::1 out", "b 2001:db8::2")); p.Lacks(true) || p.Lacks(false) {
		t.Error("a family that is answered is said to lack")
	}
}

// draws counts how often each address comes first, over n answers.
func draws(p *Plan, n int) map[string]float64 {
	counts := map[string]float64{}
	random := uint64(1)
	for range n {
		random = mix(random)
		counts[p.Picked(false, mix(random+7), random)[0].String()]++
	}
	for a := range counts {
		counts[a] /= float64(n)
	}
	return counts
}

func TestSharesAreWhatTheyShouldBe(t *testing.T) {
	three := state("a 10.0.0.1 w1", "b 10.0.0.2 w2", "c 10.0.0.3 w5")
	even := map[string]float64{"10.0.0.1": 1. / 3, "10.0.0.2": 1. / 3, "10.0.0.3": 1. / 3}
	weights := map[string]float64{"10.0.0.1": 1. / 8, "10.0.0.2": 2. / 8, "10.0.0.3": 5. / 8}
	first := map[string]float64{"10.0.0.1": 1}
	for policy, want := range map[Policy]map[string]float64{All: even, One: even, Weighted: weights, Failover: first, Hash: weights} {
		got := draws(planOf(Rules{Policy: policy}, three), 50_000)
		for a, share := range want {
			if math.Abs(got[a]-share) > 0.02 {
				t.Errorf("%s: %s comes first in %.3f of the answers, want %.3f", policy, a, got[a], share)
			}
		}
	}
}

func TestAnswersNameNobodyTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 100).Draw(t, "endpoints")
		s := &State{}
		for i := range n {
			s.Endpoints = append(s.Endpoints, ep(fmt.Sprintf("e%d 10.0.%d.%d w%d", i, i/250, i%250+1, rapid.IntRange(1, 1000).Draw(t, "weight"))))
		}
		policy := Policy(rapid.IntRange(0, int(policies)-1).Draw(t, "policy"))
		limit := rapid.IntRange(1, LimitMax).Draw(t, "limit")
		p := planOf(Rules{Policy: policy, Limit: limit}, s)
		key, random := rapid.Uint64().Draw(t, "key"), rapid.Uint64().Draw(t, "random")
		picked := p.Picked(false, key, random)
		if len(picked) != min(n, limit) {
			t.Fatalf("%s: %d addresses of %d with limit %d", policy, len(picked), n, limit)
		}
		slices.SortFunc(picked, netip.Addr.Compare)
		if len(slices.Compact(picked)) != min(n, limit) {
			t.Fatalf("%s: an address is named twice", policy)
		}
		records, count, size := p.Append(nil, false, key, random)
		if count != len(picked) || len(records) != count*size || size != 16 {
			t.Fatalf("%d records of %d bytes in %d", count, size, len(records))
		}
	})
}

// Whoever leaves moves its own clients and nobody else's; when it is back, they are back.
func TestHashMovesOnlyTheClientsOfWhoLeaves(t *testing.T) {
	for _, weights := range [][]string{{"w1", "w1", "w1", "w1"}, {"w1", "w2", "w3", "w4"}} {
		all, less := &State{}, &State{}
		for i, w := range weights {
			e := ep(fmt.Sprintf("e%d 10.0.0.%d %s", i, i+1, w))
			all.Endpoints = append(all.Endpoints, e)
			if i == 1 {
				e.Standing = Out
			}
			less.Endpoints = append(less.Endpoints, e)
		}
		before, after := planOf(Rules{Policy: Hash}, all), planOf(Rules{Policy: Hash}, less)
		for i := range 10_000 {
			key := mix(uint64(i))
			was, is := before.Picked(false, key, 0)[0], after.Picked(false, key, 0)[0]
			if was != is && was.String() != "10.0.0.2" {
				t.Fatalf("a client of %s was moved to %s", was, is)
			}
		}
	}
}

func TestRulesAreChecked(t *testing.T) {
	for _, r := range []Rules{{Policy: policies}, {Limit: -1}, {Limit: LimitMax + 1}, {Prefix4: 33}, {Prefix6: 129}, {Serve: ServeFallback}} {
		if r.Check() == nil {
			t.Errorf("%+v passes", r)
		}
	}
	if err := (Rules{}).Check(); err != nil {
		t.Error(err)
	}
	for p := range policies {
		if back, ok := ParsePolicy(p.String()); !ok || back != p {
			t.Errorf("%s is read as %v", p, back)
		}
	}
	if _, ok := ParsePolicy("some"); ok {
		t.Error("a policy that is none is read")
	}
}

func TestAPoolTooLargeIsCut(t *testing.T) {
	s := &State{}
	for i := range AddressesMax + 10 {
		s.Endpoints = append(s.Endpoints, ep(fmt.Sprintf("e%d 10.%d.%d.1", i, i/250, i%250)))
	}
	p := planOf(Rules{Policy: Hash}, s)
	if n := len(p.Hosts()); n != AddressesMax {
		t.Errorf("%d addresses", n)
	}
}

func BenchmarkPick(b *testing.B) {
	s := &State{}
	for i := range 8 {
		s.Endpoints = append(s.Endpoints, ep(fmt.Sprintf("e%d 10.0.0.%d w%d", i, i+1, i+1)))
	}
	for policy := range policies {
		b.Run(policy.String(), func(b *testing.B) {
			p := planOf(Rules{Policy: policy}, s)
			var buf [LimitMax * 28]byte
			random := uint64(1)
			b.ReportAllocs()
			for b.Loop() {
				random = mix(random)
				p.Append(buf[:0], false, random, random)
			}
		})
	}
}

func BenchmarkNewPlan(b *testing.B) {
	for _, n := range []int{3, 1000} {
		s := &State{}
		for i := range n {
			s.Endpoints = append(s.Endpoints, ep(fmt.Sprintf("e%d 10.0.%d.%d", i, i/250, i%250+1)))
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				planOf(Rules{Policy: Hash}, s)
			}
		})
	}
}
