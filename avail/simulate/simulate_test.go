package simulate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/trivet-ha/trivet/avail"
)

// A trial is one random design: what the closed form says and what the simulation found.
type trial struct {
	what   string
	closed float64
	found  Estimate
}

// designs is how many; by short and under the race detector a part of them.
func designs() int {
	if testing.Short() || raceEnabled {
		return 60
	}
	return 1000
}

// TestClosedFormsAgreeWithThousandSimulations plays random designs of every kind. Of right formulas three standard
// errors miss about 1 in 300 by chance (there are a hundred batches, so it is Student's t with 99 degrees of freedom
// that has tails of 0.34 %); a wrong one misses again and again, or by far, or to one side.
func TestClosedFormsAgreeWithThousandSimulations(t *testing.T) {
	kinds := []func(*rand.Rand) trial{wait, waitChance, waitTail, generalWait, turnedAway, downtime, outageRate, firstOutage}
	n, outside, sum, squares := designs(), 0, 0.0, 0.0
	for i := range n {
		rnd := rand.New(rand.NewPCG(uint64(i), 7))
		one := kinds[i%len(kinds)](rnd)
		off := (one.found.Mean - one.closed) / one.found.Error
		if math.IsNaN(off) || math.Abs(off) > 5 {
			t.Errorf("design %d, %s: %g by formula, %g ± %g by simulation", i, one.what, one.closed, one.found.Mean, one.found.Error)
		}
		if math.Abs(off) > 3 {
			outside++
		}
		sum += off
		squares += off * off
	}
	t.Logf("%d designs: %d outside of three standard errors, mean %.3f, variance %.3f", n, outside, sum/float64(n), squares/float64(n))
	if limit := 3 + n/100; outside > limit { // beyond by chance once in 10⁵ runs; the seed is fixed
		t.Errorf("%d of %d simulations are outside of three standard errors, want at most %d", outside, n, limit)
	}
	if bias := math.Abs(sum) / math.Sqrt(float64(n)); bias > 4 {
		t.Errorf("simulations are off to one side by %.1f of their errors", bias)
	}
	if v := squares / float64(n); v < .6 || v > 1.6 {
		t.Errorf("the deviations have variance %.2f in units of their errors, want about 1", v)
	}
}

func between(rnd *rand.Rand, low, high float64) float64 { return low + (high-low)*rnd.Float64() }

func logBetween(rnd *rand.Rand, low, high float64) float64 {
	return math.Exp(between(rnd, math.Log(low), math.Log(high)))
}

// requests of a simulation; a mean of waits, which come in clusters, needs many for its batches to be nearly normal.
const requests, manyRequests = 100_000, 400_000

func queueOf(requests int, rnd *rand.Rand) (avail.MMC, Waits, avail.Seconds) {
	servers, service := 1+rnd.IntN(30), avail.Seconds(logBetween(rnd, 1e-3, 10))
	q := avail.MMC{Arrivals: avail.PerSecond(between(rnd, .3, .85) * float64(servers) / float64(service)), Service: service, Servers: servers}
	longer := q.WaitQuantile(1 - q.WaitChance()/2) // half of those that wait
	s := Queue{Between: Exponential(avail.Seconds(1 / q.Arrivals)), Service: Exponential(service), Servers: servers}
	return q, s.Run(requests, longer, rnd), longer
}

func wait(rnd *rand.Rand) trial {
	q, w, _ := queueOf(manyRequests, rnd)
	for q.WaitChance() < .15 { // too few wait
		q, w, _ = queueOf(manyRequests, rnd)
	}
	return trial{fmt.Sprintf("mean wait of %+v", q), float64(q.MeanWait()), w.Mean}
}

func waitChance(rnd *rand.Rand) trial {
	q, w, _ := queueOf(requests, rnd)
	for q.WaitChance() < .15 {
		q, w, _ = queueOf(requests, rnd)
	}
	return trial{fmt.Sprintf("chance to wait of %+v", q), q.WaitChance(), w.Waited}
}

func waitTail(rnd *rand.Rand) trial {
	q, w, longer := queueOf(requests, rnd)
	for q.WaitChance() < .15 {
		q, w, longer = queueOf(requests, rnd)
	}
	return trial{fmt.Sprintf("P(W > %v) of %+v", longer, q), q.WaitTail(longer), w.Longer}
}

// generalWait is M/G/1, for which Allen and Cunneen are exact.
func generalWait(rnd *rand.Rand) trial {
	rho := between(rnd, .3, .8)
	draws := []struct {
		draw Draw
		scv  float64
	}{{Always(1), 0}, {Uniform(1), 1.0 / 3}, {Exponential(1), 1}, {Lognormal(1, .5), .5}}
	d := draws[rnd.IntN(len(draws))]
	q := avail.GGC{MMC: avail.MMC{Arrivals: avail.PerSecond(rho), Service: 1, Servers: 1}, ArrivalSCV: 1, ServiceSCV: d.scv}
	s := Queue{Between: Exponential(avail.Seconds(1 / rho)), Service: d.draw, Servers: 1}
	return trial{fmt.Sprintf("mean wait of %+v", q), float64(q.MeanWait()), s.Run(requests, 1, rnd).Mean}
}

func turnedAway(rnd *rand.Rand) trial {
	servers := 1 + rnd.IntN(10)
	q := avail.MMCK{MMC: avail.MMC{Arrivals: avail.PerSecond(between(rnd, .7, 2) * float64(servers)), Service: 1, Servers: servers}, Places: servers + rnd.IntN(6)}
	s := Queue{Between: Exponential(avail.Seconds(1 / q.Arrivals)), Service: Exponential(1), Servers: servers, Places: q.Places}
	return trial{fmt.Sprintf("turned away of %+v", q), q.Turned(), s.Run(requests, 1, rnd).Turned}
}

func unitsOf(rnd *rand.Rand) avail.Repairable {
	n := 1 + rnd.IntN(8)
	r := avail.Repairable{N: n, Needed: 1 + rnd.IntN(n), MTBF: 1, MTTR: avail.Seconds(logBetween(rnd, .02, 1)), Crews: rnd.IntN(n + 1)}
	if rnd.IntN(2) == 0 {
		r.Uncovered = logBetween(rnd, .005, .5)
	}
	if rnd.IntN(2) == 0 {
		r.Common = logBetween(rnd, .01, .5)
	}
	if o := r.Outages(); float64(o.Rate) < 1e-3 || r.Down() > .95 { // too rare to be played often, or nearly always
		return unitsOf(rnd)
	}
	return r
}

func played(rnd *rand.Rand) (avail.Repairable, Uptime) {
	r := unitsOf(rnd)
	const outages = 5000
	return r, FromRepairable(r).Run(avail.Seconds(outages/r.Outages().Rate), rnd)
}

func downtime(rnd *rand.Rand) trial {
	r, u := played(rnd)
	return trial{fmt.Sprintf("downtime of %+v", r), float64(r.Down()), u.Estimate()}
}

func outageRate(rnd *rand.Rand) trial {
	r, u := played(rnd)
	return trial{fmt.Sprintf("rate of outages of %+v", r), float64(r.Outages().Rate), u.Rate}
}

func firstOutage(rnd *rand.Rand) trial {
	r := unitsOf(rnd)
	return trial{fmt.Sprintf("first outage of %+v", r), float64(r.MTTF()), FromRepairable(r).FirstOutage(3000, rnd)}
}

// TestDowntimeDependsOnMeansAlone: with a crew for each, the share of time down is the same for every distribution of
// lives and repairs.
func TestDowntimeDependsOnMeansAlone(t *testing.T) {
	want := float64(avail.KOfN(2, 3, avail.FromTimes(1, .2)))
	for name, u := range map[string]Units{
		"repairs by the clock":   {N: 3, Needed: 2, Life: Exponential(1), Repair: Always(.2)},
		"repairs by people":      {N: 3, Needed: 2, Life: Exponential(1), Repair: Lognormal(.2, 2)},
		"lives that wear out":    {N: 3, Needed: 2, Life: Uniform(1), Repair: Exponential(.2)},
		"nothing is exponential": {N: 3, Needed: 2, Life: Uniform(1), Repair: Uniform(.2)},
	} {
		found := u.Run(20_000, rand.New(rand.NewPCG(5, 6))).Estimate()
		if !found.Agrees(want, 3.5) || found.Error > .02*want {
			t.Errorf("%s: down %g ± %g, want %g", name, found.Mean, found.Error, want)
		}
	}
}

func TestTheSameSourcePlaysTheSame(t *testing.T) {
	r := avail.Repairable{N: 3, Needed: 2, MTBF: 1, MTTR: .1, Uncovered: .1, Common: .1}
	one := FromRepairable(r).Run(1000, rand.New(rand.NewPCG(1, 1)))
	two := FromRepairable(r).Run(1000, rand.New(rand.NewPCG(1, 1)))
	if one != two {
		t.Errorf("%+v and %+v", one, two)
	}
}

func TestDrawsHaveTheirMoments(t *testing.T) {
	rnd := rand.New(rand.NewPCG(8, 9))
	for name, v := range map[string]struct {
		draw      Draw
		mean, scv float64
	}{
		"exponential": {Exponential(3), 3, 1}, "always": {Always(3), 3, 0}, "uniform": {Uniform(3), 3, 1.0 / 3}, "lognormal": {Lognormal(3, .7), 3, .7},
	} {
		const n = 200_000
		sum, squares := 0.0, 0.0
		for range n {
			x := float64(v.draw(rnd))
			sum += x
			squares += x * x
		}
		mean := sum / n
		scv := squares/n/mean/mean - 1
		if math.Abs(mean-v.mean) > .02*v.mean || math.Abs(scv-v.scv) > .05 {
			t.Errorf("%s: mean %g, squared coefficient of variation %g; want %g and %g", name, mean, scv, v.mean, v.scv)
		}
	}
}
