package answer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/trivet-ha/trivet/balance/gslb/guard"
	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
	"github.com/trivet-ha/trivet/balance/gslb/zonefile"
)

// name parses an absolute name.
func name(text string) wire.Name {
	n, err := wire.ParseName(text, wire.Root)
	if err != nil {
		panic(err)
	}
	return n
}

// records parses lines of a zone file; each has its owner, TTL, type and data.
func records(tb testing.TB, text string) (all []zone.Record) {
	tb.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == ';' {
			continue
		}
		fields := strings.SplitN(line, " ", 4)
		var ttl uint32
		if _, err := fmt.Sscan(fields[1], &ttl); err != nil {
			tb.Fatal(err)
		}
		t, ok := wire.ParseType(fields[2])
		if !ok {
			tb.Fatalf("type %s", fields[2])
		}
		r, err := zonefile.Parse(name(fields[0]), t, ttl, fields[3], wire.Root)
		if err != nil {
			tb.Fatalf("%s: %v", line, err)
		}
		all = append(all, r)
	}
	return all
}

const exampleZone = `
example.com. 3600 SOA ns1.example.com. hostmaster.example.com. 7 7200 900 1209600 300
example.com. 3600 NS ns1.example.com.
example.com. 3600 NS ns2.example.net.
example.com. 3600 MX 10 mail.example.com.
ns1.example.com. 3600 A 192.0.2.53
ns1.example.com. 3600 AAAA 2001:db8::53
mail.example.com. 3600 A 192.0.2.25
alias.example.com. 600 CNAME mail.example.com.
chain.example.com. 600 CNAME alias.example.com.
away.example.com. 600 CNAME www.example.org.
gone.example.com. 600 CNAME nothing.example.com.
loop1.example.com. 600 CNAME loop2.example.com.
loop2.example.com. 600 CNAME loop1.example.com.
topool.example.com. 600 CNAME www.example.com.
deep.a.b.example.com. 600 TXT "far below"
*.wild.example.com. 600 TXT "stood in"
*.wild.example.com. 600 MX 5 mail.example.com.
host.wild.example.com. 600 A 192.0.2.77
*.cwild.example.com. 600 CNAME mail.example.com.
sub.example.com. 1800 NS ns.sub.example.com.
sub.example.com. 1800 NS ns2.example.net.
sub.example.com. 1800 DS 12345 13 2 0000000000000000000000000000000000000000000000000000000000000000
ns.sub.example.com. 1800 A 192.0.2.99
ns.sub.example.com. 1800 AAAA 2001:db8::99
_sip._tcp.example.com. 600 SRV 10 5 5060 mail.example.com.
svc.example.com. 600 HTTPS 1 . alpn="h2,h3" ipv4hint="192.0.2.1"
txt.example.com. 600 TXT "one" "two"
ca.example.com. 600 CAA 0 issue "letsencrypt.org"
ptr.example.com. 600 PTR www.example.com.
`

// endpoint is one that is in.
func endpoint(host string, weight int) steer.Endpoint {
	return steer.Endpoint{Address: host + ":80", Hosts: []netip.Addr{netip.MustParseAddr(host)}, Weight: weight}
}

// slot is one with a plan for these endpoints.
func slot(pool string, r steer.Rules, endpoints ...steer.Endpoint) *steer.Slot {
	s := steer.NewSlot(pool, r)
	s.Refresh(0, &steer.State{Endpoints: endpoints})
	return s
}

func rules(p steer.Policy) steer.Rules { return steer.Rules{Policy: p, TTL: 30, DownTTL: 5} }

// example is the world that most tests ask.
func example(tb testing.TB, steered ...zone.Steered) *World {
	tb.Helper()
	www := &steer.Record{Name: "www.example.com.", Default: slot("site", rules(steer.All), endpoint("192.0.2.1", 1), endpoint("192.0.2.2", 1), endpoint("192.0.2.3", 1))}
	z, err := zone.Build(zone.Content{
		Apex:    name("example.com."),
		Records: records(tb, exampleZone),
		Steered: append(steered, zone.Steered{Name: name("www.example.com."), Record: www}),
		Aliases: []zone.Alias{
			{Name: name("example.com."), Target: name("www.example.com."), TTL: 60},
			{Name: name("aliased.example.com."), Target: name("alias.example.com."), TTL: 60},
			{Name: name("nowhere.example.com."), Target: name("nothing.example.com."), TTL: 60},
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	c, err := zone.NewCatalog(z)
	if err != nil {
		tb.Fatal(err)
	}
	return &World{
		Catalog: c, UDPSize: 1232, NSID: []byte("ns1.test"), Keepalive: 10 * time.Second,
		Believed: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
		Cookies:  guard.NewCookies(guard.Secret{1, 2, 3}),
	}
}

var resolver = Source{Addr: netip.MustParseAddr("198.51.100.1"), Unix: 1_700_000_000}

// asker asks a world and reads the answers with another implementation.
type asker struct {
	tb    testing.TB
	world *World
	r     *Responder
	from  Source
}

func ask(tb testing.TB, w *World) *asker {
	return &asker{tb: tb, world: w, r: New(0, 1), from: resolver}
}

// exchange sends a query and reads the answer; nil is none.
func (a *asker) exchange(q *dns.Msg) *dns.Msg {
	a.tb.Helper()
	packed, err := q.Pack()
	if err != nil {
		a.tb.Fatal(err)
	}
	out := a.raw(packed)
	if out == nil {
		return nil
	}
	m := new(dns.Msg)
	if err := m.Unpack(out); err != nil {
		a.tb.Fatalf("%v: the answer can't be read: %v\n%x", q.Question, err, out)
	}
	if m.Id != q.Id || !m.Response || m.RecursionAvailable || m.RecursionDesired != q.RecursionDesired {
		a.tb.Errorf("the header is %+v for %+v", m.MsgHdr, q.MsgHdr)
	}
	return m
}

func (a *asker) raw(query []byte) []byte {
	return a.r.Answer(a.world, make([]byte, 0, wire.TCPMax), query, a.from)
}

// ask asks for one name.
func (a *asker) ask(name string, t uint16) *dns.Msg {
	a.tb.Helper()
	return a.exchange(new(dns.Msg).SetQuestion(name, t))
}
