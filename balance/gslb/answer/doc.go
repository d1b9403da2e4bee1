// Package answer turns a DNS query into its answer: bytes in, bytes out, the same over UDP and TCP.
//
// A [World] holds all that answers depend on and is replaced as a whole; a [Responder] does the work for one thread and
// allocates nothing. What is answered is decided from zones (package zone), pools (package steer) and limits (package
// guard) alone: no question is ever passed on to another server. The package opens no socket, starts no goroutine and
// reads no clock.
package answer
