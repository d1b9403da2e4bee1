package balance

import "math/bits"

// scale maps x, uniform over 64 bits, to 0..n-1.
func scale(x uint64, n int) int {
	hi, _ := bits.Mul64(x, uint64(n))
	return int(hi)
}

// alias draws from a weighted distribution in constant time: every column holds
// its own member up to a threshold and one other above it.
// M. D. Vose, "A linear algorithm for generating random numbers with a given
// distribution", 1991.
type alias []column

type column struct {
	threshold uint64
	other     uint16
}

func newAlias(weights []uint64) alias {
	n := len(weights)
	a := make(alias, n)
	var total uint64
	for _, w := range weights {
		total += w
	}
	// In units in which a full column is total: exact integers.
	left := make([]uint64, n)
	var small, large []int
	for i, w := range weights {
		left[i] = w * uint64(n)
		if left[i] < total {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		a[s] = column{fraction(left[s], total), uint16(l)}
		if left[l] -= total - left[s]; left[l] < total {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range large {
		a[i] = column{^uint64(0), uint16(i)}
	}
	return a
}

// fraction is 2^64 times x/total, for x below total.
func fraction(x, total uint64) uint64 {
	q, _ := bits.Div64(x, 0, total)
	return q
}

// draw maps x, uniform over 64 bits, to a member. The column and the place in it
// come from one multiplication.
func (a alias) draw(x uint64) int {
	i, place := bits.Mul64(x, uint64(len(a)))
	if c := &a[i]; place >= c.threshold {
		return int(c.other)
	}
	return int(i)
}
