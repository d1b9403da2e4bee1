package avail

import "math"

// Repairable is N equal units of which Needed must work, each failing after MTBF of work on average and repaired in
// MTTR by one of Crews crews; all times are exponential. Units go on failing while the whole is down. It is a
// birth-death process on the number of failed units, with two ways to jump ahead: a failure that the failover does not
// cover, and a cause in common.
type Repairable struct {
	N      int     // at least 1
	Needed int     // 1 to N
	MTBF   Seconds // above 0
	MTTR   Seconds // above 0
	// Crews is how many units are repaired at a time; 0 is as many as there are.
	Crews int
	// Uncovered is the chance (0 to 1) that the failure of a unit is not handled: it takes the whole down as if so many
	// units had failed that too few are left, and is repaired like them. Its complement is what the literature calls
	// coverage (Bouricius, Carter and Schneider, "Reliability modeling techniques for self-repairing computer systems",
	// 1969). It is often worth more than another unit.
	Uncovered float64
	// Common is the share β (0 to 1) of a unit's failures whose cause takes all of them at once.
	Common float64
}

func (r Repairable) valid() bool {
	return r.N >= 1 && r.Needed >= 1 && r.Needed <= r.N && r.MTBF > 0 && !math.IsInf(float64(r.MTBF), 1) && r.MTTR > 0 && !math.IsInf(float64(r.MTTR), 1) &&
		r.Crews >= 0 && isProbability(r.Uncovered) && isProbability(r.Common)
}

// broken is the least number of failed units with which the whole is down.
func (r Repairable) broken() int { return r.N - r.Needed + 1 }

// rates of transitions with i units failed, in units of 1/MTBF: of one more unit that fails and is covered, of one that
// is not, and of all at once.
func (r Repairable) rates(i int) (covered, uncovered, common float64) {
	left := float64(r.N - i)
	if left == 0 {
		return 0, 0, 0
	}
	one := left * (1 - r.Common)
	// The last failure that can be borne takes the whole down either way; what is down already needs no failover.
	if i >= r.broken()-1 {
		return one, 0, r.Common
	}
	return one * (1 - r.Uncovered), one * r.Uncovered, r.Common
}

// repairs is the rate of repairs with i units failed, in units of 1/MTBF.
func (r Repairable) repairs(i int) float64 {
	crews := r.Crews
	if crews == 0 {
		crews = r.N
	}
	return float64(min(i, crews)) * float64(r.MTBF/r.MTTR)
}

// rescaleAt keeps sums of unnormalised probabilities from overflowing.
const rescaleAt = 1e200

// Down is the share of time in which fewer than Needed units work. With one crew, two units and one needed it is
// 2x²/(1+2x+2x²) for x = MTTR/MTBF. Source: Barlow and Proschan 1975, §7.4; for two units Epstein and Hosford,
// "Reliability of some two unit redundant systems", 1960. It takes some nanoseconds a unit.
func (r Repairable) Down() Down {
	s := r.steady()
	return Down(s.down / (s.up + s.down))
}

// Outages is how often the whole goes down in the steady state, and for how long on average. Going down is as frequent
// as coming up, and up there is only one way: the repair of the last unit that was missing.
func (r Repairable) Outages() Outages {
	s := r.steady()
	return Outages{Rate: PerSecond(s.revived / (s.up + s.down) / float64(r.MTBF)), Mean: Seconds(s.down/s.revived) * r.MTBF}
}

// steady is the steady state, not normalised: the weight of the states in which the whole is up and in which it is
// down, and the flow from the latter to the former in units of 1/MTBF.
type steady struct{ up, down, revived float64 }

func (s *steady) scale(by float64) { s.up, s.down, s.revived = s.up*by, s.down*by, s.revived*by }

// steady balances the flows over every cut between i and i+1 failed units, μᵢ₊₁pᵢ₊₁ = λᵢpᵢ + jumps from 0..i. All terms
// are positive, so no digit is lost.
func (r Repairable) steady() (s steady) {
	if !r.valid() {
		return steady{math.NaN(), math.NaN(), math.NaN()}
	}
	p, toBroken, toAll := 1.0, 0.0, 0.0 // the weight of i failed units, and the flows of jumps from 0..i
	for i := 0; ; i++ {
		if i < r.broken() {
			s.up += p
		} else {
			s.down += p
		}
		if i == r.broken() {
			s.revived = p * r.repairs(i)
		}
		if i == r.N {
			return s
		}
		covered, uncovered, common := r.rates(i)
		toBroken += uncovered * p
		toAll += common * p
		flow := covered*p + toAll
		if i < r.broken() {
			flow += toBroken
		}
		p = flow / r.repairs(i+1)
		if p > rescaleAt {
			p, toBroken, toAll = p/rescaleAt, toBroken/rescaleAt, toAll/rescaleAt
			s.scale(1 / rescaleAt)
		}
	}
}

// MTTF is the mean time from all units working to the first moment at which too few do; +Inf if that is beyond a
// float64. For two units and one needed it is (3λ+μ)/(2λ²). Formula: were the process begun anew whenever it ends, it
// would have a steady state, whose cuts are balanced from the last state down; the mean time is its weight over the
// flow of ends. Source: Barlow and Proschan 1975, §7.4.
func (r Repairable) MTTF() Seconds {
	if !r.valid() {
		return Seconds(math.NaN())
	}
	last := r.broken() - 1 // with no unit to spare
	covered, _, common := r.rates(last)
	p, time, ends := 1.0, 1.0, covered+common
	for i := last; i > 0; i-- {
		onward, uncovered, common := r.rates(i - 1)
		if onward == 0 { // i is never reached one by one
			p, time, ends = 1, 0, 0
		} else {
			p = (r.repairs(i)*p + ends) / onward
		}
		time += p
		ends += (uncovered + common) * p
		if p > rescaleAt {
			p, time, ends = p/rescaleAt, time/rescaleAt, ends/rescaleAt
		}
	}
	return r.MTBF * Seconds(time/ends)
}
