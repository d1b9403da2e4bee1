// Package l4 passes connections and datagrams to a pool's endpoints by address: bytes in, the same bytes out, both
// ways.
//
// It runs on the event loops of package edge, and like l7 it never blocks a thread and holds no buffer for a
// session that is quiet. It looks at no byte of what it passes on, but for the PROXY protocol where a listener
// asks for it.
//
// # The life of a connection
//
//	edge accepts → session.begin → Pool.Pick → connect (again elsewhere, if that fails)
//	  → bytes both ways, each direction at the pace of its receiver → both ends → Pool.Done
//
// A session that has passed a byte is never moved to another endpoint: only its two ends know what the bytes
// mean.
//
// # The life of a datagram
//
//	kernel, by the client's address → a worker's port → the client's flow → Pool.Pick, for its first one
//	  → the flow's own socket → the endpoint, and back → silence → Pool.Done
//
// A client is its source address and port, and the address it sends to. Its datagrams go to one endpoint until that
// refuses them or is down; then the next one goes to another, for UDP promises nothing and clients of it know. They
// are received and sent many at a time, and those of one length that follow each other travel the kernel as one
// (UDP_GRO, UDP_SEGMENT). What can't be passed on is dropped and counted, never queued.
package l4
