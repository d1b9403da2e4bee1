package hedge

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/fault/retry"
	"pgregory.net/rapid"

	"github.com/trivet-ha/trivet/internal/transcript"
)

const ms = time.Millisecond

// TestTranscripts plays testdata/*.txt. A line is a command and, after "=>",
// what it must answer:
//
//	config quantile=0.5 samples=4 hedges=2 delay=10ms ratio=0.1
//	1s observe 10ms x5      five attempts took 10 ms
//	1s begin                a call: after how long it is made again
//	1s begin x10            ten calls
//	1s take 0               a call that was not hedged yet: is it?
//	1s return
func TestTranscripts(t *testing.T) {
	transcript.Play(t, func() transcript.Actor {
		h := New(Config{})
		return func(fields []string) (string, error) { return run(&h, fields) }
	})
}

func run(h **Hedge, fields []string) (string, error) {
	if fields[0] == "config" {
		c, err := parseConfig(fields[1:])
		if err == nil {
			err = c.Check()
		}
		*h = New(c)
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
		case "observe":
			latency, err := time.ParseDuration(fields[2])
			if err != nil {
				return "", err
			}
			(*h).Observe(now, latency)
		case "begin":
			answer = "is not hedged"
			if after, ok := (*h).Begin(now); ok {
				answer = fmt.Sprintf("again after %v", after.Round(ms))
			}
		case "take":
			hedges, err := strconv.Atoi(fields[2])
			if err != nil {
				return "", err
			}
			answer = fmt.Sprint((*h).Take(now, hedges))
		case "return":
			(*h).Return(now)
		}
	}
	return answer, nil
}

func parseConfig(fields []string) (c Config, err error) {
	c.Budget.MinPerSecond = -1
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "quantile":
			c.Quantile, err = strconv.ParseFloat(value, 64)
		case "ratio":
			c.Budget.Ratio, err = strconv.ParseFloat(value, 64)
		case "samples":
			c.Samples, err = strconv.Atoi(value)
		case "hedges":
			c.Hedges, err = strconv.Atoi(value)
		case "delay":
			c.Delay, err = time.ParseDuration(value)
		default:
			err = fmt.Errorf("%q is no setting", key)
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// TestCutsTheTail: of a service that takes 10 ms and every fiftieth time a second,
// the 99th percentile falls from a second to little more than 10 ms, for five
// percent more load at most.
func TestCutsTheTail(t *testing.T) {
	h := New(Config{})
	rng := uint64(1)
	attempt := func() time.Duration {
		rng = rng*6364136223846793005 + 1442695040888963407
		if rng>>33%50 == 0 {
			return time.Second
		}
		return 10*ms + time.Duration(rng>>40%1000)*time.Microsecond
	}
	var latencies []time.Duration
	attempts := 0
	for i := range 20_000 {
		now := time.Duration(i) * ms
		after, ok := h.Begin(now)
		latency := attempt()
		attempts++
		if ok && latency > after && h.Take(now+after, 0) {
			attempts++
			if second := attempt(); after+second < latency {
				h.Observe(now, second)
				latency = after + second
			}
		}
		h.Observe(now, latency)
		if i > 1000 {
			latencies = append(latencies, latency)
		}
	}
	slices.Sort(latencies)
	if p99 := latencies[len(latencies)*99/100]; p99 > 25*ms {
		t.Errorf("99th percentile is %v", p99)
	}
	if extra := attempts - 20_000; extra > 20_000*8/100 || extra < 20_000*1/100 {
		t.Errorf("%d more attempts than 20000 calls", extra)
	}
}

// TestHedgesStayWithinTheBudget when everything has become slow.
func TestHedgesStayWithinTheBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ratio := rapid.Float64Range(0.01, 0.5).Draw(t, "ratio")
		h := New(Config{Delay: ms, Budget: retry.BudgetConfig{Ratio: ratio, MinPerSecond: -1}})
		calls, hedges := rapid.IntRange(1, 2000).Draw(t, "calls"), 0
		for range calls {
			if h.Begin(0); h.Take(0, 0) {
				hedges++
			}
		}
		if float64(hedges) > ratio*float64(calls) {
			t.Fatalf("%d hedges of %d calls, allowed %v", hedges, calls, ratio)
		}
	})
}

func TestCheckRefusesNonsense(t *testing.T) {
	for want, c := range map[string]Config{
		"quantile":     {Quantile: 1},
		"window":       {Window: 1},
		"samples":      {Samples: -1},
		"minimum":      {Min: -1},
		"delay":        {Delay: -1},
		"hedges":       {Hedges: -1},
		"budget ratio": {Budget: retry.BudgetConfig{Ratio: math.Inf(1)}},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := (Config{}).Check(); err != nil {
		t.Error(err)
	}
	if got := New(Config{}).Config(); got.Quantile != 0.95 || got.Budget.Ratio != 0.1 {
		t.Errorf("defaults are %+v", got)
	}
	if got := New(Config{}).Remaining(0); got != 10 { // one a second for ten seconds
		t.Errorf("%d hedges without any traffic", got)
	}
}

func TestCallsAllocateNothing(t *testing.T) {
	h := New(Config{})
	if got := testing.AllocsPerRun(1000, func() {
		h.Begin(0)
		h.Take(0, 0)
		h.Observe(0, ms)
	}); got != 0 {
		t.Errorf("%v allocations a call", got)
	}
}

func BenchmarkCall(b *testing.B) {
	h := New(Config{})
	b.ReportAllocs()
	for now := time.Duration(0); b.Loop(); now += time.Microsecond {
		h.Begin(now)
		h.Observe(now, now&0xfffff)
	}
}
