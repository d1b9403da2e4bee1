package l4

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/internal/edge"
	"github.com/trivet-ha/trivet/internal/loop"
)

// A session is a client's connection and the one to the endpoint that serves it.
type session struct {
	edge.Conn
	w       *worker
	service *Service
	up      *Upstream
	set     *Settings
	ep      *balance.Endpoint
	stats   *endpointCounters
	source  netip.AddrPort // the client, as far as a PROXY header tells
	local   netip.AddrPort // where it connected to, as far as a PROXY header tells

	client   half // towards the client: what the endpoint has sent
	endpoint half // towards the endpoint: what the client has sent
	fd       int  // to the endpoint; 0 is none
	tok      loop.Token

	state    state
	attempts int
	tried    []*balance.Endpoint
	waiter   balance.Waiter
	queueing bool
	prelude  []byte // read from the client before there is an endpoint: part of a PROXY header and what follows

	timer loop.Timer
	moved time.Duration // when a byte last moved
	by    time.Duration // the present state ends by then; 0 is never
	endBy time.Duration // the session is cut by then; 0 is never

	member
}

type state uint8

const (
	stateHeader  state = iota // the client's PROXY header is awaited
	stateQueue                // a free endpoint is awaited
	stateConnect              // the connection to the endpoint is awaited
	stateOpen                 // bytes pass
	stateClosed
)

// half is one direction: what its receiver has not taken, and what its sender may still send.
type half struct {
	out      []byte // not taken by the receiver, from at on
	at       int
	size     int  // of the next read
	readable bool // a read from the sender may bring something
	peerDone bool // the sender has announced the end of its stream
	ended    bool // the end of the sender's stream has been read
	shut     bool // the end was passed on
}

func (h *half) pending() bool { return h.at < len(h.out) }

// over reports whether the receiver has got all that there will be.
func (h *half) over() bool { return h.ended && !h.pending() }

// begin takes up a new connection.
func (x *session) begin() {
	x.client.size, x.endpoint.size = firstRead, firstRead
	x.moved = x.w.Loop.Now()
	if !x.service.AcceptProxy {
		x.choose()
		return
	}
	if !edge.Contains(x.Binding.Listener().Trusted, x.Peer.Addr()) {
		x.finish(balance.Canceled) // anybody could claim to be anybody
		return
	}
	x.endpoint.readable = true
	x.by = x.moved + earliest(x.service.HeaderTime, 5*time.Second)
	if err := x.Watch(); err != nil {
		x.finish(balance.Canceled)
		return
	}
	x.rearm()
	x.readHeader()
}

// choose lets the pool pick an endpoint, and waits in its queue if all are at their limit.
func (x *session) choose() {
	p := balance.Request{
		Hash: x.set.hashOf(x.source), Random: x.w.Random(), Now: x.w.Loop.Now(), Tried: x.tried,
	}
	ep, err := x.up.Pool.Pick(&p)
	switch {
	case err == nil:
		x.connect(ep)
	case err == balance.ErrSaturated:
		x.enqueue(x.set.Queue)
	case x.set.Hold > 0: // nothing was read from the client: it sees a slow connection
		x.enqueue(x.set.Hold)
	default:
		x.up.refused(err)
		x.finish(balance.Canceled)
	}
}

// enqueue waits for an endpoint. limit 0 is no limit.
func (x *session) enqueue(limit time.Duration) {
	x.waiter.Wake = func(ep *balance.Endpoint) {
		giveBack := func(now time.Duration) {
			x.up.Pool.Done(ep, balance.Outcome{Result: balance.Canceled}, now)
		}
		if !x.w.Loop.Post(func() {
			x.queueing = false
			if x.state == stateClosed {
				giveBack(x.w.Loop.Now())
				return
			}
			x.connect(ep)
		}) {
			giveBack(x.moved)
		}
	}
	if x.up.Pool.Wait(&x.waiter, x.w.Loop.Now()) != nil {
		x.up.queueFull.Add(1)
		x.finish(balance.Canceled)
		return
	}
	x.up.queued.Add(1)
	x.queueing = true
	x.state = stateQueue
	x.by = 0
	if limit > 0 {
		x.by = x.w.Loop.Now() + limit
	}
	if x.Watch() != nil {
		x.finish(balance.Canceled)
		return
	}
	x.rearm()
}

// connect begins a connection to an endpoint, on which Pick has reserved a place.
func (x *session) connect(ep *balance.Endpoint) {
	x.ep = ep
	x.attempts++
	x.stats = x.up.counters(ep.Address(), x.w)
	to, err := edge.Resolve(x.set.dial(ep))
	if err != nil {
		x.connectFailed()
		return
	}
	fd, e := to.Dial()
	if e != 0 {
		x.connectFailed()
		return
	}
	x.fd = fd
	if x.tok, err = x.w.Loop.Add(fd, endpointSide{x}, loop.Readable|loop.Writable|loop.PeerDone); err != nil {
		x.connectFailed()
		return
	}
	x.state = stateConnect
	x.by = 0
	if x.set.Connect > 0 {
		x.by = x.w.Loop.Now() + x.set.Connect
	}
	x.rearm()
}

// connectFailed tries another endpoint. The client has not been read from, so nothing is lost.
func (x *session) connectFailed() {
	x.stats.failures.Add(1)
	x.hangUp()
	ep := x.ep
	x.ep = nil
	x.up.Pool.Done(ep, balance.Outcome{Result: balance.ConnectFailed}, x.w.Loop.Now())
	if x.attempts >= x.set.Attempts {
		x.finish(balance.Canceled)
		return
	}
	x.tried = append(x.tried, ep)
	x.choose()
}

// hangUp closes the connection to the endpoint.
func (x *session) hangUp() {
	if x.fd == 0 {
		return
	}
	if x.tok.Valid() {
		x.w.Loop.Remove(x.tok)
		x.tok = loop.Token{}
	}
	loop.Close(x.fd)
	x.fd = 0
}

// connected begins to pass bytes.
func (x *session) connected() {
	x.state = stateOpen
	x.stats.sessions.Add(1)
	x.stats.open.Add(1)
	x.w.link(x.ep, &x.member, x)
	x.by = 0
	x.moved = x.w.Loop.Now()
	if x.set.Proxy != NoProxy {
		x.endpoint.out = x.set.Proxy.append(x.w.Bufs.Get(256), x.source, x.localAddr())
	}
	if len(x.prelude) > 0 {
		x.endpoint.out = x.w.Bufs.Add(x.endpoint.out, x.prelude)
		x.w.Bufs.Put(x.prelude)
		x.prelude = nil
	}
	x.endpoint.readable = true
	if x.Watch() != nil {
		x.cut()
		return
	}
	x.rearm()
	x.pass()
}

// Ready implements loop.Handler for the client's connection.
func (x *session) Ready(ev loop.Events) {
	if ev&loop.Failed != 0 {
		x.Lost()
		return
	}
	if ev&(loop.PeerDone|loop.Hangup) != 0 {
		x.endpoint.peerDone = true
	}
	if ev&(loop.Readable|loop.PeerDone|loop.Hangup) != 0 {
		x.endpoint.readable = true
	}
	switch x.state {
	case stateHeader:
		x.readHeader()
	case stateOpen:
		x.pass()
	case stateQueue, stateConnect:
		if ev&loop.Hangup != 0 {
			x.Lost()
		}
	}
}

// endpointSide is the session as the handler of its connection to the endpoint.
type endpointSide struct{ x *session }

// Ready implements loop.Handler.
func (s endpointSide) Ready(ev loop.Events) {
	x := s.x
	if x.state == stateConnect {
		switch {
		case ev&loop.Failed != 0:
			x.connectFailed()
			return
		case ev&(loop.Writable|loop.Hangup) == 0:
			return
		}
		if ev&(loop.PeerDone|loop.Hangup) != 0 { // a Unix socket whose peer has spoken and gone
			x.client.peerDone = true
		}
		x.client.readable = ev&(loop.Readable|loop.PeerDone|loop.Hangup) != 0
		x.connected()
		return
	}
	if ev&loop.Failed != 0 {
		x.client.readable = true // what came before the failure still counts
	}
	if ev&(loop.PeerDone|loop.Hangup) != 0 {
		x.client.peerDone = true
	}
	if ev&(loop.Readable|loop.PeerDone|loop.Hangup) != 0 {
		x.client.readable = true
	}
	x.pass()
}

// pass moves what can be moved, both ways, and ends the session when both directions have ended.
func (x *session) pass() {
	if !x.move(&x.endpoint, x.FD, x.fd, &x.stats.in) || !x.move(&x.client, x.fd, x.FD, &x.stats.out) {
		x.cut()
		return
	}
	if x.client.over() && x.endpoint.over() {
		x.finish(balance.OK) // closing tells both
		return
	}
	x.passEnd(&x.endpoint, x.fd)
	x.passEnd(&x.client, x.FD)
	x.rearm()
}

// move passes bytes in one direction. It reports false if a connection is broken.
func (x *session) move(h *half, from, to int, count interface{ Add(uint64) uint64 }) bool {
	if !x.deliver(h, to) {
		return false
	}
	for moved := 0; h.readable && !h.pending() && !h.ended; {
		if moved >= turnBytes {
			x.again(from)
			return true
		}
		n, e := loop.Read(from, x.w.buf[:h.size])
		switch {
		case e == unix.EAGAIN:
			h.readable = false
			return true
		case e != 0:
			return false
		case n == 0:
			h.ended, h.readable = true, false
		case n < h.size:
			h.readable = h.peerDone
		case h.size < bulkRead:
			h.size *= 2
		}
		moved += n
		count.Add(uint64(n))
		x.moved = x.w.Loop.Now()
		if !x.send(h, to, x.w.buf[:n]) {
			return false
		}
	}
	return true
}

// passEnd tells the receiver that nothing more comes.
func (x *session) passEnd(h *half, to int) {
	if h.over() && !h.shut {
		loop.ShutdownWrite(to)
		h.shut = true
	}
}

// again has this side's handler called once more after the others.
func (x *session) again(from int) {
	if from == x.fd {
		x.w.Loop.Again(x.tok, loop.Readable)
		return
	}
	x.Again(loop.Readable)
}

// send gives p to the receiver, and keeps what it does not take.
func (x *session) send(h *half, to int, p []byte) bool {
	n, e := loop.Write(to, p)
	if e != 0 && e != unix.EAGAIN {
		return false
	}
	if n < len(p) {
		h.out, h.at = append(x.w.Bufs.Get(len(p)-n), p[n:]...), 0
		h.size = firstRead // a slow receiver is given less at a time
	}
	return true
}

// deliver gives the receiver what was kept for it.
func (x *session) deliver(h *half, to int) bool {
	if !h.pending() {
		return true
	}
	n, e := loop.Write(to, h.out[h.at:])
	if e != 0 && e != unix.EAGAIN {
		return false
	}
	h.at += n
	if n > 0 {
		x.moved = x.w.Loop.Now()
	}
	if !h.pending() {
		x.w.Bufs.Put(h.out)
		h.out, h.at = nil, 0
	}
	return true
}

// rearm sets the timer to the nearest deadline.
func (x *session) rearm() {
	by := earliest(x.by, x.endBy)
	if x.state == stateOpen {
		if limit := x.quiet(); limit > 0 {
			by = earliest(by, x.moved+limit)
		}
	}
	if by == 0 {
		x.w.Loop.Disarm(&x.timer)
		return
	}
	x.w.Loop.Arm(&x.timer, x, by)
}

// quiet is how long the session may go without a byte.
func (x *session) quiet() time.Duration {
	if x.client.ended || x.endpoint.ended {
		return earliest(x.set.Idle, x.set.HalfOpen)
	}
	return x.set.Idle
}

func earliest(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// Expire implements loop.Expirer.
func (x *session) Expire(now time.Duration) {
	switch {
	case x.endBy > 0 && now >= x.endBy:
		x.cut()
	case x.by > 0 && now >= x.by:
		x.late()
	case x.state == stateOpen && x.quiet() > 0 && now >= x.moved+x.quiet():
		x.finish(balance.OK)
	default:
		x.rearm()
	}
}

// late is the end of the time that the present state may take.
func (x *session) late() {
	switch x.state {
	case stateConnect:
		x.connectFailed()
	case stateQueue:
		if x.up.Pool.Cancel(&x.waiter) {
			x.queueing = false
			x.up.queueLate.Add(1)
			x.finish(balance.Canceled)
		} else {
			x.by = 0 // an endpoint is on its way
		}
	default:
		x.finish(balance.Canceled)
	}
}

// down implements held.
func (x *session) down() {
	switch x.set.OnDown {
	case Kill:
		x.cut()
	case Drain:
		x.endBy = x.w.Loop.Now() + x.set.DrainTime
		x.rearm()
	}
}

// Lost implements edge.Owner: the client has gone, or the loop ends.
func (x *session) Lost() { x.finish(balance.Canceled) }

// cut ends the session so that both sides see that it was not whole.
func (x *session) cut() {
	for _, fd := range []int{x.FD, x.fd} {
		if fd != 0 {
			_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		}
	}
	x.finish(balance.OK)
}

// finish ends the session, once.
func (x *session) finish(result balance.Result) {
	if x.state == stateClosed {
		return
	}
	open := x.state == stateOpen
	x.state = stateClosed
	if x.queueing && x.up.Pool.Cancel(&x.waiter) {
		x.queueing = false
	}
	x.w.Loop.Disarm(&x.timer)
	if open {
		x.w.unlink(x.ep, &x.member)
		x.stats.open.Add(-1)
	}
	x.hangUp()
	x.Close()
	x.w.Bufs.Put(x.client.out)
	x.w.Bufs.Put(x.endpoint.out)
	x.w.Bufs.Put(x.prelude)
	x.client.out, x.endpoint.out, x.prelude = nil, nil, nil
	if ep := x.ep; ep != nil {
		x.ep = nil
		x.up.Pool.Done(ep, balance.Outcome{Result: result}, x.w.Loop.Now())
	}
}
