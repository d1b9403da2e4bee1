package hpack

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// Indexing says what the tables may do with a field.
type Indexing uint8

// The ways to write a field.
const (
	Index   Indexing = iota // put it into the table if it is likely to come again
	Literal                 // not worth a place
	Never                   // a secret: no hop may put it into a table (RFC 7541 §7.1.3)
)

// Encoder writes header blocks, all those that go out on one connection, in their order. The zero value is ready.
//
// A field gets a place in the table when it comes for the second time. Values that never come again (identifiers,
// times, lengths) would otherwise push out those that do, and no list of names could tell them apart.
type Encoder struct {
	// Plain leaves strings as they are. Huffman coding saves a fifth to a third of the bytes of a literal, and costs
	// about a nanosecond for each: nothing to spend inside a data centre.
	Plain bool

	table    table
	memory   []slot
	ready    bool
	resized  bool
	smallest uint32 // that the table was limited to since the last block
}

// slot remembers a field by its hash: where it is in the table, or only that it has been written.
type slot struct{ hash, number uint32 }

// Slots stand in sets of two. A block of a browser or a server holds 10 to 30 fields that come again, so that three
// of them rarely share one of 64 sets.
const (
	sets    = 64
	setSize = 2
)

// SetLimit tells the size that the peer allows its copy of the table: SETTINGS_HEADER_TABLE_SIZE.
func (e *Encoder) SetLimit(n uint32) {
	e.init()
	n = min(n, TableSize)
	if n == e.table.limit && !e.resized {
		return
	}
	if !e.resized || n < e.smallest {
		e.smallest = n
	}
	e.resized = true
	e.table.setLimit(n)
}

func (e *Encoder) init() {
	if !e.ready {
		e.ready = true
		e.table.limit = TableSize
	}
}

// Begin appends what must stand at the beginning of a header block: news of the table's size (RFC 7541 §4.2).
func (e *Encoder) Begin(dst []byte) []byte {
	e.init()
	if !e.resized {
		return dst
	}
	e.resized = false
	if e.smallest < e.table.limit {
		// Rare enough to start afresh: 0 includes the smallest, and decoders that want one change a block (as the
		// library's) let this one pass.
		e.table.evict(e.table.limit)
		dst = append(dst, 0x20)
	}
	return appendInteger(dst, 0x20, 0x1f, e.table.limit)
}

// AppendStatic appends a whole field of the static table.
func AppendStatic(dst []byte, index uint8) []byte { return append(dst, 0x80|index) }

// Append appends a field. The name must be in lower case.
func (e *Encoder) Append(dst, name, value []byte, how Indexing) []byte {
	if how != Index {
		return e.literal(dst, uint32(NameIndex(name)), name, value, how)
	}
	return e.index(dst, 0, name, value)
}

// AppendNamed appends a field whose name is that of a field of the static table.
func (e *Encoder) AppendNamed(dst []byte, index uint8, value []byte, how Indexing) []byte {
	if how != Index {
		return e.literal(dst, uint32(index), nil, value, how)
	}
	return e.index(dst, uint32(index), staticBytes[index].name, value)
}

// NameIndex returns the index of the first field of the static table with a name, or 0. The name must be in lower case.
func NameIndex(name []byte) uint8 { return staticNames[string(name)] }

// index appends a field as an index if the table holds it, and otherwise as a literal, which is put into the table if
// it was written before. at is the index of its name, 0 if not known.
func (e *Encoder) index(dst []byte, at uint32, name, value []byte) []byte {
	h := hash(name, value)
	s := e.slot(h)
	known := s.hash == h
	if known && s.number != 0 {
		if age := e.table.inserted - s.number; age < uint32(e.table.len()) {
			n, v := e.table.get(int(age))
			if bytes.Equal(n, name) && bytes.Equal(v, value) {
				return appendInteger(dst, 0x80, 0x7f, staticCount+1+age)
			}
		}
	}
	if at == 0 {
		at = uint32(NameIndex(name))
	}
	if !known || entrySize(name, value) > e.table.limit*3/4 {
		*s = slot{hash: h}
		return e.literal(dst, at, name, value, Literal)
	}
	dst = e.strings(appendInteger(dst, 0x40, 0x3f, at), at, name, value)
	e.table.add(name, value)
	s.number = e.table.inserted
	return dst
}

func entrySize(name, value []byte) uint32 { return uint32(len(name)+len(value)) + Overhead }

// slot returns the place of a hash: the one that has it, or else the one to give up, which moves to the front of its
// set.
func (e *Encoder) slot(h uint32) *slot {
	if e.memory == nil {
		e.memory = make([]slot, sets*setSize)
	}
	set := e.memory[h%sets*setSize:][:setSize]
	if set[0].hash != h && set[1].hash != h {
		set[1] = set[0]
		set[0] = slot{}
	}
	if set[1].hash == h {
		return &set[1]
	}
	return &set[0]
}

func (e *Encoder) literal(dst []byte, at uint32, name, value []byte, how Indexing) []byte {
	pattern := byte(0)
	if how == Never {
		pattern = 0x10
	}
	return e.strings(appendInteger(dst, pattern, 0x0f, at), at, name, value)
}

// strings appends the literal parts of a field: the name too, unless it has an index.
func (e *Encoder) strings(dst []byte, at uint32, name, value []byte) []byte {
	if at == 0 {
		dst = e.text(dst, name)
	}
	return e.text(dst, value)
}

func (e *Encoder) text(dst, s []byte) []byte {
	if !e.Plain {
		if n := huffmanLength(s); n < len(s) {
			return appendHuffman(appendInteger(dst, 0x80, 0x7f, uint32(n)), s)
		}
	}
	return append(appendInteger(dst, 0, 0x7f, uint32(len(s))), s...)
}

// hash mixes a field's bytes, eight at a time. It is never 0, which stands for an empty slot. Somebody who finds
// fields of equal hash gains that they are written as literals.
func hash(name, value []byte) uint32 {
	h := mix(mix(uint64(len(name))<<32|uint64(len(value)), name), value)
	return uint32(h>>32) | 1<<31
}

func mix(h uint64, p []byte) uint64 {
	const k = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	for len(p) >= 8 {
		h = bits.RotateLeft64((h^binary.LittleEndian.Uint64(p))*k, 29)
		p = p[8:]
	}
	for _, c := range p {
		h = (h ^ uint64(c)) * k
	}
	return bits.RotateLeft64(h*k, 29)
}
