package balance

import (
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/fault/outlier"
)

const ms = time.Millisecond

// answered plays n requests to e that are answered after latency, until the time
// that it returns.
func answered(t testing.TB, p *Pool, e *Endpoint, n int, latency, now time.Duration) time.Duration {
	for range n {
		reserveOn(t, p, e)
		e.Sent(now)
		now += latency
		e.Answered(now, latency)
		p.Done(e, Outcome{Latency: latency}, now)
	}
	return now
}

func TestStallAfterIsLearned(t *testing.T) {
	p := newPool(t, 2, nil)
	e := p.Endpoints()[0]
	if got := e.StallAfter(); got != 5*second {
		t.Errorf("before anything is learned it is %v", got)
	}
	for _, c := range []struct{ latency, low, high time.Duration }{
		{time.Millisecond, 200 * ms, 200 * ms},
		{100 * ms, 400 * ms, 405 * ms},
		{500 * ms, 2000 * ms, 2010 * ms},
		{4 * second, 8 * second, 8010 * ms}, // its mean alone is near the maximum
	} {
		q := newPool(t, 1, nil)
		e := q.Endpoints()[0]
		answered(t, q, e, 50, c.latency, 0)
		if got := e.StallAfter(); got < c.low || got > c.high {
			t.Errorf("answers take %v: stall after %v, want %v to %v", c.latency, got, c.low, c.high)
		}
	}
}

func TestSilentEndpointIsEjected(t *testing.T) {
	p := newPool(t, 3, nil)
	e := p.Endpoints()[0]
	start := answered(t, p, e, 20, 5*ms, 0)
	for i := range 4 { // the last answers are in; these get none
		reserveOn(t, p, e)
		e.Sent(start + time.Duration(i)*ms)
	}
	if p.CheckStall(e, start, start+200*ms) {
		t.Error("too early: the third has waited for less than 200 ms")
	}
	if p.CheckStall(e, start, start+201*ms) {
		t.Error("too early: the third has waited for 199 ms")
	}
	if !p.CheckStall(e, start, start+202*ms) {
		t.Fatal("three requests wait in silence, and nothing happens")
	}
	if s := e.Status(start + 203*ms); s.Outlier.Reason != "stopped answering" || s.Outlier.Until != start+202*ms+10*second {
		t.Errorf("outlier state is %+v", s.Outlier)
	}
	for i := range 4 {
		if !p.CheckStall(e, start+time.Duration(i)*ms, start+time.Duration(200+i)*ms) {
			t.Errorf("request %d is not moved", i)
		}
		e.Abandoned(start + 204*ms)
		p.Done(e, Outcome{Result: Stalled}, start+204*ms)
	}
	if e.InFlight() != 0 || e.stall.waiting.Load() != 0 || e.stall.since.Load() != 0 {
		t.Errorf("in flight %d, waiting %d", e.InFlight(), e.stall.waiting.Load())
	}
}

// TestSlowRequestIsNoStall: one request takes very long while others are
// answered, or while there are no others, or while others have just been sent.
func TestSlowRequestIsNoStall(t *testing.T) {
	p := newPool(t, 2, nil)
	e := p.Endpoints()[0]
	now := answered(t, p, e, 20, 5*ms, 0)
	slow := now
	reserveOn(t, p, e)
	e.Sent(slow)
	if p.CheckStall(e, slow, slow+30*second) {
		t.Error("alone")
	}
	now += 30 * second
	for range 5 {
		reserveOn(t, p, e)
		e.Sent(now)
	}
	if p.CheckStall(e, slow, now+5*ms) {
		t.Error("beside others that were sent 5 ms ago")
	}
	for i := range 5 {
		now += 5 * ms
		e.Answered(now, 5*ms)
		p.Done(e, Outcome{Latency: 5 * ms}, now)
		if p.CheckStall(e, slow, now+150*ms) {
			t.Errorf("%d of 5 others were answered meanwhile", i+1)
		}
	}
}

func TestAnswersPutTheVerdictOff(t *testing.T) {
	p := newPool(t, 2, nil)
	e := p.Endpoints()[0]
	start := answered(t, p, e, 20, 5*ms, 0)
	for range 6 {
		reserveOn(t, p, e)
		e.Sent(start)
	}
	e.Answered(start+100*ms, 100*ms) // five are left, and the silence begins here
	if wait := e.StallAfter(); p.CheckStall(e, start, start+99*ms+wait) || !p.CheckStall(e, start, start+100*ms+wait) {
		t.Error("the silence does not begin with the last answer")
	}
	q := newPool(t, 2, nil)
	e = q.Endpoints()[0]
	start = answered(t, q, e, 20, 5*ms, 0)
	for range 3 {
		reserveOn(t, q, e)
		e.Sent(start)
	}
	e.Abandoned(start + 10*ms) // by its client
	if q.CheckStall(e, start, start+second) {
		t.Error("only two are waiting")
	}
}

func TestOnProbationOneSilentRequestIsEnough(t *testing.T) {
	p := newPool(t, 2, nil)
	e := p.Endpoints()[0]
	answered(t, p, e, 20, 5*ms, 0)
	p.Done(reserveOn(t, p, e), Outcome{Result: ConnectFailed}, second)
	p.Tick(2 * second)
	reserveOn(t, p, e)
	e.Sent(2 * second)
	if p.CheckStall(e, 2*second, 2399*ms) {
		t.Error("probation does not double the patience")
	}
	if !p.CheckStall(e, 2*second, 2400*ms) || standing(e) != outlier.Ejected {
		t.Error("the only request on probation waits in silence, and nothing happens")
	}
}

func TestLastAvailableIsNotFoundStalled(t *testing.T) {
	p := newPool(t, 2, nil)
	a, b := p.Endpoints()[0], p.Endpoints()[1]
	start := answered(t, p, a, 20, 5*ms, 0)
	p.SetHealth(b, Down, "", start)
	for range 5 {
		reserveOn(t, p, a)
		a.Sent(start)
	}
	if p.CheckStall(a, start, start+10*second) {
		t.Error("its requests have nowhere to go")
	}
	p.SetHealth(a, Down, "", start) // all down
	if p.CheckStall(a, start, start+10*second) {
		t.Error("all are down, and its requests are moved")
	}
	p.SetHealth(b, Up, "", start)
	if !p.CheckStall(a, start, start+10*second) {
		t.Error("it is down and silent, and its requests stay")
	}
}

func TestRequestsLeaveAnEndpointThatIsOut(t *testing.T) {
	p := newPool(t, 2, nil)
	e := p.Endpoints()[0]
	start := answered(t, p, e, 20, 5*ms, 0)
	reserveOn(t, p, e)
	e.Sent(start)
	p.Done(reserveOn(t, p, e), Outcome{Result: ConnectFailed}, start)
	if p.CheckStall(e, start, start+199*ms) {
		t.Error("moved before it has waited long")
	}
	if !p.CheckStall(e, start, start+200*ms) {
		t.Error("its host refuses connections, and the only request waits in silence")
	}
}

func TestStallDetectionCanBeTurnedOff(t *testing.T) {
	p := newPool(t, 2, func(c *Config) { c.Stall.Disabled = true })
	e := p.Endpoints()[0]
	for range 5 {
		reserveOn(t, p, e)
		e.Sent(0)
	}
	if p.CheckStall(e, 0, 100*second) {
		t.Error("stalled although disabled")
	}
}

func TestWaitingCountMendsItself(t *testing.T) {
	p := newPool(t, 1, nil)
	e := p.Endpoints()[0]
	reserveOn(t, p, e)
	e.Sent(0)
	e.Sent(0)
	p.Done(e, Outcome{Result: Reset}, 0) // neither Answered nor Abandoned
	if got := e.stall.waiting.Load(); got != 0 {
		t.Errorf("waiting is %d with nothing in flight", got)
	}
	reserveOn(t, p, e)
	e.Abandoned(0)
	p.Done(e, Outcome{}, 0)
	if got := e.stall.waiting.Load(); got != 0 {
		t.Errorf("waiting is %d with nothing in flight", got)
	}
}

func TestWaitingIsCountedConcurrently(t *testing.T) {
	p := newPool(t, 2, nil)
	e := p.Endpoints()[0]
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 2000 {
				now := time.Duration(k) * ms
				if got, err := p.Pick(&Request{Prefer: e, Now: now}); err != nil || got != e {
					t.Errorf("Pick: %v", err)
					return
				}
				e.Sent(now)
				if (i+k)%5 == 0 {
					e.Abandoned(now)
				} else {
					e.Answered(now, ms)
				}
				p.CheckStall(e, now, now)
				p.Done(e, Outcome{Latency: ms}, now)
			}
		})
	}
	wg.Wait()
	if w := e.stall.waiting.Load(); w != 0 || e.InFlight() != 0 {
		t.Errorf("waiting %d, in flight %d", w, e.InFlight())
	}
}

func BenchmarkSentAnswered(b *testing.B) {
	p := newPool(b, 3, nil)
	e := p.Endpoints()[0]
	b.ReportAllocs()
	for now := time.Duration(0); b.Loop(); now += 1000 {
		e.Sent(now)
		e.Answered(now, ms)
	}
}

func BenchmarkStallAfter(b *testing.B) {
	p := newPool(b, 3, nil)
	e := p.Endpoints()[0]
	e.stall.learn(ms)
	for b.Loop() {
		e.StallAfter()
	}
}

// TestScoutsFindOut: one request waits, and the algorithm sends no others.
func TestScoutsFindOut(t *testing.T) {
	for _, answers := range []bool{false, true} {
		p := newPool(t, 3, func(c *Config) { c.Algorithm = LeastRequest })
		e := p.Endpoints()[0]
		start := answered(t, p, e, 20, 5*ms, 0)
		reserveOn(t, p, e)
		e.Sent(start)
		now := start + 201*ms
		if p.CheckStall(e, start, now) {
			t.Fatal("one request makes a verdict")
		}
		if got := pick(t, p, Request{Now: now}); got == e {
			t.Error("a request that can't be moved is sent to scout")
		}
		if got := pick(t, p, Request{Now: now, Movable: true, Tried: []*Endpoint{e}}); got == e {
			t.Error("a request that was there already is sent to scout") // one scout is forgone
		}
		got, err := p.Pick(&Request{Now: now, Movable: true})
		if err != nil || got != e {
			t.Fatalf("scout goes to %v, %v", got, err)
		}
		e.Sent(now)
		if answers {
			e.Answered(now+ms, ms)
			p.Done(e, Outcome{Latency: ms}, now+ms)
		}
		next, err := p.Pick(&Request{Now: now + 2*ms, Movable: true})
		if err != nil || next == e {
			t.Fatalf("a third is sent to scout: %v", err)
		}
		p.Done(next, Outcome{Latency: ms}, now+2*ms)
		if answers {
			if p.CheckStall(e, start, now+200*ms) {
				t.Error("a scout was answered, and it counts as stalled")
			}
			continue
		}
		if p.CheckStall(e, start, now+100*ms) { // asks for the scout that was forgone
			t.Fatal("two requests make a verdict")
		}
		if got, err := p.Pick(&Request{Now: now + 100*ms, Movable: true}); err != nil || got != e {
			t.Fatalf("scout goes to %v, %v", got, err)
		}
		e.Sent(now + 100*ms)
		if !p.CheckStall(e, start, now+300*ms) {
			t.Error("all scouts wait, and nothing happens")
		}
	}
}

func TestNoScoutsToTheLastAvailable(t *testing.T) {
	p := newPool(t, 2, nil)
	e := p.Endpoints()[0]
	start := answered(t, p, e, 20, 5*ms, 0)
	p.SetHealth(p.Endpoints()[1], Down, "", start)
	reserveOn(t, p, e)
	e.Sent(start)
	p.CheckStall(e, start, start+second)
	if p.scouts.Load() != nil {
		t.Error("scouts are sent where all requests go")
	}
	p.SetHealth(p.Endpoints()[1], Up, "", start)
	p.CheckStall(e, start, start+second)
	p.SetAdmin(e, Maintenance, start)
	if got := pick(t, p, Request{Now: start, Movable: true}); got == e {
		t.Error("scouts are sent into maintenance")
	}
	for range 3 {
		e.Sent(start)
	}
	p.sendScouts(e, start)
	if p.scouts.Load() != nil {
		t.Error("scouts are sent although enough requests wait")
	}
}
