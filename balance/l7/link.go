package l7

import (
	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/balance/l7/http2"
	"github.com/trivet-ha/trivet/internal/loop"
)

// A link is a stream of HTTP/2 to an endpoint. Its exchange sees it as a connection of HTTP/1.1 that serves one request:
// it writes a request and reads an answer as HTTP/1.1 has them.
type link struct {
	conn
	m  *mux
	id uint32 // 0: the request's head has not been sent

	body     http1.Body // of the request
	out      []byte     // of the body, not yet taken by the connection, from outAt on
	outAt    int
	trailers []byte // of the request
	in       []byte // of the answer, not yet read, from inAt on
	inAt     int
	owed     int // bytes of the answer's body that are to be reported as consumed once in has been read
	broken   bool
	failure  failure // why it is

	chunked bool // the answer's body has no declared length
	whole   bool // the answer is complete
	sent    bool // the request is
	told    bool // it is among the mux's news
}

// link returns a new one.
func (t *target) link(m *mux) *link {
	l := &link{m: m, failure: failedReset}
	l.conn = conn{t: t, socket: socket{w: t.w}, link: l, reused: m != nil && m.proven}
	return l
}

// join returns a stream of a connection that stands, or nil.
func (t *target) join() *conn {
	for _, m := range t.muxes {
		if m.free() > 0 {
			t.stats.reuses.Add(1)
			return &t.link(m).conn
		}
	}
	return nil
}

// enlist returns a stream of any connection, perhaps of one that is yet to stand.
func (t *target) enlist() (*conn, unix.Errno) {
	if u := t.join(); u != nil {
		return u, 0
	}
	l := t.link(nil)
	if e := t.place(l); e != 0 {
		return nil, e
	}
	l.connecting = true
	return &l.conn, 0
}

// place has a link wait for a connection that is being established. As many wait for one as the last one took, if there
// was one.
func (t *target) place(l *link) (e unix.Errno) {
	most := muxStreams
	if t.streams > 0 {
		most = t.streams
	}
	for _, m := range t.muxes {
		if !m.greeted && len(m.waiting) < most {
			l.m = m
			m.waiting = append(m.waiting, l)
			return 0
		}
	}
	if l.m, e = t.dialMux(); e != 0 {
		return e
	}
	l.m.waiting = append(l.m.waiting, l)
	return 0
}

// write takes a part of the request. It takes all of it, unless something is still to be sent or the stream has yet to
// be opened.
func (l *link) write(p []byte) (n int, e unix.Errno) {
	switch {
	case l.broken || l.closed:
		return 0, unix.EPIPE
	case l.connecting || len(l.out) > 0:
		return 0, unix.EAGAIN
	case l.id == 0:
		if n, e = l.open(p); e != 0 {
			return 0, e
		}
	}
	l.m.schedule()
	if n == len(p) {
		return n, 0
	}
	l.out, l.outAt = append(l.w.Bufs.Get(len(p)-n), p[n:]...), 0
	keep, _, err := l.body.Pass(l.out)
	if err != nil {
		return 0, unix.EPROTO // it was sound when it came in
	}
	l.out = l.out[:keep]
	l.push()
	return len(p), 0
}

// open sends the request's head, which p begins with.
func (l *link) open(p []byte) (n int, e unix.Errno) {
	x := l.x
	l.body.Reset(x.framing, x.length, http1.Decode)
	var flags http2.Flags
	if l.body.Done() {
		flags, l.sent = http2.End, true
	}
	if l.m.tls != nil {
		flags |= http2.Secure
	}
	n = http1.HeadEnd(p, 0)
	if n < 0 {
		return 0, unix.EPROTO
	}
	var err error
	if l.id, err = l.m.h2.SendRequest(p[:n], flags); err != nil {
		return 0, unix.EPIPE
	}
	l.m.h2.Bind(l.id, l)
	return n, 0
}

// push sends what the windows allow.
func (l *link) push() {
	if l.body.Done() && l.trailers == nil {
		l.trailers = append(l.trailers, l.body.Trailers()...)
	}
	var flags http2.Flags
	if l.body.Done() && len(l.trailers) == 0 {
		flags = http2.End
	}
	l.outAt += l.m.h2.SendData(l.id, l.out[l.outAt:], flags)
	if l.outAt < len(l.out) {
		return
	}
	l.w.Bufs.Put(l.out)
	l.out = nil
	if l.body.Done() {
		l.sent = true
		if len(l.trailers) > 0 {
			_ = l.m.h2.SendTrailers(l.id, l.trailers)
		}
	}
}

// resume sends what was kept, and lets the exchange send more once it is gone.
func (l *link) resume() {
	if l.closed {
		return
	}
	if len(l.out) > 0 {
		l.push()
	}
	x := l.x
	switch {
	case x == nil || len(l.out) > 0:
	case x.u != &l.conn:
		x.pushRival()
	default:
		x.flush()
	}
}

// take takes a part of the answer.
func (l *link) take(ev *http2.Event) {
	switch ev.Kind {
	case http2.KindResponse:
		l.chunked = !ev.Response.Interim() && ev.Response.Framing == http1.FramingChunked
		l.add(ev.Data)
	case http2.KindData:
		l.owed += len(ev.Data)
		if len(ev.Data) > 0 {
			if l.chunked {
				l.w.chunk = http1.AppendChunkSize(l.w.chunk[:0], len(ev.Data))
				l.add(l.w.chunk)
			}
			l.add(ev.Data)
			if l.chunked {
				l.add(lineEnd)
			}
		}
		if ev.End && l.chunked {
			l.add(lastChunk)
		}
	case http2.KindTrailers:
		if l.chunked {
			l.add(lastSize)
			l.add(ev.Data)
		}
	case http2.KindReset:
		l.reset(ev)
		return
	}
	l.whole = l.whole || ev.End
}

// reset is the end of the stream. When the answer is complete it only tells that the rest of the request is not wanted.
func (l *link) reset(ev *http2.Event) {
	if l.whole {
		l.deaf = true
		return
	}
	l.broken = true
	switch {
	case ev.Unprocessed:
		l.failure = failedRefused
	case ev.Err != nil:
		l.failure = failedProtocol
	}
}

func (l *link) add(p []byte) {
	if l.in == nil {
		l.in, l.inAt = l.w.Bufs.Get(len(p)+64), 0
	}
	l.in = l.w.Bufs.Add(l.in, p)
}

// deliver lets the exchange have what has come.
func (l *link) deliver() {
	x := l.x
	if x == nil || l.closed {
		return
	}
	l.readable = true
	if x.u != &l.conn {
		x.rivalReady(loop.Readable)
		return
	}
	x.pump()
}

// read reads what there is of the answer.
func (l *link) read(p []byte) (n int, e unix.Errno) {
	switch {
	case l.inAt < len(l.in):
		n = copy(p, l.in[l.inAt:])
		if l.inAt += n; l.inAt == len(l.in) {
			l.w.Bufs.Put(l.in)
			l.in = nil
			l.m.h2.Consumed(l.id, l.owed)
			l.owed = 0
			l.m.schedule()
		}
		return n, 0
	case l.broken:
		return 0, unix.ECONNRESET
	}
	return 0, unix.EAGAIN
}

func (l *link) peek() (n int, e unix.Errno) {
	switch {
	case l.inAt < len(l.in):
		return len(l.in) - l.inAt, 0
	case l.broken:
		return 0, unix.ECONNRESET
	}
	return 0, unix.EAGAIN
}

// finish lets go of a stream whose answer is complete. The frame that says so may still be on its way.
func (l *link) finish() {
	if l.sent && !l.whole && !l.broken && !l.m.closed {
		l.m.h2.Bind(l.id, nil)
		l.id = 0
	}
	l.end()
}

// end lets go of the stream, whatever its state.
func (l *link) end() {
	if l.closed {
		return
	}
	l.closed, l.x = true, nil
	m := l.m
	if l.id != 0 && !m.closed {
		m.h2.Reset(l.id, http2.Cancel)
		m.schedule()
	}
	for i, other := range m.waiting {
		if other == l {
			m.waiting = append(m.waiting[:i], m.waiting[i+1:]...)
			break
		}
	}
	l.w.Bufs.Put(l.in)
	l.w.Bufs.Put(l.out)
	l.w.Bufs.Put(l.conn.in)
	l.in, l.out, l.conn.in = nil, nil, nil
}
