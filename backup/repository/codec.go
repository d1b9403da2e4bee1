package repository

import (
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Compression is how hard new blobs are compressed. Readers understand every level.
type Compression uint8

// The levels. On large files Default stores 1 to 4 % less than Fastest, for up to 1.7 times its CPU time. On blobs below
// smallBlobBytes it stores 6 % less and costs little more: Fastest compresses those by Default, too.
const (
	Fastest Compression = iota
	Default
	Better
	Best
	Off
)

// String is the level's name.
func (c Compression) String() string {
	switch c {
	case Fastest:
		return "fastest"
	case Default:
		return "default"
	case Better:
		return "better"
	case Best:
		return "best"
	case Off:
		return "off"
	}
	return fmt.Sprintf("compression(%d)", uint8(c))
}

// ParseCompression reads a level's name. restic's "auto" and "max" are Default and Best.
func ParseCompression(s string) (Compression, error) {
	switch s {
	case "", "fastest":
		return Fastest, nil
	case "default", "auto":
		return Default, nil
	case "better":
		return Better, nil
	case "best", "max":
		return Best, nil
	case "off":
		return Off, nil
	}
	return 0, fmt.Errorf("compression %q: want off, fastest, default, better or best", s)
}

func (c Compression) level() zstd.EncoderLevel {
	switch c {
	case Default:
		return zstd.SpeedDefault
	case Better:
		return zstd.SpeedBetterCompression
	case Best:
		return zstd.SpeedBestCompression
	}
	return zstd.SpeedFastest
}

// windowBytes is the reach of the compressor, and most of its memory. Blobs are 256 KiB or so.
const windowBytes = 512 << 10

// smallBlobBytes: a smaller blob is a whole small file, or a directory.
const smallBlobBytes = minChunkBytes

// forBlob is the level for a blob of n bytes.
func (c Compression) forBlob(n int) Compression {
	if c == Fastest && n < smallBlobBytes {
		return Default
	}
	return c
}

// newEncoder makes an encoder for one goroutine.
func (c Compression) newEncoder() *zstd.Encoder {
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(c.level()), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(windowBytes), zstd.WithEncoderCRC(false)) // the MAC covers it
	if err != nil {
		panic(err) // only for options out of range
	}
	return e
}

// codecs are the shared compressor for small files and the decompressors that are free.
type codecs struct {
	small  func() *zstd.Encoder
	files  decoders // bounded by maxUnpackedBytes
	bounds decoders // bounded by the capacity of the destination
}

func newCodecs() *codecs {
	return &codecs{
		small:  sync.OnceValue(Default.newEncoder),
		files:  newDecoders(zstd.WithDecoderMaxMemory(maxUnpackedBytes)),
		bounds: newDecoders(zstd.WithDecodeAllCapLimit(true)),
	}
}

// decoders keeps as many decompressors as there are cores. They are too large for a sync.Pool, which
// drops what it holds at every garbage collection.
type decoders struct {
	free   chan *zstd.Decoder
	option zstd.DOption
}

func newDecoders(o zstd.DOption) decoders {
	return decoders{make(chan *zstd.Decoder, runtime.GOMAXPROCS(0)), o}
}

func (d decoders) get() *zstd.Decoder {
	select {
	case dec := <-d.free:
		return dec
	default:
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), d.option)
	if err != nil {
		panic(err) // only for options out of range
	}
	return dec
}

func (d decoders) put(dec *zstd.Decoder) {
	select {
	case d.free <- dec:
	default:
		dec.Close()
	}
}

// encodeSmall appends data compressed to dst.
func (c *codecs) encodeSmall(data, dst []byte) []byte { return c.small().EncodeAll(data, dst) }

// decodeFile returns what src expands to.
func (c *codecs) decodeFile(src []byte) ([]byte, error) {
	d := c.files.get()
	defer c.files.put(d)
	return d.DecodeAll(src, nil)
}

// decodeBlob writes what src expands to, exactly plainBytes, into dst[:0] (grown if needed).
func (c *codecs) decodeBlob(dst, src []byte, plainBytes int) ([]byte, error) {
	d := c.bounds.get()
	defer c.bounds.put(d)
	dst = slices.Grow(dst[:0], plainBytes)
	out, err := d.DecodeAll(src, dst[:0:plainBytes])
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if len(out) != plainBytes {
		return nil, fmt.Errorf("decompress: %d bytes instead of %d", len(out), plainBytes)
	}
	return dst[:len(out)], nil // out ends at its capacity; the next blob may be larger
}
