// Package gslb serves DNS: it carries queries from sockets to package answer and answers back, keeps the plans of names
// that follow pools up to date, and exchanges zones while queries run.
//
// UDP has a socket for each worker and address, among which the kernel spreads clients; a worker is an event loop that
// reads and sends up to 64 messages with one call and allocates nothing. TCP has a goroutine for each connection. What is
// answered is decided below, in packages that know no socket: wire reads and writes messages, zone finds names, steer
// chooses among a pool's servers, guard tells forged addresses from real ones, answer puts them together; zonefile and geo
// read files.
//
// The package never asks another server on behalf of a client. The only names that it looks up are the targets of aliases
// outside its zones, at its own pace.
package gslb
