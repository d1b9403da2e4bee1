package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes of the WAL file format, https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
const (
	walHeaderBytes   = 32
	frameHeaderBytes = 24
	walMagic         = 0x377f0682 // the lowest bit says that checksums are of big-endian words
	walVersion       = 3007000
)

// errWAL: the bytes are no WAL, or none of this generation.
var errWAL = errors.New("it is no write-ahead log")

// generation tells one life of a WAL from the next: the salts in its header.
type generation [2]uint32

// walHeader is the beginning of a WAL.
type walHeader struct {
	pageBytes int
	salt      generation
	order     binary.ByteOrder
	sum       [2]uint32
}

func parseWALHeader(b []byte) (h walHeader, err error) {
	if len(b) < walHeaderBytes {
		return h, errWAL
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(b[4*i:]) }
	h.order = binary.LittleEndian
	if word(0)&1 == 1 {
		h.order = binary.BigEndian
	}
	h.pageBytes, h.salt, h.sum = int(word(2)), generation{word(4), word(5)}, [2]uint32{word(6), word(7)}
	switch {
	case word(0)&^1 != walMagic, word(1) != walVersion, !validPageBytes(h.pageBytes):
		return h, errWAL
	case walSum(h.order, [2]uint32{}, b[:24]) != h.sum:
		return h, fmt.Errorf("%w: the checksum of its header is wrong", errWAL)
	}
	return h, nil
}

func validPageBytes(n int) bool { return n >= 512 && n <= 65536 && n&(n-1) == 0 }

// walSum continues the checksum of a WAL over b, whose length is a multiple of 8.
func walSum(order binary.ByteOrder, sum [2]uint32, b []byte) [2]uint32 {
	s0, s1 := sum[0], sum[1]
	if order == binary.ByteOrder(binary.LittleEndian) { // the usual case, without calls through the interface
		for ; len(b) >= 8; b = b[8:] {
			s0 += binary.LittleEndian.Uint32(b) + s1
			s1 += binary.LittleEndian.Uint32(b[4:]) + s0
		}
		return [2]uint32{s0, s1}
	}
	for ; len(b) >= 8; b = b[8:] {
		s0 += binary.BigEndian.Uint32(b) + s1
		s1 += binary.BigEndian.Uint32(b[4:]) + s0
	}
	return [2]uint32{s0, s1}
}

// frame is one page in a WAL.
type frame struct {
	page   uint32
	commit uint32 // the size of the database in pages, if the frame ends a transaction
	sum    [2]uint32
}

// parseFrame reads a frame of header and page; the checksum continues from sum.
func (h *walHeader) parseFrame(b []byte, sum [2]uint32) (f frame, err error) {
	word := func(i int) uint32 { return binary.BigEndian.Uint32(b[4*i:]) }
	if len(b) != frameHeaderBytes+h.pageBytes || (generation{word(2), word(3)}) != h.salt {
		return f, errWAL
	}
	f = frame{page: word(0), commit: word(1), sum: [2]uint32{word(4), word(5)}}
	sum = walSum(h.order, sum, b[:8])
	if f.page == 0 || walSum(h.order, sum, b[frameHeaderBytes:]) != f.sum {
		return f, fmt.Errorf("%w: the checksum of a frame is wrong", errWAL)
	}
	return f, nil
}

// offset is where a frame begins; the first is number 1.
func (h *walHeader) offset(number uint32) int64 {
	return walHeaderBytes + int64(number-1)*int64(frameHeaderBytes+h.pageBytes)
}

// Sizes of the shared index of a WAL, https://www.sqlite.org/walformat.html#the_wal_index_file_format.
const (
	indexHeaderBytes = 48
	indexVersion     = 3007000
	walIndexBytes    = 2*indexHeaderBytes + 4 // the two copies, and how much was checkpointed
)

// walIndex is what the writers say of the WAL: up to which frame it is committed.
type walIndex struct {
	frames uint32
	inFile uint32 // of these frames, how many are in the database file
	salt   generation
}

// parseWALIndex reads the two copies at the beginning of the shared index; false while a writer changes them.
func parseWALIndex(b []byte) (x walIndex, ok bool) {
	if len(b) < walIndexBytes || string(b[:indexHeaderBytes]) != string(b[indexHeaderBytes:2*indexHeaderBytes]) {
		return x, false
	}
	if binary.NativeEndian.Uint32(b) != indexVersion || b[12] == 0 {
		return x, false
	}
	sum := walSum(nativeOrder(), [2]uint32{}, b[:40])
	if sum != [2]uint32{binary.NativeEndian.Uint32(b[40:]), binary.NativeEndian.Uint32(b[44:])} {
		return x, false
	}
	x.frames, x.inFile = binary.NativeEndian.Uint32(b[16:]), binary.NativeEndian.Uint32(b[2*indexHeaderBytes:])
	x.salt = generation{binary.BigEndian.Uint32(b[32:]), binary.BigEndian.Uint32(b[36:])}
	return x, true
}

func nativeOrder() binary.ByteOrder {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return binary.LittleEndian
	}
	return binary.BigEndian
}
