package zone

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
)

func mustName(text string) wire.Name {
	n, err := wire.ParseName(text, wire.Root)
	if err != nil {
		panic(err)
	}
	return n
}

// soa is a start of authority with a serial of 7, a TTL of 600, and a negative one of 60.
func soa(apex string) Record {
	return Record{Name: mustName(apex), Type: wire.TypeSOA, TTL: 600, Data: wire.Data{
		Names: []wire.Name{mustName("ns." + apex), mustName("host." + apex)},
		Tail:  []byte{0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 60},
	}}
}

func record(owner string, t wire.Type, data string) Record {
	r := Record{Name: mustName(owner), Type: t, TTL: 300}
	switch t {
	case wire.TypeNS, wire.TypeCNAME:
		r.Data.Names = []wire.Name{mustName(data)}
	default:
		r.Data.Head = []byte(data)
	}
	return r
}

func build(t testing.TB, records ...Record) *Zone {
	t.Helper()
	z, err := Build(Content{Apex: mustName("example."), Records: append(records, soa("example."))})
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// The zone and the questions of RFC 4592 §2.2.1 and §2.2.2.
func TestWildcardsAreThoseOfTheRFC(t *testing.T) {
	z := build(t,
		record("example.", wire.TypeNS, "ns.example.com."),
		record("*.example.", wire.TypeTXT, "this is a wildcard"),
		record("*.example.", wire.TypeMX, "10 host1"),
		record("sub.*.example.", wire.TypeTXT, "this is not a wildcard"),
		record("host1.example.", wire.TypeA, "1234"),
		record("_ssh._tcp.host1.example.", wire.TypeSRV, "x"),
		record("_ssh._tcp.host2.example.", wire.TypeSRV, "x"),
		record("subdel.example.", wire.TypeNS, "ns.example.com."),
	)
	for question, want := range map[string]string{
		"host3.example.":              "synthesized *.example.",
		"foo.bar.example.":            "synthesized *.example.",
		"host1.example.":              "exact host1.example.",
		"sub.*.example.":              "exact sub.*.example.",
		"_telnet._tcp.host1.example.": "missing",
		"host.subdel.example.":        "delegated subdel.example.",
		"subdel.example.":             "delegated subdel.example.",
		"ghost.*.example.":            "missing",
		"*.example.":                  "exact *.example.",
		"host2.example.":              "exact host2.example.",      // it exists, for what is below it
		"_tcp.host2.example.":         "exact _tcp.host2.example.", // the same
		"x.host2.example.":            "missing",
		"example.":                    "exact example.",
	} {
		n, kind := z.Lookup([]byte(mustName(question)))
		got := [...]string{"missing", "exact", "synthesized", "delegated"}[kind]
		if n != nil {
			got += " " + n.Name.String()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", question, got, want)
		}
	}
}

func TestZonesThatMakeNoSenseAreRefused(t *testing.T) {
	steered := func(owner string) Steered { return Steered{mustName(owner), &steer.Record{}} }
	for _, tt := range []struct {
		want    string
		content Content
	}{
		{"no SOA", Content{Apex: mustName("other."), Records: []Record{record("other.", wire.TypeNS, "a.")}}},
		{"has 2 SOA records", Content{Records: []Record{{Name: mustName("example."), Type: wire.TypeSOA, Data: wire.Data{Names: []wire.Name{mustName("x."), mustName("x.")}, Tail: make([]byte, 20)}}}}},
		{"not in the zone", Content{Records: []Record{record("www.example.org.", wire.TypeA, "1234")}}},
		{"more than one CNAME", Content{Records: []Record{record("a.example.", wire.TypeCNAME, "b."), record("a.example.", wire.TypeCNAME, "c.")}}},
		{"CNAME and other records", Content{Records: []Record{record("a.example.", wire.TypeCNAME, "b."), record("a.example.", wire.TypeTXT, "x")}}},
		{"CNAME and other records", Content{Records: []Record{record("a.example.", wire.TypeCNAME, "b.")}, Steered: []Steered{steered("a.example.")}}},
		{"two sources", Content{Records: []Record{record("a.example.", wire.TypeA, "1234")}, Steered: []Steered{steered("a.example.")}}},
		{"two sources", Content{Steered: []Steered{steered("a.example."), steered("a.example.")}}},
		{"two sources", Content{Steered: []Steered{steered("a.example.")}, Aliases: []Alias{{Name: mustName("a.example.")}}}},
		{"not the top", Content{Records: []Record{soa("a.example.")}}},
		{"can't be delegated", Content{Records: []Record{record("*.example.", wire.TypeNS, "b.")}}},
		{"for others to say", Content{Records: []Record{record("a.example.", wire.TypeNS, "b.")}, Steered: []Steered{steered("a.example.")}}},
		{"DNAME", Content{Records: []Record{record("a.example.", wire.TypeDNAME, "\x01b\x00")}}},
		{"DNSSEC", Content{Records: []Record{record("a.example.", 46, "x")}}},
		{"only questions have", Content{Records: []Record{record("a.example.", wire.TypeANY, "x")}}},
	} {
		if tt.content.Apex == "" {
			tt.content.Apex = mustName("example.")
			tt.content.Records = append(tt.content.Records, soa("example."))
		}
		if _, err := Build(tt.content); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
	many := Content{Apex: mustName("example."), Records: []Record{soa("example.")}}
	for i := range 100 {
		many.Records = append(many.Records, record(fmt.Sprintf("h%d.example.org.", i), wire.TypeA, "1234"))
	}
	if _, err := Build(many); err == nil || strings.Count(err.Error(), "\n") > maxErrors {
		t.Errorf("errors are %v", err)
	}
}

func TestSetsAreWhole(t *testing.T) {
	short := record("a.example.", wire.TypeA, "1234")
	short.TTL = 30
	z := build(t, record("a.example.", wire.TypeA, "5678"), short, short)
	s := z.Node(mustName("a.example.")).Set(wire.TypeA)
	if len(s.Data) != 2 || s.TTL != 30 {
		t.Errorf("set is %+v: want two records with the lowest TTL", s)
	}
	if z.Negative != 60 || z.Serial != 7 || z.Size != 2 {
		t.Errorf("negative TTL %d, serial %d, %d names", z.Negative, z.Serial, z.Size)
	}
	count := 0
	z.Nodes(func(*Node) { count++ })
	if count != 2 {
		t.Errorf("%d names are visited", count)
	}
}

func TestTheCatalogFindsTheDeepestZone(t *testing.T) {
	zones := map[string]*Zone{}
	var all []*Zone
	for _, apex := range []string{"example.", "sub.example.", "a.b.c.d.", "."} {
		text := apex
		if apex == "." {
			text = ""
		}
		s := soa("x.")
		s.Name = mustName(apex)
		z, err := Build(Content{Apex: mustName(apex), Records: []Record{s}})
		if err != nil {
			t.Fatal(text, err)
		}
		zones[apex] = z
		all = append(all, z)
	}
	c, err := NewCatalog(all...)
	if err != nil {
		t.Fatal(err)
	}
	for question, apex := range map[string]string{
		"example.": "example.", "www.example.": "example.", "sub.example.": "sub.example.", "a.b.c.sub.example.": "sub.example.",
		"b.c.d.": ".", "x.a.b.c.d.": "a.b.c.d.", ".": ".", "xsub.example.": "example.", "org.": ".",
	} {
		n := mustName(question)
		if z := c.Find([]byte(n), n.Labels()); z != zones[apex] {
			t.Errorf("%s is not found in %s", question, apex)
		}
	}
	sub := mustName("sub.example.")
	if c.FindAbove([]byte(sub), 2) != zones["example."] || c.FindAbove([]byte(wire.Root), 0) != nil {
		t.Error("zones above are wrong")
	}
	if _, err := NewCatalog(all[0], all[0]); err == nil {
		t.Error("two zones of one name are taken")
	}
	empty, _ := NewCatalog()
	if empty.Find([]byte(sub), 2) != nil {
		t.Error("an empty catalog has a zone")
	}
	if names := c.Zones(); len(names) != 4 || names[0].Apex != wire.Root {
		t.Error("zones are not in order")
	}
}

// oracle finds a name by the letter of RFC 1034 §4.3.2 and RFC 4592, over a plain list.
func oracle(records []Record, apex, name wire.Name) (wire.Name, Kind) {
	exists := func(n wire.Name) bool {
		for _, r := range records {
			if r.Name.IsWithin(n) {
				return true
			}
		}
		return false
	}
	var cut wire.Name
	for n := name; n != apex; n = n.Parent() { // the topmost delegation wins
		for _, r := range records {
			if r.Name == n && r.Type == wire.TypeNS {
				cut = n
			}
		}
	}
	if cut != "" {
		return cut, Delegated
	}
	if exists(name) {
		return name, Exact
	}
	encloser := name.Parent()
	for !exists(encloser) {
		encloser = encloser.Parent()
	}
	if wild := "\x01*" + encloser; exists(wild) {
		return wild, Synthesized
	}
	return "", Missing
}

func TestLookupsAgreeWithTheLetterOfTheRFCs(t *testing.T) {
	apex := mustName("example.")
	rapid.Check(t, func(t *rapid.T) {
		owner := rapid.Custom(func(t *rapid.T) wire.Name {
			n := apex
			for range rapid.IntRange(0, 4).Draw(t, "depth") {
				n = wire.Name("\x01"+rapid.SampledFrom([]string{"a", "b", "*"}).Draw(t, "label")) + n
			}
			return n
		})
		records := []Record{soa("example.")}
		for range rapid.IntRange(0, 8).Draw(t, "records") {
			r := Record{Name: owner.Draw(t, "owner"), Type: wire.TypeTXT, Data: wire.Data{Head: []byte{0}}}
			if r.Name != apex && !r.Name.IsWildcard() && rapid.IntRange(0, 3).Draw(t, "cut") == 0 {
				r.Type, r.Data = wire.TypeNS, wire.Data{Names: []wire.Name{wire.Root}}
			}
			records = append(records, r)
		}
		z, err := Build(Content{Apex: apex, Records: records})
		if err != nil {
			t.Fatal(err)
		}
		question := owner.Draw(t, "question")
		n, kind := z.Lookup([]byte(question))
		want, wantKind := oracle(records, apex, question)
		if kind != wantKind || n != nil && n.Name != want {
			t.Fatalf("%s: %v %v, want %v %s", question, n, kind, wantKind, want)
		}
	})
}

func TestLookupsAllocateNothing(t *testing.T) {
	z := build(t, record("*.example.", wire.TypeTXT, "x"), record("www.example.", wire.TypeA, "1234"))
	c, _ := NewCatalog(z)
	for _, text := range []string{"www.example.", "a.b.c.example.", "example."} {
		name, labels := []byte(mustName(text)), mustName(text).Labels()
		if n := testing.AllocsPerRun(100, func() { c.Find(name, labels).Lookup(name) }); n != 0 {
			t.Errorf("%s: %g allocations", text, n)
		}
	}
}

func TestCountersAddUpOverThreads(t *testing.T) {
	var c Counter
	for i := range 20 {
		c.Add(i)
	}
	if c.Sum() != 20 {
		t.Errorf("sum is %d", c.Sum())
	}
}
