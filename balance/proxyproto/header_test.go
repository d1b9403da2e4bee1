package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"
)

var (
	client4 = netip.MustParseAddrPort("192.0.2.1:56324")
	server4 = netip.MustParseAddrPort("198.51.100.7:443")
	client6 = netip.MustParseAddrPort("[2001:db8::1]:56324")
	server6 = netip.MustParseAddrPort("[2001:db8::2]:443")
)

func v2(command, family byte, body string) string {
	b := append([]byte(nil), signature...)
	b = append(b, command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return string(b) + body
}

func TestParse(t *testing.T) {
	addresses := "\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb"
	for _, c := range []struct {
		name, in string
		want     Header
		err      error
	}{
		{"version 1", "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", Header{Source: client4, Destination: server4}, nil},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", Header{Source: client6, Destination: server6}, nil},
		{"unknown", "PROXY UNKNOWN\r\n", Header{}, nil},
		{"unknown with something", "PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n", Header{}, nil},
		{"no header", "GET / HTTP/1.1\r\n", Header{}, ErrNone},
		{"lower case", "proxy TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", Header{}, ErrNone},
		{"wrong family", "PROXY TCP4 2001:db8::1 2001:db8::2 56324 443\r\n", Header{}, ErrMalformed},
		{"another protocol", "PROXY UDP4 192.0.2.1 198.51.100.7 56324 443\r\n", Header{}, ErrMalformed},
		{"port too large", "PROXY TCP4 192.0.2.1 198.51.100.7 65536 443\r\n", Header{}, ErrMalformed},
		{"port with a zero", "PROXY TCP4 192.0.2.1 198.51.100.7 0443 443\r\n", Header{}, ErrMalformed},
		{"a part too few", "PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n", Header{}, ErrMalformed},
		{"a part too many", "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443 x\r\n", Header{}, ErrMalformed},
		{"two spaces", "PROXY TCP4  192.0.2.1 198.51.100.7 56324 443\r\n", Header{}, ErrMalformed},
		{"no end", "PROXY TCP4 " + strings.Repeat("1", 120), Header{}, ErrMalformed},
		{"version 2", v2(0x21, 0x11, addresses), Header{Source: client4, Destination: server4}, nil},
		{"version 2, values", v2(0x21, 0x11, addresses+"\x04\x00\x01x"), Header{Source: client4, Destination: server4, TLVs: []byte("\x04\x00\x01x")}, nil},
		{"version 2, local", v2(0x20, 0x11, addresses), Header{Local: true}, nil},
		{"version 2, no address", v2(0x21, 0x00, ""), Header{}, nil},
		{"version 2, Unix", v2(0x21, 0x31, strings.Repeat("\x00", 216)), Header{}, nil},
		{"version 3", v2(0x31, 0x11, addresses), Header{}, ErrMalformed},
		{"another command", v2(0x22, 0x11, addresses), Header{}, ErrMalformed},
		{"address cut short", v2(0x21, 0x11, addresses[:11]), Header{}, ErrMalformed},
		{"value cut short", v2(0x21, 0x11, addresses+"\x04\x00\x02x"), Header{}, ErrMalformed},
		{"too large", v2(0x21, 0x11, addresses+strings.Repeat("x", MaxSize)), Header{}, ErrTooLarge},
		{"wrong checksum", v2(0x21, 0x11, addresses+"\x03\x00\x04abcd"), Header{}, ErrChecksum},
	} {
		n, got, err := Parse([]byte(c.in + "rest"))
		if !errors.Is(err, c.err) {
			t.Errorf("%s: err = %v, want %v", c.name, err, c.err)
			continue
		}
		if err != nil {
			continue
		}
		if n != len(c.in) || got.Local != c.want.Local || got.Source != c.want.Source || got.Destination != c.want.Destination || !bytes.Equal(got.TLVs, c.want.TLVs) {
			t.Errorf("%s: %d %+v, want %d %+v", c.name, n, got, len(c.in), c.want)
		}
		for i := range len(c.in) {
			if n, _, err := Parse([]byte(c.in[:i])); n != 0 || err != nil {
				t.Errorf("%s: after %d bytes: %d, %v; want to be asked for more", c.name, i, n, err)
			}
		}
	}
}

func TestARightChecksumPasses(t *testing.T) {
	in := []byte(v2(0x21, 0x11, "\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb"+"\x03\x00\x04\x00\x00\x00\x00"))
	sum := crc32.Checksum(in, crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(in[len(in)-4:], sum)
	if _, _, err := Parse(in); err != nil {
		t.Error(err)
	}
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	for _, p := range [][2]netip.AddrPort{{client4, server4}, {client6, server6}} {
		for version, write := range map[int]func([]byte, netip.AddrPort, netip.AddrPort) []byte{1: Append1, 2: Append2} {
			out := write(nil, p[0], p[1])
			n, h, err := Parse(out)
			if err != nil || n != len(out) || h.Source != p[0] || h.Destination != p[1] {
				t.Errorf("version %d of %v: %d %+v, %v", version, p, n, h, err)
			}
		}
	}
	if got := string(Append1(nil, netip.AddrPort{}, server4)); got != "PROXY UNKNOWN\r\n" {
		t.Errorf("a source that is not known: %q", got)
	}
	if _, h, err := Parse(Append2(nil, netip.AddrPort{}, server4)); err != nil || !h.Local {
		t.Errorf("a source that is not known: %+v, %v", h, err)
	}
	if got := testing.AllocsPerRun(100, func() { Append2(make([]byte, 0, 64), client4, server4) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"))
	f.Add([]byte(v2(0x21, 0x11, "\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb\x04\x00\x01x")))
	f.Fuzz(func(t *testing.T, in []byte) {
		n, h, err := Parse(in)
		if n < 0 || n > len(in) || n > MaxSize {
			t.Fatalf("%d of %d bytes", n, len(in))
		}
		for _, _, ok := h.Next(); ok; _, _, ok = h.Next() {
		}
		if err == nil && n > 0 && len(h.TLVs) > 0 {
			t.Fatalf("%d bytes of values are left over", len(h.TLVs))
		}
	})
}
