package http2

import (
	"github.com/trivet-ha/trivet/balance/l7/http1"
)

// Kind says what an [Event] tells.
type Kind uint8

// The kinds of events.
const (
	// KindRequest: a client has begun a request, whose head is in Request.
	KindRequest Kind = iota
	// KindRefused: a client has begun a request that is sound HTTP/2, but whose head is refused, by Refusal. It is to
	// be answered with Refusal.Status, or reset. Its body, if any, is discarded.
	KindRefused
	// KindResponse: an endpoint has answered; Data is the head as HTTP/1.1 has it. Response.Interim tells whether a
	// further answer follows.
	KindResponse
	// KindData: a part of a body has come, in Data. It may be empty when it ends the body.
	KindData
	// KindTrailers: the trailers of a body have come, in Data, as lines that may go on. They always end it.
	KindTrailers
	// KindReset: the stream is gone, as the peer wants (Code), or because it broke a rule (Err or Refusal). From an
	// endpoint whose answer is complete, NoError only says that it does not want the rest of the request. A stream that
	// broke a rule with its first head has not been heard of before, and has no User.
	KindReset
	// KindGoAway: the peer accepts no more requests; those above its last are reset, by further events. Data holds what
	// it says, for people.
	KindGoAway
	// KindSettings: the peer's SETTINGS have come; see [Conn.Open] and [Conn.WebSocket].
	KindSettings
	// KindPong: an answer to [Conn.Ping].
	KindPong
)

var kindTexts = [...]string{"request", "refused", "response", "data", "trailers", "reset", "goaway", "settings", "pong"}

func (k Kind) String() string {
	if int(k) < len(kindTexts) {
		return kindTexts[k]
	}
	return "unknown"
}

// Event is something that has happened on a connection. What it points to holds until the next call of [Conn.Next] of
// any connection with the same [Scratch].
type Event struct {
	Kind   Kind
	Stream uint32 // 0 if it is about the connection
	User   any    // what Bind said about the stream

	Request  *http1.Request  // KindRequest
	Response *http1.Response // KindResponse
	Data     []byte          // KindData: a part of what Receive was given; KindResponse, KindTrailers: lines

	End       bool // the peer's side of the stream ends with this
	Secure    bool // KindRequest: the scheme is https
	ToHEAD    bool // KindRefused: the request is HEAD, so that its answer may have no body
	Sensitive bool // a head: the sender wants values in no table; pass it on as the flag Sensitive

	Code        Code         // KindReset, KindGoAway
	Unprocessed bool         // KindReset: the peer has not looked at the request; it may be sent again, whatever it is
	Err         *Error       // KindReset: the rule that the peer has broken; nil if it has reset the stream itself
	Refusal     *http1.Error // KindRefused; KindReset: the answer's head was refused
}

// Flags are what may be said about what is sent.
type Flags uint8

// The flags.
const (
	End       Flags = 1 << iota // nothing follows on this stream
	Sensitive                   // a head: keep its values out of compression tables, see Event.Sensitive
	Secure                      // a request: its scheme is https
)

// Scratch is memory that connections use while they read and write. Any number of connections of one goroutine may
// share it, if the events of one are dealt with before the next is asked for its own: so give the connections to
// clients and those to endpoints one each. The zero value is ready.
type Scratch struct {
	event Event
	head  headReader
	write headWriter
	spare []byte    // for frames that come in pieces
	free  []*stream // for streams to come
}

// freeMax bounds the streams that a Scratch keeps for later.
const freeMax = 1024

func (sc *Scratch) takeStream() *stream {
	if n := len(sc.free); n > 0 {
		s := sc.free[n-1]
		sc.free = sc.free[:n-1]
		return s
	}
	return new(stream)
}

func (sc *Scratch) giveStream(s *stream) {
	*s = stream{}
	if len(sc.free) < freeMax {
		sc.free = append(sc.free, s)
	}
}

// takeBytes returns an empty slice that giveBytes has been given, or nil.
func (sc *Scratch) takeBytes() []byte {
	p := sc.spare
	sc.spare = nil
	return p
}

func (sc *Scratch) giveBytes(p []byte) {
	if cap(p) > cap(sc.spare) {
		sc.spare = p[:0]
	}
}
