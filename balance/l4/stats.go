package l4

import (
	"errors"
	"sync/atomic"

	"github.com/trivet-ha/trivet/balance"
)

// endpointCounters count what happens with one endpoint in one worker, so that no cache line is shared.
type endpointCounters struct {
	sessions atomic.Uint64
	failures atomic.Uint64
	open     atomic.Int64
	in, out  atomic.Uint64 // bytes to and from the endpoint
	_        [64]byte
}

// counters returns a worker's counters of an endpoint.
func (u *Upstream) counters(address string, w *worker) *endpointCounters {
	all, ok := u.stats.Load(address)
	if !ok {
		all, _ = u.stats.LoadOrStore(address, make([]endpointCounters, w.workers))
	}
	return &all.([]endpointCounters)[w.ID]
}

// refused counts a session that the pool has no endpoint for.
func (u *Upstream) refused(why error) {
	if errors.Is(why, balance.ErrSaturated) {
		u.queueFull.Add(1)
		return
	}
	u.none.Add(1)
}

// PoolStats is what has happened to sessions and datagrams outside the pool's endpoints, since the process began.
type PoolStats struct {
	Queued       uint64 // sessions that had to wait for an endpoint
	QueueFull    uint64 // that could not even wait; for datagrams, that met endpoints which were all full
	QueueTimeout uint64 // that waited in vain
	None         uint64 // that found no endpoint available
	Dropped      uint64 // datagrams that went nowhere, for any of these reasons or because a queue was full
}

// EndpointStats is what has happened with an endpoint since the process began.
type EndpointStats struct {
	Endpoint string
	Sessions uint64
	Failures uint64 // connections that could not be made, datagrams that were refused
	Open     int64
	BytesIn  uint64 // sent to it
	BytesOut uint64 // come from it
}

// Stats returns the figures of the pool and its endpoints.
func (u *Upstream) Stats() (PoolStats, []EndpointStats) {
	p := PoolStats{
		Queued: u.queued.Load(), QueueFull: u.queueFull.Load(), QueueTimeout: u.queueLate.Load(),
		None: u.none.Load(), Dropped: u.dropped.Load(),
	}
	var all []EndpointStats
	u.stats.Range(func(address, value any) bool {
		st := EndpointStats{Endpoint: address.(string)}
		for i := range value.([]endpointCounters) {
			st.add(&value.([]endpointCounters)[i])
		}
		if u.Pool.ByAddress(st.Endpoint) == nil && st.Open == 0 {
			u.stats.Delete(address) // a metric is not kept for ever because an endpoint once was
			return true
		}
		all = append(all, st)
		return true
	})
	return p, all
}

func (s *EndpointStats) add(c *endpointCounters) {
	s.Sessions += c.sessions.Load()
	s.Failures += c.failures.Load()
	s.Open += c.open.Load()
	s.BytesIn += c.in.Load()
	s.BytesOut += c.out.Load()
}
