package outlier

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const second = time.Second

func TestFiveFailuresInARowAreSuspect(t *testing.T) {
	r := NewRecord(Config{})
	for i := range 4 {
		if _, suspect := r.Failure(Errors, 0); suspect {
			t.Fatalf("suspect after %d failures", i+1)
		}
	}
	s, suspect := r.Failure(Errors, 0)
	if !suspect || s.Sample != (Sample{5, 5}) {
		t.Fatalf("fifth failure: %+v, %v", s, suspect)
	}
	if !(Config{}).WithDefaults().Convicts(s, Sample{0, 100}) {
		t.Error("not convicted beside healthy peers")
	}
}

func TestSuccessEndsTheRun(t *testing.T) {
	r := NewRecord(Config{MinRequests: 1000})
	for range 10 {
		for range 4 {
			if _, suspect := r.Failure(Errors, 0); suspect {
				t.Fatal("suspect after four in a row")
			}
		}
		r.Success(0)
	}
	if got := r.State().Run; got != 0 {
		t.Errorf("run is %d", got)
	}
}

func TestFailedConnectIsSuspectAtOnce(t *testing.T) {
	for _, cause := range []Cause{Connect, Stall} {
		s, suspect := NewRecord(Config{}).Failure(cause, 0)
		if !suspect || !s.Conclusive() || !(Config{}).Convicts(s, Sample{100, 100}) {
			t.Errorf("%v: %+v, %v", cause, s, suspect)
		}
	}
}

// TestFailureRateWorksWithLittleTraffic: one request a second, every second one
// fails, so no run is longer than one.
func TestFailureRateWorksWithLittleTraffic(t *testing.T) {
	c := Config{}.WithDefaults()
	r := NewRecord(c)
	for now := time.Duration(0); now < 40*second; now += second {
		if int(now/second)%2 == 0 {
			r.Success(now)
			continue
		}
		if s, suspect := r.Failure(Errors, now); suspect && c.Convicts(s, Sample{0, 60}) {
			if now < 9*second {
				t.Fatalf("convicted at %v of %+v: too little to go by", now, s)
			}
			return
		}
	}
	t.Error("half of the requests fail for 40 s, and nothing happens")
}

func TestFewFailuresAmongManyAreNoSuspicion(t *testing.T) {
	r := NewRecord(Config{})
	for i := range 10_000 {
		now := time.Duration(i) * 10 * time.Millisecond
		if i%20 != 0 {
			r.Success(now)
		} else if s, suspect := r.Failure(Errors, now); suspect {
			t.Fatalf("5 %% of failures are suspect: %+v", s)
		}
	}
}

func TestConvictionTakesPeersIntoAccount(t *testing.T) {
	c := Config{}.WithDefaults()
	for _, x := range []struct {
		name  string
		own   Sample
		peers Sample
		want  bool
	}{
		{"half fail, peers fine", Sample{10, 20}, Sample{0, 40}, true},
		{"all fail, peers fine", Sample{5, 5}, Sample{0, 3}, true},
		{"all fail, no peers seen", Sample{5, 5}, Sample{}, true},
		{"all fail, one unlucky peer", Sample{5, 5}, Sample{1, 1}, true},
		{"all fail, peers as well: what is behind them is broken", Sample{20, 20}, Sample{40, 40}, false},
		{"half fail, peers as well", Sample{500, 1000}, Sample{1000, 2000}, false},
		{"nearly all fail, half of the peers'", Sample{95, 100}, Sample{50, 100}, true},
		{"3 of 10: may be chance", Sample{3, 10}, Sample{0, 100}, false},
		{"300 of 1000: is not", Sample{300, 1000}, Sample{0, 1000}, true},
		{"nothing", Sample{}, Sample{}, false},
	} {
		if got := c.Convicts(Suspicion{Sample: x.own}, x.peers); got != x.want {
			t.Errorf("%s: %v", x.name, got)
		}
	}
}

// TestLowerBoundIsWilsons checks the equation that defines the interval: from
// its bound, the sample is exactly z standard deviations away.
func TestLowerBoundIsWilsons(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 10_000).Draw(t, "n")
		f := rapid.IntRange(1, n).Draw(t, "f")
		low := lowerBound(Sample{f, n})
		p := float64(f) / float64(n)
		deviations := (p - low) / math.Sqrt(low*(1-low)/float64(n))
		if low <= 0 || low >= p || math.Abs(deviations-z) > 1e-6 {
			t.Fatalf("%d of %d: bound %v is %v deviations below %v", f, n, low, deviations, p)
		}
	})
	if got := lowerBound(Sample{0, 100}); got != 0 {
		t.Errorf("bound without failures is %v", got)
	}
}

func TestEjectionsDoubleUpToTheirMaximum(t *testing.T) {
	r := NewRecord(Config{})
	now := time.Duration(0)
	for i, want := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
		until := r.Eject(Suspicion{Cause: Errors, OnProbation: i > 0}, now)
		if got := until - now; got != want*second {
			t.Errorf("ejection %d lasts %v, want %v s", i+1, got, int(want))
		}
		now = until
		if !r.Release() {
			t.Error("release of an ejected one reports false")
		}
	}
}

func TestConnectEjectionsAreShort(t *testing.T) {
	r := NewRecord(Config{})
	for i, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
		if got := r.Eject(Suspicion{Cause: Connect}, 0); got != want*second {
			t.Errorf("ejection %d lasts %v, want %v s", i+1, got, int(want))
		}
		r.Release()
	}
}

func TestProbationEndsAfterThreeSuccesses(t *testing.T) {
	r := NewRecord(Config{})
	if r.Release() {
		t.Error("release of one in good standing reports true")
	}
	s, _ := r.Failure(Connect, 0)
	r.Eject(s, 0)
	if r.Success(second) || r.State().Standing != Ejected {
		t.Error("the success of a request sent before ends the ejection")
	}
	r.Release()
	for i, want := range []bool{false, false, true} {
		if got := r.State(); got.Standing != Probation || got.Remaining != 3-i {
			t.Errorf("state before success %d: %+v", i+1, got)
		}
		if got := r.Success(11 * second); got != want {
			t.Errorf("success %d: trusted is %v", i+1, got)
		}
	}
	if got := r.State().Standing; got != Good {
		t.Errorf("standing is %v", got)
	}
	if r.Success(11 * second) {
		t.Error("trusted twice")
	}
}

func TestAnyFailureOnProbationIsConclusive(t *testing.T) {
	r := NewRecord(Config{})
	r.Eject(Suspicion{}, 0)
	r.Release()
	s, suspect := r.Failure(Errors, 10*second)
	if !suspect || !s.OnProbation || !s.Conclusive() {
		t.Errorf("%+v, %v", s, suspect)
	}
}

func TestFailuresWhileEjectedAreIgnored(t *testing.T) {
	r := NewRecord(Config{})
	r.Eject(Suspicion{}, 0)
	for range 20 {
		if _, suspect := r.Failure(Connect, second); suspect {
			t.Fatal("a request sent before the ejection makes a suspect again")
		}
	}
	if got := r.Sample(second); got != (Sample{}) {
		t.Errorf("sample is %+v", got)
	}
}

func TestGoodConductIsForgiven(t *testing.T) {
	r := NewRecord(Config{Probation: 1})
	cycle := func(at, want time.Duration) {
		t.Helper()
		if got := r.Eject(Suspicion{}, at) - at; got != want {
			t.Fatalf("at %v the ejection lasts %v, want %v", at, got, want)
		}
		r.Release()
		r.Success(at + want)
	}
	cycle(0, 10*second)
	cycle(20*second, 20*second)             // good for 10 s only
	cycle(40*second+60*second, 10*second)   // good for a minute
	cycle(115*second, 20*second)            // and not
	cycle(136*second, 40*second)            //
	cycle(177*second, 80*second)            //
	cycle(257*second+79*second, 160*second) // good for a minute, but out for longer
}

func TestTheWindowForgets(t *testing.T) {
	r := NewRecord(Config{Window: 30 * second})
	for i := range 6 {
		r.Success(time.Duration(i) * second)
	}
	r.Failure(Errors, 6*second)
	if got := r.Sample(29 * second); got != (Sample{1, 7}) {
		t.Errorf("within the window: %+v", got)
	}
	if got := r.Sample(40 * second); got != (Sample{}) {
		t.Errorf("after the window: %+v", got)
	}
	r.Success(1000 * second)
	if got := r.Sample(1000 * second); got != (Sample{0, 1}) {
		t.Errorf("after a pause: %+v", got)
	}
}

func TestComparisonsAreRare(t *testing.T) {
	r := NewRecord(Config{})
	suspects := 0
	for i := range 1000 {
		if _, suspect := r.Failure(Errors, time.Duration(i)*time.Millisecond); suspect {
			suspects++
		}
	}
	if suspects < 9 || suspects > 11 {
		t.Errorf("%d comparisons in a second, want one every 100 ms", suspects)
	}
}

func TestMayEject(t *testing.T) {
	c := Config{}.WithDefaults()
	for _, x := range []struct {
		name                      string
		cause                     Cause
		ejected, available, total int
		want                      bool
	}{
		{"the only one", Connect, 0, 1, 1, false},
		{"the last one left", Connect, 2, 1, 3, false},
		{"one of two", Errors, 0, 2, 2, true},
		{"one of three", Errors, 0, 3, 3, true},
		{"second of three by errors", Errors, 1, 2, 3, false},
		{"second of three by connect", Connect, 1, 2, 3, true},
		{"second of three by stall", Stall, 1, 2, 3, true},
		{"second of four by errors", Errors, 1, 3, 4, true},
		{"third of five by errors", Errors, 2, 3, 5, false},
	} {
		if got := c.MayEject(x.cause, x.ejected, x.available, x.total); got != x.want {
			t.Errorf("%s: %v", x.name, got)
		}
	}
	if (Config{Disabled: true}).MayEject(Connect, 0, 9, 9) {
		t.Error("ejects although disabled")
	}
}

func TestReasonsReadWell(t *testing.T) {
	for want, s := range map[string]Suspicion{
		"5 failures in a row":                 {Sample: Sample{5, 5}},
		"12 of 20 requests failed within 30s": {Sample: Sample{12, 20}},
		"connect failed":                      {Cause: Connect},
		"stopped answering":                   {Cause: Stall},
		"failed on probation":                 {OnProbation: true, Sample: Sample{1, 1}},
	} {
		r := NewRecord(Config{})
		r.Eject(s, 0)
		if got := r.State().Reason; got != want {
			t.Errorf("reason is %q, want %q", got, want)
		}
	}
	if got := fmt.Sprint(Good, Ejected, Probation, Errors); got != "good ejected on probation errors" {
		t.Error(got)
	}
}

func TestResetAndConfigChange(t *testing.T) {
	r := NewRecord(Config{})
	r.Eject(Suspicion{}, 0)
	r.SetConfig(Config{BaseEjection: time.Minute})
	if got := r.State(); got.Standing != Ejected || got.Until != 10*second {
		t.Errorf("new rules change a running ejection: %+v", got)
	}
	r.Reset()
	if got := r.State(); got.Standing != Good || got.Ejections != 0 {
		t.Errorf("after Reset: %+v", got)
	}
	if got := r.Eject(Suspicion{}, 0); got != time.Minute {
		t.Errorf("first ejection by the new rules lasts %v", got)
	}
}

func TestCheckRefusesNonsense(t *testing.T) {
	for want, c := range map[string]Config{
		"consecutive":      {Consecutive: -1},
		"minimum":          {MinRequests: -1},
		"window":           {Window: 1},
		"margin":           {Margin: 1},
		"margin NaN":       {Margin: math.NaN()},
		"base":             {BaseEjection: -1, MaxEjection: 1, ConnectEjection: 1},
		"maximum ejection": {MaxEjection: 1},
		"connect":          {ConnectEjection: time.Hour},
		"share":            {MaxEjected: 1.1},
		"probation":        {Probation: -1},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := (Config{}).Check(); err != nil {
		t.Error(err)
	}
}

func TestRecordCountsConcurrently(t *testing.T) {
	r := NewRecord(Config{Consecutive: 1 << 30, MinRequests: 1 << 30})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				r.Success(second)
				if i%10 == 0 {
					r.Failure(Errors, second)
				}
			}
		})
	}
	wg.Wait()
	if got := r.Sample(second); got != (Sample{800, 8800}) {
		t.Errorf("sample is %+v", got)
	}
}

func BenchmarkSuccess(b *testing.B) {
	r := NewRecord(Config{})
	b.ReportAllocs()
	for now := time.Duration(0); b.Loop(); now += time.Microsecond {
		r.Success(now)
	}
}

func BenchmarkFailure(b *testing.B) {
	r := NewRecord(Config{})
	b.ReportAllocs()
	for now := time.Duration(0); b.Loop(); now += time.Microsecond {
		r.Failure(Errors, now)
	}
}
