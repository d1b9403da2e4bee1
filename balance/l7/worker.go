package l7

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/internal/loop"
)

// A worker is one event loop and all that belongs to it. Only its own goroutine touches it, but for load.
type worker struct {
	id   int
	srv  *Server
	loop *loop.Loop

	buf   []byte // what is being read; see headroom
	head  []byte // the head being built
	host  []byte // the host name being routed
	path  []byte // the path being normalised
	chunk []byte // the size line of a chunk
	text  []byte // the body of an answer of our own
	req   http1.Request
	resp  http1.Response
	query query
	pick  balance.Request

	bufs    buffers
	seed    uint64
	targets map[*balance.Endpoint]*target
	clients client // head of the list of all
	free    *exchange
	freeLen int
	sweeper loop.Timer

	load atomic.Int64 // open client connections
}

// sweepEvery is how often idle connections to endpoints are looked at.
const sweepEvery = time.Second

// targetIdle is how long a worker remembers an endpoint that it has no connection to.
const targetIdle = 10 * time.Minute

// forever is later than any time.
const forever = time.Duration(math.MaxInt64)

// freeMax bounds the exchanges that a worker keeps for later.
const freeMax = 4096

func newWorker(s *Server, id int) (*worker, error) {
	l, err := loop.New(s.origin)
	if err != nil {
		return nil, err
	}
	w := &worker{
		id: id, srv: s, loop: l,
		buf:     make([]byte, headroom+http1.DefaultHead+bulkRead+slack),
		seed:    uint64(time.Now().UnixNano())*0x9e3779b97f4a7c15 + uint64(id),
		targets: map[*balance.Endpoint]*target{},
	}
	w.clients.next, w.clients.prev = &w.clients, &w.clients
	w.loop.Arm(&w.sweeper, w, l.Now()+sweepEvery)
	return w, nil
}

func (w *worker) run(ctx context.Context) error {
	err := w.loop.Run(ctx)
	for c := w.clients.next; c != &w.clients; c = w.clients.next {
		c.lost()
	}
	for _, t := range w.targets {
		t.expire(forever)
	}
	return err
}

// Expire implements loop.Expirer: it is the sweep.
func (w *worker) Expire(now time.Duration) {
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
	w.loop.Arm(&w.sweeper, w, now+sweepEvery)
}

// random returns a pseudo-random number (xorshift64*, Vigna 2016): good enough to spread load by.
func (w *worker) random() uint64 {
	s := w.seed
	s ^= s >> 12
	s ^= s << 25
	s ^= s >> 27
	w.seed = s
	return s * 0x2545f4914f6cdd1d
}

// target returns the worker's view of an endpoint.
func (w *worker) target(x *exchange, ep *balance.Endpoint) (*target, error) {
	t := w.targets[ep]
	if t == nil {
		t = &target{w: w, ep: ep, stats: x.up.endpointStats(w, ep)}
		w.targets[ep] = t
	}
	if t.set != x.set {
		address := ep.Address()
		if ip, ok := x.set.Addresses[address]; ok {
			address = ip
		}
		addr, err := resolve(address)
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", ep.Address(), err)
		}
		if !addr.equal(&t.addr) {
			t.expire(forever) // the name means another server now
		}
		t.addr, t.set = addr, x.set
	}
	t.used = w.loop.Now()
	return t, nil
}

func (w *worker) newExchange(c *client, lis *Listener) *exchange {
	x := w.free
	if x == nil {
		x = &exchange{w: w}
	} else {
		w.free, x.next = x.next, nil
		w.freeLen--
	}
	x.c, x.lis = c, lis
	x.readMax = firstRead
	x.start = c.began
	x.moved = w.loop.Now()
	return x
}

// freeExchange makes x ready for its next use. What it held goes back; its small buffers stay with it.
func (w *worker) freeExchange(x *exchange) {
	w.loop.Disarm(&x.timer)
	w.bufs.put(x.req)
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

func (w *worker) remember(c *client) {
	c.next, c.prev = &w.clients, w.clients.prev
	w.clients.prev.next, w.clients.prev = c, c
	w.load.Add(1)
}

func (w *worker) forget(c *client) {
	c.prev.next, c.next.prev = c.next, c.prev
	c.next, c.prev = nil, nil
	w.load.Add(-1)
	c.b.leave(c.peer.Addr(), c.counted)
}
