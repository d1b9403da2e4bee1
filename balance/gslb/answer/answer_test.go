package answer

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/trivet-ha/trivet/balance/gslb/guard"
	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
)

// render writes a message in a few lines: rcode and flags, then the records by section, those of a set sorted.
func render(m *dns.Msg) string {
	if m == nil {
		return "nothing\n"
	}
	rcode := m.Rcode
	if opt := m.IsEdns0(); opt != nil {
		rcode |= opt.ExtendedRcode() &^ 0xF
	}
	var b strings.Builder
	b.WriteString(wire.Rcode(rcode).String())
	for _, f := range []struct {
		is   bool
		name string
	}{{m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.AuthenticatedData, "ad"}, {m.CheckingDisabled, "cd"}} {
		if f.is {
			b.WriteString(" " + f.name)
		}
	}
	b.WriteString("\n")
	for _, section := range []struct {
		name    string
		records []dns.RR
	}{{"answer", m.Answer}, {"authority", m.Ns}, {"additional", m.Extra}} {
		var lines []string
		for _, rr := range section.records {
			if rr.Header().Rrtype != dns.TypeOPT {
				lines = append(lines, section.name+" "+strings.ReplaceAll(rr.String(), "\t", " "))
			}
		}
		slices.Sort(lines)
		for _, line := range lines {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// testdata/answers.txtar holds questions, each a file's name, with what is answered.
func TestAnswersAreThoseWrittenDown(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/answers.txtar")
	if err != nil {
		t.Fatal(err)
	}
	a := ask(t, example(t))
	for _, f := range archive.Files {
		fields := strings.Fields(f.Name)
		q := new(dns.Msg).SetQuestion(fields[0], dns.StringToType[fields[1]])
		if len(fields) > 2 {
			q.Question[0].Qclass = dns.StringToClass[fields[2]]
		}
		if got := render(a.exchange(q)); got != strings.TrimSpace(string(f.Data))+"\n" {
			t.Errorf("%s:\n%s\nwant:\n%s", f.Name, got, f.Data)
		}
	}
}

func TestTheQuestionComesBackAsItWasWritten(t *testing.T) {
	a := ask(t, example(t))
	m := a.ask("wWw.ExAmPlE.cOm.", dns.TypeA)
	if m.Question[0].Name != "wWw.ExAmPlE.cOm." || len(m.Answer) != 3 || m.Answer[0].Header().Name != "wWw.ExAmPlE.cOm." {
		t.Errorf("answer is %s", m)
	}
}

func TestAnswersFollowTheHealthOfPools(t *testing.T) {
	w := example(t)
	a := ask(t, w)
	if m := a.ask("www.example.com.", dns.TypeA); len(m.Answer) != 3 || m.Answer[0].Header().Ttl != 30 {
		t.Fatalf("answer is %s", m)
	}
	node, _ := w.Catalog.Zones()[0].Lookup([]byte(name("www.example.com.")))
	down := endpoint("192.0.2.2", 1)
	down.Standing = steer.Out
	node.Steered.Default.Refresh(1, &steer.State{Endpoints: []steer.Endpoint{endpoint("192.0.2.1", 1), down}})
	for _, q := range []string{"www.example.com.", "example.com.", "topool.example.com."} { // itself, by alias, by CNAME
		m := a.ask(q, dns.TypeA)
		last := m.Answer[len(m.Answer)-1]
		if got := last.(*dns.A).A.String(); got != "192.0.2.1" || last.Header().Ttl != 5 {
			t.Errorf("%s: answer is %s", q, m)
		}
	}
	node.Steered.Default.Refresh(2, &steer.State{Endpoints: []steer.Endpoint{down}})
	if m := a.ask("www.example.com.", dns.TypeA); len(m.Answer) != 1 || a.r.stats.downs.Load() != 1 {
		t.Errorf("with none in the answer is %s", m)
	}
	maintained := down
	maintained.Standing = steer.Maintained
	node.Steered.Default.Refresh(3, &steer.State{Endpoints: []steer.Endpoint{maintained}})
	if m := a.ask("www.example.com.", dns.TypeA); len(m.Answer) != 0 || len(m.Ns) != 1 || m.Ns[0].Header().Ttl != 5 {
		t.Errorf("in maintenance the answer is %s", m)
	}
}

func TestOverTCPNothingIsTruncated(t *testing.T) {
	var many []steer.Endpoint
	for i := range 64 {
		many = append(many, endpoint(fmt.Sprintf("192.0.2.%d", i+1), 1))
	}
	r := rules(steer.All)
	r.Limit = 64
	a := ask(t, example(t, zone.Steered{Name: name("many.example.com."), Record: &steer.Record{Default: slot("many", r, many...)}}))
	if m := a.ask("many.example.com.", dns.TypeA); !m.Truncated || len(m.Answer) != 0 || m.Rcode != dns.RcodeSuccess {
		t.Errorf("over UDP: %s", m)
	}
	if !a.r.Last().Truncated || a.r.stats.truncated.Load() != 1 {
		t.Error("nobody counts that")
	}
	edns := new(dns.Msg).SetQuestion("many.example.com.", dns.TypeA).SetEdns0(4096, false)
	if m := a.exchange(edns); len(m.Answer) != 64 { // in 12 + 22 + 64 × 16 + 11 bytes
		t.Errorf("with EDNS: %s", m)
	}
	a.from.TCP = true
	if m := a.ask("many.example.com.", dns.TypeA); m.Truncated || len(m.Answer) != 64 {
		t.Errorf("over TCP: %s", m)
	}
}

// What ISC's genreport asks of a server: https://ednscomp.isc.org/compliance/summary.html.
func TestEDNSIsAnsweredAsTheRFCsSay(t *testing.T) {
	a := ask(t, example(t))
	opt := func(edit func(*dns.OPT)) *dns.Msg {
		m := new(dns.Msg).SetQuestion("example.com.", dns.TypeSOA).SetEdns0(4096, false)
		if edit != nil {
			edit(m.IsEdns0())
		}
		return m
	}
	version := func(v uint8) func(*dns.OPT) { return func(o *dns.OPT) { o.SetVersion(v) } }
	unknown := func(o *dns.OPT) { o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: 100, Data: []byte("x")}) }
	for _, tt := range []struct {
		name  string
		query *dns.Msg
		rcode int
		edns  bool
		soa   bool
	}{
		{"dns: plain", new(dns.Msg).SetQuestion("example.com.", dns.TypeSOA), dns.RcodeSuccess, false, true},
		{"edns: plain", opt(nil), dns.RcodeSuccess, true, true},
		{"edns1: unknown version", opt(version(1)), dns.RcodeBadVers, true, false},
		{"edns@512", opt(func(o *dns.OPT) { o.SetUDPSize(512) }), dns.RcodeSuccess, true, true},
		{"edns@0: less than 512 is 512", opt(func(o *dns.OPT) { o.SetUDPSize(0) }), dns.RcodeSuccess, true, true},
		{"ednsopt: unknown option", opt(unknown), dns.RcodeSuccess, true, true},
		{"edns1opt: both", opt(func(o *dns.OPT) { version(1)(o); unknown(o) }), dns.RcodeBadVers, true, false},
		{"do", opt(func(o *dns.OPT) { o.SetDo() }), dns.RcodeSuccess, true, true},
		{"ednsflags: unknown flag", opt(func(o *dns.OPT) { o.Hdr.Ttl |= 0x40 }), dns.RcodeSuccess, true, true},
		{"docookie", opt(func(o *dns.OPT) {
			o.SetDo()
			o.Option = append(o.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"})
		}), dns.RcodeSuccess, true, true},
		{"optlist: many options", opt(func(o *dns.OPT) {
			o.Option = append(o.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID}, subnet(1, 0, "0.0.0.0"),
				&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}, &dns.EDNS0_LOCAL{Code: 9, Data: []byte{0, 0, 0, 0}})
		}), dns.RcodeSuccess, true, true},
	} {
		m := a.exchange(tt.query)
		o := m.IsEdns0()
		rcode := m.Rcode
		if o != nil {
			rcode |= o.ExtendedRcode() &^ 0xF
		}
		if rcode != tt.rcode || (o != nil) != tt.edns || (len(m.Answer) == 1) != tt.soa {
			t.Errorf("%s: %s", tt.name, m)
			continue
		}
		if o != nil && (o.Version() != 0 || o.UDPSize() != 1232 || o.Do() != tt.query.IsEdns0().Do() || o.Hdr.Ttl&0x7FFF != 0) {
			t.Errorf("%s: OPT is %s", tt.name, o)
		}
		for _, option := range optionsOf(o) {
			if option.Option() == 100 || option.Option() == 9 {
				t.Errorf("%s: an unknown option comes back", tt.name)
			}
		}
	}
}

func optionsOf(o *dns.OPT) []dns.EDNS0 {
	if o == nil {
		return nil
	}
	return o.Option
}

// find returns the option of an answer with that code.
func find(m *dns.Msg, code uint16) dns.EDNS0 {
	for _, o := range optionsOf(m.IsEdns0()) {
		if o.Option() == code {
			return o
		}
	}
	return nil
}

func TestOptionsAreAnswered(t *testing.T) {
	w := example(t)
	a := ask(t, w)
	q := func(options ...dns.EDNS0) *dns.Msg {
		m := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA).SetEdns0(1232, false)
		m.IsEdns0().Option = options
		return m
	}
	if o, ok := find(a.exchange(q(&dns.EDNS0_NSID{Code: dns.EDNS0NSID})), dns.EDNS0NSID).(*dns.EDNS0_NSID); !ok || o.Nsid != hex.EncodeToString(w.NSID) {
		t.Errorf("NSID is %v", o)
	}
	keepalive := &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}
	if find(a.exchange(q(keepalive)), dns.EDNS0TCPKEEPALIVE) != nil {
		t.Error("keepalive is answered over UDP (RFC 7828 §3.3.2)")
	}
	a.from.TCP = true
	if o, ok := find(a.exchange(q(keepalive)), dns.EDNS0TCPKEEPALIVE).(*dns.EDNS0_TCP_KEEPALIVE); !ok || o.Timeout != 100 {
		t.Errorf("keepalive is %v", o)
	}
	a.from.TCP = false
	if o, ok := find(a.exchange(new(dns.Msg).SetQuestion("example.org.", dns.TypeA).SetEdns0(1232, false)), dns.EDNS0EDE).(*dns.EDNS0_EDE); !ok || o.InfoCode != dns.ExtendedErrorCodeNotAuthoritative {
		t.Errorf("the error is explained by %v", o)
	}
	w.NSID = nil
	if find(a.exchange(q(&dns.EDNS0_NSID{Code: dns.EDNS0NSID})), dns.EDNS0NSID) != nil {
		t.Error("a server without an identifier has one")
	}
}

func subnet(family uint16, bits uint8, address string) *dns.EDNS0_SUBNET {
	return &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: family, SourceNetmask: bits, Address: netip.MustParseAddr(address).AsSlice()}
}

func TestSubnetsSteerAndComeBackWithTheirScope(t *testing.T) {
	view := &steer.Record{
		Views:   []steer.View{{Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Slot: slot("in", rules(steer.All), endpoint("10.0.0.1", 1))}},
		Default: slot("out", rules(steer.All), endpoint("192.0.2.1", 1)),
	}
	hash := &steer.Record{Default: slot("hash", rules(steer.Hash), endpoint("192.0.2.1", 1), endpoint("192.0.2.2", 1))}
	w := example(t, zone.Steered{Name: name("view.example.com."), Record: view}, zone.Steered{Name: name("hash.example.com."), Record: hash})
	for _, tt := range []struct {
		name   string
		option *dns.EDNS0_SUBNET
		want   string // "" is anything
		scope  int    // negative is no option
	}{
		{"view.example.com.", subnet(1, 24, "10.1.2.0"), "10.0.0.1", 16},
		{"view.example.com.", subnet(1, 24, "10.2.2.0"), "192.0.2.1", 15},
		{"view.example.com.", subnet(2, 56, "2001:db8::"), "192.0.2.1", 0},
		{"view.example.com.", subnet(1, 0, "0.0.0.0"), "192.0.2.1", 0},
		{"view.example.com.", nil, "192.0.2.1", -1},
		{"hash.example.com.", subnet(1, 24, "203.0.113.0"), "", 24},
		{"hash.example.com.", subnet(1, 16, "203.0.0.0"), "", 24},
		{"hash.example.com.", subnet(2, 56, "2001:db8::"), "", 56},
		{"www.example.com.", subnet(1, 24, "203.0.113.0"), "", 0},
		{"mail.example.com.", subnet(1, 24, "203.0.113.0"), "192.0.2.25", 0},
		{"nothing.example.com.", subnet(1, 24, "203.0.113.0"), "", 0},
	} {
		a := ask(t, w)
		q := new(dns.Msg).SetQuestion(tt.name, dns.TypeA).SetEdns0(1232, false)
		if tt.option != nil {
			q.IsEdns0().Option = []dns.EDNS0{tt.option}
		}
		m := a.exchange(q)
		if tt.want != "" && (len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != tt.want) {
			t.Errorf("%s %v: answer is %s", tt.name, tt.option, m)
		}
		o, ok := find(m, dns.EDNS0SUBNET).(*dns.EDNS0_SUBNET)
		if ok != (tt.scope >= 0) || ok && (int(o.SourceScope) != tt.scope || o.SourceNetmask != tt.option.SourceNetmask || o.Family != tt.option.Family || !o.Address.Equal(tt.option.Address)) {
			t.Errorf("%s %v: %v comes back, want scope %d", tt.name, tt.option, o, tt.scope)
		}
	}
	w.Believed = []netip.Prefix{netip.MustParsePrefix("203.0.113.53/32")}
	a := ask(t, w)
	q := new(dns.Msg).SetQuestion("view.example.com.", dns.TypeA).SetEdns0(1232, false)
	q.IsEdns0().Option = []dns.EDNS0{subnet(1, 24, "10.1.2.0")}
	if m := a.exchange(q); m.Answer[0].(*dns.A).A.String() != "192.0.2.1" || find(m, dns.EDNS0SUBNET) != nil {
		t.Errorf("a resolver that is not believed gets %s", m)
	}
}

func TestACookieIsGivenAndProves(t *testing.T) {
	a := ask(t, example(t))
	q := func(cookie string) *dns.Msg {
		m := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA).SetEdns0(1232, false)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookie}}
		return m
	}
	given := find(a.exchange(q("0102030405060708")), dns.EDNS0COOKIE).(*dns.EDNS0_COOKIE).Cookie
	if len(given) != 48 || given[:16] != "0102030405060708" || a.r.proof != guard.NewClient {
		t.Errorf("cookie is %s", given)
	}
	again := find(a.exchange(q(given)), dns.EDNS0COOKIE).(*dns.EDNS0_COOKIE).Cookie
	if again != given || a.r.proof != guard.Proven || a.r.stats.proven.Load() != 1 {
		t.Errorf("cookie is %s, and proves %v", again, a.r.proof)
	}
	bare := q(given)
	bare.Question = nil
	if m := a.exchange(bare); m.Rcode != dns.RcodeSuccess || len(m.Question) != 0 || find(m, dns.EDNS0COOKIE) == nil {
		t.Errorf("without a question: %s", m)
	}
}

// limited is a world with a limit of five answers a second, and ten questions.
func limited(t *testing.T) *World {
	w := example(t)
	w.Limits = Limits{
		Answers:   guard.NewLimiter(guard.Rate{PerSecond: 5}, 1024),
		Questions: guard.NewLimiter(guard.Rate{PerSecond: 50}, 1024),
		Slip:      2, Prefix4: 24, Prefix6: 56, Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
	return w
}

func TestAFloodOfForgedQueriesIsHardlyAnswered(t *testing.T) {
	flood := func(edit func(*asker), question func(i int) *dns.Msg) (full, truncated, badCookie, dropped int) {
		a := ask(t, limited(t))
		if edit != nil {
			edit(a)
		}
		for i := range 40 {
			switch m := a.exchange(question(i)); {
			case m == nil:
				dropped++
			case m.Truncated:
				truncated++
				if len(m.Answer) > 0 {
					t.Error("a truncated answer has records")
				}
			case m.IsEdns0() != nil && m.IsEdns0().ExtendedRcode()|m.Rcode == dns.RcodeBadCookie:
				badCookie++
			default:
				full++
			}
		}
		return full, truncated, badCookie, dropped
	}
	same := func(int) *dns.Msg { return new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA) }
	if full, truncated, _, dropped := flood(nil, same); full != 5 || truncated < 8 || dropped < 8 {
		t.Errorf("the same question: %d full, %d truncated, %d dropped", full, truncated, dropped)
	}
	random := func(i int) *dns.Msg { return new(dns.Msg).SetQuestion(fmt.Sprintf("x%d.example.com.", i), dns.TypeA) }
	if full, _, _, _ := flood(nil, random); full != 5 {
		t.Errorf("names that are not there: %d full", full)
	}
	wild := func(i int) *dns.Msg {
		return new(dns.Msg).SetQuestion(fmt.Sprintf("x%d.wild.example.com.", i), dns.TypeTXT)
	}
	if full, _, _, _ := flood(nil, wild); full != 5 {
		t.Errorf("names that a wildcard stands in for: %d full", full)
	}
	sub := func(i int) *dns.Msg {
		return new(dns.Msg).SetQuestion(fmt.Sprintf("x%d.sub.example.com.", i), dns.TypeTXT)
	}
	if full, _, _, _ := flood(nil, sub); full != 5 {
		t.Errorf("names below a delegation: %d full", full)
	}
	different := func(i int) *dns.Msg {
		return new(dns.Msg).SetQuestion([]string{"www", "mail", "ns1", "txt"}[i%4]+".example.com.", dns.TypeA)
	}
	if full, _, _, _ := flood(nil, different); full != 20 {
		t.Errorf("four different questions: %d full", full)
	}
	if full, _, _, _ := flood(func(a *asker) { a.from.TCP = true }, same); full != 40 {
		t.Errorf("over TCP: %d full", full)
	}
	if full, _, _, _ := flood(func(a *asker) { a.from.Addr = netip.MustParseAddr("127.0.0.1") }, same); full != 40 {
		t.Errorf("from an exempt network: %d full", full)
	}
	cookie := func(int) *dns.Msg {
		m := same(0).SetEdns0(1232, false)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}}
		return m
	}
	if full, truncated, bad, _ := flood(nil, cookie); full != 5 || truncated != 0 || bad < 8 {
		t.Errorf("with a new cookie: %d full, %d truncated, %d told to come back with ours", full, truncated, bad)
	}
}

func TestAProvenClientIsNotHeldToTheLimitOfAnswers(t *testing.T) {
	a := ask(t, limited(t))
	q := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA).SetEdns0(1232, false)
	c := &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}
	q.IsEdns0().Option = []dns.EDNS0{c}
	c.Cookie = find(a.exchange(q), dns.EDNS0COOKIE).(*dns.EDNS0_COOKIE).Cookie
	for range 40 {
		if m := a.exchange(q); m == nil || len(m.Answer) != 3 {
			t.Fatalf("answer is %v", m)
		}
	}
	for range 100 { // but to the one of questions
		a.exchange(q)
	}
	if n := a.r.stats.limited[limitedDrop].Load() + a.r.stats.limited[limitedCookie].Load(); n == 0 {
		t.Error("one source asks as much as it likes")
	}
}

func TestANetworkIsLimitedTogetherAndOthersAreNot(t *testing.T) {
	a := ask(t, limited(t))
	for i := range 20 {
		a.from.Addr = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		a.ask("www.example.com.", dns.TypeA)
	}
	if m := a.ask("mail.example.com.", dns.TypeA); m == nil || len(m.Answer) != 1 {
		t.Error("another answer is held back too")
	}
	a.from.Addr = netip.MustParseAddr("203.0.113.1")
	if m := a.ask("www.example.com.", dns.TypeA); m == nil || len(m.Answer) != 3 {
		t.Error("another network is held back too")
	}
	a.from.Addr = resolver.Addr
	a.from.Now += time.Minute
	if m := a.ask("www.example.com.", dns.TypeA); m == nil || len(m.Answer) != 3 {
		t.Error("a minute later it is still held back")
	}
}

func TestADelegationWithoutRoomForItsGlueIsTruncated(t *testing.T) {
	text := "example.com. 60 SOA a. b. 1 2 3 4 5\n"
	for i := range 13 {
		text += fmt.Sprintf("sub.example.com. 60 NS server-number-%d.sub.example.com.\n", i)
		text += fmt.Sprintf("server-number-%d.sub.example.com. 60 AAAA 2001:db8::%d\n", i, i)
	}
	z, err := zone.Build(zone.Content{Apex: name("example.com."), Records: records(t, text)})
	if err != nil {
		t.Fatal(err)
	}
	c, _ := zone.NewCatalog(z)
	a := ask(t, &World{Catalog: c, UDPSize: 1232})
	if m := a.ask("www.sub.example.com.", dns.TypeA); !m.Truncated || len(m.Ns)+len(m.Extra) != 0 {
		t.Errorf("512 bytes: %s", m)
	}
	a.from.TCP = true
	if m := a.ask("www.sub.example.com.", dns.TypeA); len(m.Ns) != 13 || len(m.Extra) != 13 || m.Authoritative {
		t.Errorf("over TCP: %s", m)
	}
}

func TestDSIsAskedOfTheParent(t *testing.T) {
	child, err := zone.Build(zone.Content{Apex: name("sub.example.com."), Records: records(t, "sub.example.com. 60 SOA a. b. 1 2 3 4 5")})
	if err != nil {
		t.Fatal(err)
	}
	w := example(t)
	if w.Catalog, err = zone.NewCatalog(w.Catalog.Zones()[0], child); err != nil {
		t.Fatal(err)
	}
	a := ask(t, w)
	if m := a.ask("sub.example.com.", dns.TypeDS); len(m.Answer) != 1 || !m.Authoritative {
		t.Errorf("DS: %s", m)
	}
	if m := a.ask("sub.example.com.", dns.TypeSOA); len(m.Answer) != 1 || m.Answer[0].Header().Name != "sub.example.com." {
		t.Errorf("SOA: %s", m)
	}
	if m := a.ask("example.com.", dns.TypeDS); len(m.Answer) != 0 || len(m.Ns) != 1 || !m.Authoritative {
		t.Errorf("DS at the top, whose parent is not ours: %s", m)
	}
}

func TestASlotThatHasNoPlanYetIsSaidToBeNotReady(t *testing.T) {
	pending := &steer.Record{Default: steer.NewSlot("new", rules(steer.All))}
	a := ask(t, example(t, zone.Steered{Name: name("new.example.com."), Record: pending}))
	m := a.exchange(new(dns.Msg).SetQuestion("new.example.com.", dns.TypeA).SetEdns0(1232, false))
	if o, ok := find(m, dns.EDNS0EDE).(*dns.EDNS0_EDE); m.Rcode != dns.RcodeServerFailure || !ok || o.InfoCode != dns.ExtendedErrorCodeNotReady {
		t.Errorf("answer is %s", m)
	}
}

func TestCountsAddUp(t *testing.T) {
	a := ask(t, example(t))
	a.ask("www.example.com.", dns.TypeA)
	a.ask("example.com.", dns.TypeCAA)
	a.ask("nothing.example.com.", dns.TypeHTTPS)
	a.ask("www.example.org.", 4711)
	a.raw([]byte("short"))
	a.from.TCP = true
	a.ask("www.example.com.", dns.TypeA)
	var got Totals
	a.r.AddTo(&got)
	label := func(name string) uint64 { return got.Types[slices.Index(TypeLabels[:], name)] }
	if label("A") != 2 || label("CAA") != 1 || label("HTTPS") != 1 || label("other") != 1 {
		t.Errorf("types are %v", got.Types)
	}
	if got.Rcodes[wire.NoError] != 3 || got.Rcodes[wire.NXDomain] != 1 || got.Rcodes[wire.Refused] != 1 || got.UDP != 4 || got.TCP != 1 || got.Ignored != 1 || got.Policies[steer.All] != 2 {
		t.Errorf("counts are %+v", got)
	}
	if n := a.world.Catalog.Zones()[0].Count.Sum(); n != 4 {
		t.Errorf("the zone was asked %d times", n)
	}
}

// Whatever comes, the answer can be read, is no longer than allowed, and is nothing but an answer to that.
func FuzzAnswer(f *testing.F) {
	w := example(f)
	_, cases := benchCases(f)
	for _, c := range cases {
		f.Add(c.query, false)
	}
	f.Add([]byte(strings.Repeat("\x00", 12)), true)
	f.Fuzz(func(t *testing.T, query []byte, tcp bool) {
		a := ask(t, w)
		a.from.TCP = tcp
		out := a.raw(query)
		if len(out) == 0 {
			return
		}
		if !tcp && len(out) > 1232 {
			t.Errorf("%d bytes over UDP", len(out))
		}
		var m dns.Msg
		if err := m.Unpack(out); err != nil {
			t.Errorf("%x is answered with %x: %v", query, out, err)
		}
		if !m.Response || m.Id != uint16(query[0])<<8|uint16(query[1]) {
			t.Errorf("%x is answered with %s", query, &m)
		}
	})
}
