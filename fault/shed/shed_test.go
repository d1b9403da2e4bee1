package shed

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trivet-ha/trivet/internal/transcript"
)

const second = time.Second

func TestFormulasAgreeWithTheirSources(t *testing.T) {
	for _, x := range []struct {
		name      string
		got, want float64
	}{
		{"throttle 1000, 400", Throttle(1000, 400, 2), 0.199800},
		{"throttle 100, 10", Throttle(100, 10, 2), 0.792079},
		{"throttle 100, 50", Throttle(100, 50, 2), 0},
		{"throttle nothing", Throttle(0, 0, 2), 0},
		{"admission 100, 90", Admission(100, 90, 0.95, 1), 0.052110},
		{"admission 100, 50", Admission(100, 50, 0.95, 1), 0.468994},
		{"admission 100, 95", Admission(100, 95, 0.95, 1), 0},
		{"admission 100, 50, twice as steep", Admission(100, 50, 0.95, 2), math.Sqrt(0.468994)},
	} {
		if math.Abs(x.got-x.want) > 1e-6 {
			t.Errorf("%s is %.6f, want %.6f", x.name, x.got, x.want)
		}
	}
}

// TestTranscripts plays testdata/*.txt. A line is a command and, after "=>",
// what it must answer:
//
//	config algorithm=admission min=20
//	1s ask critical x10     what is shed of all, and of this priority, after these
//	1s accepted x9          nine requests went well
//	1s refused | ignored
//	1s press 0.5
func TestTranscripts(t *testing.T) {
	transcript.Play(t, func() transcript.Actor {
		var s *Shedder
		return func(fields []string) (string, error) { return run(&s, fields) }
	})
}

func run(s **Shedder, fields []string) (string, error) {
	if fields[0] == "config" {
		c, err := parseConfig(fields[1:])
		if err == nil {
			err = c.Check()
		}
		*s = New(c)
		return "", err
	}
	now, err := time.ParseDuration(fields[0])
	if err != nil {
		return "", err
	}
	times := 1
	if x, ok := strings.CutPrefix(fields[len(fields)-1], "x"); ok {
		if times, err = strconv.Atoi(x); err != nil {
			return "", err
		}
	}
	answer := ""
	for range times {
		switch fields[1] {
		case "ask":
			p := map[string]Priority{"sheddable": Sheddable, "sheddable+": SheddablePlus, "critical": Critical, "critical+": CriticalPlus}[fields[2]]
			(*s).Admit(now, p, math.MaxUint64)
			share := float64((*s).shares[p.index()].Load()) / (1 << 63) / 2
			answer = fmt.Sprintf("%.3f is shed: %.3f of %v", (*s).Shedding(), share, p)
		case "press":
			share, err := strconv.ParseFloat(fields[2], 64)
			if err != nil {
				return "", err
			}
			(*s).Press(share)
		default:
			(*s).Done(now, map[string]Outcome{"accepted": Accepted, "refused": Refused, "ignored": Ignored}[fields[1]])
		}
	}
	return answer, nil
}

func parseConfig(fields []string) (c Config, err error) {
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "algorithm":
			c.Algorithm = AdmissionControl
		case "min":
			c.MinRequests, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("%q is no setting", key)
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// TestLowerPrioritiesLoseFirst: whatever was asked, together the priorities lose
// the share of all that is shed, and none loses anything before the lower ones
// have lost all.
func TestLowerPrioritiesLoseFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var asked [priorities]int
		total := 0
		for i := range asked {
			asked[i] = rapid.IntRange(0, 1000).Draw(t, "asked")
			total += asked[i]
		}
		p := rapid.Float64Range(0, 1).Draw(t, "p")
		shares := distribute(p, asked)
		lost, all := 0.0, true
		for i, share := range shares {
			if share < 0 || share > 1 {
				t.Fatalf("priority %d loses a share of %v", i, share)
			}
			if share > 1e-9 && !all {
				t.Fatalf("priority %d loses %v before the lower ones have lost all: %v", i, share, shares)
			}
			all = all && (share > 1-1e-9 || asked[i] == 0)
			lost += share * float64(asked[i])
		}
		if math.Abs(lost-p*float64(total)) > 1e-6 {
			t.Fatalf("%v of %d are lost, want %v", lost, total, p*float64(total))
		}
	})
}

// TestShedsWhatTheServiceCantTake: a service that copes with 100 requests a second
// is offered 500. Without shedding it would have to refuse 400 of them; with it,
// it is asked about twice as many as it accepts.
func TestShedsWhatTheServiceCantTake(t *testing.T) {
	for _, c := range []struct {
		config   Config
		from, to float64
	}{
		{Config{Window: 10 * second}, 150, 250},
		{Config{Window: 10 * second, Algorithm: AdmissionControl, MaxShed: 0.9}, 100, 260},
	} {
		s := New(c.config)
		rng := rand.New(rand.NewPCG(1, 2))
		sent := 0
		for i := range 500 * 60 {
			now := time.Duration(i) * second / 500
			if i%500 == 0 && i < 500*30 {
				sent = 0
			}
			if !s.Admit(now, Critical, rng.Uint64()) {
				continue
			}
			sent++
			if rng.Float64() < 100/(500*(1-s.Shedding())) {
				s.Done(now, Accepted)
			} else {
				s.Done(now, Refused)
			}
		}
		if rate := float64(sent) / 30; rate < c.from || rate > c.to {
			t.Errorf("%v: the service is asked %.0f times a second", c.config.Algorithm, rate)
		}
	}
}

func TestSharesOfRandomNumbers(t *testing.T) {
	for share, want := range map[float64]uint64{0: 0, 0.25: 1 << 62, 0.5: 1 << 63, 1: math.MaxUint64, 1.5: math.MaxUint64} {
		if got := scaled(share); got != want {
			t.Errorf("%v: %x, want %x", share, got, want)
		}
	}
	s := New(Config{MaxShed: 1})
	s.Press(1)
	if s.Admit(0, Critical, math.MaxUint64) {
		t.Error("all is to be shed, and one is admitted")
	}
	s.Press(0.5)
	if s.Admit(0, Critical, 1<<62) || !s.Admit(0, Critical, 3<<62) {
		t.Error("half is to be shed, and it is another half")
	}
}

func TestCheckRefusesNonsense(t *testing.T) {
	for want, c := range map[string]Config{
		"algorithm":  {Algorithm: 9},
		"window":     {Window: 1},
		"minimum":    {MinRequests: -1},
		"K":          {K: 0.5},
		"threshold":  {Threshold: 1.5},
		"aggression": {Aggression: math.NaN()},
		"maximum":    {MaxShed: 2},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := (Config{}).Check(); err != nil {
		t.Error(err)
	}
	if c := New(Config{}).Config(); c.K != 2 || c.Threshold != 0.95 || c.MaxShed != 0.8 {
		t.Errorf("defaults are %+v", c)
	}
	got := fmt.Sprint(Sheddable, SheddablePlus, Critical, CriticalPlus, Priority(99), Priority(-99), ClientThrottling, AdmissionControl, Accepted, Refused, Ignored)
	if want := "sheddable sheddable plus critical critical plus critical plus sheddable client throttling admission control accepted refused ignored"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestCountsConcurrently(t *testing.T) {
	s := New(Config{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				s.Admit(0, Priority(i%4-2), math.MaxUint64)
				s.Done(0, Outcome(i%2))
			}
		})
	}
	wg.Wait()
	asked := 0
	for i := range s.asked {
		asked += s.asked[i].Sum(s.scale.Slot(0))
	}
	if ended, accepted := s.ended.Sum(s.scale.Slot(0)), s.accepted.Sum(s.scale.Slot(0)); asked != 8000 || ended != 8000 || accepted != 4000 {
		t.Errorf("%d asked, %d ended, %d accepted", asked, ended, accepted)
	}
}

func TestCallsAllocateNothing(t *testing.T) {
	s := New(Config{})
	now := time.Duration(0)
	if got := testing.AllocsPerRun(1000, func() {
		now += second
		s.Admit(now, Critical, 1)
		s.Done(now, Accepted)
	}); got != 0 {
		t.Errorf("%v allocations a call", got)
	}
}

func BenchmarkCall(b *testing.B) {
	s := New(Config{})
	b.ReportAllocs()
	for now := time.Duration(0); b.Loop(); now += time.Microsecond {
		s.Admit(now, Critical, math.MaxUint64)
		s.Done(now, Accepted)
	}
}
