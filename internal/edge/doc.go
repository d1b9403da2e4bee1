// Package edge answers which event loop a new connection belongs to. It opens the listening sockets, accepts,
// enforces who may come in and how many, spreads connections evenly over the loops, and hands sockets over to
// the next process.
//
// It knows no protocol: what is done with a connection is its listener's Server. A connection stays with its
// [Worker] for life; everything that belongs to it is touched by that worker's goroutine only.
package edge
