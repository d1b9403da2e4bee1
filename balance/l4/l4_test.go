package l4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/internal/edge"
)

// rig is an edge with one listener that passes connections to a pool.
type rig struct {
	t       *testing.T
	edge    *edge.Edge
	server  *Server
	pool    *balance.Pool
	service *Service
	address string
}

func start(t *testing.T, set Settings, change func(*edge.Listener, *Service, *balance.Config), endpoints ...string) *rig {
	t.Helper()
	e, err := edge.New(edge.Config{Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	cfg := balance.Config{Name: "db", Algorithm: balance.RoundRobin}
	for _, a := range endpoints {
		cfg.Endpoints = append(cfg.Endpoints, balance.EndpointConfig{Address: a})
	}
	r := &rig{t: t, edge: e, server: NewServer(e)}
	r.service = &Service{Server: r.server}
	l := &edge.Listener{Name: "db", Addresses: []string{"127.0.0.1:0"}, Server: r.service}
	if change != nil {
		change(l, r.service, &cfg)
	}
	if r.pool, err = balance.New(cfg, e.Now()); err != nil {
		t.Fatal(err)
	}
	r.service.Upstream = NewUpstream("db", r.pool, set)
	if err := e.Apply([]*edge.Listener{l}); err != nil {
		t.Fatal(err)
	}
	r.address = e.Addr(l.Addresses[0])
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { e.Run(ctx) })
	t.Cleanup(func() {
		if strings.HasPrefix(l.Addresses[0], "udp:") {
			e.Apply(nil)
		}
		r.eventually("no session holds a place", func() bool { return r.pool.InFlight() == 0 })
		stop()
		wg.Wait()
	})
	return r
}

func (r *rig) dial() *net.TCPConn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(10 * time.Second); !holds(); {
		select {
		case <-deadline:
			r.t.Errorf("not within 10 s: %s", what)
			return
		case <-tick.C:
		}
	}
}

// backend serves each connection with f, on a real socket.
func backend(t *testing.T, network, address string, f func(*net.TCPConn, net.Conn)) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				tcp, _ := c.(*net.TCPConn)
				f(tcp, c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	if network == "unix" {
		return "unix:" + address
	}
	return l.Addr().String()
}

// echo sends everything back, and ends when its peer does.
func echo(_ *net.TCPConn, c net.Conn) { io.Copy(c, c) }

// named says its name and ends.
func named(name string) func(*net.TCPConn, net.Conn) {
	return func(_ *net.TCPConn, c net.Conn) { io.WriteString(c, name) }
}

func TestBytesPassBothWaysAndEndsAreHalfClosed(t *testing.T) {
	// The backend answers only once the client has ended its stream: a proxy that closes both sides at the
	// first end would lose the answer.
	sum := backend(t, "tcp", "127.0.0.1:0", func(_ *net.TCPConn, c net.Conn) {
		all, _ := io.ReadAll(c)
		fmt.Fprintf(c, "%x", sha256.Sum256(all))
	})
	r := start(t, Settings{}, nil, sum)
	c := r.dial()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() { c.Write(sent); c.CloseWrite() }()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != fmt.Sprintf("%x", sha256.Sum256(sent)) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAServerThatSpeaksFirstIsHeard(t *testing.T) {
	greeter := backend(t, "unix", filepath.Join(t.TempDir(), "greeter.sock"), named("220 hello"))
	r := start(t, Settings{}, nil, greeter)
	for range 100 { // also one that has gone before the connection is noticed
		if got, err := io.ReadAll(r.dial()); err != nil || string(got) != "220 hello" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

func TestLargeStreamsArriveWholeWithSlowReaders(t *testing.T) {
	size := 64 << 20
	if testing.Short() {
		size = 8 << 20
	}
	r := start(t, Settings{}, nil, backend(t, "tcp", "127.0.0.1:0", echo))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			c := r.dial()
			c.SetReadBuffer(16 << 10)
			c.SetDeadline(time.Now().Add(60 * time.Second))
			sent, got := sha256.New(), sha256.New()
			var sender sync.WaitGroup
			sender.Go(func() {
				src := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), int64(size)), sent)
				io.Copy(c, src)
				c.CloseWrite()
			})
			n, err := io.CopyBuffer(got, struct{ io.Reader }{c}, make([]byte, 3000+i*1000))
			sender.Wait()
			if err != nil || n != int64(size) || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
				t.Errorf("stream %d: %d of %d bytes, %v", i, n, size, err)
			}
		})
	}
	wg.Wait()
}

func TestAConnectThatFailsIsTriedElsewhere(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := gone.Addr().String()
	gone.Close()
	r := start(t, Settings{}, nil, dead, backend(t, "tcp", "127.0.0.1:0", named("alive")))
	for range 10 {
		if got, err := io.ReadAll(r.dial()); err != nil || string(got) != "alive" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

func TestSessionsOfAnEndpointThatIsDownAreKeptDrainedOrKilled(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   Settings
		ended bool
	}{
		{"keep", Settings{OnDown: Keep}, false},
		{"drain", Settings{OnDown: Drain, DrainTime: 30 * time.Millisecond}, true},
		{"kill", Settings{OnDown: Kill}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, c.set, nil, backend(t, "tcp", "127.0.0.1:0", echo))
			conn := r.dial()
			b := make([]byte, 1)
			conn.Write([]byte("x"))
			if _, err := io.ReadFull(conn, b); err != nil {
				t.Fatal(err)
			}
			ep := r.pool.Endpoints()[0]
			r.pool.SetHealth(ep, balance.Down, "test", r.edge.Now())
			r.server.Down(ep)
			if !c.ended {
				conn.Write([]byte("y"))
				if _, err := io.ReadFull(conn, b); err != nil || b[0] != 'y' {
					t.Errorf("the session did not go on: %v", err)
				}
				conn.Close()
				return
			}
			if _, err := conn.Read(b); err == nil || os.IsTimeout(err) {
				t.Errorf("the session was not cut: %v", err)
			}
		})
	}
}

func TestSessionsWaitForAPlaceInOrder(t *testing.T) {
	r := start(t, Settings{Queue: 10 * time.Second}, func(_ *edge.Listener, _ *Service, cfg *balance.Config) {
		cfg.Endpoints[0].MaxRequests = 1
		cfg.MaxPending = 2
	}, backend(t, "tcp", "127.0.0.1:0", echo))
	ask := func(c net.Conn, s string) string {
		b := make([]byte, len(s))
		io.WriteString(c, s)
		if _, err := io.ReadFull(c, b); err != nil {
			return err.Error()
		}
		return string(b)
	}
	first := r.dial()
	if got := ask(first, "one"); got != "one" {
		t.Fatal(got)
	}
	second, third := r.dial(), r.dial()
	r.eventually("two wait", func() bool { return r.pool.Pending() == 2 })
	fourth := r.dial()
	if _, err := fourth.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("a fourth was not turned away: %v", err)
	}
	third.Close() // one that waits goes away
	first.Close()
	if got := ask(second, "two"); got != "two" {
		t.Errorf("the second got %q", got)
	}
	second.Close()
	r.eventually("nobody waits", func() bool { return r.pool.Pending() == 0 })
}

func TestAQuietSessionEnds(t *testing.T) {
	r := start(t, Settings{Idle: 50 * time.Millisecond}, nil, backend(t, "tcp", "127.0.0.1:0", echo))
	c := r.dial()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("err = %v, want the end of the stream", err)
	}
}

func TestTheProxyHeaderGoesInAndOut(t *testing.T) {
	heard := make(chan string, 1)
	listener := backend(t, "tcp", "127.0.0.1:0", func(_ *net.TCPConn, c net.Conn) {
		all, _ := io.ReadAll(c)
		heard <- string(all)
	})
	r := start(t, Settings{Proxy: ProxyV1}, func(l *edge.Listener, s *Service, _ *balance.Config) {
		l.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		s.AcceptProxy = true
		s.Access.Deny = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	}, listener)
	send := func(pieces ...string) {
		c := r.dial()
		for _, p := range pieces {
			io.WriteString(c, p)
		}
		c.CloseWrite()
		io.Copy(io.Discard, c)
	}
	send("PROXY TCP4 192.0.2.1 198", ".51.100.7 1000 443\r", "\nhello")
	if got := <-heard; got != "PROXY TCP4 192.0.2.1 198.51.100.7 1000 443\r\nhello" {
		t.Errorf("the endpoint got %q", got)
	}
	for _, bad := range []string{"GET / HTTP/1.1\r\n", "PROXY TCP4 203.0.113.9 198.51.100.7 1000 443\r\nhello", "PROXY nonsense\r\n"} {
		send(bad)
	}
	select {
	case got := <-heard:
		t.Errorf("the endpoint got %q", got)
	default:
	}
}

func TestNobodyIsBelievedWhoIsNotTrusted(t *testing.T) {
	r := start(t, Settings{}, func(l *edge.Listener, s *Service, _ *balance.Config) {
		l.Trusted = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		s.AcceptProxy = true
	}, backend(t, "tcp", "127.0.0.1:0", named("secret")))
	c := r.dial()
	io.WriteString(c, "PROXY TCP4 10.1.1.1 10.1.1.2 1 2\r\n")
	if got, _ := io.ReadAll(c); len(got) > 0 {
		t.Errorf("got %q", got)
	}
}

func BenchmarkPingPong(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}); c.Close() }()
		}
	}()
	e, _ := edge.New(edge.Config{Loops: 1})
	s := NewServer(e)
	p, _ := balance.New(balance.Config{Endpoints: []balance.EndpointConfig{{Address: l.Addr().String()}}}, 0)
	e.Apply([]*edge.Listener{{Name: "x", Addresses: []string{"127.0.0.1:0"}, Server: &Service{Server: s, Upstream: NewUpstream("x", p, Settings{Idle: time.Minute})}}})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { e.Run(ctx); close(done) }()
	defer func() { stop(); <-done }()
	c, err := net.Dial("tcp", e.Addr("127.0.0.1:0"))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		c.Write(buf)
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
}
