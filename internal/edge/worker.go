package edge

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/internal/loop"
)

// A Worker is one event loop with what every protocol needs on it. Only its own goroutine touches it, but for
// its load.
type Worker struct {
	ID   int // from 0
	Loop *loop.Loop
	Bufs Buffers

	edge     *Edge
	seed     uint64
	load     atomic.Int64 // open connections
	turnover turnover
	open     Conn     // head of the list of all
	ends     []func() // see OnEnd
}

func newWorker(e *Edge, id int) (*Worker, error) {
	l, err := loop.New(e.origin)
	if err != nil {
		return nil, err
	}
	w := &Worker{ID: id, Loop: l, edge: e, seed: uint64(time.Now().UnixNano())*0x9e3779b97f4a7c15 + uint64(id)}
	w.open.next, w.open.prev = &w.open, &w.open
	return w, nil
}

// Random returns a pseudo-random number (xorshift64*, Vigna 2016): good enough to spread load by.
func (w *Worker) Random() uint64 {
	s := w.seed
	s ^= s >> 12
	s ^= s << 25
	s ^= s >> 27
	w.seed = s
	return s * 0x2545f4914f6cdd1d
}

// Load returns the number of open connections.
func (w *Worker) Load() int { return int(w.load.Load()) }

// Draining reports whether the process is about to end: connections should be closed where their protocol
// allows it.
func (w *Worker) Draining() bool { return w.edge.draining.Load() }

// OnEnd has f called by the worker's goroutine when its loop has ended and all connections are closed. It must
// be called before the edge runs.
func (w *Worker) OnEnd(f func()) { w.ends = append(w.ends, f) }

// run serves until ctx ends, and then ends every connection.
func (w *Worker) run(ctx context.Context) error {
	err := w.Loop.Run(ctx)
	for c := w.open.next; c != &w.open; c = w.open.next {
		c.owner.Lost()
	}
	for _, f := range w.ends {
		f()
	}
	return err
}

// An Owner is a protocol's connection, which embeds a Conn.
type Owner interface {
	loop.Handler

	// Lost ends the connection at once: the loop ends.
	Lost()
}

// A Conn is an accepted connection, or what stands for one where datagrams come in; see Worker.Admit. Its protocol
// copies it into a connection of its own, calls Enter once, and Close once.
type Conn struct {
	Worker  *Worker
	Binding *Binding
	FD      int            // negative if it has none of its own
	Peer    netip.AddrPort // the zero AddrPort for a Unix socket

	owner      Owner
	tok        loop.Token
	next, prev *Conn
	counted    bool // among its source's connections
}

// Enter counts the connection in, and says whom it belongs to.
func (c *Conn) Enter(o Owner) {
	w := c.Worker
	c.owner = o
	c.next, c.prev = &w.open, w.open.prev
	w.open.prev.next, w.open.prev = c, c
	w.load.Add(1)
}

// Watch registers the connection with the loop, for everything, unless it already is. It is done late: a
// connection that is served at once and closed never needs it.
func (c *Conn) Watch() error {
	if c.tok.Valid() {
		return nil
	}
	tok, err := c.Worker.Loop.Add(c.FD, c.owner, loop.Readable|loop.Writable|loop.PeerDone)
	if err != nil {
		return err
	}
	c.tok = tok
	return nil
}

// Watched reports whether the connection is registered with the loop.
func (c *Conn) Watched() bool { return c.tok.Valid() }

// Again has the owner called once more with ev, after all that are ready now; see loop.Again. The connection
// must be watched.
func (c *Conn) Again(ev loop.Events) { c.Worker.Loop.Again(c.tok, ev) }

// Close closes the connection and counts it out.
func (c *Conn) Close() {
	if c.tok.Valid() {
		c.Worker.Loop.Remove(c.tok)
		c.tok = loop.Token{}
	}
	if c.FD >= 0 {
		loop.Close(c.FD)
		c.FD = -1 // the number may be another's by the next line
	}
	c.prev.next, c.next.prev = c.next, c.prev
	c.next, c.prev = nil, nil
	c.Worker.load.Add(-1)
	c.Binding.leave(c.Peer.Addr(), c.counted)
}
