package avail

import (
	"math"
	"testing"
)

// The wanted figures here were computed with forty digits, by sums of the definitions.

func TestAMillionServersKeepTheirDigits(t *testing.T) {
	for _, v := range []struct {
		offered float64
		servers int
		b, c    float64
	}{
		{1000000, 1000000, 0.00079746030685556, 1},
		{999000, 1000000, 0.00028742137577687, 0.22330339029134},
		{990000, 1000000, 5.4995431265267e-26, 5.4995431265267e-24},
		{95, 100, 0.048804206178678, 0.50645685391302},
		{1e-6, 2, 4.9999950000025e-13, 4.9999975000012e-13},
		{1e-12, 1, 9.99999999999e-13, 1e-12},
	} {
		close6(t, "Erlang B", ErlangB(v.offered, v.servers), v.b)
		close6(t, "Erlang C", ErlangC(v.offered, v.servers), v.c)
	}
	for _, v := range []struct {
		k, n       int
		part, want float64
	}{
		{1, 1, 1e-12, 1e-12},
		{1, 2, 1e-6, 1e-12},
		{2, 3, 1e-12, 2.999999999998e-24},
		{3, 5, 1e-12, 9.999999999985e-36},
		{990000, 1000000, 0.01, 0.49734038520048},
		{995500, 1000000, 0.004, 3.7608922108314e-15},
		{996000, 1000000, 0.004, 0.49579490501638},
		{999990, 1000000, 1e-6, 1.0047310184456e-8},
		{1, 1000000, 0.999999, 0.36787925723165},
		{500001, 1000000, 0.5, 0.50039894218067},
		{7, 10, 0.999999999999, 1},
		{3, 3, 1, 1},
		{3, 3, 0, 0},
		{0, 3, 1, 0},
	} {
		close6(t, "k of n", float64(KOfN(v.k, v.n, Down(v.part))), v.want)
	}
}

func TestAMillionRepairableUnitsAgreeWithTheBinomial(t *testing.T) {
	for _, needed := range []int{1_000_000, 997_000, 996_000, 995_900} {
		r := Repairable{N: 1_000_000, Needed: needed, MTBF: 1000 * Hour, MTTR: 4 * Hour}
		close6(t, "down", float64(r.Down()), float64(KOfN(needed, r.N, FromTimes(r.MTBF, r.MTTR))))
		if m := r.MTTF(); !(m > 0) {
			t.Errorf("mean time to failure with %d needed is %v", needed, m)
		}
	}
	// Ten million nines: it never fails, and nothing overflows on the way.
	r := Repairable{N: 1_000_000, Needed: 1, MTBF: 1000 * Hour, MTTR: 4 * Hour}
	if d, m := r.Down(), r.MTTF(); d != 0 || !math.IsInf(float64(m), 1) {
		t.Errorf("a million units of which one is needed: down %g, lasts %v", d, m)
	}
}

func TestTwelveNines(t *testing.T) {
	close6(t, "times", float64(FromTimes(1e12, 1)), 1e-12)
	close6(t, "series", float64(Series(1e-12, 1e-12, 3e-12)), 5e-12)
	close6(t, "series of a million", float64(Series(make1e6(1e-12)...)), 1e-6*(1-.5e-6))
	close6(t, "parallel", float64(Parallel(1e-6, 1e-6)), 1e-12)
	close6(t, "nines", Down(1e-12).Nines(), 12)
	close6(t, "from nines", float64(FromNines(12)), 1e-12)
	r := Repairable{N: 2, Needed: 1, Crews: 1, MTBF: 1e6, MTTR: 1}
	close6(t, "repairable", float64(r.Down()), 2e-12/(1+2e-6))
	close6(t, "rule of three", RuleOfThree(1_000_000_000_000, .95), 2.995732273554e-12)
	close6(t, "Clopper and Pearson", ClopperPearson(1, 1_000_000_000, .95).Low, 2.53178e-11)
	if s := Series(1, 1e-12); s != 1 {
		t.Errorf("a chain with a part that is always down is down %g", s)
	}
}

func make1e6(d Down) []Down {
	all := make([]Down, 1_000_000)
	for i := range all {
		all[i] = d
	}
	return all
}

// TestOutsideItsDomainAFunctionIsNaN lists a bad argument for every one of them.
func TestOutsideItsDomainAFunctionIsNaN(t *testing.T) {
	nan, q := math.NaN(), MMC{1, .5, 1}
	for name, got := range map[string]float64{
		"InSystem":         InSystem(-1, 1),
		"Utilisation":      Utilisation(1, 1, 0),
		"ErlangB":          ErlangB(-1, 1),
		"ErlangB of none":  ErlangB(1, -1),
		"ErlangC":          ErlangC(1, 0),
		"Offered":          MMC{1, 0, 1}.Offered(),
		"WaitTail":         q.WaitTail(-1),
		"WaitQuantile":     float64(q.WaitQuantile(2)),
		"ResponseTail":     q.ResponseTail(-1),
		"ResponseQuantile": float64(q.ResponseQuantile(-1)),
		"GGC wait":         float64(GGC{q, -1, 1}.MeanWait()),
		"GGC tail":         GGC{q, -1, 1}.WaitTail(1),
		"GGC quantile":     float64(GGC{q, 0, 0}.WaitQuantile(2)),
		"Kingman":          float64(Kingman(-1, 1, 1, 1)),
		"KingmanBound":     float64(KingmanBound(0, 1, 1, 1)),
		"Sakasegawa":       float64(Sakasegawa(.5, 0, 1, 1, 1)),
		"MMCK":             MMCK{q, 0}.Turned(),
		"ArrivalsFor":      ArrivalsFor(0, .5, ErlangB),
		"ServerRatio":      ServerRatio(1, 1, 0),
		"SuccessChance":    SuccessChance(1.1),
		"RecoveryRatio":    RecoveryRatio(1, 0),
		"FromAvailability": float64(FromAvailability(nan)),
		"FromTimes":        float64(FromTimes(0, 0)),
		"FromOdds":         float64(FromOdds(-1)),
		"FromNines":        float64(FromNines(-1)),
		"MTBF":             float64(MTBF(1, -1)),
		"MTTR":             float64(MTTR(1, 0)),
		"Series":           float64(Series(.1, 2)),
		"Parallel":         float64(Parallel(.1, -1)),
		"KOfN":             float64(KOfN(3, 2, .1)),
		"KOf":              float64(KOf(3, .1)),
		"KOf of none":      float64(KOf(1, 7)),
		"CommonCause":      float64(CommonCause(1, 2, .1, 2)),
		"Mission":          float64(Mission(1, 1, 0, 1)),
		"MissionMTTF":      float64(MissionMTTF(0, 1, 1)),
		"Switching":        float64(Switching(-1, 1)),
		"Maintained":       float64(Maintained(.1, 1, 2, 1)),
		"Repairable":       float64(Repairable{N: 1, Needed: 2, MTBF: 1, MTTR: 1}.Down()),
		"MTTF":             float64(Repairable{N: 1, Needed: 1, MTBF: 1}.MTTF()),
		"Outages":          float64(Repairable{}.Outages().Rate),
		"None":             Outages{Rate: 1, Mean: 1}.None(-1),
		"Within":           Outages{Rate: -1, Mean: 1}.Within(1, 1),
		"Quantile":         float64(Outages{Rate: 1, Mean: 1}.Quantile(1, 1)),
		"ClopperPearson":   ClopperPearson(2, 1, .95).High,
		"RuleOfThree":      RuleOfThree(-1, .95),
		"RateInterval":     RateInterval(1, 0, .95).Low,
		"DownInterval":     DownInterval(-1, 1, 1, 1, .95).Low,
		"Sample.Mean":      float64(Sample{}.Mean()),
		"Sample.Quantile":  float64(Sample{1}.Quantile(2)),
		"QuantileInterval": Sample{1}.QuantileInterval(.5, 1).Low,
		"Bootstrap":        Bootstrap(nil, nil, 10, .95, nil).Low,
		"BadNow":           Copies{N: 1, Bad: 2}.BadNow(),
		"Loss":             Copies{N: 0}.Loss(),
		"Chain":            Chain(.5, -1),
		"RestoreTime":      float64(RestoreTime(1, 0, 1, 1)),
	} {
		if !math.IsNaN(got) {
			t.Errorf("%s of an argument outside its domain is %v, want NaN", name, got)
		}
	}
	if n := Servers(Poisson(-1, 1), Want{}); n != -1 {
		t.Errorf("a negative load takes %d servers, want -1", n)
	}
	if n := TrialsFor(0, .95); n != -1 {
		t.Errorf("certainty takes %d trials, want -1", n)
	}
}

func TestEdgesOfTheDomain(t *testing.T) {
	for name, v := range map[string][2]float64{
		"no load":                      {ErlangB(0, 5), 0},
		"no servers":                   {ErlangB(5, 0), 1},
		"all the load there is":        {ErlangB(math.Inf(1), 5), 1},
		"always down":                  {float64(FromOdds(math.Inf(1))), 1},
		"repaired at once":             {float64(FromTimes(1, 0)), 0},
		"never failed":                 {float64(MTBF(10, 0)), math.Inf(1)},
		"nothing in series":            {float64(Series()), 0},
		"nothing needed":               {float64(KOfN(0, 0, .5)), 0},
		"a clock serving a clock":      {float64(GGC{MMC{1, .5, 1}, 0, 0}.MeanWait()), 0},
		"and its tail":                 {GGC{MMC{1, .5, 1}, 0, 0}.WaitTail(0), 0},
		"and its quantile":             {float64(GGC{MMC{1, .5, 1}, 0, 0}.WaitQuantile(.9)), 0},
		"an overloaded one":            {GGC{MMC{3, .5, 1}, 1, 1}.WaitTail(9), 1},
		"its quantile":                 {float64(MMC{3, .5, 1}.WaitQuantile(.9)), math.Inf(1)},
		"its response":                 {MMC{3, .5, 1}.ResponseTail(9), 1},
		"its response's quantile":      {float64(MMC{3, .5, 1}.ResponseQuantile(.9)), math.Inf(1)},
		"Kingman at saturation":        {float64(Kingman(1, 1, 1, 1)), math.Inf(1)},
		"no trials":                    {RuleOfThree(0, .95), 1},
		"no outages":                   {Outages{}.Within(0, 1), 1},
		"of no length":                 {float64(Outages{Rate: 1, Mean: 0}.Quantile(.5, 1)), 0},
		"no outages in series":         {float64(InSeries().Rate), 0},
		"a perfect copy":               {Copies{N: 1, Bad: 0, Verified: 3, Finds: 1}.Loss(), 0},
		"a perfect check":              {Copies{N: 1, Bad: .5, Verified: 1, Finds: 1}.Loss(), 0},
		"nothing burns":                {float64(Budget{.1, Day}.Lasts(1, 0)), math.Inf(1)},
		"nothing is left":              {float64(Budget{.1, Day}.Lasts(-1, 2)), 0},
		"an alert that never comes":    {float64(Budget{.1, Day}.After(BurnAlert{Factor: 2, Long: Hour}, .1)), math.Inf(1)},
		"a nine from what has all":     {CostPerNine(1, 2, 0, 0), math.Inf(1)},
		"the last nine":                {CostPerNine(1, 2, .1, 0), 0},
		"an hour that is not saved":    {CostPerHour(1, 2, .1, .1), math.Inf(1)},
		"every failure is a whole one": {float64(Repairable{N: 3, Needed: 1, MTBF: 10, MTTR: 1, Common: 1}.MTTF()), 10},
		"no failure is covered":        {float64(Repairable{N: 4, Needed: 1, MTBF: 40, MTTR: 1, Uncovered: 1}.MTTF()), 10},
	} {
		if v[0] != v[1] {
			t.Errorf("%s: %v, want %v", name, v[0], v[1])
		}
	}
	if s := Seconds(math.Inf(1)).Duration(); s != math.MaxInt64 {
		t.Errorf("forever is %v", s)
	}
	if s := Seconds(math.Inf(-1)).Duration(); s != math.MinInt64 {
		t.Errorf("minus forever is %v", s)
	}
	if s := Seconds(math.NaN()).Duration(); s != 0 {
		t.Errorf("no number is %v", s)
	}
	if s := Of(Seconds(1.5).Duration()); s != 1.5 {
		t.Errorf("there and back: %v", s)
	}
}
