package l7

import (
	"crypto/tls"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/internal/edge"
	"github.com/trivet-ha/trivet/internal/loop"
)

// A target is an endpoint as one worker sees it: its idle connections and its counters.
type target struct {
	w     *worker
	ep    *balance.Endpoint
	key   string            // of ep, for cookies
	set   *UpstreamSettings // in force when addr was found
	addr  edge.Sockaddr
	idle  []*conn // the last is the one used last, and the first to be used again
	muxes []*mux  // that take streams

	streams int // that its last connection of HTTP/2 took at a time; 0 if there was none
	stats   *endpointCounters
	used    time.Duration // when it was last looked up

	security security
}

// A conn is a connection to an endpoint. While it is idle it holds no buffer and x is nil.
type conn struct {
	socket
	link *link // it is a stream of HTTP/2; nil: a connection of HTTP/1.1
	t    *target
	x    *exchange
	in   []byte // part of the head of an answer
	idle time.Duration

	connecting bool
	reused     bool // it has served a request before
	heard      bool // bytes have come in answer to the present request
	deaf       bool // it takes no more
	readable   bool // a read may bring something
	peerDone   bool // the endpoint sends no more
	closed     bool
}

// get returns a connection that x can use at once, or nil. Where the protocol is to be switched, HTTP/1.1 is spoken.
func (t *target) get(x *exchange, probe bool) *conn {
	if t.set.HTTP2 && !x.upgrading {
		return t.join()
	}
	return t.take(probe)
}

// open returns a connection that is perhaps still being established.
func (t *target) open(x *exchange) (*conn, unix.Errno) {
	if t.set.HTTP2 && !x.upgrading {
		return t.enlist()
	}
	return t.dial()
}

// take returns an idle connection, or nil. It prefers the one used last, which is the likeliest to be alive.
func (t *target) take(probe bool) *conn {
	for n := len(t.idle); n > 0; n = len(t.idle) {
		u := t.idle[n-1]
		t.idle[n-1] = nil
		t.idle = t.idle[:n-1]
		if t.set.KeepAlive > 0 && t.w.Loop.Now()-u.idle > t.set.KeepAlive || probe && !u.quiet() {
			u.close()
			continue
		}
		u.reused, u.heard = true, false
		t.stats.reuses.Add(1)
		return u
	}
	return nil
}

// quiet asks whether there is nothing to read on a connection, neither bytes nor an end that the loop has not seen
// yet. It is worth a system call for requests that must not be sent twice.
func (u *conn) quiet() bool {
	if _, e := u.peek(); e != unix.EAGAIN {
		return false
	}
	u.readable = false
	return true
}

// dial opens a connection. It is usually still being established when dial returns.
func (t *target) dial() (*conn, unix.Errno) {
	fd, e := t.addr.Dial()
	if e != 0 {
		return nil, e
	}
	u := &conn{t: t, socket: socket{w: t.w, fd: fd}, connecting: true}
	if e := u.watch(u); e != 0 {
		return nil, e
	}
	if cfg := t.secured("http/1.1"); cfg != nil {
		u.tls = t.w.startTLS(fd, netip.AddrPort{}, tls.Client, cfg, u.shaken)
		u.tls.wire.strict = true
	}
	t.stats.connects.Add(1)
	t.stats.connections.Add(1)
	return u, 0
}

// release makes a connection idle, or closes it when there are enough.
func (u *conn) release(maxIdle int) {
	if u.link != nil {
		u.link.finish()
		return
	}
	u.x = nil
	t := u.t
	if u.peerDone || len(u.out) > 0 || maxIdle > 0 && len(t.idle) >= maxIdle {
		u.close()
		return
	}
	u.idle = t.w.Loop.Now()
	t.idle = append(t.idle, u)
}

func (u *conn) close() {
	if u.link != nil {
		u.link.end()
		return
	}
	if u.closed {
		return
	}
	u.closed = true
	u.x = nil
	u.shut()
	u.t.stats.connections.Add(-1)
	u.t.w.Bufs.Put(u.in)
	u.in = nil
}

// drop takes an idle connection out and closes it.
func (t *target) drop(u *conn) {
	for i, v := range t.idle {
		if v == u {
			t.idle = append(t.idle[:i], t.idle[i+1:]...)
			break
		}
	}
	u.close()
}

// expire closes the connections that have been idle since before the given time.
func (t *target) expire(before time.Duration) {
	n := 0
	for n < len(t.idle) && t.idle[n].idle < before {
		t.idle[n].close()
		n++
	}
	if n > 0 {
		t.idle = append(t.idle[:0], t.idle[n:]...)
	}
}

// leave ends all connections, those with streams when the last has ended.
func (t *target) leave() {
	t.expire(forever)
	for len(t.muxes) > 0 {
		m := t.muxes[0]
		m.retire()
		m.schedule()
	}
}

// Ready implements loop.Handler.
func (u *conn) Ready(ev loop.Events) {
	if u.tls != nil && !u.unseal(ev) {
		return
	}
	x := u.x
	if x == nil {
		// Whatever an idle connection has to say, no request was sent that it could be the answer to. That it
		// can be written to is no news.
		if ev&^loop.Writable != 0 && !u.quiet() {
			u.t.drop(u)
		}
		return
	}
	if u != x.u {
		x.rivalReady(ev)
		return
	}
	if u.connecting {
		if ev&(loop.Failed|loop.Hangup) != 0 {
			x.attemptFailed(failedConnect)
			return
		}
		if ev&loop.Writable == 0 {
			return
		}
		u.connecting = false
	}
	if ev&(loop.PeerDone|loop.Hangup|loop.Failed) != 0 {
		u.peerDone = true
	}
	if ev&(loop.Readable|loop.PeerDone|loop.Hangup|loop.Failed) != 0 {
		u.readable = true
	}
	if ev&loop.Writable != 0 && u.drain() {
		x.flush()
	}
	if u.readable && u.x == x {
		x.pump()
	}
}

// again has the connection handled once more after the others have had their turn.
func (u *conn) again() {
	if u.link != nil {
		u.w.Loop.Post(u.link.deliver)
		return
	}
	u.w.Loop.Again(u.tok, loop.Readable)
}

func (u *conn) write(p []byte) (n int, e unix.Errno) {
	if u.link != nil {
		return u.link.write(p)
	}
	return u.socket.write(p)
}

func (u *conn) read(p []byte) (n int, e unix.Errno) {
	if u.link != nil {
		return u.link.read(p)
	}
	return u.socket.read(p)
}

func (u *conn) peek() (n int, e unix.Errno) {
	if u.link != nil {
		return u.link.peek()
	}
	return u.socket.peek()
}

// brokeBy says how a connection has ended that brought no answer.
func (u *conn) brokeBy() failure {
	if u.link != nil {
		return u.link.failure
	}
	return failedReset
}
