package l7

import (
	"net/netip"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/internal/loop"
)

// An exchange is a request and its answer, from the end of the request's head to the last byte sent.
type exchange struct {
	w     *worker
	c     downstream
	lis   *Listener
	route *Route
	up    *Upstream
	set   *UpstreamSettings
	ep    *balance.Endpoint // on which the pool has reserved a place for this
	last  *balance.Endpoint // the one before
	t     *target
	u     *conn

	preferred *balance.Endpoint // whom the affinity cookie names

	rival     rival     // the second attempt, if there is one
	hedges    int       // second attempts made
	heldBytes int       // what it keeps while it is held
	admitted  admission // what the pool's guards have given

	method    http1.Method
	source    netip.Addr // of the client, as far as trusted proxies tell
	requestID []byte

	req     []byte // the request as the endpoint gets it; sent up to reqAt
	reqAt   int
	framing http1.Framing // of the request's body
	length  int64         // of it, if that is declared
	reqBody http1.Body
	ansBody http1.Body
	chunker bool // the answer's body ends with the connection, and the client gets it in chunks

	phase     phase
	attempts  int
	tried     []*balance.Endpoint
	hash      uint64
	waiter    balance.Waiter
	queueing  bool // the waiter is with the pool
	keepAlive bool // the client's connection goes on after this
	retained  bool // req holds everything sent so far, so that it can be sent again
	stale     bool // an attempt has found a connection that was dead: the next ones open their own
	upgrading bool // the endpoint has been asked to switch protocols
	bare      bool // only the connection's end tells the client where the answer ends
	unparsed  bool // there is no request: its head was refused
	answered  bool // the head of the final answer has been handed to the client
	lost      bool // the client has gone
	tunnel    bool // the protocol was switched: bytes pass both ways
	upEnded   bool // in a tunnel: the endpoint sends no more
	downEnded bool // in a tunnel: the client sends no more
	done      bool // the endpoint's answer is complete
	ansAlive  bool // the endpoint keeps the connection
	awaiting  bool // the endpoint has been told that it owes an answer
	logging   bool // what is being built is a log line
	fellBack  bool // the fallback has been used
	http2     bool // the client speaks HTTP/2
	minor     int  // the client speaks HTTP/1.minor
	readMax   int
	status    int
	bytesIn   int64
	bytesOut  int64

	timer   loop.Timer
	start   time.Duration // when the request's first byte was read
	sent    time.Duration // when the attempt's request was sent whole; 0 before
	first   time.Duration // when the final answer's head came
	total   time.Duration // the whole request ends by then; 0 is no limit
	phaseBy time.Duration // the phase ends by then; 0 is no limit
	stallBy time.Duration // the endpoint's silence is looked at then; 0 is never
	heldBy  time.Duration // the request is held until then at the longest; 0 if it was not
	hedgeBy time.Duration // a second attempt is made then; 0 is never
	wholeBy time.Duration // the answer is passed on then though it is not whole; 0 if nothing of it has come
	paceBy  time.Duration // the answer goes on then, under an injected bandwidth; 0 is at once
	moved   time.Duration // when a byte last moved in the phases after the head
	asked   time.Duration // since when the client's next bytes are waited for; 0 if they are not
	waited  time.Duration // how long that has taken before, in all

	retryAfter time.Duration // what a client that is turned away is told; 0 is a second

	log  logFields
	life uint64 // counts the uses of this object
	next *exchange
}

// phase is what an exchange waits for.
type phase uint8

const (
	phaseNone    phase = iota
	phaseQueue         // a free endpoint
	phaseBackoff       // the time of the next attempt
	phaseHeld          // an endpoint that can be connected to
	phaseConnect       // the connection
	phaseSend          // the rest of the request, or the endpoint to take it
	phaseAnswer        // the head of the answer
	phaseBody          // the rest of the answer, or the client to take it
)

// retainMax bounds the part of a request that is kept for another attempt.
const retainMax = 64 << 10

// begin takes the request that the worker has just parsed; rest is what was read beyond its head.
func (x *exchange) begin(rest []byte) {
	q := &x.w.req
	x.method = q.Method
	x.keepAlive = q.KeepAlive
	x.minor = q.Minor
	if x.http2 {
		x.minor = 1 // what is not told apart below is as in HTTP/1.1
	}
	x.source = x.lis.source(q, x.c.peer().Addr())
	x.framing, x.length = q.Framing, q.Length
	x.reqBody.Reset(q.Framing, q.Length, http1.Verbatim)
	if x.reqBody.Done() {
		x.c.keep(rest)
		rest = nil
	}
	if x.lis.RequestID.Header != "" {
		x.identify(q)
	}
	if !normalise(x.w, q) {
		x.route = noRoute
		x.log.remember(x)
		x.fail(400, "the path leads out of the site")
		return
	}
	x.w.host = appendHostName(x.w.host[:0], q.Host)
	x.w.query = query{req: q, host: x.w.host, source: x.source}
	x.route = x.lis.index.find(&x.w.query)
	if x.lis.Log != nil || x.route != nil && !x.route.ResponseHeaders.empty() {
		x.log.remember(x)
	}
	switch r := x.route; {
	case r == nil:
		x.route = noRoute
		x.fail(404, "no route for this host and path")
	case !x.lis.Access.Permits(x.source) || !r.Access.Permits(x.source):
		x.fail(403, "this address may not")
	case len(r.Limits) > 0 && !x.withinRates():
	case x.spoil():
	case !x.takeBody(rest):
	case r.Redirect != nil:
		x.redirect(r.Redirect)
	case r.Respond != nil:
		x.reply(r.Respond.Status, r.Respond.Type, r.Respond.Body, &r.Respond.Headers)
	default:
		x.forward()
	}
}

// takeBody looks at the part of the body that came with the head, and leaves it at the end of x.req. It
// reports false if the request was answered because of it.
func (x *exchange) takeBody(rest []byte) bool {
	q := &x.w.req
	limit := x.lis.BodyMax
	if x.route.BodyMax > 0 {
		limit = x.route.BodyMax
	}
	x.reqBody.Limit, x.reqBody.Drop = limit, x.route.dropRequest
	if limit > 0 && q.Length > limit {
		x.fail(413, "the body is too large")
		return false
	}
	keep, used, err := x.reqBody.Pass(rest)
	if err != nil {
		x.refuse(err)
		return false
	}
	x.bytesIn = x.reqBody.Received()
	x.req = append(x.w.Bufs.Get(keep+len(x.reqBody.Tail())), rest[:keep]...)
	x.req = append(x.req, x.reqBody.Tail()...)
	x.c.keep(rest[used:])
	return true
}

// forward sends the request to an endpoint of the route's pool.
func (x *exchange) forward() {
	x.up = x.route.upstream(x.w.Random())
	x.set = x.up.settings.Load()
	if x.route.Timeout > 0 {
		x.total = x.start + x.route.Timeout
	}
	if !x.admit() {
		return
	}
	q := &x.w.req
	p := &x.w.pick
	*p = balance.Request{Tried: x.tried[:0], Movable: x.movable()}
	if x.set.Affinity.Cookie != "" {
		p.Prefer = x.up.prefer(&x.set.Affinity, q, x.w.Loop.Now())
		x.preferred = p.Prefer
	}
	p.Hash = x.set.Hash.of(q, x.w.host, x.source)
	x.hash = p.Hash
	body := x.req
	x.req = x.w.Bufs.Get(len(body) + 1024)
	x.req = x.appendRequest(x.req)
	x.req = x.w.Bufs.Add(x.req, body)
	x.w.Bufs.Put(body)
	x.retained = true
	if b := x.budget(); b != nil {
		b.Request(x.w.Loop.Now())
	}
	if !x.delayed() {
		x.pick(p)
	}
}

// movable reports whether the request could go to another endpoint if its own stopped answering.
func (x *exchange) movable() bool {
	return x.set.Stall && x.method.Idempotent() && x.reqBody.Done() && x.route.Retry.Wants(1, retry.Stall, 0)
}

func (x *exchange) budget() *retry.Budget {
	if x.route.Budget != nil {
		return x.route.Budget
	}
	return x.up.Budget
}

// pick asks the pool for an endpoint, and waits in its queue if all are at their limit.
func (x *exchange) pick(p *balance.Request) {
	p.Now = x.w.Loop.Now()
	p.Random = x.w.Random()
	ep, err := x.up.Pool.Pick(p)
	switch err {
	case nil:
		x.attempt(ep)
	case balance.ErrSaturated:
		x.enqueue()
	default:
		if x.hold() {
			return
		}
		x.up.counters.none.Add(1)
		x.fail(503, "no endpoint is available")
	}
}

func (x *exchange) enqueue() { x.wait(x.set.Queue) }

// wait puts the request into its pool's queue, for limit at the longest.
func (x *exchange) wait(limit time.Duration) {
	if !x.c.watch() { // it may be long, and nobody may be left at its end
		x.c.lost()
		return
	}
	x.bind()
	if err := x.up.Pool.Wait(&x.waiter, x.w.Loop.Now()); err != nil {
		x.up.counters.queueFull.Add(1)
		x.fail(503, "too many requests are waiting")
		return
	}
	x.queueing = true
	x.up.counters.queued.Add(1)
	x.enter(phaseQueue, limit)
}

// clientFlushed goes on when the client has taken everything that was kept for it.
func (x *exchange) clientFlushed() {
	x.moved = x.w.Loop.Now()
	switch {
	case x.tunnel && x.upEnded:
		x.passEnds()
	case x.done:
		x.end()
	case x.u != nil && x.u.readable:
		x.pump()
	}
}

// clientLost gives up a request whose client has gone.
func (x *exchange) clientLost() {
	x.lost = true
	if x.queueing && !x.up.Pool.Cancel(&x.waiter) {
		return // an endpoint is on its way; its waker ends the exchange
	}
	x.queueing = false
	x.letGo()
	x.giveBack(balance.Outcome{Result: balance.Canceled})
	x.end()
}

// abort ends an answer that cannot be completed. The client sees it by the missing end, or where it would take
// any end for the right one, by a reset.
func (x *exchange) abort() {
	x.lost = true
	if x.bare {
		x.c.cut()
	}
	x.c.abandon()
	x.end()
}

// end is the last step: everything is sent, or nobody is left to send it to.
func (x *exchange) end() {
	c, w := x.c, x.w
	if x.u != nil {
		x.u.close()
		x.u = nil
	}
	x.dropRival(balance.Canceled)
	x.leave(x.judge())
	x.account()
	whole := x.reqBody.Done() && !x.unparsed
	keepAlive := x.keepAlive && whole && !x.lost
	w.freeExchange(x)
	c.over(keepAlive, whole)
}

// identify gives the request an identity: the client's if it is believed, else a new one.
func (x *exchange) identify(q *http1.Request) {
	if x.lis.RequestID.Trust {
		for i := range q.Fields {
			if v := q.Fields[i].Value; len(v) > 0 && len(v) <= 128 && x.ownID(q.Fields[i].Name) {
				x.requestID = append(x.requestID[:0], v...)
				return
			}
		}
	}
	const hex = "0123456789abcdef"
	for range 2 {
		for r, i := x.w.Random(), 0; i < 16; i++ {
			x.requestID = append(x.requestID, hex[r&15])
			r >>= 4
		}
	}
}

// ownID reports whether that is the field which carries the identity.
func (x *exchange) ownID(name []byte) bool { return equalFold(name, x.lis.RequestID.Header) }

func (x *exchange) counters() *routeCounters {
	if x.route == nil || x.route.stats == nil {
		return &x.lis.unrouted.workers[x.w.ID]
	}
	return &x.route.stats.workers[x.w.ID]
}

// account reports the whole request, once.
func (x *exchange) account() {
	n := x.counters()
	class := statusClass(x.status)
	if x.lost && x.status < 400 && !x.tunnel {
		class = 0
	}
	n.status[class].Add(1)
	if x.bytesIn > 0 {
		n.bytesIn.Add(uint64(x.bytesIn))
	}
	n.bytesOut.Add(uint64(x.bytesOut))
	n.latency.observe(x.took())
	if x.lis.Log != nil {
		x.lis.Log.add(x)
	}
}
