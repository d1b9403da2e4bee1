package steer

import (
	"math"
	"math/bits"
	"net/netip"
	"slices"
)

// Append appends the records of one answer to dst, each owned by the question, and says how many and how long each is.
// key is the client's, for Hash; random is any random number.
func (p *Plan) Append(dst []byte, six bool, key, random uint64) (records []byte, count, size int) {
	f := p.family(six)
	var picks [LimitMax]uint16
	count = p.pick(f, key, random, &picks)
	for _, i := range picks[:count] {
		at := int(i) * f.size
		dst = append(dst, f.records[at:at+f.size]...)
	}
	return dst, count, f.size
}

// Picked returns the addresses that Append would, for explanations.
func (p *Plan) Picked(six bool, key, random uint64) []netip.Addr {
	f := p.family(six)
	var picks [LimitMax]uint16
	var hosts []netip.Addr
	for _, i := range picks[:p.pick(f, key, random, &picks)] {
		hosts = append(hosts, f.hosts[i])
	}
	return hosts
}

// pick fills picks with what an answer names, in order, and returns how many.
func (p *Plan) pick(f *family, key, random uint64, picks *[LimitMax]uint16) int {
	n := len(f.hosts)
	k := min(p.limit, n)
	if n < 2 {
		return k // the only one there is, or none
	}
	switch p.policy {
	case Failover:
		for i := range k {
			picks[i] = uint16(i)
		}
	case Hash:
		picks[0] = f.table[key>>(64-tableBits)]
		for i := 1; i < k; i++ { // whoever stands behind it: where to go if it fails before the answer does
			picks[i] = uint16((int(picks[0]) + i) % n)
		}
	case Weighted:
		f.draw(k, random, picks)
	default:
		shuffle(n, k, random, picks)
	}
	return k
}

// shuffle draws k of n without preference (Fisher and Yates). Of very many it draws a run of neighbours.
func shuffle(n, k int, random uint64, picks *[LimitMax]uint16) {
	if n > LimitMax {
		start := scale(random, n)
		for i := range k {
			picks[i] = uint16((start + i) % n)
		}
		return
	}
	for i := range n {
		picks[i] = uint16(i)
	}
	for i := range min(k, n-1) {
		j := i + scale(random, n-i)
		picks[i], picks[j] = picks[j], picks[i]
		random = mix(random)
	}
}

// draw takes k different addresses by weight: one after the other, each among those that are left.
func (f *family) draw(k int, random uint64, picks *[LimitMax]uint16) {
	var done [LimitMax]uint16 // the picks, in order of their index
	total := f.sums[len(f.sums)-1]
	for i := range k {
		r, _ := bits.Mul64(random, total)
		for _, d := range done[:i] { // step over the weights of those drawn before
			if r >= f.before(int(d)) {
				r += f.weight(int(d))
			}
		}
		at := uint16(f.at(r))
		picks[i] = at
		j := i
		for ; j > 0 && done[j-1] > at; j-- {
			done[j] = done[j-1]
		}
		done[j] = at
		total -= f.weight(int(at))
		random = mix(random)
	}
}

// at returns whose share of the weights r falls into.
func (f *family) at(r uint64) int {
	low, high := 0, len(f.sums)-1
	for low < high {
		if mid := (low + high) / 2; r < f.sums[mid] {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

func (f *family) before(i int) uint64 {
	if i == 0 {
		return 0
	}
	return f.sums[i-1]
}

func (f *family) weight(i int) uint64 { return f.sums[i] - f.before(i) }

// scale maps a random number to 0..n-1.
func scale(random uint64, n int) int {
	high, _ := bits.Mul64(random, uint64(n))
	return int(high)
}

// mix is the finalizer of splitmix64 (Steele, Lea, Flood 2014): every bit of the input moves every bit of the output.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// tableBits is the size of Hash's table: a slot is a four-thousandth of the clients.
const tableBits = 12

// rendezvous gives each slot to the address with the best claim to it: when one leaves, its slots alone change hands, and
// when it comes back it takes exactly those. Weighted by C. Schindelhauer and G. Schomaker, "Weighted Distributed Hash
// Tables", SPAA 2005.
func rendezvous(seeds []uint64, weights []int) []uint16 {
	table := make([]uint16, 1<<tableBits)
	alike := slices.Min(weights) == slices.Max(weights)
	for slot := range table {
		best, highest := math.Inf(1), uint64(0)
		for i, seed := range seeds {
			h := mix(seed ^ mix(uint64(slot)))
			if alike { // the logarithm would not change who is best
				if h >= highest {
					highest, table[slot] = h, uint16(i)
				}
				continue
			}
			u := (float64(h>>11) + 0.5) / (1 << 53)
			if claim := -math.Log(u) / float64(weights[i]); claim < best {
				best, table[slot] = claim, uint16(i)
			}
		}
	}
	return table
}

// seedOf depends on nothing but the endpoint and its address, so that every server gives a client the same answer.
func seedOf(address string, host netip.Addr) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range []byte(address) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	for _, c := range host.AsSlice() {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return mix(h)
}
