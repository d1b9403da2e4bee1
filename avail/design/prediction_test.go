package design_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/avail"
	"github.com/trivet-ha/trivet/avail/design"
	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/fault/health"
)

// TestPredictionsHoldOfYearsLivedThrough lets 200 random designs live through a year of random faults. What becomes of them
// is not decided by formulas but by the code that decides in the product: probes go through health.Tracker, verdicts and
// picks through balance.Pool. A request fails if three picks in a row find nobody, or somebody who is not there; a part that
// has too few left for its load fails them all. The predicted interval, which is to hold 19 years in 20, must hold the
// downtime of at least nine in ten.
func TestPredictionsHoldOfYearsLivedThrough(t *testing.T) {
	const designs = 200
	held, expected, lived := 0, 0.0, 0.0
	for i := range uint64(designs) {
		rnd := rand.New(rand.NewPCG(i, 11))
		d := randomDesign(rnd)
		if err := d.Check(); err != nil {
			t.Fatal(err)
		}
		sure := d.Outages().Interval(avail.Year, .95)
		w, err := newWorld(d, rnd)
		if err != nil {
			t.Fatal(err)
		}
		down := w.live(avail.Year.Duration()).Seconds()
		// What is shorter than a probe takes to see is below what the model speaks of.
		if sure.Holds(down) || down < sure.Low && sure.Low-down < 1 || down > sure.High && down-sure.High < 60 {
			held++
		} else {
			t.Logf("design %d: %.0f s down, predicted %.0f to %.0f", i, down, sure.Low, sure.High)
		}
		expected += float64(d.Down().PerYear())
		lived += down
	}
	t.Logf("%d of %d years held; %.2f h down on average, %.2f h expected", held, designs, lived/designs/3600, expected/designs/3600)
	if held < designs*9/10 {
		t.Errorf("the predicted interval holds %d of %d years", held, designs)
	}
	if ratio := lived / expected; ratio < .75 || ratio > 1.25 {
		t.Errorf("on average %.2f times the expected downtime was lived through", ratio)
	}
}

func between(rnd *rand.Rand, low, high float64) float64 { return low + (high-low)*rnd.Float64() }

func randomDesign(rnd *rand.Rand) *design.Design {
	figures := func(days, hours float64) design.Figures {
		return design.Figures{MTBF: avail.Seconds(between(rnd, days/4, days)) * avail.Day, MTTR: avail.Seconds(between(rnd, hours/8, hours)) * avail.Hour}
	}
	d := &design.Design{}
	zones, machine := rnd.IntN(4), figures(120, 12)
	for z := range zones {
		d.Zones = append(d.Zones, design.Place{Name: fmt.Sprint("z", z), Figures: figures(365, 4)})
	}
	for p := range 1 + rnd.IntN(3) {
		n := 1 + rnd.IntN(6)
		part := design.Part{
			Name: fmt.Sprint("pool", p), Needed: 1 + rnd.IntN(max(1, n-1)), Unit: figures(40, 1),
			Coverage: between(rnd, .9, 1), Manual: avail.Seconds(between(rnd, 300, 3600)), Common: between(rnd, 0, .1),
		}
		for u := range n {
			m := design.Place{Name: fmt.Sprintf("m%d.%d", p, u), Figures: machine}
			if zones > 0 {
				m.Zone = fmt.Sprint("z", u%zones)
			}
			d.Machines = append(d.Machines, m)
			part.Units = append(part.Units, design.Unit{Machine: m.Name})
		}
		d.Parts = append(d.Parts, part)
	}
	return d
}

// world is a design that lives.
type world struct {
	rnd    *rand.Rand
	now    time.Duration
	events events
	parts  []*part
	causes []*cause
}

// cause is something that is well or not.
type cause struct {
	well, ill avail.Seconds // means
	down      int           // how many reasons it has to be down
	hits      []*server
	// uncovered is the chance that its failure is not handled in these parts.
	uncovered []*part
}

type part struct {
	design  *design.Part
	pool    *balance.Pool
	servers []*server
	outage  *cause // takes all of it, for common causes and for failures that wait for somebody
}

type server struct {
	part     *part
	endpoint *balance.Endpoint
	tracker  *health.Tracker
	causes   []*cause
	probing  bool
}

func (s *server) up() bool {
	for _, c := range s.causes {
		if c.down > 0 {
			return false
		}
	}
	return true
}

// event is something that happens at a time.
type event struct {
	at time.Duration
	do func()
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (w *world) after(d time.Duration, do func()) { heap.Push(&w.events, event{w.now + d, do}) }

func (w *world) draw(mean avail.Seconds) time.Duration {
	return avail.Seconds(w.rnd.ExpFloat64() * float64(mean)).Duration()
}

func newWorld(d *design.Design, rnd *rand.Rand) (*world, error) {
	w := &world{rnd: rnd}
	places := map[string]*cause{}
	place := func(key string, f design.Figures) *cause {
		if places[key] == nil {
			places[key] = &cause{well: f.MTBF, ill: f.MTTR}
			w.causes = append(w.causes, places[key])
		}
		return places[key]
	}
	for i := range d.Parts {
		p := &part{design: &d.Parts[i], outage: &cause{}}
		cfg := balance.Config{Name: d.Parts[i].Name, Probed: true, Seed: uint64(i)}
		// The requests here are drawn at moments when something changes, which ejection, that counts them over time, would not bear.
		cfg.Outlier.Disabled = true
		for u := range d.Parts[i].Units {
			cfg.Endpoints = append(cfg.Endpoints, balance.EndpointConfig{Address: fmt.Sprintf("10.0.%d.%d:80", i, u)})
		}
		var err error
		if p.pool, err = balance.New(cfg, 0); err != nil {
			return nil, err
		}
		for u, unit := range d.Parts[i].Units {
			own := &cause{well: d.Parts[i].Unit.MTBF, ill: d.Parts[i].Unit.MTTR, uncovered: []*part{p}}
			s := &server{part: p, tracker: health.New(health.Policy{}), causes: []*cause{own, p.outage}}
			s.endpoint = p.pool.ByAddress(cfg.Endpoints[u].Address)
			w.causes = append(w.causes, own)
			for j := range d.Machines {
				if m := &d.Machines[j]; m.Name == unit.Machine {
					c := place("machine "+m.Name, m.Figures)
					c.uncovered = append(c.uncovered, p)
					s.causes = append(s.causes, c)
					for k := range d.Zones {
						if d.Zones[k].Name == m.Zone {
							s.causes = append(s.causes, place("zone "+m.Zone, d.Zones[k].Figures))
						}
					}
				}
			}
			for _, c := range s.causes {
				c.hits = append(c.hits, s)
			}
			p.servers = append(p.servers, s)
		}
		w.parts = append(w.parts, p)
	}
	w.begin()
	return w, nil
}

// begin finds every server well, and lets time begin.
func (w *world) begin() {
	for _, p := range w.parts {
		for _, s := range p.servers {
			w.probe(s)
		}
		if rate := p.design.Common / float64(p.design.Unit.MTBF+p.design.Unit.MTTR); rate > 0 {
			w.common(p, avail.Seconds(1/rate))
		}
	}
	for _, c := range w.causes {
		w.live1(c)
	}
}

// live1 is the life of a cause: well, ill, well again.
func (w *world) live1(c *cause) {
	w.after(w.draw(c.well), func() {
		for _, p := range c.uncovered {
			if len(p.servers) > p.design.Needed && w.rnd.Float64() >= p.design.Coverage {
				w.ill(p.outage, w.draw(p.design.Manual), nil)
			}
		}
		w.ill(c, w.draw(c.ill), func() { w.live1(c) })
	})
}

// common is causes that take all of a part.
func (w *world) common(p *part, mean avail.Seconds) {
	w.after(w.draw(mean), func() {
		w.ill(p.outage, w.draw(p.design.Unit.MTTR), nil)
		w.common(p, mean)
	})
}

func (w *world) ill(c *cause, long time.Duration, then func()) {
	c.down++
	w.notice(c)
	w.after(long, func() {
		c.down--
		w.notice(c)
		if then != nil {
			then()
		}
	})
}

// notice has the servers of a cause probed until their trackers know. Probes go on all the time; those that change nothing
// are left out.
func (w *world) notice(c *cause) {
	for _, s := range c.hits {
		if !s.probing {
			s.probing = true
			w.after(time.Duration(w.rnd.Float64()*float64(s.tracker.Policy().Interval)), func() { w.probe(s) })
		}
	}
}

func (w *world) probe(s *server) {
	up := s.up()
	if s.tracker.Observe(w.now, up) {
		verdict := map[health.Verdict]balance.Health{health.Up: balance.Up, health.Down: balance.Down}[s.tracker.Verdict()]
		s.part.pool.SetHealth(s.endpoint, verdict, "", w.now)
	}
	if s.probing = s.tracker.Changing(); s.probing || (s.tracker.Verdict() == health.Up) != up {
		s.probing = true
		w.after(max(s.tracker.Next(w.now, w.rnd.Uint64())-w.now, time.Millisecond), func() { w.probe(s) })
	}
}

// live lets a time pass and returns how much of it was downtime: the time weighed by the share of requests that fail.
func (w *world) live(long time.Duration) (down time.Duration) {
	for w.events.Len() > 0 && w.events[0].at < long {
		failing := w.failing()
		e := heap.Pop(&w.events).(event)
		down += time.Duration(failing * float64(e.at-w.now))
		w.now = e.at
		e.do()
	}
	return down + time.Duration(w.failing()*float64(long-w.now))
}

// failing is the share of requests that fail now: they need every part.
func (w *world) failing() float64 {
	served := 1.0
	for _, p := range w.parts {
		served *= 1 - p.failing(w)
	}
	return 1 - served
}

func (p *part) failing(w *world) float64 {
	up := 0
	for _, s := range p.servers {
		if s.up() {
			up++
		}
	}
	switch up {
	case len(p.servers):
		return 0 // whoever is picked is there
	case 0:
		return 1
	}
	if up < p.design.Needed {
		return 1
	}
	const requests = 12
	failed := 0
	for range requests {
		if !p.request(w) {
			failed++
		}
	}
	return float64(failed) / requests
}

// request is one request with its retries.
func (p *part) request(w *world) bool {
	var tried []*balance.Endpoint
	for range 3 {
		e, err := p.pool.Pick(&balance.Request{Random: w.rnd.Uint64(), Hash: w.rnd.Uint64(), Now: w.now, Tried: tried})
		if err != nil {
			return false
		}
		ok := false
		for _, s := range p.servers {
			ok = ok || s.endpoint == e && s.up()
		}
		if ok {
			p.pool.Done(e, balance.Outcome{Result: balance.OK, Latency: time.Millisecond}, w.now)
			return true
		}
		p.pool.Done(e, balance.Outcome{Result: balance.ConnectFailed}, w.now)
		tried = append(tried, e)
	}
	return false
}
