package l7

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/internal/edge"
	"github.com/trivet-ha/trivet/internal/loop"
)

// A transport moves a client's bytes, in plain text or under TLS. While it is idle it holds no buffer.
type transport struct {
	edge.Conn
	w   *worker
	tls *secure // nil: plain text
	out []byte  // not yet taken by the kernel, from outAt on

	outAt int
	moved int           // bytes read in this turn
	taken time.Duration // when the kernel last took something of out

	readable bool // a read may bring something
	peerDone bool // the peer sends no more
	ending   bool // our side ends once out is sent
}

// note takes what the loop tells of the socket.
func (c *transport) note(ev loop.Events) {
	if ev&(loop.PeerDone|loop.Hangup) != 0 {
		c.peerDone = true
	}
	if ev&(loop.Readable|loop.PeerDone|loop.Hangup) != 0 {
		c.readable = true
		if c.tls != nil {
			c.tls.wire.dry = false
		}
	}
}

// watch registers the connection with the loop. It is done late: a connection that is served at once and
// closed never needs it. It reports false if that is impossible; the connection is of no use then.
func (c *transport) watch() bool {
	if err := c.Watch(); err != nil {
		c.w.srv.log.Error("connection dropped", "listener", c.Binding.Name, "error", err)
		return false
	}
	return true
}

// read reads into buf. Without bytes, open tells whether there may be some later. It reports false if the
// connection is broken.
func (c *transport) read(buf []byte) (p []byte, open, ok bool) {
	if c.tls != nil {
		p, open, ok = c.readSecure(buf)
		c.moved += len(p)
		return p, open, ok
	}
	n, e := loop.Read(c.FD, buf)
	switch {
	case e == unix.EAGAIN:
		c.readable = false
		return nil, true, true
	case e != 0:
		return nil, false, false
	case n == 0:
		c.readable, c.peerDone = false, true
		return nil, false, true
	case n < len(buf) && !c.peerDone:
		c.readable = false // a short read has emptied the socket: what comes later is a new edge
	}
	c.moved += n
	return buf[:n], true, true
}

// send gives p to the kernel, and keeps what it does not take. It reports false if the connection is broken.
func (c *transport) send(p []byte) bool {
	if c.tls != nil {
		var ok bool
		if p, ok = c.tls.seal(c.w, p); !ok {
			return false
		}
	}
	return c.put(p)
}

// put sends bytes as they go over the wire.
func (c *transport) put(p []byte) bool {
	if len(c.out) > 0 {
		c.out = c.w.Bufs.Add(c.out, p)
		return true
	}
	n, e := loop.Write(c.FD, p)
	if e != 0 && e != unix.EAGAIN {
		return false
	}
	if n < len(p) {
		c.out = append(c.w.Bufs.Get(len(p)-n), p[n:]...)
		c.outAt = 0
		c.taken = c.w.Loop.Now()
		return c.watch()
	}
	return true
}

// drainOut sends what was kept. It reports false if the connection is broken.
func (c *transport) drainOut() bool {
	n, e := loop.Write(c.FD, c.out[c.outAt:])
	if e == unix.EAGAIN {
		return true
	}
	if e != 0 {
		return false
	}
	c.outAt += n
	c.taken = c.w.Loop.Now()
	if c.outAt < len(c.out) {
		return true
	}
	c.w.Bufs.Put(c.out)
	c.out, c.outAt = nil, 0
	if c.ending {
		loop.ShutdownWrite(c.FD)
	}
	return true
}

// shutWrite ends our side in order, behind what is still to be sent.
func (c *transport) shutWrite() {
	c.farewell()
	if c.ending = true; len(c.out) == 0 {
		loop.ShutdownWrite(c.FD)
	}
}

// farewell tells the peer that what it has got is all, where the protocol can.
func (c *transport) farewell() {
	if c.tls != nil && !c.ending {
		c.put(c.tls.sealEnd(c.w))
	}
}

// cut makes the close that follows a reset: the client must not take what it has got for the whole.
func (c *transport) cut() {
	_ = unix.SetsockoptLinger(c.FD, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// shut closes the connection.
func (c *transport) shut() {
	c.w.Bufs.Put(c.out)
	c.out = nil
	if c.tls != nil {
		c.tls.wire.close()
	}
	c.Close()
}
