package balance

// leastShare is what the worse of two choices keeps: one in 128. Figures about
// an endpoint can then never be so old that it is starved.
const leastShare = 1.0 / 128

// twoChoices draws two members and prefers the one with the lower cost, the
// more so the more they differ: in inverse proportion to the fourth power. Of
// nearly equal ones both are used, where strictly taking the lower would send
// nearly all requests to whichever happens to be ahead.
func (s *search) twoChoices(g *group, try uint64) int {
	n := len(g.members)
	x := mix(s.random + try*golden)
	a := g.table.draw(x)
	if n == 1 {
		return a
	}
	b := a
	for k := 0; b == a; k++ {
		if k == 4 || n == 2 { // one member has nearly all of the weight
			b = (a + 1) % n
			break
		}
		x = mix(x + golden)
		b = g.table.draw(x)
	}
	switch admitsA, admitsB := s.admits(g.members[a]), s.admits(g.members[b]); {
	case !admitsB:
		return a
	case !admitsA:
		return b
	}
	u := float32(mix(x+golden)>>40) / (1 << 24)
	if u < s.shareOfSecond(g, a, b) {
		return b
	}
	return a
}

// shareOfSecond is the probability with which b is chosen over a.
func (s *search) shareOfSecond(g *group, a, b int) float32 {
	ratio := g.table.load(a, g.members[a]) / g.table.load(b, g.members[b])
	decay := s.view.config.Decay
	la, lb := g.members[a].latency.at(s.now, decay), g.members[b].latency.at(s.now, decay)
	if la > 0 && lb > 0 { // of one that has not answered yet only the load is known
		ratio *= la / lb
	}
	r4 := ratio * ratio * ratio * ratio
	share := r4 / (1 + r4)
	if !(share < 1-leastShare) { // infinite ratios too
		return 1 - leastShare
	}
	return max(share, leastShare)
}

// load is the number of requests in flight, the next one included, of a member
// of average weight.
func (t *table) load(i int, e *Endpoint) float32 {
	inFlight := float32(max(0, e.inFlight.Load()))
	if t.even {
		return 1 + inFlight
	}
	return 1 + inFlight*float32(t.total)/(float32(t.weights[i])*float32(len(t.weights)))
}
