// Package zone answers what stands under a name: which zone it belongs to, whether it exists, which wildcard stands in for
// it, and where authority ends (RFC 1034 §4.3.2, RFC 4592, RFC 2308).
//
// Zones are built whole and never changed; a [Catalog] is replaced by another. Look-ups allocate nothing. The package reads
// no file, starts no goroutine and opens no socket.
package zone
