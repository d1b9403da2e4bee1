package http2

import (
	"encoding/binary"

	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/balance/l7/http2/hpack"
)

// onHeaders begins a header block.
func (c *Conn) onHeaders(p []byte) *Event {
	pad := 0
	if c.frame.has(flagPadded) {
		if len(p) == 0 {
			c.fail(frameSize)
			return nil
		}
		pad, p = int(p[0]), p[1:]
	}
	c.blockSelf = false
	if c.frame.has(flagPriority) {
		if len(p) < 5 {
			c.fail(frameSize)
			return nil
		}
		c.blockSelf = binary.BigEndian.Uint32(p)&windowMax == c.frame.stream
		p = p[5:]
	}
	if pad > len(p) {
		c.fail(framePadding)
		return nil
	}
	c.blockFrame, c.blockFrames = c.frame, 0
	return c.onContinuation(p[:len(p)-pad])
}

// onContinuation takes a part of a header block. What comes in one piece, which is nearly all, is not copied.
func (c *Conn) onContinuation(p []byte) *Event {
	c.blockFrames++
	end := c.frame.has(flagEndHeaders)
	if !end && c.block == nil {
		c.block = c.sc.takeBytes()
	}
	if !end || len(c.block) > 0 {
		c.block = append(c.block, p...)
		p = c.block
	}
	if c.blockFrames > blockFrames || len(p) > 2*max(c.set.head(), frameMax) {
		c.fail(blockSize)
		return nil
	}
	c.blockOpen = !end
	if !end {
		return nil
	}
	var ev *Event
	if c.client {
		ev = c.onAnswerBlock(p)
	} else {
		ev = c.onRequestBlock(p)
	}
	if c.block != nil {
		c.sc.giveBytes(c.block)
		c.block = nil
	}
	return ev
}

// onRequestBlock looks at a header block from a client.
func (c *Conn) onRequestBlock(p []byte) *Event {
	id := c.blockFrame.stream
	s := c.find(id)
	switch {
	case s != nil:
		return c.onTrailers(s, p)
	case id&1 == 0:
		c.fail(streamID)
	case id > c.lastPeer:
		return c.onRequest(id, p)
	default:
		c.onClosedBlock(id, p)
	}
	return nil
}

// onClosedBlock looks at a header block for a stream that is closed. The blocks that are still under way when we reset
// one must be read for the sake of the table (RFC 9113 §5.1).
func (c *Conn) onClosedBlock(id uint32, p []byte) {
	switch how := c.closing(id); {
	case how == closedByUs || how == closedUnknown && c.client:
		c.decode(skipped, p)
		c.charge(floodControl, costOfFrame)
	case how == closedByPeer:
		c.fail(streamReused)
	default:
		c.fail(streamID)
	}
}

// onRequest begins a stream.
func (c *Conn) onRequest(id uint32, p []byte) *Event {
	r, kind := c.admission(), request
	if r != none {
		kind = skipped
	}
	if !c.decode(kind, p) {
		return nil
	}
	c.lastPeer = id
	if r != none {
		return c.refuse(id, r, costOfRefusal)
	}
	h := &c.sc.head
	if h.broken == none && c.blockSelf {
		h.broken = selfDependency
	}
	refusal := h.concludeRequest(&c.set.Limits)
	if h.broken != none {
		return c.refuse(id, h.broken, costOfReset)
	}
	s := c.open(id)
	s.recvEnd = h.end
	if refusal != nil {
		s.discard = true
		ev := c.event(KindRefused, s)
		ev.Refusal, ev.End, ev.ToHEAD = refusal, h.end, string(h.method) == "HEAD"
		return ev
	}
	s.head = h.size
	c.heads += h.size
	s.tunnel = h.protocol != nil
	if h.req.Framing == http1.FramingLength && !s.tunnel {
		s.left = h.req.Length
	}
	ev := c.event(KindRequest, s)
	ev.Request, ev.End, ev.Sensitive, ev.Secure = &h.req, h.end, h.sensitive, h.secure
	return ev
}

// admission returns the rule by which no further stream may be opened now.
func (c *Conn) admission() rule {
	switch {
	case c.shut == shutFinal:
		return draining
	case len(c.live) >= c.set.streams():
		return streamLimit
	case c.heads >= c.set.heads():
		return headMemory
	}
	return none
}

// onAnswerBlock looks at a header block from an endpoint.
func (c *Conn) onAnswerBlock(p []byte) *Event {
	id := c.blockFrame.stream
	s := c.find(id)
	switch {
	case s == nil && c.idle(id):
		c.fail(streamIdle)
		return nil
	case s == nil:
		c.onClosedBlock(id, p)
		return nil
	case s.answered || s.recvEnd:
		return c.onTrailers(s, p)
	}
	h := &c.sc.head
	h.toHEAD, h.tunnel = s.toHEAD, s.tunnel
	if !c.decode(answer, p) {
		return nil
	}
	refusal := h.concludeAnswer(&c.set.Limits)
	if h.broken == none && h.resp.Interim() {
		if s.interims++; s.interims > interimMax {
			h.broken = interimCount
		}
	}
	if h.broken != none {
		ev := c.breakStream(s, h.broken)
		ev.Refusal = refusal
		return ev
	}
	ev := c.event(KindResponse, s)
	ev.Response, ev.Data, ev.End, ev.Sensitive = &h.resp, h.text, h.end, h.sensitive
	if !h.resp.Interim() {
		s.answered = true
		s.left = h.bodyLength()
	}
	if h.end {
		c.ended(s)
	}
	return ev
}

// onTrailers looks at a header block that comes after the head.
func (c *Conn) onTrailers(s *stream, p []byte) *Event {
	h := &c.sc.head
	if !c.decode(trailers, p) {
		return nil
	}
	h.text = append(h.text, "\r\n"...)
	switch {
	case s.recvEnd:
		return c.breakStream(s, streamClosed)
	case c.blockSelf:
		return c.breakStream(s, selfDependency)
	case h.broken != none:
		return c.breakStream(s, h.broken)
	case h.over:
		return c.breakStream(s, trailerSize)
	case !h.end:
		return c.breakStream(s, trailersEnd)
	case s.left > 0:
		return c.breakStream(s, lengthMismatch)
	}
	ev := c.event(KindTrailers, s)
	ev.Data, ev.End = h.text, true
	if s.discard {
		ev = nil
	}
	c.ended(s)
	return ev
}

// decode reads a header block into the scratch memory. It reports false if the connection has failed.
func (c *Conn) decode(kind blockKind, p []byte) bool {
	h := &c.sc.head
	h.begin(kind, c)
	c.dec.Begin()
	for len(p) > 0 {
		n, ok, err := c.dec.Next(p, &h.field)
		if err != nil {
			c.fail(hpackTruncated + rule(err.(hpack.Error)-hpack.ErrTruncated))
			return false
		}
		p = p[n:]
		if ok && h.broken == none && kind != skipped {
			h.broken = h.take(&h.field)
		}
	}
	return true
}
