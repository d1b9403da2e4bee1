package balance

const (
	// compareAll is the number of members up to which LeastRequest compares all.
	compareAll = 32
	// compareSome is how many it draws of more.
	compareSome = 3
)

// leastRequest returns the member with the fewest requests in flight per weight.
// Among equals the first one met wins, and which is met first is drawn by
// weight: a pool at rest is used in proportion.
func (s *search) leastRequest(g *group, try uint64) int {
	x := mix(s.random + try*golden)
	n := len(g.members)
	best := least{index: -1}
	i := g.table.draw(x)
	if n <= compareAll {
		for range n {
			s.weigh(g, i, &best)
			if i++; i == n {
				i = 0
			}
		}
		return best.index
	}
	for range compareSome {
		s.weigh(g, i, &best)
		x = mix(x + golden)
		i = g.table.draw(x)
	}
	if best.index < 0 {
		return i
	}
	return best.index
}

type least struct {
	index  int
	load   uint64
	weight uint64
}

func (s *search) weigh(g *group, i int, best *least) {
	e := g.members[i]
	if !s.admits(e) {
		return
	}
	load, weight := uint64(max(0, e.inFlight.Load())), g.table.weights[i]
	if best.index < 0 || load*best.weight < best.load*weight {
		*best = least{i, load, weight}
	}
}
