package avail

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// downs are chances from 10⁻¹² to 1, evenly in their logarithm.
func downs() *rapid.Generator[Down] {
	return rapid.Custom(func(t *rapid.T) Down {
		return Down(math.Pow(10, rapid.Float64Range(-12, 0).Draw(t, "log")))
	})
}

func repairables() *rapid.Generator[Repairable] {
	return rapid.Custom(func(t *rapid.T) Repairable {
		n := rapid.IntRange(1, 12).Draw(t, "n")
		return Repairable{
			N: n, Needed: rapid.IntRange(1, n).Draw(t, "needed"), Crews: rapid.IntRange(0, n).Draw(t, "crews"),
			MTBF: 1, MTTR: Seconds(math.Pow(10, rapid.Float64Range(-4, 1).Draw(t, "log mttr"))),
			Uncovered: rapid.SampledFrom([]float64{0, .001, .05, .5, 1}).Draw(t, "uncovered"),
			Common:    rapid.SampledFrom([]float64{0, .001, .1, 1}).Draw(t, "common"),
		}
	})
}

// atMost allows for rounding.
func atMost(a, b float64) bool { return a <= b*(1+1e-9) }

func agree(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b)) }

func TestErlangIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, n := rapid.Float64Range(0, 2000).Draw(t, "offered"), rapid.IntRange(1, 2000).Draw(t, "servers")
		b, c := ErlangB(a, n), ErlangC(a, n)
		if !(b >= 0 && b <= 1 && atMost(b, c) && c <= 1) {
			t.Fatalf("B = %g, C = %g", b, c)
		}
		if !atMost(ErlangB(a, n+1), b) || !atMost(ErlangC(a, n+1), c) {
			t.Fatal("one more server makes it worse")
		}
		if !atMost(b, ErlangB(a+.5, n)) || !atMost(c, ErlangC(a+.5, n)) {
			t.Fatal("more load makes it better")
		}
	})
}

// TestErlangBIsATruncatedPoisson: B is the mass at n over the sum up to n, which is an incomplete gamma function.
func TestErlangBIsATruncatedPoisson(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, n := rapid.Float64Range(.001, 3000).Draw(t, "offered"), rapid.IntRange(1, 3000).Draw(t, "servers")
		sum := gammaUpper(float64(n)+1, a)
		if b := ErlangB(a, n); b > 1e-290 && sum > 1e-290 && !agree(b, poissonMass(float64(n), a)/sum) {
			t.Fatalf("B = %.15g, by the gamma function %.15g", b, poissonMass(float64(n), a)/sum)
		}
	})
}

func TestTheQueueObeysLittle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		servers := rapid.IntRange(1, 300).Draw(t, "servers")
		q := MMC{Arrivals: PerSecond(rapid.Float64Range(.01, .999).Draw(t, "rho") * float64(servers)), Service: 1, Servers: servers}
		in := q.QueueLength() + q.Offered()
		if !agree(in, InSystem(q.Arrivals, q.MeanResponse())) {
			t.Fatalf("L = %g, λW = %g", in, InSystem(q.Arrivals, q.MeanResponse()))
		}
		p := rapid.Float64Range(0, .9999).Draw(t, "p")
		if w := q.WaitQuantile(p); w > 0 && !agree(q.WaitTail(w), 1-p) {
			t.Fatalf("P(W > its %g quantile) = %g", p, q.WaitTail(w))
		}
		if r := q.ResponseQuantile(p); math.Abs(q.ResponseTail(r)-(1-p)) > 1e-9 {
			t.Fatalf("P(R > its %g quantile) = %g", p, q.ResponseTail(r))
		}
		// The mean is the integral of the tail.
		sum, h := 0.0, float64(q.MeanResponse())/50
		for i := range 4_000 {
			sum += q.ResponseTail(Seconds((float64(i) + .5) * h))
		}
		if got := sum * h; math.Abs(got-float64(q.MeanResponse())) > 2e-3*got {
			t.Fatalf("the tail of the response adds up to %g, its mean is %g", got, q.MeanResponse())
		}
		g := GGC{q, 1, 1}
		if !agree(float64(g.MeanWait()), float64(q.MeanWait())) || !agree(g.WaitTail(.3), q.WaitTail(.3)) || !agree(float64(g.WaitQuantile(p)), float64(q.WaitQuantile(p))) {
			t.Fatal("with exponential times, GI/G/c is not M/M/c")
		}
	})
}

func TestTheResponseIsSmoothWhereItsFormulaIsNot(t *testing.T) {
	// At c − 1 − a = 0 the closed form is 0/0.
	for _, servers := range []int{2, 3, 10} {
		at := func(off float64) float64 {
			return MMC{Arrivals: PerSecond(float64(servers) - 1 + off), Service: 1, Servers: servers}.ResponseTail(2)
		}
		if low, mid, high := at(-1e-6), at(0), at(1e-6); !(low < mid && mid < high) || high-low > 1e-5 {
			t.Errorf("%d servers: %.12g, %.12g, %.12g", servers, low, mid, high)
		}
	}
}

func TestAQueueWithRoomForAllIsOneWithoutLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		servers := rapid.IntRange(1, 50).Draw(t, "servers")
		q := MMC{Arrivals: PerSecond(rapid.Float64Range(.01, .9).Draw(t, "rho") * float64(servers)), Service: 1, Servers: servers}
		wide := MMCK{q, servers + 1000}
		if !agree(float64(wide.MeanWait()), float64(q.MeanWait())) || wide.Turned() > 1e-12 {
			t.Fatalf("with 1000 places more, wait %g against %g", wide.MeanWait(), q.MeanWait())
		}
		if none := (MMCK{q, servers}); !agree(none.Turned(), ErlangB(q.Offered(), servers)) {
			t.Fatalf("without places more, %g are turned away; Erlang B is %g", none.Turned(), ErlangB(q.Offered(), servers))
		}
		places := servers + rapid.IntRange(0, 30).Draw(t, "places")
		busy := MMCK{MMC{q.Arrivals * 3, 1, servers}, places}
		s := busy.Steady()
		if !agree(s.Present-s.Waiting, busy.Offered()*(1-s.Full)) {
			t.Fatalf("%g are served, and %g let in", s.Present-s.Waiting, busy.Offered()*(1-s.Full))
		}
	})
}

func TestServersIsTheLeastNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Load{Arrivals: PerSecond(rapid.Float64Range(0, 300).Draw(t, "arrivals")), Service: 1,
			ArrivalSCV: rapid.Float64Range(0, 4).Draw(t, "ca"), ServiceSCV: rapid.Float64Range(0, 4).Draw(t, "cs")}
		w := Want{Wait: Seconds(rapid.Float64Range(0, 2).Draw(t, "wait")), Share: rapid.Float64Range(0, .9999).Draw(t, "share"),
			Utilisation: rapid.Float64Range(.1, 1).Draw(t, "busy")}
		n := Servers(l, w)
		met := func(n int) bool {
			q := l.On(n)
			return q.Offered() < float64(n) && q.Utilisation() <= w.Utilisation*(1+1e-12) && q.WaitTail(w.Wait) <= (1-w.Share)*(1+1e-12)
		}
		if n < 1 || !met(n) || n > 1 && met(n-1) {
			t.Fatalf("%d servers; enough: %v, one less: %v", n, met(n), met(n-1))
		}
	})
}

func TestKingmanIsBelowItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rho, ca, cs := rapid.Float64Range(.01, .99).Draw(t, "rho"), rapid.Float64Range(0, 9).Draw(t, "ca"), rapid.Float64Range(0, 9).Draw(t, "cs")
		// With exponential arrivals the truth is known (Pollaczek and Khinchine), and must be below.
		if !atMost(float64(GGC{MMC{PerSecond(rho), 1, 1}, 1, cs}.MeanWait()), float64(KingmanBound(rho, 1, cs, 1))) {
			t.Fatal("M/G/1 waits longer than the bound")
		}
		if !atMost(float64(Kingman(rho, ca, cs, 1)), float64(Kingman(rho, ca+1, cs, 1))) {
			t.Fatal("more variance waits less")
		}
	})
}

func TestStructureLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(downs(), 1, 12).Draw(t, "parts")
		series, parallel, n := Series(parts...), Parallel(parts...), len(parts)
		for _, d := range parts {
			if !atMost(float64(d), float64(series)) || !atMost(float64(parallel), float64(d)) {
				t.Fatal("a chain is better than its weakest part, or a redundant set worse than its best")
			}
		}
		if !agree(float64(KOf(n, parts...)), float64(series)) || !agree(float64(KOf(1, parts...)), float64(parallel)) {
			t.Fatalf("n of n is %g and %g, one of n %g and %g", KOf(n, parts...), series, KOf(1, parts...), parallel)
		}
		for k := 1; k < n; k++ {
			if !atMost(float64(KOf(k, parts...)), float64(KOf(k+1, parts...))) {
				t.Fatal("needing more is better")
			}
		}
		d, k := parts[0], rapid.IntRange(1, n).Draw(t, "k")
		equal := make([]Down, n)
		for i := range equal {
			equal[i] = d
		}
		if !agree(float64(KOfN(k, n, d)), float64(KOf(k, equal...))) {
			t.Fatalf("%d of %d at %g: %g by the beta function, %g by adding up", k, n, d, KOfN(k, n, d), KOf(k, equal...))
		}
		beta := rapid.Float64Range(0, 1).Draw(t, "beta")
		common := float64(CommonCause(k, n, d, beta))
		if !atMost(float64(CommonCause(1, n, d, beta)), float64(d)) || !atMost(beta*float64(d), common) {
			t.Fatal("a cause in common makes it better than its own share, or worse than one part")
		}
	})
}

func TestRepairableIsTheChainSolvedByElimination(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := repairables().Draw(t, "design")
		down, rate, mttf := byElimination(r)
		if got := r.Down(); !agree(float64(got), down) {
			t.Fatalf("down %.15g, by elimination %.15g", got, down)
		}
		if got := r.Outages(); !agree(float64(got.Rate), rate) || !agree(float64(got.Rate)*float64(got.Mean), down) {
			t.Fatalf("%+v, by elimination %g a second and down %g", got, rate, down)
		}
		if got := r.MTTF(); !agree(float64(got), mttf) {
			t.Fatalf("lasts %.15g, by elimination %.15g", got, mttf)
		}
	})
}

// byElimination solves the whole chain with the algorithm of Grassmann, Taksar and Heyman, which knows nothing of its
// form: the chance of being down, the rate of going down, and the mean time to it.
func byElimination(r Repairable) (down, rate, mttf float64) {
	q, p := r.matrix(), stationary(r.matrix())
	broken := r.broken()
	for i := range p {
		if i >= broken {
			down += p[i]
			continue
		}
		for j := broken; j <= r.N; j++ {
			rate += p[i] * q[i][j]
		}
	}
	again := r.matrix() // begun anew instead of going down
	for i := range again {
		for j := broken; j <= r.N; j++ {
			if i < broken {
				again[i][0] += again[i][j]
			}
			again[i][j] = 0
		}
		if i >= broken {
			again[i][0] = 1
		}
		again[i][i] = 0
	}
	ends := 0.0
	for i, pi := range stationary(again) {
		for j := broken; j <= r.N && i < broken; j++ {
			ends += pi * q[i][j]
		}
	}
	return down, rate, 1 / ends
}

// matrix is the rates from i to j failed units, written down from the definition.
func (r Repairable) matrix() [][]float64 {
	q := make([][]float64, r.N+1)
	for i := range q {
		q[i] = make([]float64, r.N+1)
		left, fails := float64(r.N-i), 1/float64(r.MTBF)
		if i < r.N {
			alone := left * fails * (1 - r.Common)
			if i+1 < r.broken() {
				q[i][i+1] += alone * (1 - r.Uncovered)
				q[i][r.broken()] += alone * r.Uncovered
			} else {
				q[i][i+1] += alone
			}
			q[i][r.N] += fails * r.Common
		}
		if i > 0 {
			crews := r.Crews
			if crews == 0 {
				crews = r.N
			}
			q[i][i-1] = float64(min(i, crews)) / float64(r.MTTR)
		}
	}
	return q
}

// stationary is the steady state of rates that are eliminated state by state from the last, without a subtraction. A
// state that nothing leaves has no part in it.
func stationary(q [][]float64) []float64 {
	n := len(q)
	out := make([]float64, n)
	for k := n - 1; k > 0; k-- {
		for j := range k {
			out[k] += q[k][j]
		}
		if out[k] == 0 {
			continue
		}
		for i := range k {
			for j := range k {
				if i != j {
					q[i][j] += q[i][k] * q[k][j] / out[k]
				}
			}
		}
	}
	p, sum := make([]float64, n), 1.0
	p[0] = 1
	for k := 1; k < n; k++ {
		for i := range k {
			if out[k] > 0 {
				p[k] += p[i] * q[i][k] / out[k]
			}
		}
		sum += p[k]
	}
	for k := range p {
		p[k] /= sum
	}
	return p
}

func TestRepairLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := repairables().Draw(t, "design")
		down := float64(r.Down())
		better := func(what string, change func(*Repairable)) {
			other := r
			change(&other)
			if d := float64(other.Down()); !atMost(d, down) {
				t.Fatalf("%s: %g instead of %g", what, d, down)
			}
		}
		better("a repair twice as fast", func(r *Repairable) { r.MTTR /= 2 })
		better("units that last twice as long", func(r *Repairable) { r.MTBF *= 2 })
		better("a crew for everything", func(r *Repairable) { r.Crews = 0 })
		better("every failure covered", func(r *Repairable) { r.Uncovered = 0 })
		if r.Needed > 1 {
			better("one less needed", func(r *Repairable) { r.Needed-- })
		}
		if r.Uncovered == 0 && r.Common == 0 {
			better("one more unit", func(r *Repairable) { r.N, r.Crews = r.N+1, 0 })
			r.Crews = 0
			if want := KOfN(r.Needed, r.N, FromTimes(r.MTBF, r.MTTR)); !agree(float64(r.Down()), float64(want)) {
				t.Fatalf("with a crew for each: %.15g, the binomial is %.15g", r.Down(), want)
			}
		}
	})
}

func TestIntervalsHoldTheirEstimate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 100_000).Draw(t, "n")
		k := rapid.IntRange(0, n).Draw(t, "k")
		i := ClopperPearson(k, n, .95)
		if !i.Holds(float64(k) / float64(n)) {
			t.Fatalf("%d of %d: %v", k, n, i)
		}
		wide, more := ClopperPearson(k, n, .99), ClopperPearson(2*k, 2*n, .95)
		if wide.Low > i.Low || wide.High < i.High {
			t.Fatal("more confidence is narrower")
		}
		if more.High-more.Low > (i.High-i.Low)*(1+1e-9) {
			t.Fatal("more trials are wider")
		}
		// By its definition: at Low, k or more are as likely as half of what is left over.
		if k > 0 && math.Abs(float64(KOfN(n-k+1, n, Down(i.Low)))-.025) > 1e-9 {
			t.Fatalf("at the low end, P(≥ %d) = %g", k, KOfN(n-k+1, n, Down(i.Low)))
		}
		if none := ClopperPearson(0, n, .9); !agree(none.High, RuleOfThree(n, .95)) {
			t.Fatalf("none of %d: %g, by the rule of three %g", n, none.High, RuleOfThree(n, .95))
		}
		if p := RuleOfThree(n, .95); TrialsFor(p*(1+1e-9), .95) > n {
			t.Fatalf("%d trials bound %g, which takes %d", n, p, TrialsFor(p, .95))
		}
		rate := RateInterval(k, Seconds(n), .95)
		if !rate.Holds(float64(k) / float64(n)) {
			t.Fatalf("rate of %d in %d s: %v", k, n, rate)
		}
		d := DownInterval(k, 100, 1, 1, .95)
		if k > 0 && !d.Holds(1.0/101) || d.Low < 0 || d.High > 1 {
			t.Fatalf("down 1 of 101: %v", d)
		}
	})
}

func TestOutagesAreADistribution(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Outages{Rate: PerSecond(math.Pow(10, rapid.Float64Range(-3, 4).Draw(t, "log rate"))), Mean: 1e-5}
		const window = 1
		last := 0.0
		for i := range 20 {
			p := o.Within(Seconds(i)*Seconds(o.Expected(window)+1)*o.Mean/5, window)
			if !atMost(last, p) || p > 1 {
				t.Fatalf("P(downtime ≤ %d) = %g after %g", i, p, last)
			}
			last = p
		}
		p := rapid.Float64Range(0, .999).Draw(t, "p")
		if q := o.Quantile(p, window); q > 0 && math.Abs(o.Within(q, window)-p) > 1e-6 {
			t.Fatalf("P(downtime ≤ its %g quantile) = %g", p, o.Within(q, window))
		}
		two := InSeries(o, o)
		if !agree(float64(two.Rate), 2*float64(o.Rate)) || !agree(float64(two.Mean), float64(o.Mean)) {
			t.Fatalf("twice %+v is %+v", o, two)
		}
	})
}

// TestOutagesAreWhatTheyAreDrawnFrom compares the distribution of a year's downtime with years that are drawn.
func TestOutagesAreWhatTheyAreDrawnFrom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const window, rounds = 100, 20_000
	for _, rate := range []PerSecond{.005, .03, .5} {
		o := Outages{Rate: rate, Mean: .5}
		inside := 0
		i := o.Interval(window, .9)
		for range rounds {
			sum := 0.0
			for at := rnd.ExpFloat64() / float64(rate); at < window; at += rnd.ExpFloat64() / float64(rate) {
				sum += rnd.ExpFloat64() * float64(o.Mean)
			}
			if sum <= i.High {
				inside++
			}
		}
		if share := float64(inside) / rounds; math.Abs(share-.95) > 4*math.Sqrt(.95*.05/rounds) && i.High > 0 {
			t.Errorf("rate %g: %.4f of the years are at or below the 95 %% quantile", rate, share)
		}
	}
}

// TestQuantileIntervalsHold draws samples and counts how often the interval of a quantile holds it.
func TestQuantileIntervalsHold(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	const rounds, confidence = 2000, .9
	for _, p := range []float64{.5, .95} {
		truth := -math.Log(1 - p)
		held, mean := 0, 0
		for range rounds {
			times := make([]Seconds, 100)
			for i := range times {
				times[i] = Seconds(rnd.ExpFloat64())
			}
			s := NewSample(times)
			if s.QuantileInterval(p, confidence).Holds(truth) {
				held++
			}
			if s.MeanInterval(100, confidence, rnd).Holds(1) {
				mean++
			}
		}
		if share := float64(held) / rounds; share < confidence-.02 {
			t.Errorf("the interval holds the %g quantile in %.3f of samples, want %.2f", p, share, confidence)
		}
		if share := float64(mean) / rounds; share < .84 || share > .95 {
			t.Errorf("the bootstrap's interval holds the mean in %.3f of samples, want about %.2f", share, confidence)
		}
	}
}

func TestSampleByHand(t *testing.T) {
	s := NewSample([]Seconds{4, 1, 3, 2})
	if s.Mean() != 2.5 || s.Quantile(0) != 1 || s.Quantile(.5) != 2 || s.Quantile(.51) != 3 || s.Quantile(1) != 4 {
		t.Errorf("%v: mean %v, quantiles %v %v %v %v", s, s.Mean(), s.Quantile(0), s.Quantile(.5), s.Quantile(.51), s.Quantile(1))
	}
	share, sure := s.Within(3, .95)
	if share != .75 || !sure.Holds(.75) {
		t.Errorf("within 3: %v, %v", share, sure)
	}
	if i := s.QuantileInterval(.95, .95); !math.IsInf(i.High, 1) {
		t.Errorf("four times bound the 95th percentile from above: %v", i)
	}
	few := make(Sample, 71) // 0.95⁷¹ is above 2.5 %, and 0.95⁷² is not
	if i := few.QuantileInterval(.95, .95); !math.IsInf(i.High, 1) {
		t.Errorf("71 times bound it: %v", i)
	}
	if i := append(few, 0).QuantileInterval(.95, .95); math.IsInf(i.High, 1) {
		t.Errorf("72 times do not bound it: %v", i)
	}
}
