package l4

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/proxyproto"
	"github.com/trivet-ha/trivet/internal/edge"
)

// startPackets is start for datagrams. Sessions need not be over at the end.
func startPackets(t *testing.T, address string, set Settings, change func(*edge.Listener, *Service, *balance.Config), endpoints ...string) *rig {
	t.Helper()
	return start(t, set, func(l *edge.Listener, s *Service, cfg *balance.Config) {
		l.Addresses = []string{"udp:" + address}
		if change != nil {
			change(l, s, cfg)
		}
	}, endpoints...)
}

// client is a socket that talks to the rig.
func (r *rig) client() *net.UDPConn {
	r.t.Helper()
	address := r.address
	if host, port, _ := net.SplitHostPort(address); host == "" {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	c, err := net.Dial("udp", address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

// ask sends and waits for an answer; empty is none within the time.
func askPacket(t *testing.T, c net.Conn, text string, limit time.Duration) string {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatal(err)
	}
	buf := make([]byte, 65536)
	c.SetReadDeadline(time.Now().Add(limit))
	n, err := c.Read(buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// packets answers datagrams on a real socket with what f makes of them; nil is nothing.
func packets(t *testing.T, address string, f func(b []byte, from netip.AddrPort) []byte) (at string, stop func()) {
	t.Helper()
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	u := c.(*net.UDPConn)
	u.SetReadBuffer(4 << 20)
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := u.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			if answer := f(buf[:n], from); answer != nil {
				u.WriteToUDPAddrPort(answer, from)
			}
		}
	})
	stop = sync.OnceFunc(func() { u.Close(); wg.Wait() })
	t.Cleanup(stop)
	return u.LocalAddr().String(), stop
}

func echoPacket(b []byte, _ netip.AddrPort) []byte { return b }

func namedPacket(name string) func([]byte, netip.AddrPort) []byte {
	return func(b []byte, _ netip.AddrPort) []byte { return []byte(name + " " + string(b)) }
}

func TestEachClientHasItsOwnSocketToTheEndpointAndGetsItsOwnAnswers(t *testing.T) {
	var mu sync.Mutex
	ports := map[netip.AddrPort]bool{}
	at, _ := packets(t, "127.0.0.1:0", func(b []byte, from netip.AddrPort) []byte {
		mu.Lock()
		defer mu.Unlock()
		ports[from] = true
		return b
	})
	r := startPackets(t, "127.0.0.1:0", Settings{}, nil, at)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			c := r.client()
			for j := range 50 {
				text := fmt.Sprintf("%d/%d", i, j)
				if got := askPacket(t, c, text, 5*time.Second); got != text {
					t.Errorf("%s: got %q", text, got)
				}
			}
			c.Close()
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if len(ports) != 20 {
		t.Errorf("the endpoint saw %d sources, want 20", len(ports))
	}
	if n := r.pool.InFlight(); n != 20 {
		t.Errorf("%d sessions hold a place", n)
	}
	_, stats := r.service.Upstream.Stats()
	if s := stats[0]; s.Sessions != 20 || s.Open != 20 || s.BytesIn != s.BytesOut || s.BytesIn == 0 {
		t.Errorf("stats are %+v", s)
	}
}

func TestDatagramsOfEverySizeComeThroughWhole(t *testing.T) {
	at, _ := packets(t, "127.0.0.1:0", echoPacket)
	r := startPackets(t, "127.0.0.1:0", Settings{}, nil, at)
	c := r.client()
	c.SetReadBuffer(1 << 20)
	buf := make([]byte, 65536)
	for _, size := range []int{0, 1, 512, 1472, 1473, 8972, 65507} {
		sent := bytes.Repeat([]byte{byte(size)}, size)
		c.Write(sent)
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := c.Read(buf)
		if err != nil || !bytes.Equal(buf[:n], sent) {
			t.Errorf("%d bytes: got %d, %v", size, n, err)
		}
	}
}

// TestBurstsKeepTheirOrderAndTheirBounds sends runs of datagrams of one length, which may travel as one message,
// between others.
func TestBurstsKeepTheirOrderAndTheirBounds(t *testing.T) {
	at, _ := packets(t, "127.0.0.1:0", echoPacket)
	r := startPackets(t, "127.0.0.1:0", Settings{}, nil, at)
	c := r.client()
	c.SetReadBuffer(4 << 20)
	sizes := []int{100, 100, 100, 60, 100, 100, 0, 100, 1400, 1400, 1400, 1400, 7}
	buf := make([]byte, 65536)
	for round := range 50 {
		var want []string
		for i, size := range sizes {
			b := bytes.Repeat([]byte{byte('a' + i)}, size)
			if size > 1 {
				b[0], b[1] = byte(round), byte(i)
			}
			want = append(want, string(b))
			c.Write(b)
		}
		var got []string
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		for range sizes {
			n, err := c.Read(buf)
			if err != nil {
				t.Fatalf("round %d: %d of %d answers, %v", round, len(got), len(sizes), err)
			}
			got = append(got, string(buf[:n]))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: answers differ", round)
		}
	}
}

// TestSegmentsOfOneSendComeThroughAsTheyWere has the kernel put datagrams together before and behind.
func TestSegmentsOfOneSendComeThroughAsTheyWere(t *testing.T) {
	at, _ := packets(t, "127.0.0.1:0", echoPacket)
	r := startPackets(t, "127.0.0.1:0", Settings{}, nil, at)
	c := r.client()
	c.SetReadBuffer(4 << 20)
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), 17, udpSegment, 1000) })
	if err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 40500)
	for i := range sent {
		sent[i] = byte(i / 1000)
	}
	c.Write(sent)
	var got []byte
	buf := make([]byte, 65536)
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	for n := 0; len(got) < len(sent); n++ {
		k, err := c.Read(buf)
		if want := min(1000, len(sent)-len(got)); err != nil || k != want {
			t.Fatalf("datagram %d has %d bytes, want %d; %v", n, k, want, err)
		}
		got = append(got, buf[:k]...)
	}
	if !bytes.Equal(got, sent) {
		t.Error("bytes differ")
	}
}

func TestAnEndpointThatRefusesIsLeftForAnother(t *testing.T) {
	first, stopFirst := packets(t, "127.0.0.1:0", namedPacket("first"))
	second, _ := packets(t, "127.0.0.1:0", namedPacket("second"))
	r := startPackets(t, "127.0.0.1:0", Settings{}, func(_ *edge.Listener, _ *Service, cfg *balance.Config) {
		cfg.Endpoints[1].Priority = 1
		cfg.Outlier.Disabled = true // it is the session that remembers
	}, first, second)
	c := r.client()
	if got := askPacket(t, c, "1", 5*time.Second); got != "first 1" {
		t.Fatalf("got %q", got)
	}
	stopFirst()
	r.eventually("the second answers", func() bool { return askPacket(t, c, "2", 100*time.Millisecond) == "second 2" })
	if got := askPacket(t, c, "3", 5*time.Second); got != "second 3" {
		t.Errorf("got %q", got)
	}
	_, stats := r.service.Upstream.Stats()
	for _, s := range stats {
		if s.Endpoint == first && (s.Failures == 0 || s.Open != 0) {
			t.Errorf("the first one's figures are %+v", s)
		}
	}
}

func TestAQuietClientIsForgottenAndComesBackAsNew(t *testing.T) {
	at, _ := packets(t, "127.0.0.1:0", echoPacket)
	r := startPackets(t, "127.0.0.1:0", Settings{FlowIdle: 30 * time.Millisecond}, nil, at)
	c := r.client()
	for range 2 {
		if got := askPacket(t, c, "x", 5*time.Second); got != "x" {
			t.Fatalf("got %q", got)
		}
		r.eventually("the session ends", func() bool { return r.pool.InFlight() == 0 })
	}
	if n := r.edge.Connections(); n != 0 {
		t.Errorf("%d sessions are counted", n)
	}
}

func TestASessionEndsWithItsLastAnswer(t *testing.T) {
	at, _ := packets(t, "127.0.0.1:0", echoPacket)
	silent, _ := packets(t, "127.0.0.1:0", func([]byte, netip.AddrPort) []byte { return nil })
	r := startPackets(t, "127.0.0.1:0", Settings{Replies: 1}, nil, at)
	c := r.client()
	if got := askPacket(t, c, "x", 5*time.Second); got != "x" {
		t.Fatalf("got %q", got)
	}
	r.eventually("the session ends", func() bool { return r.pool.InFlight() == 0 })
	if l := r.pool.Endpoints()[0].Latency(); l <= 0 {
		t.Error("the time to the answer is not known")
	}
	// Who owes an answer and gives none has failed.
	r = startPackets(t, "127.0.0.1:0", Settings{Replies: 1, FlowIdle: 100 * time.Millisecond}, func(_ *edge.Listener, _ *Service, cfg *balance.Config) {
		cfg.Outlier.Consecutive = 2
	}, at, silent)
	c = r.client()
	r.eventually("the silent one is ejected", func() bool {
		askPacket(t, c, "x", 120*time.Millisecond)
		return !r.pool.ByAddress(silent).Status(r.edge.Now()).Available
	})
}

func TestClientsOfAnEndpointThatIsDownMoveWithTheirNextDatagram(t *testing.T) {
	first, _ := packets(t, "127.0.0.1:0", namedPacket("first"))
	second, _ := packets(t, "127.0.0.1:0", namedPacket("second"))
	for _, c := range []struct {
		set   Settings
		moves bool
	}{
		{Settings{}, true},
		{Settings{OnDown: Kill}, true},
		{Settings{OnDown: Drain, DrainTime: 20 * time.Millisecond}, true},
		{Settings{OnDown: Keep}, false},
	} {
		r := startPackets(t, "127.0.0.1:0", c.set, func(_ *edge.Listener, _ *Service, cfg *balance.Config) {
			cfg.Endpoints[1].Priority = 1
		}, first, second)
		conn := r.client()
		if got := askPacket(t, conn, "1", 5*time.Second); got != "first 1" {
			t.Fatalf("got %q", got)
		}
		ep := r.pool.Endpoints()[0]
		r.pool.SetHealth(ep, balance.Down, "test", r.edge.Now())
		r.server.Down(ep)
		if c.moves {
			r.eventually("it moves", func() bool { return askPacket(t, conn, "2", 50*time.Millisecond) == "second 2" })
			continue
		}
		for range 20 {
			if got := askPacket(t, conn, "2", 5*time.Second); got != "first 2" {
				t.Errorf("%+v: got %q", c.set, got)
			}
		}
	}
}

func TestSessionsAreLimitedInAllAndForEachSource(t *testing.T) {
	at, _ := packets(t, "127.0.0.1:0", echoPacket)
	r := startPackets(t, "127.0.0.1:0", Settings{}, func(l *edge.Listener, _ *Service, _ *balance.Config) {
		l.MaxConns = 3
	}, at)
	var clients []net.Conn
	for range 3 {
		c := r.client()
		clients = append(clients, c)
		if got := askPacket(t, c, "x", 5*time.Second); got != "x" {
			t.Fatalf("got %q", got)
		}
	}
	if got := askPacket(t, r.client(), "x", 50*time.Millisecond); got != "" {
		t.Errorf("a fourth got %q", got)
	}
	if got := askPacket(t, clients[0], "y", 5*time.Second); got != "y" {
		t.Errorf("the first got %q", got)
	}
	p, _ := r.service.Upstream.Stats()
	if full := r.edge.Bindings()["db"].Stats.Full.Load(); full == 0 || p.Dropped == 0 {
		t.Errorf("full %d, stats %+v", full, p)
	}

	r = startPackets(t, "127.0.0.1:0", Settings{}, func(l *edge.Listener, _ *Service, _ *balance.Config) {
		l.MaxPerSource = 1
		l.Access.Deny = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
	}, at)
	if got := askPacket(t, r.client(), "x", 5*time.Second); got != "x" {
		t.Errorf("the first got %q", got)
	}
	if got := askPacket(t, r.client(), "x", 50*time.Millisecond); got != "" {
		t.Errorf("a second of the same source got %q", got)
	}
	for source, want := range map[string]string{"127.0.0.2": "", "127.0.0.3": "x"} {
		c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(source)}, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(r.address)))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		limit := 5 * time.Second
		if want == "" {
			limit = 50 * time.Millisecond
		}
		if got := askPacket(t, c, "x", limit); got != want {
			t.Errorf("%s got %q, want %q", source, got, want)
		}
	}
}

func TestAFloodOfForgedSourcesKeepsNobodyOut(t *testing.T) {
	var mute atomic.Bool
	mute.Store(true)
	at, _ := packets(t, "127.0.0.1:0", func(b []byte, _ netip.AddrPort) []byte {
		if mute.Load() {
			return nil
		}
		return b
	})
	r := startPackets(t, "127.0.0.1:0", Settings{}, func(l *edge.Listener, _ *Service, _ *balance.Config) { l.MaxConns = 64 }, at)
	for range 64 {
		r.client().Write([]byte("flood"))
	}
	r.eventually("the port is full", func() bool { return r.edge.Connections() == 64 })
	mute.Store(false)
	c := r.client()
	r.eventually("a real client is served", func() bool { return askPacket(t, c, "x", 50*time.Millisecond) == "x" })
}

func TestAnswersComeFromTheAddressThatWasAsked(t *testing.T) {
	at, _ := packets(t, "127.0.0.1:0", echoPacket)
	r := startPackets(t, ":0", Settings{}, nil, at)
	_, port, _ := net.SplitHostPort(r.address)
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "127.9.9.9", "::1"} {
		c, err := net.Dial("udp", net.JoinHostPort(host, port)) // connected: takes answers from there only
		if err != nil {
			t.Logf("%s: %v", host, err)
			continue
		}
		if got := askPacket(t, c, host, 5*time.Second); got != host {
			t.Errorf("%s: got %q", host, got)
		}
		c.Close()
	}
	// One client that asks two addresses has two sessions.
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, host := range []string{"127.0.0.3", "127.0.0.4"} {
		to := netip.MustParseAddrPort(net.JoinHostPort(host, port))
		c.WriteToUDPAddrPort([]byte(host), to)
		buf := make([]byte, 100)
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil || string(buf[:n]) != host || netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) != to {
			t.Errorf("%s: got %q from %s, %v", host, buf[:n], from, err)
		}
	}
}

func TestTheProxyHeaderGoesBeforeEachDatagram(t *testing.T) {
	client := make(chan netip.AddrPort, 1)
	at, _ := packets(t, "127.0.0.1:0", func(b []byte, _ netip.AddrPort) []byte {
		n, h, err := proxyproto.Parse(b)
		if err != nil || n == 0 || b[13] != 0x12 {
			return []byte(fmt.Sprint("no header: ", err))
		}
		select {
		case client <- h.Source:
		default:
		}
		return b[n:]
	})
	r := startPackets(t, "127.0.0.1:0", Settings{Proxy: ProxyV2}, nil, at)
	c := r.client()
	for _, text := range []string{"one", "two"} {
		if got := askPacket(t, c, text, 5*time.Second); got != text {
			t.Errorf("got %q", got)
		}
	}
	if got := <-client; got.String() != c.LocalAddr().String() {
		t.Errorf("the endpoint takes %s for the client, not %s", got, c.LocalAddr())
	}

	// And in: one socket of a trusted proxy speaks for two clients, who have a session each.
	r = startPackets(t, "127.0.0.1:0", Settings{Proxy: ProxyV2}, func(l *edge.Listener, s *Service, _ *balance.Config) {
		l.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		s.AcceptProxy = true
		s.Access.Deny = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	}, at)
	c = r.client()
	send := func(source, text string, limit time.Duration) string {
		return askPacket(t, c, string(proxyproto.AppendDatagram(nil, netip.MustParseAddrPort(source), netip.MustParseAddrPort("192.0.2.99:53")))+text, limit)
	}
	for _, source := range []string{"192.0.2.1:1000", "192.0.2.2:1000", "192.0.2.1:1000"} {
		if got := send(source, "hello "+source, 5*time.Second); got != "hello "+source {
			t.Errorf("got %q", got)
		}
		if got := <-client; got.String() != source {
			t.Errorf("the endpoint takes %s for the client, not %s", got, source)
		}
	}
	if n := r.pool.InFlight(); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
	for _, bad := range []string{send("203.0.113.9:1", "denied", 50*time.Millisecond), askPacket(t, c, "no header", 50*time.Millisecond)} {
		if bad != "" {
			t.Errorf("got %q", bad)
		}
	}
	stranger, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(r.address)))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	header := proxyproto.AppendDatagram(nil, netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.99:53"))
	if got := askPacket(t, stranger, string(header)+"x", 50*time.Millisecond); got != "" {
		t.Errorf("who is not trusted got %q", got)
	}
}

func TestNoEndpointDropsAndCounts(t *testing.T) {
	r := startPackets(t, "127.0.0.1:0", Settings{FlowIdle: time.Second}, func(_ *edge.Listener, _ *Service, cfg *balance.Config) {
		cfg.PanicThreshold = -1
	}, "127.0.0.1:1")
	r.pool.SetHealth(r.pool.Endpoints()[0], balance.Down, "test", r.edge.Now())
	askPacket(t, r.client(), "x", 20*time.Millisecond)
	r.eventually("it is counted", func() bool {
		p, _ := r.service.Upstream.Stats()
		return p.Dropped == 1 && p.None == 1
	})
}

func TestAPortThatIsTakenAwayAndComesBackServesAgain(t *testing.T) {
	at, _ := packets(t, "127.0.0.1:0", echoPacket)
	r := startPackets(t, "127.0.0.1:0", Settings{}, nil, at)
	listeners := []*edge.Listener{{Name: "db", Addresses: []string{"udp:" + r.address}, Server: r.service}}
	c := r.client()
	if got := askPacket(t, c, "1", 5*time.Second); got != "1" {
		t.Fatalf("got %q", got)
	}
	for range 3 {
		if err := r.edge.Apply(nil); err != nil {
			t.Fatal(err)
		}
		r.eventually("the sessions end", func() bool { return r.pool.InFlight() == 0 })
		r.eventually("the port opens again", func() bool { return r.edge.Apply(listeners) == nil })
		r.eventually("it serves", func() bool { return askPacket(t, c, "2", 100*time.Millisecond) == "2" })
	}
}

// TestAnotherProcessTakesOverWithoutALostDatagram hands the sockets to a second edge, as an upgrade does.
func TestAnotherProcessTakesOverWithoutALostDatagram(t *testing.T) {
	at, _ := packets(t, "127.0.0.1:0", func(b []byte, from netip.AddrPort) []byte { return append(b, '!') })
	r := startPackets(t, "127.0.0.1:0", Settings{FlowIdle: 500 * time.Millisecond}, nil, at)
	c := r.client()
	if got := askPacket(t, c, "1", 5*time.Second); got != "1!" {
		t.Fatalf("got %q", got)
	}
	inherited := map[string][]int{}
	for address, fds := range r.edge.Sockets() {
		for _, fd := range fds {
			other, err := syscall.Dup(fd)
			if err != nil {
				t.Fatal(err)
			}
			inherited[address] = append(inherited[address], other)
		}
	}
	e, err := edge.New(edge.Config{Loops: 1, Inherited: inherited}) // fewer workers: one gets all sockets
	if err != nil {
		t.Fatal(err)
	}
	p, err := balance.New(balance.Config{Endpoints: []balance.EndpointConfig{{Address: at}}}, e.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{Server: NewServer(e), Upstream: NewUpstream("db", p, Settings{})}
	if err := e.Apply([]*edge.Listener{{Name: "db", Addresses: []string{"udp:127.0.0.1:0"}, Server: s}}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { e.Run(ctx) })
	drained, cut := context.WithTimeout(context.Background(), 50*time.Millisecond)
	r.edge.Drain(drained)
	cut()
	for i := range 200 {
		if got := askPacket(t, c, "2", 5*time.Second); got != "2!" {
			t.Fatalf("%d: got %q", i, got)
		}
	}
	if p.InFlight() != 1 {
		t.Errorf("the second has %d sessions", p.InFlight())
	}
	stop()
	wg.Wait()
}

// TestNothingIsMixedUpUnderLoad has many clients send numbered datagrams as fast as they can.
func TestNothingIsMixedUpUnderLoad(t *testing.T) {
	const clients, rounds, window = 32, 100, 16
	var addresses []string
	for range 3 {
		at, _ := packets(t, "127.0.0.1:0", echoPacket)
		addresses = append(addresses, at)
	}
	r := startPackets(t, ":0", Settings{}, nil, addresses...)
	var wg sync.WaitGroup
	var lost atomic.Int64
	for i := range clients {
		wg.Go(func() {
			c := r.client()
			c.SetReadBuffer(1 << 20)
			buf := make([]byte, 2048)
			for round := range rounds {
				for k := range window {
					b := binary.BigEndian.AppendUint32(nil, uint32(i))
					b = binary.BigEndian.AppendUint32(b, uint32(round*window+k))
					c.Write(append(b, strings.Repeat("x", k*50%300)...))
				}
				for k := range window {
					c.SetReadDeadline(time.Now().Add(time.Second))
					n, err := c.Read(buf)
					if err != nil {
						lost.Add(int64(window - k))
						break
					}
					if n < 8 || binary.BigEndian.Uint32(buf) != uint32(i) {
						t.Errorf("client %d got an answer for %d", i, binary.BigEndian.Uint32(buf))
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if n := lost.Load(); n > clients*rounds*window/100 {
		t.Errorf("%d of %d datagrams are lost", n, clients*rounds*window)
	}
}

// BenchmarkPackets sends datagrams of 128 bytes through one worker and back, 32 under way at a time.
func BenchmarkPackets(b *testing.B) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := l.(*net.UDPConn).ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			l.(*net.UDPConn).WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	e, _ := edge.New(edge.Config{Loops: 1})
	s := NewServer(e)
	p, _ := balance.New(balance.Config{Endpoints: []balance.EndpointConfig{{Address: l.LocalAddr().String()}}}, 0)
	service := &Service{Server: s, Upstream: NewUpstream("x", p, Settings{FlowIdle: time.Minute})}
	if err := e.Apply([]*edge.Listener{{Name: "x", Addresses: []string{"udp:127.0.0.1:0"}, Server: service}}); err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { e.Run(ctx); close(done) }()
	defer func() { stop(); <-done }()
	c, err := net.Dial("udp", e.Addr("udp:127.0.0.1:0"))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 128)
	under := 0
	b.ReportAllocs()
	for b.Loop() {
		c.Write(buf)
		if under++; under < 32 {
			continue
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		for ; under > 0; under-- {
			if _, err := c.Read(buf); err != nil {
				b.Fatal(err)
			}
		}
	}
}
