package l4

import (
	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/internal/edge"
)

// Sizes of reads: a session begins with small ones and grows as its receiver keeps up.
const (
	firstRead = 16 << 10
	bulkRead  = 256 << 10

	// turnBytes is what one direction may move before the others have their turn.
	turnBytes = 512 << 10
)

// worker is what sessions need on one event loop.
type worker struct {
	*edge.Worker
	buf      []byte // what has just been read
	sessions map[*balance.Endpoint]*session
}

func newWorker(w *edge.Worker) *worker {
	return &worker{Worker: w, buf: make([]byte, bulkRead), sessions: map[*balance.Endpoint]*session{}}
}

// link puts a session among those of its endpoint.
func (w *worker) link(x *session) {
	x.nextOn = w.sessions[x.ep]
	if x.nextOn != nil {
		x.nextOn.prevOn = x
	}
	w.sessions[x.ep] = x
}

func (w *worker) unlink(x *session) {
	switch {
	case x.prevOn != nil:
		x.prevOn.nextOn = x.nextOn
	case x.nextOn != nil:
		w.sessions[x.ep] = x.nextOn
	default:
		delete(w.sessions, x.ep)
	}
	if x.nextOn != nil {
		x.nextOn.prevOn = x.prevOn
	}
	x.nextOn, x.prevOn = nil, nil
}

// down does with an endpoint's sessions what their pool wants.
func (w *worker) down(ep *balance.Endpoint) {
	var next *session
	for x := w.sessions[ep]; x != nil; x = next {
		next = x.nextOn
		switch x.set.OnDown {
		case Kill:
			x.cut()
		case Drain:
			x.endBy = w.Loop.Now() + x.set.DrainTime
			x.rearm()
		}
	}
}
