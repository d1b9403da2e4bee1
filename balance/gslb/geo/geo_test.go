package geo

import (
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance/gslb/geo/geotest"
	"github.com/trivet-ha/trivet/balance/gslb/steer"
)

func client(text string) steer.Client { return steer.ClientOf(netip.MustParseAddr(text)) }

func open(t testing.TB) *Database {
	t.Helper()
	path := geotest.Write(t, filepath.Join(t.TempDir(), "places.mmdb"),
		geotest.Place{Network: "192.0.2.0/24", Country: "DE", Continent: "EU", Latitude: 52.5, Longitude: 13.4},
		geotest.Place{Network: "198.51.100.128/25", Country: "JP", Continent: "AS"},
		geotest.Place{Network: "203.0.113.0/26", Continent: "SA"},
		geotest.Place{Network: "2001:db8::/32", Country: "US", Continent: "NA", Latitude: 38.9, Longitude: -77.4})
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAddressesAreFoundWithTheSizeOfTheirNetwork(t *testing.T) {
	d := open(t)
	for _, tt := range []struct {
		address            string
		country, continent string
		located            bool
		bits               int
	}{
		{"192.0.2.77", "DE", "EU", true, 24},
		{"198.51.100.200", "JP", "AS", false, 25},
		{"203.0.113.1", "unknown", "SA", false, 26},
		{"2001:db8:1::1", "US", "NA", true, 32},
		{"198.51.100.1", "unknown", "unknown", false, 25}, // the other half of a /24
	} {
		for range 2 { // decoded, and then remembered
			p, bits := d.Locate(client(tt.address))
			if p.Country.String() != tt.country || p.Continent.String() != tt.continent || p.Located != tt.located || bits != tt.bits {
				t.Errorf("%s is in %s, %s, located %v, by %d bits; want %s, %s, %v, %d", tt.address, p.Country, p.Continent, p.Located, bits, tt.country, tt.continent, tt.located, tt.bits)
			}
		}
	}
	p, _ := d.Locate(client("192.0.2.1"))
	if km := p.Point.Kilometres(steer.PointAt(52.5, 13.4)); math.IsNaN(km) || km > 0.01 {
		t.Errorf("Berlin is %g km off", km)
	}
}

func TestFilesThatAreNoDatabasesAreRefused(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "nothing")); err == nil {
		t.Error("a file that is not there is opened")
	}
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil {
		t.Error("a text is opened")
	}
}

func TestAFileThatWasReplacedIsNoticed(t *testing.T) {
	d := open(t)
	if !d.IsCurrent(d.path) || d.IsCurrent("other") {
		t.Error("the file is not the one that was opened")
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(d.path, later, later); err != nil {
		t.Fatal(err)
	}
	if d.IsCurrent(d.path) {
		t.Error("a file that has changed is the one that was opened")
	}
}

func TestAFileThatIsWrittenIntoStaysAsItWas(t *testing.T) {
	d := open(t)
	if err := os.Truncate(d.path, 0); err != nil {
		t.Fatal(err)
	}
	if p, _ := d.Locate(steer.ClientOf(netip.MustParseAddr("192.0.2.1"))); p.Country.String() != "DE" {
		t.Errorf("the place is %+v", p)
	}
	if _, err := Open(d.path); err == nil {
		t.Error("an empty file is a database")
	}
}

func TestManyMayAsk(t *testing.T) {
	d := open(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 1000 {
				a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
				if p, _ := d.Locate(steer.ClientOf(a)); p.Country.String() != "DE" {
					t.Errorf("%s is in %s", a, p.Country)
				}
			}
		})
	}
	wg.Wait()
}

func TestLocateAllocatesNothing(t *testing.T) {
	d := open(t)
	c := client("192.0.2.1")
	d.Locate(c)
	if n := testing.AllocsPerRun(100, func() { d.Locate(c) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func BenchmarkLocate(b *testing.B) {
	d := open(b)
	c := client("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		d.Locate(c)
	}
}
