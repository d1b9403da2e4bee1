package hpack

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	xhpack "golang.org/x/net/http2/hpack"
)

// field is a Field in a form that is easy to write down and to compare.
type field struct {
	name, value string
	never       bool
}

func (f field) String() string {
	if f.never {
		return f.name + ": " + f.value + " (never indexed)"
	}
	return f.name + ": " + f.value
}

// readAll decodes a whole block.
func readAll(d *Decoder, block []byte) (fields []field, err error) {
	var f Field
	d.Begin()
	for len(block) > 0 {
		n, ok, err := d.Next(block, &f)
		if err != nil {
			return fields, err
		}
		if ok {
			fields = append(fields, field{string(f.Name), string(f.Value), f.Never})
		}
		block = block[n:]
	}
	return fields, nil
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func texts(fields []field) string {
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

// TestReadsTheExamplesOfTheRFC: RFC 7541 Appendix C.2 to C.4 and C.6, blocks of one connection in a row.
func TestReadsTheExamplesOfTheRFC(t *testing.T) {
	const first = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n"
	const second = first + "cache-control: no-cache\n"
	const third = ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value\n"
	for _, c := range []struct {
		name   string
		blocks []string // hexadecimal, then what it says
		size   uint32   // of the table at the end
	}{
		{"C.2.1 literal, indexed", []string{"400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key: custom-header\n"}, 55},
		{"C.2.2 literal, not indexed", []string{"040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path\n"}, 0},
		{"C.2.3 never indexed", []string{"1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret (never indexed)\n"}, 0},
		{"C.2.4 indexed", []string{"82", ":method: GET\n"}, 0},
		{"C.3 requests", []string{
			"8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", first,
			"8286 84be 5808 6e6f 2d63 6163 6865", second,
			"8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", third,
		}, 164},
		{"C.4 requests, Huffman", []string{
			"8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", first,
			"8286 84be 5886 a8eb 1064 9cbf", second,
			"8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", third,
		}, 164},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Decoder
			for i := 0; i < len(c.blocks); i += 2 {
				fields, err := readAll(&d, unhex(t, c.blocks[i]))
				if diff := cmp.Diff(c.blocks[i+1], texts(fields)); err != nil || diff != "" {
					t.Fatalf("block %d: %v\n%s", i/2, err, diff)
				}
			}
			if d.table.size != c.size {
				t.Errorf("table of %d bytes, want %d", d.table.size, c.size)
			}
		})
	}
}

// TestReadsTheExamplesOfTheRFCThatEvict: RFC 7541 Appendix C.6, whose table holds 256 bytes.
func TestReadsTheExamplesOfTheRFCThatEvict(t *testing.T) {
	blocks := []string{
		"3fe1 01" + // the table's size, which the RFC assumes
			"4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
		":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n",
		"4883 640e ffc1 c0bf",
		":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n",
		"88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960" +
			"d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
		":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\nlocation: https://www.example.com\n" +
			"content-encoding: gzip\nset-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n",
	}
	var d Decoder
	for i, size := range []uint32{222, 222, 215} {
		fields, err := readAll(&d, unhex(t, blocks[2*i]))
		if diff := cmp.Diff(blocks[2*i+1], texts(fields)); err != nil || diff != "" {
			t.Fatalf("block %d: %v\n%s", i, err, diff)
		}
		if d.table.size != size {
			t.Fatalf("block %d: table of %d bytes, want %d", i, d.table.size, size)
		}
	}
}

func TestRefusesBlocksThatBreakTheRFC(t *testing.T) {
	for _, c := range []struct {
		name, block string
		want        Error
	}{
		{"index 0", "80", ErrIndex},
		{"index beyond both tables", "be", ErrIndex},
		{"name index beyond both tables", "7e 01 61", ErrIndex},
		{"integer of 32 bits", "ff 80ff ffff 0f", ErrInteger},
		{"integer padded with zeros", "ff 8080 8080 8000", ErrInteger},
		{"integer cut short", "ff", ErrTruncated},
		{"name cut short", "40 05 61", ErrTruncated},
		{"value missing", "40 01 61", ErrTruncated},
		{"value cut short", "40 01 61 05 61", ErrTruncated},
		{"length far beyond the block", "40 7f ffff ff07", ErrTruncated},
		{"Huffman: EOS", "40 01 61 84 ffff ffff", ErrHuffman},
		{"Huffman: eight bits of padding", "40 01 61 82 1fff", ErrHuffman},
		{"Huffman: padded with zeros", "40 01 61 81 18", ErrHuffman},
		{"Huffman: EOS, early in a long string", "40 01 61 8c ffff ffff 0000 0000 0000 0000", ErrHuffman},
		{"name that is no Huffman code", "40 81 18", ErrHuffman},
		{"table size cut short", "3f", ErrTruncated},
		{"literal cut short", "0f", ErrTruncated},
		{"table above what was announced", "3f e2 1f", ErrTableSize},
		{"table size after a field", "82 20", ErrTableOrder},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readAll(new(Decoder), unhex(t, c.block))
			if err != c.want {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if err == nil || !strings.HasPrefix(err.Error(), "hpack: ") || strings.Contains(err.Error(), "unknown") {
				t.Errorf("text %v", err)
			}
		})
	}
	if got := Error(200).Error(); got != "hpack: unknown error" {
		t.Errorf("text of no error is %q", got)
	}
}

// TestHuffmanAgreesWithTheLibrary: every symbol, alone and between others, both ways.
func TestHuffmanAgreesWithTheLibrary(t *testing.T) {
	for a := range 256 {
		for _, s := range []string{string([]byte{byte(a)}), string([]byte{'e', byte(a), byte(a), 'z', byte(a ^ 0x55)}), strings.Repeat(string([]byte{byte(a)}), 9)} {
			ours := appendHuffman(nil, []byte(s))
			theirs := xhpack.AppendHuffmanString(nil, s)
			if !bytes.Equal(ours, theirs) || huffmanLength([]byte(s)) != len(ours) {
				t.Fatalf("%q: %x, want %x", s, ours, theirs)
			}
			if back, err := readHuffman(nil, ours); err != 0 || string(back) != s {
				t.Fatalf("%q reads as %q, %v", s, back, err)
			}
		}
	}
}

func TestAFieldTakesItsPlaceTheSecondTime(t *testing.T) {
	var e Encoder
	e.Plain = true
	write := func(name, value string, how Indexing) string {
		return hex.EncodeToString(e.Append(e.Begin(nil), []byte(name), []byte(value), how))
	}
	for _, c := range []struct {
		name, value string
		how         Indexing
		want        string
	}{
		{"a", "1", Index, "0001610131"},   // a literal
		{"a", "1", Index, "4001610131"},   // a literal that goes into the table
		{"a", "1", Index, "be"},           // its index
		{"b", "2", Never, "1001620132"},   // a secret
		{"b", "2", Index, "0001620132"},   // the first time as anything else
		{"b", "2", Index, "4001620132"},   // pushes a back
		{"a", "1", Index, "bf"},           //
		{"b", "2", Literal, "0001620132"}, // as told
		{"server", "x", Literal, "0f270178"},
		{"server", "x", Index, "0f270178"},
		{"server", "x", Index, "760178"},
		{"server", "x", Index, "be"},
	} {
		if got := write(c.name, c.value, c.how); got != c.want {
			t.Errorf("%s: %s (%d) is written %s, want %s", c.name, c.value, c.how, got, c.want)
		}
	}
	if got := hex.EncodeToString(e.AppendNamed(AppendStatic(nil, Status200), PathRoot, []byte("/a"), Literal)); got != "8804022f61" {
		t.Errorf("named: %s", got)
	}
}

// TestAFieldLargerThanTheTableEmptiesIt: RFC 7541 §4.4.
func TestAFieldLargerThanTheTableEmptiesIt(t *testing.T) {
	var d Decoder
	if _, err := readAll(&d, []byte("\x40\x01a\x01b\xbe")); err != nil || d.table.len() != 1 {
		t.Fatal(err)
	}
	large := append([]byte("\x7e\x7f\xa1\x1f"), bytes.Repeat([]byte("x"), 4128)...) // named as the one that it pushes out
	fields, err := readAll(&d, large)
	if err != nil || len(fields) != 1 || fields[0].name != "a" || len(fields[0].value) != 4128 || d.table.len() != 0 || d.table.size != 0 {
		t.Errorf("%v, %d fields, %d in the table", err, len(fields), d.table.len())
	}
	if fields, err := readAll(&d, []byte("\x20")); len(fields) != 0 || err != nil { // nothing but a size
		t.Errorf("%v, %v", fields, err)
	}
}

func TestANameOfTheStaticTableMayBeIndexed(t *testing.T) {
	var e Encoder
	var d Decoder
	for i, want := range []byte{0x01, 0x41, 0xbe} {
		block := e.AppendNamed(e.Begin(nil), Authority, []byte("h"), Index)
		fields, err := readAll(&d, block)
		if block[0] != want || err != nil || texts(fields) != ":authority: h\n" {
			t.Errorf("time %d: %x reads as %v, %v", i, block, fields, err)
		}
	}
}

func TestLargeFieldsDoNotEmptyTheTable(t *testing.T) {
	var e Encoder
	large := bytes.Repeat([]byte("x"), 3100)
	for range 3 {
		e.Append(e.Begin(nil), []byte("large"), large, Index)
		e.Append(e.Begin(nil), []byte("small"), []byte("1"), Index)
	}
	if e.table.len() != 1 {
		t.Errorf("%d fields in the table, want 1", e.table.len())
	}
}

// TestTableSizesAreSignalled: RFC 7541 §4.2, the smallest and then the last.
func TestTableSizesAreSignalled(t *testing.T) {
	var e Encoder
	e.SetLimit(1 << 20) // more than we use: nothing to say
	if got := e.Begin(nil); len(got) > 0 {
		t.Errorf("wrote %x", got)
	}
	for range 2 {
		e.Append(nil, []byte("a"), []byte("1"), Index)
	}
	e.SetLimit(100)
	e.SetLimit(0)
	e.SetLimit(4096)
	if got := hex.EncodeToString(e.Begin(nil)); got != "203fe11f" {
		t.Errorf("wrote %s", got)
	}
	if got := e.Begin(nil); len(got) > 0 {
		t.Errorf("wrote %x again", got)
	}
	if e.table.len() > 0 {
		t.Error("the table still holds the field")
	}
	e.SetLimit(31)
	if got := hex.EncodeToString(e.Begin(nil)); got != "3f00" {
		t.Errorf("wrote %s", got)
	}
	for range 3 {
		if got := e.Append(nil, []byte("a"), nil, Index); got[0] != 0 {
			t.Errorf("indexed into a table of 31 bytes: %x", got)
		}
	}
}

// TestManyFieldsStayWithinTheTable: what the encoder writes over a long time, the library's decoder reads, and neither
// the tables nor what they keep in memory grow beyond their limits.
func TestManyFieldsStayWithinTheTable(t *testing.T) {
	var e Encoder
	var d Decoder
	var got []xhpack.HeaderField
	x := xhpack.NewDecoder(TableSize, func(f xhpack.HeaderField) { got = append(got, f) })
	for i := range 20000 {
		name, value := fmt.Sprintf("name-%d", i/2%7), strings.Repeat("v", i/2%97)+fmt.Sprint(i/6%211)
		if i%2000 > 1900 {
			value += strings.Repeat("large", 500) // pushes out all others
		}
		block := e.Append(e.Begin(nil), []byte(name), []byte(value), Indexing(i%17/16))
		got = got[:0]
		if _, err := x.Write(block); err != nil || x.Close() != nil {
			t.Fatalf("field %d: %x: %v", i, block, err)
		}
		ours, err := readAll(&d, block)
		if err != nil || len(ours) != 1 || ours[0].name != name || ours[0].value != value {
			t.Fatalf("field %d: read %v, %v", i, ours, err)
		}
		if len(got) != 1 || got[0].Name != name || got[0].Value != value {
			t.Fatalf("field %d: the library reads %v", i, got)
		}
	}
	if e.table.inserted < 5000 {
		t.Errorf("only %d fields came into the table", e.table.inserted)
	}
	for _, table := range []*table{&e.table, &d.table} {
		if table.size > TableSize || cap(table.bytes) > 4*TableSize || cap(table.entries) > 4*TableSize/Overhead {
			t.Errorf("the table counts %d bytes and keeps %d, and %d entries", table.size, cap(table.bytes), cap(table.entries))
		}
	}
}

func TestNothingIsAllocatedAfterWarmUp(t *testing.T) {
	var e Encoder
	var d Decoder
	var f Field
	var block []byte
	n := 0
	round := func() {
		n++
		block = e.Begin(block[:0])
		for i := range fields {
			p := &fields[i]
			if p.how == Literal {
				p.value[0] = 'a' + byte(n%26)
			}
			block = e.Append(block, p.name, p.value, p.how)
		}
		d.Begin()
		for p := block; len(p) > 0; {
			used, _, err := d.Next(p, &f)
			if err != nil {
				t.Fatal(err)
			}
			p = p[used:]
		}
	}
	for range 100 {
		round()
	}
	if allocs := testing.AllocsPerRun(1000, round); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}
