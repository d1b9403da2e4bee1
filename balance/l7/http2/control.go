package http2

import "encoding/binary"

func (c *Conn) onReset(code Code) *Event {
	s := c.find(c.frame.stream)
	if s == nil {
		if c.idle(c.frame.stream) {
			c.fail(streamIdle)
		} else {
			c.charge(floodControl, costOfFrame)
		}
		return nil
	}
	ev := c.event(KindReset, s)
	ev.Code = code
	ev.Unprocessed = c.client && code == RefusedStream
	premature := !c.client && !s.answered && c.now-s.opened < prematureReset
	c.close(s, closedByPeer)
	if premature {
		c.charge(floodResets, costOfReset)
	}
	return ev
}

// onPriority ignores what a stream depends on (RFC 9113 §5.3.2), unless it is itself.
func (c *Conn) onPriority(parent uint32) *Event {
	c.charge(floodControl, costOfFrame)
	if parent != c.frame.stream {
		return nil
	}
	if s := c.find(c.frame.stream); s != nil {
		return c.breakStream(s, selfDependency)
	}
	c.fail(selfDependency)
	return nil
}

func (c *Conn) onSettings(p []byte) *Event {
	if c.frame.has(flagAck) {
		c.charge(floodControl, costOfFrame)
		return nil
	}
	if c.greeted {
		c.charge(floodControl, costOfSettings)
	}
	c.greeted = true
	window := c.peerWindow
	for ; len(p) > 0; p = p[6:] {
		id, value := setting(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:])
		if r := c.setting(id, value, &window); r != none {
			c.fail(r)
			return nil
		}
	}
	if !c.moveWindows(window) {
		c.fail(streamWindowOverflow)
		return nil
	}
	c.Out = appendFrame(c.Out, frame{0, typeSettings, flagAck, 0})
	c.sc.event = Event{Kind: KindSettings}
	return &c.sc.event
}

// setting takes one of the peer's settings. Those that are not known are ignored.
func (c *Conn) setting(id setting, value uint32, window *int64) rule {
	switch id {
	case settingTableSize:
		c.enc.SetLimit(value)
	case settingEnablePush:
		if value > 1 || c.client && value > 0 {
			return settingPush
		}
	case settingStreams:
		c.peerStreams = value
	case settingWindow:
		if value > windowMax {
			return settingWindowValue
		}
		*window = int64(value)
	case settingFrameSize:
		if value < frameMax || value >= 1<<24 {
			return settingFrameValue
		}
	case settingConnect:
		if value > 1 || value == 0 && c.peerConnect {
			return settingConnectValue
		}
		c.peerConnect = value == 1
	}
	return none
}

// moveWindows changes what every stream may send (RFC 9113 §6.9.2). Once for a frame, whatever it holds: with many
// streams it is the costly part.
func (c *Conn) moveWindows(to int64) bool {
	by := to - c.peerWindow
	c.peerWindow = to
	if by == 0 {
		return true
	}
	for _, s := range c.live {
		if s.sendWindow += by; s.sendWindow > windowMax {
			return false
		}
	}
	return true
}

func (c *Conn) onPing(p []byte) *Event {
	if !c.frame.has(flagAck) {
		c.charge(floodControl, costOfFrame)
		if c.err == nil {
			c.Out = appendPing(c.Out, flagAck, p)
		}
		return nil
	}
	switch string(p) {
	case drainText:
		if c.shut == shutAnnounced {
			c.Drain()
			return nil
		}
	case pingText:
		c.sc.event = Event{Kind: KindPong}
		return &c.sc.event
	}
	c.charge(floodControl, costOfFrame)
	return nil
}

func (c *Conn) onGoAway(p []byte) *Event {
	last := binary.BigEndian.Uint32(p) & windowMax
	if c.peerClosing {
		last = min(last, c.peerLast)
		c.charge(floodControl, costOfFrame)
	}
	c.peerClosing, c.peerLast = true, last
	c.sweeping = c.client
	ev := &c.sc.event
	*ev = Event{Kind: KindGoAway, Stream: last, Code: Code(binary.BigEndian.Uint32(p[4:])), Data: p[8:]}
	return ev
}

// sweep reports a stream that the peer will not answer after its GOAWAY, if there is one left.
func (c *Conn) sweep() *Event {
	if n := len(c.live); n > 0 && c.live[n-1].id > c.peerLast {
		s := c.live[n-1]
		ev := c.event(KindReset, s)
		ev.Code, ev.Unprocessed = RefusedStream, true
		c.close(s, closedByUs)
		return ev
	}
	c.sweeping = false
	return nil
}

func (c *Conn) onWindowUpdate(n int64) *Event {
	if n < smallUpdate {
		c.charge(floodControl, costOfFrame)
	}
	if c.frame.stream == 0 {
		switch c.sendWindow += n; {
		case n == 0:
			c.fail(windowZero)
		case c.sendWindow > windowMax:
			c.fail(windowOverflow)
		}
		return nil
	}
	s := c.find(c.frame.stream)
	if s == nil {
		if c.idle(c.frame.stream) {
			c.fail(streamIdle)
		} else if n >= smallUpdate {
			c.charge(floodControl, costOfFrame)
		}
		return nil
	}
	switch s.sendWindow += n; {
	case n == 0:
		return c.breakStream(s, streamWindowZero)
	case s.sendWindow > windowMax:
		return c.breakStream(s, streamWindowOverflow)
	}
	return nil
}
