package l7

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/fault/retry"
)

// Sizes of reads. A worker reads into one buffer, behind room for a head that has grown, so that a rewritten
// head and the body go out in one call without moving the body.
const (
	headroom  = 16 << 10
	headRead  = 16 << 10  // a client's head, and what comes with it
	firstRead = 64 << 10  // the first read of an answer
	bulkRead  = 256 << 10 // later reads, once the client has shown that it takes as much
	slack     = 64        // behind the largest read: the end of a chunk

	// turnBytes is what one connection may move before the others have their turn.
	turnBytes = 512 << 10
)

// pump moves the answer from the endpoint to the client, as long as the client takes it.
func (x *exchange) pump() {
	u := x.u
	for moved := 0; u.readable && x.u == u && !x.c.blocked(); {
		if moved >= turnBytes {
			u.again()
			return
		}
		limit := x.paced(x.readMax)
		if limit == 0 {
			return
		}
		at := headroom + copy(x.w.buf[headroom:], u.in)
		n, e := u.read(x.w.buf[at : at+limit])
		switch {
		case e == unix.EAGAIN:
			u.readable = false
			return
		case e != 0 || n == 0:
			u.readable = false
			x.endpointEnded(e)
			return
		case n < limit:
			u.readable = u.peerDone
		case x.readMax < bulkRead:
			x.readMax *= 2
		}
		u.heard = true
		moved += n
		x.moved = x.w.Loop.Now()
		x.take(headroom, at+n)
	}
}

// take handles w.buf[from:to], which came from the endpoint.
func (x *exchange) take(from, to int) {
	if x.tunnel {
		x.bytesOut += int64(to - from)
		if !x.c.answer(nil, from, to, false) {
			x.c.lost()
		}
		return
	}
	if x.answered {
		x.body(nil, from, to)
		return
	}
	resp := &x.w.resp
	for {
		n, err := resp.Parse(x.w.buf[from:to], x.method, &answerLimits)
		if err == nil && n > 0 && resp.Status == 101 && !(x.upgrading && x.route.upgradesTo(resp.Upgrade)) {
			err = errUnasked
		}
		if err != nil {
			x.w.srv.log.Warn("endpoint sent an invalid answer", "pool", x.up.Name, "endpoint", x.ep.Address(), "error", err)
			x.attemptFailed(failedProtocol)
			return
		}
		if n == 0 {
			x.keepHead(from, to)
			return
		}
		from += n
		if resp.Status >= 200 || resp.Status == 101 {
			if x.awaitsWhole(resp, to-from) {
				x.keepHead(from-n, to)
				return
			}
			break
		}
		if !x.interim(resp) {
			return
		}
		if from == to {
			x.keepHead(from, to)
			return
		}
	}
	x.keepHead(to, to)
	x.head(from, to)
}

var errUnasked = errors.New("it switches to a protocol that nobody asked for")

// answerLimits bound the heads of answers. Endpoints are ours, and some set large cookies.
var answerLimits = http1.Limits{Line: 16 << 10, Head: 64 << 10, Fields: 256}

// keepHead keeps what came for the next read; an empty part frees the buffer.
func (x *exchange) keepHead(from, to int) {
	u := x.u
	if from == to {
		x.w.Bufs.Put(u.in)
		u.in = nil
		return
	}
	if u.in == nil {
		u.in = x.w.Bufs.Get(to - from)
	}
	u.in = x.w.Bufs.Add(u.in[:0], x.w.buf[from:to])
}

// interim passes on a 1xx answer, which a client of HTTP/1.0 does not know (RFC 9110 §15.2).
func (x *exchange) interim(resp *http1.Response) bool {
	if x.minor == 0 {
		return true
	}
	x.w.head = x.appendAnswer(x.w.head[:0], resp)
	if !x.c.interim(x.w.head) {
		x.c.lost()
		return false
	}
	return true
}

// head handles the head of the final answer, which the worker has just parsed; w.buf[from:to] follows it.
func (x *exchange) head(from, to int) {
	w, resp := x.w, &x.w.resp
	now := w.Loop.Now()
	x.first = now
	if x.awaiting {
		x.awaiting = false
		x.ep.Answered(now, now-x.sent)
	}
	x.phase = phaseBody
	x.stallBy, x.hedgeBy, x.wholeBy = 0, 0, 0
	x.dropRival(balance.Canceled)
	if h := x.w.holdings[x.up]; h != nil {
		x.w.Loop.Post(h.release)
	}
	if h := x.route.Hedge; h != nil && x.sent > 0 {
		h.Observe(now, now-x.sent)
	}
	if x.retryStatus(resp, from, to) || x.fallBackFrom(resp, from, to) {
		return
	}
	x.status = resp.Status
	x.answered = true
	x.ansAlive = resp.KeepAlive
	if a := &x.set.Affinity; a.Application {
		x.up.learn(a, resp, x.t.key, now)
	}
	if resp.Status == 101 {
		x.switchProtocol(from, to)
		return
	}
	mode := http1.Verbatim
	switch {
	case x.http2: // frames tell where it ends
		mode = http1.Decode
	case x.minor == 0 && resp.Framing == http1.FramingChunked:
		mode, x.bare = http1.Decode, true
	case resp.Framing == http1.FramingClose && x.minor > 0:
		x.chunker = true
	case resp.Framing == http1.FramingClose:
		x.bare = true
	}
	if x.bare || !x.reqBody.Done() { // or the rest of the body would be taken for the next request
		x.keepAlive = false
	}
	x.ansBody.Drop = x.route.dropAnswer
	x.ansBody.Reset(resp.Framing, resp.Length, mode)
	if x.c.draining() {
		x.keepAlive = false
	}
	w.head = x.appendAnswer(w.head[:0], resp)
	x.enter(phaseBody, x.set.IdleIO)
	x.body(w.head, from, to)
}

// retryStatus makes another attempt if the status asks for one and the policy allows it.
func (x *exchange) retryStatus(resp *http1.Response, from, to int) bool {
	if resp.Status < 400 || !x.route.Retry.Wants(x.attempts, retry.Status, resp.Status) {
		return false
	}
	if !x.retained || !x.method.Idempotent() || !x.reqBody.Done() || x.up.Pool.Available(x.w.Loop.Now()) <= 1 || !x.afford() {
		return false
	}
	x.discard(resp, from, to)
	x.again(retry.Status, false)
	return true
}

// fallBackFrom gives the client the route's fallback in place of an answer whose status asks for that.
func (x *exchange) fallBackFrom(resp *http1.Response, from, to int) bool {
	f := x.route.Fallback
	if f == nil || x.fellBack || resp.Status < 400 || !f.When.Has(resp.Status) {
		return false
	}
	if f.Upstream != nil && !(x.retained && x.method.Idempotent() && x.reqBody.Done()) {
		return false
	}
	x.discard(resp, from, to)
	return x.fallBack(resp.Status)
}

// discard ends an attempt whose answer the client does not get.
func (x *exchange) discard(resp *http1.Response, from, to int) {
	x.t.stats.status[statusClass(resp.Status)].Add(1)
	x.ansBody.Reset(resp.Framing, resp.Length, http1.Verbatim)
	_, used, err := x.ansBody.Pass(x.w.buf[from:to])
	u := x.u
	x.u = nil
	o := balance.Outcome{Result: balance.OK, Latency: x.latency(), Status: resp.Status}
	if resp.Status >= 500 {
		o.Result = balance.ServerError
	}
	x.giveBack(o)
	x.part(u, err == nil && used == to-from && x.ansBody.Done() && resp.KeepAlive)
}

// body passes w.buf[from:to] on to the client, behind a head if there is one.
func (x *exchange) body(head []byte, from, to int) {
	w := x.w
	keep, used, err := x.ansBody.Pass(w.buf[from:to])
	x.bytesOut = x.ansBody.Received()
	if err != nil && head != nil {
		x.answered = false
		x.attemptFailed(failedProtocol)
		return
	}
	end := from + keep
	extra := used < to-from
	if x.ansBody.Done() {
		end += copy(w.buf[end:], x.ansBody.Tail())
	}
	if x.chunker && keep > 0 {
		w.chunk = http1.AppendChunkSize(w.chunk[:0], keep)
		if head == nil {
			head = w.chunk
		} else {
			w.head = append(head, w.chunk...)
			head = w.head
		}
		end += copy(w.buf[end:], "\r\n")
	}
	trailers := x.trailers()
	if !x.c.answer(head, from, end, x.ansBody.Done() && trailers == nil) || trailers != nil && !x.c.conclude(trailers) {
		x.c.lost()
		return
	}
	switch {
	case err != nil:
		x.settle(failedProtocol, false)
		x.abort()
	case x.ansBody.Done():
		x.complete(x.ansAlive && !extra)
	case !x.c.watch(): // it takes longer: from now on it matters whether the client is still there
		x.c.lost()
	}
}

// trailers returns those that the client gets behind the answer: in frames of HTTP/2 they do not go with the body.
func (x *exchange) trailers() []byte {
	if lines := x.ansBody.Trailers(); x.http2 && len(lines) > 0 {
		return lines
	}
	return nil
}

// complete is called when the endpoint's answer has come in whole.
func (x *exchange) complete(reusable bool) {
	u := x.u
	x.u = nil
	x.done = true
	x.total, x.phaseBy = 0, 0 // what is left is up to the client
	o := balance.Outcome{Result: balance.OK, Latency: x.latency(), Status: x.status}
	if x.status >= 500 {
		o.Result = balance.ServerError
	}
	x.t.stats.status[statusClass(x.status)].Add(1)
	x.t.stats.latency.observe(o.Latency)
	x.giveBack(o)
	x.part(u, reusable)
	if !x.c.blocked() {
		x.end()
	} else {
		x.rearm()
	}
}

// part leaves a connection that has answered to the next request, if it is fit for one: all of this request
// was sent on it, and nothing came that is not part of the answer.
func (x *exchange) part(u *conn, reusable bool) {
	if reusable && x.reqBody.Done() && x.reqAt == len(x.req) && !u.deaf && (!u.readable || u.quiet()) {
		u.release(x.set.MaxIdle)
	} else {
		u.close()
	}
}

// endpointEnded is the end of the endpoint's stream; e is 0 if it closed in order.
func (x *exchange) endpointEnded(e unix.Errno) {
	switch {
	case x.tunnel:
		x.upEnded = true
		x.u.deaf = x.u.deaf || e != 0
		x.passEnds()
	case !x.answered:
		x.attemptFailed(x.u.brokeBy())
	case e == 0 && x.ansBody.End() == nil:
		if (x.chunker || x.http2) && !x.c.conclude(nil) {
			x.c.lost()
			return
		}
		x.complete(false)
	default:
		x.settle(failedReset, false)
		x.abort()
	}
}

var lastChunk = []byte("0\r\n\r\n")

func statusClass(status int) int {
	if c := status / 100; c >= 1 && c <= 5 {
		return c
	}
	return 0
}
