package hpack

// Field is a header field. Name and Value are parts of the block, of the decoder's table, or of memory that belongs to
// the Field: they hold until the next call of [Decoder.Next]. The zero value is ready, and meant to be reused.
type Field struct {
	Name, Value []byte
	Never       bool // the sender wants the value in no table of any hop (RFC 7541 §6.2.3)

	buf []byte // strings that were Huffman-coded
}

// Decoder reads header blocks, all those that come on one connection, in their order. The zero value is ready.
type Decoder struct {
	table  table
	ready  bool
	fields bool // a field of the block has been read
}

// Begin starts a header block.
func (d *Decoder) Begin() {
	if !d.ready {
		d.ready = true
		d.table.limit = TableSize
	}
	d.fields = false
}

// Next reads the next field of the block, of which p is the rest, into f. It returns how many bytes it took; ok is
// false when no further field has come. Every error is an [Error]. Begin must have been called before the block's
// first field.
func (d *Decoder) Next(p []byte, f *Field) (n int, ok bool, err error) {
	n, ok, broken := d.next(p, f)
	if broken != 0 {
		return 0, false, broken
	}
	return n, ok, nil
}

func (d *Decoder) next(p []byte, f *Field) (n int, ok bool, broken Error) {
	for n < len(p) {
		b := p[n]
		switch {
		case b >= 0x80: // RFC 7541 §6.1: indexed
			d.fields = true
			used, broken := d.indexed(p[n:], f)
			return n + used, true, broken
		case b >= 0x40: // §6.2.1: literal, to be indexed
			d.fields = true
			used, broken := d.insert(p[n:], f)
			return n + used, true, broken
		case b < 0x20: // §6.2.2, §6.2.3: literal, not to be indexed
			d.fields = true
			f.Never = b&0x10 != 0
			used, broken := d.literal(p[n:], 0x0f, f)
			return n + used, true, broken
		}
		used, broken := d.resize(p[n:]) // §6.3
		if broken != 0 {
			return 0, false, broken
		}
		n += used
	}
	return n, false, 0
}

func (d *Decoder) resize(p []byte) (int, Error) {
	size, n, broken := readInteger(p, 0x1f)
	switch {
	case broken != 0:
		return 0, broken
	case d.fields:
		return 0, ErrTableOrder
	case size > TableSize:
		return 0, ErrTableSize
	}
	d.table.setLimit(size)
	return n, 0
}

func (d *Decoder) indexed(p []byte, f *Field) (n int, broken Error) {
	i, n, broken := readInteger(p, 0x7f)
	if broken != 0 {
		return 0, broken
	}
	f.Never = false
	f.Name, f.Value, broken = d.at(i)
	return n, broken
}

// at returns the field with an index of RFC 7541 §2.3.3.
func (d *Decoder) at(i uint32) (name, value []byte, broken Error) {
	switch {
	case i == 0:
		return nil, nil, ErrIndex
	case i <= staticCount:
		return staticBytes[i].name, staticBytes[i].value, 0
	case i-staticCount > uint32(d.table.len()):
		return nil, nil, ErrIndex
	}
	name, value = d.table.get(int(i - staticCount - 1))
	return name, value, 0
}

func (d *Decoder) insert(p []byte, f *Field) (n int, broken Error) {
	f.Never = false
	n, broken = d.literal(p, 0x3f, f)
	if broken == 0 {
		d.table.add(f.Name, f.Value)
	}
	return n, broken
}

// literal reads a field with a literal value, and a name that is a literal or an index in the low bits of mask.
func (d *Decoder) literal(p []byte, mask byte, f *Field) (n int, broken Error) {
	f.buf = f.buf[:0]
	i, n, broken := readInteger(p, mask)
	if broken != 0 {
		return 0, broken
	}
	if i > 0 {
		f.Name, _, broken = d.at(i)
		if i > staticCount && broken == 0 { // the table may move while the field is added to it
			f.buf = append(f.buf, f.Name...)
			f.Name = f.buf
		}
	} else {
		var used int
		f.Name, used, broken = f.text(p[n:])
		n += used
	}
	if broken != 0 {
		return 0, broken
	}
	value, used, broken := f.text(p[n:])
	f.Value = value
	return n + used, broken
}

// text reads a string (RFC 7541 §5.2).
func (f *Field) text(p []byte) (s []byte, n int, broken Error) {
	length, n, broken := readInteger(p, 0x7f)
	if broken != 0 {
		return nil, 0, broken
	}
	if length > uint32(len(p)-n) {
		return nil, 0, ErrTruncated
	}
	end := n + int(length)
	s = p[n:end:end]
	if p[0] >= 0x80 {
		start := len(f.buf)
		if f.buf, broken = readHuffman(f.buf, s); broken != 0 {
			return nil, 0, broken
		}
		s = f.buf[start:len(f.buf):len(f.buf)]
	}
	return s, end, 0
}
