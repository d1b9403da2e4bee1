package balance

import (
	"slices"
	"sync/atomic"
	"time"
)

// scouts find out whether an endpoint has stopped answering on which too few
// requests wait for a verdict. An algorithm that looks at requests in flight
// sends hardly any more there, and the few would wait until probes notice. So
// the next requests that can be moved again are sent there on purpose: either
// one is answered, and what waits is slow, or all wait, and that is the verdict.
type scouts struct {
	endpoint *Endpoint
	since    time.Duration // nothing was answered since then
	left     atomic.Int32  // how many more are sent
}

// sendScouts asks for scouts to e, on which a request has waited since then. At
// most one endpoint of a pool is scouted at a time.
func (p *Pool) sendScouts(e *Endpoint, since time.Duration) {
	missing := int32(p.stallRequests.Load()) - e.stall.waiting.Load()
	if missing <= 0 {
		return
	}
	s := &scouts{endpoint: e, since: since}
	s.left.Store(missing)
	p.scouts.CompareAndSwap(nil, s)
}

// scouted returns the endpoint that this request is to scout, if there is one.
func (s *search) scouted() *Endpoint {
	sc := s.pool.scouts.Load()
	if sc == nil {
		return nil
	}
	e := sc.endpoint
	if sc.left.Add(-1) < 0 || e.stall.answeredAt.Load() > int64(sc.since)+1 || !e.open(gateAll) {
		s.pool.scouts.CompareAndSwap(sc, nil)
		return nil
	}
	if slices.Contains(s.tried, e) || !s.take(e) {
		return nil
	}
	return e
}
