package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
)

const dnsFile = `
pools:
  site: {endpoints: [10.0.0.11:8000, 10.0.0.12:8000]}
  slow: {endpoints: [10.0.0.11:8000], health: {fast_interval: 1s}}
  apart: {endpoints: [10.0.0.11:8000]}
dns:
  zones:
    Example.COM:
      records:
        www: {pool: site, answer: weighted, ttl: 5s, serve: last_known, weigh: latency, limit: 3, publish: {"10.0.0.11:8000": 203.0.113.11, "10.0.0.12:8000": [203.0.113.12, "2001:db8::12"]}}
        lazy: {pool: slow}
        txt: {txt: ["v=spf1 -all", 'say "hi" \ and more', LONG], mx: [10 mail, 20 mail.example.net.]}
        _sip._tcp: {srv: 10 5 5060 sip}
        svc: {https: '1 . alpn="h2,h3"', a: [192.0.2.1, 192.0.2.2], aaaa: "2001:db8::1", caa: '0 issue "ca.example"'}
    2.0.192.in-addr.arpa: {records: {1: {ptr: www.example.com.}}}
`

func loadDNS(t *testing.T) *Config {
	t.Helper()
	c, err := Parse("trivet.yaml", []byte(strings.Replace(dnsFile, "LONG", strings.Repeat("x", 600), 1)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheSmallestDNSSectionHasItsDefaults(t *testing.T) {
	d := loadDNS(t).DNS
	if d.Address[0].String() != ":53" || d.UDPSize != 1232 || d.FirstProbe != 3*time.Second || len(d.ClientSubnet) != 2 || d.Limits.Slip != 2 || d.Cookies.Off {
		t.Errorf("dns is %+v", d)
	}
	if z := d.Zones[0]; z.Name.Wire().String() != "example.com." || z.TTL != time.Hour || z.SOA.Negative != time.Minute {
		t.Errorf("zone is %+v", z)
	}
}

func TestPoolsThatNamesFollowAreProbedFast(t *testing.T) {
	c := loadDNS(t)
	for name, want := range map[Name]time.Duration{"site": 300 * time.Millisecond, "slow": time.Second, "apart": 500 * time.Millisecond} {
		if got := c.Pool(name).Health.FastInterval; got != want {
			t.Errorf("pool %s is probed every %v while it changes, want %v", name, got, want)
		}
	}
	h := c.Pool("site").Health
	jitter := 1.1 // of fault/health
	worst := time.Duration(float64(h.Interval)*jitter + float64(h.Fall-1)*float64(h.FastInterval)*jitter)
	if worst > 2900*time.Millisecond {
		t.Errorf("a server that refuses connections is found out after %v", worst)
	}
	if !c.DNS.Uses("slow") || c.DNS.Uses("apart") || (*DNS)(nil).Uses("site") {
		t.Error("which pools names follow is wrong")
	}
}

func TestRulesAreThoseOfTheFile(t *testing.T) {
	c := loadDNS(t)
	r := c.DNS.Zones[0].Records[0].Rules()
	if r.Policy != steer.Weighted || r.TTL != 5 || r.DownTTL != 5 || r.Serve != steer.ServeLast || r.Weigh != steer.ByLatency || r.Limit != 3 || len(r.Publish["10.0.0.11:8000"]) != 1 {
		t.Errorf("rules are %+v", r)
	}
	if lazy := c.DNS.Zones[0].Records[1].Rules(); lazy.TTL != 30 || lazy.Policy != steer.All || r.Check() != nil {
		t.Errorf("rules are %+v", lazy)
	}
}

func TestRecordsAreWhatTheFileSays(t *testing.T) {
	c := loadDNS(t)
	counts := map[string]int{}
	for i := range c.DNS.Zones {
		z := &c.DNS.Zones[i]
		for j := range z.Records {
			all, err := z.Records[j].Static(z)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range all {
				counts[r.Name.String()+" "+r.Type.String()]++
				if r.TTL != 3600 {
					t.Errorf("%s has TTL %d", r.Name, r.TTL)
				}
				if r.Type != wire.TypeTXT {
					continue
				}
				text := ""
				for rest := r.Data.Head; len(rest) > 0; rest = rest[1+int(rest[0]):] {
					text += string(rest[1 : 1+int(rest[0])])
				}
				if text != "v=spf1 -all" && text != `say "hi" \ and more` && text != strings.Repeat("x", 600) {
					t.Errorf("a text has become %q", text)
				}
			}
		}
	}
	want := map[string]int{
		"txt.example.com. TXT": 3, "txt.example.com. MX": 2, "_sip._tcp.example.com. SRV": 1, "svc.example.com. HTTPS": 1, "svc.example.com. A": 2,
		"svc.example.com. AAAA": 1, "svc.example.com. CAA": 1, "1.2.0.192.in-addr.arpa. PTR": 1,
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestContactsBecomeNames(t *testing.T) {
	for contact, want := range map[string]string{
		"": "hostmaster.example.com.", "dns@example.net": "dns.example.net.", "dns.admin@example.net.": `dns\.admin.example.net.`,
		"nobody": "", "@x": "", "x@": "", "a@b..c": "",
	} {
		n, err := (&SOA{Contact: contact}).Mailbox("example.com")
		if err != nil && want != "" || err == nil && n.String() != want {
			t.Errorf("%q is %s, %v; want %q", contact, n, err, want)
		}
	}
}

func TestWordsOfDNSAreRead(t *testing.T) {
	check(t, parseZoneName, wants{"example.com": "example.com", "EXAMPLE.com.": "EXAMPLE.com.", ".": ".", "@": "!domain name", "a..b": "!domain name"})
	check(t, parseDNSOwner, wants{"@": "@", "*.apps": "*.apps", "WWW": "WWW", "": "!empty label", "a..b": "!empty label"})
	check(t, parseDNSName, wants{"mail": "mail", "mail.example.net.": "mail.example.net.", "": "!empty label"})
	check(t, parseIP, wants{"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:DB8::1": "2001:db8::1", "fe80::1%eth0": "!no IP", "x": "!no IP"})
	check(t, parsePlaceCode, wants{"DE": "DE", "de": "!two capital", "DEU": "!two capital"})
	check(t, parseCoordinates, wants{"50.11, 8.68": "{50.11 8.68}", "-90,180": "{-90 180}", "": "!coordinates", "1": "!coordinates", "91,0": "!nowhere", "0,181": "!nowhere", "NaN,0": "!nowhere", "1,2,3": "!coordinates"})
}
