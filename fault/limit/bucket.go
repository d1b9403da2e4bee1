package limit

import (
	"math"
	"time"
)

// bucket is GCRA. Its state is the time at which the bucket will be full again
// (the theoretical arrival time of the sources), its sign bit flipped so that 0 is the
// lowest time of all.
type bucket struct {
	interval float64       // nanoseconds in which a token is given
	one      time.Duration // the same, rounded
	full     time.Duration // in which an empty bucket fills
}

func newBucket(c Config) bucket {
	interval := float64(c.Per) / float64(c.Tokens)
	return bucket{
		interval: interval,
		one:      time.Duration(math.Round(interval)),
		full:     time.Duration(math.Round(interval * float64(c.Burst))),
	}
}

const signBit = 1 << 63

func (b *bucket) cost(n int) time.Duration {
	if n == 1 {
		return b.one
	}
	return time.Duration(math.Round(float64(n) * b.interval))
}

// behind is how long it is until the bucket is full.
func (b *bucket) behind(state uint64, now time.Duration) time.Duration {
	return max(time.Duration(state^signBit), now) - now
}

// take returns the state after n tokens were taken, and how long it is until
// they are there.
func (b *bucket) take(state uint64, now time.Duration, n int) (next uint64, wait time.Duration) {
	cost := b.cost(n)
	if cost > b.full {
		return state, Never
	}
	behind := b.behind(state, now) + cost
	return uint64(now+behind) ^ signBit, max(0, behind-b.full)
}

func (b *bucket) put(state uint64, n int) uint64 {
	return state - min(state, uint64(b.cost(max(n, 0))))
}

func (b *bucket) remaining(state uint64, now time.Duration) int {
	return int((float64(b.full-b.behind(state, now)) + 0.49) / b.interval) // costs are rounded
}
