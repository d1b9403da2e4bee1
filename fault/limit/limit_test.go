package limit

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trivet-ha/trivet/internal/transcript"
)

const second = time.Second

// TestTranscripts plays testdata/*.txt, once with a limiter and once with a key
// of many. A line is a command and, after "=>", what it must answer:
//
//	config tokens=10 per=1s burst=5 algorithm=window
//	1s take | 1s take x5 | 1s take 3    one token, five times one, three at once
//	1s reserve 3 500ms                  three, and wait for half a second at most
//	1s return 2
func TestTranscripts(t *testing.T) {
	play(t, func(c Config) limiter { return New(c) })
}

func TestTranscriptsWithAKey(t *testing.T) {
	play(t, func(c Config) limiter { return oneKey{NewKeyed(KeyedConfig{Config: c})} })
}

func play(t *testing.T, begin func(Config) limiter) {
	transcript.Play(t, func() transcript.Actor {
		var l limiter
		return func(fields []string) (string, error) {
			if fields[0] != "config" {
				return run(l, fields)
			}
			c, err := parseConfig(fields[1:])
			if err == nil {
				err = c.Check()
			}
			if err == nil {
				l = begin(c)
			}
			return "", err
		}
	})
}

// limiter is what a Limiter and a key of a Keyed have in common.
type limiter interface {
	Take(now time.Duration, n int) (time.Duration, bool)
	Reserve(now time.Duration, n int, atMost time.Duration) (time.Duration, bool)
	Return(now time.Duration, n int)
	Remaining(now time.Duration) int
}

type oneKey struct{ k *Keyed }

func (o oneKey) Take(now time.Duration, n int) (time.Duration, bool) { return o.k.Take(now, 7, n) }
func (o oneKey) Return(now time.Duration, n int)                     { o.k.Return(now, 7, n) }
func (o oneKey) Remaining(now time.Duration) int                     { return o.k.Remaining(now, 7) }
func (o oneKey) Reserve(now time.Duration, n int, atMost time.Duration) (time.Duration, bool) {
	return o.k.Reserve(now, 7, n, atMost)
}

func run(l limiter, fields []string) (string, error) {
	now, err := time.ParseDuration(fields[0])
	if err != nil {
		return "", err
	}
	n, times := 1, 1
	if len(fields) > 2 {
		if x, ok := strings.CutPrefix(fields[2], "x"); ok {
			times, err = strconv.Atoi(x)
		} else {
			n, err = strconv.Atoi(fields[2])
		}
		if err != nil {
			return "", err
		}
	}
	var wait time.Duration
	ok := true
	for range times {
		switch fields[1] {
		case "take":
			wait, ok = l.Take(now, n)
		case "return":
			l.Return(now, n)
		case "reserve":
			atMost, err := time.ParseDuration(fields[3])
			if err != nil {
				return "", err
			}
			if wait, ok = l.Reserve(now, n, atMost); ok {
				return fmt.Sprintf("in %v", wait), nil
			}
		}
		switch {
		case !ok && wait == Never:
			return "never", nil
		case !ok:
			return fmt.Sprintf("wait %v", wait), nil
		}
	}
	return fmt.Sprintf("ok, %d left", l.Remaining(now)), nil
}

func parseConfig(fields []string) (c Config, err error) {
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "tokens":
			c.Tokens, err = strconv.Atoi(value)
		case "per":
			c.Per, err = time.ParseDuration(value)
		case "burst":
			c.Burst, err = strconv.Atoi(value)
		case "algorithm":
			c.Algorithm = SlidingWindow
		default:
			err = fmt.Errorf("%q is no setting", key)
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// TestBucketAgreesWithAnOracle holds GCRA against the bucket said plainly: tokens
// drip in, up to the burst, and are taken out.
func TestBucketAgreesWithAnOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		interval := time.Duration(rapid.Int64Range(1, 1e9).Draw(t, "interval"))
		burst := rapid.Int64Range(1, 1000).Draw(t, "burst")
		l := New(Config{Tokens: 1000, Per: 1000 * interval, Burst: int(burst)})
		now := time.Duration(rapid.Int64Range(-1<<62, 1<<62).Draw(t, "origin"))
		level := burst * int64(interval) // in nanoseconds of dripping
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			step := rapid.Int64Range(0, int64(interval)*burst*2).Draw(t, "step")
			now += time.Duration(step)
			level = min(level+step, burst*int64(interval))
			if got, want := l.Remaining(now), int(level/int64(interval)); got != want && got != want+1 {
				t.Fatalf("%d left, want %d", got, want)
			}
			n := rapid.Int64Range(1, burst).Draw(t, "n")
			wait, ok := l.Take(now, int(n))
			missing := n*int64(interval) - level
			if ok != (missing <= 0) || !ok && int64(wait) != missing {
				t.Fatalf("take %d: %v, %v; %d ns of tokens are missing", n, ok, wait, missing)
			}
			if ok {
				level -= n * int64(interval)
			}
		}
	})
}

// TestSlidingWindowAgreesWithAnOracle holds the packed state against a map from
// windows to counts.
func TestSlidingWindowAgreesWithAnOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{
			Tokens:    rapid.IntRange(1, maxWindowTokens).Draw(t, "tokens"),
			Per:       time.Duration(rapid.Int64Range(1e3, 1e6).Draw(t, "ms")) * time.Millisecond,
			Algorithm: SlidingWindow,
		}
		l := New(c)
		taken := map[int64]int{}
		now := time.Duration(rapid.Int64Range(0, 1<<60).Draw(t, "origin")).Truncate(time.Microsecond)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += time.Duration(rapid.Int64Range(0, int64(c.Per)).Draw(t, "step")).Truncate(time.Microsecond)
			number, offset := int64(now)/int64(c.Per), int64(now)%int64(c.Per)/1000
			n := rapid.IntRange(1, c.Tokens).Draw(t, "n")
			micros := int64(c.Per / 1000)
			free := int64(c.Tokens - taken[number] - n)
			want := free >= 0 && int64(taken[number-1])*(micros-offset) <= free*micros
			wait, ok := l.Take(now, n)
			if ok != want {
				t.Fatalf("take %d: %v, want %v", n, ok, want)
			}
			if ok {
				taken[number] += n
				continue
			}
			copied := New(c)
			copied.state.Store(l.state.Load())
			if _, early := copied.Take(now+wait-time.Microsecond, n); early {
				t.Fatalf("take %d: the wait is %v, and less is enough", n, wait)
			}
			if _, late := copied.Take(now+wait, n); !late {
				t.Fatalf("take %d: the wait is %v, and it is not enough", n, wait)
			}
		}
	})
}

// TestNeverMoreThanTheRate: in any stretch of time a bucket gives at most its
// burst and what drips in.
func TestNeverMoreThanTheRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{Tokens: rapid.IntRange(1, 1000).Draw(t, "tokens"), Burst: rapid.IntRange(1, 50).Draw(t, "burst")}
		l := New(c)
		now := time.Duration(0)
		var taken []time.Duration
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now += time.Duration(rapid.Int64Range(0, 1e7).Draw(t, "ns"))
			if _, ok := l.Take(now, 1); !ok {
				continue
			}
			taken = append(taken, now)
			for i, from := range taken {
				if n, most := len(taken)-i, float64(c.Burst)+float64(c.Tokens)*(now-from).Seconds(); float64(n) > most+0.001 {
					t.Fatalf("%d tokens in %v, allowed %v", n, now-from, most)
				}
			}
		}
	})
}

func TestWaitingForTheWaitIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := New(Config{Tokens: rapid.IntRange(1, 1_000_000).Draw(t, "tokens"), Burst: rapid.IntRange(1, 100).Draw(t, "burst")})
		now := time.Duration(0)
		for range 50 {
			n := rapid.IntRange(1, l.Config().Burst).Draw(t, "n")
			if wait, ok := l.Take(now, n); !ok {
				if now += wait; wait <= 0 {
					t.Fatal("refused without a wait")
				}
				if _, ok := l.Take(now, n); !ok {
					t.Fatal("refused after the wait")
				}
			}
		}
	})
}

func TestGivesExactlyTheBurstConcurrently(t *testing.T) {
	for _, c := range []Config{{Tokens: 5000}, {Tokens: 5000, Algorithm: SlidingWindow}} {
		one, many := New(c), NewKeyed(KeyedConfig{Config: c, Keys: 64})
		var taken, ofKey atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 1000 {
					if _, ok := one.Take(second, 1); ok {
						taken.Add(1)
					}
					if _, ok := many.Take(second, 42, 1); ok {
						ofKey.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if taken.Load() != 5000 || ofKey.Load() != 5000 {
			t.Errorf("%v: %d and %d tokens, want 5000", c.Algorithm, taken.Load(), ofKey.Load())
		}
	}
}

func TestReservationsAreCompleteConcurrently(t *testing.T) {
	l := New(Config{Tokens: 1000, Burst: 1})
	var latest atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				wait, _ := l.Reserve(0, 1, time.Hour)
				for old := latest.Load(); int64(wait) > old && !latest.CompareAndSwap(old, int64(wait)); old = latest.Load() {
				}
				l.Return(0, 0)
			}
		})
	}
	wg.Wait()
	if got := time.Duration(latest.Load()); got != 3999*time.Millisecond {
		t.Errorf("the last of 4000 waits %v, want 3.999s", got)
	}
}

func TestCheckRefusesNonsense(t *testing.T) {
	for want, c := range map[string]Config{
		"algorithm":           {Algorithm: 9, Tokens: 1},
		"0 tokens":            {},
		"time of":             {Tokens: 1, Per: 1},
		"burst":               {Tokens: 1, Burst: -1},
		"one a nanosecond":    {Tokens: 1e9, Per: time.Millisecond},
		"ten years":           {Tokens: 1, Per: 24 * time.Hour, Burst: 1e6},
		"are more than the":   {Tokens: 1 << 20, Algorithm: SlidingWindow},
		"window of 10ms is b": {Tokens: 1, Per: 10 * time.Millisecond, Algorithm: SlidingWindow},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want something about %q", c, err, want)
		}
	}
	if err := (Config{Tokens: 1}).Check(); err != nil {
		t.Error(err)
	}
	if err := (KeyedConfig{Config: Config{Tokens: 1}}).Check(); err != nil {
		t.Error(err)
	}
	if err := (KeyedConfig{Config: Config{Tokens: 1}, Keys: -1}).Check(); err == nil {
		t.Error("negative keys are fine")
	}
	if got := fmt.Sprint(TokenBucket, SlidingWindow); got != "token bucket sliding window" {
		t.Error(got)
	}
}

// TestFastRates: a token takes less than a nanosecond to round away.
func TestFastRates(t *testing.T) {
	for _, tokens := range []int{1, 3, 7, 999, 1_000_003, 9_999_999} {
		l := New(Config{Tokens: tokens, Burst: 10})
		taken, until := 0, time.Duration(math.Ceil(1e6/float64(tokens)))*time.Millisecond
		for now := time.Duration(0); now < until; {
			wait, ok := l.Take(now, 1)
			if ok {
				taken++
			}
			now += wait
		}
		want := 10 + float64(tokens)*until.Seconds()
		if got := float64(taken); math.Abs(got-want) > 1+want/200 {
			t.Errorf("%d tokens a second: %v in %v, want %v", tokens, got, until, want)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	for name, c := range map[string]Config{
		"bucket": {Tokens: 1e9, Burst: 1e9}, "window": {Tokens: maxWindowTokens, Algorithm: SlidingWindow},
	} {
		b.Run(name, func(b *testing.B) {
			l := New(c)
			b.ReportAllocs()
			for now := time.Duration(0); b.Loop(); now += time.Microsecond {
				l.Take(now, 1)
			}
		})
		b.Run(name+"/refused", func(b *testing.B) {
			c.Tokens = 1
			c.Burst = 1
			l := New(c)
			l.Take(0, 1)
			b.ReportAllocs()
			for b.Loop() {
				l.Take(0, 1)
			}
		})
	}
}
