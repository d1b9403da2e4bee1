package breaker

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trivet-ha/trivet/internal/transcript"
)

const second = time.Second

// TestTranscripts plays testdata/*.txt. A line is a command and, after "=>",
// what it must answer:
//
//	config calls=10 min=5 rate=0.5 ...     begin with these rules
//	2s ok | 2s fail | 2s fail x5           calls begin and end at 2s
//	2s begin a, 3s end a ok|fail|ignored   a call that takes its time
//	4s force open|closed|auto
func TestTranscripts(t *testing.T) {
	transcript.Play(t, func() transcript.Actor { return new(stage).run })
}

// stage is a breaker, the calls under way and the last change it told of.
type stage struct {
	b       *Breaker
	tickets map[string]Ticket
	changed *Change
}

func (s *stage) run(fields []string) (string, error) {
	if fields[0] == "config" {
		c, err := parseConfig(fields[1:])
		if err == nil {
			err = c.Check()
		}
		c.OnChange = func(c Change) { s.changed = &c }
		s.b, s.tickets = New(c), map[string]Ticket{}
		return "", err
	}
	now, err := time.ParseDuration(fields[0])
	if err != nil {
		return "", err
	}
	s.changed = nil
	outcomes := map[string]Outcome{"ok": OK, "fail": Failed, "ignored": Ignored}
	counted := true
	switch fields[1] {
	case "begin":
		ticket, ok := s.b.Allow(now)
		if !ok {
			return fmt.Sprintf("refused for %v", s.b.Wait(now)), nil
		}
		s.tickets[fields[2]] = ticket
		counted = false
	case "end":
		s.b.Done(s.tickets[fields[2]], outcomes[fields[3]], now)
	case "force":
		s.b.Force(map[string]Mode{"open": ForcedOpen, "closed": ForcedClosed, "auto": Automatic}[fields[2]], "for maintenance", now)
		return s.describe(now, false, true), nil
	default:
		times := 1
		if len(fields) > 2 {
			if times, err = strconv.Atoi(strings.TrimPrefix(fields[2], "x")); err != nil {
				return "", err
			}
		}
		for range times {
			ticket, ok := s.b.Allow(now)
			if !ok {
				return fmt.Sprintf("refused for %v", s.b.Wait(now)), nil
			}
			s.b.Done(ticket, outcomes[fields[1]], now)
		}
	}
	return s.describe(now, counted, s.changed != nil), nil
}

func (s *stage) describe(now time.Duration, counted, changed bool) string {
	st := s.b.Status(now)
	if st.State == HalfOpen && st.Since == now && s.b.epoch.Load().admitted.Load() == 1 {
		changed = true // also from half open to half open
	}
	text := st.State.String()
	if st.Mode != Automatic {
		text = st.Mode.String()
	}
	if n := st.Counts; counted && !changed {
		if n.Calls > 0 {
			text += fmt.Sprintf(", %d of %d failed", n.Failures, n.Calls)
		}
		if n.Slow > 0 {
			text += fmt.Sprintf(", %d slow", n.Slow)
		}
		if n.Run > 0 && s.b.config.Consecutive > 0 {
			text += fmt.Sprintf(", %d in a row", n.Run)
		}
	}
	if changed {
		text += ", " + st.Reason
	}
	return text
}

func parseConfig(fields []string) (c Config, err error) {
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "window":
			c.Window, err = time.ParseDuration(value)
		case "calls":
			c.Calls, err = strconv.Atoi(value)
		case "min":
			c.MinCalls, err = strconv.Atoi(value)
		case "rate":
			c.FailureRate, err = strconv.ParseFloat(value, 64)
		case "slow":
			c.SlowCall, err = time.ParseDuration(value)
		case "slowrate":
			c.SlowRate, err = strconv.ParseFloat(value, 64)
		case "consecutive":
			c.Consecutive, err = strconv.Atoi(value)
		case "open":
			c.OpenFor, err = time.ParseDuration(value)
		case "probes":
			c.Probes, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("%q is no setting", key)
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// TestCountsAgreeWithAnOracle holds the window of calls, and that of time, against
// the plain list of all calls.
func TestCountsAgreeWithAnOracle(t *testing.T) {
	type call struct {
		at           time.Duration
		failed, slow bool
	}
	rapid.Check(t, func(t *rapid.T) {
		c := Config{FailureRate: -1, Consecutive: math.MaxInt, SlowCall: second, Window: 10 * second}
		if rapid.Bool().Draw(t, "by calls") {
			c.Calls = rapid.IntRange(1, 200).Draw(t, "calls")
		}
		c.SlowRate, c.MinCalls = 1, max(1, c.Calls)
		if c.Calls == 0 {
			c.MinCalls = math.MaxInt
		}
		b := New(c)
		b.config.MinCalls = math.MaxInt // count, and never open
		var calls []call
		now := time.Duration(rapid.Int64Range(-1e15, 1e15).Draw(t, "origin"))
		for range rapid.IntRange(1, 400).Draw(t, "n") {
			now += time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond
			x := call{now, rapid.Bool().Draw(t, "failed"), rapid.Bool().Draw(t, "slow")}
			begun := now
			if x.slow {
				begun -= second
			}
			ticket, ok := b.Allow(begun)
			if !ok {
				t.Fatal("refused")
			}
			b.Done(ticket, map[bool]Outcome{false: OK, true: Failed}[x.failed], now)
			calls = append(calls, x)
		}
		got := b.Status(now).Counts
		low, high := Counts{}, Counts{} // a window of time ends somewhere in its tenth slot
		for i, x := range slices.Backward(calls) {
			inLow, inHigh := now-x.at < 9*second-second/100, now-x.at <= 10*second
			if c.Calls > 0 {
				inLow = len(calls)-i <= c.Calls
				inHigh = inLow
			}
			low.count(inLow, x.failed, x.slow)
			high.count(inHigh, x.failed, x.slow)
		}
		for i := len(calls) - 1; i >= 0 && calls[i].failed; i-- {
			low.Run++
		}
		if got.Calls < low.Calls || got.Calls > high.Calls || got.Failures < low.Failures || got.Failures > high.Failures ||
			got.Slow < low.Slow || got.Slow > high.Slow || got.Run != low.Run {
			t.Fatalf("counts are %+v, want from %+v to %+v", got, low, high)
		}
	})
}

func (n *Counts) count(in, failed, slow bool) {
	if in {
		n.Calls++
		if failed {
			n.Failures++
		}
		if slow {
			n.Slow++
		}
	}
}

// TestAdmitsNoMoreThanTheProbes: whatever happens, an open breaker lets nothing
// through before its time, and at most the probes after.
func TestAdmitsNoMoreThanTheProbes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{
			Calls:  rapid.IntRange(1, 20).Draw(t, "calls"),
			Probes: rapid.IntRange(1, 5).Draw(t, "probes"),
		}
		b := New(c)
		now := time.Duration(0)
		var under []Ticket
		admitted := map[*epoch]int{}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond
			if len(under) > 0 && rapid.Bool().Draw(t, "end one") {
				b.Done(under[0], Outcome(rapid.IntRange(0, 2).Draw(t, "outcome")), now)
				under = under[1:]
				continue
			}
			before := b.Status(now)
			ticket, ok := b.Allow(now)
			if before.State == Open && now < before.Until && ok {
				t.Fatalf("let through at %v, open until %v", now, before.Until)
			}
			if before.State == Closed && !ok {
				t.Fatal("refused although closed")
			}
			if ok {
				under = append(under, ticket)
				if admitted[ticket.epoch]++; ticket.epoch.state == HalfOpen && ticket.epoch.admitted.Load() > int32(c.Probes) {
					t.Fatalf("%d probes at a time, allowed %d", ticket.epoch.admitted.Load(), c.Probes)
				}
			} else if wait := b.Wait(now); wait <= 0 || wait > 5*second {
				t.Fatalf("refused, and the wait is %v", wait)
			}
		}
	})
}

func TestProbesAreLimitedConcurrently(t *testing.T) {
	b := New(Config{Consecutive: 1, Probes: 3})
	ticket, _ := b.Allow(0)
	b.Done(ticket, Failed, 0)
	var admitted sync.Map
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 1000 {
				if _, ok := b.Allow(5 * second); ok {
					admitted.Store([2]int{i, j}, true)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	for range admitted.Range {
		n++
	}
	if n != 3 {
		t.Errorf("%d probes are let through, want 3", n)
	}
}

func TestCountsStayExactConcurrently(t *testing.T) {
	for _, c := range []Config{{Calls: 64}, {Calls: 100}, {Window: second}} {
		c.FailureRate, c.SlowCall = -1, time.Hour
		b := New(c)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := range 1000 {
					ticket, _ := b.Allow(0)
					b.Done(ticket, Outcome(i%2), 0)
				}
			})
		}
		wg.Wait()
		n := b.Status(0).Counts
		if l := b.epoch.Load().tally.latest; l != nil {
			ones := 0
			for i := range l.size {
				if l.failures.words[i/64].Load()&(1<<(i%64)) != 0 {
					ones++
				}
			}
			if n.Calls != c.Calls || n.Failures != ones {
				t.Errorf("the last %d: %+v, and the ring has %d failures", c.Calls, n, ones)
			}
		} else if n.Calls != 8000 || n.Failures != 4000 {
			t.Errorf("%+v, want 4000 of 8000", n)
		}
	}
}

// TestLateChangesChangeNothing: of two goroutines that would change the state, one
// does.
func TestLateChangesChangeNothing(t *testing.T) {
	changes := 0
	b := New(Config{Consecutive: 1, Probes: 1, OnChange: func(Change) { changes++ }})
	old := b.epoch.Load()
	b.open(old, "first", 0)
	b.open(old, "second", 0)
	if s := b.Status(0); changes != 1 || s.Reason != "first" || s.Until != 5*second {
		t.Errorf("after %d changes: %+v", changes, s)
	}
	open := b.epoch.Load()
	b.Allow(5 * second)
	half := b.epoch.Load()
	b.probed(half, OK, false, 5*second)
	if _, ok := b.probe(open, 5*second); !ok { // it looked when the breaker was open
		t.Error("refused although closed meanwhile")
	}
	b.Done(Ticket{}, Failed, 0) // of no breaker
}

func TestWaitIsWhatIsLeft(t *testing.T) {
	b := New(Config{Consecutive: 1, OpenFor: 3 * second})
	if got := b.Wait(0); got != 0 {
		t.Errorf("closed: %v", got)
	}
	ticket, _ := b.Allow(0)
	b.Done(ticket, Failed, second)
	for now, want := range map[time.Duration]time.Duration{1: 3, 2: 2, 4: 0, 9: 0} {
		if got := b.Wait(now * second); got != want*second {
			t.Errorf("at %d s: %v, want %d s", now, got, want)
		}
	}
	b.Force(ForcedOpen, "", 0)
	if got := b.Wait(0); got != 3*second {
		t.Errorf("forced open: %v", got)
	}
}

func TestCheckRefusesNonsense(t *testing.T) {
	for want, c := range map[string]Config{
		"window 1ns":      {Window: 1},
		"window of -1":    {Calls: -1},
		"window of 10485": {Calls: maxCalls + 10},
		"minimum of -1":   {MinCalls: -1},
		"minimum of 11":   {Calls: 10, MinCalls: 11},
		"failure rate":    {FailureRate: 1.1},
		"rate NaN":        {FailureRate: math.NaN()},
		"slow call":       {SlowCall: -1},
		"slow rate":       {SlowRate: 1.5},
		"in a row":        {Consecutive: -1},
		"open time":       {OpenFor: -1},
		"probes":          {Probes: -1},
		"neither":         {FailureRate: -1},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want something about %q", c, err, want)
		}
	}
	if err := (Config{}).Check(); err != nil {
		t.Error(err)
	}
	if got := New(Config{Calls: 5}).Config().MinCalls; got != 5 {
		t.Errorf("minimum of a window of 5 calls is %d", got)
	}
}

func TestTimedIsWhatLooksAtTheTime(t *testing.T) {
	for _, x := range []struct {
		c    Config
		want bool
	}{
		{Config{}, true},
		{Config{Calls: 10}, false},
		{Config{Calls: 10, SlowCall: second}, true},
		{Config{Consecutive: 5, FailureRate: -1}, false},
	} {
		if got := New(x.c).Timed(); got != x.want {
			t.Errorf("%+v: %v", x.c, got)
		}
	}
}

func TestNamesReadWell(t *testing.T) {
	got := fmt.Sprint(Closed, Open, HalfOpen, Automatic, ForcedOpen, ForcedClosed, OK, Failed, Ignored)
	if want := "closed open half open automatic forced open forced closed ok failed ignored"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestCallsAllocateNothing(t *testing.T) {
	for name, c := range map[string]Config{"calls": {Calls: 100}, "time": {}} {
		b := New(c)
		n := 0
		if got := testing.AllocsPerRun(1000, func() {
			ticket, _ := b.Allow(0)
			b.Done(ticket, []Outcome{OK, OK, OK, Failed}[n%4], 0)
			n++
		}); got != 0 {
			t.Errorf("window of %s: %v allocations a call", name, got)
		}
	}
}

func BenchmarkCall(b *testing.B) {
	for name, c := range map[string]Config{"calls": {Calls: 100}, "time": {}, "row": {Consecutive: 6, FailureRate: -1}} {
		b.Run(name, func(b *testing.B) {
			br := New(c)
			b.ReportAllocs()
			for now := time.Duration(0); b.Loop(); now += time.Microsecond {
				t, _ := br.Allow(now)
				br.Done(t, OK, now)
			}
		})
	}
}

func BenchmarkRefusal(b *testing.B) {
	br := New(Config{Consecutive: 1})
	t, _ := br.Allow(0)
	br.Done(t, Failed, 0)
	b.ReportAllocs()
	for b.Loop() {
		br.Allow(second)
	}
}

func BenchmarkCallParallel(b *testing.B) {
	br := New(Config{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for now := time.Duration(0); pb.Next(); now += time.Microsecond {
			t, _ := br.Allow(now)
			br.Done(t, OK, now)
		}
	})
}
