// Package zonefile reads zones as people write them: master files (RFC 1035 §5) and single records in the same syntax, into
// the records of package zone. It reads the files it is given and those that they include, and nothing else.
package zonefile

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/miekg/dns"

	"github.com/trivet-ha/trivet/balance/gslb/wire"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
)

// RecordsMax is how many records a file may have, those of its includes and ranges with it.
const RecordsMax = 1_000_000

// Load reads a file. Names in it are relative to apex, unless it says otherwise; records without a TTL have that of
// $TTL, or else ttl, in seconds.
func Load(path string, apex wire.Name, ttl uint32) ([]zone.Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read zone %s: %w", apex, err)
	}
	defer f.Close()
	p := dns.NewZoneParser(bufio.NewReader(f), apex.String(), path)
	p.SetDefaultTTL(ttl)
	p.SetIncludeAllowed(true)
	var records []zone.Record
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if len(records) == RecordsMax {
			return nil, fmt.Errorf("read zone %s: %s has more than %d records", apex, path, RecordsMax)
		}
		r, err := recordOf(rr)
		if err != nil {
			return nil, fmt.Errorf("read zone %s: %s: %w", apex, path, err)
		}
		records = append(records, r)
	}
	if err := p.Err(); err != nil {
		return nil, fmt.Errorf("read zone %s: %s", apex, strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", " "), "dns: "))
	}
	return records, nil
}

// Parse reads the data of one record, as it stands behind the type in a zone file. Names in it are relative to origin.
func Parse(owner wire.Name, t wire.Type, ttl uint32, data string, origin wire.Name) (zone.Record, error) {
	if strings.ContainsAny(data, "\n\r") {
		return zone.Record{}, errors.New("has a line break")
	}
	line := fmt.Sprintf("%s %d IN %s %s", owner, ttl, t, data)
	p := dns.NewZoneParser(strings.NewReader(line+"\n"), origin.String(), "")
	rr, ok := p.Next()
	if err := p.Err(); err != nil {
		return zone.Record{}, fmt.Errorf("is no %s record: %s", t, reason(err))
	}
	if !ok {
		return zone.Record{}, fmt.Errorf("is no %s record: it says nothing", t)
	}
	if _, more := p.Next(); more {
		return zone.Record{}, fmt.Errorf("is more than one %s record", t)
	}
	return recordOf(rr)
}

// reason is what the parser found wrong, without where: the place is ours to tell.
func reason(err error) string {
	text := strings.TrimPrefix(err.Error(), "dns: ")
	if at := strings.LastIndex(text, " at line:"); at > 0 {
		text = text[:at]
	}
	return text
}

// recordOf turns a record of the library's into one of ours.
func recordOf(rr dns.RR) (zone.Record, error) {
	h := rr.Header()
	if h.Class != dns.ClassINET {
		return zone.Record{}, fmt.Errorf("%s %s is of class %s, not IN", h.Name, dns.Type(h.Rrtype), dns.Class(h.Class))
	}
	name, err := wire.ParseName(h.Name, wire.Root)
	if err != nil {
		return zone.Record{}, fmt.Errorf("name %s %w", h.Name, err)
	}
	r := zone.Record{Name: name, Type: wire.Type(h.Rrtype), TTL: h.Ttl}
	names, size := compressible(rr)
	raw, err := dataOf(rr)
	if err != nil {
		return zone.Record{}, fmt.Errorf("%s %s: %s", h.Name, dns.Type(h.Rrtype), reason(err))
	}
	if names == nil {
		r.Data.Head = raw
		return r, nil
	}
	r.Data.Head = raw[:size]
	for _, text := range names {
		n, err := wire.ParseName(text, wire.Root)
		if err != nil {
			return zone.Record{}, fmt.Errorf("%s %s: name %q %w", h.Name, dns.Type(h.Rrtype), text, err)
		}
		r.Data.Names = append(r.Data.Names, n)
		size += len(n)
	}
	r.Data.Tail = raw[size:]
	return r, nil
}

// compressible returns the names in a record that may be compressed, and where the first begins: those of the types that
// RFC 1035 defines, and no others (RFC 3597 §4).
func compressible(rr dns.RR) (names []string, at int) {
	switch rr := rr.(type) {
	case *dns.NS:
		return []string{rr.Ns}, 0
	case *dns.CNAME:
		return []string{rr.Target}, 0
	case *dns.PTR:
		return []string{rr.Ptr}, 0
	case *dns.MX:
		return []string{rr.Mx}, 2
	case *dns.SOA:
		return []string{rr.Ns, rr.Mbox}, 0
	}
	return nil, 0
}

// dataOf packs the data of a record, uncompressed.
func dataOf(rr dns.RR) ([]byte, error) {
	if unknown, ok := rr.(*dns.RFC3597); ok {
		return hex.DecodeString(unknown.Rdata)
	}
	buf := make([]byte, dns.Len(rr)+wire.NameMax)
	end, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return nil, err
	}
	at, err := skip(buf)
	if err != nil {
		return nil, err
	}
	return buf[at:end], nil
}

// skip returns where the data of the record in buf begins.
func skip(buf []byte) (int, error) {
	for at := 0; at < len(buf); at += 1 + int(buf[at]) {
		if buf[at] == 0 {
			return at + 1 + 10, nil // type, class, TTL and length
		}
	}
	return 0, errors.New("has no end of its name")
}
