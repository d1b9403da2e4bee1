package adaptive

import (
	"container/heap"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/fault/bulkhead"
	"pgregory.net/rapid"
)

const (
	ms     = time.Millisecond
	second = time.Second
)

// TestGradient2FollowsItsFormula with figures that were worked out by hand:
// 20 × 0.5 + 4 = 14, and 20 × 0.8 + 14 × 0.2 = 18.8; where latency is fine,
// 20 + 4 = 24, and 20 × 0.8 + 24 × 0.2 = 20.8.
func TestGradient2FollowsItsFormula(t *testing.T) {
	for _, x := range []struct {
		long, short float64
		dropped     bool
		inFlight    int
		min         int
		want        float64
	}{
		{long: 100, short: 300, inFlight: 20, want: 18.8},
		{long: 100, short: 300, inFlight: 20, min: 20, want: 20}, // the original's floor
		{long: 100, short: 150, inFlight: 20, want: 20.8},
		{long: 100, short: 100, inFlight: 20, want: 20.8},
		{long: 100, short: 200, inFlight: 20, want: 20*0.8 + (20*0.75+4)*0.2},
		{long: 100, short: 300, inFlight: 9, want: 20},                   // too few to say anything
		{long: 100, short: 100, inFlight: 20, dropped: true, want: 18.8}, // as steep as it gets
	} {
		c := Config{Min: x.min}.WithDefaults()
		e := newEstimate(&c)
		weight := 2.0 / 601
		if x.short >= 1.5*x.long { // it is above that of the long run before
			weight *= overloadWeight
		}
		e.long = longRun{mean: (x.long - x.short*weight) / (1 - weight), n: 100} // so that it is long after this sample
		e.update(Sample{Latency: time.Duration(x.short), InFlight: x.inFlight, Dropped: x.dropped})
		if math.Abs(e.limit-x.want) > 1e-9 {
			t.Errorf("%+v: %v", x, e.limit)
		}
	}
	if got := gradient(100, 300, 1.5); got != 0.5 {
		t.Errorf("gradient of 100 against 300 is %v, want 0.5", got)
	}
}

func TestLongRunBeginsAsAPlainAverage(t *testing.T) {
	var l longRun
	for i := range 10 {
		l.add(float64(i), 0.2, 600)
	}
	if l.mean != 4.5 {
		t.Errorf("mean of 0 to 9 is %v", l.mean)
	}
	if l.add(605.5, 1, 600); math.Abs(l.mean-6.5) > 1e-9 { // 4.5 + 601 × 2/601
		t.Errorf("then it is %v, want 6.5", l.mean)
	}
}

func TestLongRunComesDownAfterAnOverload(t *testing.T) {
	c := Config{}.WithDefaults()
	e := newEstimate(&c)
	e.long = longRun{mean: 1000 * 1e6, n: 100}
	for range 60 {
		e.update(Sample{Latency: 10 * ms, InFlight: 20})
	}
	if e.long.mean > 100e6 {
		t.Errorf("after 60 windows of 10 ms the long run is %v", time.Duration(e.long.mean))
	}
}

func TestAIMDAddsOneAndTakesATenth(t *testing.T) {
	c := Config{Algorithm: AIMD}.WithDefaults()
	e := newEstimate(&c)
	for _, x := range []struct {
		s    Sample
		want float64
	}{
		{Sample{Latency: ms, InFlight: 20}, 21},
		{Sample{Latency: ms, InFlight: 10}, 21}, // not half of them used
		{Sample{Latency: ms, InFlight: 11}, 22},
		{Sample{Latency: ms, InFlight: 1, Dropped: true}, 19.8},
		{Sample{Latency: 6 * second, InFlight: 1}, 17.82},
	} {
		if e.update(x.s); math.Abs(e.limit-x.want) > 1e-9 {
			t.Errorf("%+v: %v, want %v", x.s, e.limit, x.want)
		}
	}
	for range 1000 {
		e.update(Sample{Latency: ms, Dropped: true})
	}
	if e.limit != 1 {
		t.Errorf("smallest limit is %v", e.limit)
	}
	for range 1000 {
		e.update(Sample{Latency: ms, InFlight: 1000})
	}
	if e.limit != 200 {
		t.Errorf("largest limit is %v", e.limit)
	}
}

func TestVegasKeepsTheQueueShort(t *testing.T) {
	c := Config{Algorithm: Vegas, Initial: 100}.WithDefaults() // α 6, β 12, step 2
	for _, x := range []struct {
		latency time.Duration
		dropped bool
		in      int
		want    float64
	}{
		{100 * ms, false, 100, 112}, // no queue: up by β
		{102 * ms, false, 100, 112}, // 2 wait
		{105 * ms, false, 100, 102}, // 5 wait: up by one step
		{110 * ms, false, 100, 100}, // 10 wait: as it should be
		{120 * ms, false, 100, 98},  // 17 wait: down
		{120 * ms, false, 49, 100},  // idle
		{100 * ms, true, 100, 98},
		{90 * ms, false, 100, 100}, // a new fastest
	} {
		e := newEstimate(&c)
		e.fastest = 100 * ms
		if e.update(Sample{Latency: x.latency, InFlight: x.in, Dropped: x.dropped}); e.limit != x.want {
			t.Errorf("%+v: %v", x, e.limit)
		}
	}
	e := newEstimate(&c)
	e.update(Sample{Latency: 70 * ms, InFlight: 100})
	if e.fastest != 70*ms || e.limit != 100 {
		t.Errorf("the first sample: fastest %v, limit %v", e.fastest, e.limit)
	}
}

// TestVegasMeasuresAgain: latency without load may change.
func TestVegasMeasuresAgain(t *testing.T) {
	c := Config{Algorithm: Vegas, Min: 20, Max: 20}.WithDefaults()
	e := newEstimate(&c)
	e.update(Sample{Latency: 10 * ms, InFlight: 20})
	for n := 1; n < 30*20; n++ {
		e.update(Sample{Latency: 20 * ms, InFlight: 20})
		if e.fastest == 20*ms {
			if float64(n) < 0.5*30*e.limit-2 {
				t.Errorf("after %d samples already", n)
			}
			return
		}
	}
	t.Error("never")
}

// TestLimitStaysWithinItsBounds whatever the samples.
func TestLimitStaysWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{
			Algorithm: Algorithm(rapid.IntRange(0, 2).Draw(t, "algorithm")),
			Min:       rapid.IntRange(1, 50).Draw(t, "min"),
		}
		c.Max = c.Min + rapid.IntRange(0, 500).Draw(t, "span")
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		l := New(c)
		now := time.Duration(0)
		for range rapid.IntRange(1, 100).Draw(t, "windows") {
			latency := time.Duration(rapid.Int64Range(0, int64(10*second)).Draw(t, "latency"))
			now += max(latency, c.WithDefaults().Window)
			for range 10 {
				ticket := Ticket{now - latency, int32(rapid.IntRange(1, 600).Draw(t, "in flight"))}
				l.observe(ticket, rapid.IntRange(0, 9).Draw(t, "dropped") == 0, now)
			}
			if l.Limit() < c.Min || l.Limit() > c.Max {
				t.Fatalf("limit is %d, bounds are %d and %d", l.Limit(), c.Min, c.Max)
			}
		}
	})
}

// service is a simulated one: a number of workers and a queue before them.
type service struct {
	workers int
	takes   time.Duration
	ends    ends // of those that are worked on
	queue   []*call
}

type call struct {
	came   time.Duration // to the limiter
	ticket Ticket
	ends   time.Duration
}

type ends []*call

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].ends < e[j].ends }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(*call)) }
func (e *ends) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (s *service) enter(c *call, now time.Duration) {
	if len(s.ends) == s.workers {
		s.queue = append(s.queue, c)
		return
	}
	c.ends = now + s.takes
	heap.Push(&s.ends, c)
}

// play offers calls at the rate for a time, and returns how many a second are
// answered and the slowest percent's latency, over the second half of it.
func (s *service) play(l *Limiter, now *time.Duration, rate float64, length time.Duration) (goodput float64, p99 time.Duration) {
	begin, end := *now+length/2, *now+length
	var latencies []time.Duration
	finish := func(until time.Duration) {
		for len(s.ends) > 0 && s.ends[0].ends <= until {
			c := heap.Pop(&s.ends).(*call)
			l.Done(c.ticket, OK, c.ends)
			if c.ends >= begin {
				latencies = append(latencies, c.ends-c.came)
			}
			if len(s.queue) > 0 {
				next := s.queue[0]
				s.queue = s.queue[1:]
				s.enter(next, c.ends)
			}
		}
	}
	for *now < end {
		*now += time.Duration(float64(second) / rate)
		finish(*now)
		if ticket, ok := l.Acquire(*now); ok {
			s.enter(&call{came: *now, ticket: ticket}, *now)
		}
	}
	slices.Sort(latencies)
	if len(latencies) == 0 {
		return 0, 0
	}
	return float64(len(latencies)) / (length / 2).Seconds(), latencies[len(latencies)*99/100]
}

// TestOverloadKeepsGoodputAndLatency: five times more calls than can be served,
// for thirty seconds: nine tenths of the capacity is used, and the admitted take
// three times as long as usual at most; and so after the service has become
// four times slower, and when it is well again.
func TestOverloadKeepsGoodputAndLatency(t *testing.T) {
	for _, workers := range []int{2, 10, 50} {
		l := New(Config{})
		s := &service{workers: workers, takes: 10 * ms}
		now := time.Duration(0)
		capacity := float64(workers) * 100
		s.play(l, &now, capacity/2, 20*second)
		check := func(what string, rate, capacity float64, usual time.Duration) {
			t.Helper()
			goodput, p99 := s.play(l, &now, rate, 30*second)
			t.Logf("%d workers, %s: %.0f of %.0f a second, 99 %% within %v, limit %d", workers, what, goodput, capacity, p99, l.Limit())
			if goodput < 0.9*capacity {
				t.Errorf("%d workers, %s: %.0f a second of %.0f, limit %d", workers, what, goodput, capacity, l.Limit())
			}
			if p99 > 3*usual {
				t.Errorf("%d workers, %s: 99 %% within %v, limit %d", workers, what, p99, l.Limit())
			}
		}
		check("overload", 5*capacity, capacity, 10*ms)
		check("usual load", capacity/2, capacity/2, 10*ms)
	}
}

func TestFindsLessThanTwenty(t *testing.T) {
	l := New(Config{})
	s := &service{workers: 1, takes: 50 * ms}
	now := time.Duration(0)
	s.play(l, &now, 10, 20*second)
	_, p99 := s.play(l, &now, 100, 60*second)
	if l.Limit() >= 20 || p99 > 500*ms {
		t.Errorf("limit is %d, 99 %% within %v", l.Limit(), p99)
	}
}

func TestCallsThatSayNothingChangeNothing(t *testing.T) {
	l := New(Config{Samples: 1})
	for i := range 100 {
		ticket, ok := l.Acquire(0)
		if !ok {
			t.Fatal("refused")
		}
		l.Done(ticket, Ignored, time.Duration(i)*second)
	}
	if l.Limit() != 20 || l.gate.Running() != 0 {
		t.Errorf("limit %d, %d run", l.Limit(), l.gate.Running())
	}
	ticket, _ := l.Acquire(0)
	l.Done(ticket, Dropped, second)
	if l.Limit() != 18 {
		t.Errorf("after a drop the limit is %d, want 18", l.Limit())
	}
	l.adjust(2 * second) // a window that another goroutine has just ended
	if l.Limit() != 18 {
		t.Errorf("an empty window changes the limit to %d", l.Limit())
	}
}

func TestCallsMayWaitAtTheGate(t *testing.T) {
	l := New(Config{Initial: 1, Queue: bulkhead.Config{Queue: 1}})
	first, _ := l.Acquire(0)
	if _, ok := l.Acquire(0); ok {
		t.Fatal("two run")
	}
	var second Ticket
	if _, ok := l.Gate().Wait(&bulkhead.Waiter{Wake: func(bool) { second = l.Admitted(20 * ms) }}, 0); !ok {
		t.Fatal("may not wait")
	}
	l.Done(first, OK, 20*ms)
	if second.begun != 20*ms || second.inFlight != 1 {
		t.Errorf("ticket of the second is %+v", second)
	}
	l.Done(second, OK, 30*ms)
}

func TestCheckRefusesNonsense(t *testing.T) {
	for want, c := range map[string]Config{
		"algorithm": {Algorithm: 9},
		"minimum":   {Min: -1},
		"maximum":   {Min: 10, Max: 5},
		"initial":   {Initial: 500},
		"window":    {Window: -1},
		"samples":   {Samples: -1},
		"tolerance": {Tolerance: 0.5},
		"long run":  {LongRun: -1},
		"headroom":  {Headroom: -1},
		"smoothing": {Smoothing: 2},
		"backoff":   {Backoff: 1},
		"timeout":   {Timeout: -1},
		"bulkhead":  {Queue: bulkhead.Config{Order: 9}},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want something about %q", c, err, want)
		}
	}
	for a, maximum := range map[Algorithm]int{Gradient2: 200, AIMD: 200, Vegas: 1000} {
		if err := (Config{Algorithm: a}).Check(); err != nil {
			t.Error(err)
		}
		if c := New(Config{Algorithm: a}).Config(); c.Max != maximum || c.Min != 1 || c.Initial != 20 {
			t.Errorf("%v: %+v", a, c)
		}
	}
	if got := fmt.Sprint(Gradient2, AIMD, Vegas, OK, Dropped, Ignored); got != "gradient2 aimd vegas ok dropped ignored" {
		t.Error(got)
	}
}

func TestNothingIsLostConcurrently(t *testing.T) {
	l := New(Config{Initial: 50, Window: 1})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 2000 {
				now := time.Duration(i) * ms
				if ticket, ok := l.Acquire(now); ok {
					l.Done(ticket, OK, now+ms)
				}
			}
		})
	}
	wg.Wait()
	if l.gate.Running() != 0 {
		t.Errorf("%d run", l.gate.Running())
	}
}

func TestCallsAllocateNothing(t *testing.T) {
	l := New(Config{Window: 1})
	now := time.Duration(0)
	if got := testing.AllocsPerRun(1000, func() {
		ticket, _ := l.Acquire(now)
		now += ms
		l.Done(ticket, OK, now)
	}); got != 0 {
		t.Errorf("%v allocations a call", got)
	}
}

func BenchmarkCall(b *testing.B) {
	for _, a := range []Algorithm{Gradient2, AIMD, Vegas} {
		b.Run(a.String(), func(b *testing.B) {
			l := New(Config{Algorithm: a})
			b.ReportAllocs()
			for now := time.Duration(0); b.Loop(); now += time.Microsecond {
				ticket, _ := l.Acquire(now)
				l.Done(ticket, OK, now+ms)
			}
		})
	}
}

func BenchmarkRefusal(b *testing.B) {
	l := New(Config{Initial: 1})
	l.Acquire(0)
	b.ReportAllocs()
	for b.Loop() {
		l.Acquire(0)
	}
}
