package http2

import (
	"bytes"

	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/balance/l7/http2/hpack"
)

// blockKind says what a header block holds.
type blockKind uint8

const (
	request blockKind = iota
	answer
	trailers
	skipped // it is only read for the sake of the table
)

// headReader turns a header block into the text that HTTP/1.1 would have sent, and has package http1 read that. Only
// the values that come in several fields, or before the line that they belong to is known, are kept aside.
type headReader struct {
	field hpack.Field
	req   http1.Request
	resp  http1.Response
	text  []byte
	kept  []byte // values of pseudo-header fields
	crumb []byte // cookies

	kind     blockKind
	limit    int // of size
	size     int // by RFC 9113 §6.5.2
	over     bool
	broken   rule
	refusal  *http1.Error
	names    http1.Underscores
	lenient  bool // white space around values is cut off, as in HTTP/1.1
	plain    bool // a plain field has come, and the line is written
	end      bool // the stream ends with the block
	upgrades bool // requests for WebSockets are taken
	hosted   bool // a Host line is written
	length   bool // there is a Content-Length
	cookies  bool // there are some, in crumb

	sensitive bool
	secure    bool
	toHEAD    bool // an answer: to HEAD
	tunnel    bool // an answer: to a request for a WebSocket
	switched  bool // an answer: the tunnel stands

	method, scheme, authority, path, protocol, status []byte
}

func (h *headReader) begin(kind blockKind, c *Conn) {
	h.kind = kind
	h.limit, h.size, h.over = c.set.head(), 0, false
	h.broken, h.refusal = none, nil
	h.names = c.set.Limits.Underscores
	h.lenient = c.client
	if c.client {
		h.names = http1.UnderscoresKeep // they are about what a client may make a server believe
	}
	h.plain, h.hosted, h.length, h.cookies = false, false, false, false
	h.end = c.blockFrame.has(flagEndStream)
	h.upgrades = c.set.WebSocket
	h.sensitive, h.secure, h.switched = false, false, false
	h.text, h.crumb = h.text[:0], h.crumb[:0]
	if h.kept == nil {
		h.kept = make([]byte, 0, 256)
	}
	h.kept = h.kept[:0]
	h.method, h.scheme, h.authority, h.path, h.protocol, h.status = nil, nil, nil, nil, nil, nil
}

// take looks at a field. A head that is too large is read to its end, but nothing of it is kept: that costs no more
// than its compressed bytes, whatever they would expand to.
func (h *headReader) take(f *hpack.Field) rule {
	h.size += len(f.Name) + len(f.Value) + hpack.Overhead
	h.over = h.over || h.size > h.limit
	switch {
	case h.over:
		return none
	case len(f.Name) > 0 && f.Name[0] == ':':
		return h.pseudo(f.Name, f.Value)
	case !isFieldName(f.Name):
		return fieldName
	}
	if h.lenient { // net/http's server, among others, does not care
		f.Value = trim(f.Value)
	}
	if !isFieldValue(f.Value) {
		return fieldValue
	}
	if !h.plain {
		if r := h.line(); r != none {
			return r
		}
	}
	known := http1.Lookup(f.Name)
	h.sensitive = h.sensitive || f.Never && !secret(known)
	switch {
	case noted>>known&1 != 0:
		return h.note(known, f)
	case h.kind == trailers && !h.trailerPasses(known, f.Name):
		return none
	}
	h.add(f.Name, f.Value)
	return none
}

func (h *headReader) add(name, value []byte) {
	h.text = append(h.text, name...)
	h.text = append(h.text, ": "...)
	h.text = append(h.text, value...)
	h.text = append(h.text, "\r\n"...)
}

// noted are the names that HTTP/2 has something to say about.
const noted = 1<<http1.Connection | 1<<http1.KeepAlive | 1<<http1.ProxyConnection | 1<<http1.TransferEncoding |
	1<<http1.Upgrade | 1<<http1.TE | 1<<http1.Host | 1<<http1.Cookie | 1<<http1.ContentLength

func (h *headReader) note(known http1.Name, f *hpack.Field) rule {
	switch {
	case known == http1.TE && !equalFold(f.Value, "trailers"):
		return badTE
	case known.HopByHop() && known != http1.TE:
		return connectionField
	case h.kind == trailers:
		return none // none of them may come there
	case known == http1.Host && h.kind == request:
		return h.noteHost(f)
	case known == http1.Cookie && h.kind == request: // RFC 9113 §8.2.3
		if h.cookies {
			h.crumb = append(h.crumb, "; "...)
		}
		h.cookies = true
		h.crumb = append(h.crumb, f.Value...)
		return none
	case known == http1.ContentLength:
		h.length = true
		if h.switched {
			return none // RFC 9110 §9.3.6: to be ignored
		}
	}
	h.add(f.Name, f.Value)
	return none
}

// noteHost: RFC 9113 §8.3.1. With an authority, Host is only there to agree with it.
func (h *headReader) noteHost(f *hpack.Field) rule {
	switch {
	case h.authority != nil && !equalFoldBytes(h.authority, f.Value):
		return hostConflict
	case h.authority != nil:
		return none
	case h.hosted:
		return hostConflict
	}
	h.hosted = true
	h.add(f.Name, f.Value)
	return none
}

// trailerPasses reports whether a field may go on in a trailer section: as in package http1, none that is known
// there, and for requests none that could be taken for one.
func (h *headReader) trailerPasses(known http1.Name, name []byte) bool {
	return known == http1.Other && (h.names == http1.UnderscoresKeep || bytes.IndexByte(name, '_') < 0)
}

// pseudo takes a pseudo-header field (RFC 9113 §8.3).
func (h *headReader) pseudo(name, value []byte) rule {
	switch {
	case h.kind == trailers:
		return pseudoTrailer
	case h.plain:
		return pseudoLate
	}
	var place *[]byte
	switch string(name) {
	case ":method":
		place = &h.method
	case ":scheme":
		place = &h.scheme
	case ":authority":
		place = &h.authority
	case ":path":
		place = &h.path
	case ":protocol":
		place = &h.protocol
	case ":status":
		place = &h.status
	}
	switch {
	case place == nil || (place == &h.status) != (h.kind == answer):
		return pseudoUnknown
	case *place != nil:
		return pseudoDuplicate
	case !isVisible(value):
		return pseudoValue
	}
	start := len(h.kept)
	h.kept = append(h.kept, value...)
	*place = h.kept[start:len(h.kept):len(h.kept)]
	return none
}

// line writes the request line or the status line, once the pseudo-header fields have come.
func (h *headReader) line() rule {
	h.plain = true
	switch h.kind {
	case request:
		return h.requestLine()
	case answer:
		return h.statusLine()
	}
	return none
}

func (h *headReader) requestLine() rule {
	if h.method == nil {
		return pseudoMissing
	}
	connect := string(h.method) == "CONNECT"
	switch {
	case connect && h.protocol == nil:
		h.refusal = &refusals[refusedConnect]
		return none
	case h.protocol != nil && !(connect && h.upgrades && len(h.protocol) > 0):
		return badConnect
	case h.scheme == nil || h.path == nil:
		return pseudoMissing
	case !isTarget(h.path) && !(string(h.path) == "*" && string(h.method) == "OPTIONS"):
		return pathForm
	}
	h.secure = equalFold(h.scheme, "https")
	if !h.secure && !equalFold(h.scheme, "http") {
		h.refusal = &refusals[refusedScheme]
	}
	method := h.method
	if connect {
		method = methodGET
	}
	h.text = http1.AppendRequestLine(h.text, method, h.path)
	if h.authority != nil {
		h.text = http1.AppendKnown(h.text, http1.Host, h.authority)
	}
	return none
}

var methodGET = []byte("GET")

func (h *headReader) statusLine() rule {
	s := h.status
	switch {
	case s == nil:
		return pseudoMissing
	case !isStatus(s):
		return statusValue
	case string(s) == "101":
		return status101
	case h.end && s[0] == '1':
		return interimEnd
	}
	h.switched = h.tunnel && s[0] == '2'
	if h.switched {
		h.text = append(h.text, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"...)
		return none
	}
	h.text = append(h.text, "HTTP/1.1 "...)
	h.text = append(h.text, s...)
	h.text = append(h.text, " \r\n"...)
	return none
}

// concludeRequest makes req of the head, and returns what speaks against it, if it is sound HTTP/2. It may find that it
// is not.
func (h *headReader) concludeRequest(lim *http1.Limits) *http1.Error {
	if h.broken == none && h.over {
		return &refusals[refusedSize]
	}
	if h.broken == none && !h.plain {
		h.broken = h.line()
	}
	if h.broken != none || h.refusal != nil {
		return h.refusal
	}
	if h.cookies {
		h.text = http1.AppendKnown(h.text, http1.Cookie, h.crumb)
	}
	switch {
	case h.protocol != nil:
		h.text = append(h.text, "Connection: upgrade\r\n"...)
		h.text = http1.AppendKnown(h.text, http1.Upgrade, h.protocol)
	case !h.end && !h.length:
		h.text = http1.AppendChunked(h.text)
	}
	h.text = http1.AppendEnd(h.text)
	if _, err := h.req.Parse(h.text, lim); err != nil {
		return err.(*http1.Error)
	}
	switch {
	case h.protocol != nil && h.req.Upgrade == nil:
		return &refusals[refusedUpgrade]
	case h.end && h.req.Length > 0:
		h.broken = lengthMismatch
	}
	return nil
}

// concludeAnswer makes resp of the head, or says by broken why that can't be, and perhaps in more detail by what it
// returns.
func (h *headReader) concludeAnswer(lim *http1.Limits) *http1.Error {
	if h.broken == none && h.over {
		h.broken = answerHead
		return &answerTooLarge
	}
	if h.broken == none && !h.plain {
		h.broken = h.line()
	}
	if h.broken != none {
		return nil
	}
	if h.final() && !h.length && h.mayHaveBody() {
		if h.end {
			h.text = http1.AppendContentLength(h.text, 0) // HTTP/1.1 must be told
		} else {
			h.text = http1.AppendChunked(h.text)
		}
	}
	h.text = http1.AppendEnd(h.text)
	to := http1.GET
	if h.toHEAD {
		to = http1.HEAD
	}
	if _, err := h.resp.Parse(h.text, to, lim); err != nil {
		h.broken = answerHead
		return err.(*http1.Error)
	}
	h.resp.Reason = nil // the usual one
	if h.end && h.resp.Length > 0 {
		h.broken = lengthMismatch
	}
	return nil
}

func (h *headReader) final() bool { return h.status[0] != '1' && !h.switched }

// mayHaveBody: RFC 9110 §6.4.1.
func (h *headReader) mayHaveBody() bool {
	return !h.toHEAD && string(h.status) != "204" && string(h.status) != "304"
}

// bodyLength returns how long the body of an answer is to be, or -1.
func (h *headReader) bodyLength() int64 {
	if h.switched || h.resp.Framing == http1.FramingChunked {
		return -1
	}
	return h.resp.Length
}
