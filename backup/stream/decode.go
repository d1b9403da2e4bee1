package stream

import (
	"encoding/binary"
	"fmt"
)

// decoder takes an object apart, in order: header, index, records.
type decoder struct {
	codec  *codec
	box    *box
	header header
	rest   []byte // sealed, not read yet
	frames uint32 // of them
	index  []byte
	plain  []byte // expanded, read up to used
	used   int
	seq    uint64
	at     Position
	chain  *chainer
	commit Commit // the last one that was read
	left   uint32 // commits not read yet
	ahead  bool   // commit is read and does not belong to a record yet
}

// openObject reads the header and the index. sealed may end behind the index if no records are wanted; it is
// decrypted in place.
func openObject(c *codec, k *keys, line [32]byte, path string, name extent, sealed []byte) (*decoder, error) {
	if len(sealed) < preludeBytes || string(sealed[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: it is no object of a log", ErrDamaged)
	}
	d := &decoder{codec: c, box: k.box(path, sealed[len(magic):len(magic)+saltBytes])}
	text, err := d.box.open(sealed[len(magic)+saltBytes : preludeBytes])
	if err != nil {
		return nil, err
	}
	if d.header, err = parseHeader(text, name); err != nil {
		return nil, err
	}
	if d.header.line != line {
		return nil, fmt.Errorf("%w: it is of another line", ErrDamaged)
	}
	d.rest = sealed[preludeBytes:]
	return d, nil
}

// readIndex must come before records.
func (d *decoder) readIndex() error {
	n := int(d.header.indexBytes)
	if len(d.rest) < n {
		return fmt.Errorf("%w: it ends in its index", ErrDamaged)
	}
	pressed, err := d.box.open(d.rest[:n:n])
	if err != nil {
		return err
	}
	if d.index, err = d.codec.expand(nil, pressed, 2*maxIndexBytes); err != nil {
		return err
	}
	d.rest, d.frames = d.rest[n:], d.header.frames
	d.seq, d.at = d.header.extent.seq, d.header.extent.from
	d.chain = newChainer(d.header.before)
	d.commit, d.left = Commit{Position: d.at}, d.header.commits
	return nil
}

// nextCommit reads one commit of the index; false at its end.
func (d *decoder) nextCommit() (Commit, bool, error) {
	if d.left == 0 {
		if len(d.index) > 0 {
			return Commit{}, false, fmt.Errorf("%w: its index is too long", ErrDamaged)
		}
		return Commit{}, false, nil
	}
	c, rest, ok := cutCommit(d.index, &d.commit)
	if !ok || c.Position > d.header.extent.to || c.Position < d.commit.Position {
		return Commit{}, false, fmt.Errorf("%w: its index makes no sense", ErrDamaged)
	}
	d.index, d.commit = rest, c
	d.left--
	return c, true, nil
}

// next reads a record into r; false after the last one, when the chain was found to end where the header says.
func (d *decoder) next(r *Record) (bool, error) {
	if d.seq == d.header.extent.end {
		return false, d.finished()
	}
	length, bytes, err := d.recordHead()
	if err != nil {
		return false, err
	}
	r.From, r.To = d.at, d.at+Position(length)
	if r.To < r.From {
		return false, fmt.Errorf("%w: a record goes backwards", ErrDamaged)
	}
	if err := d.need(int(bytes)); err != nil {
		return false, err
	}
	r.Data = d.plain[d.used : d.used+int(bytes) : d.used+int(bytes)]
	d.used += int(bytes)
	d.chain.add(r.From, r.To, r.Data)
	d.seq, d.at = d.seq+1, r.To
	return true, d.attach(r)
}

func (d *decoder) recordHead() (length, bytes uint64, err error) {
	for {
		text := d.plain[d.used:]
		length, n := binary.Uvarint(text)
		if n > 0 {
			bytes, m := binary.Uvarint(text[n:])
			if m > 0 {
				d.used += n + m
				if bytes > MaxRecordBytes {
					return 0, 0, fmt.Errorf("%w: a record of %d bytes", ErrDamaged, bytes)
				}
				return length, bytes, nil
			}
			n = m
		}
		if n < 0 {
			return 0, 0, fmt.Errorf("%w: a record without a length", ErrDamaged)
		}
		if err := d.frame(); err != nil {
			return 0, 0, err
		}
	}
}

// need expands frames until n bytes are there.
func (d *decoder) need(n int) error {
	for len(d.plain)-d.used < n {
		if err := d.frame(); err != nil {
			return err
		}
	}
	return nil
}

// frame expands one more frame.
func (d *decoder) frame() error {
	if d.frames == 0 || len(d.rest) < 4 {
		return fmt.Errorf("%w: it ends in the middle of a record", ErrDamaged)
	}
	n := int(binary.BigEndian.Uint32(d.rest))
	if n < tagBytes || n > len(d.rest)-4 {
		return fmt.Errorf("%w: a frame of %d bytes", ErrDamaged, n)
	}
	pressed, err := d.box.open(d.rest[4 : 4+n : 4+n])
	if err != nil {
		return err
	}
	d.rest, d.frames = d.rest[4+n:], d.frames-1
	d.plain = append(d.plain[:0], d.plain[d.used:]...)
	d.used = 0
	d.plain, err = d.codec.expand(d.plain, pressed, frameBytes)
	return err
}

// attach gives the record the commits that end in it.
func (d *decoder) attach(r *Record) error {
	r.Commits = r.Commits[:0]
	for {
		if !d.ahead {
			_, ok, err := d.nextCommit()
			if err != nil || !ok {
				return err
			}
			d.ahead = true
		}
		if d.commit.Position > r.To {
			return nil
		}
		r.Commits = append(r.Commits, d.commit)
		d.ahead = false
	}
}

// finished checks what must hold at the end of an object.
func (d *decoder) finished() error {
	switch {
	case d.at != d.header.extent.to:
		return fmt.Errorf("%w: its records end at %d, not %d", ErrDamaged, d.at, d.header.extent.to)
	case d.chain.sum != d.header.after:
		return fmt.Errorf("%w: its records are not those that were written", ErrDamaged)
	case d.used != len(d.plain) || len(d.rest) > 0 || d.frames > 0:
		return fmt.Errorf("%w: there is more in it than its records", ErrDamaged)
	case d.left > 0 || d.ahead:
		return fmt.Errorf("%w: there are more commits than records", ErrDamaged)
	}
	return nil
}
