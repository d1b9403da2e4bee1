package l7

import (
	"time"

	"github.com/trivet-ha/trivet/balance"
)

// halfOpen is how long a tunnel may be quiet once one of its two streams has ended.
const halfOpen = time.Minute

// switchProtocol begins the tunnel after a 101. What either side has already sent goes first.
func (x *exchange) switchProtocol(from, to int) {
	w, c := x.w, x.c.(*client) // only HTTP/1 has tunnels
	x.tunnel, x.keepAlive, x.retained = true, false, false
	x.req, x.reqAt = x.req[:0], 0
	x.total = 0
	x.enter(phaseBody, x.set.Tunnel)
	w.head = x.appendAnswer(w.head[:0], &w.resp)
	x.bytesOut += int64(to - from)
	if !c.send(w.head) || !c.send(w.buf[from:to]) {
		c.lost()
		return
	}
	if in := c.in; in != nil {
		c.in, c.unparsed = nil, false
		x.bytesIn += int64(len(in))
		x.forwardBytes(in)
		w.Bufs.Put(in)
	}
	c.pump()
}

// passEnds passes the end of either stream on, once what came before it is delivered. With the second the
// tunnel is over, and passEnds reports true.
func (x *exchange) passEnds() bool {
	up := x.u.deaf || x.downEnded && x.reqAt == len(x.req)
	down := x.upEnded && !x.c.blocked()
	if up {
		x.u.shutWrite()
	}
	if down {
		x.c.shutWrite()
	}
	if !up || !down {
		if (up || down) && (x.phaseBy == 0 || x.phaseBy > x.w.Loop.Now()+halfOpen) {
			x.enter(phaseBody, halfOpen)
		}
		return false
	}
	x.done = true
	x.t.stats.status[statusClass(x.status)].Add(1)
	x.giveBack(balance.Outcome{Result: balance.OK, Latency: x.latency(), Status: x.status})
	x.end()
	return true
}

// tunnelLimit is how long the tunnel may be quiet.
func (x *exchange) tunnelLimit() time.Duration {
	if x.upEnded || x.downEnded {
		return earliest(x.set.Tunnel, halfOpen)
	}
	return x.set.Tunnel
}
