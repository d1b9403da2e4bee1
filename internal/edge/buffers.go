package edge

import "math/bits"

// Sizes of the buffers that requests in progress hold, as powers of two: 1 KiB to 512 KiB.
const (
	smallestClass = 10
	largestClass  = 19
)

// keptPerClass bounds what a worker keeps for later, in bytes for each size.
const keptPerClass = 4 << 20

// Buffers hands out byte slices by size and takes them back. It belongs to one worker.
type Buffers struct {
	free [largestClass - smallestClass + 1][][]byte
}

func classOf(n int) int {
	return max(bits.Len(uint(n-1)), smallestClass) - smallestClass
}

// Get returns an empty slice of at least that capacity.
func (b *Buffers) Get(n int) []byte {
	c := classOf(max(n, 1))
	if c >= len(b.free) {
		return make([]byte, 0, n)
	}
	if k := len(b.free[c]); k > 0 {
		p := b.free[c][k-1]
		b.free[c] = b.free[c][:k-1]
		return p[:0]
	}
	return make([]byte, 0, 1<<(c+smallestClass))
}

// Put takes a slice back. It may be nil.
func (b *Buffers) Put(p []byte) {
	if cap(p) < 1<<smallestClass {
		return
	}
	c := bits.Len(uint(cap(p))) - 1 - smallestClass
	if c >= len(b.free) || cap(p) != 1<<(c+smallestClass) || len(b.free[c])<<(c+smallestClass) >= keptPerClass {
		return
	}
	b.free[c] = append(b.free[c], p)
}

// Add appends to a slice that came from Get, moving it to a larger one when it is full.
func (b *Buffers) Add(dst, p []byte) []byte {
	if len(dst)+len(p) <= cap(dst) {
		return append(dst, p...)
	}
	grown := append(b.Get(len(dst)+len(p)), dst...)
	b.Put(dst)
	return append(grown, p...)
}
