package stream

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// An object is
//
//	magic ‖ salt ‖ sealed header ‖ sealed index ‖ frames, each its length (4) ‖ sealed bytes
//
// where each sealed part is AES-256-GCM with a key of this object alone, a counter as nonce, and the object's path as
// what is authenticated besides. The index and the frames are compressed. Numbers are big-endian.
const (
	magic       = "TRVLOG1\n"
	headerBytes = 32 + 7*8 + 2*32 + 3*4
	// preludeBytes is where the index begins.
	preludeBytes = len(magic) + saltBytes + headerBytes + tagBytes
	// frameBytes is how much is compressed at once: enough to compress well, little enough to decode in passing.
	frameBytes = 1 << 20
	// maxIndexBytes bounds the commits of one object; about a hundred and fifty thousand.
	maxIndexBytes = 1 << 20
	// maxObjectBytes bounds what a reader takes for an object: the largest that is compacted, twice.
	maxObjectBytes = 64 << 20
)

// header is the first part of an object.
type header struct {
	line          [32]byte // hash of what the line is
	extent        extent
	before, after [32]byte
	indexBytes    uint32 // sealed
	commits       uint32
	frames        uint32
}

func (h *header) appendTo(dst []byte) []byte {
	dst = append(dst, h.line[:]...)
	dst = h.extent.appendTo(dst)
	dst = append(dst, h.before[:]...)
	dst = append(dst, h.after[:]...)
	dst = binary.BigEndian.AppendUint32(dst, h.indexBytes)
	dst = binary.BigEndian.AppendUint32(dst, h.commits)
	return binary.BigEndian.AppendUint32(dst, h.frames)
}

// parseHeader reads a header of the object that is named so.
func parseHeader(text []byte, name extent) (h header, err error) {
	if len(text) != headerBytes {
		return h, fmt.Errorf("%w: a header of %d bytes", ErrDamaged, len(text))
	}
	copy(h.line[:], text)
	at := 32 + 7*8
	copy(h.before[:], text[at:])
	copy(h.after[:], text[at+32:])
	h.indexBytes = binary.BigEndian.Uint32(text[at+64:])
	h.commits = binary.BigEndian.Uint32(text[at+68:])
	h.frames = binary.BigEndian.Uint32(text[at+72:])
	h.extent = name
	if string(h.appendTo(nil)) != string(text) || short(h.before) != name.before || short(h.after) != name.after {
		return h, fmt.Errorf("%w: the header is not that of its name", ErrDamaged)
	}
	if h.indexBytes < tagBytes || h.indexBytes > 2*maxIndexBytes {
		return h, fmt.Errorf("%w: an index of %d bytes", ErrDamaged, h.indexBytes)
	}
	return h, nil
}

// codec compresses and decompresses. It may be used from several goroutines at once.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCodec() codec {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2),
		zstd.WithWindowSize(frameBytes), zstd.WithEncoderCRC(false)) // the tag covers it
	if err != nil {
		panic(err) // only for options out of range
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic(err)
	}
	return codec{enc, dec}
}

// press compresses, in front of it the length.
func (c *codec) press(dst, text []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(text)))
	return c.enc.EncodeAll(text, dst)
}

// expand is the inverse of press for at most limit bytes, which it appends to dst.
func (c *codec) expand(dst, pressed []byte, limit int) ([]byte, error) {
	if len(pressed) < 4 {
		return nil, fmt.Errorf("%w: a part of %d bytes", ErrDamaged, len(pressed))
	}
	n := int(binary.BigEndian.Uint32(pressed))
	if n > limit {
		return nil, fmt.Errorf("%w: a part of %d bytes expands to %d, more than %d", ErrDamaged, len(pressed), n, limit)
	}
	at := len(dst)
	if cap(dst)-at < n {
		dst = append(make([]byte, 0, at+max(n, frameBytes)), dst...)
	}
	out, err := c.dec.DecodeAll(pressed[4:], dst[at:at:at+n])
	if err != nil || len(out) != n {
		return nil, fmt.Errorf("%w: a part that does not expand: %v", ErrDamaged, err)
	}
	return dst[:at+n], nil
}

// draft is an object in the making.
type draft struct {
	codec  *codec
	extent extent
	before [32]byte
	chain  *chainer
	body   []byte   // of the frame that is open
	frames [][]byte // compressed
	bytes  int      // of body and frames
	index  []byte
	count  uint32
	last   Commit
}

// newDraft begins an object after seq records.
func newDraft(c *codec, level int, seq uint64, from Position, chain [32]byte) *draft {
	return &draft{
		codec: c, extent: extent{level: level, seq: seq, end: seq, from: from, to: from},
		before: chain, chain: newChainer(chain), last: Commit{Position: from},
	}
}

// add appends a record. r.From is where the draft ends.
func (d *draft) add(r *Record) {
	d.chain.add(r.From, r.To, r.Data)
	d.extent.end++
	d.extent.to = r.To
	was := len(d.body)
	d.body = binary.AppendUvarint(d.body, uint64(r.To-r.From))
	d.body = binary.AppendUvarint(d.body, uint64(len(r.Data)))
	d.body = append(d.body, r.Data...)
	d.bytes += len(d.body) - was
	for _, c := range r.Commits {
		d.index = appendCommit(d.index, &c, &d.last)
		d.last = c
		d.count++
		d.spread(c.Time.UnixNano())
	}
	for len(d.body) >= frameBytes {
		d.cut(frameBytes)
	}
}

// spread widens the times of the extent.
func (d *draft) spread(ns int64) {
	if d.extent.first == 0 || ns < d.extent.first {
		d.extent.first = ns
	}
	d.extent.last = max(d.extent.last, ns)
}

// cut compresses the first n bytes of the body.
func (d *draft) cut(n int) {
	frame := d.codec.press(nil, d.body[:n])
	d.frames = append(d.frames, frame)
	d.bytes += len(frame) - n
	d.body = append(d.body[:0], d.body[n:]...)
}

func (d *draft) empty() bool { return d.extent.seq == d.extent.end }

// finish seals the object. place gives its path for its extent.
func (d *draft) finish(k *keys, line [32]byte, through int64, path func(*extent) string) (name string, sealed []byte) {
	if len(d.body) > 0 {
		d.cut(len(d.body))
	}
	d.extent.through = through
	d.extent.before, d.extent.after = short(d.before), short(d.chain.sum)
	index := d.codec.press(nil, d.index)
	h := header{
		line: line, extent: d.extent, before: d.before, after: d.chain.sum,
		indexBytes: uint32(len(index) + tagBytes), commits: d.count, frames: uint32(len(d.frames)),
	}
	name = path(&d.extent)
	salt := newSalt()
	b := k.box(name, salt)
	out := make([]byte, 0, preludeBytes+len(index)+tagBytes+d.bytes+len(d.frames)*(4+tagBytes))
	out = append(append(out, magic...), salt...)
	out = b.seal(out, h.appendTo(nil))
	out = b.seal(out, index)
	for _, f := range d.frames {
		out = binary.BigEndian.AppendUint32(out, uint32(len(f)+tagBytes))
		out = b.seal(out, f)
	}
	return name, out
}
