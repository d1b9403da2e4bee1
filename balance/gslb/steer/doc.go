// Package steer answers which of a pool's servers a DNS answer names: by their health, weight and priority, and by where
// the client is.
//
// A [Record] is a name whose answers follow pools. It leads a client to a [Slot]: by view, by place, or to the only one
// there is. The slot's [Plan] is made anew whenever something about the pool changes, and holds every record as bytes, so
// that an answer costs a draw and a copy.
//
// The package starts no goroutine, reads no clock and opens no socket: states, time and chance come in as arguments.
package steer
