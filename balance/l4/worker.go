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
	workers int    // of the edge
	buf     []byte // what has just been read
	members map[*balance.Endpoint]*member

	// For datagrams; nil until there is a port.
	inbox   *inbox
	outbox  *outbox
	replies *replies
}

func newWorker(w *edge.Worker, workers int) *worker {
	return &worker{Worker: w, workers: workers, buf: make([]byte, bulkRead), members: map[*balance.Endpoint]*member{}}
}

// member is a session's place in the list of its endpoint's.
type member struct {
	next, prev *member
	of         held
}

// held is a session as its endpoint sees it.
type held interface {
	// down does what the pool wants when the endpoint no longer takes sessions.
	down()
}

// link puts a session among those of its endpoint.
func (w *worker) link(ep *balance.Endpoint, m *member, of held) {
	m.of, m.next = of, w.members[ep]
	if m.next != nil {
		m.next.prev = m
	}
	w.members[ep] = m
}

func (w *worker) unlink(ep *balance.Endpoint, m *member) {
	switch {
	case m.prev != nil:
		m.prev.next = m.next
	case m.next != nil:
		w.members[ep] = m.next
	default:
		delete(w.members, ep)
	}
	if m.next != nil {
		m.next.prev = m.prev
	}
	m.next, m.prev = nil, nil
}

// down does with an endpoint's sessions what their pool wants.
func (w *worker) down(ep *balance.Endpoint) {
	var next *member
	for m := w.members[ep]; m != nil; m = next {
		next = m.next
		m.of.down()
	}
}
