package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// keys maps n keys to endpoints.
func keys(t *testing.T, p *Pool, n int) []string {
	t.Helper()
	owners := make([]string, n)
	for i := range owners {
		owners[i] = pick(t, p, Request{Hash: HashBytes(fmt.Append(nil, "key", i)), Random: 1}).Address()
	}
	return owners
}

func moved(a, b []string) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

const someKeys = 20_000

// TestFailureMovesOnlyTheKeysOfTheFailed, and recovery moves exactly them back.
func TestFailureMovesOnlyTheKeysOfTheFailed(t *testing.T) {
	for _, a := range []Algorithm{IPHash, Maglev, RingHash} {
		t.Run(string(a), func(t *testing.T) {
			p := newPool(t, 10, func(c *Config) { c.Algorithm = a })
			before := keys(t, p, someKeys)
			p.SetHealth(p.Endpoints()[3], Down, "test", 0)
			during := keys(t, p, someKeys)
			heirs := map[string]int{}
			for i := range before {
				switch {
				case before[i] == "d":
					heirs[during[i]]++
				case before[i] != during[i]:
					t.Fatalf("key %d moved from %s to %s as d failed", i, before[i], during[i])
				}
			}
			for heir, n := range heirs {
				if n > 2*someKeys/10/len(heirs) && a != RingHash {
					t.Errorf("%s inherits %d keys of d", heir, n)
				}
			}
			if len(heirs) != 9 {
				t.Errorf("the keys of d go to %v, want all nine others", heirs)
			}
			p.SetHealth(p.Endpoints()[3], Up, "test", 0)
			if n := moved(before, keys(t, p, someKeys)); n != 0 {
				t.Errorf("%d keys are elsewhere after the recovery", n)
			}
		})
	}
}

// TestRemovalDisruptsLittle: removing one of n endpoints moves its keys and few
// others. The Maglev paper (NSDI 2016, §5.3) shows that with a table of 65537
// slots for 1000 backends and one failure, fewer than 2 % of the others' entries change;
// the ring moves none.
func TestRemovalDisruptsLittle(t *testing.T) {
	for _, c := range []struct {
		algorithm Algorithm
		extra     float64 // share of other endpoints' keys that may move
	}{{Maglev, 0.02}, {RingHash, 0}} {
		for _, n := range []int{3, 10, 100} {
			t.Run(fmt.Sprintf("%s/%d", c.algorithm, n), func(t *testing.T) {
				p := newPool(t, n, func(cfg *Config) { cfg.Algorithm = c.algorithm })
				before := keys(t, p, someKeys)
				if err := p.Remove("b", 0); err != nil {
					t.Fatal(err)
				}
				after := keys(t, p, someKeys)
				extra := 0
				for i := range before {
					if before[i] != "b" && before[i] != after[i] {
						extra++
					}
				}
				if limit := c.extra * someKeys; float64(extra) > limit {
					t.Errorf("%d of %d keys of others moved, want at most %.0f", extra, someKeys, limit)
				}
				if _, err := p.Add(EndpointConfig{Address: "b"}, 0); err != nil {
					t.Fatal(err)
				}
				if n := moved(before, keys(t, p, someKeys)); n != 0 {
					t.Errorf("%d keys are elsewhere after b is back", n)
				}
			})
		}
	}
}

// TestMaglevPaperBound counts slots and not keys: 1000 backends, the small table,
// one removed.
func TestMaglevPaperBound(t *testing.T) {
	p := newPool(t, 1000, nil)
	all := p.Endpoints()
	before := newMaglev(all, plainWeights(all), 65537)
	without := slices.Delete(slices.Clone(all), 500, 501)
	after := newMaglev(without, plainWeights(without), 65537)
	changed, owned := 0, 0
	for i := range before {
		switch {
		case before[i] == 500:
			owned++
		case all[before[i]] != without[after[i]]:
			changed++
		}
	}
	if share := float64(changed) / 65537; share > 0.02 {
		t.Errorf("%.2f %% of the slots changed beside those of the removed one", share*100)
	}
	if owned < 65 || owned > 66 {
		t.Errorf("the removed one had %d slots, want its thousandth", owned)
	}
}

// TestMaglevIsEven: "the largest to the smallest share is about 1.01 with a table
// a hundred times the number of backends" (§3.4 and figure 11 of the paper).
func TestMaglevIsEven(t *testing.T) {
	for _, n := range []int{2, 3, 100, 655, 5000} {
		p := newPool(t, n, func(c *Config) { c.Algorithm = Maglev })
		slots := make([]int, n)
		for _, i := range p.view.Load().groups[0].table.maglev {
			slots[i]++
		}
		if low, high := slices.Min(slots), slices.Max(slots); float64(high) > 1.011*float64(low)+0.5 {
			t.Errorf("%d endpoints have from %d to %d slots", n, low, high)
		}
	}
}

func TestMaglevFollowsWeights(t *testing.T) {
	p := newPool(t, 4, func(c *Config) {
		c.Algorithm = Maglev
		weigh(1, 2, 3, 1000)(c)
	})
	slots := make([]float64, 4)
	for _, i := range p.view.Load().groups[0].table.maglev {
		slots[i]++
	}
	for i, w := range []float64{1, 2, 3, 1000} {
		if want := 65537 * w / 1006; math.Abs(slots[i]-want) > 2 {
			t.Errorf("weight %v has %v slots, want %.1f", w, slots[i], want)
		}
	}
}

// TestNodesAgree: the order of endpoints in the configuration, and what else a
// node has seen, do not matter.
func TestNodesAgree(t *testing.T) {
	for _, a := range []Algorithm{Maglev, RingHash} {
		p := newPool(t, 20, func(c *Config) { c.Algorithm = a })
		q := newPool(t, 20, func(c *Config) {
			c.Algorithm = a
			slices.Reverse(c.Endpoints)
		})
		if n := moved(keys(t, p, someKeys), keys(t, q, someKeys)); n != 0 {
			t.Errorf("%s: two nodes disagree on %d keys", a, n)
		}
	}
}

func TestTableSizeIsRaisedToAPrime(t *testing.T) {
	for _, c := range [][3]int{{3, 0, 65537}, {655, 0, 65537}, {1000, 0, 100003}, {3, 100, 101}, {3, 1, 3}, {50, 7, 53}, {3, 4, 5}, {3, 9, 11}} {
		if got := maglevSize(c[0], c[1]); got != c[2] {
			t.Errorf("size for %d endpoints, asked for %d: %d, want %d", c[0], c[1], got, c[2])
		}
	}
}

// TestRingBoundsLoads: however uneven the keys, no endpoint has more than the
// load factor times its share of requests in flight, rounded up.
func TestRingBoundsLoads(t *testing.T) {
	for _, n := range []int{2, 5, 50} {
		p := newPool(t, n, func(c *Config) {
			c.Algorithm = RingHash
			for i := range c.Endpoints {
				c.Endpoints[i].Weight = 1 + i%3
			}
		})
		sum := 0
		for _, e := range p.Endpoints() {
			sum += e.Weight()
		}
		rnd := rand.New(rand.NewPCG(1, 1))
		for i := range 50 * n {
			hash := uint64(rnd.ExpFloat64() * 3) // a few hot keys
			e, err := p.Pick(&Request{Hash: mix(hash), Random: rnd.Uint64()})
			if err != nil {
				t.Fatal(err)
			}
			bound := math.Ceil(1.25 * float64(i+1) * float64(e.Weight()) / float64(sum))
			if float64(e.InFlight()) > bound {
				t.Fatalf("%d endpoints: %s has %d of %d requests, its bound is %v", n, e.Address(), e.InFlight(), i+1, bound)
			}
		}
	}
}

func TestRingIsRoughlyEven(t *testing.T) {
	for _, n := range []int{3, 10, 100} {
		p := newPool(t, n, func(c *Config) {
			c.Algorithm = RingHash
			c.LoadFactor = 1e9 // keys alone
		})
		counts := count(t, p, 100_000, rand.New(rand.NewPCG(1, 1)))
		if low, high := slices.Min(counts), slices.Max(counts); float64(high) > 2*float64(low) {
			t.Errorf("%d endpoints got from %d to %d requests", n, low, high)
		}
	}
}

func TestRingFindsTheNextPoint(t *testing.T) {
	p := newPool(t, 7, func(c *Config) { c.Algorithm = RingHash })
	r := &p.view.Load().groups[0].table.ring
	rnd := rand.New(rand.NewPCG(1, 1))
	tries := []uint64{0, 1, math.MaxUint64, r.points[0].place(), r.points[0].place() - 1, r.points[len(r.points)-1].place(), r.points[len(r.points)-1].place() + 1<<16}
	for range 10_000 {
		tries = append(tries, rnd.Uint64())
	}
	for _, h := range tries {
		want := 0
		for i := range r.points {
			if r.points[i].place() >= h&^0xffff {
				want = i
				break
			}
		}
		if got := r.find(h); got != want {
			t.Fatalf("find(%#x) = %d, want %d", h, got, want)
		}
	}
}
