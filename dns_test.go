package trivet

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/balance/gslb/geo/geotest"
)

// resolved asks the node for addresses over the wire, sorted; or says what went wrong.
func (r *running) resolved(network, name string) string {
	r.t.Helper()
	d, err := r.DNS()
	if err != nil || len(d.Addresses) == 0 {
		return fmt.Sprintf("not served: %v", err)
	}
	c := dns.Client{Net: network, Timeout: time.Second}
	m, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), d.Addresses[0])
	if err != nil {
		return err.Error()
	}
	if m.Rcode != dns.RcodeSuccess {
		return dns.RcodeToString[m.Rcode]
	}
	var all []string
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			all = append(all, a.A.String())
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// named are shops that answer at addresses of their own, for which documentation addresses are published.
const namedShops = `
pools:
  site:
    endpoints: [%s, %s]
    health: {probe: {http: /healthz}, interval: 100ms, fast_interval: 20ms}
dns:
  address: "127.0.0.1:0"
  zones:
    example.com:
      ns: [ns1]
      records:
        www: {pool: site, ttl: 20s, publish: {"%[1]s": 192.0.2.1, "%[2]s": 192.0.2.2}}
        "@": {alias: www}
        ns1: {a: 192.0.2.53}
admin: {socket: SOCKET}
`

func TestNamesFollowTheHealthThatRequestsSee(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	r := start(t, fmt.Sprintf(namedShops, a.address(), b.address()))
	for _, network := range []string{"udp", "tcp"} {
		eventually(t, "both are answered over "+network, func() bool { return r.resolved(network, "www.example.com.") == "192.0.2.1 192.0.2.2" })
	}
	b.sick.Store(true)
	eventually(t, "the sick one has left", func() bool { return r.resolved("udp", "example.com.") == "192.0.2.1" })
	answer, err := r.QueryDNS(api.DNSQuestion{Name: "www.example.com", Type: "a"})
	if err != nil || len(answer.Answer) != 1 || !strings.HasPrefix(answer.Answer[0], "www.example.com. 5 IN A 192.0.2.1") {
		t.Errorf("answer is %+v, %v", answer, err)
	}
	s := answer.Steering
	if s == nil || s.Pool != "site" || len(s.Endpoints) != 2 || !s.Endpoints[0].Answered || s.Endpoints[1].In || !strings.Contains(s.Endpoints[1].Reason, "503") || s.Endpoints[0].Weight != 1 {
		t.Errorf("steering is %+v", s)
	}
	a.sick.Store(true)
	eventually(t, "both are answered again, for want of better ones", func() bool { return r.resolved("udp", "www.example.com.") == "192.0.2.1 192.0.2.2" })
	d, err := r.DNS()
	if err != nil || len(d.Names) != 1 || d.Names[0].Mode != "down" || d.Changes == 0 || d.Queries == 0 {
		t.Errorf("dns is %+v, %v", d, err)
	}
	a.sick.Store(false)
	eventually(t, "the healthy one is back alone", func() bool { return r.resolved("udp", "www.example.com.") == "192.0.2.1" })
	drain := api.Drain
	b.sick.Store(false)
	eventually(t, "both are back", func() bool { return r.resolved("udp", "www.example.com.") == "192.0.2.1 192.0.2.2" })
	if _, err := r.ChangeEndpoint("site", a.address(), api.Change{Admin: &drain}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the drained one has left", func() bool { return r.resolved("udp", "www.example.com.") == "192.0.2.2" })
}

func TestNothingIsAnsweredBeforeTheFirstProbe(t *testing.T) {
	release := make(chan struct{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // a server that answers probes only when it is told to; it ends with its listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			<-release
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			c.Close()
		}
	}()
	sick := newShop(t, "sick")
	sick.sick.Store(true)
	yaml := fmt.Sprintf(namedShops, l.Addr(), sick.address())
	r := start(t, strings.Replace(yaml, "interval: 100ms", "interval: 100ms, timeout: 20s", 1))
	address, err := r.names.server.Addr("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	query, _ := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA).Pack()
	if _, err := c.Write(query); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 512)
	_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if n, err := c.Read(buf); err == nil {
		t.Fatalf("answered %x before the first probe", buf[:n])
	}
	if d, err := r.DNS(); err != nil || d.Ready || len(d.Waiting) != 1 {
		t.Errorf("dns is %+v, %v", d, err)
	}
	close(release)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second)) // the query has waited in the kernel
	n, err := c.Read(buf)
	var m dns.Msg
	if err != nil || m.Unpack(buf[:n]) != nil || len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != "192.0.2.1" {
		t.Errorf("answer is %v, %v", &m, err)
	}
}

func TestAnswersWaitForTheFirstProbeNoLongerThanTheFileSays(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b := newShop(t, "b")
	yaml := fmt.Sprintf(namedShops, l.Addr(), b.address())
	yaml = strings.Replace(yaml, "interval: 100ms", "interval: 100ms, timeout: 20s", 1)
	r := start(t, strings.Replace(yaml, "dns:\n", "dns:\n  first_probe: 200ms\n", 1))
	eventually(t, "the one that answers is answered", func() bool { return r.resolved("udp", "www.example.com.") == "192.0.2.2" })
}

func TestZonesAreReloadedAndBadOnesChangeNothing(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	yaml := fmt.Sprintf(namedShops, a.address(), b.address())
	zone := filepath.Join(t.TempDir(), "example.org.zone")
	write := func(text string) {
		if err := os.WriteFile(zone, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("@ 60 SOA ns host 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.53\n")
	yaml += "watch: true\n"
	yaml = strings.Replace(yaml, "  zones:\n", "  zones:\n    example.org: {file: "+zone+", records: {www: {pool: site}}}\n", 1)
	r := start(t, yaml)
	eventually(t, "the zone file is served", func() bool { return r.resolved("udp", "ns.example.org.") == "192.0.2.53" })
	eventually(t, "a name on top of the file follows its pool", func() bool { return r.resolved("udp", "www.example.org.") == "127.0.0.1" })
	eventually(t, "its file is known to be watched", func() bool {
		write(fmt.Sprintf("@ 60 SOA ns host 2 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.54\nx%d 60 A 192.0.2.1\n", time.Now().UnixNano()))
		return r.resolved("udp", "ns.example.org.") == "192.0.2.54"
	})
	write("@ 60 SOA nonsense\n")
	eventually(t, "the mistake is told", func() bool { return strings.Contains(r.Status().File.Error, "example.org") })
	if got := r.resolved("udp", "ns.example.org."); got != "192.0.2.54" {
		t.Errorf("after a mistake %s is answered", got)
	}
	r.write(strings.Replace(yaml, "ns1: {a: 192.0.2.53}", "ns1: {a: 192.0.2.99}", 1))
	write("@ 60 SOA ns host 3 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.55\n")
	if err := r.ReloadFile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.resolved("udp", "ns1.example.com.") + " " + r.resolved("tcp", "ns.example.org."); got != "192.0.2.99 192.0.2.55" {
		t.Errorf("after a reload %s is answered", got)
	}
	r.write(strings.Split(yaml, "dns:")[0] + "admin: {socket: SOCKET}\n")
	if err := r.ReloadFile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.DNS(); err == nil {
		t.Error("without a dns section DNS is served")
	}
}

func TestClientsAreLedByPlaceAndNetwork(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	places := geotest.Write(t, filepath.Join(t.TempDir(), "places.mmdb"),
		geotest.Place{Network: "203.0.113.0/24", Country: "DE", Continent: "EU"},
		geotest.Place{Network: "198.51.100.0/24", Country: "JP", Continent: "AS", Latitude: 35.7, Longitude: 139.7})
	r := start(t, fmt.Sprintf(`
pools:
  eu: {endpoints: [%s], health: {probe: {http: /healthz}, interval: 100ms, fast_interval: 20ms}}
  us: {endpoints: [%s], health: {probe: {http: /healthz}, interval: 100ms, fast_interval: 20ms}}
dns:
  address: "127.0.0.1:0"
  places: %s
  zones:
    example.com:
      records:
        www:
          pool: us
          publish: {"%[1]s": 192.0.2.1, "%[2]s": 192.0.2.2}
          answer: geo
          geo: {countries: {DE: eu}, nearest: {us: "38.9, -77.4", eu: "50.1, 8.7"}}
          views: [{source: 10.0.0.0/8, a: 10.0.0.1}]
admin: {socket: SOCKET}
`, a.address(), b.address(), places))
	ask := func(from string) api.DNSAnswer {
		t.Helper()
		x, err := r.QueryDNS(api.DNSQuestion{Name: "www.example.com.", Type: "A", From: from})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	eventually(t, "it serves", func() bool { d, _ := r.DNS(); return d.Ready })
	for from, want := range map[string][3]string{
		"203.0.113.7":  {"192.0.2.1", "eu", "by its country, DE"},
		"198.51.100.7": {"192.0.2.1", "eu", "by distance"}, // Tokyo is nearer to Frankfurt than to Virginia
		"9.9.9.9":      {"192.0.2.2", "us", "by default"},
		"10.1.2.3":     {"10.0.0.1", "", "by its view"},
	} {
		x := ask(from)
		if len(x.Answer) != 1 || !strings.HasSuffix(x.Answer[0], want[0]) || x.Steering.Pool != want[1] || x.Steering.Led != want[2] {
			t.Errorf("%s: %+v, led %+v", from, x.Answer, x.Steering)
		}
	}
	a.sick.Store(true)
	eventually(t, "Germany is led elsewhere", func() bool { x := ask("203.0.113.7"); return strings.HasSuffix(x.Answer[0], "192.0.2.2") })
}

func TestWhatCanNotBeServedIsRefusedAsAWhole(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	yaml := fmt.Sprintf(namedShops, a.address(), b.address())
	r := start(t, yaml)
	eventually(t, "it serves", func() bool { return r.resolved("udp", "ns1.example.com.") == "192.0.2.53" })
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for what, edit := range map[string][2]string{
		"no such file": {"ns: [ns1]", "file: /nonexistent"},
		"in use":       {`address: "127.0.0.1:0"`, `address: ["127.0.0.1:0", "` + taken.LocalAddr().String() + `"]`},
		"two sources":  {"ns1: {a: 192.0.2.53}", "ns1: {a: 192.0.2.53}\n    sub.example.com: {file: ZONE, records: {www: {pool: site}}}"},
		"places: open": {"dns:\n", "dns:\n  places: /nonexistent.mmdb\n"},
	} {
		zone := filepath.Join(t.TempDir(), "zone")
		if err := os.WriteFile(zone, []byte("@ 60 SOA a b 1 2 3 4 5\nwww 60 A 192.0.2.1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.write(strings.Replace(strings.Replace(yaml, edit[0], edit[1], 1), "ZONE", zone, 1))
		err := r.ReloadFile(t.Context())
		if err == nil {
			t.Errorf("%s: it is taken", what)
		} else if what != "places: open" && !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
		if got := r.resolved("udp", "ns1.example.com."); got != "192.0.2.53" {
			t.Errorf("%s: afterwards %s is answered", what, got)
		}
	}
}

func TestQuestionsThatMakeNoSenseAreRefused(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	r := start(t, fmt.Sprintf(namedShops, a.address(), b.address()))
	for _, q := range []api.DNSQuestion{{Name: "a..b", Type: "A"}, {Name: "a", Type: "NONE"}, {Name: "a", Type: "A", From: "x"}} {
		if x, err := r.QueryDNS(q); err == nil {
			t.Errorf("%+v: %+v", q, x)
		}
	}
}
