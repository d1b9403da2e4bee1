package hpack

import (
	"bytes"
	"io"
	"testing"

	xhpack "golang.org/x/net/http2/hpack"
)

// fields are those of a browser's request.
var fields = []struct {
	name, value []byte
	how         Indexing
}{
	{[]byte(":method"), []byte("GET"), Index},
	{[]byte(":scheme"), []byte("https"), Index},
	{[]byte(":authority"), []byte("shop.example.com"), Index},
	{[]byte(":path"), []byte("/products/list?category=12&sort=price"), Literal},
	{[]byte("user-agent"), []byte("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"), Index},
	{[]byte("accept"), []byte("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Index},
	{[]byte("accept-language"), []byte("en-US,en;q=0.5"), Index},
	{[]byte("cookie"), []byte("session=8f14e45fceea167a5a36dedd4bea2543; theme=dark"), Never},
}

func appendFields(e *Encoder, dst []byte) []byte {
	dst = e.Begin(dst)
	for i := range fields {
		dst = e.Append(dst, fields[i].name, fields[i].value, fields[i].how)
	}
	return dst
}

func BenchmarkEncode(b *testing.B) {
	for _, c := range []struct {
		name  string
		plain bool
	}{{"huffman", false}, {"plain", true}} {
		b.Run(c.name, func(b *testing.B) {
			e := Encoder{Plain: c.plain}
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				dst = appendFields(&e, dst[:0])
			}
		})
	}
}

func BenchmarkEncodeLibrary(b *testing.B) {
	var buf bytes.Buffer
	e := xhpack.NewEncoder(&buf)
	b.ReportAllocs()
	for b.Loop() {
		buf.Reset()
		for i := range fields {
			p := &fields[i]
			if err := e.WriteField(xhpack.HeaderField{Name: string(p.name), Value: string(p.value), Sensitive: p.how != Index}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// steadyBlock returns blocks that bring a decoder to its steady state, and the one after.
func steadyBlock() (first [][]byte, steady []byte) {
	var e Encoder
	for range 3 {
		first = append(first, appendFields(&e, nil))
	}
	return first, appendFields(&e, nil)
}

func BenchmarkDecode(b *testing.B) {
	var d Decoder
	var f Field
	first, steady := steadyBlock()
	read := func(p []byte) {
		d.Begin()
		for len(p) > 0 {
			n, _, err := d.Next(p, &f)
			if err != nil {
				b.Fatal(err)
			}
			p = p[n:]
		}
	}
	for _, p := range first {
		read(p)
	}
	b.ReportAllocs()
	for b.Loop() {
		read(steady)
	}
}

func BenchmarkDecodeLibrary(b *testing.B) {
	first, steady := steadyBlock()
	d := xhpack.NewDecoder(TableSize, func(xhpack.HeaderField) {})
	for _, p := range append(first, steady) {
		if _, err := d.Write(p); err != nil || d.Close() != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Write(steady); err != nil || d.Close() != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHuffman(b *testing.B) {
	text := []byte("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
	code := appendHuffman(nil, text)
	var dst []byte
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			dst, _ = readHuffman(dst[:0], code)
		}
	})
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			dst = appendHuffman(dst[:0], text)
		}
	})
	b.Run("read library", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			if _, err := xhpack.HuffmanDecode(io.Discard, code); err != nil {
				b.Fatal(err)
			}
		}
	})
}
