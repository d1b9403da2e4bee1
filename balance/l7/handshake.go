package l7

import (
	"crypto/tls"
	"errors"
	"io"
	"sync/atomic"
)

// listenerCounters are shared by the workers. They count what is rarer than a request, or costs far more.
type listenerCounters struct {
	bad     atomic.Uint64 // requests refused by the parser
	shaken  atomic.Uint64 // TLS handshakes that came to a connection
	resumed atomic.Uint64 // those among them that a session ticket has shortened
	failed  atomic.Uint64 // those that came to none
}

// shakeHands begins a connection under TLS. The listener's time-out for heads holds for the handshake too: it is
// what an attacker would leave unfinished.
func (c *client) shakeHands() {
	c.state = clientShaking
	if !c.watch() {
		c.hangUp()
		return
	}
	c.arm(c.began, c.lis.Timeouts.Header)
	c.tls = c.w.startTLS(c.FD, c.Peer, tls.Server, c.lis.TLS.Config, c.shaken)
}

// shaken goes on after the handshake.
func (c *client) shaken(err error) {
	c.w.Loop.Disarm(&c.timer)
	c.readable = true
	if err != nil {
		c.unsecured(err)
		return
	}
	c.lis.counters.shaken.Add(1)
	protocol := c.tls.established()
	if c.tls.resumed {
		c.lis.counters.resumed.Add(1)
	}
	c.state, c.began = clientIdle, c.w.Loop.Now()
	if protocol == "h2" && c.lis.HTTP2 != nil {
		c.speakHTTP2(nil)
		return
	}
	c.pump()
}

// plainText is what a client gets that speaks HTTP where TLS is spoken.
const plainText = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 37\r\n\r\n" +
	"this port speaks HTTPS: use https://\n"

// unsecured ends a connection whose handshake has failed. The peer has been told why by an alert, which must reach
// it before the end does.
func (c *client) unsecured(err error) {
	c.lis.counters.failed.Add(1)
	if !errors.Is(err, io.EOF) {
		c.w.srv.log.Debug("TLS handshake failed", "listener", c.lis.Name, "client", c.Peer, "error", err)
	}
	c.tls = nil
	var first tls.RecordHeaderError
	if errors.As(err, &first) && first.Conn != nil && looksLikeHTTP(first.RecordHeader) {
		c.put([]byte(plainText))
	}
	c.finish()
}

// looksLikeHTTP reports whether the first bytes of a connection are those of a request in plain text.
func looksLikeHTTP(head [5]byte) bool {
	switch string(head[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET":
		return true
	}
	return false
}
