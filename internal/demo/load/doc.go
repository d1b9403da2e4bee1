// Package load sends HTTP/1.1 requests at a constant rate and says how each of them fared.
//
// It is an open loop: a request is sent when it is due, whether or not earlier ones have been answered, and its
// latency counts from the moment it was due. A server that stalls for a second is therefore seen to delay every
// request of that second, not just the one it was busy with (the mistake called coordinated omission).
//
// It never retries, unless told to do what browsers do with a connection that was closed while it lay idle, and it never
// counts an answer as good without having read it to its end.
package load
