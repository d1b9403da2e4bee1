package stream

import (
	"encoding/binary"
	"testing"
	"time"
)

// FuzzObject opens objects that are sealed as they should be, and hold anything.
func FuzzObject(f *testing.F) {
	f.Add([]byte{10, 2, 4, 0}, []byte{10, 3, 'a', 'b', 'c', 0, 0}, uint32(1), uint64(2), uint64(10), true)
	f.Add([]byte{}, []byte{}, uint32(0), uint64(1), uint64(0), false)
	f.Add([]byte{0xff, 0xff}, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1}, uint32(9), uint64(9), uint64(9), true)
	c := newCodec()
	k := &keys{testKey}
	line := [32]byte{5}
	f.Fuzz(func(t *testing.T, index, body []byte, commits uint32, records, length uint64, press bool) {
		if len(index) > 1<<16 || len(body) > 1<<16 || records == 0 || records > 1<<20 {
			return
		}
		part := func(text []byte) []byte {
			if press {
				return c.press(nil, text)
			}
			return text
		}
		name := extent{seq: 3, end: 3 + records, from: 100, to: 100 + Position(length), first: 1, last: 2, through: 3, before: 0, after: 0}
		in, fr := part(index), part(body)
		h := header{line: line, extent: name, indexBytes: uint32(len(in) + tagBytes), commits: commits, frames: 1}
		salt := make([]byte, saltBytes)
		b := k.box("x", salt)
		sealed := append([]byte(magic), salt...)
		sealed = b.seal(sealed, h.appendTo(nil))
		sealed = b.seal(sealed, in)
		sealed = binary.BigEndian.AppendUint32(sealed, uint32(len(fr)+tagBytes))
		sealed = b.seal(sealed, fr)
		d, err := openObject(&c, k, line, "x", name, sealed)
		if err != nil || d.readIndex() != nil {
			return
		}
		at, n := name.from, uint64(0)
		var rec Record
		for {
			more, err := d.next(&rec)
			if err != nil {
				return
			}
			if !more {
				break
			}
			if rec.From != at || rec.To < rec.From || rec.To > name.to && name.to >= at && n+1 == records {
				t.Fatalf("record %d leads from %d to %d, after %d", n, rec.From, rec.To, at)
			}
			at = rec.To
			n++
		}
		if n != records || at != name.to {
			t.Fatalf("%d records up to %d are said to be %d up to %d", n, at, records, name.to)
		}
	})
}

// FuzzExtent: what is read is what would be written.
func FuzzExtent(f *testing.F) {
	e := extent{level: 2, seq: 1, end: 5, from: 7, to: 9, first: 11, last: 12, through: 13, before: 14, after: 15}
	f.Add(e.name())
	f.Add("0/1-2-3")
	f.Fuzz(func(t *testing.T, name string) {
		if e, ok := parseExtent(name); ok && e.name() != name {
			t.Fatalf("%q is read as %q", name, e.name())
		}
	})
}

// FuzzTag: what is read is what would be written.
func FuzzTag(f *testing.F) {
	f.Add(Tag{Kind: Base, Database: "orders", Line: "00000001-0123456789abcdef", From: 5, To: 9, Time: time.Unix(0, 1234)}.String())
	f.Add("pitr:seal:::::")
	f.Fuzz(func(t *testing.T, text string) {
		if tag, ok := ParseTag(text); ok && (tag.String() != text || tag.From > tag.To || !IsTag(text)) {
			t.Fatalf("%q is read as %q", text, tag)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	c := newCodec()
	d := newDraft(&c, 0, 0, 0, [32]byte{})
	data := make([]byte, 8192)
	commits := []Commit{{Time: time.Unix(1e9, 0)}}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		at := d.extent.to
		commits[0].Position, commits[0].ID = at+8192, uint64(at)
		d.add(&Record{From: at, To: at + 8192, Data: data, Commits: commits})
		if d.bytes > 4<<20 || len(d.index) > maxIndexBytes {
			d = newDraft(&c, 0, 0, at+8192, [32]byte{})
		}
	}
}
