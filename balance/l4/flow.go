package l4

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/proxyproto"
	"github.com/trivet-ha/trivet/internal/edge"
	"github.com/trivet-ha/trivet/internal/loop"
)

// A flow is the session of a client that sends datagrams: those go to one endpoint, by a socket of the session's
// own, and what comes back by that goes to the client. When the endpoint fails, the session stays, and the next
// datagram goes to another one.
type flow struct {
	edge.Conn // it has no descriptor
	w         *worker
	p         *port
	key       key
	up        *Upstream
	set       *Settings
	local     netip.AddrPort // where the client sends to, as far as a PROXY header tells
	header    []byte         // goes before each datagram to the endpoint

	to      unix.RawSockaddrInet6 // the client
	toSize  uint32
	control []byte // what the kernel is told of each answer

	member
	ep    *balance.Endpoint // nil while there is none
	stats *endpointCounters
	fd    int // to the endpoint; negative is none
	tok   loop.Token
	tried []*balance.Endpoint
	asked int           // datagrams sent to the endpoint
	heard int           // come from it
	since time.Duration // when the first was sent
	first int32         // of the pieces to deliver, by index from 1; 0 is none
	last  int32
	whole bool          // the path to the client does not take messages to be cut
	plain bool          // that to the endpoint does not
	bulk  bool          // the kernel puts together what comes from the endpoint
	delay time.Duration // from the first datagram to the first answer

	timer loop.Timer
	moved time.Duration // when a datagram last went through
	endBy time.Duration // the endpoint is given up by then; 0 is never

	younger, older *flow // among those never answered
}

// triedMax bounds the endpoints that a session remembers not to go back to.
const triedMax = 8

// reply remembers how to answer the client.
func (x *flow) reply(name *unix.RawSockaddrInet6, f facts) {
	x.to, x.toSize = *name, unix.SizeofSockaddrInet6
	if name.Family == unix.AF_INET {
		x.toSize = unix.SizeofSockaddrInet4
	}
	x.control = packetInfo(x.control[:0], f)
}

// destination is where the client sends to.
func (x *flow) destination() netip.AddrPort {
	if x.local.IsValid() {
		return x.local
	}
	return x.p.localOf(&x.key)
}

// deliver sends the pieces to the endpoint.
func (x *flow) deliver() {
	head := x.first
	x.first, x.last = 0, 0
	x.moved = x.w.Loop.Now()
	if x.ep == nil && !x.assign() {
		x.lose(x.count(head))
		return
	}
	if x.set.Proxy == ProxyV2 && x.header == nil {
		x.header = proxyproto.AppendDatagram(nil, x.Peer, x.destination())
	}
	p := &x.p.pieces[head-1]
	if p.next == 0 && p.segment == 0 && len(p.data) > 0 && x.header == nil {
		x.single(p.data)
		return
	}
	o := x.w.outbox
	for at := head; at != 0; {
		if o.full(segmentsMax) {
			x.send(o)
		}
		at = x.pack(o, at)
	}
	x.send(o)
}

// count is the number of datagrams from a piece on.
func (x *flow) count(at int32) (n int) {
	for at != 0 {
		p := &x.p.pieces[at-1]
		n++
		if p.segment > 0 {
			n += (len(p.data)+p.segment-1)/p.segment - 1
		}
		at = p.next
	}
	return n
}

// lose counts datagrams that go nowhere.
func (x *flow) lose(n int) { x.up.dropped.Add(uint64(n)) }

// single sends one datagram: what most traffic of many clients is.
func (x *flow) single(data []byte) {
	for range x.set.Attempts {
		_, e := loop.Write(x.fd, data)
		switch {
		case e == 0:
			x.stats.in.Add(uint64(len(data)))
			x.sent(1)
			return
		case busy(e) || e == unix.EMSGSIZE:
			x.lose(1)
			return
		}
		x.refused()
		if !x.assign() {
			break
		}
	}
	x.lose(1)
}

// pack puts the piece and what can go out in one message with it into the outbox, and returns the next piece.
func (x *flow) pack(o *outbox, at int32) (next int32) {
	p := &x.p.pieces[at-1]
	switch {
	case x.header != nil || x.plain:
		x.packEach(o, p)
		return p.next
	case p.segment > 0:
		o.begin()
		o.append(p.data)
		o.cut(p.segment, nil)
		return p.next
	}
	o.begin()
	o.append(p.data)
	size, n, total := len(p.data), 1, len(p.data)
	for at = p.next; at != 0 && n < segmentsMax; at = p.next {
		p = &x.p.pieces[at-1]
		if p.segment > 0 || len(p.data) == 0 || len(p.data) > size || total+len(p.data) > segmentBytes {
			break
		}
		o.append(p.data)
		n++
		total += len(p.data)
		if len(p.data) < size { // only the last one may be shorter
			at = p.next
			break
		}
	}
	if n > 1 {
		o.cut(size, nil)
	}
	return at
}

// packEach makes a message of each datagram, behind the session's header if it has one.
func (x *flow) packEach(o *outbox, p *piece) {
	rest := p.data
	for first := true; first || len(rest) > 0; first = false {
		if o.full(2) {
			x.send(o)
		}
		size := len(rest)
		if p.segment > 0 {
			size = min(size, p.segment)
		}
		o.begin()
		if x.header != nil {
			o.append(x.header)
		}
		o.append(rest[:size])
		rest = rest[size:]
	}
}

// send sends what is in the outbox to the endpoint, and empties it.
func (x *flow) send(o *outbox) {
	x.lose(x.transmit(o))
	o.clear()
}

// transmit returns how many datagrams were lost. If the endpoint turns out to be gone, what is left goes to another
// one.
func (x *flow) transmit(o *outbox) (lost int) {
	attempts := 0
	for at := 0; at < o.n; {
		if x.ep == nil && (attempts == x.set.Attempts || !x.assign()) {
			return lost + o.datagrams(at, o.n)
		}
		n, e := loop.SendMany(x.fd, o.msgs[at:o.n])
		switch {
		case e == 0:
			for _, m := range o.msgs[at : at+n] {
				x.stats.in.Add(uint64(m.N))
			}
			x.sent(o.datagrams(at, at+n))
			at += n
		case busy(e):
			return lost + o.datagrams(at, o.n)
		case o.segments[at] > 0 && uncuttable(e):
			x.plain = true
			lost += o.whole(x.fd, at, nil)
			at++
		case e == unix.EMSGSIZE:
			lost++
			at++
		default:
			x.refused()
			attempts++
		}
	}
	return lost
}

// sent counts what the endpoint was sent.
func (x *flow) sent(datagrams int) {
	if x.asked == 0 {
		x.since = x.w.Loop.Now()
	}
	x.asked += datagrams
}

// assign lets the pool pick an endpoint, and opens a socket to it. It reports whether there is one.
func (x *flow) assign() bool {
	for range x.set.Attempts {
		r := balance.Request{
			Hash: x.set.hashOf(x.Peer), Random: x.w.Random(), Now: x.w.Loop.Now(), Tried: x.tried,
		}
		ep, err := x.up.Pool.Pick(&r)
		if err != nil {
			x.up.refused(err)
			return false
		}
		x.ep, x.stats = ep, x.up.counters(ep.Address(), x.w)
		x.w.link(ep, &x.member, x)
		x.stats.open.Add(1)
		if x.open(x.set.dial(ep)) {
			x.stats.sessions.Add(1)
			x.asked, x.heard, x.endBy, x.delay = 0, 0, 0, 0
			return true
		}
		x.refused()
	}
	return false
}

// open makes the socket to an endpoint.
func (x *flow) open(address string) bool {
	to, err := edge.Resolve(address)
	if err != nil {
		return false
	}
	fd, e := to.DialPacket()
	if e != 0 {
		return false
	}
	x.fd = fd
	x.tok, err = x.w.Loop.Add(fd, x, loop.Readable)
	return err == nil
}

// refused gives the endpoint up: its host says that nobody listens, or can't be reached.
func (x *flow) refused() {
	x.stats.failures.Add(1)
	if len(x.tried) < triedMax {
		x.tried = append(x.tried, x.ep)
	}
	x.detach(balance.ConnectFailed)
}

// detach ends what there is with the endpoint. The client does not notice.
func (x *flow) detach(result balance.Result) {
	if x.ep == nil {
		return
	}
	if x.tok.Valid() {
		x.w.Loop.Remove(x.tok)
		x.tok = loop.Token{}
	}
	if x.fd >= 0 {
		loop.Close(x.fd)
		x.fd = -1
	}
	x.w.unlink(x.ep, &x.member)
	x.stats.open.Add(-1)
	ep := x.ep
	x.ep = nil
	x.endBy, x.bulk, x.plain = 0, false, false
	x.up.Pool.Done(ep, balance.Outcome{Result: result, Latency: x.delay}, x.w.Loop.Now())
}

// outcome is what the endpoint's answers say of it. Silence says something only where answers are due.
func (x *flow) outcome() balance.Result {
	switch {
	case x.heard > 0:
		return balance.OK
	case x.set.Replies > 0 && x.asked > 0:
		return balance.Timeout
	}
	return balance.Canceled
}

// Ready implements loop.Handler for the socket to the endpoint.
func (x *flow) Ready(ev loop.Events) {
	out := x.w.replies
	for range turnBatches {
		n, more, e := out.receive(x)
		if e != 0 {
			if e != unix.EAGAIN {
				x.refused()
			}
			return
		}
		x.hear(n)
		if x.ep == nil {
			return // it was the last answer
		}
		if !more {
			return
		}
		if !x.bulk { // so much at a time is worth another system call, once
			x.bulk = true
			_ = unix.SetsockoptInt(x.fd, unix.SOL_UDP, udpGRO, 1)
		}
	}
	x.w.Loop.Again(x.tok, loop.Readable)
}

// hear counts answers.
func (x *flow) hear(datagrams int) {
	if x.heard == 0 && datagrams > 0 {
		x.tried = nil
		x.delay = max(x.w.Loop.Now()-x.since, 1)
		x.unlist()
	}
	x.heard += datagrams
	x.moved = x.w.Loop.Now()
	if x.set.Replies > 0 && x.heard >= x.asked*x.set.Replies {
		x.end()
	}
}

// unlist takes the session from the list of those never answered.
func (x *flow) unlist() {
	if x.younger != nil {
		x.younger.older, x.older.younger = x.older, x.younger
		x.younger, x.older = nil, nil
	}
}

// idle is how long the session may go without a datagram; 0 is for ever.
func (x *flow) idle() time.Duration {
	if x.p.stopped && len(x.p.ears) == 0 { // what the client sends now comes to another process
		return earliest(x.set.FlowIdle, lateReply)
	}
	return x.set.FlowIdle
}

// rearm sets the timer to the nearest deadline.
func (x *flow) rearm() {
	by := x.endBy
	if idle := x.idle(); idle > 0 {
		by = earliest(by, x.moved+idle)
	}
	if by > 0 {
		x.w.Loop.Arm(&x.timer, x, by)
	}
}

// Expire implements loop.Expirer.
func (x *flow) Expire(now time.Duration) {
	if x.endBy > 0 && now >= x.endBy {
		x.detach(balance.Canceled)
	}
	if idle := x.idle(); idle > 0 && now >= x.moved+idle {
		x.end()
		return
	}
	x.rearm()
}

// down implements held.
func (x *flow) down() {
	switch x.set.OnDown {
	case Auto, Kill: // the client begins anew by itself, with its next datagram
		x.detach(balance.Canceled)
	case Drain:
		x.endBy = x.w.Loop.Now() + x.set.DrainTime
		x.rearm()
	}
}

// Lost implements edge.Owner.
func (x *flow) Lost() { x.end() }

// end ends the session.
func (x *flow) end() {
	x.w.Loop.Disarm(&x.timer)
	x.detach(x.outcome())
	x.unlist()
	delete(x.p.flows, x.key)
	x.Close()
	x.p.endIfDone()
}
