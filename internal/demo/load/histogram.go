package load

import (
	"math"
	"math/bits"
	"time"
)

// Each power of two is split into this many buckets, so a value is known to 1 part in 128: 0.8 %.
const (
	subBuckets     = 1 << subBucketBits
	subBucketBits  = 7
	histogramSlots = (64 - subBucketBits) * subBuckets
)

// A Histogram counts durations in buckets whose width grows with the value. The zero value is empty and ready; it
// takes 57 KiB whatever it holds. It is not safe for concurrent use.
type Histogram struct {
	counts [histogramSlots]uint64
	count  uint64
	sum    float64
	max    time.Duration
}

// Record adds one duration. Negative ones count as zero.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[slot(uint64(d))]++
	h.count++
	h.sum += float64(d)
	h.max = max(h.max, d)
}

// Merge adds all that other holds.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.count += other.count
	h.sum += other.sum
	h.max = max(h.max, other.max)
}

// Count returns how many durations were recorded.
func (h *Histogram) Count() uint64 { return h.count }

// Max returns the longest duration, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Mean returns the arithmetic mean, 0 when empty.
func (h *Histogram) Mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.count))
}

// Quantile returns the smallest duration that at least the fraction q of all recorded ones do not exceed, rounded up
// to the end of its bucket: Quantile(0.99) is the 99th percentile. It is 0 when empty.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(h.count))), 1)
	var seen uint64
	for i, n := range h.counts {
		seen += n
		if seen >= rank {
			return min(time.Duration(slotEnd(i)), h.max)
		}
	}
	return h.max
}

// slot returns the bucket of v: values below 128 have one each, above that the seven bits below the highest count.
func slot(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - subBucketBits - 1
	return (shift+1)*subBuckets + int(v>>shift) - subBuckets
}

// slotEnd returns the largest value of the bucket.
func slotEnd(i int) uint64 {
	if i < subBuckets {
		return uint64(i)
	}
	shift := i/subBuckets - 1
	return (uint64(i%subBuckets)+subBuckets+1)<<shift - 1
}
