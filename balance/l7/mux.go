package l7

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7/http2"
	"github.com/trivet-ha/trivet/internal/loop"
)

// A mux is a connection to an endpoint that speaks HTTP/2. Its streams are links.
type mux struct {
	socket
	t       *target
	h2      *http2.Conn
	waiting []*link // that have no stream yet
	news    []*link // that something has come for in this turn

	opened    time.Duration
	idleSince time.Duration // since when there has been no stream
	heard     time.Duration // when something came last
	pinged    time.Duration // when a sign of life was asked for; 0 if none is owed

	connecting bool
	greeted    bool // the endpoint has said how many streams there may be
	proven     bool // an answer has come
	closing    bool // it takes no more streams
	closed     bool
	busy       bool // events are being dealt with; what they make is sent afterwards
	scheduled  bool // the loop will call again, for what is to be sent
	readable   bool
	peerDone   bool
}

const (
	// muxStreams is how many streams one connection carries at most; a further connection is opened for more.
	muxStreams = 128
	// muxIdle is how long a connection without streams is kept. An endpoint that ends it earlier says so in a way that
	// loses nothing, so it need not be shorter than what the endpoint allows.
	muxIdle = time.Minute
	// pongWithin is how long the answer to a ping may take.
	pongWithin = 20 * time.Second
)

// endpointHTTP2 is what endpoints may use. The connection's window has room for the windows of all its streams: one that
// is not read, since its client is slow, never holds up the others.
var endpointHTTP2 = http2.Settings{Limits: answerLimits, ConnWindow: muxStreams * http2.DefaultStreamWindow}

// dialMux opens a connection.
func (t *target) dialMux() (*mux, unix.Errno) {
	fd, e := t.addr.Dial()
	if e != 0 {
		return nil, e
	}
	now := t.w.Loop.Now()
	m := &mux{t: t, socket: socket{w: t.w, fd: fd}, connecting: true, opened: now, idleSince: now, heard: now}
	if e := m.watch(m); e != 0 {
		return nil, e
	}
	m.h2 = http2.NewClient(&endpointHTTP2, &t.w.h2up)
	if cfg := t.secured("h2"); cfg != nil {
		m.tls = t.w.startTLS(fd, netip.AddrPort{}, tls.Client, cfg, m.shaken)
		m.tls.wire.strict = true
	}
	t.muxes = append(t.muxes, m)
	t.w.muxes[m] = struct{}{}
	t.stats.connects.Add(1)
	t.stats.connections.Add(1)
	return m, 0
}

var errNoHTTP2 = errors.New("the endpoint does not speak HTTP/2")

// shaken goes on after the handshake.
func (m *mux) shaken(err error) {
	if err == nil && m.tls.conn.ConnectionState().NegotiatedProtocol != "h2" {
		err = errNoHTTP2
	}
	if err != nil {
		m.t.unsecured(err)
		m.lost()
		return
	}
	m.connecting, m.readable = false, true
	m.run()
}

// Ready implements loop.Handler.
func (m *mux) Ready(ev loop.Events) {
	if m.tls != nil && !m.unseal(ev) {
		return
	}
	if m.connecting {
		if ev&(loop.Failed|loop.Hangup) != 0 {
			m.lost()
			return
		}
		if ev&loop.Writable == 0 {
			return
		}
		m.connecting = false
	}
	if ev&(loop.PeerDone|loop.Hangup|loop.Failed) != 0 {
		m.peerDone = true
	}
	if ev&(loop.Readable|loop.PeerDone|loop.Hangup|loop.Failed) != 0 {
		m.readable = true
	}
	m.drain()
	m.run()
}

// run reads what there is, gives it to the exchanges, and sends what that makes.
func (m *mux) run() {
	if m.busy || m.closed {
		return
	}
	m.busy, m.scheduled = true, false
	alive := m.receive()
	for len(m.news) > 0 {
		l := m.news[0]
		m.news = m.news[1:]
		l.told = false
		l.deliver()
	}
	m.news = m.news[:0]
	if alive && m.greeted {
		m.admit()
	}
	m.busy = false
	if !m.flush() || !alive {
		m.lost()
		return
	}
	if m.closing && m.h2.Len() == 0 {
		m.shutDown()
		return
	}
	if m.readable && !m.h2.Full() {
		m.w.Loop.Again(m.tok, loop.Readable)
	}
}

// receive reads for one turn. It reports false if the connection has ended.
func (m *mux) receive() (alive bool) {
	for moved := 0; m.readable && !m.connecting && !m.h2.Full() && moved < turnBytes; {
		buf := m.w.answers()
		n, e := m.read(buf)
		switch {
		case e == unix.EAGAIN:
			m.readable = false
			return true
		case e != 0 || n == 0:
			return false
		case n < len(buf):
			m.readable = m.peerDone
		}
		moved += n
		m.heard, m.pinged = m.w.Loop.Now(), 0
		m.h2.Receive(buf[:n], m.heard)
		for ev := m.h2.Next(); ev != nil; ev = m.h2.Next() {
			m.event(ev)
		}
		if err := m.h2.Err(); err != nil {
			m.w.srv.log.Warn("endpoint breaks the rules of HTTP/2", "endpoint", m.t.ep.Address(), "error", err)
			return false
		}
	}
	return true
}

func (m *mux) event(ev *http2.Event) {
	switch ev.Kind {
	case http2.KindGoAway:
		m.retire()
		return
	case http2.KindSettings:
		m.greeted = true
		m.t.streams = min(m.h2.Open()+m.h2.Len(), muxStreams)
		return
	}
	l, _ := ev.User.(*link)
	if l == nil {
		m.h2.Consumed(ev.Stream, len(ev.Data))
		return
	}
	m.proven = m.proven || ev.Kind == http2.KindResponse
	l.take(ev)
	if !l.told {
		l.told = true
		m.news = append(m.news, l)
	}
}

// schedule has what is to be sent go out once the other sockets that are ready have had their turn.
func (m *mux) schedule() {
	if !m.busy && !m.scheduled && !m.closed {
		m.scheduled = true
		m.w.Loop.Again(m.tok, 0)
	}
}

// flush gives the kernel what it takes. It reports false if the connection is broken.
func (m *mux) flush() bool {
	if m.connecting {
		return true
	}
	for m.busy = true; len(m.out) == 0; {
		for _, user, ok := m.h2.Writable(); ok; _, user, ok = m.h2.Writable() {
			user.(*link).resume()
		}
		if len(m.h2.Out) == 0 {
			break
		}
		e := m.send(m.h2.Out)
		m.h2.Out = m.h2.Out[:0]
		if e != 0 {
			m.busy = false
			return false
		}
	}
	m.busy = false
	if len(m.h2.Out) == 0 && m.h2.Len() == 0 {
		m.h2.Out = nil
	}
	return true
}

// free is how many more streams there may be now.
func (m *mux) free() int {
	if !m.greeted || m.closing {
		return 0
	}
	return min(m.h2.Open(), muxStreams-m.h2.Len()) - len(m.waiting)
}

// admit gives streams to those who wait for one, as far as there are any. The others are better off elsewhere.
func (m *mux) admit() {
	for len(m.waiting) > 0 {
		l := m.waiting[0]
		m.waiting = m.waiting[1:]
		switch {
		case !m.closing && m.h2.Open() > 0 && m.h2.Len() < muxStreams:
			l.connecting = false
			l.resume()
		case m.t.streams <= 0:
			l.fail(failedRefused)
		default:
			if e := m.t.place(l); e != 0 {
				l.fail(dialFailure(e))
			}
		}
	}
	m.waiting = nil
}

// retire lets the connection go on to the end of its streams.
func (m *mux) retire() {
	m.closing = true
	for i, other := range m.t.muxes {
		if other == m {
			m.t.muxes = append(m.t.muxes[:i], m.t.muxes[i+1:]...)
			break
		}
	}
}

// lost is the end of a connection that broke, or never stood.
func (m *mux) lost() {
	if m.closed {
		return
	}
	m.retire()
	never := !m.greeted
	m.shutDown()
	waiting := m.waiting
	m.waiting = nil
	var all []*link
	for _, user := range m.h2.Streams() {
		if l, ok := user.(*link); ok {
			all = append(all, l)
		}
	}
	for _, l := range all {
		l.broken = true
		l.deliver()
	}
	for _, l := range waiting {
		if never {
			l.fail(failedConnect)
		} else {
			l.fail(failedRefused)
		}
	}
}

// shutDown closes the connection.
func (m *mux) shutDown() {
	if m.closed {
		return
	}
	m.retire()
	if !m.connecting {
		m.h2.Close(http2.NoError)
		if len(m.out) == 0 {
			_ = m.send(m.h2.Out)
		}
	}
	m.h2.Out = nil
	m.closed = true
	m.shut()
	delete(m.w.muxes, m)
	m.t.stats.connections.Add(-1)
}

// tick looks at the clock, once a second.
func (m *mux) tick(now time.Duration) {
	for id, user := range m.h2.Streams() { // whose answers are complete, but for a word
		if user == nil {
			m.h2.Reset(id, http2.Cancel)
			m.schedule()
		}
	}
	if m.h2.Len()+len(m.waiting) > 0 {
		m.idleSince = now
	}
	idle := now - m.idleSince
	ping := m.t.set.Ping
	switch {
	case !m.greeted && idle > time.Second, m.closing && m.h2.Len() == 0, idle > muxIdle:
		m.shutDown()
	case m.t.ep.Pool().ByAddress(m.t.ep.Address()) != m.t.ep: // removed from its pool
		m.retire()
	case ping <= 0 || m.connecting || m.h2.Len() == 0 || now-m.heard < ping:
	case m.pinged == 0:
		m.pinged = now
		m.h2.Ping()
		m.schedule()
	case now-m.pinged >= pongWithin:
		m.w.srv.log.Warn("endpoint gives no sign of life", "endpoint", m.t.ep.Address(), "quiet", now-m.heard)
		m.lost()
	}
}

// fail ends an attempt that has got no stream.
func (l *link) fail(f failure) {
	x := l.x
	switch {
	case x == nil:
	case x.u != &l.conn:
		x.dropRival(balance.ConnectFailed)
	default:
		x.attemptFailed(f)
	}
}
