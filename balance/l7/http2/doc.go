// Package http2 answers what happens on one HTTP/2 connection (RFC 9113) of a proxy: which requests and answers its
// frames carry, what may be sent, and when the peer asks for more than it may have. It plays the server towards
// clients and the client towards endpoints.
//
// It is a protocol engine like package http1: bytes in, events and bytes out. It never reads or writes a connection,
// starts a goroutine or looks at a clock, and it allocates nothing once it has been used for a while. Its input is
// taken in pieces of any size; its output is appended to [Conn.Out].
//
//	c.Receive(p, now)
//	for ev := c.Next(); ev != nil; ev = c.Next() {
//		switch ev.Kind {
//		case http2.KindRequest: // ev.Request is an http1.Request
//		case http2.KindData: // ev.Data; call c.Consumed when it has gone on
//		...
//	}
//	if err := c.Err(); err != nil { ... } // send what is in c.Out, then close
//
// # Heads are texts
//
// A head that has come is given as an [http1.Request] or [http1.Response], and a head to be sent is taken as the text
// that HTTP/1.1 would send: the lines that package http1 appends. So routes, header operations, retries and logs need
// not know which version either side speaks, and which names, hosts, targets and lengths are sound is decided in one
// place. What only HTTP/2 has is translated here: pseudo-header fields are the request line, the status line and Host;
// a body whose length is not declared is Framing chunked; cookies in several fields become one; a WebSocket's CONNECT
// (RFC 8441) is a GET with Upgrade, and its 200 is a 101.
//
// # Back-pressure
//
// A peer may only send what the windows allow, and they open again as the other side takes the bytes: the driver calls
// [Conn.Consumed]. Towards the peer, [Conn.SendData] takes as much as the windows and the output allow; who was cut
// short is told by [Conn.Writable] when there is room again. Whoever drives the engine must not read from a peer while
// [Conn.Full] reports that it does not read what it is sent: that bounds the output, because all answers to a peer's
// frames are of the size of those frames.
//
// # Strictness
//
// A frame or a head that breaks RFC 9113 ends the stream or the connection, with an [Error] that names the rule. Every
// rule is listed, with its reason, in docs/explanation/http2-strictness.md. Peers that are sound but costly (streams
// opened and reset, floods of frames that carry nothing) use up the connection's patience, see [Settings.Patience].
//
// The connection is the caller's: time-outs, keep-alive pings and how long a drained connection may linger are for the
// driver, which has a clock.
package http2
