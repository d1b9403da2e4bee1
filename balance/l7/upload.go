package l7

import (
	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7/http1"
)

// wantsClient reports whether what the client sends next belongs to this exchange and can go on.
func (x *exchange) wantsClient() bool {
	if x.u == nil || x.u.connecting || x.u.deaf || x.reqAt < len(x.req) {
		return false
	}
	if x.tunnel {
		return !x.downEnded
	}
	return !x.reqBody.Done()
}

// ask notes that the client's next bytes are waited for.
func (x *exchange) ask() {
	if x.asked == 0 {
		x.asked = x.w.Loop.Now()
		x.rearm()
	}
}

// heard notes that they have come.
func (x *exchange) heard() {
	now := x.w.Loop.Now()
	x.moved = now
	if x.asked > 0 {
		x.waited += now - x.asked
		x.asked = 0
	}
}

// readClient reads more of the request's body, or of what follows a switch of protocols.
func (x *exchange) readClient() {
	c := x.c
	p, more, ok := c.read(x.w.scratch(bulkRead))
	switch {
	case !ok:
		c.lost()
		return
	case len(p) == 0:
		if !more {
			x.clientEnded()
		}
		return
	}
	x.heard()
	if x.tunnel {
		x.bytesIn += int64(len(p))
		x.forwardBytes(p)
		return
	}
	keep, used, err := x.reqBody.Pass(p)
	x.bytesIn = x.reqBody.Received()
	c.keep(p[used:])
	if err != nil {
		x.bodyRefused(err)
		return
	}
	p = p[:keep]
	if x.reqBody.Done() {
		p = append(p, x.reqBody.Tail()...) // p has room: the scratch buffer goes on behind it
	}
	x.forwardBytes(p)
}

// bodyRefused ends a request whose body breaks the protocol while it is being sent on.
func (x *exchange) bodyRefused(err error) {
	status, text := 400, "bad request body"
	if bad, ok := err.(*http1.Error); ok {
		status, text = bad.Status, bad.Text
	}
	x.keepAlive = false
	x.giveBack(balance.Outcome{Result: balance.Canceled})
	x.failBroken(status, text)
}

// clientEnded is the end of the client's stream while its bytes are wanted.
func (x *exchange) clientEnded() {
	if x.tunnel {
		x.downEnded = true
		x.passEnds()
		return
	}
	x.c.lost() // the body is cut short: the request will never be whole
}

// forwardBytes sends bytes of the request on, and keeps what the endpoint does not take at once. As long as
// the whole request is small enough it is kept for another attempt.
func (x *exchange) forwardBytes(p []byte) {
	if x.retained {
		if len(x.req)+len(p) <= retainMax {
			x.req = x.w.Bufs.Add(x.req, p)
			x.flush()
			return
		}
		x.retained = false
		x.req, x.reqAt = x.req[:0], 0
	}
	n, e := x.u.write(p)
	if e != 0 && e != unix.EAGAIN {
		x.writeFailed(e)
		return
	}
	if n < len(p) {
		x.req = x.w.Bufs.Add(x.req, p[n:])
		x.held()
		return
	}
	x.flushed()
}
