package l7_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/fault/retry"
)

// patient is how long a test waits for what must happen.
const patient = 10 * time.Second

// TestMain runs the tests, or plays the part of an endpoint for those that end processes. In the end nothing may
// be left: no goroutine, no descriptor.
func TestMain(m *testing.M) {
	if address := os.Getenv(actorEnv); address != "" {
		os.Exit(act(address))
	}
	warmUp()
	before := openFiles()
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		if after := openFiles(); after > before {
			fmt.Fprintf(os.Stderr, "%d descriptors were open before the tests, %d after\n", before, after)
			list, _ := os.ReadDir("/proc/self/fd")
			for _, e := range list {
				to, _ := os.Readlink("/proc/self/fd/" + e.Name())
				fmt.Fprintln(os.Stderr, e.Name(), to)
			}
			code = 1
		}
	}
	os.Exit(code)
}

// warmUp opens what the runtime keeps open from then on.
func warmUp() {
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		ln.Close()
	}
}

func openFiles() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}

// setup is a server with one listener, one pool and one route, to be changed by a test before it starts.
type setup struct {
	server   l7.Config
	pool     balance.Config
	upstream l7.UpstreamSettings
	budget   *retry.Budget
	route    l7.Route
	before   []*l7.Route // routes that are asked first
	listener l7.Listener
}

// stage is a running server.
type stage struct {
	t       testing.TB
	srv     *l7.Standalone
	pool    *balance.Pool
	up      *l7.Upstream
	setup   *setup
	address string
	origin  time.Time
	cancel  context.CancelFunc
	ended   chan struct{}
}

// syncRequest is one that the server answers by itself, with a status that nothing else has: what came before it
// has been dealt with by then.
const (
	syncRequest = "GET /.sync HTTP/1.1\r\nHost: sync\r\n\r\n"
	syncStatus  = "HTTP/1.1 299 \r\n"
)

// serve starts a server over the given endpoints. Time-outs are long, retries are on, forwarding fields are off:
// a test changes what it is about.
func serve(t testing.TB, endpoints []string, change ...func(*setup)) *stage {
	t.Helper()
	s := &setup{
		server: l7.Config{Loops: 2, Origin: time.Now()},
		pool:   balance.Config{Name: "site"},
		upstream: l7.UpstreamSettings{
			Connect: patient, FirstByte: patient, IdleIO: patient, KeepAlive: time.Minute, MaxIdle: 64, Queue: patient,
		},
		route: l7.Route{Name: "all", Retry: retry.Policy{BackoffBase: time.Millisecond}},
		listener: l7.Listener{
			Name: "web", Addresses: []string{"127.0.0.1:0"}, Forward: l7.Forward{XForwarded: l7.ForwardOff},
			Timeouts: l7.Timeouts{Header: patient, Idle: patient, BodyIdle: patient, WriteIdle: patient},
		},
	}
	for _, e := range endpoints {
		s.pool.Endpoints = append(s.pool.Endpoints, balance.EndpointConfig{Address: e})
	}
	for _, f := range change {
		f(s)
	}
	return s.start(t)
}

func (s *setup) start(t testing.TB) *stage {
	t.Helper()
	st := &stage{t: t, setup: s, origin: s.server.Origin, ended: make(chan struct{})}
	var err error
	if st.pool, err = balance.New(s.pool, 0); err != nil {
		t.Fatal(err)
	}
	st.up = l7.NewUpstream("site", st.pool, s.budget, s.upstream)
	if st.srv, err = l7.New(s.server); err != nil {
		t.Fatal(err)
	}
	if err := st.srv.Apply([]*l7.Listener{st.makeListener()}); err != nil {
		t.Fatal(err)
	}
	st.address = st.srv.Addr(s.listener.Addresses[0])
	ctx, cancel := context.WithCancel(context.Background())
	st.cancel = cancel
	go func() { defer close(st.ended); _ = st.srv.Run(ctx) }()
	t.Cleanup(st.close)
	return st
}

// makeListener makes the listener anew, as a reload does.
func (st *stage) makeListener() *l7.Listener {
	s := st.setup
	route := s.route
	if route.Redirect == nil && route.Respond == nil && route.Split == nil {
		route.Upstream = st.up
	}
	sync := &l7.Route{
		Name: "sync", Match: l7.Match{Path: "/.sync"},
		Respond: &l7.Respond{Status: 299},
	}
	lis := l7.Listener{
		Name: s.listener.Name, Addresses: s.listener.Addresses, Limits: s.listener.Limits, BodyMax: s.listener.BodyMax,
		Timeouts: s.listener.Timeouts, MaxConns: s.listener.MaxConns, MaxPerSource: s.listener.MaxPerSource,
		Trusted: s.listener.Trusted, Forward: s.listener.Forward, RequestID: s.listener.RequestID,
		Access: s.listener.Access, Log: s.listener.Log, TLS: s.listener.TLS, HTTP2: s.listener.HTTP2,
	}
	lis.Routes = []*l7.Route{sync}
	for _, r := range s.before {
		r := *r
		if r.Redirect == nil && r.Respond == nil && r.Split == nil && r.Upstream == nil {
			r.Upstream = st.up
		}
		lis.Routes = append(lis.Routes, &r)
	}
	lis.Routes = append(lis.Routes, &route)
	return &lis
}

// now is the time as pools take it.
func (st *stage) now() time.Duration { return time.Since(st.origin) }

// close checks that no place on an endpoint has been lost, and ends the server, once.
func (st *stage) close() {
	select {
	case <-st.ended:
		return
	default:
	}
	st.until("no request is in flight", func() bool {
		for _, e := range st.pool.Endpoints() {
			if e.InFlight() != 0 {
				return false
			}
		}
		return st.pool.InFlight() == 0 && st.pool.Pending() == 0
	})
	st.cancel()
	<-st.ended
	if n := st.srv.Connections(); n != 0 {
		st.t.Errorf("%d connections are counted after the end", n)
	}
	_, endpoints := st.up.Stats()
	for _, e := range endpoints {
		if e.Connections != 0 {
			st.t.Errorf("%d connections to %s are counted after the end", e.Connections, e.Endpoint)
		}
	}
}

// until waits for a state.
func (st *stage) until(what string, holds func() bool) {
	st.t.Helper()
	until(st.t, what, holds)
}

func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patient); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// drain begins to end the service gently; the channel is closed when that is done.
func (st *stage) drain() <-chan struct{} {
	done := make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	go func() { defer close(done); defer cancel(); st.srv.Drain(ctx) }()
	st.until("the server drains", st.srv.Draining)
	return done
}

// dial connects a client.
func (st *stage) dial() *peer {
	st.t.Helper()
	network, address := "tcp", st.address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	c, err := net.Dial(network, address)
	if err != nil {
		st.t.Fatal(err)
	}
	return newPeer(st.t, c)
}

// endpoint is a listening socket whose connections a test plays by hand.
type endpoint struct {
	t     testing.TB
	ln    net.Listener
	conns chan net.Conn
}

func newEndpoint(t testing.TB) *endpoint {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &endpoint{t: t, ln: ln, conns: make(chan net.Conn, 1000)}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(e.conns)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			e.conns <- c
		}
	})
	t.Cleanup(func() {
		ln.Close()
		for c := range e.conns {
			c.Close()
		}
		wg.Wait()
	})
	return e
}

func (e *endpoint) addr() string { return e.ln.Addr().String() }

// accept waits for a connection.
func (e *endpoint) accept() *peer {
	e.t.Helper()
	select {
	case c := <-e.conns:
		return newPeer(e.t, c)
	case <-time.After(patient):
		e.t.Fatal("the endpoint got no connection")
		return nil
	}
}

// play lets f answer on each connection, in a goroutine of its own, until the test ends.
func (e *endpoint) play(f func(*peer)) {
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case c, ok := <-e.conns:
				if !ok {
					return
				}
				wg.Go(func() { defer c.Close(); f(&peer{t: e.t, conn: c}) })
			case <-done:
				return
			}
		}
	})
	e.t.Cleanup(func() { close(done); wg.Wait() })
}

// untouched checks that nobody has connected. The caller knows that the request in question is over.
func (e *endpoint) untouched() {
	e.t.Helper()
	select {
	case <-e.conns:
		e.t.Error("the endpoint got a connection")
	default:
	}
}

// gone returns an address at which nobody listens.
func gone(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// peer is one end of a connection, played by hand.
type peer struct {
	t    testing.TB
	conn net.Conn
	got  []byte // read and not yet asked for
}

func newPeer(t testing.TB, c net.Conn) *peer {
	p := &peer{t: t, conn: c}
	t.Cleanup(func() { c.Close() })
	return p
}

// say sends bytes. It does not mind a connection that has been closed meanwhile: what comes back tells.
func (p *peer) say(s string) {
	p.t.Helper()
	_ = p.conn.SetWriteDeadline(time.Now().Add(patient))
	if _, err := p.conn.Write([]byte(s)); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Errorf("nobody takes %d bytes", len(s))
	}
}

// more reads once.
func (p *peer) more() error {
	_ = p.conn.SetReadDeadline(time.Now().Add(patient))
	var buf [64 << 10]byte
	n, err := p.conn.Read(buf[:])
	p.got = append(p.got, buf[:n]...)
	return err
}

// expect reads exactly these bytes.
func (p *peer) expect(want string) {
	p.t.Helper()
	for same := 0; len(p.got) < len(want); same = len(p.got) {
		if err := p.more(); err != nil {
			p.t.Fatalf("got %s and then %v, want %s", brief(p.got), err, brief(want))
		}
		if n := min(len(p.got), len(want)); string(p.got[same:n]) != want[same:n] {
			break
		}
	}
	if got := string(p.got[:min(len(p.got), len(want))]); got != want {
		p.t.Fatalf("got\n%s\nwant\n%s", quoted(string(p.got)), quoted(want))
	}
	p.got = p.got[len(want):]
}

// until reads up to and with a text.
func (p *peer) until(end string) string {
	p.t.Helper()
	for {
		if i := bytes.Index(p.got, []byte(end)); i >= 0 {
			i += len(end)
			s := string(p.got[:i])
			p.got = p.got[i:]
			return s
		}
		if err := p.more(); err != nil {
			p.t.Fatalf("got %s and then %v, want a text up to %q", brief(p.got), err, end)
		}
	}
}

// head reads a head.
func (p *peer) head() string {
	p.t.Helper()
	return p.until("\r\n\r\n")
}

// tryHead reads a head, or returns an empty string at the connection's end.
func (p *peer) tryHead() string {
	for {
		if i := bytes.Index(p.got, []byte("\r\n\r\n")); i >= 0 {
			s := string(p.got[:i+4])
			p.got = p.got[i+4:]
			return s
		}
		if p.more() != nil {
			return ""
		}
	}
}

// take reads n bytes.
func (p *peer) take(n int) string {
	p.t.Helper()
	for len(p.got) < n {
		if err := p.more(); err != nil {
			p.t.Fatalf("got %d bytes and then %v, want %d", len(p.got), err, n)
		}
	}
	s := string(p.got[:n])
	p.got = p.got[n:]
	return s
}

// rest reads up to the end of the stream, which must come in order.
func (p *peer) rest() string {
	p.t.Helper()
	for {
		if err := p.more(); err == io.EOF {
			s := string(p.got)
			p.got = nil
			return s
		} else if err != nil {
			p.t.Fatalf("got %s and then %v, want the end of the stream", brief(p.got), err)
		}
	}
}

// ended checks that the stream has ended and nothing came before that.
func (p *peer) ended() {
	p.t.Helper()
	if s := p.rest(); s != "" {
		p.t.Errorf("got %q before the end", s)
	}
}

// broken reads up to the connection's end, in whichever way it comes, and returns what came before.
func (p *peer) broken() (before string, reset bool) {
	p.t.Helper()
	for {
		switch err := p.more(); {
		case err == nil:
		case err == io.EOF, errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
			return string(p.got), err != io.EOF
		default:
			p.t.Fatalf("got %s and then %v, want the connection's end", brief(p.got), err)
		}
	}
}

// synced sends the request that the server answers by itself and returns what came before its answer.
func (p *peer) synced() string {
	p.t.Helper()
	p.say(syncRequest)
	s := undated(p.until(syncStatus))
	p.head0()
	return strings.TrimSuffix(s, syncStatus)
}

// head0 reads the rest of a head whose first line has been read.
func (p *peer) head0() {
	p.t.Helper()
	for p.until("\r\n") != "\r\n" {
	}
}

// gone is closed when the other side has gone; what it still says is thrown away.
func (p *peer) gone() <-chan struct{} {
	c := make(chan struct{})
	go func() {
		defer close(c)
		_ = p.conn.SetReadDeadline(time.Time{})
		_, _ = io.Copy(io.Discard, p.conn)
	}()
	return c
}

// shut ends the sending side.
func (p *peer) shut() {
	p.t.Helper()
	c, ok := p.conn.(interface{ CloseWrite() error })
	if !ok {
		p.t.Fatal("the connection can't be half closed")
	}
	if err := c.CloseWrite(); err != nil {
		p.t.Fatal(err)
	}
}

// reset closes the connection so that the other side sees it as broken.
func (p *peer) reset() {
	if c, ok := p.conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	p.conn.Close()
}

func (p *peer) close() { p.conn.Close() }

// expectOwn reads an answer of the server's own, whose date is of no interest.
func (p *peer) expectOwn(want string) {
	p.t.Helper()
	_, body, _ := strings.Cut(want, "\r\n\r\n")
	if got := undated(p.head()) + p.take(len(body)); got != want {
		p.t.Fatalf("got\n%s\nwant\n%s", quoted(got), quoted(want))
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

// lines joins lines into a head.
func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n\r\n" }

var dateLine = regexp.MustCompile(`(?m)^Date: .*\r\n`)

// undated takes the Date fields out.
func undated(s string) string { return dateLine.ReplaceAllString(s, "") }

// brief shows the beginning of what may be long.
func brief[T string | []byte](s T) string {
	if len(s) > 1000 {
		return fmt.Sprintf("%q and %d bytes more", s[:1000], len(s)-1000)
	}
	return fmt.Sprintf("%q", s)
}

// quoted shows bytes line by line.
func quoted(s string) string {
	if len(s) > 2000 {
		return brief(s)
	}
	var b strings.Builder
	for l := range strings.Lines(s) {
		fmt.Fprintf(&b, "  %q\n", l)
	}
	return b.String()
}

// ownAnswer is an answer of the server's own, without its date.
func ownAnswer(status, text string, fields ...string) string {
	l := append([]string{
		"HTTP/1.1 " + status, "Content-Type: text/plain; charset=utf-8", fmt.Sprintf("Content-Length: %d", len(text)+1),
	}, fields...)
	return lines(l...) + text + "\n"
}
