// Package http1 answers where an HTTP/1.1 message begins and ends, what it
// asks of a proxy, and which of its bytes may go on to the next hop.
//
// It is the protocol engine of a proxy: bytes in, facts and bytes out. It
// never reads or writes a connection, starts a goroutine, looks at a clock or
// keeps state between messages, and it allocates nothing once its values have
// been used a few times.
//
// A head is read with [Request.Parse] or [Response.Parse], whose results
// alias the caller's buffer; a body passes through a [Body], which removes
// from the buffer, in place, what must not be forwarded; heads are written
// with the Append functions.
//
// The engine is strict. Two HTTP implementations that read the same bytes
// differently are how requests are smuggled past a proxy, so whatever
// RFC 9110 and RFC 9112 call invalid is refused with an [Error] that names
// the rule, and so is what they allow but no sound client sends (a request
// with two equal Content-Length fields, say). Every rule is listed, with its
// reason, in docs/explanation/http-strictness.md.
package http1
