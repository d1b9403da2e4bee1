package l7

import (
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/internal/loop"
)

// A client is a connection on which requests come in. While it is idle it holds no buffer.
type client struct {
	w          *worker
	b          *binding
	fd         int
	tok        loop.Token
	peer       netip.AddrPort
	x          *exchange // the request in progress
	in         []byte    // read and not yet handled: part of a head, or requests that follow the one in progress
	out        []byte    // not yet taken by the kernel, from outAt on
	timer      loop.Timer
	next, prev *client // all of the worker

	outAt    int
	minor    int           // the version of the last request: HTTP/1.minor
	scanned  int           // in has no end of a head before this
	began    time.Duration // when the first byte of in came
	progress time.Duration // when the kernel last took something of out
	state    clientState

	readable bool // a read may bring something
	peerDone bool // the peer sends no more
	unparsed bool // in has not been looked at since it was filled
	closing  bool // no further request is taken
	pumping  bool
	whole    bool // the last request was read to its end
}

type clientState uint8

const (
	clientIdle   clientState = iota // between requests
	clientHead                      // a head has begun
	clientBusy                      // x is in progress
	clientLinger                    // everything is sent; what still comes in is thrown away
	clientClosed
)

const (
	lingerTime = 2 * time.Second // for the last answer to reach a client that still sends
	turnsMax   = 64              // pipelined requests served before other connections have their turn
)

// Ready implements loop.Handler.
func (c *client) Ready(ev loop.Events) {
	if ev&(loop.Hangup|loop.Failed) != 0 {
		c.lost()
		return
	}
	if ev&loop.PeerDone != 0 {
		c.peerDone = true
	}
	if ev&(loop.Readable|loop.PeerDone) != 0 {
		c.readable = true
	}
	if ev&loop.Writable != 0 && len(c.out) > 0 {
		c.flush()
	}
	c.pump()
}

// watch registers the connection with the loop. It is done late: a connection that is served at once and
// closed never needs it.
func (c *client) watch() {
	if c.tok.Valid() || c.state == clientClosed {
		return
	}
	tok, err := c.w.loop.Add(c.fd, c, loop.Readable|loop.Writable|loop.PeerDone)
	if err != nil {
		c.w.srv.log.Error("connection dropped", "listener", c.b.name, "error", err)
		c.lost()
		return
	}
	c.tok = tok
}

// pump handles what can be read, until nothing can be or the request in progress has to wait for its endpoint.
func (c *client) pump() {
	if c.pumping {
		return
	}
	c.pumping = true
	for turns := 0; c.canRead(); turns++ {
		if turns == turnsMax {
			c.watch()
			c.w.loop.Again(c.tok, loop.Readable)
			break
		}
		switch {
		case c.state == clientLinger:
			c.discard()
		case c.x != nil:
			c.x.readClient()
		case c.unparsed:
			c.unparsed = false
			c.handleKept()
		default:
			c.readHead()
		}
	}
	c.pumping = false
}

func (c *client) canRead() bool {
	switch c.state {
	case clientClosed:
		return false
	case clientBusy:
		return c.readable && c.x.wantsClient()
	case clientLinger:
		return c.readable
	}
	return c.readable || c.unparsed
}

// read reads into the worker's scratch buffer, from its body mark on.
func (c *client) read(limit int) (p []byte, ok bool) {
	buf := c.w.buf[headroom : headroom+limit]
	n, e := loop.Read(c.fd, buf)
	switch {
	case e == unix.EAGAIN:
		c.readable = false
		c.watch()
		return nil, true
	case e != 0:
		return nil, false
	case n < len(buf) && n > 0 && !c.peerDone:
		c.readable = false // a short read has emptied the socket: what comes later is a new edge
	}
	return buf[:n], true
}

func (c *client) readHead() {
	p, ok := c.read(headRead)
	switch {
	case !ok:
		c.lost()
	case len(p) == 0 && !c.readable: // would block
		c.armHead()
	case len(p) == 0:
		c.peerEnded()
	case len(c.in) > 0:
		c.in = c.w.bufs.add(c.in, p)
		c.handleKept()
	default:
		c.began = c.w.loop.Now()
		c.handle(p)
	}
}

// peerEnded is the end of the stream outside of a request.
func (c *client) peerEnded() { c.close() }

// armHead sets the deadline that a connection without a request has.
func (c *client) armHead() {
	t := &c.b.listener().Timeouts
	if len(c.in) > 0 {
		c.state = clientHead
		c.arm(c.began, t.Header)
		return
	}
	c.state = clientIdle
	c.arm(c.w.loop.Now(), t.Idle)
}

// handleKept looks at what has been kept of a head, now that it is longer.
func (c *client) handleKept() {
	lim := &c.b.listener().Limits
	if http1.HeadEnd(c.in, c.scanned) < 0 && len(c.in) <= lim.Head {
		c.scanned = max(0, len(c.in)-3)
		if !c.readable {
			c.watch()
		}
		c.armHead()
		return
	}
	p := c.in
	c.in, c.scanned = nil, 0
	c.handle(p)
	c.w.bufs.put(p)
}

// handle begins the request whose head starts p, or keeps p until there is more.
func (c *client) handle(p []byte) {
	lis := c.b.listener()
	n, err := c.w.req.Parse(p, &lis.Limits)
	switch {
	case err != nil:
		c.reject(lis, err)
	case n == 0:
		c.in = append(c.w.bufs.get(len(p)), p...)
		c.scanned = max(0, len(p)-3)
		if !c.readable {
			c.watch()
		}
		c.armHead()
	default:
		c.state = clientBusy
		c.w.loop.Disarm(&c.timer)
		c.x = c.w.newExchange(c, lis)
		c.x.begin(p[n:])
	}
}

// keep saves what follows the request in progress.
func (c *client) keep(p []byte) {
	if len(p) == 0 {
		return
	}
	if c.in == nil {
		c.in = c.w.bufs.get(len(p))
		c.began = c.w.loop.Now()
	}
	c.in = c.w.bufs.add(c.in, p)
	c.unparsed = true
}

// reject answers a request that is no valid HTTP, and closes: where its end is, nobody knows.
func (c *client) reject(lis *Listener, err error) {
	status, text := 400, "bad request"
	var bad *http1.Error
	if errors.As(err, &bad) {
		status, text = bad.Status, bad.Text
	}
	lis.stats.bad.Add(1)
	c.w.srv.log.Debug("request refused", "listener", lis.Name, "client", c.peer, "error", err)
	x := c.w.newExchange(c, lis)
	x.unparsed = true
	c.x, c.state = x, clientBusy
	c.w.loop.Disarm(&c.timer)
	x.keepAlive = false
	x.reply(status, textPlain, []byte(text+"\n"), nil)
}

// send gives p to the kernel, and keeps what it does not take. It reports false if the connection is lost.
func (c *client) send(p []byte) bool {
	if len(c.out) > 0 {
		c.out = c.w.bufs.add(c.out, p)
		return true
	}
	n, e := loop.Write(c.fd, p)
	if e != 0 && e != unix.EAGAIN {
		return false
	}
	if n < len(p) {
		c.out = append(c.w.bufs.get(len(p)-n), p[n:]...)
		c.outAt = 0
		c.progress = c.w.loop.Now()
		c.watch()
		if c.x != nil {
			c.x.rearm()
		}
	}
	return true
}

// flush sends what was kept, and lets the exchange go on once it is gone.
func (c *client) flush() {
	n, e := loop.Write(c.fd, c.out[c.outAt:])
	if e == unix.EAGAIN {
		return
	}
	if e != 0 {
		c.lost()
		return
	}
	c.outAt += n
	c.progress = c.w.loop.Now()
	if c.outAt < len(c.out) {
		return
	}
	c.w.bufs.put(c.out)
	c.out, c.outAt = nil, 0
	if c.x != nil {
		c.x.clientFlushed()
	}
}

// ended is called when the exchange is over and everything is sent.
func (c *client) ended(keepAlive, whole bool) {
	c.x, c.whole = nil, whole
	if !keepAlive || c.closing {
		c.finish()
		return
	}
	if c.unparsed {
		c.state = clientIdle
	} else {
		c.armHead()
		c.watch()
	}
	c.pump()
}

// finish closes the connection so that the last answer arrives: a socket closed with unread input is reset,
// and a reset overtakes the answer (RFC 9112 §9.6).
func (c *client) finish() {
	if c.in == nil && !c.readable && (c.whole || c.peerDone) {
		c.close()
		return
	}
	loop.ShutdownWrite(c.fd)
	c.w.bufs.put(c.in)
	c.in, c.unparsed = nil, false
	c.state = clientLinger
	c.arm(c.w.loop.Now(), lingerTime)
	c.watch()
	c.readable = true
	c.pump()
}

func (c *client) discard() {
	p, ok := c.read(headRead)
	if !ok || (len(p) == 0 && c.readable) {
		c.close()
	}
}

// lost is the end of a connection that broke.
func (c *client) lost() {
	if c.state == clientClosed {
		return
	}
	if x := c.x; x != nil {
		c.close()
		x.clientLost()
		return
	}
	c.close()
}

func (c *client) close() {
	if c.state == clientClosed {
		return
	}
	c.state = clientClosed
	c.w.loop.Disarm(&c.timer)
	if c.tok.Valid() {
		c.w.loop.Remove(c.tok)
	}
	loop.Close(c.fd)
	c.w.bufs.put(c.in)
	c.w.bufs.put(c.out)
	c.in, c.out = nil, nil
	c.w.forget(c)
}

// Expire implements loop.Expirer.
func (c *client) Expire(now time.Duration) {
	switch c.state {
	case clientHead:
		x := c.w.newExchange(c, c.b.listener())
		x.unparsed, x.keepAlive = true, false
		c.x, c.state = x, clientBusy
		x.reply(408, textPlain, []byte("the request did not arrive in time\n"), nil)
	case clientIdle, clientLinger:
		c.close()
	}
}

// arm sets the connection's deadline; a d of 0 is none.
func (c *client) arm(from, d time.Duration) {
	if d <= 0 {
		c.w.loop.Disarm(&c.timer)
		return
	}
	c.w.loop.Arm(&c.timer, c, from+d)
}

func (c *client) scheme() string { return "http" }
