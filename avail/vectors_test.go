package avail

import (
	"math"
	"testing"
)

// close6 holds to six digits.
func close6(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > 1e-6*math.Abs(want) {
		t.Errorf("%s = %.12g, want %.12g to six digits", what, got, want)
	}
}

// published holds to the digits that were published.
func published(t *testing.T, what string, got, want, lastDigit float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > 0.5000001*lastDigit {
		t.Errorf("%s = %.12g, published %g", what, got, want)
	}
}

// TestTenErlangsByHand: 200 requests a second of 50 ms, at different numbers of servers.
func TestTenErlangsByHand(t *testing.T) {
	for _, v := range []struct {
		servers            int
		rho, c, wait, tail float64
	}{
		{11, 10.0 / 11, .6821182, .03410591, 9.231466043e-2},
		{12, 10.0 / 12, .4493882, .01123471, 8.230832437e-3},
		{14, 10.0 / 14, .1741319, .00217665, 5.841475605e-5},
		{16, 10.0 / 16, .0573403, .00047784, 3.523111695e-7},
	} {
		q := MMC{Arrivals: 200, Service: 0.05, Servers: v.servers}
		close6(t, "utilisation", q.Utilisation(), v.rho)
		published(t, "Erlang C", q.WaitChance(), v.c, 1e-7)
		close6(t, "P(W > 100 ms)", q.WaitTail(0.1), v.tail)
		published(t, "mean wait", float64(q.MeanWait()), v.wait, 1e-8)
		published(t, "mean response", float64(q.MeanResponse()), v.wait+0.05, 1e-8)
	}
	overloaded := MMC{Arrivals: 200, Service: 0.05, Servers: 10}
	if w := overloaded.MeanWait(); !math.IsInf(float64(w), 1) || overloaded.WaitChance() != 1 || overloaded.WaitTail(1) != 1 {
		t.Errorf("ten servers for ten erlangs wait %v, with chance %v: want forever and 1", w, overloaded.WaitChance())
	}
}

func TestErlangAsPublished(t *testing.T) {
	// pyworkforce, README: 100 calls in 30 minutes of 180 s each.
	published(t, "C(10, 14)", ErlangC(10, 14), .1741319335950498, 1e-12)
	q := MMC{Arrivals: 100.0 / 1800, Service: 180, Servers: 14}
	published(t, "service level at 20 s", 1-q.WaitTail(20), .8884, 2e-4)
	close6(t, "service level at 20 s", 1-q.WaitTail(20), .88835002)
	// erlang.com, calculator manual: a group of 15 lines at 1 %.
	published(t, "traffic of 15 lines at 1 %", ArrivalsFor(15, .01, ErlangB), 8.108, 1e-3)
	// GlobalSpec, appendix A, table of Erlang B, to a tenth of an erlang, rounded either way.
	for _, v := range []struct {
		lines      int
		loss, want float64
	}{{5, .01, 1.4}, {8, .01, 3.1}, {9, .01, 3.8}, {5, .05, 2.2}, {8, .05, 4.5}, {9, .05, 5.4}} {
		published(t, "traffic", ArrivalsFor(v.lines, v.loss, ErlangB), v.want, 0.1)
	}
	for _, v := range []struct {
		lines      int
		loss, want float64
	}{{5, .01, 1.360786797}, {8, .01, 3.127562296}, {9, .01, 3.782537259}, {10, .01, 4.461176858}, {5, .05, 2.218472269}, {8, .05, 4.542959407}, {9, .05, 5.370243258}} {
		close6(t, "traffic", ArrivalsFor(v.lines, v.loss, ErlangB), v.want)
	}
	published(t, "C(6, 10)", ErlangC(6, 10), .101299, 1e-6)
	close6(t, "B(2, 3)", ErlangB(2, 3), 4.0/19)
	close6(t, "C(1, 2)", ErlangC(1, 2), 1.0/3)
	close6(t, "C(2, 3)", ErlangC(2, 3), 4.0/9)
	published(t, "C(8, 10)", ErlangC(8, 10), .409180, 1e-6)
	published(t, "C(9, 10)", ErlangC(9, 10), .668732, 1e-6)
	published(t, "C(20, 25)", ErlangC(20, 25), .209103, 1e-6)
}

// TestAPublishedErlangBIsWrong: pyworkforce's README gives 0.0183 lost and an occupancy of 0.9375 for 17 positions and
// ten erlangs. That satisfies no form of Erlang's formula: seventeen servers that do ten erlangs of work are busy 58 %
// of their time.
func TestAPublishedErlangBIsWrong(t *testing.T) {
	b := ErlangB(10, 17)
	close6(t, "B(10, 17)", b, .01294888)
	carried := 10 * (1 - b) / 17
	close6(t, "occupancy", carried, .5806183)
	sum, term := 1.0, 1.0 // by the definition: a¹⁷/17! over the sum of aⁿ/n!
	for n := 1; n <= 17; n++ {
		term *= 10 / float64(n)
		sum += term
	}
	close6(t, "B(10, 17) by definition", term/sum, b)
	if math.Abs(b-.0183) < .005 || math.Abs(carried-.9375) < .3 {
		t.Errorf("B(10, 17) = %g at occupancy %g agrees with what was published in error", b, carried)
	}
}

// TestQueuesAsPublished: examples of the Octave package queueing (qsmmm, qsmmmk).
func TestQueuesAsPublished(t *testing.T) {
	two, four := MMC{9, 0.2, 2}, MMC{9, 0.2, 4}
	close6(t, "M/M/2 queue", two.QueueLength(), 7.67368421)
	close6(t, "M/M/2 response", float64(two.MeanResponse()), 1.05263158)
	published(t, "M/M/4 queue", four.QueueLength(), .105, 1e-3)
	published(t, "M/M/4 queue", four.QueueLength(), .105164, 1e-6)
	published(t, "M/M/4 response", float64(four.MeanResponse()), .211685, 1e-6)

	q := MMCK{MMC{40, Seconds(1.0 / 30), 3}, 7}
	published(t, "M/M/3/7 empty", q.Steady().Empty, .2550369, 1e-7)
	published(t, "M/M/3/7 response", float64(q.MeanResponse()), .0365170, 1e-7)
	published(t, "M/M/4/6 full", MMCK{MMC{50, 0.1, 4}, 6}.Turned(), .29354299, 1e-8)
	q = MMCK{MMC{3, 0.5, 2}, 5}
	s := q.Steady()
	published(t, "M/M/2/5 empty", s.Empty, .1793345, 1e-7)
	published(t, "M/M/2/5 full", s.Full, .0851138, 1e-7)
	published(t, "M/M/2/5 present", s.Present, 2.0059545, 1e-7)
	published(t, "M/M/2/5 wait", float64(q.MeanWait()), .2308576, 1e-7)
}

func TestHeavyTrafficAsPublished(t *testing.T) {
	for _, v := range []struct{ rho, ca, want float64 }{{.5, 1, 1}, {.8, 1, 4}, {.9, 1, 9}, {.95, 1, 19}, {.9, 4, 22.5}} {
		close6(t, "Kingman", float64(Kingman(v.rho, v.ca, 1, 1)), v.want)
		close6(t, "Sakasegawa, one server", float64(Sakasegawa(v.rho, 1, v.ca, 1, 1)), v.want)
		close6(t, "Allen-Cunneen, one server", float64(GGC{MMC{PerSecond(v.rho), 1, 1}, v.ca, 1}.MeanWait()), v.want)
	}
	published(t, "Sakasegawa, ten servers", float64(Sakasegawa(.9, 10, 1, 1, 1)), .67785, 1e-5)
	published(t, "exact, ten servers", float64(MMC{9, 1, 10}.MeanWait()), .66873, 1e-5)
	// Pollaczek and Khinchine: M/D/1 waits half as long as M/M/1.
	close6(t, "M/D/1", float64(GGC{MMC{.8, 1, 1}, 1, 0}.MeanWait()), 2)
}

func TestServersByHand(t *testing.T) {
	load := Poisson(200, 0.05)
	for _, v := range []struct {
		want Want
		n    int
	}{
		{Want{}, 11},
		{Want{Wait: 0.1, Share: .9}, 11},
		{Want{Wait: 0.1, Share: .99}, 12},
		{Want{Wait: 0.1, Share: .9999}, 14},
		{Want{Utilisation: .7}, 15},
		{Want{Utilisation: 1}, 11},
		{Want{Wait: 0, Share: .9}, 16},
	} {
		if got := Servers(load, v.want); got != v.n {
			t.Errorf("%+v takes %d servers, want %d", v.want, got, v.n)
		}
	}
	if n := Servers(Poisson(200, 0.05), Want{Share: 1}); n != -1 {
		t.Errorf("a share of 1 is promised with %d servers: no number does", n)
	}
}

func TestSimpleFormulas(t *testing.T) {
	close6(t, "servers by ratio", ServerRatio(200, 0.05, 1), 10)
	close6(t, "success", SuccessChance(.004), .996)
	close6(t, "ratio of recovery", RecoveryRatio(4*Hour, 1000*Hour), .004)
	if q := (MMC{Arrivals: 200, Service: 0.05, Servers: int(ServerRatio(200, 0.05, 1))}); !math.IsInf(float64(q.MeanWait()), 1) {
		t.Errorf("with the servers of the ratio the wait is %v: want one without end", q.MeanWait())
	}
}

func minutes(d Down) float64 { return float64(d.PerYear() / Minute) }

func TestAvailabilityByHand(t *testing.T) {
	one := FromTimes(1000*Hour, 4*Hour)
	close6(t, "one server", one.Availability(), .99601594)
	published(t, "minutes down a year", minutes(one), 2095.5, .1)
	close6(t, "series of three", Series(.01, .01, .01).Availability(), .970299)
	close6(t, "two in parallel", Parallel(.01, .01).Availability(), .9999)
	close6(t, "2 of 3", KOfN(2, 3, .01).Availability(), .999702)
	close6(t, "2 of 3, down", float64(KOfN(2, 3, .01)), 2.98e-4)
	close6(t, "3 of 5", float64(KOfN(3, 5, .01)), 1-.9999901494)
	for n, want := range map[int]float64{1: .999, 2: .998001, 3: .999997002, 5: .99999999001} {
		published(t, "quorum", Quorum(n, .001).Availability(), want, 1e-11)
	}
	close6(t, "quorum of five, down", float64(Quorum(5, .001)), 9.985006e-9)
	six := Series(.0005, .0005, .0005, .0005, .0005, .0005)
	published(t, "six parts", six.Availability(), .997004, 1e-6)
	published(t, "six parts, minutes", minutes(six), 1576, 1)
	published(t, "three nines", FromAvailability(.999).Nines(), 3, 1e-9)
	close6(t, "nines of 99.95 %", Down(.0005).Nines(), 3.30103)
}

func TestRepairableByHand(t *testing.T) {
	for _, v := range []struct {
		n, needed, crews int
		up, hours        float64
	}{
		{2, 1, 1, .999968254976, 126_500},
		{2, 1, 2, .999984127236, 126_500},
		{3, 2, 1, .999904767963, 42_500},
		{3, 2, 3, .999952508184, 42_500},
		{5, 3, 1, .999996206261, 1_075_783.333333},
		{5, 3, 5, .999999371392, 2_138_283.333333},
	} {
		r := Repairable{N: v.n, Needed: v.needed, Crews: v.crews, MTBF: 1000 * Hour, MTTR: 4 * Hour}
		published(t, "availability", r.Down().Availability(), v.up, 1e-12)
		close6(t, "hours to the first outage", float64(r.MTTF()/Hour), v.hours)
	}
}

func TestCommonCauseByHand(t *testing.T) {
	u := FromTimes(1000*Hour, 4*Hour)
	for beta, want := range map[float64]float64{0: 8.35, .01: 29.1, .02: 49.9, .05: 112.3, .1: 216.3} {
		digit := .1
		if beta == 0 {
			digit = .01
		}
		published(t, "minutes", minutes(CommonCause(1, 2, u, beta)), want, digit)
	}
}

func TestCoverageByHand(t *testing.T) {
	for uncovered, want := range map[float64]float64{0: 16.7, .001: 20.9, .01: 58.4, .05: 225.3, .1: 433.8} {
		r := Repairable{N: 2, Needed: 1, Crews: 1, MTBF: 1000 * Hour, MTTR: 4 * Hour, Uncovered: uncovered}
		published(t, "minutes", minutes(r.Down()), want, .1)
	}
	for seconds, want := range map[Seconds]float64{30: 2, 120: 8, 3: .2} {
		close6(t, "minutes of failovers", minutes(Switching(4/PerSecond(Year), seconds)), want)
	}
}

func TestBudgetsByHand(t *testing.T) {
	for allowed, want := range map[Down]float64{.001: 43.2, .0005: 21.6, .0001: 4.32, .00001: .432} {
		close6(t, "minutes in 30 days", float64(Budget{allowed, 30 * Day}.Time()/Minute), want)
	}
	b := Budget{.001, 30 * Day}
	seconds := []float64{51.84, 129.6, 259.2, 259.2}
	spent := []float64{.02, .05, .10, .10}
	factors := []float64{14.4, 6, 3, 1}
	short := []Seconds{5 * Minute, 30 * Minute, 2 * Hour, 6 * Hour}
	for i, a := range b.Alerts() {
		close6(t, "factor", a.Factor, factors[i])
		close6(t, "short window", float64(a.Short), float64(short[i]))
		close6(t, "spent", b.Spent(a.Factor, a.Long), spent[i])
		close6(t, "seconds to the alert", float64(b.After(a, 1)), seconds[i])
		if a.Page != (i < 2) {
			t.Errorf("alert %d pages: %v", i, a.Page)
		}
	}
	close6(t, "burn of an outage", b.Burn(1), 1000)
	close6(t, "what is left", b.Left(250, 1_000_000), .75)
	close6(t, "days that it lasts", float64(b.Lasts(.5, 3)/Day), 5)
}

func TestBackupsByHand(t *testing.T) {
	published(t, "loss of three copies", Copies{N: 3, Bad: .1, Common: .05}.Loss(), .005857, 1e-6)
	close6(t, "loss of three copies without a cause in common", Copies{N: 3, Bad: .1}.Loss(), .001)
	// A check that finds nine of ten, passed twice: .1·.01/(.1·.01 + .9).
	close6(t, "a verified copy", Copies{N: 1, Bad: .1, Verified: 2, Finds: .9}.Loss(), .001/.901)
	for k, want := range map[int]float64{8: .99203, 31: .96946, 97: .90751} {
		published(t, "chain", Chain(.999, k), want, 1e-5)
	}
	for n, want := range map[int]float64{30: .0950, 100: .0295, 300: .0099} {
		published(t, "rule of three", RuleOfThree(n, .95), want, 1e-4)
	}
	close6(t, "rule of three", RuleOfThree(30, .95), 1-math.Pow(.05, 1.0/30))
	close6(t, "minutes of a restore", float64(RestoreTime(500e9, 200e6, 20e9, 100e6)/Minute), 45)
	close6(t, "recovery point", float64(RecoveryPoint(60, 5)), 65)
}

// TestIntervalsAsPublished: Clopper and Pearson as R's binom.test, Garwood as R's poisson.test.
func TestIntervalsAsPublished(t *testing.T) {
	for _, v := range []struct {
		k, n      int
		low, high float64
	}{
		{0, 10, 0, .3084971},
		{1, 10, .002528579, .4450161},
		{5, 10, .1870860, .8129140},
		{10, 10, .6915029, 1},
		{682, 925, .7076683, .7654066}, // Mendel's peas, in the help page of binom.test
	} {
		i := ClopperPearson(v.k, v.n, .95)
		published(t, "low", i.Low, v.low, 1e-7)
		published(t, "high", i.High, v.high, 1e-7)
	}
	for _, v := range []struct {
		k         int
		low, high float64
	}{
		{0, 0, 3.688879},
		{1, .02531781, 5.571643},
		{10, 4.795389, 18.39036},
	} {
		i := RateInterval(v.k, 1, .95)
		close6(t, "low", i.Low, v.low)
		close6(t, "high", i.High, v.high)
	}
	// The help page of poisson.test: 137 cases in 24.19893 thousand people.
	i := RateInterval(137, 24.19893, .95)
	published(t, "low", i.Low, 4.753125, 1e-6)
	published(t, "high", i.High, 6.692709, 1e-6)
	// F(0.975; 8, 8) is 4.43326 in every table.
	i = DownInterval(4, 996, 4, 0, .95)
	close6(t, "odds, high", Down(i.High).Odds(), 4.0/996*4.43326)
	close6(t, "odds, low", Down(i.Low).Odds(), 4.0/996/4.43326)
	if n := TrialsFor(.05, .95); n != 59 {
		t.Errorf("to be 95 %% sure of at most 5 %% takes %d trials, want 59", n)
	}
}

func TestOutagesByHand(t *testing.T) {
	o := Outages{Rate: 0.5 / PerSecond(Year), Mean: Hour}
	close6(t, "a year without", o.None(Year), math.Exp(-.5))
	close6(t, "no downtime", o.Within(0, Year), math.Exp(-.5))
	if q := o.Quantile(.5, Year); q != 0 {
		t.Errorf("the median year has %v of downtime, want none", q)
	}
	// With one outage for certain it would be exponential; the mean of the sum is Rate·window·Mean.
	often := Outages{Rate: 100 / PerSecond(Year), Mean: Hour}
	i := often.Interval(Year, .95)
	mean, sd := 100.0*3600, math.Sqrt(2*100)*3600 // variance of a compound Poisson: n·E[X²] = 2n·mean²
	if math.Abs(i.Low-(mean-1.96*sd)) > .1*sd*1.96 || math.Abs(i.High-(mean+1.96*sd)) > .2*sd*1.96 {
		t.Errorf("a hundred outages of an hour: %.0f s to %.0f s, want about %.0f ± %.0f", i.Low, i.High, mean, 1.96*sd)
	}
}

func TestCostsByHand(t *testing.T) {
	close6(t, "cost of a nine", CostPerNine(1000, 3000, .01, .0001), 1000)
	close6(t, "cost of an hour", CostPerHour(1000, 1876.6, .02, .01), 876.6/87.66)
	if c := CostPerNine(1, 2, .01, .02); !math.IsInf(c, 1) {
		t.Errorf("a nine lost costs %v", c)
	}
}

func TestStructureByHand(t *testing.T) {
	close6(t, "unlike parts, 1 of 2", float64(KOf(1, .1, .02)), .002)
	close6(t, "unlike parts, 2 of 3", float64(KOf(2, .1, .2, .3)), .1*.2*.7+.1*.8*.3+.9*.2*.3+.1*.2*.3)
	close6(t, "mission", float64(Mission(1, 2, 100, 100)), math.Pow(1-math.Exp(-1), 2))
	close6(t, "mean life of two", float64(MissionMTTF(1, 2, 100)), 150)
	close6(t, "mean life, 2 of 3", float64(MissionMTTF(2, 3, 6)), 5)
	close6(t, "maintenance", float64(Maintained(.001, 30*Day, 2*Hour, 1)), .001*(1-2.0/720)+2.0/720)
}
