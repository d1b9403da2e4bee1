package simulate

import (
	"math"
	"math/rand/v2"

	"github.com/trivet-ha/trivet/avail"
)

// Units are what avail.Repairable is about, each played by itself: it works, fails, waits for a crew, is repaired.
type Units struct {
	N, Needed int
	Life      Draw // of a unit's own failures
	Repair    Draw
	Crews     int     // 0 is as many as units
	Uncovered float64 // chance that a failure is not handled
	// Common is the time between causes that take all units at once; nil is never.
	Common Draw
}

// FromRepairable is the design of a Repairable, with its exponential times.
func FromRepairable(r avail.Repairable) Units {
	u := Units{N: r.N, Needed: r.Needed, Repair: Exponential(r.MTTR), Crews: r.Crews, Uncovered: r.Uncovered}
	if r.Common > 0 {
		u.Common = Exponential(r.MTBF / avail.Seconds(r.Common))
	}
	u.Life = Always(avail.Seconds(math.Inf(1)))
	if r.Common < 1 {
		u.Life = Exponential(r.MTBF / avail.Seconds(1-r.Common))
	}
	return u
}

// Uptime is how the whole fared.
type Uptime struct {
	Down avail.Down
	// DownError is Down's standard error, and Rate how often the whole went down.
	DownError float64
	Rate      Estimate // per second
}

// Estimate is the share of time down, with its error.
func (u Uptime) Estimate() Estimate { return Estimate{Mean: float64(u.Down), Error: u.DownError} }

// play is a run under way. Few units are played at once, so the next event is found by looking at all.
type play struct {
	Units
	rnd *rand.Rand

	now    avail.Seconds
	next   []avail.Seconds // of each unit: when it fails, or when its repair ends; never while it waits for a crew
	works  []bool
	queue  []int // of units that wait for a crew
	busy   int   // crews
	failed int
	shock  avail.Seconds // when the next common cause comes
}

func never() avail.Seconds { return avail.Seconds(math.Inf(1)) }

func (u Units) begin(rnd *rand.Rand) *play {
	p := &play{Units: u, rnd: rnd, next: make([]avail.Seconds, u.N), works: make([]bool, u.N), shock: never()}
	for i := range p.next {
		p.works[i], p.next[i] = true, u.Life(rnd)
	}
	if u.Common != nil {
		p.shock = u.Common(rnd)
	}
	if p.Crews == 0 {
		p.Crews = u.N
	}
	return p
}

func (p *play) down() bool { return p.N-p.failed < p.Needed }

// step plays the next event.
func (p *play) step() {
	unit := 0
	for i, t := range p.next {
		if t < p.next[unit] {
			unit = i
		}
	}
	switch {
	case p.shock < p.next[unit]:
		p.now = p.shock
		p.shock += p.Common(p.rnd)
		p.failAll(p.N)
	case p.works[unit]:
		p.now = p.next[unit]
		p.fail(unit)
		if !p.down() && p.rnd.Float64() < p.Uncovered {
			p.failAll(p.N - p.Needed + 1)
		}
	default:
		p.now = p.next[unit]
		p.repaired(unit)
	}
}

// failAll fails units until so many have.
func (p *play) failAll(until int) {
	for _, i := range p.rnd.Perm(p.N) {
		if p.failed < until && p.works[i] {
			p.fail(i)
		}
	}
}

func (p *play) fail(unit int) {
	p.works[unit], p.next[unit] = false, never()
	p.failed++
	if p.busy == p.Crews {
		p.queue = append(p.queue, unit)
		return
	}
	p.busy++
	p.next[unit] = p.now + p.Repair(p.rnd)
}

func (p *play) repaired(unit int) {
	p.works[unit], p.next[unit] = true, p.now+p.Life(p.rnd)
	p.failed--
	if len(p.queue) == 0 {
		p.busy--
		return
	}
	p.next[p.queue[0]] = p.now + p.Repair(p.rnd)
	p.queue = p.queue[1:]
}

// Run plays a time, after a tenth of it to forget that all began whole.
func (u Units) Run(long avail.Seconds, rnd *rand.Rand) Uptime {
	p := u.begin(rnd)
	for p.now < long/10 {
		p.step()
	}
	began, each := p.now, long/batches
	down, rate := make([]float64, batches), make([]float64, batches)
	// A state lasts from now to the next event; it is cut at the ends of batches.
	for {
		from, was := p.now-began, p.down()
		p.step()
		to := p.now - began
		if !was && p.down() {
			if b := int(to / each); b < batches {
				rate[b]++
			}
		}
		for b := int(from / each); was && b < batches && avail.Seconds(b)*each < to; b++ {
			down[b] += float64(min(to, avail.Seconds(b+1)*each) - max(from, avail.Seconds(b)*each))
		}
		if to >= long {
			break
		}
	}
	for b := range down {
		down[b] /= float64(each)
		rate[b] /= float64(each)
	}
	d := fromBatches(down)
	return Uptime{Down: avail.Down(d.Mean), DownError: d.Error, Rate: fromBatches(rate)}
}

// FirstOutage plays from all whole to the first moment with too few, so many times (at least 2), and is the mean time
// of that.
func (u Units) FirstOutage(rounds int, rnd *rand.Rand) Estimate {
	times := make([]float64, rounds)
	for r := range times {
		p := u.begin(rnd)
		for !p.down() {
			p.step()
		}
		times[r] = float64(p.now)
	}
	return fromBatches(times)
}
