package answer

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/trivet-ha/trivet/balance/gslb/guard"
	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
)

// queryFor packs a question, with EDNS and a client's subnet if wanted.
func queryFor(tb testing.TB, name string, t uint16, edit func(*dns.Msg)) []byte {
	m := new(dns.Msg).SetQuestion(name, t)
	if edit != nil {
		edit(m)
	}
	b, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func withSubnet(m *dns.Msg) {
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: []byte{203, 0, 113, 0}})
}

func withEDNS(m *dns.Msg) { m.SetEdns0(1232, true) }

func withCookie(m *dns.Msg) {
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"})
}

// benchCases are the shapes of questions that make up nearly all.
func benchCases(tb testing.TB) (*World, []struct {
	name  string
	query []byte
}) {
	var steered []zone.Steered
	for _, p := range []steer.Policy{steer.One, steer.Weighted, steer.Failover, steer.Hash} {
		record := &steer.Record{Default: slot("site", rules(p), endpoint("192.0.2.1", 1), endpoint("192.0.2.2", 2), endpoint("192.0.2.3", 3))}
		steered = append(steered, zone.Steered{Name: name(p.String() + ".example.com."), Record: record})
	}
	w := example(tb, steered...)
	return w, []struct {
		name  string
		query []byte
	}{
		{"all", queryFor(tb, "www.example.com.", dns.TypeA, nil)},
		{"all-edns", queryFor(tb, "www.example.com.", dns.TypeA, withEDNS)},
		{"all-subnet", queryFor(tb, "www.example.com.", dns.TypeA, withSubnet)},
		{"all-cookie", queryFor(tb, "www.example.com.", dns.TypeA, withCookie)},
		{"one", queryFor(tb, "one.example.com.", dns.TypeA, nil)},
		{"weighted", queryFor(tb, "weighted.example.com.", dns.TypeA, nil)},
		{"hash", queryFor(tb, "hash.example.com.", dns.TypeA, withSubnet)},
		{"no-such-type", queryFor(tb, "www.example.com.", dns.TypeAAAA, nil)},
		{"static", queryFor(tb, "mail.example.com.", dns.TypeA, nil)},
		{"mx", queryFor(tb, "example.com.", dns.TypeMX, nil)},
		{"chain", queryFor(tb, "chain.example.com.", dns.TypeA, nil)},
		{"nxdomain", queryFor(tb, "a.b.c.d.example.com.", dns.TypeA, nil)},
		{"wildcard", queryFor(tb, "x.y.wild.example.com.", dns.TypeMX, nil)},
		{"referral", queryFor(tb, "www.sub.example.com.", dns.TypeA, nil)},
		{"refused", queryFor(tb, "www.example.org.", dns.TypeA, nil)},
	}
}

func BenchmarkAnswer(b *testing.B) {
	w, cases := benchCases(b)
	w.Limits = Limits{Answers: guard.NewLimiter(guard.Rate{PerSecond: 1e9}, 4096), Questions: guard.NewLimiter(guard.Rate{PerSecond: 1e9}, 4096), Prefix4: 24, Prefix6: 56,
		Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			r := New(0, 1)
			buf := make([]byte, 0, wire.TCPMax)
			b.ReportAllocs()
			for b.Loop() {
				if len(r.Answer(w, buf, c.query, resolver)) == 0 {
					b.Fatal("no answer")
				}
			}
		})
	}
}

func TestAnswersAllocateNothing(t *testing.T) {
	w, cases := benchCases(t)
	w.Limits = Limits{Answers: guard.NewLimiter(guard.Rate{PerSecond: 1e9}, 4096), Prefix4: 24, Prefix6: 56}
	for _, c := range cases {
		r := New(0, 1)
		buf := make([]byte, 0, wire.TCPMax)
		if n := testing.AllocsPerRun(100, func() { r.Answer(w, buf, c.query, resolver) }); n != 0 {
			t.Errorf("%s: %g allocations", c.name, n)
		}
	}
}
