package gslb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
	"github.com/trivet-ha/trivet/internal/bindaddr"
)

func TestAnswersFollowPoolsOverTheWire(t *testing.T) {
	s := begin(t, Options{Workers: 2}, nil)
	for _, network := range []string{"udp", "tcp"} {
		if got := s.resolve(network, "www.example.com."); got != "192.0.2.1/30 192.0.2.2/30 192.0.2.3/30" {
			t.Errorf("over %s: %s", network, got)
		}
	}
	s.tell("192.0.2.1", "192.0.2.2 out", "192.0.2.3 draining")
	eventually(t, "the sick and the drained have left", func() bool { return s.resolve("udp", "www.example.com.") == "192.0.2.1/5" })
	s.tell("192.0.2.1 out", "192.0.2.2 out")
	eventually(t, "all are answered, for want of better ones", func() bool { return s.resolve("tcp", "www.example.com.") == "192.0.2.1/5 192.0.2.2/5" })
	c := s.Counts()
	if c.Changes != 2 || c.UDP == 0 || c.TCP == 0 || c.Rcodes[wire.NoError] != c.UDP+c.TCP {
		t.Errorf("counts are %+v", c)
	}
	st := s.Status()
	if !st.Ready || len(st.Zones) != 1 || len(st.Records) != 1 || st.Records[0].Mode != "down" || st.Records[0].TTL != 5 || st.Zones[0].Queries == 0 || st.Addresses[0] != s.address() {
		t.Errorf("status is %+v", st)
	}
}

func TestNothingIsAnsweredBeforeEveryPoolWasProbed(t *testing.T) {
	s := &stage{Server: New(Options{}), t: t, pool: &fakePool{}, done: make(chan error, 1)}
	s.pool.set("192.0.2.1", "192.0.2.2 awaited")
	s.apply(s.edition(1, nil))
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() { s.done <- s.Run(ctx) }()
	defer s.end()
	if _, err := s.Ask("www.example.com", dns.TypeA, netip.MustParseAddr("127.0.0.1")); !errors.Is(err, ErrNotReady) {
		t.Errorf("asked too early: %v", err)
	}
	if st := s.Status(); st.Ready || len(st.Waiting) != 1 {
		t.Errorf("status is %+v", st)
	}
	answered := make(chan string, 1)
	go func() { answered <- s.resolve("udp", "www.example.com.") }()
	select {
	case got := <-answered:
		t.Fatalf("answered %s", got)
	case <-time.After(100 * time.Millisecond):
	}
	s.tell("192.0.2.1", "192.0.2.2 out")
	if got := <-answered; got != "192.0.2.1/5" {
		t.Errorf("answered %s", got)
	}
	// A reload that brings a pool without a probe leaves the old answers in force until that is in, or the time is up.
	fresh := &fakePool{}
	fresh.set("192.0.2.9 awaited")
	s.apply(s.edition(2, func(cfg *Config, c *zone.Content) {
		cfg.Pools["fresh"] = fresh
		cfg.FirstProbe = 200 * time.Millisecond
		c.Steered = append(c.Steered, zone.Steered{Name: name("new.example.com."), Record: &steer.Record{Default: steer.NewSlot("fresh", steer.Rules{TTL: 30})}})
	}))
	if got := s.edited(); got != "1" {
		t.Errorf("edition %s is in force", got)
	}
	eventually(t, "the time is up", func() bool { return s.edited() == "2" })
	if got := s.resolve("udp", "new.example.com."); got != "192.0.2.9/30" {
		t.Errorf("a pool that was never probed is answered with %s", got)
	}
}

// However often the configuration is replaced, it comes into force: what was waited for in vain is not waited for anew.
func TestReloadsDoNotPutEachOtherOff(t *testing.T) {
	missing := func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") }
	s := begin(t, Options{Lookup: missing}, nil)
	hung := &fakePool{}
	hung.set("192.0.2.9 awaited")
	edit := func(cfg *Config, c *zone.Content) {
		slot := steer.NewSlot("", steer.Rules{TTL: 60, DownTTL: 60})
		cfg.Outside = []Outside{{"shop.example.net", slot}}
		cfg.Pools["hung"], cfg.FirstProbe = hung, 200*time.Millisecond
		c.Aliases = []zone.Alias{{Name: name("shop.example.com."), Target: name("shop.example.net."), Outside: slot}}
		c.Steered = append(c.Steered, zone.Steered{Name: name("new.example.com."), Record: &steer.Record{Default: steer.NewSlot("hung", steer.Rules{TTL: 30})}})
	}
	n := 1
	eventually(t, "an edition is in force between two others", func() bool {
		n++
		s.apply(s.edition(n, edit))
		return s.edited() != "1"
	})
	for range 5 {
		n++
		s.apply(s.edition(n, edit))
		if got := s.edited(); got != fmt.Sprint(n) {
			t.Errorf("edition %s is in force after %d", got, n)
		}
	}
}

func TestReloadsLoseNoQuery(t *testing.T) {
	s := begin(t, Options{Workers: 2}, nil)
	whole := func(m *dns.Msg) bool { return m.Rcode == 0 && len(m.Answer) == 3 }
	udp, tcp := s.send("udp", 4, whole), s.send("tcp", 2, whole)
	for n := 2; n <= 100; n++ {
		s.apply(s.edition(n, nil))
		if got := s.edited(); got != fmt.Sprint(n) {
			t.Errorf("edition %s is in force after %d", got, n)
		}
	}
	udp.finish(t, "udp")
	tcp.finish(t, "tcp")
}

func TestAddressesComeAndGo(t *testing.T) {
	s := begin(t, Options{Workers: 2}, nil)
	one := s.address()
	spare, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	second := spare.LocalAddr().String()
	if _, err := s.Prepare(s.edition(2, func(cfg *Config, _ *zone.Content) { cfg.Addresses = []string{"127.0.0.1:0", second} })); err == nil || !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("an address in use is taken: %v", err)
	}
	spare.Close()
	change, err := s.Prepare(s.edition(2, func(cfg *Config, _ *zone.Content) { cfg.Addresses = []string{"127.0.0.1:0", second} }))
	if err != nil {
		t.Fatal(err)
	}
	change.Discard()
	s.apply(s.edition(2, func(cfg *Config, _ *zone.Content) { cfg.Addresses = []string{"127.0.0.1:0", second} }))
	ask := func(address, network string) error {
		c := dns.Client{Net: network, Timeout: 300 * time.Millisecond}
		_, _, err := c.Exchange(new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA), address)
		return err
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, address := range []string{one, second} {
			if err := ask(address, network); err != nil {
				t.Errorf("%s over %s: %v", address, network, err)
			}
		}
	}
	s.apply(s.edition(3, func(cfg *Config, _ *zone.Content) { cfg.Addresses = []string{second} }))
	eventually(t, "the first address is closed", func() bool { return ask(one, "udp") != nil && ask(one, "tcp") != nil })
	if err := errors.Join(ask(second, "udp"), ask(second, "tcp")); err != nil {
		t.Error(err)
	}
	if _, err := s.Addr("127.0.0.1:0"); err == nil {
		t.Error("an address that is closed is served")
	}
	for _, bad := range []string{"x", "127.0.0.1:x", "somehost:53"} {
		if _, err := s.Prepare(s.edition(4, func(cfg *Config, _ *zone.Content) { cfg.Addresses = []string{bad} })); err == nil {
			t.Errorf("%q is served", bad)
		}
	}
}

// The process that takes over reads from the sockets that it is handed while the old one still does; nothing is lost whoever of
// them gets a query.
func TestAHandOverLosesNoQuery(t *testing.T) {
	old := begin(t, Options{Workers: 2}, nil)
	whole := func(m *dns.Msg) bool { return m.Rcode == 0 && len(m.Answer) == 3 }
	udp, tcp := old.send("udp", 4, whole), old.send("tcp", 2, whole)
	for range 5 {
		inherited := map[string][]int{}
		for key, fds := range old.Sockets() {
			for _, fd := range fds {
				copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) // as an exec does
				if err != nil {
					t.Fatal(err)
				}
				inherited[key] = append(inherited[key], copied)
			}
		}
		fresh := begin(t, Options{Workers: 2, Inherited: inherited}, nil)
		eventually(t, "the new one answers too", func() bool { return fresh.Counts().UDP > 50 })
		old.Drain()
		old.end()
		old = fresh
	}
	udp.finish(t, "udp")
	tcp.finish(t, "tcp")
}

func TestAServerWithFewerWorkersTakesAllSocketsOver(t *testing.T) {
	old := begin(t, Options{Workers: 3}, nil)
	inherited := map[string][]int{"dns+udp:127.0.0.1:9": nil}
	for key, fds := range old.Sockets() {
		if !IsSocket(key) {
			t.Errorf("%s is no name of a socket", key)
		}
		for _, fd := range fds {
			copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			inherited[key] = append(inherited[key], copied)
		}
	}
	fresh := begin(t, Options{Workers: 1, Inherited: inherited}, nil)
	old.Drain()
	old.end()
	for range 50 { // the kernel spreads clients over all three sockets
		if got := fresh.resolve("udp", "www.example.com."); got != "192.0.2.1/30 192.0.2.2/30 192.0.2.3/30" {
			t.Fatal(got)
		}
	}
}

// On every address of the machine, an answer comes from the address that was asked, or its client throws it away.
func TestAnswersComeFromTheAddressThatWasAsked(t *testing.T) {
	for _, wild := range []string{":0", "0.0.0.0:0"} {
		s := begin(t, Options{}, func(cfg *Config, _ *zone.Content) { cfg.Addresses = []string{wild} })
		a, err := s.Addr(wild)
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(a)
		hosts := []string{"127.0.0.1", "127.0.0.77"}
		if everywhere, err := bindaddr.Parse(wild); err == nil && everywhere.Addr().Is6() {
			hosts = append(hosts, "::1")
		}
		for _, host := range hosts {
			c := dns.Client{Timeout: time.Second} // its socket is connected, so it hears nobody else
			m, _, err := c.Exchange(new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA), net.JoinHostPort(host, port))
			if err != nil || len(m.Answer) != 3 {
				t.Errorf("%s at %s: %v", wild, host, err)
			}
		}
	}
}

func TestTCPClientsAreCountedAndHeldToTheirTime(t *testing.T) {
	s := begin(t, Options{}, func(cfg *Config, _ *zone.Content) { cfg.Limits = Limits{Connections: 3, PerSource: 2} })
	dial := func() net.Conn {
		c, err := net.Dial("tcp", s.address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	isClosed := func(c net.Conn) bool {
		_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
		_, err := c.Read(make([]byte, 1))
		var late net.Error
		return err != nil && !(errors.As(err, &late) && late.Timeout())
	}
	first, second := dial(), dial()
	eventually(t, "two are in", func() bool { return s.Counts().Connections == 2 })
	if !isClosed(dial()) || s.Counts().Refused != 1 {
		t.Error("a third of one source stays")
	}
	query, _ := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA).Pack()
	framed := append([]byte{0, byte(len(query))}, query...)
	for range 3 { // one behind the other, without waiting
		if _, err := first.Write(append(append([]byte{}, framed...), framed...)); err != nil {
			t.Fatal(err)
		}
	}
	_ = first.SetReadDeadline(time.Now().Add(5 * time.Second))
	c := &dns.Conn{Conn: first}
	for i := range 6 {
		if m, err := c.ReadMsg(); err != nil || len(m.Answer) != 3 {
			t.Fatalf("answer %d: %v, %v", i, m, err)
		}
	}
	if _, err := first.Write([]byte{0xff, 0xff, 1, 2, 3}); err != nil || !isClosed(first) {
		t.Error("a query that is too long is waited for")
	}
	if _, err := second.Write(framed[:10]); err != nil || !isClosed(second) {
		t.Error("half a query is waited for without an end")
	}
	eventually(t, "all have left", func() bool { return s.Counts().Connections == 0 })
}

func TestTheQueryLogTellsWhatWasAsked(t *testing.T) {
	var b lockedBuffer
	log := NewQueryLog(&b, 1)
	s := begin(t, Options{}, func(cfg *Config, _ *zone.Content) { cfg.QueryLog = log })
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx, s.origin) }()
	s.resolve("udp", "WWW.example.com.")
	s.resolve("tcp", "nothing.example.com.")
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	var entries []map[string]any
	for line := range strings.Lines(b.String()) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	if len(entries) != 2 {
		t.Fatalf("%d lines: %s", len(entries), &b)
	}
	if e := entries[0]; e["name"] != "www.example.com." || e["type"] != "A" || e["rcode"] != "NOERROR" || e["pool"] != "site" || e["policy"] != "all" || e["protocol"] != "udp" || e["client"] != "127.0.0.1" {
		t.Errorf("the first line is %v", e)
	}
	if e := entries[1]; e["rcode"] != "NXDOMAIN" || e["zone"] != "example.com." || e["protocol"] != "tcp" || e["size"].(float64) < 12 {
		t.Errorf("the second line is %v", e)
	}
	none := NewQueryLog(&b, 0)
	for range 100 {
		none.lines <- line{}
	}
	if none.Dropped() != 0 {
		t.Error("lines are dropped before there are too many")
	}
}

// lockedBuffer may be written and read by several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestTargetsOutsideAreLookedUpBeforehandAndKept(t *testing.T) {
	var mu sync.Mutex
	found, failing := "198.51.100.7", errors.New("no such host")
	lookup := func(_ context.Context, host string) ([]netip.Addr, error) {
		mu.Lock()
		defer mu.Unlock()
		if host != "shop.example.net" || found == "" {
			return nil, failing
		}
		return []netip.Addr{netip.MustParseAddr(found), netip.MustParseAddr("2001:db8::7")}, nil
	}
	outside := func(cfg *Config, c *zone.Content) {
		slot := steer.NewSlot("", steer.Rules{TTL: 60, DownTTL: 60})
		cfg.Outside = []Outside{{"shop.example.net", slot}}
		c.Aliases = []zone.Alias{{Name: name("shop.example.com."), Target: name("shop.example.net."), Outside: slot}}
	}
	s := begin(t, Options{Lookup: lookup}, outside)
	if got := s.resolve("udp", "shop.example.com."); got != "198.51.100.7/60" {
		t.Errorf("alias is %s", got)
	}
	r, err := s.Ask("shop.example.com", dns.TypeAAAA, netip.MustParseAddr("127.0.0.1"))
	if err != nil || len(r.Answer) != 1 || !strings.Contains(strings.Join(r.Steps, "; "), "not ours") {
		t.Errorf("asked: %+v, %v", r, err)
	}
	mu.Lock()
	found = ""
	mu.Unlock()
	s.apply(s.edition(2, outside)) // a new slot, and nobody to ask
	if got := s.resolve("udp", "shop.example.com."); got != "198.51.100.7/60" {
		t.Errorf("after a reload the alias is %s", got)
	}
}

func TestAskExplains(t *testing.T) {
	s := begin(t, Options{}, func(_ *Config, c *zone.Content) {
		c.Records = append(c.Records, zone.Record{Name: name("*.apps.example.com."), Type: wire.TypeCNAME, TTL: 60, Data: wire.Data{Names: []wire.Name{name("www.example.com.")}}},
			zone.Record{Name: name("sub.example.com."), Type: wire.TypeNS, TTL: 60, Data: wire.Data{Names: []wire.Name{name("ns.")}}})
		c.Aliases = []zone.Alias{{Name: name("example.com."), Target: name("www.example.com."), TTL: 60}}
	})
	s.tell("192.0.2.1", "192.0.2.2 out")
	eventually(t, "the pool is followed", func() bool { return s.resolve("udp", "www.example.com.") == "192.0.2.1/5" })
	before := s.Counts().UDP + s.Counts().TCP + s.Status().Zones[0].Queries
	for question, want := range map[string]string{
		"x.apps.example.com": "the wildcard *.apps.example.com. stands in", "example.com": "has the addresses of www.example.com.", "sub.example.com": "delegated",
		"nothing.example.com": "no wildcard", "www.example.org": "in no zone of ours", "www.example.com": "follow pools",
	} {
		r, err := s.Ask(question, dns.TypeA, netip.MustParseAddr("203.0.113.7"))
		if err != nil || !strings.Contains(strings.Join(r.Steps, "\n"), want) {
			t.Errorf("%s: %+v, %v; want %q", question, r, err, want)
			continue
		}
		if strings.Contains(want, "pools") && (r.Steering == nil || r.Steering.Record != "www.example.com." || !r.Steering.Endpoints[0].Answered || r.Steering.Endpoints[1].In || r.Steering.Endpoints[1].Answered) {
			t.Errorf("%s: steering %+v", question, r.Steering)
		}
	}
	if _, err := s.Ask(strings.Repeat("x", 300), dns.TypeA, netip.MustParseAddr("127.0.0.1")); err == nil {
		t.Error("a name that is none is asked for")
	}
	if after := s.Counts().UDP + s.Counts().TCP + s.Status().Zones[0].Queries; after != before {
		t.Errorf("%d queries are counted", after-before)
	}
}

func TestADrainedServerSaysNothing(t *testing.T) {
	s := begin(t, Options{}, nil)
	address := s.address()
	s.resolve("udp", "www.example.com.")
	s.Drain()
	s.Drain() // twice does no harm
	c := dns.Client{Timeout: 200 * time.Millisecond}
	if m, _, err := c.Exchange(new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA), address); err == nil {
		t.Errorf("answered %s", m)
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("a connection is accepted")
	}
}

func TestAServerThatNeverServedEnds(t *testing.T) {
	s := &stage{Server: New(Options{}), t: t, pool: &fakePool{}, done: make(chan error, 1)}
	s.pool.set("192.0.2.1 awaited")
	s.apply(s.edition(1, nil))
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() { s.done <- s.Run(ctx) }()
	eventually(t, "it runs", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.run != nil })
	s.Drain()
	s.end()
	idle := New(Options{})
	ctx, stop = context.WithCancel(context.Background())
	stop()
	if err := idle.Run(ctx); err != nil {
		t.Error(err)
	}
	idle.PoolChanged("nobody")
}
