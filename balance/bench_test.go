package balance

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// BenchmarkPick measures Pick and the return of the place, which every choice
// costs, without the report of an outcome.
func BenchmarkPick(b *testing.B) {
	for _, a := range Algorithms() {
		for _, n := range []int{3, 100, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", a, n), func(b *testing.B) {
				p := benchPool(b, a, n)
				r := &Request{Now: time.Second}
				x := uint64(1)
				b.ReportAllocs()
				for b.Loop() {
					x += golden
					r.Random, r.Hash = mix(x), x
					e, err := p.Pick(r)
					if err != nil {
						b.Fatal(err)
					}
					p.release(e, r.Now)
				}
			})
		}
	}
}

// benchPool has weights of 1 to 4 and some load on every endpoint.
func benchPool(b *testing.B, a Algorithm, n int) *Pool {
	rnd := rand.New(rand.NewPCG(1, 2))
	p := newPool(b, n, func(c *Config) {
		c.Algorithm = a
		for i := range c.Endpoints {
			c.Endpoints[i].Weight = 1 + i%4
		}
	})
	for _, e := range p.Endpoints() {
		load := (2 + rnd.IntN(4)) * e.Weight()
		e.inFlight.Add(int64(load))
		p.inFlight.Add(int64(load))
		e.latency.observe(time.Duration(1+rnd.IntN(10))*time.Millisecond, time.Second, time.Second)
	}
	return p
}

// BenchmarkRequest measures all that a request costs: Pick, Sent, Answered, Done.
func BenchmarkRequest(b *testing.B) {
	for _, a := range Algorithms() {
		b.Run(string(a), func(b *testing.B) {
			p := benchPool(b, a, 100)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				r := &Request{Now: time.Second}
				x := rand.Uint64()
				for pb.Next() {
					x += golden
					r.Random, r.Hash = mix(x), x
					r.Now += time.Microsecond
					e, err := p.Pick(r)
					if err != nil {
						b.Error(err)
						return
					}
					e.Sent(r.Now)
					e.Answered(r.Now, time.Millisecond)
					p.Done(e, Outcome{Latency: time.Millisecond}, r.Now)
				}
			})
		})
	}
}

// BenchmarkRebuild measures what a change of state costs the next Pick.
func BenchmarkRebuild(b *testing.B) {
	for _, a := range []Algorithm{RoundRobin, LeastRequest, Maglev} {
		for _, n := range []int{3, 100, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", a, n), func(b *testing.B) {
				p := benchPool(b, a, n)
				e := p.Endpoints()[1]
				h := Down
				for b.Loop() {
					p.SetHealth(e, h, "", time.Second)
					p.Available(time.Second)
					h = Up + Down - h
				}
			})
		}
	}
}

func BenchmarkHashBytes(b *testing.B) {
	for _, n := range []int{8, 32, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			key := make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				key[0] = byte(HashBytes(key))
			}
		})
	}
}

func BenchmarkHashAddr(b *testing.B) {
	a := netip.MustParseAddr("2001:db8::1")
	b.ReportAllocs()
	for b.Loop() {
		HashAddr(a, 32, 64)
	}
}

func BenchmarkByKey(b *testing.B) {
	p := newPool(b, 100, nil)
	key := []byte(p.Endpoints()[50].Key())
	b.ReportAllocs()
	for b.Loop() {
		if p.ByKey(key) == nil {
			b.Fatal("not found")
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for _, a := range []Algorithm{RoundRobin, Maglev, RingHash} {
		for _, n := range []int{3, 100, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", a, n), func(b *testing.B) {
				for b.Loop() {
					benchPool(b, a, n)
				}
			})
		}
	}
}
