package zonefile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trivet-ha/trivet/balance/gslb/wire"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
)

func mustName(text string) wire.Name {
	n, err := wire.ParseName(text, wire.Root)
	if err != nil {
		panic(err)
	}
	return n
}

func write(t testing.TB, files map[string]string) string {
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "zone")
}

// The example of RFC 1035 §5.3, with what later RFCs have added.
const isi = `
@   IN  SOA     VENERA      Action\.domains (
                                 20     ; SERIAL
                                 7200   ; REFRESH
                                 600    ; RETRY
                                 3600000; EXPIRE
                                 60)    ; MINIMUM

        NS      A.ISI.EDU.
        NS      VENERA
        NS      VAXA
        MX      10      VENERA
        MX      20      VAXA
$TTL 2h
A       A       26.3.0.103
VENERA  A       10.1.0.52
        A       128.9.0.32
VAXA    300 A   10.2.0.27
        A       128.9.0.33
$INCLUDE more
`

const more = `
_sip._tcp SRV 0 5 5060 vaxa
txt TXT "a b" c
odd TYPE65400 \# 4 0a000001
svc HTTPS 1 . alpn=h2
ca CAA 0 issue "ca.example"
52.0.1.10.in-addr PTR venera
`

func TestAMasterFileIsReadWithAllItIncludes(t *testing.T) {
	records, err := Load(write(t, map[string]string{"zone": isi, "more": more}), mustName("isi.edu."), 86400)
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 17 {
		t.Errorf("%d records", len(records))
	}
	z, err := zone.Build(zone.Content{Apex: mustName("isi.edu."), Records: records})
	if err != nil {
		t.Fatal(err)
	}
	if z.Serial != 20 || z.Negative != 60 || z.SOA.Data[0].Names[1] != mustName(`action\.domains.isi.edu.`) {
		t.Errorf("serial %d, negative TTL %d, SOA %v", z.Serial, z.Negative, z.SOA.Data[0])
	}
	mx := z.Node(mustName("isi.edu.")).Set(wire.TypeMX)
	if len(mx.Data) != 2 || mx.TTL != 86400 || string(mx.Data[0].Head) != "\x00\x0a" || mx.Data[0].Names[0] != mustName("venera.isi.edu.") {
		t.Errorf("MX is %+v", mx)
	}
	vaxa := z.Node(mustName("vaxa.isi.edu.")).Set(wire.TypeA)
	if vaxa.TTL != 300 || len(vaxa.Data) != 2 {
		t.Errorf("the addresses of VAXA are %+v", vaxa)
	}
	if odd := z.Node(mustName("odd.isi.edu.")).Set(65400); odd == nil || string(odd.Data[0].Head) != "\x0a\x00\x00\x01" {
		t.Errorf("the unknown type is %+v", odd)
	}
	srv := z.Node(mustName("_sip._tcp.isi.edu.")).Set(wire.TypeSRV)
	if len(srv.Data[0].Names) != 0 || string(srv.Data[0].Head) != "\x00\x00\x00\x05\x13\xc4"+string(mustName("vaxa.isi.edu.")) {
		t.Errorf("SRV is %+v: its name must not be compressed", srv)
	}
}

func TestFilesThatAreWrongSayWhere(t *testing.T) {
	for text, want := range map[string]string{
		"@ IN SOA":                  "SOA",
		"www A 10.0.0":              "10.0.0",
		"www CH TXT x":              "class CH",
		"$INCLUDE nothing":          "nothing",
		"www A 10.0.0.1 10.0.0.2\n": "garbage",
	} {
		_, err := Load(write(t, map[string]string{"zone": "ok A 10.0.0.1\n" + text + "\n"}), mustName("example.com."), 60)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want something about %s", text, err, want)
		}
	}
	if _, err := Load("/nonexistent", mustName("example.com."), 60); err == nil {
		t.Error("a file that is not there is read")
	}
}

func TestSingleRecordsAreRead(t *testing.T) {
	owner, origin := mustName("www.example.com."), mustName("example.com.")
	r, err := Parse(owner, wire.TypeMX, 60, "10 mail", origin)
	if err != nil || r.Name != owner || r.TTL != 60 || r.Data.Names[0] != mustName("mail.example.com.") {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []struct {
		t    wire.Type
		data string
	}{
		{wire.TypeMX, "mail"}, {wire.TypeMX, ""}, {wire.TypeMX, "10 a\nb A 10.0.0.1"}, {wire.TypeSRV, "1 2 3"}, {wire.TypeCAA, "issue x"},
		{wire.TypeHTTPS, "1 . port=x"}, {wire.TypeA, "::1"}, {wire.TypeNS, "a..b"}, {wire.TypeTXT, strings.Repeat("x", 70_000)},
	} {
		if r, err := Parse(owner, bad.t, 60, bad.data, origin); err == nil {
			t.Errorf("%s %.40q is read as %+v", bad.t, bad.data, r.Data)
		} else if strings.Contains(err.Error(), "at line") || strings.Contains(err.Error(), "dns:") {
			t.Errorf("%s %.40q: %v speaks of a file", bad.t, bad.data, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(uint16(15), "10 mail")
	f.Add(uint16(65), "1 . alpn=h2 ipv4hint=192.0.2.1")
	f.Add(uint16(16), `"a" "b\"c"`)
	f.Fuzz(func(t *testing.T, typ uint16, data string) {
		r, err := Parse(mustName("www.example.com."), wire.Type(typ), 60, data, mustName("example.com."))
		if err != nil {
			return
		}
		for _, n := range r.Data.Names {
			if _, ok := wire.NameOf([]byte(n)); !ok {
				t.Errorf("%s %q has the name %q", wire.Type(typ), data, n)
			}
		}
	})
}
