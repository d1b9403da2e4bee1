package http2

import (
	"time"

	"github.com/trivet-ha/trivet/balance/l7/http1"
)

// Settings say what a peer may use. They may be shared by any number of connections, and must not change. The zero
// value gives the defaults.
type Settings struct {
	// Limits bound heads, as for HTTP/1.1. Limits.Head is announced as SETTINGS_MAX_HEADER_LIST_SIZE, which counts 32
	// bytes a field on top (RFC 9113 §10.5.1).
	Limits http1.Limits

	Streams      int // concurrent requests; 0: DefaultStreams
	Heads        int // bytes of the heads of all open requests together; 0: DefaultHeads
	StreamWindow int // bytes of a body that may wait to be consumed, at least 65535; 0: DefaultStreamWindow
	ConnWindow   int // the same for all bodies of a connection together; 0: DefaultConnWindow
	Queue        int // bytes of output from which on no data is taken, at least 16 KiB; 0: DefaultQueue

	// Patience is how many frames that carry nothing a connection may send in a burst; 0: DefaultPatience. A stream
	// that is opened only to be reset counts as ten. What is useful earns patience back, and so does time: 100 a
	// second.
	Patience int

	// WebSocket lets clients open WebSockets (RFC 8441). The server side then announces it.
	WebSocket bool
}

// The values that apply where [Settings] say zero.
const (
	DefaultStreams      = 128       // RFC 9113 §6.5.2 advises 100 at least; nginx has 128
	DefaultHeads        = 1 << 20   // 8 KiB for each of DefaultStreams
	DefaultStreamWindow = 256 << 10 // 5 MB/s at 50 ms of round trip
	DefaultConnWindow   = 1 << 20   // four streams that stall do not stop the others
	DefaultQueue        = 256 << 10 // a few writes of a busy socket
	DefaultPatience     = 2000      // a browser that leaves a page may reset DefaultStreams at once
)

const (
	windowMin     = 65535             // where every window begins (RFC 9113 §6.9.2)
	windowMax     = 1<<31 - 1         // RFC 9113 §6.9.1
	frameMax      = 16384             // bytes of a frame's payload, received and sent: the least that peers must take
	blockFrames   = 32                // frames of one header block
	patiencePause = time.Second / 100 // what one unit of patience takes to come back
	resetsKept    = 128               // streams that we have reset, for which frames may still be under way
	endsKept      = 16                // closed streams that are told from those that never were
	queueMin      = 16 << 10

	// guessedStreams is how many streams a server takes before its SETTINGS have told (RFC 9113 §6.5.2).
	guessedStreams = 100
	// interimMax bounds the 1xx answers to one request.
	interimMax = 32
)

func orDefault(n, standard int) int {
	if n > 0 {
		return n
	}
	return standard
}

func (s *Settings) streams() int { return orDefault(s.Streams, DefaultStreams) }

func (s *Settings) heads() int { return orDefault(s.Heads, DefaultHeads) }

func (s *Settings) queue() int { return max(queueMin, orDefault(s.Queue, DefaultQueue)) }

func (s *Settings) head() int { return orDefault(s.Limits.Head, http1.DefaultHead) }

func (s *Settings) streamWindow() int32 { return window(s.StreamWindow, DefaultStreamWindow) }

func (s *Settings) connWindow() int32 { return window(s.ConnWindow, DefaultConnWindow) }

func window(n, standard int) int32 {
	return int32(min(max(orDefault(n, standard), windowMin), windowMax))
}

// patience returns the debt in time that a connection may have.
func (s *Settings) patience() time.Duration {
	return time.Duration(orDefault(s.Patience, DefaultPatience)) * patiencePause
}
