package l7

import (
	"time"

	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/balance/l7/http2"
	"github.com/trivet-ha/trivet/internal/loop"
)

// A session is a client's connection that speaks HTTP/2. Its streams are the client's side of exchanges.
type session struct {
	c         *client
	h2        *http2.Conn
	idleSince time.Duration // since when there has been no stream
	busy      bool          // events are being dealt with; what they make is sent afterwards
	scheduled bool          // the loop will call again, for what is to be sent
	drainings int           // how often the end has been announced
}

// sessionTick is how often a session looks at the clock.
const sessionTick = time.Second

// framesRead is the size of reads. A worker reads frames into a buffer of their own: the exchanges use the other.
const framesRead = 64 << 10

// preface begins a connection of HTTP/2 (RFC 9113 §3.4); no request of HTTP/1.1 does.
const preface = "PRI * HTTP/2.0\r\n"

// speakHTTP2 makes a session of the connection; p has been read of it.
func (c *client) speakHTTP2(p []byte) {
	s := &session{c: c, h2: http2.NewServer(c.listener().HTTP2, &c.w.h2), idleSince: c.w.Loop.Now()}
	c.session, c.state = s, clientSession
	if !c.watch() {
		c.hangUp()
		return
	}
	c.arm(c.w.Loop.Now(), sessionTick)
	s.busy = true
	s.receive(append([]byte(nil), p...)) // it stands in the buffer that exchanges use
	s.busy = false
	s.run()
}

// run reads what there is and sends what that makes.
func (s *session) run() {
	if s.busy || s.c.session != s {
		return
	}
	s.busy, s.scheduled = true, false
	c := s.c
	c.moved = 0
	for c.session == s && c.readable && !s.h2.Full() && c.moved < turnBytes {
		p, open, ok := c.read(c.w.frames())
		if len(p) == 0 {
			if !ok || !open {
				c.lost()
			}
			break
		}
		s.receive(p)
		if s.h2.Err() != nil {
			break
		}
	}
	s.busy = false
	s.flush()
	if c.session == s && c.readable && !s.h2.Full() {
		c.Again(loop.Readable)
	}
}

// receive deals with bytes from the client.
func (s *session) receive(p []byte) {
	if s.h2.Out == nil {
		s.h2.Out = s.c.w.Bufs.Get(4 << 10)
	}
	s.h2.Receive(p, s.c.w.Loop.Now())
	for ev := s.h2.Next(); ev != nil; ev = s.h2.Next() {
		s.event(ev)
		if s.c.session != s {
			return
		}
	}
}

func (s *session) event(ev *http2.Event) {
	st, _ := ev.User.(*stream)
	switch ev.Kind {
	case http2.KindRequest:
		s.begin(ev)
	case http2.KindRefused:
		s.refuse(ev)
	case http2.KindData, http2.KindTrailers:
		if st == nil || st.x == nil {
			s.h2.Consumed(ev.Stream, len(ev.Data))
			return
		}
		st.take(ev)
	case http2.KindReset:
		if st != nil {
			st.vanish()
		}
	}
}

// begin begins the exchange of a request.
func (s *session) begin(ev *http2.Event) {
	w, lis := s.c.w, s.c.listener()
	st := s.stream(ev)
	st.chunked = ev.Request.Framing == http1.FramingChunked
	st.x = w.newExchange(st, lis, w.Loop.Now())
	st.x.http2 = true
	parsed := w.req
	w.req = *ev.Request
	st.x.begin(nil)
	w.req = parsed
}

// refuse answers a request whose head is no valid HTTP.
func (s *session) refuse(ev *http2.Event) {
	w, lis := s.c.w, s.c.listener()
	lis.counters.bad.Add(1)
	st := s.stream(ev)
	st.x = w.newExchange(st, lis, w.Loop.Now())
	st.x.http2, st.x.unparsed = true, true
	if ev.ToHEAD {
		st.x.method = http1.HEAD
	}
	st.x.reply(ev.Refusal.Status, textPlain, []byte(ev.Refusal.Text+"\n"), nil)
}

func (s *session) stream(ev *http2.Event) *stream {
	st := &stream{s: s, id: ev.Stream, ended: ev.End}
	s.h2.Bind(ev.Stream, st)
	return st
}

// schedule has what is to be sent go out once the other sockets that are ready have had their turn: answers that come
// in together go out together.
func (s *session) schedule() {
	if !s.busy && !s.scheduled {
		s.scheduled = true
		s.c.Again(0)
	}
}

// flush gives the transport what it takes.
func (s *session) flush() {
	c := s.c
	if s.busy {
		return
	}
	s.busy = true
	for c.session == s && len(c.out) == 0 {
		for _, user, ok := s.h2.Writable(); ok && c.session == s; _, user, ok = s.h2.Writable() {
			user.(*stream).resume()
		}
		if c.session != s || len(s.h2.Out) == 0 {
			break
		}
		p := s.h2.Out
		s.h2.Out = nil
		if !c.transport.send(p) {
			c.w.Bufs.Put(p)
			s.busy = false
			c.lost()
			return
		}
		s.h2.Out = p[:0]
	}
	s.busy = false
	if c.session != s {
		return
	}
	if len(s.h2.Out) == 0 {
		c.w.Bufs.Put(s.h2.Out)
		s.h2.Out = nil
		if s.h2.Err() != nil {
			s.end()
			return
		}
	}
	if s.h2.Len() > 0 {
		s.idleSince = c.w.Loop.Now()
	}
}

// drain announces the end of the connection.
func (s *session) drain() {
	if s.drainings < 2 {
		s.drainings++
		s.h2.Drain()
		s.schedule()
	}
}

// tick looks at the clock.
func (s *session) tick(now time.Duration) {
	c := s.c
	idle := c.listener().Timeouts.Idle
	switch {
	case s.h2.Err() != nil: // and the client does not take what it is told
		s.end()
		return
	case s.h2.Len() > 0:
		s.idleSince = now
	case s.h2.Drained(), idle > 0 && now-s.idleSince >= idle+2*sessionTick:
		s.end()
		return
	}
	if c.draining() || s.drainings > 0 || s.h2.Len() == 0 && idle > 0 && now-s.idleSince >= idle {
		s.drain()
	}
	c.arm(now, sessionTick)
}

// end closes the connection in order: everything has been said.
func (s *session) end() {
	s.c.session = nil
	s.giveUp()
	s.c.whole = false
	s.c.finish()
}

// giveUp ends the exchanges that are in progress.
func (s *session) giveUp() {
	var all []*stream
	for _, user := range s.h2.Streams() {
		if st, ok := user.(*stream); ok {
			all = append(all, st)
		}
	}
	s.busy = true
	for _, st := range all {
		st.vanish()
	}
	s.c.w.Bufs.Put(s.h2.Out)
	s.h2.Out = nil
}
