package http2

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	xhpack "golang.org/x/net/http2/hpack"
)

// A script plays the peer of a connection, and the driver, in lines of text; what happens is told in lines of text too.
// Frames are written and read by the library, not by this package.
//
// The peer sends:
//
//	settings [ack] [ID=N ...]       numbers of RFC 9113 §6.5.2
//	headers STREAM [end] [open] [pad=N] [parent=N] FIELD ...   FIELD is name=value; GET stands for a plain request,
//	                                OK for a plain answer; open leaves END_HEADERS out
//	continuation STREAM [open] FIELD ...
//	data STREAM [end] [pad=N] [*N | text]
//	rst STREAM CODE, window STREAM N, ping TEXT, pong TEXT, goaway LAST CODE, priority STREAM PARENT
//	frame TYPE FLAGS STREAM [hex]   any frame
//	raw hex
//
// The driver does:
//
//	respond STREAM [end] STATUS FIELD ..., request [end] METHOD TARGET FIELD ..., send STREAM [end] N, trailers STREAM FIELD ...,
//	reset STREAM CODE, consumed STREAM N, drain, ask (a ping), close CODE, writable, sleep DURATION, wait STREAM
//
// What happens: an event begins with its kind, a frame that is sent with '<', an error with '!'.
type script struct {
	t   testing.TB
	c   *Conn
	sc  Scratch
	now time.Duration
	cut int // bytes that Receive is given at a time; 0: all

	peerOut bytes.Buffer
	framer  *xhttp2.Framer // of the peer
	block   bytes.Buffer
	enc     *xhpack.Encoder
	dec     *xhpack.Decoder
	told    []string
	data    []byte // of a stream, in pieces, not told yet
	dataOf  uint32
	quiet   bool // say nothing of SETTINGS and their acknowledgement
}

func newScript(t testing.TB, client bool, set Settings) *script {
	s := &script{t: t, quiet: true}
	if client {
		s.c = NewClient(&set, &s.sc)
	} else {
		s.c = NewServer(&set, &s.sc)
	}
	s.framer = xhttp2.NewFramer(&s.peerOut, nil)
	s.framer.AllowIllegalWrites = true
	s.enc = xhpack.NewEncoder(&s.block)
	s.dec = xhpack.NewDecoder(4096, nil)
	if client {
		s.c.Out = bytes.TrimPrefix(s.c.Out, []byte(preface))
	} else {
		s.peerOut.WriteString(preface)
	}
	return s
}

// play runs lines and returns what happened.
func (s *script) play(lines string) string {
	s.told = nil
	for line := range strings.Lines(lines) {
		if words := strings.Fields(line); len(words) > 0 {
			s.line(words[0], words[1:])
			s.deliver()
		}
	}
	s.flushData()
	return strings.Join(s.told, "\n")
}

// tell adds a line. Data in pieces is told at once, because where it is cut says nothing.
func (s *script) tell(format string, args ...any) {
	s.flushData()
	s.told = append(s.told, strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (s *script) flushData() {
	if id := s.dataOf; id != 0 {
		s.dataOf = 0
		s.tell("data %d %s", id, short(s.data))
		s.data = s.data[:0]
	}
}

func short(p []byte) string {
	if len(p) > 16 {
		return fmt.Sprintf("*%d", len(p))
	}
	return string(p)
}

// deliver hands over what the peer has sent, and looks at what comes of it.
func (s *script) deliver() {
	p := bytes.Clone(s.peerOut.Bytes())
	s.peerOut.Reset()
	for len(p) > 0 {
		n := len(p)
		if s.cut > 0 {
			n = min(n, s.cut)
		}
		piece := bytes.Clone(p[:n])
		s.c.Receive(piece, s.now)
		for ev := s.c.Next(); ev != nil; ev = s.c.Next() {
			s.event(ev)
		}
		clear(piece) // the engine must not look at it again
		p = p[n:]
	}
	s.frames()
	if err := s.c.Err(); err != nil && (len(s.told) == 0 || s.told[len(s.told)-1][0] != '!') {
		s.tell("! %s", err.(*Error).Rule)
	}
}

func (s *script) event(ev *Event) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d", ev.Kind, ev.Stream)
	if ev.User != nil {
		fmt.Fprintf(&b, " user=%v", ev.User)
	}
	if ev.End {
		b.WriteString(" end")
	}
	switch ev.Kind {
	case KindRequest:
		r := ev.Request
		fmt.Fprintf(&b, " %s %s host=%s %s", r.MethodText, r.Target, r.Host, r.Framing)
		if r.Length > 0 {
			fmt.Fprintf(&b, " length=%d", r.Length)
		}
		if r.Upgrade != nil {
			fmt.Fprintf(&b, " upgrade=%s", r.Upgrade)
		}
		for _, f := range r.Fields {
			if !f.Hop && f.Known.String() != "Host" {
				fmt.Fprintf(&b, " %s=%s", f.Name, f.Value)
			}
		}
	case KindResponse:
		r := ev.Response
		fmt.Fprintf(&b, " %d %s", r.Status, r.Framing)
		for _, f := range r.Fields {
			if !f.Hop {
				fmt.Fprintf(&b, " %s=%s", f.Name, f.Value)
			}
		}
	case KindData:
		if s.dataOf != ev.Stream {
			s.flushData()
		}
		s.data = append(s.data, ev.Data...)
		s.dataOf = ev.Stream
		if !ev.End {
			return
		}
		s.dataOf = 0
		fmt.Fprintf(&b, " %s", short(s.data))
		s.data = s.data[:0]
	case KindTrailers:
		fmt.Fprintf(&b, " %q", ev.Data)
	case KindReset, KindGoAway:
		fmt.Fprintf(&b, " %s", ev.Code)
		if ev.Kind == KindGoAway {
			fmt.Fprintf(&b, " %s", ev.Data)
		}
	}
	if ev.Secure {
		b.WriteString(" secure")
	}
	if ev.ToHEAD {
		b.WriteString(" head")
	}
	if ev.Sensitive {
		b.WriteString(" sensitive")
	}
	if ev.Unprocessed {
		b.WriteString(" unprocessed")
	}
	if ev.Err != nil {
		fmt.Fprintf(&b, " %s", ev.Err.Rule)
	}
	if ev.Refusal != nil {
		fmt.Fprintf(&b, " %d %s", ev.Refusal.Status, ev.Refusal.Rule)
	}
	if !(s.quiet && ev.Kind == KindSettings) {
		s.tell("%s", b.String())
	}
}

// frames reads what the connection has sent.
func (s *script) frames() {
	r := xhttp2.NewFramer(nil, bytes.NewReader(s.c.Out))
	s.c.Out = nil
	for {
		f, err := r.ReadFrame()
		if err != nil {
			if err.Error() != "EOF" {
				s.tell("< unreadable: %v", err)
			}
			return
		}
		s.frame(f)
	}
}

func (s *script) frame(f xhttp2.Frame) {
	h := f.Header()
	switch f := f.(type) {
	case *xhttp2.SettingsFrame:
		if s.quiet {
			return
		}
		var b strings.Builder
		_ = f.ForeachSetting(func(x xhttp2.Setting) error { fmt.Fprintf(&b, " %d=%d", x.ID, x.Val); return nil })
		if f.IsAck() {
			b.WriteString(" ack")
		}
		s.tell("< settings%s", b.String())
	case *xhttp2.RSTStreamFrame:
		s.tell("< rst %d %s", h.StreamID, Code(f.ErrCode))
	case *xhttp2.GoAwayFrame:
		s.tell("< goaway %d %s %s", f.LastStreamID, Code(f.ErrCode), f.DebugData())
	case *xhttp2.WindowUpdateFrame:
		if !(s.quiet && s.now == 0 && h.StreamID == 0 && f.Increment == DefaultConnWindow-windowMin) {
			s.tell("< window %d %d", h.StreamID, f.Increment)
		}
	case *xhttp2.PingFrame:
		s.tell("< ping ack=%v %s", f.IsAck(), strings.TrimRight(string(f.Data[:]), "\n\x00"))
	case *xhttp2.DataFrame:
		s.tell("< data %d%s %d", h.StreamID, endText(f.StreamEnded()), len(f.Data()))
	case *xhttp2.HeadersFrame:
		s.tell("< headers %d%s%s", h.StreamID, endText(f.StreamEnded()), s.fields(f.HeaderBlockFragment(), f.HeadersEnded()))
	case *xhttp2.ContinuationFrame:
		s.tell("< continuation %d%s", h.StreamID, s.fields(f.HeaderBlockFragment(), f.HeadersEnded()))
	default:
		s.tell("< %v", f)
	}
}

func endText(end bool) string {
	if end {
		return " end"
	}
	return ""
}

// fields decodes a part of a header block.
func (s *script) fields(p []byte, end bool) string {
	var b strings.Builder
	s.dec.SetEmitFunc(func(f xhpack.HeaderField) {
		fmt.Fprintf(&b, " %s=%.40s", f.Name, f.Value)
		if f.Sensitive {
			b.WriteString("(never)")
		}
	})
	if _, err := s.dec.Write(p); err != nil {
		s.t.Fatalf("block %x: %v", p, err)
	}
	if end {
		if err := s.dec.Close(); err != nil {
			s.t.Fatalf("block %x: %v", p, err)
		}
	}
	return b.String()
}

// words are the rest of a line, from which flags and numbers are taken.
type words struct {
	s    *script
	rest []string
}

func (w *words) flag(name string) bool {
	if len(w.rest) > 0 && w.rest[0] == name {
		w.rest = w.rest[1:]
		return true
	}
	return false
}

func (w *words) value(name string) (n int) {
	if len(w.rest) > 0 && strings.HasPrefix(w.rest[0], name+"=") {
		n, _ = strconv.Atoi(w.rest[0][len(name)+1:])
		w.rest = w.rest[1:]
	}
	return n
}

func (w *words) word() string {
	if len(w.rest) == 0 {
		return ""
	}
	x := w.rest[0]
	w.rest = w.rest[1:]
	return x
}

func (w *words) number() uint32 {
	text := w.word()
	n, err := strconv.ParseUint(text, 0, 32)
	if err != nil {
		w.s.t.Fatalf("not a number: %q", text)
	}
	return uint32(n)
}

func (w *words) code() xhttp2.ErrCode {
	name := w.word()
	for i, text := range codeTexts {
		if text == name {
			return xhttp2.ErrCode(i)
		}
	}
	w.s.t.Fatalf("no code: %q", name)
	return 0
}

func (w *words) bytes() []byte {
	b, err := hex.DecodeString(strings.Join(w.rest, ""))
	if err != nil {
		w.s.t.Fatal(err)
	}
	return b
}

// payload is "*N" or the words themselves.
func (w *words) payload() []byte {
	if len(w.rest) == 1 && w.rest[0][0] == '*' {
		n, err := strconv.Atoi(w.rest[0][1:])
		if err != nil {
			w.s.t.Fatal(err)
		}
		return bytes.Repeat([]byte{'x'}, n)
	}
	return []byte(strings.Join(w.rest, " "))
}

// list returns name=value words; a value may hold spaces as "␣", and other bytes as "\x00".
func (w *words) list() (list []xhpack.HeaderField) {
	for _, x := range w.rest {
		switch x {
		case "GET":
			list = append(list, xhpack.HeaderField{Name: ":method", Value: "GET"}, xhpack.HeaderField{Name: ":scheme", Value: "http"},
				xhpack.HeaderField{Name: ":path", Value: "/"}, xhpack.HeaderField{Name: ":authority", Value: "h"})
			continue
		case "OK":
			list = append(list, xhpack.HeaderField{Name: ":status", Value: "200"})
			continue
		}
		i := 1 + strings.IndexByte(x[1:], '=')
		if i < 1 {
			w.s.t.Fatalf("no field: %q", x)
		}
		f := xhpack.HeaderField{Name: w.text(x[:i]), Value: w.text(x[i+1:])}
		if strings.HasPrefix(f.Name, "!") {
			f.Name, f.Sensitive = f.Name[1:], true
		}
		list = append(list, f)
	}
	return list
}

func (w *words) text(s string) string {
	s = strings.ReplaceAll(s, "␣", " ")
	if strings.HasPrefix(s, "*") {
		if n, err := strconv.Atoi(s[1:]); err == nil {
			return strings.Repeat("v", n)
		}
	}
	if u, err := strconv.Unquote(`"` + s + `"`); err == nil {
		return u
	}
	return s
}

func (w *words) encode() []byte {
	w.s.block.Reset()
	for _, f := range w.list() {
		if err := w.s.enc.WriteField(f); err != nil {
			w.s.t.Fatal(err)
		}
	}
	return bytes.Clone(w.s.block.Bytes())
}

// lines are the text of a head, but for its first line.
func (w *words) lines() string {
	var b strings.Builder
	for _, f := range w.list() {
		fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
	}
	return b.String() + "\r\n"
}

func (s *script) line(verb string, rest []string) {
	w := &words{s, rest}
	if !s.peerLine(verb, w) && !s.driverLine(verb, w) {
		s.t.Fatalf("no verb: %s", verb)
	}
}

func (s *script) peerLine(verb string, w *words) bool {
	fr := s.framer
	var err error
	switch verb {
	case "settings":
		if w.flag("ack") {
			err = fr.WriteSettingsAck()
			break
		}
		var list []xhttp2.Setting
		for _, x := range w.rest {
			id, value, _ := strings.Cut(x, "=")
			i, _ := strconv.Atoi(id)
			v, _ := strconv.ParseUint(value, 0, 32)
			list = append(list, xhttp2.Setting{ID: xhttp2.SettingID(i), Val: uint32(v)})
		}
		err = fr.WriteSettings(list...)
	case "headers":
		p := xhttp2.HeadersFrameParam{StreamID: w.number(), EndStream: w.flag("end"), EndHeaders: !w.flag("open")}
		p.PadLength = uint8(w.value("pad"))
		p.Priority.StreamDep = uint32(w.value("parent"))
		p.BlockFragment = w.encode()
		err = fr.WriteHeaders(p)
	case "continuation":
		id, open := w.number(), w.flag("open")
		err = fr.WriteContinuation(id, !open, w.encode())
	case "data":
		id, end, pad := w.number(), w.flag("end"), w.value("pad")
		if pad > 0 {
			err = fr.WriteDataPadded(id, end, w.payload(), make([]byte, pad))
		} else {
			err = fr.WriteData(id, end, w.payload())
		}
	case "rst":
		err = fr.WriteRSTStream(w.number(), w.code())
	case "window":
		err = fr.WriteWindowUpdate(w.number(), w.number())
	case "ping", "pong":
		var data [8]byte
		copy(data[:], w.word()+"\n")
		err = fr.WritePing(verb == "pong", data)
	case "goaway":
		err = fr.WriteGoAway(w.number(), w.code(), []byte(strings.Join(w.rest, " ")))
	case "priority":
		err = fr.WritePriority(w.number(), xhttp2.PriorityParam{StreamDep: w.number()})
	case "frame":
		err = fr.WriteRawFrame(xhttp2.FrameType(w.number()), xhttp2.Flags(w.number()), w.number(), w.bytes())
	case "raw":
		s.peerOut.Write(w.bytes())
	default:
		return false
	}
	if err != nil {
		s.t.Fatalf("%s: %v", verb, err)
	}
	return true
}

func (s *script) driverLine(verb string, w *words) bool {
	c := s.c
	flags := func() Flags {
		f := Flags(0)
		if w.flag("end") {
			f |= End
		}
		if w.flag("sensitive") {
			f |= Sensitive
		}
		if w.flag("secure") {
			f |= Secure
		}
		return f
	}
	var err error
	switch verb {
	case "respond":
		id, f, status := w.number(), flags(), w.word()
		err = c.SendResponse(id, []byte("HTTP/1.1 "+status+" \r\n"+w.lines()), f)
	case "request":
		var id uint32
		f, method, target := flags(), w.word(), w.word()
		if id, err = c.SendRequest([]byte(method+" "+target+" HTTP/1.1\r\n"+w.lines()), f); err == nil {
			c.Bind(id, id)
		}
	case "send":
		id, f, n := w.number(), flags(), w.number()
		s.tell("took %d", c.SendData(id, make([]byte, n), f))
	case "trailers":
		err = c.SendTrailers(w.number(), []byte(w.lines()))
	case "reset":
		c.Reset(w.number(), Code(w.code()))
	case "consumed":
		c.Consumed(w.number(), int(w.number()))
	case "drain":
		c.Drain()
		s.tell("drained=%v", c.Drained())
	case "ask":
		c.Ping()
	case "close":
		c.Close(Code(w.code()))
	case "writable":
		id, _, ok := c.Writable()
		s.tell("writable %d %v", id, ok)
	case "wait":
		s.tell("window %d", c.Window(w.number()))
	case "open":
		s.tell("open %d websocket=%v", c.Open(), c.WebSocket())
	case "sleep":
		d, err := time.ParseDuration(w.word())
		if err != nil {
			s.t.Fatal(err)
		}
		s.now += d
	default:
		return false
	}
	if err != nil {
		s.tell("error %v", err)
	}
	return true
}
