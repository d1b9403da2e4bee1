package l7_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7"
)

// TestThousandReloadsUnderLoadCostNothing exchanges the listener, and at times the pool's endpoints, under load.
func TestThousandReloadsUnderLoadCostNothing(t *testing.T) {
	a, b := echoer(t, "x"), echoer(t, "x")
	st := serve(t, []string{a.addr(), b.addr()}, func(s *setup) { s.listener.Forward = l7.Forward{} })
	st.dial().synced() // the server runs
	files, routines := openFiles(), runtime.NumGoroutine()
	c := gather(t, st.address, 16, 0, get())
	c.after(t, 200)
	for i := range 1000 {
		st.setup.route.Timeout = time.Duration(i%5) * time.Minute
		st.setup.before = atlas()[:i%7]
		if i%3 == 1 {
			st.setup.listener.Addresses = []string{"127.0.0.1:0", "127.0.0.2:0"}
		} else {
			st.setup.listener.Addresses = []string{"127.0.0.1:0"}
		}
		if err := st.srv.Apply([]*l7.Listener{st.makeListener()}); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			cfg := st.setup.pool
			if i%20 == 0 {
				cfg.Endpoints = cfg.Endpoints[:1]
			}
			if err := st.pool.Update(cfg, st.now()); err != nil {
				t.Fatal(err)
			}
			st.up.Configure(st.setup.upstream)
		}
	}
	c.after(t, 200)
	c.leave(t)
	st.srv.Sweep(time.Hour) // closes idle connections to endpoints
	st.until("no descriptor and no goroutine is left over", func() bool {
		return openFiles() <= files && runtime.NumGoroutine() <= routines
	})
}

func TestConnectionsOutlastAReload(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()})
	client := st.dial()
	client.say(get())
	server := e.accept()
	server.expect(get())
	st.setup.route.ResponseHeaders.Set = []l7.HeaderOp{{Name: "X-New", Value: template(t, "1")}}
	if err := st.srv.Apply([]*l7.Listener{st.makeListener()}); err != nil {
		t.Fatal(err)
	}
	server.say(ok("", "Content-Length: 0"))
	client.expect(ok("", "Content-Length: 0")) // a request ends under the rules that it began with
	client.say(get())
	server.expect(get())
	server.say(ok("", "Content-Length: 0"))
	client.expect(ok("", "Content-Length: 0", "X-New: 1"))
}

func TestRemovedListenerEndsItsConnectionsGently(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()})
	other := st.makeListener()
	other.Name, other.Addresses = "other", []string{"127.0.0.3:0"}
	if err := st.srv.Apply([]*l7.Listener{st.makeListener(), other}); err != nil {
		t.Fatal(err)
	}
	address := st.srv.Addr("127.0.0.3:0")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	busy := newPeer(t, conn)
	busy.say(get())
	server := e.accept()
	server.expect(get())
	if conn, err = net.Dial("tcp", address); err != nil {
		t.Fatal(err)
	}
	idle := newPeer(t, conn)
	idle.synced()
	if err := st.srv.Apply([]*l7.Listener{st.makeListener()}); err != nil {
		t.Fatal(err)
	}
	st.until("nobody listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	server.say(ok("x", "Content-Length: 1"))
	busy.expect(ok("x", "Content-Length: 1", "Connection: close"))
	busy.ended()
	idle.say(syncRequest)
	if got := idle.rest(); !strings.Contains(got, "Connection: close\r\n") {
		t.Errorf("the idle one got\n%s", quoted(got))
	}
	if got := len(st.srv.Listeners()); got != 1 {
		t.Errorf("%d listeners are left", got)
	}
}

func TestAddressMayChangeItsListener(t *testing.T) {
	st := serve(t, nil)
	old := st.dial()
	old.synced()
	next := st.makeListener()
	next.Name = "next"
	next.Routes = []*l7.Route{say("of the next", l7.Match{})}
	if err := st.srv.Apply([]*l7.Listener{next}); err != nil {
		t.Fatal(err)
	}
	st.until("new connections are the next one's", func() bool {
		p := st.dial()
		defer p.close()
		p.say(get())
		head := p.head()
		return strings.Contains(head, fmt.Sprintf("Content-Length: %d\r\n", len("of the next")))
	})
	old.say(syncRequest)
	old.until("Connection: close\r\n")
}

func TestDrainAnswersWhatHasBegun(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()})
	busy, idle := st.dial(), st.dial()
	busy.say(get())
	server := e.accept()
	server.expect(get())
	idle.synced()
	half := st.dial()
	half.say("GET /.sync HT")
	st.until("all are there", func() bool { return st.srv.Connections() == 3 })
	drained := st.drain()
	st.until("nobody listens", func() bool {
		c, err := net.Dial("tcp", st.address)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	server.say(ok("x", "Content-Length: 1"))
	busy.expect(ok("x", "Content-Length: 1", "Connection: close"))
	busy.ended()
	half.say("TP/1.1\r\nHost: a\r\n\r\n")
	if got := half.rest(); !strings.HasPrefix(undated(got), syncStatus) || !strings.Contains(got, "Connection: close\r\n") {
		t.Errorf("the half request got\n%s", quoted(got))
	}
	idle.say(syncRequest)
	idle.until("Connection: close\r\n")
	<-drained
	if n := st.srv.Connections(); n != 0 {
		t.Errorf("%d connections are open", n)
	}
}

// TestUpgradesUnderLoadCostNothing hands the sockets from one server to the next, twenty times, as processes do.
func TestUpgradesUnderLoadCostNothing(t *testing.T) {
	a, b := echoer(t, "x"), echoer(t, "x")
	s := &setup{
		pool:     balance.Config{Endpoints: []balance.EndpointConfig{{Address: a.addr()}, {Address: b.addr()}}},
		upstream: l7.UpstreamSettings{MaxIdle: 64},
		route:    l7.Route{Name: "all"},
		listener: l7.Listener{Name: "web", Addresses: []string{"127.0.0.1:0"}},
	}
	s.server = l7.Config{Loops: 2, Origin: time.Now()}
	st := s.start(t)
	c := gather(t, st.address, 8, time.Millisecond, get())
	for i := range 20 {
		c.after(t, 50)
		s.server.Inherited = map[string][]int{}
		for address, fds := range st.srv.Sockets() {
			for _, fd := range fds { // what exec does
				n, err := syscall.Dup(fd)
				if err != nil {
					t.Fatal(err)
				}
				s.server.Inherited[address] = append(s.server.Inherited[address], n)
			}
		}
		s.server.Loops = 1 + i%3 // more workers than sockets, and fewer
		next := s.start(t)
		if next.address != st.address {
			t.Fatalf("the address was %s and is %s", st.address, next.address)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		st.srv.Drain(ctx)
		cancel()
		st.cancel()
		<-st.ended
		st = next
	}
	c.after(t, 50)
	c.leave(t)
}

func TestInheritedSocketsThatNobodyWantsAreClosed(t *testing.T) {
	before := openFiles()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dup := func() int {
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		n, err := syscall.Dup(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	srv, err := l7.New(l7.Config{Loops: 1, Inherited: map[string][]int{"127.0.0.1:1": {dup()}, "127.0.0.1:0": {dup()}}})
	if err != nil {
		t.Fatal(err)
	}
	bad := &l7.Listener{Name: "l", Addresses: []string{"127.0.0.1:0", "192.0.2.1:80"}}
	if err := srv.Apply([]*l7.Listener{bad}); err == nil {
		t.Fatal("an address of another machine is taken")
	}
	if err := srv.Apply([]*l7.Listener{{Name: "l", Addresses: []string{"127.0.0.1:0"}}}); err != nil {
		t.Fatal(err)
	}
	if got := srv.Addr("127.0.0.1:0"); got != ln.Addr().String() {
		t.Errorf("after a failure the inherited socket is forgotten: the address is %s, not %s", got, ln.Addr())
	}
	srv.CloseInherited()
	ln.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = srv.Run(ctx)
	if err := srv.Apply(nil); err == nil {
		t.Error("a server that has ended takes listeners")
	}
	srv.Drain(context.Background())
	if after := openFiles(); after > before {
		t.Errorf("%d descriptors were open, now %d", before, after)
	}
}

func TestUnixSockets(t *testing.T) {
	dir := t.TempDir()
	front, back := "unix:"+filepath.Join(dir, "front"), "unix:"+filepath.Join(dir, "back")
	if err := os.WriteFile(filepath.Join(dir, "front"), nil, 0o600); err != nil { // left behind by somebody
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", strings.TrimPrefix(back, "unix:"))
	if err != nil {
		t.Fatal(err)
	}
	e := &endpoint{t: t, ln: ln, conns: make(chan net.Conn, 10)}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			e.conns <- c
		}
	}()
	defer ln.Close()
	st := serve(t, []string{back}, func(s *setup) {
		s.listener.Addresses = []string{front}
		s.listener.Forward = l7.Forward{RFC7239: true}
		s.route.Upgrade = []string{"websocket"}
	})
	client := st.dial()
	client.say(get())
	server := e.accept()
	server.expect(get())
	server.say(ok("hi", "Content-Length: 2"))
	client.expect(ok("hi", "Content-Length: 2"))

	other, err := l7.New(l7.Config{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Apply([]*l7.Listener{{Name: "l", Addresses: []string{front}}}); err == nil || !strings.Contains(err.Error(), "another process does") {
		t.Errorf("a socket that answers is taken over: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = other.Run(ctx)

	// A tunnel, whose client closes at once with its last words.
	client.say(upgrade())
	server.expect(upgradeSent)
	server.say(switching)
	client.expect(switching)
	release := st.srv.Hold()
	client.say("last words")
	client.close()
	release()
	server.expect("last words")
	server.ended()
	server.close()
	st.close()
	if _, err := os.Stat(filepath.Join(dir, "front")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's file is left: %v", err)
	}
}

// TestConnectionsAreSpreadOverLoops: few long-lived connections come out even, however the kernel places them.
func TestConnectionsAreSpreadOverLoops(t *testing.T) {
	st := serve(t, nil, func(s *setup) { s.server.Loops = 4 })
	for range 32 {
		st.dial().synced()
	}
	for _, n := range st.srv.SeparateLoads() {
		if n < 4 || n > 12 {
			t.Errorf("the loops have %v connections", st.srv.SeparateLoads())
			break
		}
	}
}
