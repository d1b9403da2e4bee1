package l7

import (
	"net/netip"
	"time"

	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/balance/l7/http2"
	"github.com/trivet-ha/trivet/internal/edge"
)

// A Listener says where requests come in and what is done with them. It is immutable once it has been given
// to a Server; a reload gives a new one of the same name.
type Listener struct {
	Name      string
	Addresses []string // "host:port", ":port", "[::1]:80", "unix:/path"
	Routes    []*Route // first match wins

	Limits       http1.Limits
	BodyMax      int64 // bytes of a request body; 0 is no limit
	Timeouts     Timeouts
	MaxConns     int // open client connections; 0 is no limit
	MaxPerSource int // open client connections of one address; 0 is no limit

	Trusted   []netip.Prefix // proxies whose forwarding fields are believed
	Forward   Forward
	RequestID RequestID
	Access    Access
	Log       *AccessLog      // nil: no access log
	TLS       *TLS            // nil: plain text
	HTTP2     *http2.Settings // nil: HTTP/1 only

	index    routeIndex
	server   *Server
	counters *listenerCounters // outlive the Listener
	unrouted *routeStats       // counts what no route took
}

// Timeouts bound the client's side of a connection. Zero means no limit.
type Timeouts struct {
	Header    time.Duration // from the first byte of a request to the end of its head
	Idle      time.Duration // between two requests
	BodyIdle  time.Duration // without a byte of a request body
	WriteIdle time.Duration // without the client taking a byte of the answer
	MinRate   int64         // bytes per second of a request body, averaged since its begin; 0 is none
}

// Forward says what an endpoint is told of the client.
type Forward struct {
	XForwarded ForwardMode // X-Forwarded-For, -Proto, -Host
	RFC7239    bool        // Forwarded
}

// ForwardMode says what becomes of forwarding fields.
type ForwardMode uint8

// What a forwarding field from outside is worth: it is kept and added to if the peer is a trusted proxy, and
// replaced otherwise. ForwardReplace trusts nobody; ForwardOff passes the fields through untouched.
const (
	ForwardAppend ForwardMode = iota
	ForwardReplace
	ForwardOff
)

// RequestID names the field that carries a request's identity. An empty Header sends none.
type RequestID struct {
	Header string
	Trust  bool // keep the one that the client sent
}

// Access allows or denies by source address.
type Access = edge.Access
