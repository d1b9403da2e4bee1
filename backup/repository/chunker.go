package repository

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
)

// The chunker cuts where the content says so (FastCDC: Xia et al., USENIX ATC 2016), so that an insertion moves
// two cuts and not all. Its table is derived from the master key: the sizes of chunks then tell nothing about
// the content to one who sees only the sealed files (eprint 2025/532 attacks the fixed-table kind).
const (
	// Smaller chunks store fewer bytes after an edit and cost more index: at 256 KiB, 1 % of a file
	// edited in 64 KiB places stores a third of what it does at 1 MiB.
	minChunkBytes    = 128 << 10
	normalChunkBytes = 256 << 10
	maxChunkBytes    = 2 << 20

	// Before the normal size a cut must match two bits more than its logarithm, after it two fewer
	// ("normalised chunking", level 2).
	earlyBits = 20
	lateBits  = 16
)

// gearTable holds 256 random words.
type gearTable [256]uint64

// newGearTable expands the key with AES-256-CTR.
func newGearTable(key [32]byte) *gearTable {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // only for wrong key lengths
	}
	var raw [8 * 256]byte
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(raw[:], raw[:])
	t := new(gearTable)
	for i := range t {
		t[i] = binary.LittleEndian.Uint64(raw[8*i:])
	}
	return t
}

// cut returns the length of the first chunk of data: all of it if that is not more than minChunkBytes. The result is final
// if data holds maxChunkBytes or is all that is left.
//
// The hash shifts left by one per byte: its top bits depend on the last 64 bytes.
func (t *gearTable) cut(data []byte) int {
	if len(data) <= minChunkBytes {
		return len(data)
	}
	if len(data) > maxChunkBytes {
		data = data[:maxChunkBytes]
	}
	const early, late = 1<<(64-earlyBits) - 1, 1<<(64-lateBits) - 1
	var hash uint64
	for _, b := range data[minChunkBytes-64 : minChunkBytes] {
		hash = hash<<1 + t[b]
	}
	middle := min(len(data), normalChunkBytes)
	for i, b := range data[minChunkBytes:middle] {
		if hash = hash<<1 + t[b]; hash <= early {
			return minChunkBytes + i + 1
		}
	}
	for i, b := range data[middle:] {
		if hash = hash<<1 + t[b]; hash <= late {
			return middle + i + 1
		}
	}
	return len(data)
}
