// Package l4 passes connections to a pool's endpoints by address: bytes in, the same bytes out, both ways.
//
// It runs on the event loops of package edge, and like l7 it never blocks a thread and holds no buffer for a
// session that is quiet. It looks at no byte of what it passes on, but for the PROXY protocol where a listener
// asks for it.
//
// # The life of a session
//
//	edge accepts → session.begin → Pool.Pick → connect (again elsewhere, if that fails)
//	  → bytes both ways, each direction at the pace of its receiver → both ends → Pool.Done
//
// A session that has passed a byte is never moved to another endpoint: only its two ends know what the bytes
// mean.
package l4
