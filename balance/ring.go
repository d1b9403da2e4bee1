package balance

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

const (
	// ringPoints for each unit of weight: as libketama, within some 8 % of an
	// even spread before loads are bounded.
	ringPoints = 160
	// defaultRing is the largest number of points unless the configuration says
	// otherwise: half a MiB.
	defaultRing = 1 << 16
	// maxRingSteps that one choice walks.
	maxRingSteps = 64
)

// ring is points on a circle of 2^64, in order, each owned by a member.
type ring struct {
	points []point
	guide  []uint32 // by the leading bits of a hash: the first point from there on
	shift  uint
}

// point is the upper 48 bits of a hash and, in the lower 16, its owner.
type point uint64

func newPoint(hash uint64, owner int) point { return point(hash&^math.MaxUint16 | uint64(owner)) }

func (p point) owner() int { return int(p & math.MaxUint16) }

func (p point) place() uint64 { return uint64(p) &^ math.MaxUint16 }

// newRing gives each member points in proportion to its weight. How many depends
// on the other members only through halving, when there would be more than size:
// so the points of a member are the same whoever else is there.
func newRing(members []*Endpoint, weights []uint64, size int) ring {
	if size == 0 {
		size = defaultRing
	}
	var total uint64
	for _, w := range weights {
		total += w
	}
	halvings := 0
	for total*ringPoints>>halvings > uint64(size) {
		halvings++
	}
	points := make([]point, 0, min(total*ringPoints>>halvings, uint64(size))+uint64(len(members)))
	for i, e := range members {
		for k := range max(1, weights[i]*ringPoints>>halvings) {
			points = append(points, newPoint(mix(e.hash+k*golden), i))
		}
	}
	slices.SortFunc(points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.place(), b.place()),
			cmp.Compare(members[a.owner()].address, members[b.owner()].address)) // the same on every node
	})
	r := ring{points: points}
	r.index()
	return r
}

// index builds the guide, with an entry for one or two points.
func (r *ring) index() {
	width := uint(bits.Len(uint(len(r.points)))) - 1
	r.shift = 64 - width
	r.guide = make([]uint32, 1<<width)
	at := 0
	for b := range r.guide {
		for at < len(r.points) && uint64(r.points[at])>>r.shift < uint64(b) {
			at++
		}
		r.guide[b] = uint32(at)
	}
}

// find returns the index of the first point at or after h, around the circle.
func (r *ring) find(h uint64) int {
	i := int(r.guide[h>>r.shift])
	first := newPoint(h, 0)
	for i < len(r.points) && r.points[i] < first {
		i++
	}
	if i == len(r.points) {
		return 0
	}
	return i
}

// onRing walks from the key's place to the first member whose requests in flight
// are within bounds; or, if none is met, to the first that has room.
func (s *search) onRing(g *group) int {
	r := &g.table.ring
	at := r.find(mix(s.hash))
	inFlight := float64(s.pool.inFlight.Load()) // this request included
	if s.dry {
		inFlight++
	}
	perWeight := s.view.config.LoadFactor * inFlight / float64(max(1, g.weight))
	fallback := -1
	for range min(maxRingSteps, len(r.points)) {
		i := r.points[at].owner()
		e := g.members[i]
		if s.admits(e) {
			// Within the bound rounded up: strictly fewer than it before this one.
			if float64(e.inFlight.Load()) < perWeight*float64(e.weight.Load()) {
				return i
			}
			if fallback < 0 {
				fallback = i
			}
		}
		if at++; at == len(r.points) {
			at = 0
		}
	}
	return fallback
}
