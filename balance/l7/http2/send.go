package http2

import (
	"bytes"
	"errors"

	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/balance/l7/http2/hpack"
)

// What sending may meet. All but ErrHead can happen to a driver that does everything right.
var (
	ErrStream  = errors.New("http2: the stream is closed") // or has been answered
	ErrNoOpen  = errors.New("http2: no further stream may be opened")
	ErrUpgrade = errors.New("http2: the endpoint takes no WebSockets")
	ErrHead    = errors.New("http2: not the text of a head")
)

// headWriter cuts the text of a head into lines.
type headWriter struct {
	line   []byte        // the first, if there is one
	fields []http1.Field // parts of the text
	name   []byte
}

// split takes a text apart: lines that end in CR LF, up to an empty one or the end of the text. It is the caller's
// own text, checked as far as is needed to write a sound block.
func (w *headWriter) split(text []byte, titled bool) bool {
	w.line, w.fields = nil, w.fields[:0]
	for len(text) > 0 {
		end := bytes.IndexByte(text, '\n')
		if end < 1 || text[end-1] != '\r' {
			return false
		}
		line := text[:end-1]
		text = text[end+1:]
		switch {
		case titled && w.line == nil:
			w.line = line
			continue
		case len(line) == 0:
			return len(text) == 0
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 1 {
			return false
		}
		name := line[:colon]
		w.fields = append(w.fields, http1.Field{Name: name, Value: trim(line[colon+1:]), Known: http1.Lookup(name)})
	}
	return !titled || w.line != nil
}

func trim(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// value returns the value of a known field, or nil.
func (w *headWriter) value(n http1.Name) []byte {
	if i := http1.Find(w.fields, n); i >= 0 {
		return w.fields[i].Value
	}
	return nil
}

// SendRequest opens a stream with a request, which head is the text of, as in HTTP/1.1. It returns the stream's
// number. ErrNoOpen is returned when Open is 0, and ErrUpgrade when the request wants a protocol that the endpoint
// does not take (see WebSocket). The flags End, Sensitive and Secure may be given.
func (c *Conn) SendRequest(head []byte, flags Flags) (id uint32, err error) {
	w := &c.sc.write
	if !w.split(head, true) {
		return 0, ErrHead
	}
	method, rest, _ := bytes.Cut(w.line, []byte{' '})
	target, _, ok := bytes.Cut(rest, []byte{' '})
	protocol := w.value(http1.Upgrade)
	switch {
	case !ok || len(method) == 0 || len(target) == 0:
		return 0, ErrHead
	case c.Open() == 0:
		return 0, ErrNoOpen
	case protocol != nil && !(c.peerConnect && equalFold(protocol, "websocket")):
		return 0, ErrUpgrade
	}
	s := c.open(c.nextOwn)
	c.nextOwn += 2
	s.toHEAD = string(method) == "HEAD"
	s.tunnel = protocol != nil
	at := c.beginBlock()
	c.requestPseudo(method, target, protocol, flags)
	for i := range w.fields {
		if f := &w.fields[i]; f.Known != http1.Host {
			c.field(s, f, flags)
		}
	}
	c.endBlock(at, s.id, flags)
	id = s.id
	if flags&End != 0 {
		c.sent(s)
	}
	return id, nil
}

func (c *Conn) requestPseudo(method, target, protocol []byte, flags Flags) {
	switch {
	case protocol != nil:
		c.Out = c.enc.AppendNamed(c.Out, hpack.MethodGET, []byte("CONNECT"), hpack.Index)
		c.Out = c.enc.Append(c.Out, []byte(":protocol"), []byte("websocket"), hpack.Index)
	case string(method) == "GET":
		c.Out = hpack.AppendStatic(c.Out, hpack.MethodGET)
	case string(method) == "POST":
		c.Out = hpack.AppendStatic(c.Out, hpack.MethodPOST)
	default:
		c.Out = c.enc.AppendNamed(c.Out, hpack.MethodGET, method, hpack.Index)
	}
	scheme := uint8(hpack.SchemeHTTP)
	if flags&Secure != 0 {
		scheme = hpack.SchemeHTTPS
	}
	c.Out = hpack.AppendStatic(c.Out, scheme)
	if string(target) == "/" {
		c.Out = hpack.AppendStatic(c.Out, hpack.PathRoot)
	} else {
		c.Out = c.enc.AppendNamed(c.Out, hpack.PathRoot, target, hpack.Literal)
	}
	if host := c.sc.write.value(http1.Host); host != nil {
		c.Out = c.enc.AppendNamed(c.Out, hpack.Authority, host, hpack.Index)
	}
}

// SendResponse answers a stream, with a text as in HTTP/1.1. A status of 1xx is an interim answer, but for 101, which
// accepts a WebSocket. The flags End and Sensitive may be given.
func (c *Conn) SendResponse(id uint32, head []byte, flags Flags) error {
	s := c.find(id)
	if s == nil || s.answered || c.client || c.err != nil {
		return ErrStream
	}
	w := &c.sc.write
	if !w.split(head, true) || len(w.line) < len("HTTP/1.1 200") {
		return ErrHead
	}
	status := w.line[len("HTTP/1.1 "):len("HTTP/1.1 200")]
	switch switching := string(status) == "101"; {
	case !isStatus(status) || switching && !s.tunnel:
		return ErrHead
	case switching:
		status = status200
	}
	at := c.beginBlock()
	c.status(status)
	for i := range w.fields {
		c.field(s, &w.fields[i], flags)
	}
	interim := status[0] == '1'
	if interim {
		flags &^= End
	}
	c.endBlock(at, id, flags)
	s.answered = s.answered || !interim
	if flags&End != 0 {
		c.sent(s)
	}
	return nil
}

var status200 = []byte("200")

func (c *Conn) status(status []byte) {
	index := uint8(0)
	switch string(status) {
	case "200":
		index = hpack.Status200
	case "204":
		index = hpack.Status204
	case "206":
		index = hpack.Status206
	case "304":
		index = hpack.Status304
	case "400":
		index = hpack.Status400
	case "404":
		index = hpack.Status404
	case "500":
		index = hpack.Status500
	default:
		c.Out = c.enc.AppendNamed(c.Out, hpack.Status200, status, hpack.Index)
		return
	}
	c.Out = hpack.AppendStatic(c.Out, index)
}

// SendTrailers ends our side of a stream with trailers: field lines as in HTTP/1.1. They need no window.
func (c *Conn) SendTrailers(id uint32, lines []byte) error {
	s := c.find(id)
	if s == nil || s.sendEnd || c.err != nil {
		return ErrStream
	}
	w := &c.sc.write
	if !w.split(lines, false) {
		return ErrHead
	}
	if len(w.fields) == 0 {
		c.SendData(id, nil, End)
		return nil
	}
	at := c.beginBlock()
	for i := range w.fields {
		c.field(s, &w.fields[i], 0)
	}
	c.endBlock(at, id, End)
	c.sent(s)
	return nil
}

// unsent are the fields that HTTP/2 has no place for (RFC 9113 §8.2.2).
const unsent = 1<<http1.Connection | 1<<http1.KeepAlive | 1<<http1.ProxyConnection | 1<<http1.TransferEncoding |
	1<<http1.Upgrade | 1<<http1.HTTP2Settings

// field writes a field of a head or a trailer section.
func (c *Conn) field(s *stream, f *http1.Field, flags Flags) {
	switch {
	case unsent>>f.Known&1 != 0, f.Known == http1.TE && !equalFold(f.Value, "trailers"):
		return
	case s.tunnel && (f.Known == http1.SecWebSocketKey || f.Known == http1.SecWebSocketAccept):
		return // RFC 8441 §5: neither a key nor its proof
	}
	how := c.indexing(f.Known)
	if flags&Sensitive != 0 {
		how = hpack.Never
	}
	switch name := &wireNames[f.Known]; {
	case name.index != 0:
		c.Out = c.enc.AppendNamed(c.Out, name.index, f.Value, how)
	case f.Known != http1.Other:
		c.Out = c.enc.Append(c.Out, name.text, f.Value, how)
	default:
		w := &c.sc.write
		w.name = w.name[:0]
		for _, b := range f.Name {
			w.name = append(w.name, lower(b))
		}
		c.Out = c.enc.Append(c.Out, w.name, f.Value, how)
	}
}

// wireNames are the known names as HTTP/2 has them, and their places in the compression's static table.
var wireNames = func() (names [64]struct {
	text  []byte
	index uint8
}) {
	for n := http1.Other + 1; n.String() != ""; n++ {
		text := bytes.ToLower([]byte(n.String()))
		names[n].text, names[n].index = text, hpack.NameIndex(text)
	}
	return names
}()

// secret reports whether values of a field are credentials (RFC 7541 §7.1.3).
func secret(n http1.Name) bool {
	switch n {
	case http1.Authorization, http1.ProxyAuthorization, http1.Cookie, http1.SetCookie:
		return true
	}
	return false
}

// fleeting are the fields whose values hardly ever come again.
const fleeting = 1<<http1.ContentLength | 1<<http1.ContentRange | 1<<http1.Range | 1<<http1.Age | 1<<http1.ETag |
	1<<http1.IfNoneMatch | 1<<http1.LastModified | 1<<http1.IfModifiedSince | 1<<http1.XRequestID | 1<<http1.TraceParent

// indexing says what the compression may do with a field. A connection to an endpoint carries the requests of many
// clients. There fields that are not known are treated as secrets too, because with a common table one client could
// find out what another has sent, by watching how well its guesses are compressed (RFC 7541 §7.1).
func (c *Conn) indexing(n http1.Name) hpack.Indexing {
	switch {
	case secret(n) || c.client && n == http1.Other:
		return hpack.Never
	case fleeting>>n&1 != 0:
		return hpack.Literal
	}
	return hpack.Index
}

// beginBlock begins a HEADERS frame at the end of Out, and returns where that is.
func (c *Conn) beginBlock() int {
	at := len(c.Out)
	c.Out = appendFrame(c.Out, frame{})
	c.Out = c.enc.Begin(c.Out)
	return at
}

// endBlock fills in the frame's header, and makes CONTINUATION frames of what is too long for one.
func (c *Conn) endBlock(at int, id uint32, flags Flags) {
	length := len(c.Out) - at - frameHead
	f := frame{min(length, frameMax), typeHeaders, 0, id}
	if flags&End != 0 {
		f.flags = flagEndStream
	}
	more := max(0, (length-1)/frameMax)
	if more == 0 {
		f.flags |= flagEndHeaders
		appendFrame(c.Out[at:at], f)
		return
	}
	for range more {
		c.Out = appendFrame(c.Out, frame{})
	}
	block := c.Out[at+frameHead:]
	for i := more; i > 0; i-- { // from the end, where there is room
		from, to := i*frameMax, min((i+1)*frameMax, length)
		copy(block[from+i*frameHead:], block[from:to])
		part := frame{to - from, typeContinuation, 0, id}
		if i == more {
			part.flags = flagEndHeaders
		}
		head := from + (i-1)*frameHead
		appendFrame(block[head:head], part)
	}
	appendFrame(c.Out[at:at], f)
}
