package http2

import "time"

// What uses up a connection's patience, and what earns it back. A sound peer may do each of these things now and then;
// together they are the floods of CVE-2019-9511 to 9518, CVE-2023-44487 (rapid reset) and CVE-2025-8671 (made you
// reset).
//
// The numbers let a peer go on for ever that sends a window update for the stream and one for the connection with each
// frame of data it gets, that pings for each frame of data it sends (as gRPC does to measure the way), or that resets
// half of its requests.
const (
	costOfFrame    = 1  // a frame that carries nothing: PING, PRIORITY, WINDOW_UPDATE, empty DATA, unknown ones
	costOfRefusal  = 2  // a request above the announced limits
	costOfSettings = 10 // SETTINGS, after the first
	costOfReset    = 10 // a stream that is reset before its answer, or that breaks a rule
	earnedByAnswer = 10 // a stream that both sides have ended
	earnedByInput  = 1  // a frame of data that has come
	earnedByOutput = 2  // a frame of data that is sent
)

// prematureReset is how long a stream must have lived so that its reset costs nothing: the limit of concurrent streams
// bounds those well enough.
const prematureReset = time.Second

// smallFrame is what counts as a small frame when the peer's windows force us to send one (CVE-2019-9511).
const smallFrame = 256

// smallUpdate is what a window update must open the window by to cost nothing. Such updates are bounded by what has been
// sent, as a window must not overflow. A client that reads a large answer out of its own memory sends one for each 4 KiB
// (net/http's does), long after the frames have come that it stands for.
const smallUpdate = 1024

// charge uses up patience, and ends the connection if none is left. The debt is kept as the time at which it will be
// paid off.
func (c *Conn) charge(r rule, n int) {
	if r != floodControl {
		c.glitches++
	}
	c.debt = max(c.debt, c.now) + time.Duration(n)*patiencePause
	if c.debt-c.now > c.set.patience() {
		c.fail(r)
	}
}

// earn gives patience back.
func (c *Conn) earn(n int) {
	if c.debt > c.now {
		c.debt -= time.Duration(n) * patiencePause
	}
}
