package l7

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/balance/l7/http2"
	"github.com/trivet-ha/trivet/internal/edge"
	"github.com/trivet-ha/trivet/internal/loop"
)

// A worker is what requests need on one event loop. Only its own goroutine touches it.
type worker struct {
	*edge.Worker
	srv *Server

	buf    []byte // what is being read; see headroom
	head   []byte // the head being built
	host   []byte // the host name being routed
	path   []byte // the path being normalised
	sealed []byte // what is being sent under TLS
	chunk  []byte // the size line of a chunk
	text   []byte // the body of an answer of our own
	req    http1.Request
	resp   http1.Response
	query  query
	pick   balance.Request

	h2       http2.Scratch
	framesIn []byte // what is being read of a session

	h2up      http2.Scratch
	answersIn []byte // what is being read of a mux
	muxes     map[*mux]struct{}

	targets  map[*balance.Endpoint]*target
	holdings map[*Upstream]*holding
	free     *exchange
	freeLen  int
	sweeper  loop.Timer

	handshakes sync.WaitGroup // those under way
}

// sweepEvery is how often idle connections to endpoints are looked at.
const sweepEvery = time.Second

// targetIdle is how long a worker remembers an endpoint that it has no connection to.
const targetIdle = 10 * time.Minute

// forever is later than any time.
const forever = time.Duration(math.MaxInt64)

// freeMax bounds the exchanges that a worker keeps for later.
const freeMax = 4096

func newWorker(s *Server, on *edge.Worker) *worker {
	w := &worker{
		Worker: on, srv: s,
		buf:     make([]byte, headroom+http1.DefaultHead+bulkRead+slack),
		targets: map[*balance.Endpoint]*target{}, muxes: map[*mux]struct{}{}, holdings: map[*Upstream]*holding{},
	}
	w.Loop.Arm(&w.sweeper, w, w.Loop.Now()+sweepEvery)
	w.OnEnd(func() {
		w.handshakes.Wait()
		for _, t := range w.targets {
			t.expire(forever)
		}
		for m := range w.muxes {
			m.shutDown()
		}
	})
	return w
}

// Expire implements loop.Expirer: it is the sweep.
func (w *worker) Expire(now time.Duration) {
	for m := range w.muxes {
		m.tick(now)
	}
	for ep, t := range w.targets {
		switch {
		case len(t.idle) == 0:
		case ep.Pool().ByAddress(ep.Address()) != ep: // removed from its pool
			t.expire(forever)
		case t.set.KeepAlive > 0:
			t.expire(now - t.set.KeepAlive)
		}
		if len(t.idle) == 0 && now-t.used > targetIdle && t.stats.connections.Load() == 0 {
			delete(w.targets, ep)
		}
	}
	w.Loop.Arm(&w.sweeper, w, now+sweepEvery)
}

// target returns the worker's view of an endpoint.
func (w *worker) target(x *exchange, ep *balance.Endpoint) (*target, error) {
	t := w.targets[ep]
	if t == nil {
		t = &target{w: w, ep: ep, key: ep.Key(), stats: x.up.endpointStats(w, ep)}
		w.targets[ep] = t
	}
	if t.renewed(x.set) {
		t.leave()
	}
	if t.set != x.set {
		address := ep.Address()
		if ip, ok := x.set.Addresses[address]; ok {
			address = ip
		}
		addr, err := edge.Resolve(address)
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", ep.Address(), err)
		}
		if !addr.Equal(&t.addr) {
			t.leave() // the name means another server now
		}
		t.addr, t.set = addr, x.set
	}
	t.used = w.Loop.Now()
	return t, nil
}

func (w *worker) newExchange(c downstream, lis *Listener, began time.Duration) *exchange {
	x := w.free
	if x == nil {
		x = &exchange{w: w}
	} else {
		w.free, x.next = x.next, nil
		w.freeLen--
	}
	x.c, x.lis = c, lis
	x.readMax = firstRead
	x.start = began
	x.moved = w.Loop.Now()
	return x
}

// scratch is the worker's buffer from its body mark on.
func (w *worker) scratch(limit int) []byte { return w.buf[headroom : headroom+limit] }

// frames is the buffer that sessions read into.
func (w *worker) frames() []byte {
	if w.framesIn == nil {
		w.framesIn = make([]byte, framesRead)
	}
	return w.framesIn
}

// answers is the buffer that muxes read into.
func (w *worker) answers() []byte {
	if w.answersIn == nil {
		w.answersIn = make([]byte, framesRead)
	}
	return w.answersIn
}

// freeExchange makes x ready for its next use. What it held goes back; its small buffers stay with it.
func (w *worker) freeExchange(x *exchange) {
	w.Loop.Disarm(&x.timer)
	w.Bufs.Put(x.req)
	clear(x.tried)
	*x = exchange{
		w: w, life: x.life + 1,
		tried: x.tried[:0], requestID: x.requestID[:0], log: x.log.reset(),
		reqBody: http1.Body{}, ansBody: http1.Body{},
	}
	if w.freeLen < freeMax {
		x.next, w.free = w.free, x
		w.freeLen++
	}
}
