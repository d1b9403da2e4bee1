package gslb

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/balance/gslb/answer"
	"github.com/trivet-ha/trivet/internal/loop"
)

// worker answers over UDP: an event loop with a responder. Only its own goroutine touches it, but for what is atomic.
type worker struct {
	id        int
	server    *Server
	loop      *loop.Loop
	responder *answer.Responder
	batch     *batch
	started   bool          // its loop runs; the server's mu guards it
	unsent    atomic.Uint64 // answers that could not be sent
	unread    atomic.Uint64 // messages that were too long, or from nowhere
}

func newWorker(s *Server, id int) (*worker, error) {
	l, err := loop.New(s.origin)
	if err != nil {
		return nil, err
	}
	return &worker{
		id: id, server: s, loop: l, batch: newBatch(answerMax),
		responder: answer.New(id, uint64(time.Now().UnixNano())+uint64(id)*0x9e3779b97f4a7c15),
	}, nil
}

func (w *worker) run(ctx context.Context) { _ = w.loop.Run(ctx) }

// ear is a UDP socket that a worker listens to.
type ear struct {
	worker *worker
	fd     int
	wild   bool
	token  loop.Token
}

// watch begins to listen. It is called by the worker.
func (e *ear) watch() {
	token, err := e.worker.loop.Add(e.fd, e, loop.Readable)
	if err != nil {
		e.worker.server.log.Error("dns socket not watched", "error", err)
		return
	}
	e.token = token
}

// burstMax is how many batches of one socket are answered before others have their turn.
const burstMax = 8

// Ready implements loop.Handler.
func (e *ear) Ready(loop.Events) {
	for range burstMax {
		if e.worker.answerBatch(e.fd, e.wild) < batchMax {
			return // there was no more, and what comes next is a new edge
		}
	}
	e.worker.loop.Again(e.token, loop.Readable)
}

// unwatch answers what is still there and listens no more. The descriptor stays open.
func (e *ear) unwatch() {
	if !e.token.Valid() {
		return
	}
	for range burstMax {
		if e.worker.answerBatch(e.fd, e.wild) == 0 {
			break
		}
	}
	e.worker.loop.Unwatch(e.fd, e.token)
	e.token = loop.Token{}
}

// answerBatch reads what is there, answers it, and returns how many messages it was.
func (w *worker) answerBatch(fd int, control bool) int {
	b := w.batch
	n := b.receive(fd, control)
	if n == 0 {
		return 0
	}
	world, querylog := w.server.world.Load(), w.server.queryLog.Load()
	from := w.server.source(w.loop.Now())
	k := 0
	for i := range n {
		addr, query, ok := b.from(i)
		if !ok {
			w.unread.Add(1)
			continue
		}
		from.Addr = addr
		out := w.responder.Answer(world, b.slots[i].answer, query, from)
		if querylog != nil {
			querylog.note(w.responder, from, len(out))
		}
		if len(out) > 0 {
			b.reply(k, i, out)
			k++
		}
	}
	if sent := b.send(fd, k); sent < k {
		w.unsent.Add(uint64(k - sent))
	}
	return n
}
