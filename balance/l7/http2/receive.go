package http2

import (
	"encoding/binary"
	"time"
)

// outputMax bounds Out for drivers that do not mind Full.
const outputMax = 8 << 20

// Receive takes bytes that the peer has sent. p must not change until Next has returned nil. now is the time since an
// origin that is the same for all calls.
func (c *Conn) Receive(p []byte, now time.Duration) {
	c.now = now
	if len(c.Out) > outputMax {
		c.fail(outputFull)
	}
	if c.err == nil {
		c.in = p
	}
}

// Next returns what has happened, one event after the other, and nil when all that was received has been looked at
// or the connection has failed (see Err).
func (c *Conn) Next() *Event {
	for c.err == nil {
		if c.sweeping {
			if ev := c.sweep(); ev != nil {
				return ev
			}
		}
		ev, more := c.step()
		if ev != nil {
			return ev
		}
		if !more {
			return nil
		}
	}
	return nil
}

// step goes on reading. It reports false when it needs more bytes.
func (c *Conn) step() (ev *Event, more bool) {
	switch c.state {
	case readPreface:
		return nil, c.stepPreface()
	case readHead:
		if !c.takeHead() {
			return nil, false
		}
		return c.begin(), true
	case readPayload:
		p, ok := c.takePayload()
		if !ok {
			return nil, false
		}
		c.state = readHead
		ev = c.handle(p)
		if c.part != nil {
			c.sc.giveBytes(c.part)
			c.part = nil
		}
		return ev, true
	case readPad:
		return c.stepPad()
	case readData:
		return c.stepData()
	}
	n := min(c.left, len(c.in))
	c.in = c.in[n:]
	if c.left -= n; c.left > 0 {
		return nil, false
	}
	c.state = readHead
	return nil, true
}

func (c *Conn) stepPreface() bool {
	for len(c.in) > 0 && c.got < len(preface) {
		if c.in[0] != preface[c.got] {
			c.fail(badPreface)
			return false
		}
		c.in = c.in[1:]
		c.got++
	}
	if c.got < len(preface) {
		return false
	}
	c.state, c.got = readHead, 0
	return true
}

// takeHead reads a frame's header.
func (c *Conn) takeHead() bool {
	if c.got == 0 && len(c.in) >= frameHead {
		c.frame = parseFrame(c.in)
		c.in = c.in[frameHead:]
		return true
	}
	n := copy(c.header[c.got:], c.in)
	c.in = c.in[n:]
	if c.got += n; c.got < frameHead {
		return false
	}
	c.got = 0
	c.frame = parseFrame(c.header[:])
	return true
}

// takePayload returns the frame's payload once it is there as a whole.
func (c *Conn) takePayload() ([]byte, bool) {
	n := c.frame.length - len(c.part)
	if len(c.in) < n {
		if c.part == nil {
			c.part = c.sc.takeBytes()
		}
		c.part = append(c.part, c.in...)
		c.in = nil
		return nil, false
	}
	p := c.in[:n:n]
	c.in = c.in[n:]
	if c.part == nil {
		return p, true
	}
	c.part = append(c.part, p...)
	return c.part, true
}

// begin looks at the header of a frame.
func (c *Conn) begin() *Event {
	if r := c.frameRule(); r != none {
		c.fail(r)
		return nil
	}
	switch {
	case c.frame.kind == typeData:
		return c.beginData()
	case c.frame.kind > typeContinuation: // RFC 9113 §4.1: ignored
		c.charge(floodControl, costOfFrame)
		c.state, c.left = readSkip, c.frame.length
	default:
		c.state = readPayload
	}
	return nil
}

// frameRule returns the rule that a frame breaks by its header alone.
func (c *Conn) frameRule() rule {
	f := &c.frame
	switch {
	case f.length > frameMax:
		return frameTooLong
	case !c.greeted && (f.kind != typeSettings || f.has(flagAck)):
		return settingsFirst
	case c.blockOpen && (f.kind != typeContinuation || f.stream != c.blockFrame.stream):
		return continuationMissing
	}
	n, ofStream := -1, true
	switch f.kind {
	case typePriority:
		n = 5
	case typeReset, typeWindowUpdate:
		n = 4
	case typePing:
		n = 8
	case typeSettings:
		n = f.length - f.length%6
		if f.has(flagAck) {
			n = 0
		}
	case typeGoAway:
		n = max(f.length, 8)
	case typePushPromise:
		return pushPromise
	case typeContinuation:
		if !c.blockOpen {
			return continuationStray
		}
	}
	switch f.kind {
	case typeSettings, typePing, typeGoAway:
		ofStream = false
	case typeWindowUpdate:
		ofStream = f.stream != 0
	}
	switch {
	case n >= 0 && n != f.length:
		return frameSize
	case ofStream && f.stream == 0 && f.kind <= typeContinuation:
		return frameNoStream
	case !ofStream && f.stream != 0:
		return frameStream
	}
	return none
}

// handle looks at a frame other than DATA.
func (c *Conn) handle(p []byte) *Event {
	switch c.frame.kind {
	case typeHeaders:
		return c.onHeaders(p)
	case typeContinuation:
		return c.onContinuation(p)
	case typeReset:
		return c.onReset(Code(binary.BigEndian.Uint32(p)))
	case typeSettings:
		return c.onSettings(p)
	case typePing:
		return c.onPing(p)
	case typeGoAway:
		return c.onGoAway(p)
	case typeWindowUpdate:
		return c.onWindowUpdate(int64(binary.BigEndian.Uint32(p) & windowMax))
	}
	return c.onPriority(binary.BigEndian.Uint32(p) & windowMax)
}
