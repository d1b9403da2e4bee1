package l7

import (
	"net/netip"
	"time"
)

// A downstream is the client's side of an exchange: a connection of HTTP/1, or a stream of HTTP/2. Whatever it sends
// may stay with it for a while; as long as it is blocked, nothing more of an answer is given to it, and it calls
// clientFlushed when it is not any more. Methods that report false leave it broken: the exchange then calls lost.
type downstream interface {
	// answer sends a head, if there is one, and the worker's buf[from:to], before which there is room for the head. With
	// end that is the end of the answer.
	answer(head []byte, from, to int, end bool) bool
	// interim sends the head of a 1xx answer.
	interim(head []byte) bool
	// say sends an answer of our own as a whole.
	say(head, body []byte) bool
	// conclude ends an answer whose end the endpoint has told by closing, or that has trailers: lines, which only HTTP/2
	// gets in this way.
	conclude(trailers []byte) bool
	blocked() bool
	progress() time.Duration // when something was last taken while blocked

	// read reads more of the request's body, as HTTP/1.1 has it. Without bytes, open tells whether there may be some
	// later.
	read(buf []byte) (p []byte, open, ok bool)
	// keep takes what was read beyond the request.
	keep(p []byte)
	// pump has readClient called for what can be read.
	pump()

	// watch has clientLost called when the client goes; watched tells whether it is so already.
	watch() bool
	watched() bool
	draining() bool

	lost()      // it broke, or is given up
	abandon()   // the answer can't be completed: the client sees no end of it
	cut()       // the next lost or abandon is seen as a reset
	shutWrite() // ends a tunnel's stream to the client
	over(keepAlive, whole bool)

	peer() netip.AddrPort
	scheme() string
	subject() []byte
}
