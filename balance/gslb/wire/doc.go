// Package wire answers what a DNS query says, and writes the bytes of an answer (RFC 1035 §4, RFC 6891).
//
// It works in place: a [Query] points into the message that was read, and a [Message] appends to a buffer of the
// caller's. Neither allocates. It looks nothing up, opens no socket and reads no clock.
package wire
