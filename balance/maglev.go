package balance

import (
	"cmp"
	"math"
	"slices"
)

const (
	// defaultMaglev is the paper's small table, good for 655 endpoints at a
	// hundred slots each.
	defaultMaglev = 65537
	// maxTable bounds what a configuration may ask for: 16 MiB.
	maxTable = 1 << 23
)

const unclaimed = math.MaxUint16

// filler is a member as it fills the table.
type filler struct {
	member    uint16
	at, skip  uint32 // the next slot of its permutation
	weight    uint64
	allowance uint64
}

func (f *filler) advance(slots uint32) {
	if f.at += f.skip; f.at >= slots {
		f.at -= slots
	}
}

// newMaglev fills a lookup table: the members take turns, each claiming the next
// free slot of its own permutation of all slots; one of half the largest weight
// takes every second turn. The order of turns is by address and not by
// configuration, so that all nodes come to the same table.
func newMaglev(members []*Endpoint, weights []uint64, size int) []uint16 {
	m := maglevSize(len(members), size)
	fillers := make([]filler, len(members))
	heaviest := slices.Max(weights)
	for i, e := range members {
		fillers[i] = filler{
			member: uint16(i),
			at:     uint32(scale(mix(e.hash^k1), m)),
			skip:   uint32(scale(mix(e.hash^k2), m-1) + 1),
			weight: weights[i],
		}
	}
	slices.SortFunc(fillers, func(a, b filler) int { return cmp.Compare(members[a.member].address, members[b.member].address) })
	slots := make([]uint16, m)
	for i := range slots {
		slots[i] = unclaimed
	}
	for filled := 0; ; {
		for i := range fillers {
			f := &fillers[i]
			if f.allowance += f.weight; f.allowance < heaviest {
				continue
			}
			f.allowance -= heaviest
			for slots[f.at] != unclaimed {
				f.advance(uint32(m))
			}
			slots[f.at] = f.member
			if filled++; filled == m {
				return slots
			}
		}
	}
}

// maglevSize is the number of slots: a prime, so that every skip visits all of
// them.
func maglevSize(members, wanted int) int {
	if wanted == 0 {
		wanted = max(defaultMaglev, 100*members)
	}
	n := max(wanted, members, 3) | 1
	for !isPrime(n) {
		n += 2
	}
	return n
}

func isPrime(n int) bool {
	for d := 3; d*d <= n; d += 2 {
		if n%d == 0 {
			return false
		}
	}
	return n%2 == 1
}
