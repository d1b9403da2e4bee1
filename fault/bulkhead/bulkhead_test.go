package bulkhead

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trivet-ha/trivet/internal/transcript"
)

const ms = time.Millisecond

// TestTranscripts plays testdata/*.txt. A line is a command and, after "=>",
// what it must answer:
//
//	config limit=2 queue=3 order=newest
//	5ms enter a    runs, waits or is refused
//	6ms leave a    who runs instead
//	7ms cancel b   b waits no longer
//	8ms limit 3    who runs with the new limit
func TestTranscripts(t *testing.T) {
	transcript.Play(t, func() transcript.Actor { return new(stage).run })
}

// stage is a bulkhead and those who wait for it.
type stage struct {
	b       *Bulkhead
	waiters map[string]*Waiter
	woken   []string
}

func (s *stage) run(fields []string) (string, error) {
	if fields[0] == "config" {
		c, err := parseConfig(fields[1:])
		if err == nil {
			err = c.Check()
		}
		s.b, s.waiters = New(c), map[string]*Waiter{}
		return "", err
	}
	now, err := time.ParseDuration(fields[0])
	if err != nil {
		return "", err
	}
	s.woken = nil
	name := fields[2]
	switch fields[1] {
	case "enter":
		if s.b.Acquire() {
			return "runs", nil
		}
		until, ok := s.b.Wait(s.waiter(name), now)
		switch {
		case !ok:
			return "refused", nil
		case s.b.Overloaded(now):
			return fmt.Sprintf("waits until %v, overloaded", until), nil
		}
		return fmt.Sprintf("waits until %v", until), nil
	case "cancel":
		if s.b.Cancel(s.waiter(name), now) {
			return "gives up", nil
		}
		return "was not waiting", nil
	case "leave":
		s.b.Release(now)
	case "limit":
		n, err := strconv.Atoi(name)
		if err != nil {
			return "", err
		}
		s.b.SetLimit(n, now)
	}
	if len(s.woken) == 0 {
		s.woken = append(s.woken, "nobody")
	}
	return fmt.Sprintf("%s; %d run, %d wait", strings.Join(s.woken, ", "), s.b.Running(), s.b.Waiting()), nil
}

func (s *stage) waiter(name string) *Waiter {
	if s.waiters[name] == nil {
		s.waiters[name] = &Waiter{Wake: func(admitted bool) {
			text := name + " too late"
			if admitted {
				text = name + " runs"
			}
			s.woken = append(s.woken, text)
		}}
	}
	return s.waiters[name]
}

func parseConfig(fields []string) (c Config, err error) {
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "limit":
			c.Limit, err = strconv.Atoi(value)
		case "queue":
			c.Queue, err = strconv.Atoi(value)
		case "order":
			c.Order = NewestInOverload
		default:
			err = fmt.Errorf("%q is no setting", key)
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// TestEveryWaiterIsAnsweredOnce plays random comings and goings against a plain
// list: never more run than may, nobody overtakes, nobody is forgotten.
func TestEveryWaiterIsAnsweredOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{Limit: rapid.IntRange(1, 4).Draw(t, "limit"), Queue: rapid.IntRange(1, 6).Draw(t, "queue"), Interval: 10 * ms, Target: 2 * ms}
		b := New(c)
		limit, now := c.Limit, time.Duration(0)
		running := 0
		var queue []*Waiter // as they came
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 4).Draw(t, "ms")) * ms
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				if b.Acquire() {
					if running++; len(queue) > 0 {
						t.Fatal("overtook those who wait")
					}
					continue
				}
				w := &Waiter{}
				w.Wake = func(admitted bool) {
					if len(queue) == 0 || queue[0] != w {
						t.Fatal("woken out of turn, or twice")
					}
					if queue = queue[1:]; admitted {
						running++
					} else if w.until > now {
						t.Fatal("refused before its time")
					}
				}
				if _, ok := b.Wait(w, now); ok {
					queue = append(queue, w)
				} else if len(queue) < c.Queue {
					t.Fatalf("refused with %d of %d waiting", len(queue), c.Queue)
				}
			case 2, 3:
				if running > 0 {
					running--
					b.Release(now)
				}
			case 4:
				if len(queue) > 0 {
					i := rapid.IntRange(0, len(queue)-1).Draw(t, "who")
					if !b.Cancel(queue[i], now) {
						t.Fatal("who waits can't give up")
					}
					queue = slices.Delete(queue, i, i+1)
				}
			case 5:
				limit = rapid.IntRange(1, 4).Draw(t, "new limit")
				b.SetLimit(limit, now)
			}
			if b.Running() != running || b.Waiting() != len(queue) || b.Limit() != limit {
				t.Fatalf("%d of %d run and %d wait, want %d of %d and %d", b.Running(), b.Limit(), b.Waiting(), running, limit, len(queue))
			}
			if len(queue) > 0 && running < limit {
				t.Fatalf("%d wait while %d of %d run", len(queue), running, limit)
			}
		}
	})
}

// TestNeverMoreThanTheLimitConcurrently, and when all have left, nothing is left.
func TestNeverMoreThanTheLimitConcurrently(t *testing.T) {
	b := New(Config{Limit: 3, Queue: 5, Interval: time.Hour, Target: time.Hour})
	var inside, most, waited, refused atomic.Int64
	work := func() {
		n := inside.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		inside.Add(-1)
		b.Release(0)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			admitted := make(chan bool, 1)
			w := &Waiter{Wake: func(ok bool) { admitted <- ok }}
			for j := range 2000 {
				if b.Acquire() {
					work()
					continue
				}
				if _, ok := b.Wait(w, 0); !ok {
					refused.Add(1)
					continue
				}
				if (i+j)%3 == 0 && b.Cancel(w, 0) {
					continue
				}
				if <-admitted {
					waited.Add(1)
					work()
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 1000 {
			b.SetLimit(1+i%3, 0)
		}
		b.SetLimit(3, 0)
	})
	wg.Wait()
	if most.Load() > 3 || b.Running() != 0 || b.Waiting() != 0 || b.queue.first != nil {
		t.Errorf("%d ran at a time; at the end %d run, %d wait", most.Load(), b.Running(), b.Waiting())
	}
}

// TestWaiterThatFindsRoomRunsAtOnce: somebody left between Acquire and Wait.
func TestWaiterThatFindsRoomRunsAtOnce(t *testing.T) {
	b := New(Config{Limit: 1})
	woken := false
	w := &Waiter{Wake: func(admitted bool) { woken = admitted }}
	if until, ok := b.Wait(w, 7); !ok || until != 7 || !woken || b.Running() != 1 {
		t.Errorf("until %v, %v, woken %v", until, ok, woken)
	}
}

// overload offers calls at three times the capacity for ten seconds and returns
// how many were served and how long the slowest percent of these waited, once the
// first half second had shown that it is no burst.
func overload(c Config) (served int, p99 time.Duration) {
	const service = 10 * ms
	b := New(c)
	var now time.Duration
	var ends []time.Duration // of those that run, in order
	var waits []time.Duration
	start := func(came time.Duration) {
		served++
		if came >= 500*ms {
			waits = append(waits, now-came)
		}
		ends = append(ends, now+service)
	}
	for i := range 30_000 {
		arrival := time.Duration(i) * time.Second / 3000
		for len(ends) > 0 && ends[0] <= arrival {
			now, ends = ends[0], ends[1:]
			b.Release(now)
		}
		if now = arrival; b.Acquire() {
			start(now)
			continue
		}
		b.Wait(&Waiter{Wake: func(admitted bool) {
			if admitted {
				start(arrival)
			}
		}}, now)
	}
	slices.Sort(waits)
	return served, waits[len(waits)*99/100]
}

// TestOverloadDelaysTheAdmittedLittle: at three times what can be served nothing
// of it is lost, and the served hardly wait. A plain queue makes all wait.
func TestOverloadDelaysTheAdmittedLittle(t *testing.T) {
	served, p99 := overload(Config{Limit: 10, Queue: 500})
	if served < 9_900 || p99 > 5*ms {
		t.Errorf("served %d of 10000, 99 %% of them within %v", served, p99)
	}
	served, p99 = overload(Config{Limit: 10, Queue: 500, Interval: time.Hour})
	if served < 9_900 || p99 < 400*ms {
		t.Errorf("without CoDel: served %d, 99 %% within %v: the comparison compares nothing", served, p99)
	}
	served, p99 = overload(Config{Limit: 10, Queue: 500, Order: NewestInOverload})
	if served < 9_900 || p99 > 5*ms {
		t.Errorf("newest first: served %d of 10000, 99 %% of them within %v", served, p99)
	}
}

func TestCheckRefusesNonsense(t *testing.T) {
	for want, c := range map[string]Config{
		"limit":    {Limit: -1},
		"queue":    {Queue: math.MaxInt},
		"interval": {Interval: -1, Target: -2},
		"target":   {Target: time.Second},
		"order":    {Order: 7},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := (Config{}).Check(); err != nil {
		t.Error(err)
	}
	if got := New(Config{Limit: 7}).Config(); got.Queue != 70 || got.Target != 5*ms || got.Interval != 100*ms {
		t.Errorf("defaults are %+v", got)
	}
	if got := fmt.Sprint(OldestFirst, NewestInOverload); got != "oldest first newest in overload" {
		t.Error(got)
	}
}

func TestCallsAllocateNothing(t *testing.T) {
	b := New(Config{Limit: 1})
	w := &Waiter{Wake: func(bool) {}}
	if got := testing.AllocsPerRun(1000, func() {
		b.Acquire()
		b.Wait(w, 0)
		b.Release(0)
		b.Release(0)
	}); got != 0 {
		t.Errorf("%v allocations a call", got)
	}
}

func BenchmarkCall(b *testing.B) {
	bh := New(Config{})
	b.ReportAllocs()
	for b.Loop() {
		bh.Acquire()
		bh.Release(0)
	}
}

func BenchmarkCallParallel(b *testing.B) {
	bh := New(Config{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			bh.Acquire()
			bh.Release(0)
		}
	})
}

func BenchmarkWait(b *testing.B) {
	bh := New(Config{Limit: 1})
	w := &Waiter{Wake: func(bool) {}}
	bh.Acquire()
	b.ReportAllocs()
	for b.Loop() {
		bh.Wait(w, 0)
		bh.Release(0)
	}
}

func BenchmarkRefusal(b *testing.B) {
	bh := New(Config{Limit: 1, Queue: -1})
	w := &Waiter{Wake: func(bool) {}}
	bh.Acquire()
	b.ReportAllocs()
	for b.Loop() {
		if !bh.Acquire() {
			bh.Wait(w, 0)
		}
	}
}
