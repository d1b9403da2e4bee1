package l7

import (
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/fault/retry"
)

// rateGrace is how long a client may take to come up to the minimum rate of a body.
const rateGrace = 10 * time.Second

// watchWithin is how long a request may take before it matters whether its client is still there. Most are over
// by then, and their connections need not be watched for that.
const watchWithin = 200 * time.Millisecond

// enter begins a phase that ends in limit at the latest; 0 is no limit.
func (x *exchange) enter(p phase, limit time.Duration) {
	x.phase = p
	x.phaseBy = 0
	if limit > 0 {
		x.phaseBy = x.w.Loop.Now() + limit
	}
	x.rearm()
}

// rearm sets the timer to the nearest of the exchange's deadlines.
func (x *exchange) rearm() {
	by := earliest(earliest(x.total, x.phaseBy), earliest(x.stallBy, earliest(x.hedgeBy, earliest(x.paceBy, x.wholeBy))))
	if t := &x.lis.Timeouts; x.c.blocked() && t.WriteIdle > 0 {
		by = earliest(by, x.c.progress()+t.WriteIdle)
	} else if x.asked > 0 && !x.tunnel {
		if t.BodyIdle > 0 {
			by = earliest(by, x.asked+t.BodyIdle)
		}
		if t.MinRate > 0 {
			by = earliest(by, x.asked+max(0, x.patience()-x.waited))
		}
	}
	if !x.c.watched() {
		by = earliest(by, x.start+watchWithin)
	}
	if by == 0 {
		x.w.Loop.Disarm(&x.timer)
		return
	}
	x.w.Loop.Arm(&x.timer, x, by)
}

func earliest(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// patience is how long the client may be waited for, in all, with as much of the body as it has sent so far.
func (x *exchange) patience() time.Duration {
	return max(rateGrace, time.Duration(float64(x.bytesIn)/float64(x.lis.Timeouts.MinRate)*float64(time.Second)))
}

// Expire implements loop.Expirer: one of the deadlines has passed, or a connection is looked at because it
// has been quiet for a while.
func (x *exchange) Expire(now time.Duration) {
	if x.lost {
		return // its waker ends it
	}
	if !x.c.watch() { // from now on it matters whether the client is still there
		x.c.lost()
		return
	}
	t := &x.lis.Timeouts
	switch {
	case x.total > 0 && now >= x.total:
		x.late()
	case x.c.blocked() && t.WriteIdle > 0 && now >= x.c.progress()+t.WriteIdle:
		x.c.cut()
		x.c.lost()
	case x.asked > 0 && !x.tunnel && x.tooSlow(now):
		x.giveBack(balance.Outcome{Result: balance.Canceled})
		x.failBroken(408, "the body did not arrive in time")
	case x.paceBy > 0 && now >= x.paceBy:
		x.paceBy = 0
		x.rearm()
		if x.u != nil {
			x.pump()
		}
	case x.wholeBy > 0 && now >= x.wholeBy:
		x.passOn()
	case x.hedgeBy > 0 && now >= x.hedgeBy:
		x.hedgeNow(now)
		x.rearm()
	case x.stallBy > 0 && now >= x.stallBy && x.phase == phaseAnswer:
		x.lookForStall(now)
	case x.phaseBy > 0 && now >= x.phaseBy:
		x.phaseOver(now)
	default:
		x.rearm()
	}
}

func (x *exchange) tooSlow(now time.Duration) bool {
	t := &x.lis.Timeouts
	waiting := now - x.asked
	return t.BodyIdle > 0 && waiting >= t.BodyIdle || t.MinRate > 0 && x.waited+waiting >= x.patience()
}

// late is the end of the time that the route gives a whole request.
func (x *exchange) late() {
	if x.queueing && !x.leaveQueue() {
		return
	}
	x.letGo()
	if x.phase == phaseAnswer || x.phase == phaseConnect {
		x.settle(failedTimeout, false)
	} else {
		x.giveBack(balance.Outcome{Result: balance.Canceled})
	}
	x.failBroken(504, "the request took too long")
}

// failBroken answers with an error if nothing was answered yet, and cuts the answer off if something was.
func (x *exchange) failBroken(status int, text string) {
	if u := x.u; u != nil {
		x.u = nil
		u.close()
	}
	x.dropRival(balance.Canceled)
	if x.answered {
		x.abort()
		return
	}
	x.fail(status, text)
}

// lookForStall moves the request elsewhere if its endpoint has stopped answering altogether. A request that
// cannot be moved waits on: the endpoint may come back.
func (x *exchange) lookForStall(now time.Duration) {
	stalled := x.up.Pool.CheckStall(x.ep, x.sent, now)
	movable := x.retained && x.reqBody.Done() && x.method.Idempotent() &&
		x.route.Retry.Wants(x.attempts, retry.Stall, 0) && x.up.Pool.Available(now) > 0
	if !stalled || x.rival.u == nil && !(movable && x.afford()) {
		x.stallBy = now + x.ep.StallAfter()/2
		x.rearm()
		return
	}
	u := x.u
	x.u = nil
	x.settle(failedStall, false)
	u.close()
	if x.rival.u != nil {
		x.promote()
		return
	}
	x.again(retry.Stall, false)
}

// phaseOver is the end of the time that the present phase may take.
func (x *exchange) phaseOver(now time.Duration) {
	switch x.phase {
	case phaseQueue:
		if x.leaveQueue() {
			x.up.counters.queueLate.Add(1)
			x.fail(503, "no endpoint became free in time")
		}
	case phaseHeld:
		x.letGo()
		x.fail(503, "no endpoint can be reached")
	case phaseBackoff:
		x.repick()
	case phaseConnect:
		x.attemptFailed(failedConnect)
	case phaseSend:
		if by := x.moved + x.set.IdleIO; now < by {
			x.phaseBy = by
			x.rearm()
			return
		}
		x.attemptFailed(failedTimeout)
	case phaseAnswer:
		x.attemptFailed(failedTimeout)
	case phaseBody:
		x.idle(now)
	}
}

// idle looks whether an answer or tunnel has really been quiet for its limit.
func (x *exchange) idle(now time.Duration) {
	limit := x.set.IdleIO
	if x.tunnel {
		limit = x.tunnelLimit()
	}
	if by := x.moved + limit; now < by || x.c.blocked() {
		x.phaseBy = max(by, now+time.Second)
		x.rearm()
		return
	}
	if x.tunnel {
		x.giveBack(balance.Outcome{Result: balance.OK, Latency: x.latency(), Status: x.status})
	} else {
		x.settle(failedTimeout, false)
	}
	x.abort()
}

// leaveQueue takes the request out of its pool's queue. It reports false if an endpoint is already on its way.
func (x *exchange) leaveQueue() bool {
	if !x.up.Pool.Cancel(&x.waiter) {
		x.phaseBy = 0
		return false
	}
	x.queueing = false
	return true
}

// bind makes the waiter call back into this use of the exchange.
func (x *exchange) bind() {
	w, life := x.w, x.life
	up := x.up
	x.waiter.Wake = func(ep *balance.Endpoint) {
		posted := w.Loop.Post(func() {
			if x.life != life || x.lost {
				up.Pool.Done(ep, balance.Outcome{Result: balance.Canceled}, w.Loop.Now())
				if x.life == life {
					x.end()
				}
				return
			}
			x.queueing = false
			x.attempt(ep)
		})
		if !posted {
			up.Pool.Done(ep, balance.Outcome{Result: balance.Canceled}, w.srv.now())
		}
	}
}
