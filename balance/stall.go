package balance

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/fault/outlier"
)

// StallConfig says when an endpoint has stopped answering. The zero StallConfig
// means the defaults.
type StallConfig struct {
	// Disabled turns the detection off.
	Disabled bool
	// Requests is how many must be waiting: one alone may be a slow request.
	// Default 3.
	Requests int
	// Min and Max bound the wait. Defaults 200 ms and 5 s; Max also holds while
	// nothing has been learned about the endpoint.
	Min, Max time.Duration
}

func (c StallConfig) withDefaults() StallConfig {
	if c.Requests == 0 {
		c.Requests = 3
	}
	if c.Min == 0 {
		c.Min = 200 * time.Millisecond
	}
	if c.Max == 0 {
		c.Max = max(5*time.Second, c.Min)
	}
	return c
}

func (c StallConfig) check() error {
	switch {
	case c.Requests < 1:
		return fmt.Errorf("stall: %d waiting requests are below 1", c.Requests)
	case c.Min < 0:
		return fmt.Errorf("stall: minimum wait %v is negative", c.Min)
	case c.Max < c.Min:
		return fmt.Errorf("stall: maximum wait %v is below the minimum %v", c.Max, c.Min)
	}
	return nil
}

// stallPatience multiplies the learned response time to the wait from which an
// endpoint counts as silent; while it is on probation, twice that.
const stallPatience = 4

// silence follows the requests that wait for the first byte of their answer.
type silence struct {
	waiting atomic.Int32
	// since is the moment from which enough requests for a verdict have been
	// waiting and none was answered; 0 if that is not so. It is stored as
	// the time plus one, for the origin is a time too.
	since atomic.Int64
	// learned is the mean response time and its mean deviation, as float32
	// nanoseconds, mean above.
	learned atomic.Uint64
	// answeredAt is when the last answer began, plus one.
	answeredAt atomic.Int64
}

// Sent notes that a request has been sent to the endpoint. Exactly one of
// [Endpoint.Answered] and [Endpoint.Abandoned] follows, before the request's
// [Pool.Done].
func (e *Endpoint) Sent(now time.Duration) {
	s := &e.stall
	if n := s.waiting.Add(1); n >= int32(e.pool.stallRequests.Load()) && s.since.Load() == 0 {
		s.since.CompareAndSwap(0, int64(now)+1)
	}
}

// Answered notes that the first byte of the answer to a request has come,
// latency after the request was sent.
func (e *Endpoint) Answered(now, latency time.Duration) {
	s := &e.stall
	left := s.waiting.Add(-1)
	s.answeredAt.Store(int64(now) + 1)
	if s.since.Load() != 0 || left >= int32(e.pool.stallRequests.Load()) {
		s.restart(left >= int32(e.pool.stallRequests.Load()), now)
	}
	s.learn(latency)
}

// Abandoned notes that a request that was sent has ended without an answer.
func (e *Endpoint) Abandoned(now time.Duration) {
	s := &e.stall
	if left := s.waiting.Add(-1); left < int32(e.pool.stallRequests.Load()) && s.since.Load() != 0 {
		s.since.Store(0)
	}
}

func (s *silence) restart(enough bool, now time.Duration) {
	if enough {
		s.since.Store(int64(now) + 1)
	} else {
		s.since.Store(0)
	}
}

// learn updates the mean response time and its mean deviation with the gains of
// RFC 6298 §2.3, which TCP uses for the same purpose.
func (s *silence) learn(latency time.Duration) {
	x := float32(latency)
	for {
		old := s.learned.Load()
		mean, dev := math.Float32frombits(uint32(old>>32)), math.Float32frombits(uint32(old))
		if old == 0 {
			mean, dev = x, x/2
		} else {
			dev += (abs32(x-mean) - dev) / 4
			mean += (x - mean) / 8
		}
		if s.learned.CompareAndSwap(old, uint64(math.Float32bits(mean))<<32|uint64(math.Float32bits(dev))) {
			return
		}
	}
}

func abs32(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

// settle mends the count of waiting requests by what is certain: it is not above
// the number in flight. It is called as a request ends.
func (s *silence) settle(inFlight int64) {
	w := s.waiting.Load()
	if int64(w) > inFlight || w < 0 {
		s.waiting.CompareAndSwap(w, int32(min(inFlight, math.MaxInt32)))
	}
}

// StallAfter returns how long a request may wait for its answer before it is
// worth asking [Pool.CheckStall] about it: four times the learned mean and
// deviation, within the configured bounds, but never less than twice the mean.
func (e *Endpoint) StallAfter() time.Duration {
	c := e.pool.view.Load().config.Stall
	w := e.stall.learned.Load()
	if w == 0 {
		return c.Max
	}
	mean, dev := math.Float32frombits(uint32(w>>32)), math.Float32frombits(uint32(w))
	wait := min(time.Duration(stallPatience*(mean+dev)), c.Max)
	wait = max(wait, c.Min, 2*time.Duration(mean))
	if e.gate.Load()&gateProbation != 0 {
		wait *= 2
	}
	return wait
}

// CheckStall decides whether e has stopped answering, asked on behalf of a
// request that was sent at waitedSince and is waiting still, for StallAfter at
// least. It reports true if nothing at all was answered for so long, and enough
// requests have been waiting all that time, after ejecting e for it; and if e is
// ejected or down already. The caller then moves the request elsewhere if that
// is safe; else it asks again a little later. While nothing else is available it
// reports false.
func (p *Pool) CheckStall(e *Endpoint, waitedSince, now time.Duration) bool {
	v := p.current(now)
	wait := e.StallAfter()
	quiet := now - max(waitedSince, time.Duration(e.stall.answeredAt.Load()-1))
	if v.config.Stall.Disabled || quiet < wait {
		return false // it answers; this request is slow
	}
	since := e.stall.since.Load()
	switch gate := e.gate.Load(); {
	case gate&(gateEjected|gateDown) != 0:
		return v.available > 0
	case gate&gateProbation != 0:
	case since == 0:
		if v.available > 1 {
			p.sendScouts(e, now)
		}
		return false
	case now-time.Duration(since-1) < wait:
		return false
	}
	suspicion, suspect := e.record.Failure(outlier.Stall, now)
	return !suspect || p.eject(e, suspicion, now)
}
