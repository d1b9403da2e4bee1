package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// chiSquare is the sum of squared deviations from the expected counts.
func chiSquare(counts []int, shares []float64) float64 {
	n, sum := 0, 0.0
	for i, c := range counts {
		n += c
		sum += shares[i]
	}
	chi := 0.0
	for i, c := range counts {
		expected := float64(n) * shares[i] / sum
		chi += (float64(c) - expected) * (float64(c) - expected) / expected
	}
	return chi
}

// checkShares fails if counts are further from shares than chance explains: four
// standard deviations, by Wilson and Hilferty's normal approximation of chi².
func checkShares(t *testing.T, counts []int, shares []float64) {
	t.Helper()
	df := float64(len(counts) - 1)
	chi := chiSquare(counts, shares)
	if z := (math.Cbrt(chi/df) - (1 - 2/(9*df))) / math.Sqrt(2/(9*df)); z > 4 {
		t.Errorf("chi² is %.1f with %v degrees of freedom: %.1f deviations off; counts %v", chi, df, z, brief(counts))
	}
}

func brief(counts []int) string {
	if len(counts) <= 12 {
		return fmt.Sprint(counts)
	}
	return fmt.Sprint(counts[:12]) + "..."
}

// count makes n choices whose places are given back at once.
func count(t *testing.T, p *Pool, n int, rnd *rand.Rand) []int {
	t.Helper()
	index := map[*Endpoint]int{}
	for i, e := range p.Endpoints() {
		index[e] = i
	}
	counts := make([]int, len(index))
	for range n {
		e, err := p.Pick(&Request{Random: rnd.Uint64(), Hash: rnd.Uint64(), Now: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		counts[index[e]]++
		p.release(e, time.Second)
	}
	return counts
}

func weigh(weights ...int) func(*Config) {
	return func(c *Config) {
		for i, w := range weights {
			c.Endpoints[i].Weight = w
		}
	}
}

// TestSharesFollowWeights holds every algorithm, in a pool at rest, to the
// weights.
func TestSharesFollowWeights(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 1 + i%7
	}
	for _, a := range Algorithms() {
		if a == P2C || a == RingHash {
			continue // tests of their own
		}
		for _, weights := range [][]int{{1, 1, 1}, {5, 1, 1}, {3, 7}, {1, 2, 3, 4, 5}, {1000, 999, 1, 30000}, hundred} {
			t.Run(fmt.Sprintf("%s/%d_of_%d", a, len(weights), weights[0]), func(t *testing.T) {
				p := newPool(t, len(weights), func(c *Config) {
					c.Algorithm = a
					weigh(weights...)(c)
				})
				shares := make([]float64, len(weights))
				for i, w := range weights {
					if shares[i] = float64(w); a == Random {
						shares[i] = 1
					}
				}
				if a == LeastRequest && len(weights) > compareAll {
					return // three draws are weighed against each other; see below
				}
				counts := count(t, p, 200_000, rand.New(rand.NewPCG(1, uint64(len(weights)))))
				if a == Maglev {
					// The table itself is uneven by up to a slot in a hundred.
					checkWithin(t, counts, shares, 0.02, 60)
					return
				}
				checkShares(t, counts, shares)
			})
		}
	}
}

// checkWithin fails if a count deviates by more than the tolerance, and slack
// requests, from its share.
func checkWithin(t *testing.T, counts []int, shares []float64, tolerance, slack float64) {
	t.Helper()
	n, sum := 0, 0.0
	for i, c := range counts {
		n += c
		sum += shares[i]
	}
	for i, c := range counts {
		expected := float64(n) * shares[i] / sum
		if math.Abs(float64(c)-expected) > tolerance*expected+4*math.Sqrt(expected)+slack {
			t.Errorf("endpoint %d got %d of %d requests, want %.0f", i, c, n, expected)
		}
	}
}

// TestWeightedTurnsAreSmooth: within any stretch of the rotation an endpoint has
// its share to within two turns.
func TestWeightedTurnsAreSmooth(t *testing.T) {
	for _, weights := range [][]int{{5, 1, 1}, {1, 2, 3, 4, 5}, {10, 10, 3}, {100, 1}, {7, 7, 7, 1}} {
		checkSmooth(t, 2.5, weights...)
	}
	checkSmooth(t, 6, 40_000, 25_000, 3) // too long to be written out
}

func checkSmooth(t *testing.T, limit float64, weights ...int) {
	t.Helper()
	p := newPool(t, len(weights), weigh(weights...))
	sum := 0
	for _, w := range weights {
		sum += w
	}
	const n = 2000
	turns := make([]*Endpoint, n)
	for i := range turns {
		turns[i] = pick(t, p, Request{})
	}
	for _, e := range p.Endpoints() {
		share := float64(e.Weight()) / float64(sum)
		// The deviation over a stretch is a difference of two prefix deviations.
		got, low, high := 0.0, 0.0, 0.0
		for i, turn := range turns {
			if turn == e {
				got++
			}
			d := got - share*float64(i+1)
			low, high = min(low, d), max(high, d)
		}
		if high-low > limit {
			t.Errorf("weights %v: %s is %.2f turns off within some stretch", weights, e.Address(), high-low)
		}
	}
}

func TestWeightedCycleIsExact(t *testing.T) {
	p := newPool(t, 3, weigh(5, 1, 1))
	got := ""
	for range 14 {
		got += pick(t, p, Request{}).Address()
	}
	if got != "abaaacaabaaaca" {
		t.Errorf("turns are %s", got)
	}
}

func TestSeedShiftsTheFirstTurn(t *testing.T) {
	p := newPool(t, 3, func(c *Config) { c.Seed = 2 })
	if got := pick(t, p, Request{}).Address(); got != "c" {
		t.Errorf("first turn is %s's", got)
	}
}

func TestLongCyclesStayExactInTheLongRun(t *testing.T) {
	p := newPool(t, 3, weigh(40_000, 25_000, 1))
	counts := count(t, p, 660_010, rand.New(rand.NewPCG(1, 1)))
	checkWithin(t, counts, []float64{40_000, 25_000, 1}, 0.0001, 3)
}

// TestLeastRequestLevelsLoad: in a pool with many long requests every endpoint
// has its share in flight.
func TestLeastRequestLevelsLoad(t *testing.T) {
	for _, n := range []int{3, 32, 100, 1000} {
		p := newPool(t, n, func(c *Config) {
			c.Algorithm = LeastRequest
			for i := range c.Endpoints {
				c.Endpoints[i].Weight = 1 + i%3
			}
		})
		rnd := rand.New(rand.NewPCG(1, 1))
		var busy []*Endpoint
		for range n * 100 {
			e, err := p.Pick(&Request{Random: rnd.Uint64()})
			if err != nil {
				t.Fatal(err)
			}
			busy = append(busy, e)
			if i := rnd.IntN(len(busy)); len(busy) > n*20 {
				p.Done(busy[i], Outcome{}, 0)
				busy[i] = busy[len(busy)-1]
				busy = busy[:len(busy)-1]
			}
		}
		low, high := math.Inf(1), 0.0
		for _, e := range p.Endpoints() {
			perWeight := float64(e.InFlight()) / float64(e.Weight())
			low, high = min(low, perWeight), max(high, perWeight)
		}
		if limit := 1.8; high > limit*low {
			t.Errorf("%d endpoints: in flight per weight from %.1f to %.1f", n, low, high)
		}
	}
}

func TestLeastRequestPrefersTheIdle(t *testing.T) {
	p := newPool(t, 3, func(c *Config) { c.Algorithm = LeastRequest })
	for i := range 3 {
		if _, err := p.Pick(&Request{Random: uint64(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range p.Endpoints() {
		if e.InFlight() != 1 {
			t.Errorf("%s has %d of three requests", e.Address(), e.InFlight())
		}
	}
}

// serve plays requests that arrive one after another, each answered before the
// next, with a latency of the endpoint's own, and counts them.
func serve(t *testing.T, p *Pool, n int, every time.Duration, latency func(i int) time.Duration) []int {
	t.Helper()
	rnd := rand.New(rand.NewPCG(7, 7))
	index := map[*Endpoint]int{}
	for i, e := range p.Endpoints() {
		index[e] = i
	}
	counts := make([]int, len(index))
	for i := range n {
		now := time.Duration(i) * every
		e, err := p.Pick(&Request{Random: rnd.Uint64(), Now: now})
		if err != nil {
			t.Fatal(err)
		}
		counts[index[e]]++
		p.Done(e, Outcome{Latency: latency(index[e])}, now)
	}
	return counts
}

// TestP2CStarvesNobody: of five equal servers one got 5 of 1500 requests in
// another proxy (Traefik issue 12306).
func TestP2CStarvesNobody(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	for _, every := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond} {
		p := newPool(t, 5, func(c *Config) { c.Algorithm = P2C })
		counts := serve(t, p, 1500, every, func(int) time.Duration {
			return time.Duration(float64(5*time.Millisecond) * (0.5 + rnd.ExpFloat64()))
		})
		for i, c := range counts {
			if c < 100 {
				t.Errorf("every %v: endpoint %d got %d of 1500 requests: %v", every, i, c, counts)
			}
		}
	}
}

func TestP2CAvoidsTheSlowButTriesIt(t *testing.T) {
	for _, n := range []int{2, 3, 5} {
		p := newPool(t, n, func(c *Config) { c.Algorithm = P2C })
		counts := serve(t, p, 20_000, time.Millisecond, func(i int) time.Duration {
			if i == 0 {
				return 100 * time.Millisecond
			}
			return 5 * time.Millisecond
		})
		if counts[0] < 20 || counts[0] > 20_000/50 {
			t.Errorf("of %d endpoints the slow one got %d of 20000 requests: %v", n, counts[0], counts)
		}
	}
}

func TestP2CFollowsWeightsAmongEquals(t *testing.T) {
	p := newPool(t, 3, func(c *Config) {
		c.Algorithm = P2C
		weigh(4, 2, 2)(c)
	})
	counts := serve(t, p, 40_000, time.Millisecond, func(int) time.Duration { return 5 * time.Millisecond })
	if first := float64(counts[0]) / 40_000; first < 0.38 || first > 0.52 {
		t.Errorf("half of the weight got %.0f %% of the requests: %v", first*100, counts)
	}
}

func TestP2CSharesTheLoadOfEquals(t *testing.T) {
	for _, n := range []int{2, 10, 500} {
		p := newPool(t, n, func(c *Config) { c.Algorithm = P2C })
		rnd := rand.New(rand.NewPCG(1, 1))
		most := 0
		for range n * 20 {
			e, err := p.Pick(&Request{Random: rnd.Uint64()})
			if err != nil {
				t.Fatal(err)
			}
			most = max(most, e.InFlight())
		}
		if most > 28 {
			t.Errorf("%d endpoints: the busiest has %d in flight, the mean is 20", n, most)
		}
	}
}

func TestSlowLatencyIsForgotten(t *testing.T) {
	var l peakLatency
	l.observe(time.Second, 0, 5*time.Second)
	l.observe(10*time.Millisecond, 0, 5*time.Second)
	if got := l.last(); got != time.Second {
		t.Errorf("peak is %v, want 1s", got)
	}
	if got := time.Duration(l.at(5*time.Second, 5*time.Second)).Seconds(); math.Abs(got-1/math.E) > 0.001 {
		t.Errorf("after the time constant it is %vs, want 1/e", got)
	}
	for i := range 3000 {
		l.observe(10*time.Millisecond, time.Duration(i)*10*time.Millisecond, 5*time.Second)
	}
	if got := l.last(); got < 10*time.Millisecond || got > 13*time.Millisecond {
		t.Errorf("after 30 s of 10ms it is %v", got)
	}
	if got := l.at(0, time.Second); got == 0 {
		t.Error("a caller whose clock is behind sees nothing")
	}
}
