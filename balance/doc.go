// Package balance answers who gets the next request.
//
// A [Pool] holds endpoints and everything that is known about them: health as
// probes see it, the administrator's wishes, the outcomes of requests, how many
// are in flight and how fast they are answered. [Pool.Pick] chooses an endpoint
// and reserves a place on it; [Pool.Done] gives the place back and is the one
// spot where an outcome is reported. Every consumer reads the same pool, so an
// endpoint that is down is down for all of them at once.
//
// Both are made to be called by many threads at a time: they take no lock and
// allocate nothing unless the state of the pool has changed.
//
// The package starts no goroutine, reads no clock and opens no socket. Time
// comes in as the duration since an origin of the caller's choice, the same for
// all calls to one pool, and random numbers come in with the request.
//
// # Who is available
//
// An endpoint is available if its administrator says [Ready], its probes do not
// say [Down], and it is not ejected for failing requests (package outlier). An
// endpoint that was never probed ([Unknown]) is available, so that a pool
// serves before its first probe has returned; but one that joins a running
// pool whose endpoints are probed (Config.Probed) waits for its first verdict.
//
// Endpoints of the lowest priority number are used first. As their available
// share, times Config.Overprovision, falls below one, the missing part of the
// load goes to the next priority, as in Envoy. If less than
// Config.PanicThreshold of the pool is available, the verdicts are taken for
// wrong and every endpoint not in maintenance is used; with the default
// threshold that is so when none is available. A pool whose every endpoint is
// being drained or maintained uses none: that is an order and not a fault.
//
// # Algorithms
//
// [RoundRobin], [WeightedRandom], [Random], [LeastRequest] and [P2C] choose
// among the endpoints available. [IPHash], [Maglev] and [RingHash] build their
// tables over all endpoints of the pool and step over those which are
// not available, so that a failure moves only the keys of the endpoint that
// failed, and its recovery moves exactly those back.
package balance
