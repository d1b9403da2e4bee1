package l7

import (
	"testing"
	"time"

	"github.com/trivet-ha/trivet/internal/edge"
)

// still makes a worker whose clock stands still: nothing runs.
func still(t *testing.T) *worker {
	e, err := edge.New(edge.Config{Loops: 1, Origin: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Workers()[0].Loop.Close)
	return &worker{Worker: e.Workers()[0]}
}

// TestLimitOfSendingBeginsAnewWithEachByte: an endpoint may take its time as long as it takes something.
func TestLimitOfSendingBeginsAnewWithEachByte(t *testing.T) {
	w := still(t)
	now := w.Loop.Now()
	x := &exchange{w: w, c: &client{}, lis: &Listener{}, set: &UpstreamSettings{IdleIO: time.Second}, phase: phaseSend}
	x.moved, x.phaseBy = now-300*time.Millisecond, now
	if x.phaseOver(now); x.phaseBy != now+700*time.Millisecond || !x.timer.Armed() {
		t.Errorf("a byte moved 300 ms ago, and the limit of a second is over at %v from now", x.phaseBy-now)
	}
}

// TestHalfATunnelHasALimit also where a whole one has none.
func TestHalfATunnelHasALimit(t *testing.T) {
	for _, c := range []struct {
		ended     bool
		set, want time.Duration
	}{
		{false, 0, 0}, {false, time.Hour, time.Hour}, {true, 0, halfOpen}, {true, time.Hour, halfOpen}, {true, time.Second, time.Second},
	} {
		x := &exchange{set: &UpstreamSettings{Tunnel: c.set}, upEnded: c.ended}
		if got := x.tunnelLimit(); got != c.want {
			t.Errorf("%+v: the limit is %v", c, got)
		}
	}
}

// TestMinimumRateCountsOnlyTheWaitForTheClient: what the endpoint or a queue takes is not the client's fault.
func TestMinimumRateCountsOnlyTheWaitForTheClient(t *testing.T) {
	w := still(t)
	now := w.Loop.Now()
	x := &exchange{w: w, lis: &Listener{Timeouts: Timeouts{MinRate: 1000}}, start: now - time.Hour}
	for _, c := range []struct {
		name     string
		received int64
		waited   time.Duration // before, in all
		waiting  time.Duration // now
		slow     bool
	}{
		{"an hour in a queue, and a little wait", 0, 0, time.Second, false},
		{"nothing within the grace", 0, 0, rateGrace - 1, false},
		{"nothing beyond the grace", 0, 0, rateGrace, true},
		{"many short waits beyond the grace", 0, rateGrace - time.Second, time.Second, true},
		{"as much as it must be", 20_000, 15 * time.Second, 5*time.Second - 1, false},
		{"a little too little", 20_000, 15 * time.Second, 5 * time.Second, true},
	} {
		x.bytesIn, x.waited, x.asked = c.received, c.waited, now-c.waiting
		if got := x.tooSlow(now); got != c.slow {
			t.Errorf("%s: too slow is %v", c.name, got)
		}
		if x.heard(); x.waited != c.waited+c.waiting || x.asked != 0 {
			t.Errorf("%s: then it has waited for %v", c.name, x.waited)
		}
	}
}
