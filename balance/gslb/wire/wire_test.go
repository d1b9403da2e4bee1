package wire

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

func mustName(text string) Name {
	n, err := ParseName(text, Root)
	if err != nil {
		panic(err)
	}
	return n
}

func TestNamesAreReadAndWritten(t *testing.T) {
	origin := mustName("example.com.")
	for text, want := range map[string]string{
		"@": "example.com.", "www": "www.example.com.", "WWW.Example.COM.": "www.example.com.", ".": ".", "a.b": "a.b.example.com.",
		"*": "*.example.com.", `a\.b`: `a\.b.example.com.`, `\065.`: "a.", `\000.`: `\000.`, "_sip._tcp": "_sip._tcp.example.com.",
		strings.Repeat("a", 63) + ".": strings.Repeat("a", 63) + ".",
	} {
		n, err := ParseName(text, origin)
		if err != nil || n.String() != want {
			t.Errorf("%q is read as %s, %v; want %s", text, n, err, want)
			continue
		}
		if back, err := ParseName(n.String(), Root); err != nil || back != n {
			t.Errorf("%s is read back as %s, %v", n, back, err)
		}
		if again, ok := NameOf([]byte(n)); !ok || again != n {
			t.Errorf("the bytes of %s are no name", n)
		}
	}
	for _, text := range []string{"", "a..b", ".a", "..", strings.Repeat("a", 64), strings.Repeat("abcdefg.", 40), `\256.`, `\1.`, `a\`} {
		if n, err := ParseName(text, origin); err == nil {
			t.Errorf("%q is read as %s", text, n)
		}
	}
	for _, bad := range []string{"", "\x01", "\x01a", "\x00\x00", "\xc0\x0c", "\x05abc\x00", strings.Repeat("\x01a", 130) + "\x00"} {
		if n, ok := NameOf([]byte(bad)); ok {
			t.Errorf("%q is a name: %s", bad, n)
		}
	}
}

func TestNamesKnowTheirPlace(t *testing.T) {
	www, zone := mustName("www.example.com."), mustName("example.com.")
	if !www.IsWithin(zone) || !www.IsWithin(Root) || !zone.IsWithin(zone) || zone.IsWithin(www) || mustName("xexample.com.").IsWithin(zone) {
		t.Error("who is within whom is wrong")
	}
	if www.Labels() != 3 || Root.Labels() != 0 || www.Parent() != zone || Root.Parent() != Root {
		t.Error("labels or parents are wrong")
	}
	if !mustName("*.example.com.").IsWildcard() || www.IsWildcard() || mustName(`\*a.example.com.`).IsWildcard() {
		t.Error("wildcards are wrong")
	}
}

func TestTypesAndCodesHaveNames(t *testing.T) {
	for _, text := range []string{"A", "aaaa", "HTTPS", "TYPE65534"} {
		typ, ok := ParseType(text)
		if !ok || typ.String() != strings.ToUpper(text) {
			t.Errorf("%s is read as %s", text, typ)
		}
	}
	for _, text := range []string{"", "NONE", "TYPE", "TYPE65536"} {
		if typ, ok := ParseType(text); ok {
			t.Errorf("%q is type %s", text, typ)
		}
	}
	if NXDomain.String() != "NXDOMAIN" || Rcode(11).String() != "RCODE11" {
		t.Error("codes are written wrongly")
	}
}

// query packs a message of the other implementation's.
func query(t testing.TB, edit func(*dns.Msg)) []byte {
	m := new(dns.Msg).SetQuestion("www.Example.com.", dns.TypeA)
	if edit != nil {
		edit(m)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func option(code uint16, body string) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.SetEdns0(4096, true)
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_LOCAL{Code: code, Data: []byte(body)})
	}
}

// patch changes bytes of a query.
func patch(b []byte, at int, with ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[at:], with)
	return b
}

func TestVerdictsOnQueries(t *testing.T) {
	plain := query(t, nil)
	edns := query(t, func(m *dns.Msg) { m.SetEdns0(1232, false) })
	two := query(t, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) })
	bare := func(b []byte) []byte { // without the question
		end := HeaderLen + len("\x03www\x07example\x03com\x00") + 4
		return append(patch(b[:HeaderLen], 4, 0, 0), b[end:]...)
	}
	for _, tt := range []struct {
		name  string
		query []byte
		want  Verdict
	}{
		{"a question", plain, Fine},
		{"with EDNS", edns, Fine},
		{"nothing", nil, Silence},
		{"half a header", plain[:11], Silence},
		{"an answer", patch(plain, 2, 0x80), Silence},
		{"a notification", patch(plain, 2, 4<<3), Unknown},
		{"an update", patch(plain, 2, 5<<3), Unknown},
		{"truncated", patch(plain, 2, 0x02), Malformed},
		{"no question", bare(plain), Malformed},
		{"no question, but a cookie", bare(query(t, option(optionCookie, "12345678"))), CookiesOnly},
		{"two questions", two, Malformed},
		{"a header alone that promises a question", plain[:12], Malformed},
		{"cut in the name", plain[:20], Malformed},
		{"cut in the type", plain[:len(plain)-3], Malformed},
		{"something behind", append(bytes.Clone(plain), 0), Malformed},
		{"a pointer for a name", patch(plain, 12, 0xC0, 12), Malformed},
		{"a label of another kind", patch(plain, 12, 0x41), Malformed},
		{"more records promised", patch(plain, 10, 0, 1), Malformed},
		{"a record before OPT", query(t, func(m *dns.Msg) {
			m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.com.", Rrtype: dns.TypeSOA, Class: 1}, Ns: "a.", Mbox: "b."}}
			m.SetEdns0(1232, false)
		}), Fine},
		{"OPT in the answer", query(t, func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.Answer, m.Extra = m.Extra, nil
		}), Malformed},
		{"OPT twice", query(t, func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.Extra = append(m.Extra, m.Extra[0])
		}), Malformed},
		{"OPT of a name", query(t, func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.Extra[0].Header().Name = "a."
		}), Malformed},
		{"EDNS of the future", patch(edns, len(edns)-5, 1), BadVersion},
		{"an option that is longer than the record", patch(query(t, option(9, "abc")), len(query(t, option(9, "abc")))-5, 0, 9), Malformed},
		{"an unknown option", query(t, option(65001, "abc")), Fine},
		{"a short cookie", query(t, option(optionCookie, "1234567")), Malformed},
		{"a cookie of nine bytes", query(t, option(optionCookie, "123456789")), Malformed},
		{"a long cookie", query(t, option(optionCookie, strings.Repeat("x", 41))), Malformed},
		{"a request for NSID that has one", query(t, option(optionNSID, "x")), Malformed},
		{"a question for OPT", query(t, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeOPT }), Malformed},
		{"a question for TSIG", query(t, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTSIG }), Unknown},
		{"a question for MAILB", query(t, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeMAILB }), Unknown},
		{"a question for everything", query(t, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeANY }), Fine},
		{"a subnet", query(t, option(optionSubnet, "\x00\x01\x18\x00\xc0\x00\x02")), Fine},
		{"a subnet with a scope", query(t, option(optionSubnet, "\x00\x01\x18\x18\xc0\x00\x02")), Malformed},
		{"a subnet with a byte too many", query(t, option(optionSubnet, "\x00\x01\x18\x00\xc0\x00\x02\x00")), Malformed},
		{"a subnet with a byte too few", query(t, option(optionSubnet, "\x00\x01\x18\x00\xc0\x00")), Malformed},
		{"a subnet with bits behind it", query(t, option(optionSubnet, "\x00\x01\x17\x00\xc0\x00\x03")), Malformed},
		{"a subnet of an unknown family", query(t, option(optionSubnet, "\x00\x03\x08\x00\xc0")), Malformed},
		{"a subnet that is too long", query(t, option(optionSubnet, "\x00\x01\x21\x00\xc0\x00\x02\x00\x80")), Malformed},
		{"no subnet", query(t, option(optionSubnet, "\x00\x00\x00\x00")), Fine},
	} {
		var q Query
		if got := q.Parse(tt.query); got != tt.want {
			t.Errorf("%s: verdict %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestAQueryIsReadWhole(t *testing.T) {
	b := query(t, func(m *dns.Msg) {
		m.Id = 4711
		m.SetEdns0(1400, true)
		m.IsEdns0().Option = []dns.EDNS0{
			&dns.EDNS0_NSID{Code: dns.EDNS0NSID}, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"},
			&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 2, SourceNetmask: 56, Address: []byte(netip.MustParseAddr("2001:db8::").AsSlice())},
		}
	})
	var q Query
	if v := q.Parse(b); v != Fine {
		t.Fatalf("verdict %d", v)
	}
	e := &q.EDNS
	if q.ID != 4711 || string(q.Name()) != string(mustName("www.example.com.")) || q.Labels() != 3 || q.Type != TypeA || q.Class != ClassIN {
		t.Errorf("query is %+v", q)
	}
	if !e.Present || e.Size != 1400 || !e.DO || !e.NSID || !bytes.Equal(e.Cookie, []byte{1, 2, 3, 4, 5, 6, 7, 8}) || e.Subnet.Bits != 56 || e.Subnet.Addr != netip.MustParseAddr("2001:db8::") {
		t.Errorf("EDNS is %+v", e)
	}
	if !bytes.Contains(q.Question, []byte("\x07Example")) {
		t.Error("the case of the question is lost")
	}
}

// data makes the data of a record with names in it.
func data(head string, tail string, names ...string) *Data {
	d := &Data{Head: []byte(head), Tail: []byte(tail)}
	for _, n := range names {
		d.Names = append(d.Names, mustName(n))
	}
	return d
}

func TestMessagesAreReadByOthersAndCompressed(t *testing.T) {
	var q Query
	q.Parse(query(t, nil))
	var m Message
	var o Options
	o.Reply(1232, true)
	o.NSID([]byte("ns1"))
	o.Cookie([]byte("12345678"), []byte("abcdefghabcdefgh"))
	o.Error(ErrorNotReady)
	m.Begin(make([]byte, 0, 1232), &q, 1232, o.Len())
	m.Add(Answer, Question, TypeCNAME, 60, data("", "", "mail.example.com."))
	m.Add(Answer, mustName("mail.example.com."), TypeMX, 60, data("\x00\x0a", "", "in.mail.example.com."))
	m.Add(Authority, mustName("example.com."), TypeNS, 60, data("", "", "ns.example.net."))
	m.Add(Additional, mustName("ns.example.net."), TypeA, 60, data("\xc0\x00\x02\x01", ""))
	if p, ok := m.Pointer(mustName("ns.example.net.")); !ok || p[0] < 0xC0 {
		t.Error("a name that is there can't be pointed to")
	}
	if _, ok := m.Pointer(mustName("other.example.")); ok {
		t.Error("a name that is not there can be pointed to")
	}
	out := m.Finish(&q, true, NoError, &o)
	var got dns.Msg
	if err := got.Unpack(out); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"www.Example.com.\t60\tIN\tCNAME\tmail.Example.com.", "mail.Example.com.\t60\tIN\tMX\t10 in.mail.Example.com.",
		"Example.com.\t60\tIN\tNS\tns.example.net.", "ns.example.net.\t60\tIN\tA\t192.0.2.1",
	}
	for i, rr := range append(append(got.Answer, got.Ns...), got.Extra[0]) {
		if rr.String() != want[i] {
			t.Errorf("record %d is %s, want %s", i, rr, want[i])
		}
	}
	if opt := got.IsEdns0(); opt == nil || !opt.Do() || len(opt.Option) != 3 || !got.Authoritative {
		t.Errorf("OPT is %v", opt)
	}
	got.Compress = true
	if smaller, _ := got.Pack(); len(out) > len(smaller) {
		t.Errorf("%d bytes, where others need %d", len(out), len(smaller))
	}
}

func TestWhatDoesNotFitIsTruncatedWhole(t *testing.T) {
	var q Query
	q.Parse(query(t, nil))
	var m Message
	var o Options
	o.None()
	m.Begin(make([]byte, 0, 512), &q, 512, 0)
	for m.Add(Answer, Question, TypeTXT, 60, data("\x64"+strings.Repeat("x", 100), "")) {
	}
	if !m.Full() || m.AddPacked([]byte{1}, 1) || m.Add(Answer, Question, TypeA, 1, data("abcd", "")) {
		t.Error("a full message takes more")
	}
	var got dns.Msg
	if err := got.Unpack(m.Finish(&q, true, NoError, &o)); err != nil || !got.Truncated || len(got.Answer) != 0 || len(got.Question) != 1 {
		t.Errorf("message is %v, %v", got.String(), err)
	}
	m.Begin(make([]byte, 0, 512), &q, 512, 0)
	m.Add(Answer, Question, TypeA, 1, data("abcd", ""))
	m.Clear()
	if m.Full() || len(m.Records()) != 0 {
		t.Error("a cleared message has something")
	}
}

func TestOptionsThatDoNotFitAreLeftOut(t *testing.T) {
	var o Options
	o.Reply(1232, false)
	for range 5 {
		o.NSID(bytes.Repeat([]byte("n"), NSIDMax))
	}
	if o.Len() > optionsMax || o.Len() < NSIDMax {
		t.Errorf("%d bytes", o.Len())
	}
	o.None()
	o.Keepalive(3)
	o.Scope(24)
	if o.Len() != 0 {
		t.Error("options without a record")
	}
}

// Names of any shape come back as they were, through this package and through the other implementation.
func TestNamesSurviveMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.SliceOfN(rapid.Byte(), 1, 12)
		var text []byte
		for _, l := range rapid.SliceOfN(label, 1, 8).Draw(t, "labels") {
			text = append(append(text, byte(len(l))), l...)
		}
		n, ok := NameOf(append(text, 0))
		if !ok {
			t.Fatalf("%x is no name", text)
		}
		back, err := ParseName(n.String(), Root)
		if err != nil || back != n {
			t.Fatalf("%s is read back as %s: %v", n, back, err)
		}
		buf := make([]byte, 300)
		end, err := dns.PackDomainName(n.String(), buf, 0, nil, false)
		if err != nil || string(buf[:end]) != string(n) {
			t.Fatalf("the other packs %s as %x, %v", n, buf[:end], err)
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add(query(f, nil))
	f.Add(query(f, option(optionSubnet, "\x00\x01\x18\x00\xc0\x00\x02")))
	f.Add(query(f, option(optionCookie, "12345678abcdefgh")))
	f.Fuzz(func(t *testing.T, b []byte) {
		var q Query
		v := q.Parse(b)
		var other dns.Msg
		err := other.Unpack(b)
		if v == Fine && err == nil {
			got, err := ParseName(other.Question[0].Name, Root)
			if err != nil || string(got) != string(q.Name()) || Type(other.Question[0].Qtype) != q.Type {
				t.Errorf("%x: %s %s, the other reads %v", b, Name(q.Name()), q.Type, other.Question)
			}
			if (other.IsEdns0() != nil) != q.EDNS.Present {
				t.Errorf("%x: EDNS %v, the other reads %v", b, q.EDNS.Present, other.IsEdns0())
			}
		}
		if v == Silence {
			return
		}
		var m Message
		var o Options
		o.Reply(1232, q.EDNS.DO)
		m.Begin(make([]byte, 0, 1232), &q, 1232, o.Len())
		m.Add(Authority, mustName("example.com."), TypeNS, 1, data("", "", "www.example.com."))
		if err := other.Unpack(m.Finish(&q, false, Refused, &o)); err != nil {
			t.Errorf("%x: the answer can't be read: %v", b, err)
		}
	})
}

func FuzzName(f *testing.F) {
	for _, text := range []string{"@", "www", `a\.b\065.`, "*.x."} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseName(text, Root)
		if err != nil {
			return
		}
		if back, err := ParseName(n.String(), Root); err != nil || back != n || n.Labels() > 127 || len(n) > NameMax {
			t.Errorf("%q is %s, and that is %s: %v", text, n, back, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	msg := query(b, nil)
	var q Query
	b.ReportAllocs()
	for b.Loop() {
		if q.Parse(msg) != Fine {
			b.Fatal("not fine")
		}
	}
}
