package l7

import (
	"cmp"
	"github.com/trivet-ha/trivet/internal/edge"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// LatencyBounds are the upper bounds of the latency histograms; what is above the last falls in a bucket of
// its own.
var LatencyBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second, 10 * time.Second,
}

// histogram counts durations. One goroutine writes, any may read.
type histogram struct {
	counts [len(LatencyBounds) + 1]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(LatencyBounds) && d > LatencyBounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// counters of one route in one worker. Each worker writes its own, so that no cache line is shared.
type routeCounters struct {
	status   [6]atomic.Uint64 // by status class; index 0 counts requests that were given up without an answer
	retries  atomic.Uint64
	deeds    [deedKinds]atomic.Uint64
	bytesIn  atomic.Uint64 // request bodies
	bytesOut atomic.Uint64 // answer bodies
	latency  histogram     // whole requests
	_        [64]byte
}

// routeStats are the counters of one route over all workers. They outlive the Route in a reload.
type routeStats struct {
	listener, route string
	workers         []routeCounters
}

// counters of one endpoint in one worker.
type endpointCounters struct {
	status      [6]atomic.Uint64
	connects    atomic.Uint64
	reuses      atomic.Uint64
	failures    [failureKinds]atomic.Uint64
	latency     histogram // to the head of the answer
	connections atomic.Int64
	_           [64]byte
}

// failure is how an attempt ended without an answer.
type failure uint8

const (
	failedConnect failure = iota
	failedLocal           // this machine has no socket, port or memory for it
	failedReset
	failedTimeout
	failedStall
	failedProtocol
	failedRefused // the endpoint has not looked at the request, and says so
	failureKinds
)

var failureNames = [failureKinds]string{"connect", "local", "reset", "timeout", "stall", "protocol", "refused"}

// poolCounters count what happens to requests of a pool outside its endpoints.
type poolCounters struct {
	queued    atomic.Uint64
	queueFull atomic.Uint64
	queueLate atomic.Uint64
	none      atomic.Uint64 // no endpoint was available
	noBudget  atomic.Uint64 // a retry was due and the budget was spent
}

// Histogram is a snapshot of latencies. Counts[i] are those up to LatencyBounds[i] and above the bound
// before; the last are those above all bounds.
type Histogram struct {
	Counts [len(LatencyBounds) + 1]uint64
	Sum    time.Duration
}

// Total returns how many were counted.
func (h *Histogram) Total() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Quantile returns the bound of the bucket that the quantile falls in, 0 if nothing was counted. What is above
// all bounds counts as the last.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := uint64(math.Ceil(q * float64(h.Total())))
	if want == 0 {
		return 0
	}
	sum := uint64(0)
	for i, bound := range LatencyBounds {
		if sum += h.Counts[i]; sum >= want {
			return bound
		}
	}
	return LatencyBounds[len(LatencyBounds)-1]
}

func (h *Histogram) add(from *histogram) {
	for i := range h.Counts {
		h.Counts[i] += from.counts[i].Load()
	}
	h.Sum += time.Duration(from.sum.Load())
}

// RouteStats is what has happened on a route since the process began.
type RouteStats struct {
	Listener, Route string
	Status          [6]uint64 // by status class; index 0 are requests given up without an answer
	Retries         uint64
	Policies        map[string]uint64 // what policies have done to requests, by name
	BytesIn         uint64            // of request bodies
	BytesOut        uint64            // of answer bodies
	Latency         Histogram
}

// EndpointStats is what has happened with an endpoint since the process began.
type EndpointStats struct {
	Pool, Endpoint string
	Status         [6]uint64 // of its answers, by class
	Connects       uint64    // connections opened
	Reuses         uint64    // requests that found an open one
	Failures       map[string]uint64
	Latency        Histogram // to the head of the answer
	Connections    int64     // open now
}

// PoolStats is what has happened to the requests of a pool outside its endpoints.
type PoolStats struct {
	Pool         string
	Queued       uint64 // had to wait for a place
	QueueFull    uint64 // could not even wait
	QueueTimeout uint64
	None         uint64 // found no endpoint available
	NoBudget     uint64 // retries not made because the budget was spent
}

// ListenerStats is what has happened at a listener since the process began.
type ListenerStats struct {
	Listener string
	Accepted uint64
	Open     int64
	Refused  map[string]uint64 // connections, by reason
	Bad      uint64            // requests that were no valid HTTP
	Full     uint64            // times that the limit of connections was met

	Handshakes       uint64 // TLS connections established
	Resumed          uint64 // those among them that a session ticket has shortened
	HandshakesFailed uint64
}

// Stats returns the figures of all listeners and routes.
func (s *Server) Stats() (listeners []ListenerStats, routes []RouteStats) {
	r := s.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, b := range s.edge.Bindings() {
		counters := r.listeners[name]
		if counters == nil {
			continue
		}
		st := ListenerStats{
			Listener: name, Accepted: b.Stats.Accepted.Load(), Open: b.Stats.Open.Load(), Full: b.Stats.Full.Load(),
			Bad: counters.bad.Load(), Handshakes: counters.shaken.Load(), Resumed: counters.resumed.Load(), HandshakesFailed: counters.failed.Load(),
			Refused: map[string]uint64{},
		}
		for _, why := range edge.Refusals() {
			st.Refused[why.String()] = b.Stats.Refused[why].Load()
		}
		listeners = append(listeners, st)
	}
	for _, rt := range r.routes {
		routes = append(routes, rt.snapshot())
	}
	slices.SortFunc(listeners, func(a, b ListenerStats) int { return strings.Compare(a.Listener, b.Listener) })
	slices.SortFunc(routes, func(a, b RouteStats) int {
		return cmp.Or(strings.Compare(a.Listener, b.Listener), strings.Compare(a.Route, b.Route))
	})
	return listeners, routes
}

func (r *routeStats) snapshot() RouteStats {
	st := RouteStats{Listener: r.listener, Route: r.route, Policies: map[string]uint64{}}
	for i := range r.workers {
		w := &r.workers[i]
		for c := range st.Status {
			st.Status[c] += w.status[c].Load()
		}
		st.Retries += w.retries.Load()
		w.deedsInto(st.Policies)
		st.BytesIn += w.bytesIn.Load()
		st.BytesOut += w.bytesOut.Load()
		st.Latency.add(&w.latency)
	}
	return st
}

// Stats returns the figures of the pool and its endpoints.
func (u *Upstream) Stats() (PoolStats, []EndpointStats) {
	p := PoolStats{
		Pool: u.Name, Queued: u.counters.queued.Load(), QueueFull: u.counters.queueFull.Load(),
		QueueTimeout: u.counters.queueLate.Load(), None: u.counters.none.Load(), NoBudget: u.counters.noBudget.Load(),
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []EndpointStats
	for address, e := range u.endpoints {
		if u.Pool.ByAddress(address) == nil && !e.connected() {
			delete(u.endpoints, address) // a metric is not kept for ever because an endpoint once was
			continue
		}
		st := EndpointStats{Pool: u.Name, Endpoint: address, Failures: map[string]uint64{}}
		for _, w := range e.workers {
			if w != nil {
				st.add(w)
			}
		}
		all = append(all, st)
	}
	slices.SortFunc(all, func(a, b EndpointStats) int { return strings.Compare(a.Endpoint, b.Endpoint) })
	return p, all
}

func (s *endpointStats) connected() bool {
	for _, w := range s.workers {
		if w != nil && w.connections.Load() > 0 {
			return true
		}
	}
	return false
}

func (st *EndpointStats) add(w *endpointCounters) {
	for c := range st.Status {
		st.Status[c] += w.status[c].Load()
	}
	for f := range w.failures {
		st.Failures[failureNames[f]] += w.failures[f].Load()
	}
	st.Connects += w.connects.Load()
	st.Reuses += w.reuses.Load()
	st.Connections += w.connections.Load()
	st.Latency.add(&w.latency)
}

// registry keeps the counters of a Server by name, so that a reload continues them.
type registry struct {
	mu        sync.Mutex
	workers   int
	routes    map[[2]string]*routeStats
	listeners map[string]*listenerCounters
}

func newRegistry(workers int) *registry {
	return &registry{workers: workers, routes: map[[2]string]*routeStats{}, listeners: map[string]*listenerCounters{}}
}

func (r *registry) route(listener, route string) *routeStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := [2]string{listener, route}
	s := r.routes[key]
	if s == nil {
		s = &routeStats{listener: listener, route: route, workers: make([]routeCounters, r.workers)}
		r.routes[key] = s
	}
	return s
}

func (r *registry) listener(name string) *listenerCounters {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.listeners[name]
	if n == nil {
		n = &listenerCounters{}
		r.listeners[name] = n
	}
	return n
}

// retain drops the counters of what no longer exists: a metric is not kept for ever because a route once was.
func (r *registry) retain(listeners map[string]*Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.listeners {
		if listeners[name] == nil {
			delete(r.listeners, name)
		}
	}
	for key := range r.routes {
		if l := listeners[key[0]]; l == nil || !l.hasRoute(key[1]) {
			delete(r.routes, key)
		}
	}
}

func (l *Listener) hasRoute(name string) bool {
	if name == noRoute.Name {
		return true
	}
	for _, r := range l.Routes {
		if r.Name == name {
			return true
		}
	}
	return false
}
