package http2

import (
	"cmp"
	"slices"
	"time"
)

// stream is a request and its answer.
type stream struct {
	id         uint32
	user       any
	recvWindow int32 // what the peer may send
	credit     int32 // consumed, and not told yet
	held       int32 // given to the driver, and not consumed
	sendWindow int64 // what we may send
	left       int64 // bytes that Content-Length still promises; -1: it did not say
	opened     time.Duration
	head       int // bytes of the request's head
	interims   uint8

	recvEnd  bool // the peer's side has ended
	sendEnd  bool // our side has ended
	answered bool // the final answer's head has come, or has been sent
	toHEAD   bool // towards an endpoint: the request is HEAD, its answer has no body
	tunnel   bool // it is a WebSocket
	discard  bool // the driver does not want the body
	waiting  bool // it was cut short, see Writable
}

// find returns a live stream, or nil.
func (c *Conn) find(id uint32) *stream {
	if c.last != nil && c.last.id == id {
		return c.last
	}
	if i, ok := c.index(id); ok {
		c.last = c.live[i]
		return c.last
	}
	return nil
}

func (c *Conn) index(id uint32) (int, bool) {
	return slices.BinarySearchFunc(c.live, id, func(s *stream, id uint32) int { return cmp.Compare(s.id, id) })
}

// open adds a stream whose number is above all others.
func (c *Conn) open(id uint32) *stream {
	s := c.sc.takeStream()
	s.id = id
	s.recvWindow, s.sendWindow = c.set.streamWindow(), c.peerWindow
	s.left = -1
	s.opened = c.now
	c.live = append(c.live, s)
	c.last = s
	return s
}

// closing says how a stream was closed, as far as that matters for what still comes for it.
type closing uint8

const (
	closedUnknown closing = iota
	closedByUs            // the peer may not know yet: what it still sends is ignored
	closedByPeer          // it must not send anything more
)

// close takes a stream out. Its memory is used for another one.
func (c *Conn) close(s *stream, how closing) {
	i, _ := c.index(s.id)
	c.live = slices.Delete(c.live, i, i+1)
	if c.last == s {
		c.last = nil
	}
	if c.data == s {
		c.data = nil
	}
	if s.waiting {
		c.waiting--
	}
	if c.cursor > i {
		c.cursor--
	}
	c.heads -= s.head
	c.creditConn(s.held)
	c.remember(s.id, how)
	c.sc.giveStream(s)
}

// ring holds the last streams of which something was noted.
type ring struct {
	ids []uint32
	at  int
}

func (r *ring) add(id uint32, size int) {
	if len(r.ids) < size {
		r.ids = append(r.ids, id)
		return
	}
	r.ids[r.at] = id
	r.at = (r.at + 1) % size
}

// remember notes that a stream was closed.
func (c *Conn) remember(id uint32, how closing) {
	if how == closedByUs {
		c.resets.add(id, resetsKept)
	} else {
		c.ends.add(id, endsKept)
	}
}

// closing returns how a stream was closed, if that is remembered.
func (c *Conn) closing(id uint32) closing {
	switch {
	case slices.Contains(c.resets.ids, id):
		return closedByUs
	case slices.Contains(c.ends.ids, id):
		return closedByPeer
	}
	return closedUnknown
}

// idle reports whether a stream was never opened (RFC 9113 §5.1.1).
func (c *Conn) idle(id uint32) bool {
	if c.client {
		return id&1 == 0 || id >= c.nextOwn
	}
	return id&1 == 0 || id > c.lastPeer
}

// ended follows the peer's end of a stream.
func (c *Conn) ended(s *stream) {
	s.recvEnd = true
	if s.sendEnd {
		c.complete(s)
	}
}

// sent follows our end of a stream.
func (c *Conn) sent(s *stream) {
	s.sendEnd = true
	if s.waiting {
		s.waiting = false
		c.waiting--
	}
	if s.recvEnd {
		c.complete(s)
	}
}

// complete closes a stream that both sides have ended.
func (c *Conn) complete(s *stream) {
	c.earn(earnedByAnswer)
	c.close(s, closedByPeer)
}

// breakStream ends a live stream whose peer has broken a rule.
func (c *Conn) breakStream(s *stream, r rule) *Event {
	ev := c.event(KindReset, s)
	ev.Err = &ruleErrors[r]
	ev.Code = ev.Err.Code
	c.Out = appendReset(c.Out, s.id, ev.Code)
	c.close(s, closedByUs)
	c.charge(floodResets, costOfReset)
	return ev
}

// refuse ends a stream before it was opened.
func (c *Conn) refuse(id uint32, r rule, cost int) *Event {
	ev := &c.sc.event
	*ev = Event{Kind: KindReset, Stream: id, Err: &ruleErrors[r], Code: ruleErrors[r].Code}
	c.Out = appendReset(c.Out, id, ev.Code)
	c.remember(id, closedByUs)
	c.charge(floodResets, cost)
	return ev
}

// event begins an event about a stream.
func (c *Conn) event(k Kind, s *stream) *Event {
	ev := &c.sc.event
	*ev = Event{Kind: k, Stream: s.id, User: s.user}
	return ev
}
