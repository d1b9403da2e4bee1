package http2

import (
	"iter"
	"time"

	"github.com/trivet-ha/trivet/balance/l7/http2/hpack"
)

// Conn is the state of one connection. It is for one goroutine.
type Conn struct {
	// Out is what the peer is to be sent. The caller takes bytes from its front as they are sent, and may replace an
	// empty slice by another one, or by nil.
	Out []byte

	set    *Settings
	sc     *Scratch
	client bool
	err    *Error
	now    time.Duration

	in       []byte // the rest of what Receive was given
	state    readState
	got      int             // bytes of the preface or of a frame's header
	header   [frameHead]byte // a header that came in pieces
	frame    frame           // the frame being read
	left     int             // bytes of its data, or to skip
	pad      int             // bytes of padding behind the data
	data     *stream         // whose data it is; nil: nobody wants it
	part     []byte          // a payload that came in pieces
	greeted  bool            // the peer's SETTINGS have come
	sweeping bool            // streams beyond peerLast are to be reported

	block       []byte // a header block that came in pieces
	blockFrame  frame  // the HEADERS frame that began it
	blockFrames int    // how many frames of it have come
	blockOpen   bool   // more must come
	blockSelf   bool   // the stream depends on itself

	dec hpack.Decoder
	enc hpack.Encoder

	live     []*stream // by number
	last     *stream   // found last
	resets   ring      // streams that we have reset
	ends     ring      // streams that ended otherwise
	lastPeer uint32    // the highest stream that the peer has opened
	promised uint32    // the last that the final GOAWAY has named, which must not grow
	nextOwn  uint32    // the next that we open
	heads    int       // bytes of the heads of the live streams
	waiting  int       // streams that were cut short
	cursor   int       // where Writable goes on

	recvWindow int32 // what the peer may send
	credit     int32 // consumed, and not told yet
	sendWindow int64 // what we may send

	peerStreams uint32
	peerWindow  int64
	peerConnect bool   // it takes CONNECT with a protocol
	peerClosing bool   // it has sent GOAWAY
	peerLast    uint32 // the last stream that it will answer then

	shut     shutdown
	debt     time.Duration // see patience.go
	glitches uint64
}

// readState says what the next byte is.
type readState uint8

const (
	readHead    readState = iota // of a frame's header
	readPreface                  // of the client's preface
	readPayload                  // of a payload that is taken as a whole
	readPad                      // how much padding follows the data
	readData                     // of data
	readSkip                     // of something to ignore
)

// shutdown says how far our side has ended the connection.
type shutdown uint8

const (
	shutNot       shutdown = iota
	shutAnnounced          // GOAWAY without a last stream has been sent
	shutFinal              // the last stream has been named
)

// NewServer begins a connection to a client. What is to be sent first stands in Out.
func NewServer(set *Settings, sc *Scratch) *Conn {
	c := newConn(set, sc)
	c.state = readPreface
	c.greet(func(dst []byte) []byte {
		dst = appendSetting(dst, settingStreams, uint32(set.streams()))
		dst = appendSetting(dst, settingNoPriorities, 1)
		if set.WebSocket {
			dst = appendSetting(dst, settingConnect, 1)
		}
		return dst
	})
	return c
}

// NewClient begins a connection to an endpoint. What is to be sent first stands in Out.
func NewClient(set *Settings, sc *Scratch) *Conn {
	c := newConn(set, sc)
	c.client = true
	c.enc.Plain = true
	c.nextOwn = 1
	c.peerStreams = guessedStreams
	c.Out = append(c.Out, preface...)
	c.greet(func(dst []byte) []byte { return appendSetting(dst, settingEnablePush, 0) })
	return c
}

func newConn(set *Settings, sc *Scratch) *Conn {
	return &Conn{set: set, sc: sc, promised: windowMax, recvWindow: windowMin, sendWindow: windowMin, peerWindow: windowMin}
}

// greet appends SETTINGS, and opens the connection's window as far as it is to be.
func (c *Conn) greet(more func([]byte) []byte) {
	at := len(c.Out)
	c.Out = appendFrame(c.Out, frame{kind: typeSettings})
	c.Out = appendSetting(c.Out, settingWindow, uint32(c.set.streamWindow()))
	c.Out = appendSetting(c.Out, settingHeadSize, uint32(c.set.head()))
	c.Out = more(c.Out)
	c.Out[at+2] = byte(len(c.Out) - at - frameHead)
	if n := c.set.connWindow() - windowMin; n > 0 {
		c.Out = appendWindowUpdate(c.Out, 0, n)
		c.recvWindow += n
	}
}

// Err returns the rule that the peer has broken so that the connection can't go on, or nil. It is an *Error. The
// peer is told in Out; after that the connection is to be closed.
func (c *Conn) Err() error {
	if c.err == nil {
		return nil
	}
	return c.err
}

// fail ends the connection.
func (c *Conn) fail(r rule) {
	if c.err != nil {
		return
	}
	c.err = &ruleErrors[r]
	c.in = nil
	c.Out = appendGoAway(c.Out, c.lastStream(), c.err.Code, c.err.Rule)
}

// lastStream returns the highest stream of the peer's that may have been acted upon.
func (c *Conn) lastStream() uint32 { return min(c.lastPeer, c.promised) }

// Full reports whether so much output is waiting that nothing more should be read from the peer, nor from those who
// send to it.
func (c *Conn) Full() bool { return len(c.Out) >= c.set.queue() }

// Len returns the number of streams that are open.
func (c *Conn) Len() int { return len(c.live) }

// Streams returns the streams that are open and what Bind has said about them, the newest first. It may be used to
// reset them.
func (c *Conn) Streams() iter.Seq2[uint32, any] {
	return func(yield func(uint32, any) bool) {
		for i := len(c.live) - 1; i >= 0; i-- {
			if i < len(c.live) && !yield(c.live[i].id, c.live[i].user) {
				return
			}
		}
	}
}

// Bind says what is to stand in the field User of the stream's events.
func (c *Conn) Bind(id uint32, user any) {
	if s := c.find(id); s != nil {
		s.user = user
	}
}

// Reset ends a stream at once, in both directions. With NoError it tells a client whose request has been answered
// that the rest of its body is not wanted (RFC 9113 §8.1). Nothing happens if the stream is closed already.
func (c *Conn) Reset(id uint32, code Code) {
	if s := c.find(id); s != nil && c.err == nil {
		c.Out = appendReset(c.Out, id, code)
		c.close(s, closedByUs)
	}
}

// Ping asks the peer for a sign of life, which comes as KindPong.
func (c *Conn) Ping() {
	if c.err == nil {
		c.Out = appendPing(c.Out, 0, []byte(pingText))
	}
}

// The eight bytes that our pings carry.
const (
	pingText  = "trivet?\n"
	drainText = "trivet.\n"
)

// Drain asks the peer to open no more streams, in a way that loses none: first without naming the last one, then,
// when the peer must have heard of it, with it (RFC 9113 §6.8). The first call asks; the peer's answer, or a second
// call when that takes too long, concludes.
func (c *Conn) Drain() {
	switch {
	case c.err != nil || c.shut == shutFinal:
	case c.client || c.shut == shutAnnounced:
		c.shut = shutFinal
		c.promised = c.lastStream()
		c.Out = appendGoAway(c.Out, c.promised, NoError, "")
	default:
		c.shut = shutAnnounced
		c.Out = appendGoAway(c.Out, windowMax, NoError, "")
		c.Out = appendPing(c.Out, 0, []byte(drainText))
	}
}

// Drained reports whether Drain has concluded and all streams have ended: once Out is sent, nothing is lost by closing
// the connection. A driver does well to let the client close first, within a time limit: requests that some clients
// (net/http's among them) were about to send are then still refused in a way that lets them be sent elsewhere.
func (c *Conn) Drained() bool { return c.shut == shutFinal && len(c.live) == 0 }

// Close tells the peer that the connection ends now, and why. The connection is to be closed when Out is sent.
func (c *Conn) Close(code Code) {
	if c.err == nil {
		c.shut = shutFinal
		c.Out = appendGoAway(c.Out, c.lastStream(), code, "")
	}
}

// Open returns how many more requests may be sent now: 0 from GOAWAY on.
func (c *Conn) Open() int {
	if !c.client || c.err != nil || c.peerClosing || c.shut != shutNot {
		return 0
	}
	return int(max(0, min(int64(c.peerStreams)-int64(len(c.live)), (windowMax-int64(c.nextOwn))/2+1)))
}

// WebSocket reports whether the endpoint takes requests for WebSockets, which is not known before KindSettings.
func (c *Conn) WebSocket() bool { return c.peerConnect }

// Glitches returns how often the peer did what sound peers rarely do.
func (c *Conn) Glitches() uint64 { return c.glitches }
