package repository

import (
	"encoding/binary"
	"fmt"
)

// A pack is sealed blobs one after the other, then a sealed header that lists them, then the length of
// the sealed header in four bytes. restic design, "Pack Format".
const (
	headerLenBytes   = 4
	plainEntryBytes  = 1 + 4 + 32
	packedEntryBytes = 1 + 4 + 4 + 32
	// maxHeaderBytes is restic's limit on a header it reads.
	maxHeaderBytes = 16 << 20
	// maxPackBlobs keeps the header far below maxHeaderBytes, whatever the blobs' sizes.
	maxPackBlobs = 100_000
	// maxPackBytes is the largest pack: offsets and lengths are 32 bits, and restic's own stay far below.
	maxPackBytes = 4<<30 - 1
)

// packEntry is one blob of a pack.
type packEntry struct {
	id     ID
	kind   BlobKind
	offset uint32
	length uint32 // as stored
	plain  uint32 // after decompression; 0: not compressed
}

func (e packEntry) handle() BlobHandle { return BlobHandle{e.id, e.kind} }

// plainBytes is the size of the blob itself.
func (e packEntry) plainBytes() uint32 {
	if e.plain > 0 {
		return e.plain
	}
	return e.length - sealedOverhead
}

// headerBytes is the size of what follows the blobs: sealed header and its length.
func headerBytes(entries []packEntry) int {
	n := sealedOverhead + headerLenBytes
	for _, e := range entries {
		if e.plain > 0 {
			n += packedEntryBytes
		} else {
			n += plainEntryBytes
		}
	}
	return n
}

// appendHeader appends the sealed header of a pack and its length.
func appendHeader(dst []byte, s *sealer, entries []packEntry) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, ivBytes)...)
	for _, e := range entries {
		kind := byte(e.kind)
		if e.plain > 0 {
			kind |= 2
		}
		dst = append(dst, kind)
		dst = binary.LittleEndian.AppendUint32(dst, e.length)
		if e.plain > 0 {
			dst = binary.LittleEndian.AppendUint32(dst, e.plain)
		}
		dst = append(dst, e.id[:]...)
	}
	dst = append(dst, make([]byte, macBytes)...)
	s.sealInPlace(dst[start:])
	return binary.LittleEndian.AppendUint32(dst, uint32(len(dst)-start))
}

// parseHeader reads an opened header. The offsets follow from the lengths.
func parseHeader(header []byte) ([]packEntry, error) {
	entries := make([]packEntry, 0, len(header)/plainEntryBytes)
	offset := uint64(0)
	for len(header) > 0 {
		e := packEntry{kind: BlobKind(header[0] & 1), offset: uint32(offset)}
		size := plainEntryBytes
		switch header[0] {
		case 0, 1:
		case 2, 3:
			size = packedEntryBytes
		default:
			return nil, fmt.Errorf("pack header: %w: unknown blob type %d", ErrDamaged, header[0])
		}
		if len(header) < size {
			return nil, fmt.Errorf("pack header: %w: cut short", ErrDamaged)
		}
		e.length = binary.LittleEndian.Uint32(header[1:])
		if size == packedEntryBytes {
			if e.plain = binary.LittleEndian.Uint32(header[5:]); e.plain == 0 {
				return nil, fmt.Errorf("pack header: %w: compressed blob of no bytes", ErrDamaged)
			}
		}
		copy(e.id[:], header[size-32:size])
		if e.length < sealedOverhead {
			return nil, fmt.Errorf("pack header: %w: blob of %d bytes", ErrDamaged, e.length)
		}
		if offset += uint64(e.length); offset > maxPackBytes {
			return nil, fmt.Errorf("pack header: %w: more than 4 GiB", ErrDamaged)
		}
		entries = append(entries, e)
		header = header[size:]
	}
	return entries, nil
}

// openTail reads the entries from the end of a pack. tail holds the last bytes of the pack; if they don't
// hold the whole header, openTail returns the number that does.
func openTail(s *sealer, tail []byte, packBytes int64) (entries []packEntry, need int, err error) {
	if len(tail) < headerLenBytes+sealedOverhead {
		return nil, 0, fmt.Errorf("pack: %w: %d bytes are too few", ErrDamaged, len(tail))
	}
	n := int64(binary.LittleEndian.Uint32(tail[len(tail)-headerLenBytes:]))
	if n < sealedOverhead || n > maxHeaderBytes || n+headerLenBytes > packBytes {
		return nil, 0, fmt.Errorf("pack header: %w: length %d in a pack of %d bytes", ErrDamaged, n, packBytes)
	}
	if need = int(n) + headerLenBytes; need > len(tail) {
		return nil, need, nil
	}
	plain, err := s.openTo(nil, tail[len(tail)-need:len(tail)-headerLenBytes])
	if err != nil {
		return nil, 0, fmt.Errorf("pack header: %w", err)
	}
	if entries, err = parseHeader(plain); err != nil {
		return nil, 0, err
	}
	var blobs int64
	for _, e := range entries {
		blobs += int64(e.length)
	}
	if blobs+int64(need) != packBytes {
		return nil, 0, fmt.Errorf("pack: %w: blobs of %d bytes and a header of %d in a pack of %d", ErrDamaged, blobs, need, packBytes)
	}
	return entries, need, nil
}
