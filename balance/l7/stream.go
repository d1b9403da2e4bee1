package l7

import (
	"net/netip"
	"time"

	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/balance/l7/http2"
)

// A stream is a request of HTTP/2 and its answer. It shows the exchange a request body as HTTP/1.1 has it.
type stream struct {
	s  *session
	id uint32
	x  *exchange // nil when it is over

	in    []byte // of the body, not yet read
	owed  int    // bytes of the body that are to be reported as consumed once in has been read
	out   []byte // of the answer, not yet taken by the connection, from outAt on
	outAt int
	moved time.Duration // when the connection last took something of out

	trailers []byte // of the answer, to be sent behind out

	chunked bool // the request's body has no declared length
	ended   bool // the request is complete
	last    bool // the answer ends with out, but for trailers
	gone    bool // the client has ended it
	pumping bool
}

// take takes a part of the request's body.
func (st *stream) take(ev *http2.Event) {
	w := st.s.c.w
	st.ended = st.ended || ev.End
	if st.in == nil {
		st.in = w.Bufs.Get(len(ev.Data) + 64)
	}
	if ev.Kind == http2.KindData {
		st.owed += len(ev.Data)
		if len(ev.Data) > 0 {
			if st.chunked {
				w.chunk = http1.AppendChunkSize(w.chunk[:0], len(ev.Data))
				st.in = w.Bufs.Add(st.in, w.chunk)
			}
			st.in = w.Bufs.Add(st.in, ev.Data)
			if st.chunked {
				st.in = w.Bufs.Add(st.in, lineEnd)
			}
		}
	}
	if ev.End && st.chunked {
		st.in = w.Bufs.Add(st.in, lastSize)
		if ev.Kind == http2.KindTrailers {
			st.in = w.Bufs.Add(st.in, ev.Data) // with the empty line that ends them
		} else {
			st.in = w.Bufs.Add(st.in, lineEnd)
		}
	}
	st.pump()
}

var (
	lineEnd  = []byte("\r\n")
	lastSize = []byte("0\r\n")
)

func (st *stream) pump() {
	if st.pumping {
		return
	}
	st.pumping = true
	for st.x != nil && len(st.in) > 0 && st.x.wantsClient() {
		st.x.readClient()
	}
	st.pumping = false
	if st.x != nil && st.x.wantsClient() {
		st.x.ask()
	}
	st.s.schedule()
}

func (st *stream) read(buf []byte) (p []byte, open, ok bool) {
	n := copy(buf, st.in)
	if n < len(st.in) {
		st.in = append(st.in[:0], st.in[n:]...)
		return buf[:n], true, true
	}
	st.s.c.w.Bufs.Put(st.in)
	st.in = nil
	st.s.h2.Consumed(st.id, st.owed)
	st.owed = 0
	return buf[:n], !st.ended, true
}

// keep has nothing to do: what follows a request is another stream's.
func (st *stream) keep([]byte) {}

func (st *stream) answer(head []byte, from, to int, end bool) bool {
	if head != nil && !st.head(head, end && from == to) {
		return false
	}
	if from < to || end && head == nil {
		st.data(st.s.c.w.buf[from:to], end)
	}
	st.s.schedule()
	return true
}

func (st *stream) head(head []byte, end bool) bool {
	var flags http2.Flags
	if end {
		flags = http2.End
	}
	return st.s.h2.SendResponse(st.id, head, flags) == nil
}

func (st *stream) interim(head []byte) bool {
	ok := st.head(head, false)
	st.s.schedule()
	return ok
}

func (st *stream) say(head, body []byte) bool {
	if !st.head(head, len(body) == 0) {
		return false
	}
	if len(body) > 0 {
		st.data(body, true)
	}
	st.s.schedule()
	return true
}

func (st *stream) conclude(trailers []byte) bool {
	switch {
	case len(trailers) == 0:
		st.data(nil, true)
	case len(st.out) > 0:
		st.trailers = append(st.trailers, trailers...)
	case st.s.h2.SendTrailers(st.id, trailers) != nil:
		return false
	}
	st.s.schedule()
	return true
}

// data sends a part of the answer, and keeps what the windows do not allow.
func (st *stream) data(p []byte, end bool) {
	w := st.s.c.w
	if len(st.out) == 0 {
		p = p[st.push(p, end):]
		if len(p) == 0 {
			return
		}
		st.out, st.outAt = w.Bufs.Get(len(p)), 0
		st.moved = w.Loop.Now()
	}
	st.out = w.Bufs.Add(st.out, p)
	st.last = end
	if st.x != nil {
		st.x.rearm()
	}
}

func (st *stream) push(p []byte, end bool) int {
	var flags http2.Flags
	if end {
		flags = http2.End
	}
	return st.s.h2.SendData(st.id, p, flags)
}

// resume sends what was kept, and lets the exchange go on once it is gone.
func (st *stream) resume() {
	if len(st.out) == 0 {
		return
	}
	if n := st.push(st.out[st.outAt:], st.last); n > 0 {
		st.outAt += n
		st.moved = st.s.c.w.Loop.Now()
	}
	if st.outAt < len(st.out) {
		return
	}
	st.s.c.w.Bufs.Put(st.out)
	st.out = nil
	if len(st.trailers) > 0 {
		_ = st.s.h2.SendTrailers(st.id, st.trailers)
		st.trailers = nil
	}
	if st.x != nil {
		st.x.clientFlushed()
	}
}

func (st *stream) blocked() bool { return len(st.out) > 0 }

func (st *stream) progress() time.Duration { return st.moved }

// watch has nothing to do: a session is always watched.
func (st *stream) watch() bool { return true }

func (st *stream) watched() bool { return true }

// draining announces the end of the connection if it is near. This stream goes on to its own end.
func (st *stream) draining() bool {
	if st.s.drainings == 0 && st.s.c.draining() {
		st.s.drain()
	}
	return false
}

// lost gives the stream up.
func (st *stream) lost() {
	if !st.gone {
		st.s.h2.Reset(st.id, http2.InternalError)
		st.s.schedule()
	}
	st.vanish()
}

// vanish ends the exchange of a stream that is no more.
func (st *stream) vanish() {
	st.gone = true
	if x := st.x; x != nil {
		x.clientLost()
	}
}

func (st *stream) abandon() {
	if !st.gone {
		st.gone = true
		st.s.h2.Reset(st.id, http2.InternalError)
		st.s.schedule()
	}
}

// cut has nothing to do: a stream that is given up is always reset.
func (st *stream) cut() {}

// shutWrite has nothing to do: there are no tunnels over streams.
func (st *stream) shutWrite() {}

func (st *stream) over(bool, bool) {
	st.x = nil
	w := st.s.c.w
	w.Bufs.Put(st.in)
	w.Bufs.Put(st.out)
	st.in, st.out = nil, nil
	if !st.ended && !st.gone { // the rest of the request is not wanted (RFC 9113 §8.1)
		st.s.h2.Reset(st.id, http2.NoError)
	}
}

func (st *stream) peer() netip.AddrPort { return st.s.c.Peer }

func (st *stream) scheme() string { return st.s.c.scheme() }

func (st *stream) subject() []byte { return st.s.c.subject() }
