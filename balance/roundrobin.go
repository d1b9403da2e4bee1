package balance

import (
	"cmp"
	"slices"
)

// maxSequence is the longest cycle that is written out: 32 KiB.
const maxSequence = 1 << 14

// smoothSequence writes a cycle of turns out in which each member appears as
// often as its weight says (after division by the greatest common divisor) and
// its turns are evenly spaced. It returns nil if the cycle would be too long.
//
// The k-th of a member's w turns is due at (k+phase)/w of the cycle. Members of
// equal weight have their phases spread, so that they alternate.
func smoothSequence(weights []uint64) []uint16 {
	divisor, sum := uint64(0), uint64(0)
	ranks := map[uint64]int{} // of equal weights, how many
	for _, w := range weights {
		divisor = gcd(divisor, w)
		sum += w
		ranks[w]++
	}
	if sum/divisor > maxSequence {
		return nil
	}
	type turn struct {
		due    float64
		member uint16
	}
	turns := make([]turn, 0, sum/divisor)
	rank := map[uint64]int{}
	for i, w := range weights {
		phase := (float64(rank[w]) + 0.5) / float64(ranks[w])
		rank[w]++
		n := w / divisor
		for k := range n {
			turns = append(turns, turn{(float64(k) + phase) / float64(n), uint16(i)})
		}
	}
	slices.SortFunc(turns, func(a, b turn) int {
		return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.member, b.member))
	})
	sequence := make([]uint16, len(turns))
	for i, t := range turns {
		sequence[i] = t.member
	}
	return sequence
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// turn maps the position of a turn to a member. A cycle too long to be written
// out is replaced by the multiples of the golden ratio: in the long run
// each member has its exact share, and in the short run nearly so.
func (t *table) turn(position uint64) int {
	switch {
	case t.even:
		return int(position % uint64(len(t.weights)))
	case t.sequence != nil:
		return int(t.sequence[position%uint64(len(t.sequence))])
	}
	return t.alias.draw(position * golden)
}
