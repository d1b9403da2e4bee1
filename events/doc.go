// Package events says what happened and what was done about it.
//
// An [Event] is one fault that was seen or one action that was taken: what,
// where, the evidence, the action, how long it took and when. A [Tracker] groups
// events into incidents: a fault of one thing, from its first sign to its
// recovery. The time to detect and the time to recover of the availability
// mathematics are those of incidents.
//
// The package decides only: it reads no clock, starts no goroutine, and keeps
// nothing outside of memory. Its folders do: stream carries events to whoever
// listens, journal keeps them on disk, hook tells other programs.
package events
