// Package l7 answers HTTP requests by passing them to a pool's endpoints: it matches a request to a route,
// lets the pool pick who gets it, and sees it through under the route's time-outs and retries.
//
// It never blocks a thread, never holds a buffer for an idle connection, and never forwards a byte of a
// request that package http1 has not accepted.
//
// # Who owns what
//
// A [Server] runs one event loop per core, each with its own [worker] state. A client connection, the
// exchange (request and answer) in progress on it, and the upstream connection that serves it belong to one
// worker and are touched by its goroutine only. What workers share is immutable (a [Listener] and its
// [Route]s, swapped whole by a reload), atomic (package balance), or counted (statistics, read by a scrape).
//
// # The life of a request
//
//	client.readHead → exchange.begin → route.match → exchange.attempt → Pool.Pick
//	  → upstream connection (idle or new) → exchange.flush → upstream.readHead
//	  → client.send … → exchange.finish → Pool.Done → next request
//
// An attempt that fails goes back to exchange.attempt while the retry policy allows it and nothing of an
// answer has reached the client.
package l7
