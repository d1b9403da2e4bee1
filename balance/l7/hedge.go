package l7

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/internal/loop"
)

// A rival is a second attempt that runs beside the first, because the first takes long. Whoever answers first
// goes on; the other is given up.
type rival struct {
	ep   *balance.Endpoint
	t    *target
	u    *conn
	at   int           // the request was sent up to there
	sent time.Duration // when it was sent whole; 0 before
}

// planHedge sets the time after which a second attempt is worth its cost (J. Dean, L. A. Barroso, "The Tail at
// Scale", 2013).
func (x *exchange) planHedge(now time.Duration) {
	h := x.route.Hedge
	if h == nil || x.hedges > 0 || !x.retained || !x.method.Idempotent() {
		return
	}
	if after, ok := h.Begin(now); ok {
		x.hedgeBy = now + after
	}
}

// hedgeNow makes the second attempt, if the budget allows it and another endpoint is there.
func (x *exchange) hedgeNow(now time.Duration) {
	x.hedgeBy = 0
	h := x.route.Hedge
	if x.phase != phaseAnswer || x.rival.u != nil || !h.Take(now, x.hedges) {
		return
	}
	p := balance.Request{Hash: x.hash, Random: x.w.Random(), Now: now, Tried: append(x.tried, x.ep)}
	ep, err := x.up.Pool.Pick(&p)
	if err != nil {
		h.Return(now)
		return
	}
	if ep == x.ep || !x.challenge(ep) {
		h.Return(now)
		x.up.Pool.Done(ep, balance.Outcome{Result: balance.Canceled}, now)
		return
	}
	x.hedges++
	x.did(deedHedged)
	x.pushRival()
}

// challenge opens the rival's connection.
func (x *exchange) challenge(ep *balance.Endpoint) bool {
	t, err := x.w.target(x, ep)
	if err != nil {
		return false
	}
	u := t.get(x, false)
	if u == nil {
		var e unix.Errno
		if u, e = t.open(x); e != 0 {
			return false
		}
	}
	u.x = x
	x.rival = rival{ep: ep, t: t, u: u}
	return true
}

// pushRival sends the rival what it has not got of the request.
func (x *exchange) pushRival() {
	r := &x.rival
	for r.at < len(x.req) {
		n, e := r.u.write(x.req[r.at:])
		if e == unix.EAGAIN {
			return
		}
		if e != 0 {
			x.dropRival(balance.Reset)
			return
		}
		r.u.connecting = false
		r.at += n
	}
	if r.sent == 0 {
		r.sent = x.w.Loop.Now()
		r.ep.Sent(r.sent)
	}
}

// rivalReady is called when something happens on the rival's connection.
func (x *exchange) rivalReady(ev loop.Events) {
	u := x.rival.u
	if ev&(loop.Failed|loop.Hangup) != 0 {
		result := balance.Reset
		if u.connecting {
			result = balance.ConnectFailed
		}
		x.dropRival(result)
		return
	}
	if ev&(loop.Readable|loop.PeerDone) != 0 {
		u.readable = true
		u.peerDone = u.peerDone || ev&loop.PeerDone != 0
	}
	if ev&loop.Writable != 0 {
		u.connecting = false
		x.pushRival()
	}
	if x.rival.u != u || !u.readable || x.rival.sent == 0 {
		return
	}
	switch n, e := u.peek(); {
	case e == unix.EAGAIN:
		u.readable = false
	case n == 0: // an end without a byte is no answer
		x.dropRival(balance.Reset)
	default:
		x.did(deedHedgeWon)
		x.promote()
	}
}

// promote puts the rival in the place of the first attempt, which is given up.
func (x *exchange) promote() {
	r := x.rival
	x.rival = rival{}
	if u := x.u; u != nil {
		x.u = nil
		u.close()
	}
	x.giveBack(balance.Outcome{Result: balance.Canceled})
	x.ep, x.t, x.u, x.reqAt, x.sent = r.ep, r.t, r.u, r.at, r.sent
	x.awaiting = r.sent > 0
	x.stallBy, x.hedgeBy = 0, 0
	x.enter(phaseAnswer, x.answerLimit())
	x.pump()
}

// dropRival gives the rival up.
func (x *exchange) dropRival(result balance.Result) {
	r := x.rival
	if r.u == nil {
		return
	}
	x.rival = rival{}
	if r.sent > 0 {
		r.ep.Abandoned(x.w.Loop.Now())
	}
	r.u.close()
	x.up.Pool.Done(r.ep, balance.Outcome{Result: result}, x.w.Loop.Now())
}
