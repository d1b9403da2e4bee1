package http2

// beginData looks at the header of a DATA frame. What nobody wants still counts for the connection's window
// (RFC 9113 §6.9).
func (c *Conn) beginData() *Event {
	n := c.frame.length
	if n > int(c.recvWindow) {
		c.fail(windowExceeded)
		return nil
	}
	c.recvWindow -= int32(n)
	c.state, c.left, c.pad, c.data = readData, n, 0, nil
	if c.frame.has(flagPadded) {
		if n == 0 {
			c.fail(frameSize)
			return nil
		}
		c.state = readPad
	}
	s := c.find(c.frame.stream)
	if s == nil {
		return c.strayData()
	}
	switch {
	case s.recvEnd:
		return c.breakStream(s, streamClosed)
	case c.client && !s.answered:
		return c.breakStream(s, answerMissing)
	case n > int(s.recvWindow):
		return c.breakStream(s, streamWindowExceeded)
	}
	s.recvWindow -= int32(n)
	c.data = s
	if c.state == readData {
		return c.measure(s)
	}
	return nil
}

// measure compares the length of a frame's data, once it is known, with what Content-Length has left to come.
func (c *Conn) measure(s *stream) *Event {
	n := int64(c.left)
	if s.left < 0 {
		return nil
	}
	if n > s.left || n < s.left && c.frame.has(flagEndStream) {
		return c.breakStream(s, lengthMismatch)
	}
	s.left -= n
	return nil
}

// strayData looks at data for a stream that is not open.
func (c *Conn) strayData() *Event {
	id := c.frame.stream
	switch {
	case c.idle(id):
		c.fail(streamIdle)
	case c.closing(id) == closedByUs:
		c.charge(floodControl, costOfFrame)
	default:
		return c.refuse(id, streamEnded, costOfReset)
	}
	return nil
}

// stepPad reads the length of the padding, which is consumed at once.
func (c *Conn) stepPad() (*Event, bool) {
	if len(c.in) == 0 {
		return nil, false
	}
	c.pad = int(c.in[0])
	c.in = c.in[1:]
	if c.left -= 1 + c.pad; c.left < 0 {
		c.fail(framePadding)
		return nil, false
	}
	c.state = readData
	c.creditConn(int32(1 + c.pad))
	if c.data != nil {
		c.creditStream(c.data, int32(1+c.pad))
		return c.measure(c.data), true
	}
	return nil, true
}

// stepData passes on the data that is there.
func (c *Conn) stepData() (*Event, bool) {
	n := min(c.left, len(c.in))
	if n == 0 && c.left > 0 {
		return nil, false
	}
	p := c.in[:n:n]
	c.in = c.in[n:]
	s := c.data
	if c.left -= n; c.left == 0 {
		c.state, c.left, c.data = readSkip, c.pad, nil
	}
	if s == nil {
		c.creditConn(int32(n))
		return nil, true
	}
	return c.pass(s, p, c.state == readSkip && c.frame.has(flagEndStream)), true
}

// pass gives data of a stream to the driver.
func (c *Conn) pass(s *stream, p []byte, end bool) *Event {
	s.held += int32(len(p))
	if len(p) > 0 {
		c.earn(earnedByInput)
	} else if !end {
		c.charge(floodEmpty, costOfFrame)
		return nil
	}
	ev := c.event(KindData, s)
	ev.Data, ev.End = p, end
	if s.discard {
		c.creditConn(s.held)
		s.held = 0
		ev = nil
	}
	if end {
		c.ended(s)
	}
	return ev
}

// Consumed tells that n bytes of a stream's data have gone on, so that the peer may send as many. The bytes of a
// stream that is closed need not be reported.
func (c *Conn) Consumed(id uint32, n int) {
	s := c.find(id)
	if s == nil || c.err != nil {
		return
	}
	n = min(n, int(s.held))
	s.held -= int32(n)
	c.creditConn(int32(n))
	c.creditStream(s, int32(n))
}

// creditConn gives the connection's window back, half a window at a time.
func (c *Conn) creditConn(n int32) {
	c.credit += n
	if c.credit >= c.set.connWindow()/2 && c.err == nil {
		c.Out = appendWindowUpdate(c.Out, 0, c.credit)
		c.recvWindow += c.credit
		c.credit = 0
	}
}

// creditStream does the same for a stream.
func (c *Conn) creditStream(s *stream, n int32) {
	s.credit += n
	if !s.recvEnd && s.credit >= c.set.streamWindow()/2 && c.err == nil {
		c.Out = appendWindowUpdate(c.Out, s.id, s.credit)
		s.recvWindow += s.credit
		s.credit = 0
	}
}
