package http2

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	xhpack "golang.org/x/net/http2/hpack"

	"github.com/trivet-ha/trivet/balance/l7/http1"
)

// tight are settings whose limits short inputs reach.
var tight = Settings{Limits: http1.Limits{Line: 100, Head: 400, Fields: 5, Body: 50}, Streams: 3, Heads: 500, Patience: 40, WebSocket: true}

// seeds are what the peer sends in a table's scripts.
func seeds(f *testing.F, table []row, client bool) {
	for _, r := range table {
		s := newScript(f, client, Settings{})
		s.peerOut.Reset()
		s.line("settings", nil)
		for line := range strings.Lines(r.lines) {
			if words := strings.Fields(line); len(words) > 0 {
				s.peerOnly(words[0], words[1:])
			}
		}
		if s.peerOut.Len() < 4<<10 {
			f.Add(bytes.Clone(s.peerOut.Bytes()), uint8(len(r.lines)))
		}
	}
}

// peerOnly is line without what the driver does.
func (s *script) peerOnly(verb string, rest []string) { s.peerLine(verb, &words{s, rest}) }

// FuzzServer: any bytes, in any pieces, lead to the same events, break nothing, and take bounded memory.
func FuzzServer(f *testing.F) {
	seeds(f, serverTable, false)
	seeds(f, flowTable, false)
	f.Fuzz(func(t *testing.T, raw []byte, step uint8) {
		for _, set := range []*Settings{{WebSocket: true}, &tight} {
			whole := drive(t, NewServer(set, new(Scratch)), append([]byte(preface), raw...), 0)
			pieces := drive(t, NewServer(set, new(Scratch)), append([]byte(preface), raw...), int(step)%40+1)
			if whole != pieces {
				t.Fatalf("%x\nat once:\n%s\nin pieces:\n%s", raw, whole, pieces)
			}
		}
	})
}

// FuzzClient: as FuzzServer, with some requests under way.
func FuzzClient(f *testing.F) {
	seeds(f, clientTable, true)
	f.Fuzz(func(t *testing.T, raw []byte, step uint8) {
		for _, set := range []*Settings{{}, &tight} {
			whole := drive(t, asking(t, set), raw, 0)
			pieces := drive(t, asking(t, set), raw, int(step)%40+1)
			if whole != pieces {
				t.Fatalf("%x\nat once:\n%s\nin pieces:\n%s", raw, whole, pieces)
			}
		}
	})
}

// asking returns a client with requests under way.
func asking(t *testing.T, set *Settings) *Conn {
	c := NewClient(set, new(Scratch))
	for _, r := range []struct {
		head  string
		flags Flags
	}{{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", End}, {"HEAD / HTTP/1.1\r\n\r\n", End}, {"POST /a HTTP/1.1\r\nHost: h\r\n\r\n", 0}} {
		id, err := c.SendRequest([]byte(r.head), r.flags)
		if err != nil {
			t.Fatal(err)
		}
		c.SendData(id, make([]byte, 10), 0)
	}
	return c
}

// drive gives bytes to a connection, in pieces of a size, answers what it asks, and tells what happened.
func drive(t *testing.T, c *Conn, raw []byte, size int) string {
	s := &script{t: t, c: c}
	for now := time.Duration(0); len(raw) > 0; {
		n := len(raw)
		if size > 0 {
			n = min(n, size)
		}
		piece := bytes.Clone(raw[:n])
		raw = raw[n:]
		before := len(c.Out)
		c.Receive(piece, now)
		for ev := c.Next(); ev != nil; ev = c.Next() {
			s.event(ev)
			s.react(ev)
			invariants(t, c)
		}
		if grown := len(c.Out) - before; grown > 64*(n+frameHead)+200*c.set.streams() {
			t.Fatalf("%d bytes of output for %d of input", grown, n)
		}
		c.Out = c.Out[:0]
		clear(piece)
	}
	if n := cap(c.part) + cap(c.block); n > 4*c.set.head()+8*frameMax {
		t.Fatalf("%d bytes are kept", n)
	}
	if err := c.Err(); err != nil {
		s.tell("! %v", err)
	}
	s.flushData()
	return strings.Join(s.told, "\n")
}

// react plays a driver that answers every request, the odd ones when they end.
func (s *script) react(ev *Event) {
	c := s.c
	if ev.Kind == KindData {
		c.Consumed(ev.Stream, len(ev.Data))
	}
	if c.client || ev.Kind == KindGoAway || !(ev.End || ev.Kind == KindRefused || ev.Kind == KindRequest && ev.Stream%4 == 1) {
		return
	}
	_ = c.SendResponse(ev.Stream, []byte("HTTP/1.1 200 OK\r\nServer: x\r\n\r\n"), End)
	if ev.Stream%8 == 3 {
		c.Reset(ev.Stream, NoError)
	}
}

// invariants are what holds between events.
func invariants(t *testing.T, c *Conn) {
	t.Helper()
	waiting, heads := 0, 0
	for i, s := range c.live {
		if i > 0 && c.live[i-1].id >= s.id || s.sendEnd && s.recvEnd || s.recvWindow < 0 || s.held < 0 {
			t.Fatalf("stream %+v", s)
		}
		if s.waiting {
			waiting++
		}
		heads += s.head
	}
	if waiting != c.waiting || heads != c.heads || c.recvWindow < 0 || c.recvWindow > c.set.connWindow() || c.sendWindow > windowMax ||
		!c.client && len(c.live) > c.set.streams() || len(c.resets.ids) > resetsKept || len(c.ends.ids) > endsKept {
		t.Fatalf("%+v", c)
	}
}

// FuzzHead: a head that is accepted, the library accepts with the same meaning.
func FuzzHead(f *testing.F) {
	for _, s := range []string{
		":method GET\n:scheme http\n:path /\n:authority h\na b", ":method POST\n:scheme https\n:path /x?y\nhost h\ncookie a\ncookie b\nte trailers\ncontent-length 5",
		":method GET\n:scheme http\n:path /\n:path /\n:authority h", ":path /\n:method GET\n:scheme http\na b\n:authority h", ":method GET\n:scheme http\n:path /\n:authority h\nA b\nx \x00", ":method GET\n:scheme http\n:path /\n:authority h\ncookie a\ncookie ",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var block bytes.Buffer
		enc := xhpack.NewEncoder(&block)
		for line := range strings.SplitSeq(text, "\n") {
			name, value, _ := strings.Cut(line, " ")
			if err := enc.WriteField(xhpack.HeaderField{Name: name, Value: value}); err != nil {
				t.Fatal(err)
			}
		}
		if block.Len() > frameMax {
			return
		}
		raw := appendFrame([]byte(preface), frame{kind: typeSettings})
		at := len(raw)
		raw = append(appendFrame(raw, frame{block.Len(), typeHeaders, flagEndHeaders, 1}), block.Bytes()...)
		c := NewServer(&Settings{Limits: http1.Limits{Underscores: http1.UnderscoresKeep}}, new(Scratch))
		c.Receive(raw, 0)
		c.Next()
		ev := c.Next()
		if ev == nil || ev.Kind != KindRequest {
			return
		}
		fr := xhttp2.NewFramer(nil, bytes.NewReader(raw[at:]))
		fr.ReadMetaHeaders = xhpack.NewDecoder(4096, nil)
		got, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("accepted %q, the library says %v", text, err)
		}
		compareHead(t, ev.Request, got.(*xhttp2.MetaHeadersFrame))
	})
}

func compareHead(t *testing.T, r *http1.Request, m *xhttp2.MetaHeadersFrame) {
	t.Helper()
	host := m.PseudoValue("authority")
	var want, cookies []string
	for _, f := range m.RegularFields() {
		switch f.Name {
		case "host":
			host = f.Value
		case "cookie":
			cookies = append(cookies, f.Value)
		default:
			want = append(want, f.Name+": "+f.Value)
		}
	}
	if len(cookies) > 0 {
		want = append(want, strings.TrimRight("Cookie: "+strings.Join(cookies, "; "), " ")) // the last may be empty
	}
	var got []string
	for _, f := range r.Fields {
		if f.Known != http1.Host && f.Known != http1.TransferEncoding {
			line := fmt.Sprintf("%s: %s", f.Name, f.Value)
			if f.Known == http1.Cookie {
				line = strings.TrimRight(line, " ")
			}
			got = append(got, line)
		}
	}
	for i, w := range want { // leading zeros are no difference
		if name, value, _ := strings.Cut(w, ": "); name == "content-length" {
			want[i] = name + ": " + strings.TrimLeft(value[:len(value)-1], "0") + value[len(value)-1:]
		}
	}
	if string(r.MethodText) != m.PseudoValue("method") || string(r.Target) != m.PseudoValue("path") || !strings.EqualFold(string(r.Host), host) ||
		strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("%s %s %s %q, the library reads %s %s %s %q", r.MethodText, r.Target, r.Host, got, m.PseudoValue("method"), m.PseudoValue("path"), host, want)
	}
}

// FuzzForward: a request that came by HTTP/1.1 is the same when it has gone by HTTP/2.
func FuzzForward(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "POST /a?b HTTP/1.1\r\nHost: h:1\r\nContent-Length: 5\r\nX-Y: \t z \r\nCookie: a\r\nCookie: b\r\n\r\n",
		"PUT http://other/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: x\r\nX: y\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\nx_y: 1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", string(browserRequest),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var in http1.Request
		if n, err := in.Parse(raw, nil); n == 0 || err != nil || !in.Has(http1.Host) {
			return
		}
		head := http1.AppendEnd(http1.AppendFields(http1.AppendRequestLine(nil, in.MethodText, in.Target), in.Fields))
		flags := End
		if in.HasBody() {
			flags = 0
		}
		for _, c := range []struct {
			set   Settings
			times int
		}{{Settings{}, 3}} {
			p := newPair(c.set)
			seen := 0
			p.onServer = func(ev *Event) {
				if ev.Kind != KindRequest {
					t.Fatalf("%q: %s %v %v", head, ev.Kind, ev.Err, ev.Refusal)
				}
				seen++
				out := ev.Request
				if string(out.MethodText) != string(in.MethodText) || string(out.Target) != string(in.Target) || string(out.Host) != string(in.Host) ||
					out.HasBody() != in.HasBody() || out.Length != in.Length || plain(out) != plain(&in) {
					t.Fatalf("sent\n%s%s\nreceived %s %s %s\n%s", head, plain(&in), out.MethodText, out.Target, out.Host, plain(out))
				}
			}
			for range c.times {
				if _, err := p.client.SendRequest(head, flags); err != nil {
					t.Fatalf("%q: %v", head, err)
				}
				p.exchange()
			}
			if seen != c.times || p.client.Err() != nil || p.server.Err() != nil {
				t.Fatalf("%q: seen %d times, %v, %v", head, seen, p.client.Err(), p.server.Err())
			}
		}
	})
}

// plain are the fields that go on, with the cookies last and joined.
func plain(r *http1.Request) string {
	var b strings.Builder
	var cookies []string
	for _, f := range r.Fields {
		switch {
		case f.Hop || f.Known == http1.Host:
		case f.Known == http1.Cookie:
			cookies = append(cookies, string(f.Value))
		default:
			fmt.Fprintf(&b, "%s: %s\n", strings.ToLower(string(f.Name)), f.Value)
		}
	}
	return b.String() + strings.Join(cookies, "; ")
}
