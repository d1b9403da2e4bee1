// Package faulthttp puts policies of package fault around HTTP: a [Transport] for
// clients, a [Handler] for servers.
//
// A client's request is made again, or twice at a time, only if that can do no
// harm: its method is idempotent (RFC 9110 §9.2.2), or it has an Idempotency-Key,
// or it did not leave. What became of it is judged by [Judge]. The answer's body is
// passed on as it comes.
//
// A server refuses what its policies refuse before the handler is called: with 429
// and Retry-After what is above a rate limit (RFC 6585 §4), with 503 what it can't
// take now. A handler that panics costs its request, and not the process.
//
// The package keeps no connections and reads no configuration.
package faulthttp
