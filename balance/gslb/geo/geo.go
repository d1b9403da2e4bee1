// Package geo answers where an address is, from a file in MaxMind's format (GeoLite2, GeoIP2, DB-IP and others that have
// countries, continents or coordinates). It asks nobody, and never waits: the file is held in memory.
package geo

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/trivet-ha/trivet/balance/gslb/steer"
)

// Database is an open file. Its methods may be called by any goroutine.
type Database struct {
	reader *maxminddb.Reader
	path   string
	size   int64
	time   time.Time
	known  [cacheSize]atomic.Pointer[entry]
}

// cacheSize is how many places are kept decoded. A country database has a few hundred; of a city database these are the
// ones that are asked for.
const cacheSize = 1 << 14

// entry is a decoded place. Networks of one place share its offset in the file.
type entry struct {
	offset uintptr
	place  steer.Place
}

// record is what is read of a place.
type record struct {
	Country   code `maxminddb:"country"`
	Continent struct {
		Code string `maxminddb:"code"`
	} `maxminddb:"continent"`
	Registered code `maxminddb:"registered_country"`
	Location   struct {
		Latitude  *float64 `maxminddb:"latitude"`
		Longitude *float64 `maxminddb:"longitude"`
	} `maxminddb:"location"`
}

type code struct {
	ISO string `maxminddb:"iso_code"`
}

// Open reads a file into memory. A mapping of it would be shared with other processes, but whoever wrote into the file
// instead of putting another in its place, as cp does, would end this one with SIGBUS.
func Open(path string) (*Database, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open places: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open places: %w", err)
	}
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(f, content); err != nil {
		return nil, fmt.Errorf("read places %s: %w", path, err)
	}
	r, err := maxminddb.OpenBytes(content)
	if err != nil {
		return nil, fmt.Errorf("open places %s: %w", path, err)
	}
	return &Database{reader: r, path: path, size: info.Size(), time: info.ModTime()}, nil
}

// IsCurrent reports whether path still is the file that was opened.
func (d *Database) IsCurrent(path string) bool {
	info, err := os.Stat(path)
	return err == nil && d.path == path && d.size == info.Size() && d.time.Equal(info.ModTime())
}

// Locate implements steer.Locator. For an address that the file does not have, bits says how large the hole is.
func (d *Database) Locate(c steer.Client) (place steer.Place, bits int) {
	r := d.reader.Lookup(c.Addr)
	if r.Err() != nil {
		return steer.Place{}, 0
	}
	if p := r.Prefix(); p.Addr().Is4() == c.Addr.Is4() { // else it is about all of IPv4
		bits = p.Bits()
	}
	if !r.Found() {
		return steer.Place{}, bits
	}
	offset := r.Offset()
	cell := &d.known[uint64(offset)*0x9e3779b97f4a7c15>>50]
	if e := cell.Load(); e != nil && e.offset == offset {
		return e.place, bits
	}
	e := &entry{offset: offset, place: decode(r)}
	cell.Store(e)
	return e.place, bits
}

func decode(r maxminddb.Result) (p steer.Place) {
	var rec record
	if r.Decode(&rec) != nil {
		return p
	}
	p.Known = true
	if p.Country, _ = steer.CodeOf(rec.Country.ISO); p.Country == (steer.Code{}) {
		p.Country, _ = steer.CodeOf(rec.Registered.ISO)
	}
	p.Continent, _ = steer.CodeOf(rec.Continent.Code)
	if l := rec.Location; l.Latitude != nil && l.Longitude != nil {
		p.Point, p.Located = steer.PointAt(*l.Latitude, *l.Longitude), true
	}
	return p
}
