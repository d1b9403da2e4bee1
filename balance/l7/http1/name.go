package http1

import "encoding/binary"

// Name is a field name that the engine knows, or Other.
//
// A known name is either hop-by-hop always, or end-to-end always: what a
// Connection field says about it makes no difference. So a client can't have
// a field such as X-Forwarded-For taken away by nominating it
// (CVE-2024-45410). No known name may come in a trailer section.
type Name uint8

// The known names.
const (
	Other Name = iota

	// Never forwarded: RFC 9110 §7.6.1, RFC 7540 §3.2.1, and Proxy, which
	// CGI would turn into HTTP_PROXY (CVE-2016-5385).
	Connection
	KeepAlive
	ProxyConnection
	TransferEncoding
	TE
	Upgrade
	HTTP2Settings
	ProxyAuthenticate
	ProxyAuthorization
	Proxy

	// Framing, routing and expectations.
	ContentLength
	Host
	Expect
	Trailer // not forwarded unless the body is chunked
	MaxForwards

	// What proxies tell the next hop.
	Forwarded
	XForwardedFor
	XForwardedHost
	XForwardedProto
	XForwardedPort
	XRealIP
	Via
	XRequestID
	TraceParent
	TraceState

	// Credentials and state.
	Authorization
	WWWAuthenticate
	Cookie
	SetCookie

	// Conditions, ranges and caching.
	CacheControl
	Pragma
	Age
	Expires
	Vary
	Warning
	ETag
	LastModified
	IfMatch
	IfNoneMatch
	IfModifiedSince
	IfUnmodifiedSince
	IfRange
	Range

	// About the content and the two ends.
	ContentType
	ContentEncoding
	ContentRange
	Accept
	AcceptEncoding
	AcceptLanguage
	UserAgent
	Referer
	Origin
	Date
	Server
	Location
	RetryAfter

	// WebSocket: RFC 6455 §11.3.
	SecWebSocketKey
	SecWebSocketAccept
	SecWebSocketVersion
	SecWebSocketProtocol
	SecWebSocketExtensions

	nameCount
)

const (
	firstHop = Connection
	lastHop  = Proxy
)

var nameTexts = [nameCount]string{
	Connection:             "Connection",
	KeepAlive:              "Keep-Alive",
	ProxyConnection:        "Proxy-Connection",
	TransferEncoding:       "Transfer-Encoding",
	TE:                     "TE",
	Upgrade:                "Upgrade",
	HTTP2Settings:          "HTTP2-Settings",
	ProxyAuthenticate:      "Proxy-Authenticate",
	ProxyAuthorization:     "Proxy-Authorization",
	Proxy:                  "Proxy",
	ContentLength:          "Content-Length",
	Host:                   "Host",
	Expect:                 "Expect",
	Trailer:                "Trailer",
	MaxForwards:            "Max-Forwards",
	Forwarded:              "Forwarded",
	XForwardedFor:          "X-Forwarded-For",
	XForwardedHost:         "X-Forwarded-Host",
	XForwardedProto:        "X-Forwarded-Proto",
	XForwardedPort:         "X-Forwarded-Port",
	XRealIP:                "X-Real-IP",
	Via:                    "Via",
	XRequestID:             "X-Request-ID",
	TraceParent:            "Traceparent",
	TraceState:             "Tracestate",
	Authorization:          "Authorization",
	WWWAuthenticate:        "WWW-Authenticate",
	Cookie:                 "Cookie",
	SetCookie:              "Set-Cookie",
	CacheControl:           "Cache-Control",
	Pragma:                 "Pragma",
	Age:                    "Age",
	Expires:                "Expires",
	Vary:                   "Vary",
	Warning:                "Warning",
	ETag:                   "ETag",
	LastModified:           "Last-Modified",
	IfMatch:                "If-Match",
	IfNoneMatch:            "If-None-Match",
	IfModifiedSince:        "If-Modified-Since",
	IfUnmodifiedSince:      "If-Unmodified-Since",
	IfRange:                "If-Range",
	Range:                  "Range",
	ContentType:            "Content-Type",
	ContentEncoding:        "Content-Encoding",
	ContentRange:           "Content-Range",
	Accept:                 "Accept",
	AcceptEncoding:         "Accept-Encoding",
	AcceptLanguage:         "Accept-Language",
	UserAgent:              "User-Agent",
	Referer:                "Referer",
	Origin:                 "Origin",
	Date:                   "Date",
	Server:                 "Server",
	Location:               "Location",
	RetryAfter:             "Retry-After",
	SecWebSocketKey:        "Sec-WebSocket-Key",
	SecWebSocketAccept:     "Sec-WebSocket-Accept",
	SecWebSocketVersion:    "Sec-WebSocket-Version",
	SecWebSocketProtocol:   "Sec-WebSocket-Protocol",
	SecWebSocketExtensions: "Sec-WebSocket-Extensions",
}

// String returns the name as it is usually written, or "" for Other.
func (n Name) String() string {
	if n < nameCount {
		return nameTexts[n]
	}
	return ""
}

// HopByHop reports whether fields of this name are never forwarded.
func (n Name) HopByHop() bool { return n >= firstHop && n <= lastHop }

// bit is n's place in a set of names; there are fewer than 64.
func (n Name) bit() uint64 { return 1 << n }

// Lookup returns the known name that equals the given one, ignoring case.
func Lookup(name []byte) Name {
	if !isToken(name) {
		return Other
	}
	return lookup(name)
}

// spelling is a known name in lower case, in words that can be compared at
// once: its first, second and last eight bytes, which may overlap.
type spelling struct {
	name        Name
	length      uint8
	text        string // if shorter than eight bytes
	first, last uint64
	second      uint64 // if longer than 16 bytes
}

// spellings maps nameHash to the one known name with that hash.
var spellings = func() (table [256]spelling) {
	for n := Other + 1; n < nameCount; n++ {
		b := []byte(nameTexts[n])
		for i := range b {
			b[i] |= 0x20
		}
		s := spelling{name: n, length: uint8(len(b))}
		if len(b) < 8 {
			s.text = string(b)
		} else {
			s.first, s.last = word(b), word(b[len(b)-8:])
		}
		if len(b) > 16 {
			s.second = word(b[8:])
		}
		table[nameHash(b)] = s
	}
	return table
}()

func word(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// nameHash tells the known names apart (a test checks it) by their length,
// first and second last letter. b holds two bytes at least. The factors were
// found by trying.
func nameHash(b []byte) uint8 {
	return uint8(len(b)) + (b[0]|0x20)*9 + (b[len(b)-2]|0x20)*89
}

// lookup is Lookup for a name that is known to be a token. Setting bit 5
// turns no token character but a letter into a letter, a digit or '-', so
// plain comparison does after it.
func lookup(b []byte) Name {
	if len(b) < 2 {
		return Other
	}
	s := &spellings[nameHash(b)]
	if int(s.length) != len(b) {
		return Other
	}
	const lower = ones * 0x20
	switch {
	case len(b) < 8:
		for i := range b {
			if b[i]|0x20 != s.text[i] {
				return Other
			}
		}
	case word(b)|lower != s.first || word(b[len(b)-8:])|lower != s.last:
		return Other
	case len(b) > 16 && word(b[8:])|lower != s.second:
		return Other
	}
	return s.name
}
