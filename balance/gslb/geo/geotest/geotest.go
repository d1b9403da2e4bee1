// Package geotest writes small files in MaxMind's format (https://maxmind.github.io/MaxMind-DB/), version 2.0, for tests of
// what reads them. It never reads one.
package geotest

import (
	"encoding/binary"
	"math"
	"net/netip"
	"os"
	"testing"
)

// Place is what the file says of a network. Empty codes and coordinates of zero are left out.
type Place struct {
	Network             string // such as 192.0.2.0/24
	Country, Continent  string
	Latitude, Longitude float64
}

// Write makes a file of places and returns its path.
func Write(tb testing.TB, path string, places ...Place) string {
	tb.Helper()
	t := tree{nodes: [][2]int{{}}}
	var data []byte
	for _, p := range places {
		n, err := netip.ParsePrefix(p.Network)
		if err != nil {
			tb.Fatal(err)
		}
		t.insert(n, len(data))
		data = p.append(data)
	}
	out := append(t.bytes(), make([]byte, 16)...) // 16 zeros part the tree from the data
	out = append(out, data...)
	out = append(out, "\xab\xcd\xefMaxMind.com"...)
	out = t.metadata(out)
	if err := os.WriteFile(path, out, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// tree is the search tree: a node has two branches, each another node, nothing (0), or data (-1 - offset).
type tree struct{ nodes [][2]int }

// insert adds a network. IPv4 stands in ::/96.
func (t *tree) insert(n netip.Prefix, offset int) {
	a, bits := n.Addr().As16(), n.Bits()
	if n.Addr().Is4() {
		a, bits = [16]byte{}, bits+96
		copy(a[12:], n.Addr().AsSlice())
	}
	at := 0
	for i := range bits {
		branch := int(a[i/8] >> (7 - i%8) & 1)
		if i == bits-1 {
			t.nodes[at][branch] = -1 - offset
			return
		}
		if t.nodes[at][branch] <= 0 {
			t.nodes[at][branch] = len(t.nodes)
			t.nodes = append(t.nodes, [2]int{})
		}
		at = t.nodes[at][branch]
	}
}

// bytes renders the tree with records of 32 bits.
func (t *tree) bytes() (out []byte) {
	count := len(t.nodes)
	for _, n := range t.nodes {
		for _, branch := range n {
			value := branch
			switch {
			case branch == 0:
				value = count // nothing
			case branch < 0:
				value = count + 16 + -1 - branch
			}
			out = binary.BigEndian.AppendUint32(out, uint32(value))
		}
	}
	return out
}

func (p *Place) append(b []byte) []byte {
	fields := 0
	for _, has := range []bool{p.Country != "", p.Continent != "", p.Latitude != 0 || p.Longitude != 0} {
		if has {
			fields++
		}
	}
	b = appendMap(b, fields)
	if p.Country != "" {
		b = appendText(b, "country")
		b = appendMap(b, 1)
		b = appendText(appendText(b, "iso_code"), p.Country)
	}
	if p.Continent != "" {
		b = appendText(b, "continent")
		b = appendMap(b, 1)
		b = appendText(appendText(b, "code"), p.Continent)
	}
	if p.Latitude != 0 || p.Longitude != 0 {
		b = appendText(b, "location")
		b = appendMap(b, 2)
		b = appendFloat(appendText(b, "latitude"), p.Latitude)
		b = appendFloat(appendText(b, "longitude"), p.Longitude)
	}
	return b
}

func (t *tree) metadata(b []byte) []byte {
	b = appendMap(b, 9)
	b = appendNumber(appendText(b, "binary_format_major_version"), 2)
	b = appendNumber(appendText(b, "binary_format_minor_version"), 0)
	b = appendNumber(appendText(b, "build_epoch"), 1)
	b = appendText(appendText(b, "database_type"), "Test")
	b = appendMap(appendText(b, "description"), 0)
	b = appendNumber(appendText(b, "ip_version"), 6)
	b = append(appendText(b, "languages"), 0, 4) // an empty array
	b = appendNumber(appendText(b, "node_count"), uint32(len(t.nodes)))
	return appendNumber(appendText(b, "record_size"), 32)
}

// Values begin with a byte that holds their type, in the upper three bits, and their size.

func appendMap(b []byte, n int) []byte { return append(b, 7<<5|byte(n)) }

func appendText(b []byte, text string) []byte {
	if len(text) >= 29 { // the size follows in a byte of its own
		return append(append(b, 2<<5|29, byte(len(text)-29)), text...)
	}
	return append(append(b, 2<<5|byte(len(text))), text...)
}

func appendFloat(b []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 3<<5|8), math.Float64bits(f))
}

func appendNumber(b []byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, 6<<5|4), n)
}
