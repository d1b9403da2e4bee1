package hpack

import (
	"bytes"
	"strings"
	"testing"

	xhpack "golang.org/x/net/http2/hpack"
)

// FuzzDecode: blocks of any bytes, in a row, are read as the library reads them, or refused.
//
// Exceptions, by intent: the library takes integers padded with zeros, up to 63 bits; it takes a table size after a
// field if the table is empty, and not always the two in a row that RFC 7541 §4.2 provides for.
func FuzzDecode(f *testing.F) {
	first, steady := steadyBlock()
	for i := range first {
		f.Add(first[i], steady)
	}
	for _, s := range []string{"\x20\x3f\xe1\x1f\x82", "\x80", "\x40\x01a\x84\xff\xff\xff\xff", "\x7e\x01a", "\x82\x20", "\x3f\xe2\x1f"} {
		f.Add([]byte("\x40\x01a\x01b\xbe"), []byte(s))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var ours Decoder
		var theirs []field
		x := xhpack.NewDecoder(TableSize, func(h xhpack.HeaderField) { theirs = append(theirs, field{h.Name, h.Value, h.Sensitive}) })
		for _, block := range [][]byte{a, b} {
			theirs = theirs[:0]
			fields, err := readAll(&ours, block)
			_, xerr := x.Write(block)
			if cerr := x.Close(); xerr == nil {
				xerr = cerr
			}
			if err != nil {
				if xerr == nil && err != ErrInteger && err != ErrTableOrder {
					t.Fatalf("%x: %v, the library reads %v", block, err, theirs)
				}
				return
			}
			if xerr != nil && strings.Contains(xerr.Error(), "table size update") {
				return
			}
			if xerr != nil {
				t.Fatalf("%x: read %v, the library says %v", block, fields, xerr)
			}
			if texts(fields) != texts(theirs) {
				t.Fatalf("%x: read\n%s, the library\n%s", block, texts(fields), texts(theirs))
			}
		}
	})
}

// FuzzEncode: what is written, the library reads as what was meant; the input says what to write, and when the peer
// changes the table's size.
func FuzzEncode(f *testing.F) {
	f.Add([]byte("\x01accept\x02*/*\x01accept\x02*/*\x01accept\x02*/*"), false)
	f.Add([]byte("\x00a\x00b\xff\x00\x03\x00a\x00b\xfe\x10"), true)
	f.Fuzz(func(t *testing.T, script []byte, plain bool) {
		e := Encoder{Plain: plain}
		var got []field
		x := xhpack.NewDecoder(TableSize, func(h xhpack.HeaderField) { got = append(got, field{h.Name, h.Value, h.Sensitive}) })
		x.SetAllowedMaxDynamicTableSize(TableSize)
		for len(script) >= 2 {
			op, arg := script[0], script[1]
			script = script[2:]
			if op >= 0xf0 {
				e.SetLimit(uint32(arg) * 20)
				continue
			}
			n := min(int(op>>4), len(script))
			name := bytes.ToLower(script[:n])
			value := bytes.Repeat([]byte{arg}, int(op&3)*int(arg))
			how := Indexing(op >> 2 & 3 % 3)
			if how > Never {
				how = Index
			}
			block := e.Append(e.Begin(nil), name, value, how)
			got = got[:0]
			if _, err := x.Write(block); err != nil {
				t.Fatalf("%x: %v", block, err)
			}
			if err := x.Close(); err != nil {
				t.Fatalf("%x: %v", block, err)
			}
			if want := (field{string(name), string(value), how == Never}); len(got) != 1 || got[0] != want {
				t.Fatalf("%x reads as %v, want %v", block, got, want)
			}
		}
	})
}
