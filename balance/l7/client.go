package l7

import (
	"bytes"
	"errors"
	"net/netip"
	"time"

	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/internal/edge"
	"github.com/trivet-ha/trivet/internal/loop"
)

// A client is a connection on which requests come in.
type client struct {
	transport
	lis     *Listener // see listener
	x       *exchange // the request in progress
	session *session  // nil: it speaks HTTP/1
	in      []byte    // read and not yet handled: part of a head, or requests that follow the one in progress
	timer   loop.Timer

	scanned int           // in has no end of a head before this
	began   time.Duration // when the first byte of in came
	state   clientState

	unparsed bool // in has not been looked at since it was filled
	pumping  bool
	whole    bool // the last request was read to its end
}

type clientState uint8

const (
	clientIdle    clientState = iota // between requests
	clientHead                       // a head has begun
	clientBusy                       // x is in progress
	clientLinger                     // everything is sent; what still comes in is thrown away
	clientShaking                    // the TLS handshake is under way
	clientSession                    // session has the connection
	clientClosed
)

const (
	lingerIdle = 2 * time.Second  // for the last answer to reach a client that still sends,
	lingerMax  = 30 * time.Second // and for all that it sends meanwhile: nginx's lingering_time
	turnsMax   = 64               // pipelined requests served before other connections have their turn
)

// Serve implements edge.Server. Usually the first request is already there.
func (l *Listener) Serve(conn edge.Conn) {
	w := l.server.workers[conn.Worker.ID]
	c := &client{transport: transport{Conn: conn, w: w, readable: true}, lis: l, began: w.Loop.Now()}
	c.Enter(c)
	if l.TLS != nil {
		c.shakeHands()
		return
	}
	c.pump()
}

// listener returns the listener in force: the next request follows its routes. If the name means something
// else than HTTP by now, the last one holds until the connection ends.
func (c *client) listener() *Listener {
	if l, ok := c.Binding.Listener().Server.(*Listener); ok {
		c.lis = l
	}
	return c.lis
}

// draining reports whether the connection should be closed with its next answer: because the process ends, or
// because the listener is gone.
func (c *client) draining() bool { return c.w.Draining() || c.Binding.Retired() }

// Lost implements edge.Owner.
func (c *client) Lost() { c.lost() }

// Ready implements loop.Handler.
func (c *client) Ready(ev loop.Events) {
	// A tunnel goes on when both sides have been shut down in order: there may be bytes left to pass on.
	if ev&loop.Failed != 0 || ev&loop.Hangup != 0 && (c.x == nil || !c.x.tunnel) {
		c.lost()
		return
	}
	if c.state == clientShaking {
		c.tls.wire.stir()
		return
	}
	c.note(ev)
	if ev&loop.Writable != 0 && len(c.out) > 0 {
		c.flush()
	}
	c.pump()
}

// pump handles what can be read, until nothing can be or the request in progress has to wait for its endpoint.
func (c *client) pump() {
	if c.pumping {
		return
	}
	if c.session != nil {
		c.session.run()
		return
	}
	c.pumping = true
	c.moved = 0
	turns := 0
	for c.canRead() && turns < turnsMax && c.moved < turnBytes {
		turns++
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
	switch {
	case !c.wanted():
	case !c.watch():
		c.lost()
	case c.canRead():
		c.Again(loop.Readable)
	case c.x != nil:
		c.x.ask()
	}
}

// wanted reports whether the next bytes from the client can be made use of.
func (c *client) wanted() bool {
	switch c.state {
	case clientClosed, clientSession:
		return false
	case clientBusy:
		return c.x.wantsClient()
	}
	return true
}

func (c *client) canRead() bool {
	return c.wanted() && (c.readable || c.unparsed && c.x == nil && c.state != clientLinger)
}

func (c *client) readHead() {
	p, open, ok := c.read(c.w.scratch(headRead))
	switch {
	case !ok:
		c.lost()
	case len(p) == 0 && open:
		c.armHead()
	case len(p) == 0: // the end of the stream outside of a request
		c.leave()
	case len(c.in) > 0:
		c.in = c.w.Bufs.Add(c.in, p)
		c.handleKept()
	default:
		c.began = c.w.Loop.Now()
		c.handle(p)
	}
}

// armHead sets the deadline that a connection without a request has.
func (c *client) armHead() {
	t := &c.listener().Timeouts
	if len(c.in) > 0 {
		c.state = clientHead
		c.arm(c.began, t.Header)
		return
	}
	c.state = clientIdle
	c.arm(c.w.Loop.Now(), t.Idle)
}

// handleKept looks at what has been kept of a head, now that it is longer.
func (c *client) handleKept() {
	lim := &c.listener().Limits
	if http1.HeadEnd(c.in, c.scanned) < 0 && len(c.in) <= lim.Head {
		c.scanned = max(0, len(c.in)-3)
		c.armHead()
		return
	}
	p := c.in
	c.in, c.scanned = nil, 0
	c.handle(p)
	c.w.Bufs.Put(p)
}

// handle begins the request whose head starts p, or keeps p until there is more.
func (c *client) handle(p []byte) {
	lis := c.listener()
	if lis.HTTP2 != nil && c.tls == nil && bytes.HasPrefix(p, []byte(preface)) {
		c.speakHTTP2(p)
		return
	}
	n, err := c.w.req.Parse(p, &lis.Limits)
	switch {
	case err != nil && lis.HTTP2 != nil && c.tls == nil && !c.whole && !namesHTTP(p):
		c.speakHTTP2(p) // which refuses the preface in words that a client of HTTP/2 understands (RFC 9113 §3.4)
	case err != nil:
		c.reject(lis, err)
	case n == 0:
		c.in = append(c.w.Bufs.Get(len(p)), p...)
		c.scanned = max(0, len(p)-3)
		c.armHead()
	default:
		c.state = clientBusy
		c.w.Loop.Disarm(&c.timer)
		c.x = c.w.newExchange(c, lis, c.began)
		c.x.begin(p[n:])
	}
}

// namesHTTP reports whether the first line of a connection ends as one of HTTP/1 does, whatever the version.
func namesHTTP(p []byte) bool {
	line, _, _ := bytes.Cut(p, []byte{'\n'})
	return bytes.Contains(line, []byte(" HTTP/"))
}

// keep saves what follows the request in progress.
func (c *client) keep(p []byte) {
	if len(p) == 0 {
		return
	}
	if c.in == nil {
		c.in = c.w.Bufs.Get(len(p))
	}
	c.in = c.w.Bufs.Add(c.in, p)
	c.unparsed = true
}

// reject answers a request that is no valid HTTP, and closes: where its end is, nobody knows.
func (c *client) reject(lis *Listener, err error) {
	status, text := 400, "bad request"
	var bad *http1.Error
	if errors.As(err, &bad) {
		status, text = bad.Status, bad.Text
	}
	lis.counters.bad.Add(1)
	c.w.srv.log.Debug("request refused", "listener", lis.Name, "client", c.Peer, "error", err)
	x := c.w.newExchange(c, lis, c.began)
	x.unparsed = true
	c.x, c.state = x, clientBusy
	c.w.Loop.Disarm(&c.timer)
	x.keepAlive = false
	x.reply(status, textPlain, []byte(text+"\n"), nil)
}

// send sends a part of an answer. It reports false if the connection is broken; the caller then calls lost.
func (c *client) send(p []byte) bool {
	held := len(c.out) > 0
	if !c.transport.send(p) {
		return false
	}
	if !held && len(c.out) > 0 && c.x != nil {
		c.x.rearm()
	}
	return true
}

// flush sends what was kept, and lets the exchange go on once it is gone.
func (c *client) flush() {
	switch {
	case !c.drainOut():
		c.lost()
	case c.session != nil:
		c.session.flush()
	case len(c.out) == 0 && c.x != nil:
		c.x.clientFlushed()
	}
}

func (c *client) answer(head []byte, from, to int, _ bool) bool {
	if len(head) > from {
		if !c.send(head) {
			return false
		}
		head = nil
	}
	copy(c.w.buf[from-len(head):], head)
	return c.send(c.w.buf[from-len(head) : to])
}

func (c *client) interim(head []byte) bool { return c.send(head) }

func (c *client) say(head, body []byte) bool {
	c.w.head = append(head, body...)
	return c.send(c.w.head)
}

func (c *client) conclude([]byte) bool { return c.send(lastChunk) }

func (c *client) blocked() bool { return len(c.out) > 0 }

func (c *client) progress() time.Duration { return c.taken }

func (c *client) watched() bool { return c.Watched() }

func (c *client) abandon() { c.hangUp() }

func (c *client) peer() netip.AddrPort { return c.Peer }

// over is called when the exchange is over and everything is sent, or the connection is closed.
func (c *client) over(keepAlive, whole bool) {
	c.x, c.whole = nil, whole
	switch {
	case c.state == clientClosed:
		return
	case !keepAlive:
		c.finish()
		return
	case c.unparsed: // of a request that had to wait for its turn
		c.state, c.began = clientIdle, c.w.Loop.Now()
	default:
		c.armHead()
	}
	c.pump()
}

// finish closes the connection so that the last answer arrives: a socket closed with unread input is reset,
// and a reset overtakes the answer (RFC 9112 §9.6).
func (c *client) finish() {
	if c.in == nil && !c.readable && (c.whole || c.peerDone) {
		c.leave()
		return
	}
	c.shutWrite()
	c.w.Bufs.Put(c.in)
	c.in, c.unparsed = nil, false
	c.state = clientLinger
	c.began = c.w.Loop.Now()
	c.arm(c.began, lingerIdle)
	c.readable = true
	c.pump()
}

// discard reads on while the client has perhaps not seen its last answer.
func (c *client) discard() {
	p, open, ok := c.read(c.w.scratch(bulkRead))
	switch now := c.w.Loop.Now(); {
	case !ok || !open || now-c.began > lingerMax:
		c.hangUp()
	case len(p) > 0:
		c.arm(now, lingerIdle)
	}
}

// lost is the end of a connection that broke.
func (c *client) lost() {
	if c.state == clientClosed {
		return
	}
	if s := c.session; s != nil {
		c.session = nil
		c.hangUp()
		s.giveUp()
		return
	}
	if x := c.x; x != nil {
		c.hangUp()
		x.clientLost()
		return
	}
	c.hangUp()
}

// leave closes the connection in order.
func (c *client) leave() {
	c.farewell()
	c.hangUp()
}

func (c *client) hangUp() {
	if c.state == clientClosed {
		return
	}
	c.state = clientClosed
	c.w.Loop.Disarm(&c.timer)
	c.w.Bufs.Put(c.in)
	c.in = nil
	c.shut()
}

// Expire implements loop.Expirer.
func (c *client) Expire(now time.Duration) {
	switch c.state {
	case clientSession:
		c.session.tick(now)
	case clientHead:
		x := c.w.newExchange(c, c.listener(), c.began)
		x.unparsed, x.keepAlive = true, false
		c.x, c.state = x, clientBusy
		x.reply(408, textPlain, []byte("the request did not arrive in time\n"), nil)
	case clientShaking:
		c.lis.counters.failed.Add(1)
		c.hangUp()
	case clientIdle, clientLinger:
		c.leave()
	}
}

// arm sets the connection's deadline; a d of 0 is none.
func (c *client) arm(from, d time.Duration) {
	if d <= 0 {
		c.w.Loop.Disarm(&c.timer)
		return
	}
	c.w.Loop.Arm(&c.timer, c, from+d)
}

// subject is that of the client's verified certificate, if it has one.
func (c *client) subject() []byte {
	if c.tls == nil {
		return nil
	}
	return c.tls.subject
}

func (c *client) scheme() string {
	if c.tls != nil {
		return "https"
	}
	return "http"
}
