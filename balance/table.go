package balance

import (
	"slices"
	"time"
)

// table is what an algorithm has prepared to choose among members; which fields
// are set depends on the algorithm.
type table struct {
	weights  []uint64 // by member, slow start included
	even     bool     // all weights are equal
	total    uint64   // of weights
	sequence []uint16 // round robin by small weights
	alias    alias
	maglev   []uint16
	ring     ring
}

// anyPriority stands for the group of all endpoints.
const anyPriority = -1

// layout is a hash table that was built before, with what it depends on.
type layout struct {
	algorithm Algorithm
	size      int
	members   []*Endpoint
	weights   []uint64
	table     table
}

// table prepares the pool's algorithm for members. Hash tables depend neither on
// health nor on slow start; those of the last view are used again if they fit.
func (p *Pool) table(priority int, members []*Endpoint, now time.Duration) table {
	c := &p.config
	if !c.Algorithm.Hashes() {
		return newTable(c, members, rampedWeights(members, now, c.SlowStart))
	}
	weights := plainWeights(members)
	old := p.layouts[priority]
	if old != nil && old.algorithm == c.Algorithm && old.size == c.TableSize &&
		slices.Equal(old.members, members) && slices.Equal(old.weights, weights) {
		return old.table
	}
	t := newTable(c, members, weights)
	p.layouts[priority] = &layout{c.Algorithm, c.TableSize, slices.Clone(members), weights, t}
	return t
}

func plainWeights(members []*Endpoint) []uint64 {
	w := make([]uint64, len(members))
	for i, e := range members {
		w[i] = uint64(e.weight.Load())
	}
	return w
}

func rampedWeights(members []*Endpoint, now, slowStart time.Duration) []uint64 {
	w := make([]uint64, len(members))
	for i, e := range members {
		w[i] = uint64(e.weight.Load()) * e.step(now, slowStart)
	}
	return w
}

func newTable(c *Config, members []*Endpoint, weights []uint64) table {
	if c.Algorithm == Random {
		for i, e := range members {
			weights[i] /= uint64(e.weight.Load())
		}
	}
	t := table{weights: weights}
	t.even = true
	for _, w := range weights {
		t.total += w
		t.even = t.even && w == weights[0]
	}
	switch c.Algorithm {
	case RoundRobin:
		if !t.even {
			if t.sequence = smoothSequence(weights); t.sequence == nil {
				t.alias = newAlias(weights)
			}
		}
	case WeightedRandom, Random, LeastRequest, P2C, IPHash:
		if !t.even {
			t.alias = newAlias(weights)
		}
	case Maglev:
		t.maglev = newMaglev(members, weights, c.TableSize)
	case RingHash:
		t.ring = newRing(members, weights, c.TableSize)
	}
	return t
}

// draw maps a uniform random number to a member by weight.
func (t *table) draw(x uint64) int {
	if t.even {
		return scale(x, len(t.weights))
	}
	return t.alias.draw(x)
}
