package http2

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var flowTable = []row{
	// What we may send.
	{name: "the stream's window", lines: "headers 1 end GET \n respond 1 200 \n send 1 end 70000 \n writable \n window 1 10 \n writable \n window 0 5000 \n writable \n send 1 end 4465 \n writable \n window 1 5000 \n writable \n send 1 end 4455",
		want: "request 1 end GET / host=h none \n < headers 1 :status=200 \n took 65535 \n < data 1 16384 \n < data 1 16384 \n < data 1 16384 \n < data 1 16383 \n writable 0 false \n writable 0 false \n writable 1 true \n took 10 \n < data 1 10 \n writable 0 false \n writable 1 true \n took 4455 \n < data 1 end 4455"},
	{name: "the connection's window, shared in turn", lines: "headers 1 end GET \n headers 3 end GET \n headers 5 end GET \n respond 1 200 \n respond 3 200 \n respond 5 200 \n send 1 60000 \n send 3 60000 \n send 5 100 \n send 1 100 \n writable \n window 0 300 \n writable \n send 1 200 \n writable \n send 3 90 \n writable \n send 5 1 \n writable \n writable",
		want: "request 1 end GET / host=h none \n request 3 end GET / host=h none \n request 5 end GET / host=h none \n < headers 1 :status=200 \n < headers 3 :status=200 \n < headers 5 :status=200 \n took 60000 \n < data 1 16384 \n < data 1 16384 \n < data 1 16384 \n < data 1 10848 \n took 5535 \n < data 3 5535 \n took 0 \n took 0 \n writable 0 false \n writable 1 true \n took 200 \n < data 1 200 \n writable 3 true \n took 90 \n < data 3 90 \n writable 5 true \n took 1 \n < data 5 1 \n writable 0 false \n writable 0 false"},
	{name: "a window that shrinks below zero, and grows again", lines: "headers 1 end GET \n respond 1 200 \n send 1 60000 \n settings 4=100 \n send 1 1 \n window 1 59900 \n writable \n window 1 1 \n writable \n send 1 5 \n settings 4=65535 \n writable \n send 1 5 \n headers 3 end GET \n wait 3",
		want: "request 1 end GET / host=h none \n < headers 1 :status=200 \n took 60000 \n < data 1 16384 \n < data 1 16384 \n < data 1 16384 \n < data 1 10848 \n took 0 \n writable 0 false \n writable 1 true \n took 1 \n < data 1 1 \n writable 1 true \n took 5 \n < data 1 5 \n request 3 end GET / host=h none \n window 5529"},
	{name: "a window of one byte", lines: "settings 4=1 \n headers 1 end GET \n respond 1 200 \n send 1 end 3 \n window 1 1 \n writable \n send 1 end 2 \n window 1 1 \n send 1 end 1",
		want: "request 1 end GET / host=h none \n < headers 1 :status=200 \n took 1 \n < data 1 1 \n writable 1 true \n took 1 \n < data 1 1 \n took 1 \n < data 1 end 1"},
	{name: "who has ended is not told", lines: "settings 4=0 \n headers 1 GET \n respond 1 200 \n wait 1 \n send 1 end 0 \n window 1 9 \n writable", want: "request 1 GET / host=h chunked \n < headers 1 :status=200 \n window 0 \n took 0 \n < data 1 end 0 \n writable 0 false"},
	{name: "an end needs no window", lines: "settings 4=0 \n headers 1 end GET \n respond 1 200 \n wait 1 \n send 1 0 \n send 1 end 0 \n wait 1",
		want: "request 1 end GET / host=h none \n < headers 1 :status=200 \n window 0 \n took 0 \n took 0 \n < data 1 end 0 \n window 0"},
	{name: "an end needs no window, and none that is overdrawn", lines: "headers 1 end GET \n respond 1 200 \n send 1 60000 \n settings 4=100 \n send 1 end 0",
		want: "request 1 end GET / host=h none \n < headers 1 :status=200 \n took 60000 \n < data 1 16384 \n < data 1 16384 \n < data 1 16384 \n < data 1 10848 \n took 0 \n < data 1 end 0"},
	{name: "who has asked for the window is told", lines: "settings 4=0 \n headers 1 end GET \n respond 1 200 \n wait 1 \n window 1 9 \n writable \n wait 1",
		want: "request 1 end GET / host=h none \n < headers 1 :status=200 \n window 0 \n writable 1 true \n window 9"},
	{name: "who has gone is not told", lines: "settings 4=0 \n headers 1 end GET \n headers 3 end GET \n respond 1 200 \n respond 3 200 \n wait 1 \n wait 3 \n rst 1 CANCEL \n settings 4=10 \n writable \n writable",
		want: "request 1 end GET / host=h none \n request 3 end GET / host=h none \n < headers 1 :status=200 \n < headers 3 :status=200 \n window 0 \n window 0 \n reset 1 CANCEL \n writable 3 true \n writable 0 false"},
	{name: "a connection's window above the maximum", lines: "window 0 0x7fff0000 \n window 0 1 \n window 0 0xffff", want: "< goaway 0 FLOW_CONTROL_ERROR window-overflow \n ! window-overflow"},
	{name: "a stream's window above the maximum", lines: "headers 1 end GET \n window 1 0x7fffffff", want: "request 1 end GET / host=h none \n reset 1 FLOW_CONTROL_ERROR stream-window-overflow \n < rst 1 FLOW_CONTROL_ERROR"},
	{name: "a stream's window above the maximum, by settings", lines: "headers 1 end GET \n window 1 1 \n settings 4=0x7fffffff", want: "request 1 end GET / host=h none \n < goaway 1 FLOW_CONTROL_ERROR stream-window-overflow \n ! stream-window-overflow"},
	{name: "a connection's window by nothing", lines: "window 0 0", want: "< goaway 0 PROTOCOL_ERROR window-zero \n ! window-zero"},
	{name: "a stream's window by nothing", lines: "headers 1 end GET \n window 1 0", want: "request 1 end GET / host=h none \n reset 1 PROTOCOL_ERROR stream-window-zero \n < rst 1 PROTOCOL_ERROR"},
	{name: "a window for a stream that is over", lines: "headers 1 end GET \n respond 1 end 200 \n window 1 5", want: "request 1 end GET / host=h none \n < headers 1 end :status=200"},

	// What we receive.
	{name: "the window opens as data goes on", lines: "headers 1 GET \n data 1 *16384 \n data 1 *16384 \n data 1 *8192 \n consumed 1 32767 \n consumed 1 1 \n consumed 1 100000 \n data 1 end *4 \n consumed 1 4",
		want: "request 1 GET / host=h chunked \n data 1 *40960 \n < window 1 32768 \n data 1 end xxxx",
		set:  Settings{StreamWindow: 65536, ConnWindow: 1 << 20}},
	{name: "more than the stream's window", lines: "headers 1 GET \n" + strings.Repeat("data 1 *16384\n", 5), want: "request 1 GET / host=h chunked \n data 1 *65536 \n reset 1 FLOW_CONTROL_ERROR stream-window-exceeded \n < rst 1 FLOW_CONTROL_ERROR",
		set: Settings{StreamWindow: 65536 + 16383, ConnWindow: 1 << 20}},
	{name: "more than the connection's window", lines: "headers 1 GET \n headers 3 GET \n" + strings.Repeat("data 1 *16384\n", 2) + strings.Repeat("data 3 *16384\n", 2),
		want: "request 1 GET / host=h chunked \n request 3 GET / host=h chunked \n data 1 *32768 \n data 3 *16384 \n < goaway 3 FLOW_CONTROL_ERROR window-exceeded \n ! window-exceeded", set: Settings{StreamWindow: 1 << 20, ConnWindow: 1}},
	{name: "padding is given back at once", lines: "headers 1 GET \n" + strings.Repeat("data 1 pad=255 x\n", 128), want: "request 1 GET / host=h chunked \n data 1 *128 \n < window 0 32768 \n < window 1 32768",
		set: Settings{StreamWindow: 1, ConnWindow: 1}},
	{name: "data that nobody wants is given back", lines: "headers 1 GET \n data 1 *16384 \n reset 1 CANCEL \n data 1 *16384 \n data 1 pad=9 *4 \n headers 3 GET expect=x \n data 3 *16384 \n data 3 *16369 \n respond 3 end 417",
		want: "request 1 GET / host=h chunked \n data 1 *16384 \n < rst 1 CANCEL \n < window 0 32768 \n refused 3 417 expect \n < window 0 32767 \n < headers 3 end :status=417", set: Settings{StreamWindow: 1, ConnWindow: 1}},
	{name: "a stream that ends gives back what was not consumed", lines: "headers 1 GET \n data 1 *16384 \n data 1 end *16384 \n respond 1 end 200 \n consumed 1 32768",
		want: "request 1 GET / host=h chunked \n data 1 end *32768 \n < headers 1 end :status=200 \n < window 0 32768", set: Settings{StreamWindow: 1, ConnWindow: 1}},
	{name: "a stream that is reset amid a frame", lines: "headers 1 GET \n raw 000004 00 01 00000001 6161 \n reset 1 CANCEL \n raw 6262 \n headers 3 end GET",
		want: "request 1 GET / host=h chunked \n data 1 aa \n < rst 1 CANCEL \n request 3 end GET / host=h none"},
}

func TestFlowControl(t *testing.T) {
	for i := range flowTable {
		r := flowTable[i]
		t.Run(r.name, func(t *testing.T) {
			s := newScript(t, false, r.set)
			s.now = 1 // tell of every window
			s.frames()
			s.play("settings")
			got := s.play(r.lines)
			if diff := cmp.Diff(clean(r.want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestOutputIsBounded: SendData takes no more than Queue, and nothing that would make tiny frames.
func TestOutputIsBounded(t *testing.T) {
	set := Settings{Queue: 40000}
	s := newScript(t, false, set)
	s.play("settings 4=0x7fffffff \n window 0 0x7f000000 \n headers 1 end GET \n respond 1 200")
	s.c.Out = nil
	n := s.c.SendData(1, make([]byte, 1<<20), End)
	if room := 40000 - len(s.c.Out); n < 38000 || room < 0 || room > roomMin+frameHead {
		t.Errorf("took %d, and %d bytes of room are left", n, room)
	}
	if m := s.c.SendData(1, make([]byte, 1<<20), End); m != 0 || !s.c.Full() && len(s.c.Out) < 40000-roomMin-frameHead {
		t.Errorf("took %d more", m)
	}
	if _, _, ok := s.c.Writable(); ok {
		t.Error("writable while the output is full")
	}
	s.c.Out = nil
	if id, _, ok := s.c.Writable(); id != 1 || !ok {
		t.Errorf("writable %d, %v after the output was sent", id, ok)
	}
	if m := s.c.SendData(1, make([]byte, 900), End); m != 900 {
		t.Errorf("took %d of the rest", m)
	}
	if s.c.Len() != 0 {
		t.Error("the stream is still open")
	}
}

// TestBeginDataSendsFromWhereTheDataIs: the frame's header, and then the caller's own bytes.
func TestBeginDataSendsFromWhereTheDataIs(t *testing.T) {
	s := newScript(t, false, Settings{})
	s.play("settings \n headers 1 end GET \n respond 1 200")
	data := make([]byte, 20000)
	for sent := 0; sent < len(data); {
		m := s.c.BeginData(1, len(data)-sent, End)
		s.c.Out = append(s.c.Out, data[sent:sent+m]...)
		sent += m
	}
	if got := s.play(""); got != "" {
		t.Errorf("told %q", got)
	}
	s.told = nil
	s.frames()
	if got := strings.Join(s.told, "\n"); got != "< data 1 16384\n< data 1 end 3616" {
		t.Errorf("sent %q", got)
	}
}

func TestStreamsAreListedAndMayBeResetMeanwhile(t *testing.T) {
	s := newScript(t, false, Settings{})
	s.play("settings \n headers 1 end GET \n headers 3 end GET \n headers 5 end GET")
	s.c.Bind(3, "three")
	var got []string
	for id, user := range s.c.Streams() {
		got = append(got, fmt.Sprintf("%d %v", id, user))
		s.c.Reset(id, Cancel)
	}
	if diff := cmp.Diff([]string{"5 <nil>", "3 three", "1 <nil>"}, got); diff != "" || s.c.Len() != 0 {
		t.Errorf("%d left\n%s", s.c.Len(), diff)
	}
	for range s.c.Streams() {
		t.Error("a stream is left")
	}
	s.play("headers 7 end GET \n headers 9 end GET")
	for id := range s.c.Streams() {
		if id != 9 {
			t.Errorf("stream %d after the loop was left", id)
		}
		break
	}
}

func TestTextsThatAreNoHeadsAreNotSent(t *testing.T) {
	server, client := newScript(t, false, Settings{}), newScript(t, true, Settings{})
	server.play("settings \n headers 1 end GET")
	client.play("settings")
	for _, text := range []string{
		"", "HTTP/1.1 200", "HTTP/1.1 200 OK\n\n", "HTTP/1.1 2\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\n: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\na: b\r\n\r\nmore\r\n",
	} {
		if err := server.c.SendResponse(1, []byte(text), 0); err != ErrHead {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", "GET /\r\n\r\n", "GET  HTTP/1.1\r\n\r\n", " / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nx\r\n\r\n"} {
		if _, err := client.c.SendRequest([]byte(text), End); err != ErrHead {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := server.c.SendResponse(1, []byte("HTTP/1.1 200 OK\r\na:  b \t\r\n"), 0); err != nil { // the empty line may be missing
		t.Error(err)
	}
	if err := server.c.SendTrailers(1, []byte("a: b\nc: d\r\n")); err != ErrHead {
		t.Errorf("trailers: %v", err)
	}
	server.frames()
	if got := server.told[len(server.told)-1]; got != "< headers 1 :status=200 a=b" || len(client.c.Out) > 0 {
		t.Errorf("sent %q, and %x", got, client.c.Out)
	}
}
