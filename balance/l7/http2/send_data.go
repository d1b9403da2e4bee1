package http2

// roomMin is how much room the output must have for a frame that does not hold all that is there to be sent: less
// would make many small frames.
const roomMin = 1024

// SendData sends as much of p as the windows and the output allow, and returns how much that is. With End, which
// counts when all of p was taken, our side of the stream ends. If less was taken, Writable will name the stream when
// there is room again.
func (c *Conn) SendData(id uint32, p []byte, flags Flags) (n int) {
	for {
		m := c.BeginData(id, len(p)-n, flags)
		c.Out = append(c.Out, p[n:n+m]...)
		n += m
		if m == 0 || n == len(p) {
			return n
		}
	}
}

// BeginData is SendData without the data: it appends the header of one frame of up to n bytes to Out and returns how
// many bytes, m, must follow there. It serves those who send data from where it stands, and Out before it; they must
// call it again for the rest.
func (c *Conn) BeginData(id uint32, n int, flags Flags) (m int) {
	s := c.find(id)
	if s == nil || s.sendEnd || c.err != nil || n == 0 && flags&End == 0 {
		return 0
	}
	limit := max(0, c.window(s))
	m = min(n, frameMax, limit)
	if n > 0 && (m <= 0 || m < n && m < roomMin && c.room() < roomMin) {
		c.wait(s)
		return 0
	}
	if m < n && m < smallFrame {
		if c.charge(floodEmpty, costOfFrame); c.err != nil {
			return 0
		}
	} else {
		c.earn(earnedByOutput)
	}
	f := frame{m, typeData, 0, id}
	if m == n && flags&End != 0 {
		f.flags = flagEndStream
	}
	c.Out = appendFrame(c.Out, f)
	c.sendWindow -= int64(m)
	s.sendWindow -= int64(m)
	if f.flags != 0 {
		c.sent(s)
	}
	return m
}

// Window returns how many bytes of data SendData would take now. If there are none, Writable will name the stream when
// that has changed.
func (c *Conn) Window(id uint32) int {
	s := c.find(id)
	if s == nil || s.sendEnd || c.err != nil {
		return 0
	}
	n := c.window(s)
	if n <= 0 {
		c.wait(s)
	}
	return max(0, n)
}

func (c *Conn) window(s *stream) int {
	return int(min(c.sendWindow, s.sendWindow, int64(c.room())))
}

// room returns how much data the output still takes.
func (c *Conn) room() int { return c.set.queue() - len(c.Out) - frameHead }

// wait has Writable name a stream.
func (c *Conn) wait(s *stream) {
	if !s.waiting {
		s.waiting = true
		c.waiting++
	}
}

// Writable returns a stream that was cut short and can send again, each in its turn, and what Bind has said about it.
// It is to be asked, until it says no, after events and after output was sent.
func (c *Conn) Writable() (id uint32, user any, ok bool) {
	if c.waiting == 0 || c.err != nil || c.sendWindow <= 0 || c.room() < roomMin {
		return 0, nil, false
	}
	for range c.live {
		if c.cursor >= len(c.live) {
			c.cursor = 0
		}
		s := c.live[c.cursor]
		c.cursor++
		if s.waiting && s.sendWindow > 0 {
			s.waiting = false
			c.waiting--
			return s.id, s.user, true
		}
	}
	return 0, nil, false
}
