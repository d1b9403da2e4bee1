package health

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trivet-ha/trivet/internal/transcript"
)

// TestTranscripts plays testdata/*.txt. A line is a command and, after "=>",
// what it must answer:
//
//	policy fall=3 rise=2 interval=2s fast=500ms jitter=0   begin with these rules
//	set ...                                                the same, keeping what is known
//	2s ok | 2s fail                                        a probe ended at 2s
//	restore down run=1                                     as after a reload
func TestTranscripts(t *testing.T) {
	transcript.Play(t, func() transcript.Actor {
		tracker := New(Policy{})
		return func(fields []string) (string, error) { return run(&tracker, fields) }
	})
}

func run(t **Tracker, fields []string) (string, error) {
	switch fields[0] {
	case "policy", "set":
		p, err := parsePolicy(fields[1:])
		if err == nil {
			err = p.Check()
		}
		if fields[0] == "policy" {
			*t = New(p)
		} else {
			(*t).SetPolicy(p)
		}
		return "", err
	case "restore":
		s := State{Verdict: map[string]Verdict{"up": Up, "down": Down}[fields[1]]}
		if len(fields) > 2 {
			if _, err := fmt.Sscanf(fields[2], "run=%d", &s.Run); err != nil {
				return "", err
			}
		}
		(*t).Restore(s)
		return fmt.Sprintf("next %v", (*t).Next(0, 0)), nil
	}
	now, err := time.ParseDuration(fields[0])
	if err != nil {
		return "", err
	}
	got := ""
	if (*t).Observe(now, fields[1] == "ok") {
		got = "now "
	}
	return got + fmt.Sprintf("%v, next %v", (*t).Verdict(), (*t).Next(now, 0)), nil
}

func parsePolicy(fields []string) (p Policy, err error) {
	p.Jitter = -1
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "fall":
			p.Fall, err = strconv.Atoi(value)
		case "rise":
			p.Rise, err = strconv.Atoi(value)
		case "interval":
			p.Interval, err = time.ParseDuration(value)
		case "fast":
			p.FastInterval, err = time.ParseDuration(value)
		case "jitter":
			p.Jitter, err = strconv.ParseFloat(value, 64)
		default:
			err = fmt.Errorf("%q is no setting", key)
		}
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

func TestNextStaysWithinTheJitter(t *testing.T) {
	tr := New(Policy{Interval: time.Second, Jitter: 0.2})
	tr.Observe(0, true)
	if got := tr.Next(0, 0); got != 900*time.Millisecond {
		t.Errorf("earliest is %v, want 900ms", got)
	}
	if got := tr.Next(0, math.MaxUint64); got < 1099*time.Millisecond || got >= 1100*time.Millisecond {
		t.Errorf("latest is %v, want just below 1.1s", got)
	}
	tr.Observe(0, false)
	if got := tr.Next(0, 0); got != 225*time.Millisecond {
		t.Errorf("earliest while changing is %v, want 225ms", got)
	}
}

func TestStateSurvivesExport(t *testing.T) {
	a := New(Policy{})
	a.Observe(time.Second, true)
	a.Observe(2*time.Second, false)
	b := New(Policy{})
	b.Restore(a.State())
	if b.State() != (State{Verdict: Up, Since: time.Second, Run: 1}) {
		t.Errorf("restored state is %+v", b.State())
	}
	if got := b.Policy(); got.Fall != 3 || got.Rise != 2 {
		t.Errorf("policy is %+v, want the defaults", got)
	}
	for range 2 {
		b.Observe(3*time.Second, false)
	}
	if b.Verdict() != Down {
		t.Error("two more failures after the restored one do not take it down")
	}
}

// TestAgreesWithAnOracle holds the tracker against the rule said plainly: look
// at the results since the verdict and find the first run that is long enough.
func TestAgreesWithAnOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Policy{Fall: rapid.IntRange(1, 5).Draw(t, "fall"), Rise: rapid.IntRange(1, 5).Draw(t, "rise")}
		results := rapid.SliceOf(rapid.Bool()).Draw(t, "results")
		tr := New(p)
		for i, ok := range results {
			before := tr.Verdict()
			if changed := tr.Observe(time.Duration(i), ok); changed != (before != tr.Verdict()) {
				t.Fatalf("changed is %v, but the verdict went from %v to %v", changed, before, tr.Verdict())
			}
			if want := oracle(p, results[:i+1]); tr.Verdict() != want {
				t.Fatalf("after %v: %v, want %v", results[:i+1], tr.Verdict(), want)
			}
		}
	})
}

func oracle(p Policy, results []bool) Verdict {
	v := Down
	if results[0] {
		v = Up
	}
	for i := range results {
		if v == Up && lastAre(results[:i+1], p.Fall, false) {
			v = Down
		} else if v == Down && lastAre(results[:i+1], p.Rise, true) {
			v = Up
		}
	}
	return v
}

func lastAre(results []bool, n int, ok bool) bool {
	if len(results) < n {
		return false
	}
	for _, r := range results[len(results)-n:] {
		if r != ok {
			return false
		}
	}
	return true
}

func TestCheckRefusesNonsense(t *testing.T) {
	for want, p := range map[string]Policy{
		"fall -1":        {Fall: -1},
		"rise -1":        {Rise: -1},
		"interval -1ns":  {Interval: -1, FastInterval: -2, Timeout: 1},
		"fast interval":  {Interval: time.Second, FastInterval: 2 * time.Second},
		"timeout -1s":    {Timeout: -time.Second},
		"jitter 2":       {Jitter: 2},
		"jitter NaN":     {Jitter: math.NaN()},
		"fast interval ": {FastInterval: -1},
	} {
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check of %+v is %v, want something about %q", p, err, want)
		}
	}
	if err := (Policy{}).Check(); err != nil {
		t.Errorf("the zero Policy: %v", err)
	}
	if got := New(Policy{Interval: 100 * time.Millisecond}).Policy().Timeout; got != 100*time.Millisecond {
		t.Errorf("timeout is %v, want the interval", got)
	}
}

func TestVerdictsHaveNames(t *testing.T) {
	if got := fmt.Sprint(Unknown, Up, Down); got != "unknown up down" {
		t.Error(got)
	}
}

func BenchmarkObserve(b *testing.B) {
	tr := New(Policy{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		tr.Observe(time.Duration(i), i&7 > 2)
		tr.Next(time.Duration(i), uint64(i))
	}
}
