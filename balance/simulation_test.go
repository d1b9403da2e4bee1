package balance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// simulation plays an open load on a pool in virtual time, with the caller's part
// as the documentation of Pick, Sent, Answered, CheckStall and Done asks for it.
type simulation struct {
	pool    *Pool
	rnd     *rand.Rand
	service time.Duration // mean time to an answer
	stopped func(e *Endpoint, now time.Duration) bool
	flying  []*flight
	waits   []time.Duration // of each request until its answer
	late    time.Duration   // when the last request was due that waited for over 300 ms
}

type flight struct {
	due      time.Duration // when the request came
	sent     time.Duration
	endpoint *Endpoint
	answers  time.Duration // 0 is never
	checks   time.Duration // when the caller asks about a stall
	tried    []*Endpoint
}

// run sends a request every interval until the end, in steps of a tenth of a
// millisecond.
func (s *simulation) run(t *testing.T, interval, end time.Duration) {
	const step = 100 * time.Microsecond
	next := time.Duration(0)
	for now := time.Duration(0); now < end+2*second; now += step {
		for ; next <= now && next < end; next += interval {
			s.send(t, &flight{due: next}, now)
		}
		for _, f := range slices.Clone(s.flying) {
			s.look(t, f, now)
		}
	}
	for _, f := range s.flying {
		t.Errorf("a request that came at %v is not answered: %s", f.due, f.endpoint.Status(end).Reason)
	}
}

func (s *simulation) send(t *testing.T, f *flight, now time.Duration) {
	e, err := s.pool.Pick(&Request{Random: s.rnd.Uint64(), Hash: s.rnd.Uint64(), Now: now, Tried: f.tried, Movable: true})
	if err != nil {
		t.Fatal(err)
	}
	f.endpoint, f.sent, f.answers = e, now, 0
	if !s.stopped(e, now) {
		f.answers = now + time.Duration(s.rnd.ExpFloat64()*float64(s.service))
	}
	f.checks = now + e.StallAfter()
	e.Sent(now)
	s.flying = append(s.flying, f)
}

func (s *simulation) look(t *testing.T, f *flight, now time.Duration) {
	e := f.endpoint
	switch {
	case f.answers > 0 && now >= f.answers:
		e.Answered(now, now-f.sent)
		s.land(f)
		s.pool.Done(e, Outcome{Latency: now - f.sent}, now)
		s.waits = append(s.waits, now-f.due)
		if now-f.due > 300*ms {
			s.late = max(s.late, f.due)
		}
	case now >= f.checks && !s.pool.CheckStall(e, f.sent, now):
		f.checks = now + e.StallAfter()/2
	case now >= f.checks:
		e.Abandoned(now)
		s.land(f)
		s.pool.Done(e, Outcome{Result: Stalled}, now)
		f.tried = append(f.tried, e)
		s.send(t, f, now)
	}
}

func (s *simulation) land(f *flight) {
	i := slices.Index(s.flying, f)
	s.flying = slices.Delete(s.flying, i, i+1)
}

// TestStoppedEndpointCostsFewRequests: one of three endpoints stops answering
// after a second, for good, and no probe notices. Every request is answered all
// the same, and few wait: whatever the algorithm, the load, and the speed of
// the service.
func TestStoppedEndpointCostsFewRequests(t *testing.T) {
	for _, a := range Algorithms() {
		for _, c := range []struct {
			interval, service time.Duration
			most              int           // requests that may wait for over 300 ms
			late              time.Duration // no request that comes after this may, but one for each probation
		}{
			{second / 2000, 200 * time.Microsecond, 6, 1500 * ms},
			{second / 2000, 2 * ms, 6, 1500 * ms},
			{second / 100, 5 * ms, 10, 2 * second},
			{second / 10, 5 * ms, 10, 3 * second},
		} {
			t.Run(fmt.Sprintf("%s/%v/%v", a, c.interval, c.service), func(t *testing.T) {
				t.Parallel()
				p := newPool(t, 3, func(cfg *Config) { cfg.Algorithm = a })
				s := &simulation{pool: p, rnd: rand.New(rand.NewPCG(1, 1)), service: c.service}
				s.stopped = func(e *Endpoint, now time.Duration) bool { return e.Address() == "b" && now > second }
				s.run(t, c.interval, 6*second)
				slow := 0
				for _, w := range s.waits {
					if w > 300*ms {
						slow++
					}
				}
				if worst := slices.Max(s.waits); worst > second {
					t.Errorf("a request waits for %v", worst)
				}
				if slow > c.most || s.late > c.late {
					t.Errorf("%d requests wait for over 300 ms, the last of them came at %v", slow, s.late)
				}
				if p.InFlight() != 0 {
					t.Errorf("%d in flight", p.InFlight())
				}
			})
		}
	}
}
