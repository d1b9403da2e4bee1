package l7

import (
	"time"
)

// Inject makes a route misbehave on purpose, to see whether those who depend on it can bear it. Shares are of
// all requests, 0 to 1.
type Inject struct {
	Abort       float64 // are answered with AbortStatus
	AbortStatus int
	Reset       float64 // have their connection reset
	Delay       float64 // wait for DelayFor before they go out
	DelayFor    time.Duration
	Bandwidth   int64 // bytes per second of each answer's body; 0 is no limit
}

// chance reports true with the given probability.
func (w *worker) chance(p float64) bool {
	return p > 0 && float64(w.Random()>>11)/(1<<53) < p
}

// spoil does to the request what the route's injection wants. It reports true if nothing is left to do.
func (x *exchange) spoil() bool {
	in := x.route.Inject
	switch {
	case in == nil:
		return false
	case x.w.chance(in.Reset):
		x.did(deedInjected)
		x.c.cut()
		x.c.lost()
		return true
	case x.w.chance(in.Abort):
		x.did(deedInjected)
		x.fail(in.AbortStatus, "an injected fault")
		return true
	}
	return false
}

// delayed makes the request wait if it is among those that shall. What matters of its head was kept.
func (x *exchange) delayed() bool {
	in := x.route.Inject
	if in == nil || !x.w.chance(in.Delay) {
		return false
	}
	x.did(deedInjected)
	x.enter(phaseBackoff, in.DelayFor)
	return true
}

// paceBurst is what an answer may send ahead of its bandwidth, in bytes.
const paceBurst = 16 << 10

// paced reports how much of the answer may be read now. If it is nothing, the answer goes on when its time has
// come.
func (x *exchange) paced(limit int) int {
	in := x.route.Inject
	if in == nil || in.Bandwidth <= 0 || !x.answered || x.tunnel {
		return limit
	}
	now := x.w.Loop.Now()
	may := int64(float64(in.Bandwidth)*(now-x.first).Seconds()) + paceBurst - x.bytesOut
	if may > 0 {
		return int(min(int64(limit), may))
	}
	x.paceBy = now + max(10*time.Millisecond, time.Duration(float64(-may+1024)/float64(in.Bandwidth)*float64(time.Second)))
	x.rearm()
	return 0
}
