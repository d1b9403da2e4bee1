// Package probe asks endpoints how they are: by HTTP, TCP, UDP, gRPC, a
// command, or in a database's own words.
//
// A [Check] is one way to ask; each probe opens a connection of its own, as a
// kept one would only prove that it was fine some time ago. A [Prober] sends
// probes to a set of endpoints, at intervals that package health decides on, and
// reports every result. It decides nothing itself: what a result means for
// traffic is up to whoever gets the report.
package probe
