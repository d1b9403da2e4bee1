package timeout

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	ms     = time.Millisecond
	second = time.Second
)

func TestTheEarliestLimitHolds(t *testing.T) {
	all := Policy{Total: 10 * second, PerTry: 3 * second, Idle: second}.WithDefaults()
	none := Policy{}.WithDefaults()
	if got := all.End(5*second, Never); got != 15*second {
		t.Errorf("call ends at %v", got)
	}
	if got := all.End(5*second, 7*second); got != 7*second {
		t.Errorf("call whose caller waits for 2 s ends at %v", got)
	}
	if got := none.End(5*second, Never); got != Never {
		t.Errorf("call without a limit ends at %v", got)
	}
	for _, x := range []struct {
		p        Policy
		now, end time.Duration
		until    time.Duration
		worth    bool
	}{
		{all, 0, 10 * second, 3 * second, true},
		{all, 8 * second, 10 * second, 10 * second, true},
		{all, 10*second - ms, 10 * second, 10 * second, true},
		{all, 10*second - ms + 1, 10 * second, 10 * second, false},
		{all, 11 * second, 10 * second, 10 * second, false},
		{none, 11 * second, Never, Never, true},
		{none, 0, second, second, true},
	} {
		if until, worth := x.p.Try(x.now, x.end); until != x.until || worth != x.worth {
			t.Errorf("attempt at %v of a call until %v: %v, %v", x.now, x.end, until, worth)
		}
	}
	if got := all.Silence(2*second, 3*second); got != 3*second {
		t.Errorf("silence after 2 s lasts until %v", got)
	}
	if got := all.Silence(second, 3*second); got != 2*second {
		t.Errorf("silence after 1 s lasts until %v", got)
	}
	if got := all.End(Never-second, Never); got != Never {
		t.Errorf("at the end of time a call ends at %v", got)
	}
}

// TestNothingOutlivesItsCall: no attempt and no silence lasts beyond the call, nor
// longer than it may itself.
func TestNothingOutlivesItsCall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(0, 1e11)
		p := Policy{
			Total:  time.Duration(limit.Draw(t, "total")),
			PerTry: time.Duration(limit.Draw(t, "per try")),
			Idle:   time.Duration(limit.Draw(t, "idle")),
		}.WithDefaults()
		now := time.Duration(rapid.Int64Range(-1e15, 1e15).Draw(t, "now"))
		end := p.End(now, Never)
		at := now + time.Duration(limit.Draw(t, "later"))
		until, _ := p.Try(at, end)
		silence := p.Silence(at, until)
		if silence > until || until > end {
			t.Fatalf("silence until %v, attempt until %v, call until %v", silence, until, end)
		}
		if p.PerTry > 0 && until > at+p.PerTry || p.Idle > 0 && silence > at+p.Idle {
			t.Fatalf("attempt from %v until %v, silence until %v", at, until, silence)
		}
	})
}

func TestLearnsHowLongCallsTake(t *testing.T) {
	l := NewLearned(LearnedConfig{})
	if got := l.Limit(); got != 10*second {
		t.Errorf("at first the limit is %v", got)
	}
	now := time.Duration(0)
	play := func(n int, latency time.Duration) {
		for range n {
			now += 10 * ms
			l.Observe(now, min(latency, l.Limit()))
		}
	}
	play(1000, 100*ms)
	if got := l.Limit(); got < 300*ms || got > 310*ms {
		t.Errorf("where calls take 100 ms the limit is %v", got)
	}
	play(6000, 4*second) // the service has become slow
	if got := l.Limit(); got != 10*second {
		t.Errorf("where calls take 4 s the limit is %v", got)
	}
	play(12000, ms)
	if got := l.Limit(); got != 50*ms {
		t.Errorf("where calls take 1 ms the limit is %v", got)
	}
}

func TestCheckRefusesNonsense(t *testing.T) {
	for want, p := range map[string]Policy{
		"total -1":           {Total: -1},
		"per try is neg":     {PerTry: -1},
		"idle":               {Idle: -1},
		"least -1":           {Least: -1},
		"longer than the to": {Total: second, PerTry: 2 * second},
		"least 2s is longer": {Total: second, Least: 2 * second},
	} {
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	for want, c := range map[string]LearnedConfig{
		"quantile": {Quantile: 1},
		"factor":   {Factor: math.NaN()},
		"minimum":  {Min: -1},
		"maximum":  {Min: second, Max: ms},
		"window":   {Window: 1},
		"samples":  {Samples: -1},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := (Policy{}).Check(); err != nil {
		t.Error(err)
	}
	if err := (LearnedConfig{}).Check(); err != nil {
		t.Error(err)
	}
	if got := NewLearned(LearnedConfig{Min: time.Minute}).Config().Max; got != time.Minute {
		t.Errorf("maximum is %v, want the minimum", got)
	}
}

func TestCallsAllocateNothing(t *testing.T) {
	l := NewLearned(LearnedConfig{})
	if got := testing.AllocsPerRun(1000, func() {
		l.Limit()
		l.Observe(0, ms)
	}); got != 0 {
		t.Errorf("%v allocations a call", got)
	}
}

func BenchmarkLearned(b *testing.B) {
	l := NewLearned(LearnedConfig{})
	b.ReportAllocs()
	for now := time.Duration(0); b.Loop(); now += time.Microsecond {
		l.Limit()
		l.Observe(now, now&0xffffff)
	}
}

func ExamplePolicy() {
	p := Policy{Total: 5 * time.Second, PerTry: 2 * time.Second}.WithDefaults()
	end := p.End(0, Never)
	for now := time.Duration(0); ; {
		until, worth := p.Try(now, end)
		if !worth {
			fmt.Println("no time is left at", now)
			return
		}
		fmt.Println("attempt from", now, "until", until)
		now = until // it was not answered
	}
	// Output:
	// attempt from 0s until 2s
	// attempt from 2s until 4s
	// attempt from 4s until 5s
	// no time is left at 5s
}
