// Package faultgrpc puts policies of package fault around gRPC calls:
// interceptors for clients and for servers.
//
// A client's call is made again, or twice at a time, only if that can do no harm:
// its method is declared to have no side effects or to be idempotent (the
// idempotency_level of its descriptor), or its caller says so. What became of a
// call is judged by its code; see [Judge]. Of a stream only the opening is guarded:
// what was sent on it can't be sent again.
//
// A server refuses what its policies refuse before the handler is called: with
// RESOURCE_EXHAUSTED what is above a rate limit, with UNAVAILABLE what it can't take
// now. A handler that panics costs its call, and not the process.
//
// The package dials nothing and serves nothing.
package faultgrpc
