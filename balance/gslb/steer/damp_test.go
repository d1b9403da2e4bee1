package steer

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"
)

// farm is servers whose load follows the weights, late: resolvers keep an answer for a TTL.
type farm struct {
	speeds []float64   // requests a second that each can do
	rate   float64     // of all requests
	past   [][]float64 // shares, by second; the oldest is felt
	ttl    int         // in seconds
	delay  int         // until a share is felt: some resolvers keep answers longer than they may
}

// latencies are those of M/M/1 queues under the shares that are felt now, bounded.
func (f *farm) latencies() []time.Duration {
	shares := f.past[max(0, len(f.past)-1-f.delay)]
	out := make([]time.Duration, len(f.speeds))
	for i, speed := range f.speeds {
		free := max(0.02*speed, speed-shares[i]*f.rate)
		out[i] = time.Duration(float64(time.Second) / free)
	}
	return out
}

// run lets weights follow latencies for some seconds, and returns the shares of the first server over time.
func (f *farm) run(seconds int) (history []float64) {
	n := len(f.speeds)
	even := make([]float64, n)
	for i := range even {
		even[i] = 1 / float64(n)
	}
	f.past = [][]float64{even}
	var d Damper
	for second := range seconds {
		var all []Endpoint
		for i, l := range f.latencies() {
			all = append(all, Endpoint{Address: fmt.Sprint(i), Hosts: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}, Weight: 1, Latency: l})
		}
		factors := d.Observe(time.Duration(second)*time.Second, time.Duration(f.ttl)*time.Second, ByLatency, all)
		sum := 0.0
		for _, x := range factors {
			sum += x
		}
		shares := make([]float64, n)
		for i := range shares {
			shares[i] = factors[fmt.Sprint(i)] / sum
		}
		f.past = append(f.past, shares)
		history = append(history, shares[0])
	}
	return history
}

// swing is the distance between the highest and the lowest of the last values.
func swing(history []float64, last int) float64 {
	low, high := math.Inf(1), math.Inf(-1)
	for _, x := range history[len(history)-last:] {
		low, high = min(low, x), max(high, x)
	}
	return high - low
}

func TestWeightsThatFollowLoadDoNotOscillate(t *testing.T) {
	for _, ttl := range []int{0, 5, 30, 60} {
		delay := ttl * 3 / 2
		for _, rate := range []float64{100, 220, 270} {
			f := &farm{speeds: []float64{100, 200}, rate: rate, ttl: ttl, delay: delay}
			history := f.run(7200)
			if s := swing(history, 1800); s > 0.05 {
				t.Errorf("%d s late, at %.0f of 300 requests a second: shares still swing by %.3f", delay, rate, s)
			}
			if end := history[len(history)-1]; end > 0.47 || end < 0.2 {
				t.Errorf("%d s late, at %.0f requests a second: the slower server ends with %.2f of the load", delay, rate, end)
			}
		}
	}
}

func TestServersThatAreAlikeKeepTheirWeights(t *testing.T) {
	f := &farm{speeds: []float64{100, 100, 100}, rate: 200, ttl: 30, delay: 30}
	for _, share := range f.run(600) {
		if share != 1./3 {
			t.Fatalf("a share is %v", share)
		}
	}
}

func TestFactorsAreBoundedAndSmallOnesKept(t *testing.T) {
	var d Damper
	all := []Endpoint{{Address: "a", Latency: time.Hour}, {Address: "b", Latency: time.Microsecond}, {Address: "c"}, {Address: "d", Latency: time.Second, Standing: Out}}
	var f map[string]float64
	for second := range 600 {
		f = d.Observe(time.Duration(second)*time.Second, 0, ByLatency, all)
	}
	if f["a"] > 1 || f["a"] < dampMin || f["b"] > dampMax || f["b"] < 3 || f["c"] != 1 || f["d"] != 1 {
		t.Errorf("factors are %v", f)
	}
	before := f["b"]
	all[1].Latency = 2 * time.Microsecond // still far from anything that matters
	if f = d.Observe(601*time.Second, 0, ByLatency, all); f["b"] != before {
		t.Error("a small difference makes another answer")
	}
	if f := (&Damper{}).Observe(0, 0, ByLatency, []Endpoint{{Address: "a"}}); f["a"] != 1 {
		t.Error("without a load the weight is not kept")
	}
}

func TestLoadIsByLatencyOrRequests(t *testing.T) {
	e := &Endpoint{Weight: 4, Latency: time.Second, Requests: 7}
	if Fixed.load(e) != 0 || ByLatency.load(e) != 1e9 || ByRequests.load(e) != 2 {
		t.Errorf("loads are %v, %v and %v", Fixed.load(e), ByLatency.load(e), ByRequests.load(e))
	}
	s := NewSlot("site", Rules{Policy: Weighted, Weigh: ByRequests})
	busy := &State{Endpoints: []Endpoint{{Address: "a", Hosts: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Weight: 1, Requests: 99}, {Address: "b", Hosts: []netip.Addr{netip.MustParseAddr("10.0.0.2")}, Weight: 1}}}
	for second := range 300 {
		s.Refresh(time.Duration(second)*time.Second, busy)
	}
	if share := draws(s.Plan(), 10_000)["10.0.0.1"]; share > 0.2 {
		t.Errorf("the busy one still gets %.2f", share)
	}
}
