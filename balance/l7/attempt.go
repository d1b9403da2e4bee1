package l7

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/fault/retry"
)

// attempt sends the request to an endpoint, on which Pick has reserved a place.
func (x *exchange) attempt(ep *balance.Endpoint) {
	x.ep, x.t = ep, nil
	x.sent = 0
	x.reqAt = 0
	x.attempts++
	t, err := x.w.target(x, ep)
	if err != nil {
		x.w.srv.log.Warn("endpoint cannot be dialled", "pool", x.up.Name, "endpoint", ep.Address(), "error", err)
		x.attemptFailed(failedConnect)
		return
	}
	x.t = t
	if !x.stale {
		if u := t.get(x, !x.method.Idempotent()); u != nil {
			x.use(u)
			x.flush()
			return
		}
	}
	u, e := t.open(x)
	if e != 0 {
		x.attemptFailed(dialFailure(e))
		return
	}
	x.use(u)
	x.enter(phaseConnect, earliest(x.set.Connect, x.route.PerTry))
	x.flush()
}

// dialFailure tells whose fault it is that a connection can't even be begun.
func dialFailure(e unix.Errno) failure {
	switch e {
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EADDRNOTAVAIL, unix.ENOSPC:
		return failedLocal
	}
	return failedConnect
}

func (x *exchange) use(u *conn) {
	x.u = u
	u.x = x
}

// flush sends what the endpoint has not got of the request.
func (x *exchange) flush() {
	u := x.u
	if u.deaf {
		return
	}
	for x.reqAt < len(x.req) {
		n, e := u.write(x.req[x.reqAt:])
		if e == unix.EAGAIN {
			x.held()
			return
		}
		if e != 0 {
			x.writeFailed(e)
			return
		}
		u.connecting = false // if it was: the kernel takes bytes, and its event need not be waited for
		x.reqAt += n
		x.moved = x.w.Loop.Now()
	}
	if !x.retained {
		x.req, x.reqAt = x.req[:0], 0
	}
	x.flushed()
}

// held is called when the endpoint takes no more of the request for now.
func (x *exchange) held() {
	if x.u.connecting || x.answered || x.phase == phaseSend && x.phaseBy > 0 {
		return
	}
	x.enter(phaseSend, x.set.IdleIO)
}

// flushed is called when the endpoint has got all of the request that is there.
func (x *exchange) flushed() {
	switch {
	case x.tunnel:
		if x.passEnds() {
			return
		}
	case x.answered || x.awaiting:
	case x.reqBody.Done():
		x.awaitAnswer()
	default:
		x.enter(phaseSend, 0) // the client's turn
	}
	if x.wantsClient() {
		x.c.pump()
	}
}

// awaitAnswer begins the wait for the head of the answer to a request that has been sent whole.
func (x *exchange) awaitAnswer() {
	now := x.w.Loop.Now()
	x.sent = now
	x.ep.Sent(now)
	x.awaiting = true
	x.stallBy = 0
	if x.set.Stall {
		x.stallBy = now + x.ep.StallAfter()
	}
	x.planHedge(now)
	x.enter(phaseAnswer, x.answerLimit())
}

// answerLimit is how long the endpoint may take for the head of its answer.
func (x *exchange) answerLimit() time.Duration {
	limit := x.set.FirstByte
	if x.route.FirstByte > 0 {
		limit = x.route.FirstByte
	}
	return earliest(limit, x.route.PerTry)
}

// latency is how long the endpoint took to answer; 0 if it answered before it had the whole request.
func (x *exchange) latency() time.Duration {
	if x.sent == 0 {
		return 0
	}
	return x.first - x.sent
}

// writeFailed handles a connection that takes no more. What the endpoint has said before it closed (an early
// refusal of a large body, say) still counts, so it is read up to its end. The request stays as it is, for
// another attempt.
func (x *exchange) writeFailed(e unix.Errno) {
	u := x.u
	if u.connecting {
		x.attemptFailed(failedConnect)
		return
	}
	u.deaf, u.peerDone, u.readable = true, true, true
	x.pump()
	if x.u == u && !u.readable && !x.answered {
		x.attemptFailed(failedReset)
	}
}

// attemptFailed ends an attempt that brought no answer, and makes another or gives up.
func (x *exchange) attemptFailed(f failure) {
	u := x.u
	stale := f == failedReset && u != nil && u.reused && !u.heard || f == failedRefused && !x.stale
	x.settle(f, stale)
	if u != nil {
		x.u = nil
		u.close()
	}
	switch {
	case x.answered:
		x.abort()
	case x.rival.u != nil:
		x.promote()
	case x.mayRetry(f, stale):
		x.again(reasonOf[f], stale)
	case x.holdOn(f):
	case f == failedTimeout || f == failedStall:
		x.fail(504, "the endpoint did not answer in time")
	case f == failedProtocol:
		x.fail(502, "the endpoint sent an invalid answer")
	case f == failedReset:
		x.fail(502, "the endpoint did not answer")
	case f == failedRefused:
		x.fail(503, "the endpoint takes no more requests")
	default:
		x.fail(502, "the endpoint could not be reached")
	}
}

var outcomeOf = [failureKinds]balance.Result{
	failedConnect:  balance.ConnectFailed,
	failedLocal:    balance.Canceled,
	failedReset:    balance.Reset,
	failedTimeout:  balance.Timeout,
	failedStall:    balance.Stalled,
	failedProtocol: balance.ServerError,
	failedRefused:  balance.Reset,
}

// settle tells the pool how the attempt ended.
func (x *exchange) settle(f failure, stale bool) {
	o := balance.Outcome{Result: outcomeOf[f]}
	if stale {
		o.Result = balance.Canceled // the endpoint closed an idle connection, as it may
	} else if x.t != nil {
		x.t.stats.failures[f].Add(1)
	}
	x.giveBack(o)
}

// giveBack returns the place on the endpoint to the pool, once.
func (x *exchange) giveBack(o balance.Outcome) {
	x.wholeBy = 0
	if ep := x.ep; ep != nil {
		x.ep = nil
		if x.awaiting {
			x.awaiting = false
			ep.Abandoned(x.w.Loop.Now())
		}
		x.last = ep
		x.up.Pool.Done(ep, o, x.w.Loop.Now())
	}
}

var reasonOf = [failureKinds]retry.When{
	failedConnect:  retry.Connect,
	failedLocal:    retry.Connect,
	failedReset:    retry.Reset,
	failedTimeout:  retry.Timeout,
	failedStall:    retry.Stall,
	failedProtocol: retry.Reset,
	failedRefused:  retry.Connect,
}

// mayRetry decides whether the request may go out once more. A request that may have reached an endpoint is
// sent again only if doing it twice does no harm (RFC 9110 §9.2.2). One that met a connection which the
// endpoint had closed was no attempt: it goes out again, on a new connection, whatever the policy says.
func (x *exchange) mayRetry(f failure, stale bool) bool {
	unsent := f == failedConnect || f == failedLocal || f == failedRefused || x.reqAt == 0
	if x.lost || !x.retained || !(unsent || x.method.Idempotent()) {
		return false
	}
	return stale || x.route.Retry.Wants(x.attempts, reasonOf[f], 0) && x.afford()
}

// afford takes a retry out of the budget.
func (x *exchange) afford() bool {
	b := x.budget()
	if b == nil || b.Take(x.w.Loop.Now()) {
		return true
	}
	x.up.counters.noBudget.Add(1)
	return false
}

// again makes another attempt, after the back-off that the policy wants.
func (x *exchange) again(reason retry.When, stale bool) {
	x.hedgeBy = 0
	if stale {
		x.stale = true
		x.attempts--
		x.repick()
		return
	}
	x.tried = append(x.tried, x.last)
	x.counters().retries.Add(1)
	if wait := x.route.Retry.Backoff(x.attempts, reason, x.w.Random()); wait > 0 {
		x.enter(phaseBackoff, wait)
		return
	}
	x.repick()
}

// repick picks for a further attempt. The request itself is no longer parsed; what matters of it was kept.
func (x *exchange) repick() {
	x.w.pick = balance.Request{Hash: x.hash, Tried: x.tried, Prefer: x.preferred, Movable: x.movable()}
	x.pick(&x.w.pick)
}
