package trivet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/trivet-ha/trivet/internal/testserver"
)

// everyRecord has a record of every kind, in the file and in a zone file.
const everyRecord = `
pools:
  site:
    endpoints: [%s, %s]
    health: {probe: {http: /healthz}, interval: 100ms, fast_interval: 20ms}
dns:
  address: "127.0.0.1:0"
  nsid: ns1.test
  zones:
    example.com:
      ns: [ns1, ns2.example.net.]
      soa: {serial: 7, contact: dns@example.com}
      ttl: 1h
      records:
        "@": {alias: www, mx: [10 mail], txt: ["v=spf1 -all"], caa: ['0 issue "letsencrypt.org"'], https: ['1 . alpn="h2,h3" port=8443']}
        www: {pool: site, ttl: 20s, publish: {"%[1]s": [192.0.2.1, "2001:db8::1"], "%[2]s": 192.0.2.2}}
        shop: {cname: www, ttl: 5m}
        "*.apps": {a: 192.0.2.80}
        mail: {a: 192.0.2.25, aaaa: "2001:db8::25"}
        ns1: {a: 192.0.2.53}
        _sip._tcp: {srv: [10 5 5060 mail]}
        _dns: {svcb: ['1 ns1 alpn="dot" port=853 ipv4hint=192.0.2.53']}
        long: {txt: [LONG, LONG1, LONG2, LONG3, LONG4, LONG5, LONG6]}
        sub: {ns: [ns.sub]}
        ns.sub: {a: 192.0.2.99}
    example.net: {file: ZONE}
    2.0.192.in-addr.arpa:
      ns: [ns1.example.com.]
      records:
        "1": {ptr: www.example.com.}
admin: {socket: SOCKET}
`

const everyRecordZone = `$TTL 600
@	IN SOA ns hostmaster 42 3600 900 86400 30
	IN NS  ns
ns	IN A   192.0.2.54
*.wild	IN TXT "any \"name\" will do" "twice"
gone	IN CNAME nowhere
far	IN CNAME www.example.org.
host	IN SSHFP 1 1 0123456789abcdef0123456789abcdef01234567
`

// An expectation is a question and all that its answer says: records as zone files write them, by section.
type expectation struct {
	name, kind string
	rcode      string // NOERROR if empty
	referral   bool   // the answer is not authoritative
	long       bool   // too long for UDP
	answer     []string
	authority  []string
	additional []string
}

const (
	comSOA = "example.com. 60 IN SOA ns1.example.com. dns.example.com. 7 7200 900 1209600 60"
	netSOA = "example.net. 30 IN SOA ns.example.net. hostmaster.example.net. 42 3600 900 86400 30"
)

func expectations() []expectation {
	long := "long.example.com. 3600 IN TXT"
	return []expectation{
		{name: "www.example.com", kind: "A", answer: []string{"www.example.com. 20 IN A 192.0.2.1", "www.example.com. 20 IN A 192.0.2.2"}},
		{name: "www.example.com", kind: "AAAA", answer: []string{"www.example.com. 20 IN AAAA 2001:db8::1"}},
		{name: "www.example.com", kind: "MX", authority: []string{comSOA}},
		{name: "example.com", kind: "A", answer: []string{"example.com. 20 IN A 192.0.2.1", "example.com. 20 IN A 192.0.2.2"}},
		{name: "example.com", kind: "SOA", answer: []string{"example.com. 3600 IN SOA ns1.example.com. dns.example.com. 7 7200 900 1209600 60"}},
		{name: "example.com", kind: "NS", answer: []string{"example.com. 3600 IN NS ns1.example.com.", "example.com. 3600 IN NS ns2.example.net."},
			additional: []string{"ns1.example.com. 3600 IN A 192.0.2.53"}},
		{name: "example.com", kind: "MX", answer: []string{"example.com. 3600 IN MX 10 mail.example.com."}},
		{name: "example.com", kind: "TXT", answer: []string{`example.com. 3600 IN TXT "v=spf1 -all"`}},
		{name: "example.com", kind: "CAA", answer: []string{`example.com. 3600 IN CAA 0 issue "letsencrypt.org"`}},
		{name: "example.com", kind: "TYPE65", answer: []string{`example.com. 3600 IN HTTPS 1 . alpn="h2,h3" port="8443"`}},
		{name: "example.com", kind: "ANY", answer: []string{`example.com. 3789 IN HINFO "RFC8482" ""`}},
		{name: "shop.example.com", kind: "A", answer: []string{"shop.example.com. 300 IN CNAME www.example.com.",
			"www.example.com. 20 IN A 192.0.2.1", "www.example.com. 20 IN A 192.0.2.2"}},
		{name: "shop.example.com", kind: "CNAME", answer: []string{"shop.example.com. 300 IN CNAME www.example.com."}},
		{name: "x.y.apps.example.com", kind: "A", answer: []string{"x.y.apps.example.com. 3600 IN A 192.0.2.80"}},
		{name: "apps.example.com", kind: "A", authority: []string{comSOA}},
		{name: "_sip._tcp.example.com", kind: "SRV", answer: []string{"_sip._tcp.example.com. 3600 IN SRV 10 5 5060 mail.example.com."}},
		{name: "_dns.example.com", kind: "TYPE64", answer: []string{`_dns.example.com. 3600 IN SVCB 1 ns1.example.com. alpn="dot" port="853" ipv4hint="192.0.2.53"`}},
		{name: "long.example.com", kind: "TXT", long: true, answer: []string{
			long + ` "` + longText(0) + `"`, long + ` "` + longText(1) + `"`, long + ` "` + longText(2) + `"`, long + ` "` + longText(3) + `"`,
			long + ` "` + longText(4) + `"`, long + ` "` + longText(5) + `"`, long + ` "` + longText(6) + `"`}},
		{name: "nothing.example.com", kind: "A", rcode: "NXDOMAIN", authority: []string{comSOA}},
		{name: "deep.sub.example.com", kind: "A", referral: true, authority: []string{"sub.example.com. 3600 IN NS ns.sub.example.com."},
			additional: []string{"ns.sub.example.com. 3600 IN A 192.0.2.99"}},
		{name: "1.2.0.192.in-addr.arpa", kind: "PTR", answer: []string{"1.2.0.192.in-addr.arpa. 3600 IN PTR www.example.com."}},
		{name: "thing.wild.example.net", kind: "TXT", answer: []string{`thing.wild.example.net. 600 IN TXT "any \"name\" will do" "twice"`}},
		{name: "gone.example.net", kind: "A", rcode: "NXDOMAIN", answer: []string{"gone.example.net. 600 IN CNAME nowhere.example.net."}, authority: []string{netSOA}},
		{name: "far.example.net", kind: "A", answer: []string{"far.example.net. 600 IN CNAME www.example.org."}},
		{name: "host.example.net", kind: "SSHFP", answer: []string{"host.example.net. 600 IN SSHFP 1 1 0123456789abcdef0123456789abcdef01234567"}},
		{name: "www.example.org", kind: "A", rcode: "REFUSED", referral: true},
	}
}

// longText is one of several texts that a message over UDP has no room for together.
func longText(i int) string { return strings.Repeat(string(rune('a'+i)), 200) }

// startEveryRecord serves everyRecord and returns the port of its name server.
func startEveryRecord(t *testing.T) (port string) {
	a, b := newShop(t, "a"), newShop(t, "b")
	zone := filepath.Join(t.TempDir(), "example.net.zone")
	if err := os.WriteFile(zone, []byte(everyRecordZone), 0o600); err != nil {
		t.Fatal(err)
	}
	yaml := strings.Replace(fmt.Sprintf(everyRecord, a.address(), b.address()), "ZONE", zone, 1)
	for i := 6; i >= 0; i-- {
		yaml = strings.Replace(yaml, strings.TrimSuffix(fmt.Sprintf("LONG%d", i), "0"), longText(i), 1)
	}
	r := start(t, yaml)
	eventually(t, "both are answered", func() bool { return r.resolved("udp", "www.example.com.") == "192.0.2.1 192.0.2.2" })
	d, err := r.DNS()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ = net.SplitHostPort(d.Addresses[0])
	return port
}

// Each client understands every answer, and says what is configured.
func TestClientsOfOthersAgreeWithWhatIsConfigured(t *testing.T) {
	port := startEveryRecord(t)
	for program, arguments := range map[string]func(network string, e *expectation) []string{
		"dig": func(network string, e *expectation) []string {
			return []string{"@127.0.0.1", "-p", port, "+norecurse", "+time=5", map[string]string{"udp": "+notcp", "tcp": "+tcp"}[network], e.name, e.kind}
		},
		"kdig": func(network string, e *expectation) []string {
			return []string{"@127.0.0.1", "-p", port, "+norecurse", "+edns", "+time=5", map[string]string{"udp": "+noignore", "tcp": "+tcp"}[network], e.name, e.kind}
		},
		"drill": func(network string, e *expectation) []string {
			return []string{"-p", port, "-o", "rd", map[string]string{"udp": "-u", "tcp": "-t"}[network], e.name, "@127.0.0.1", e.kind}
		},
	} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			for _, network := range []string{"udp", "tcp"} {
				for _, e := range expectations() {
					if program == "drill" && network == "udp" && e.long {
						e.answer = nil // dig and kdig ask again over TCP, drill tells its user to
					}
					text := say(t, program, arguments(network, &e)...)
					if got, want := readAnswer(text), e.String(); got != want {
						t.Errorf("%s over %s: %s %s:\n%s\nwant\n%s\nthe client said\n%s", program, network, e.name, e.kind, got, want, text)
					}
				}
			}
		})
	}
}

// Clients recognize the options of EDNS: that a cookie is one that they sent, whose identifier it is, and for whom an answer is.
func TestClientsOfOthersUnderstandTheOptions(t *testing.T) {
	port := startEveryRecord(t)
	for program, want := range map[string][]string{
		"dig":  {`COOKIE: [0-9a-f]{48} \(good\)`, `NSID: .*\("ns1\.test"\)`, `CLIENT-SUBNET: 203\.0\.113\.0/24/0`, `udp: 1232`},
		"kdig": {`COOKIE: [0-9A-F]{48}`, `NSID: .*"ns1\.test"`, `CLIENT-SUBNET: 203\.0\.113\.0/24/0`, `UDP size: 1232 B`},
	} {
		text := say(t, program, "@127.0.0.1", "-p", port, "+norecurse", "+time=5", "+cookie", "+nsid", "+subnet=203.0.113.0/24", "www.example.com", "A")
		for _, pattern := range want {
			if !regexp.MustCompile(pattern).MatchString(text) {
				t.Errorf("%s: nothing like %s in\n%s", program, pattern, text)
			}
		}
	}
}

func TestGosResolverAgreesWithWhatIsConfigured(t *testing.T) {
	port := startEveryRecord(t)
	for _, network := range []string{"udp", "tcp"} {
		r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, wished, _ string) (net.Conn, error) {
			if network == "tcp" {
				wished = "tcp" // otherwise only for what is too long
			}
			return new(net.Dialer).DialContext(ctx, wished, net.JoinHostPort("127.0.0.1", port))
		}}
		// Names end with a dot, lest the machine's search list has a say.
		for what, ask := range map[string]func(context.Context) (any, error){
			"[192.0.2.1 192.0.2.2 2001:db8::1]": func(ctx context.Context) (any, error) { return sorted(r.LookupHost(ctx, "shop.example.com.")) },
			"www.example.com.":                  func(ctx context.Context) (any, error) { return r.LookupCNAME(ctx, "shop.example.com.") },
			"mail.example.com. 10":              func(ctx context.Context) (any, error) { return firstMX(r.LookupMX(ctx, "example.com.")) },
			"[v=spf1 -all]":                     func(ctx context.Context) (any, error) { return r.LookupTXT(ctx, "example.com.") },
			"mail.example.com. 5060": func(ctx context.Context) (any, error) {
				return firstSRV(r.LookupSRV(ctx, "sip", "tcp", "example.com."))
			},
			"[www.example.com.]": func(ctx context.Context) (any, error) { return r.LookupAddr(ctx, "192.0.2.1") },
			"2": func(ctx context.Context) (any, error) {
				all, err := r.LookupNS(ctx, "example.com.")
				return len(all), err
			},
			"7": func(ctx context.Context) (any, error) {
				all, err := r.LookupTXT(ctx, "long.example.com.")
				return len(all), err
			},
		} {
			got, err := ask(t.Context())
			if text := fmt.Sprint(got); err != nil || text != what {
				t.Errorf("over %s: %s, %v; want %s", network, text, err, what)
			}
		}
		var missing *net.DNSError
		if got, err := r.LookupHost(t.Context(), "nothing.example.com."); !errors.As(err, &missing) || !missing.IsNotFound {
			t.Errorf("over %s: a name that does not exist is %v, %v", network, got, err)
		}
	}
}

func sorted(all []string, err error) ([]string, error) { slices.Sort(all); return all, err }

func firstMX(all []*net.MX, err error) (string, error) {
	if err != nil || len(all) == 0 {
		return "", err
	}
	return fmt.Sprintf("%s %d", all[0].Host, all[0].Pref), nil
}

func firstSRV(_ string, all []*net.SRV, err error) (string, error) {
	if err != nil || len(all) == 0 {
		return "", err
	}
	return fmt.Sprintf("%s %d", all[0].Target, all[0].Port), nil
}

// say runs a client and returns what it says.
func say(t *testing.T, program string, arguments ...string) string {
	t.Helper()
	path := testserver.Program(t, program)
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	text, err := exec.CommandContext(ctx, path, arguments...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %v: %v", program, arguments, err)
	}
	return string(text)
}

// String is the expectation as readAnswer reads it from what a client says.
func (e *expectation) String() string {
	rcode, flag := e.rcode, "authoritative"
	if rcode == "" {
		rcode = "NOERROR"
	}
	if e.referral {
		flag = "not authoritative"
	}
	sections := map[string][]string{"ANSWER": e.answer, "AUTHORITY": e.authority, "ADDITIONAL": e.additional}
	return describe(rcode, flag, sections)
}

func describe(rcode, flag string, sections map[string][]string) string {
	text := rcode + ", " + flag
	for _, section := range []string{"ANSWER", "AUTHORITY", "ADDITIONAL"} {
		var lines []string
		for _, record := range sections[section] {
			lines = append(lines, "\n"+section+" "+canonical(record))
		}
		slices.Sort(lines)
		text += strings.Join(lines, "")
	}
	return text
}

// How dig, kdig and drill write, which is nearly alike.
var (
	saidRcode   = regexp.MustCompile(`(?:;|,) (?:status|rcode): ([A-Z]+)`)
	saidFlags   = regexp.MustCompile(`(?i);; flags: ([a-z ]+);`)
	saidSection = regexp.MustCompile(`^;; ([A-Z]+) SECTION:`)
)

// readAnswer reads the last answer that a client has told of.
func readAnswer(text string) string {
	rcode, flag, section := "no answer", "", ""
	sections := map[string][]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := saidRcode.FindStringSubmatch(line); m != nil {
			rcode = m[1]
			sections = map[string][]string{}
		}
		if m := saidFlags.FindStringSubmatch(line); m != nil {
			flag = "not authoritative"
			if slices.Contains(strings.Fields(m[1]), "aa") {
				flag = "authoritative"
			}
		}
		if m := saidSection.FindStringSubmatch(line); m != nil {
			section = m[1]
		}
		if line == "" || strings.HasPrefix(line, ";") {
			continue
		}
		sections[section] = append(sections[section], line)
	}
	return describe(rcode, flag, sections)
}

// canonical writes a record in one way, whether its client knows the type or not (RFC 3597 §5).
func canonical(record string) string {
	rr, err := dns.NewRR(record)
	if err != nil || rr == nil {
		return fmt.Sprintf("%q: %v", record, err)
	}
	buf := make([]byte, 65535)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return err.Error()
	}
	if rr, _, err = dns.UnpackRR(buf[:n], 0); err != nil {
		return err.Error()
	}
	return strings.ReplaceAll(rr.String(), "\t", " ")
}
