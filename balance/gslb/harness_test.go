package gslb

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/trivet-ha/trivet/balance/gslb/answer"
	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func name(text string) wire.Name {
	n, err := wire.ParseName(text, wire.Root)
	if err != nil {
		panic(err)
	}
	return n
}

// fakePool is a pool whose state a test sets.
type fakePool struct {
	mu    sync.Mutex
	state steer.State
}

func (p *fakePool) State(now time.Duration) (*steer.State, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.state
	st.Endpoints = slices.Clone(st.Endpoints)
	return &st, now + time.Hour
}

// set replaces the endpoints: "192.0.2.1" is in, "192.0.2.1 out" is not.
func (p *fakePool) set(endpoints ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Endpoints = nil
	for _, text := range endpoints {
		host, standing, _ := strings.Cut(text, " ")
		e := steer.Endpoint{Address: host + ":80", Hosts: []netip.Addr{netip.MustParseAddr(host)}, Weight: 1}
		e.Standing = map[string]steer.Standing{"": steer.In, "out": steer.Out, "awaited": steer.Awaited, "draining": steer.Draining}[standing]
		p.state.Endpoints = append(p.state.Endpoints, e)
	}
}

// stage is a server on loopback with a pool behind the name www.example.com.
type stage struct {
	*Server
	t    testing.TB
	pool *fakePool
	stop context.CancelFunc
	done chan error
}

// edition returns a configuration: the zone example.com with www from the pool, a TXT record that says which edition it is, and
// what else is wanted.
func (s *stage) edition(n int, edit func(*Config, *zone.Content)) Config {
	c := zone.Content{
		Apex: name("example.com."),
		Records: []zone.Record{
			{Name: name("example.com."), Type: wire.TypeSOA, TTL: 60, Data: wire.Data{Names: []wire.Name{name("ns."), name("host.")}, Tail: make([]byte, 20)}},
			{Name: name("edition.example.com."), Type: wire.TypeTXT, TTL: 60, Data: wire.Data{Head: append([]byte{byte(len(fmt.Sprint(n)))}, fmt.Sprint(n)...)}},
		},
		Steered: []zone.Steered{{Name: name("www.example.com."), Record: &steer.Record{
			Name: "www.example.com.", Default: steer.NewSlot("site", steer.Rules{TTL: 30, DownTTL: 5}),
		}}},
	}
	cfg := Config{
		Addresses: []string{"127.0.0.1:0"}, World: answer.World{UDPSize: 1232, Keepalive: 10 * time.Second},
		Pools: map[string]Pool{"site": s.pool}, FirstProbe: 10 * time.Second,
	}
	if edit != nil {
		edit(&cfg, &c)
	}
	z, err := zone.Build(c)
	if err != nil {
		s.t.Fatal(err)
	}
	if cfg.World.Catalog, err = zone.NewCatalog(z); err != nil {
		s.t.Fatal(err)
	}
	return cfg
}

// apply puts a configuration in force.
func (s *stage) apply(cfg Config) {
	s.t.Helper()
	change, err := s.Prepare(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	change.Commit()
}

// begin starts a server; o may be the zero Options.
func begin(t testing.TB, o Options, edit func(*Config, *zone.Content)) *stage {
	t.Helper()
	s := &stage{Server: New(o), t: t, pool: &fakePool{}, done: make(chan error, 1)}
	s.pool.set("192.0.2.1", "192.0.2.2", "192.0.2.3")
	s.apply(s.edition(1, edit))
	s.CloseInherited()
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() { s.done <- s.Run(ctx) }()
	t.Cleanup(func() { s.end() })
	return s
}

// end stops the server, and waits.
func (s *stage) end() {
	s.stop()
	if s.done == nil {
		return
	}
	if err := <-s.done; err != nil {
		s.t.Error(err)
	}
	s.done = nil
}

func (s *stage) address() string {
	s.t.Helper()
	a, err := s.Addr("127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// tell changes the pool and says so.
func (s *stage) tell(endpoints ...string) {
	s.pool.set(endpoints...)
	s.PoolChanged("site")
}

// resolve asks for addresses, sorted, with the TTL; or says what went wrong.
func (s *stage) resolve(network, question string) string {
	c := dns.Client{Net: network, Timeout: 2 * time.Second}
	m, _, err := c.Exchange(new(dns.Msg).SetQuestion(question, dns.TypeA), s.address())
	if err != nil {
		return err.Error()
	}
	if m.Rcode != dns.RcodeSuccess {
		return dns.RcodeToString[m.Rcode]
	}
	var all []string
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			all = append(all, fmt.Sprintf("%s/%d", a.A, a.Hdr.Ttl))
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (s *stage) edited() string {
	c := dns.Client{Timeout: 2 * time.Second}
	m, _, err := c.Exchange(new(dns.Msg).SetQuestion("edition.example.com.", dns.TypeTXT), s.address())
	if err != nil || len(m.Answer) == 0 {
		return fmt.Sprint(err)
	}
	return m.Answer[0].(*dns.TXT).Txt[0]
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(15 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not within 15 s: %s", what)
		case <-tick.C:
		}
	}
}

// load is queries at a constant rate whose every answer is waited for.
type load struct {
	stop  context.CancelFunc
	wg    sync.WaitGroup
	mu    sync.Mutex
	sent  int
	wrong []string
}

// send asks question over and over, some clients at a time, each with a socket of its own and never twice for the same: what is
// lost is lost.
func (s *stage) send(network string, clients int, check func(*dns.Msg) bool) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{stop: stop}
	address := s.address()
	for range clients {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				l.ask(ctx, network, address, check)
			}
		})
	}
	return l
}

func (l *load) ask(ctx context.Context, network, address string, check func(*dns.Msg) bool) {
	conn, err := net.Dial(network, address)
	if err != nil {
		l.fail(err.Error())
		return
	}
	defer conn.Close()
	c := &dns.Conn{Conn: conn}
	for range 20 {
		if ctx.Err() != nil {
			return
		}
		q := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		err := c.WriteMsg(q)
		var m *dns.Msg
		if err == nil {
			m, err = c.ReadMsg()
		}
		l.mu.Lock()
		l.sent++
		l.mu.Unlock()
		switch {
		case err != nil && network == "tcp" && l.isIdleEnd(err):
			return // the server ends idle connections when it ends itself; a client comes back
		case err != nil:
			l.fail(err.Error())
			return
		case m.Id != q.Id || !check(m):
			l.fail(m.String())
		}
	}
}

func (l *load) isIdleEnd(err error) bool {
	return strings.Contains(err.Error(), "EOF") || strings.Contains(err.Error(), "reset")
}

func (l *load) fail(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wrong = append(l.wrong, what); len(l.wrong) > 10 {
		l.stop()
	}
}

// finish ends the load and reports what was lost or wrong.
func (l *load) finish(t testing.TB, what string) {
	t.Helper()
	l.stop()
	l.wg.Wait()
	if len(l.wrong) > 0 || l.sent == 0 {
		t.Errorf("%s: %d of %d queries were lost or wrong: %v", what, len(l.wrong), l.sent, l.wrong)
	}
	t.Logf("%s: %d queries, none lost", what, l.sent)
}
