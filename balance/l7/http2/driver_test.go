package http2

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance/l7/http1"
)

// A plain driver of the engine for the tests: a goroutine per connection, blocking reads and writes.

// app answers a request whose body has come. It returns the text of a head, a body and trailer lines.
type app func(q *testRequest) (head, body, trailers []byte)

type testRequest struct {
	method, target, host string
	fields               []http1.Field // deep copies
	body, trailers       []byte

	head, rest, tail []byte // of the answer, as far as it is not sent
	started          bool
}

func (q *testRequest) field(name string) string {
	if i := http1.FindText(q.fields, []byte(name)); i >= 0 {
		return string(q.fields[i].Value)
	}
	return ""
}

func newTestRequest(r *http1.Request) *testRequest {
	q := &testRequest{method: string(r.MethodText), target: string(r.Target), host: string(r.Host)}
	for _, f := range r.Fields {
		f.Name, f.Value = append([]byte(nil), f.Name...), append([]byte(nil), f.Value...)
		q.fields = append(q.fields, f)
	}
	return q
}

type server struct {
	set        Settings
	app        app
	drainAfter int // requests of a connection; 0: never

	started time.Time
	lis     net.Listener
	conns   sync.WaitGroup
	mu      sync.Mutex
	open    map[net.Conn]bool
	errs    []error
}

// serve starts a server on a loopback port; it ends with the test.
func serve(t testing.TB, set Settings, a app) *server {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{set: set, app: a, lis: lis, started: time.Now(), open: map[net.Conn]bool{}}
	s.conns.Go(s.accept)
	t.Cleanup(s.stop)
	return s
}

func (s *server) addr() string { return s.lis.Addr().String() }

func (s *server) stop() {
	s.lis.Close()
	s.mu.Lock()
	for nc := range s.open {
		nc.Close()
	}
	s.mu.Unlock()
	s.conns.Wait()
}

func (s *server) accept() {
	for {
		nc, err := s.lis.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.open[nc] = true
		s.mu.Unlock()
		s.conns.Go(func() {
			err := s.run(nc)
			nc.Close()
			s.mu.Lock()
			delete(s.open, nc)
			if err != nil {
				s.errs = append(s.errs, err)
			}
			s.mu.Unlock()
		})
	}
}

// run serves a connection. It returns the rule that the peer broke, if any.
func (s *server) run(nc net.Conn) error {
	c := NewServer(&s.set, new(Scratch))
	buf := make([]byte, 64<<10)
	for served := 0; ; {
		if err := flush(nc, c); err != nil {
			return nil
		}
		if c.Drained() { // the client closes, or has had its time
			_ = nc.SetReadDeadline(time.Now().Add(2 * time.Second))
		}
		if c.Err() != nil {
			break
		}
		n, err := nc.Read(buf)
		if err != nil {
			return nil
		}
		c.Receive(buf[:n], time.Since(s.started))
		for ev := c.Next(); ev != nil; ev = c.Next() {
			if ev.Kind == KindRequest {
				if served++; served == s.drainAfter {
					c.Drain()
				}
			}
			s.event(c, ev)
		}
	}
	// Reading to the end lets the peer see the reason before a reset.
	if h, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite()
	}
	_ = nc.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.Copy(io.Discard, nc)
	return c.Err()
}

// flush writes Out, and what can be added to it then.
func flush(nc net.Conn, c *Conn) error {
	for {
		for id, user, ok := c.Writable(); ok; id, user, ok = c.Writable() {
			user.(*testRequest).send(c, id)
		}
		if len(c.Out) == 0 {
			return nil
		}
		_, err := nc.Write(c.Out)
		c.Out = c.Out[:0]
		if err != nil {
			return err
		}
	}
}

func (s *server) event(c *Conn, ev *Event) {
	q, _ := ev.User.(*testRequest)
	switch ev.Kind {
	case KindRequest:
		q = newTestRequest(ev.Request)
		c.Bind(ev.Stream, q)
	case KindRefused:
		head := fmt.Appendf(nil, "HTTP/1.1 %d \r\nx-rule: %s\r\n\r\n", ev.Refusal.Status, ev.Refusal.Rule)
		if c.SendResponse(ev.Stream, head, End) == nil && !ev.End {
			c.Reset(ev.Stream, NoError)
		}
		return
	case KindData:
		q.body = append(q.body, ev.Data...)
		c.Consumed(ev.Stream, len(ev.Data))
	case KindTrailers:
		q.trailers = append(q.trailers, ev.Data...)
	default:
		return
	}
	if ev.End {
		q.head, q.rest, q.tail = s.app(q)
		q.send(c, ev.Stream)
	}
}

// send goes on with the answer.
func (q *testRequest) send(c *Conn, id uint32) {
	end := End
	if len(q.tail) > 0 {
		end = 0
	}
	if !q.started {
		q.started = true
		flags := Flags(0)
		if len(q.rest) == 0 {
			flags = end
		}
		if err := c.SendResponse(id, q.head, flags); err != nil || flags == End {
			return
		}
	}
	q.rest = q.rest[c.SendData(id, q.rest, end):]
	if len(q.rest) == 0 && len(q.tail) > 0 {
		if err := c.SendTrailers(id, q.tail); err != nil {
			panic(err)
		}
	}
}

// hello answers as the smallest server would, with a body of n bytes.
func hello(n int) app {
	body := make([]byte, n)
	for i := range body {
		body[i] = 'a' + byte(i%26)
	}
	return func(*testRequest) (head, rest, tail []byte) {
		head = append(head, "HTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: text/plain\r\nContent-Length: "...)
		head = append(strconv.AppendInt(head, int64(n), 10), "\r\n\r\n"...)
		return head, body, nil
	}
}

// echo answers with what it was asked.
func echo(q *testRequest) (head, rest, tail []byte) {
	head = fmt.Appendf(head, "HTTP/1.1 200 OK\r\nX-Method: %s\r\nX-Target: %s\r\nX-Host: %s\r\nX-Cookie: %s\r\nX-Custom: %s\r\nTrailer: x-sum\r\n\r\n",
		q.method, q.target, q.host, q.field("cookie"), q.field("x-custom"))
	return head, q.body, fmt.Appendf(nil, "x-sum: %d\r\n%s", len(q.body), q.trailers)
}

// client is a connection to a server, for one request after the other.
type client struct {
	nc    net.Conn
	c     *Conn
	start time.Time
	buf   []byte
}

type testResponse struct {
	status   int
	interims []int
	fields   map[string]string
	body     []byte
	trailers string
	reset    *Event
}

func dial(t testing.TB, addr string, set Settings) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &client{nc: nc, c: NewClient(&set, new(Scratch)), start: time.Now(), buf: make([]byte, 64<<10)}
}

// do sends a request and waits for the answer.
func (cl *client) do(head string, body []byte, tail string) (*testResponse, error) {
	flags := End
	if len(body) > 0 || tail != "" {
		flags = 0
	}
	id, err := cl.c.SendRequest([]byte(head), flags)
	if err != nil {
		return nil, err
	}
	resp := &testResponse{fields: map[string]string{}}
	q := &testRequest{started: true, rest: body, tail: []byte(tail)}
	cl.c.Bind(id, q)
	if flags == 0 {
		q.send(cl.c, id)
	}
	for {
		if err := flush(cl.nc, cl.c); err != nil {
			return nil, err
		}
		done, err := cl.read(id, resp)
		if done || err != nil {
			return resp, err
		}
	}
}

// read reads once, and reports whether the answer is complete.
func (cl *client) read(id uint32, resp *testResponse) (done bool, err error) {
	_ = cl.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := cl.nc.Read(cl.buf)
	if err != nil {
		return false, err
	}
	cl.c.Receive(cl.buf[:n], time.Since(cl.start))
	for ev := cl.c.Next(); ev != nil; ev = cl.c.Next() {
		if ev.Stream == id && ev.Kind != KindGoAway {
			done = resp.take(ev) || done
		}
		if ev.Kind == KindData {
			cl.c.Consumed(ev.Stream, len(ev.Data))
		}
	}
	return done, cl.c.Err()
}

func (r *testResponse) take(ev *Event) (done bool) {
	switch ev.Kind {
	case KindResponse:
		if ev.Response.Interim() {
			r.interims = append(r.interims, ev.Response.Status)
			return false
		}
		r.status = ev.Response.Status
		for _, f := range ev.Response.Fields {
			r.fields[string(f.Name)] = string(f.Value)
		}
	case KindData:
		r.body = append(r.body, ev.Data...)
	case KindTrailers:
		r.trailers = string(ev.Data)
	case KindReset:
		e := *ev
		r.reset = &e
		return true
	}
	return ev.End
}
