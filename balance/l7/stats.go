package l7

import (
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
	failedReset
	failedTimeout
	failedStall
	failedProtocol
	failureKinds
)

var failureNames = [failureKinds]string{"connect", "reset", "timeout", "stall", "protocol"}

// listenerStats count connections. Workers share them: a connection is rarer than a request.
type listenerStats struct {
	accepted atomic.Uint64
	open     atomic.Int64
	refused  [refusalKinds]atomic.Uint64
	bad      atomic.Uint64 // requests refused by the parser
}

// refusal is why a connection was not served.
type refusal uint8

const (
	refusedFull refusal = iota
	refusedSource
	refusedAccess
	refusalKinds
)

var refusalNames = [refusalKinds]string{"max_connections", "max_connections_per_source", "access"}

// poolCounters count what happens to requests of a pool outside its endpoints.
type poolCounters struct {
	queued    atomic.Uint64
	queueFull atomic.Uint64
	queueLate atomic.Uint64
	none      atomic.Uint64 // no endpoint was available
	noBudget  atomic.Uint64 // a retry was due and the budget was spent
}

// registry keeps the counters of a Server by name, so that a reload continues them.
type registry struct {
	mu        sync.Mutex
	workers   int
	routes    map[[2]string]*routeStats
	listeners map[string]*listenerStats
}

func newRegistry(workers int) *registry {
	return &registry{workers: workers, routes: map[[2]string]*routeStats{}, listeners: map[string]*listenerStats{}}
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

func (r *registry) listener(name string) *listenerStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.listeners[name]
	if s == nil {
		s = &listenerStats{}
		r.listeners[name] = s
	}
	return s
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
