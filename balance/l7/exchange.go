package l7

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/internal/loop"
)

// An exchange is a request and its answer, from the end of the request's head to the last byte sent.
type exchange struct {
	w     *worker
	c     *client
	lis   *Listener
	route *Route
	up    *Upstream
	set   *UpstreamSettings
	ep    *balance.Endpoint // on which the pool has reserved a place for this
	last  *balance.Endpoint // the one before
	t     *target
	u     *conn

	preferred *balance.Endpoint // whom the affinity cookie names

	method    http1.Method
	source    netip.Addr // of the client, as far as trusted proxies tell
	requestID []byte

	req     []byte // the request as the endpoint gets it; sent up to reqAt
	reqAt   int
	reqBody http1.Body
	ansBody http1.Body
	chunker bool // the answer's body ends with the connection, and the client gets it in chunks

	phase     phase
	attempts  int
	stales    int // attempts that only found a dead connection
	tried     []*balance.Endpoint
	hash      uint64
	waiter    balance.Waiter
	queueing  bool // the waiter is with the pool
	keepAlive bool // the client's connection goes on after this
	retained  bool // req holds everything sent so far, so that it can be sent again
	unparsed  bool // there is no request: its head was refused
	answered  bool // the head of the final answer has been handed to the client
	lost      bool // the client has gone
	tunnel    bool // the protocol was switched: bytes pass both ways
	upEnded   bool // in a tunnel: the endpoint sends no more
	done      bool // the endpoint's answer is complete
	ansAlive  bool // the endpoint keeps the connection
	awaiting  bool // the endpoint has been told that it owes an answer
	logging   bool // what is being built is a log line
	readMax   int
	status    int
	bytesIn   int64
	bytesOut  int64

	timer   loop.Timer
	start   time.Duration // when the request's first byte was read
	sent    time.Duration // when the attempt's request was sent, as far as it was there
	first   time.Duration // when the final answer's head came
	total   time.Duration // the whole request ends by then; 0 is no limit
	phaseBy time.Duration // the phase ends by then; 0 is no limit
	stallBy time.Duration // the endpoint's silence is looked at then; 0 is never
	moved   time.Duration // when a byte last moved in the phases after the head

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
	phaseConnect       // the connection
	phaseAnswer        // the head of the answer
	phaseBody          // the rest of the answer, or the client to take it
)

// retainMax bounds the part of a request that is kept for another attempt.
const retainMax = 64 << 10

// staleMax bounds how often a request is sent again because a reused connection turned out dead.
const staleMax = 3

// begin takes the request that the worker has just parsed; rest is what was read beyond its head.
func (x *exchange) begin(rest []byte) {
	q := &x.w.req
	x.method = q.Method
	x.keepAlive = q.KeepAlive
	x.c.minor = q.Minor
	x.source = x.lis.source(q, x.c.peer.Addr())
	x.reqBody.Reset(q.Framing, q.Length, http1.Verbatim)
	if x.lis.RequestID.Header != "" {
		x.identify(q)
	}
	if !normalise(x.w, q) {
		x.route = noRoute
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
	x.req = append(x.w.bufs.get(keep+len(x.reqBody.Tail())), rest[:keep]...)
	x.req = append(x.req, x.reqBody.Tail()...)
	x.c.keep(rest[used:])
	return true
}

// forward sends the request to an endpoint of the route's pool.
func (x *exchange) forward() {
	x.up = x.route.upstream(x.w.random())
	x.set = x.up.settings.Load()
	if x.route.Timeout > 0 {
		x.total = x.start + x.route.Timeout
	}
	q := &x.w.req
	p := &x.w.pick
	*p = balance.Request{Tried: x.tried[:0]}
	if x.set.Affinity.Cookie != "" {
		p.Prefer = x.up.prefer(&x.set.Affinity, q, x.w.loop.Now())
		x.preferred = p.Prefer
	}
	p.Hash = x.set.Hash.of(q, x.w.host, x.source)
	x.hash = p.Hash
	body := x.req
	x.req = x.w.bufs.get(len(body) + 1024)
	x.req = x.appendRequest(x.req)
	x.req = x.w.bufs.add(x.req, body)
	x.w.bufs.put(body)
	x.retained = true
	if b := x.budget(); b != nil {
		b.Request(x.w.loop.Now())
	}
	x.pick(p)
}

func (x *exchange) budget() *retry.Budget {
	if x.route.Budget != nil {
		return x.route.Budget
	}
	return x.up.Budget
}

// pick asks the pool for an endpoint, and waits in its queue if all are at their limit.
func (x *exchange) pick(p *balance.Request) {
	p.Now = x.w.loop.Now()
	p.Random = x.w.random()
	ep, err := x.up.Pool.Pick(p)
	switch err {
	case nil:
		x.attempt(ep)
	case balance.ErrSaturated:
		x.enqueue()
	default:
		x.up.counters.none.Add(1)
		x.fail(503, "no endpoint is available")
	}
}

func (x *exchange) enqueue() {
	x.bind()
	if err := x.up.Pool.Wait(&x.waiter, x.w.loop.Now()); err != nil {
		x.up.counters.queueFull.Add(1)
		x.fail(503, "too many requests are waiting")
		return
	}
	x.queueing = true
	x.up.counters.queued.Add(1)
	x.enter(phaseQueue, x.set.Queue)
}

// attempt sends the request to an endpoint, on which Pick has reserved a place.
func (x *exchange) attempt(ep *balance.Endpoint) {
	x.ep = ep
	x.attempts++
	t, err := x.w.target(x, ep)
	if err != nil {
		x.w.srv.log.Warn("endpoint cannot be dialled", "pool", x.up.Name, "endpoint", ep.Address(), "error", err)
		x.attemptFailed(failedConnect)
		return
	}
	x.t = t
	x.reqAt = 0
	if u := t.take(!x.method.Idempotent()); u != nil {
		x.use(u)
		x.startAnswer()
		x.flush()
		return
	}
	u, e := t.dial()
	if e != 0 {
		x.attemptFailed(failedConnect)
		return
	}
	x.use(u)
	x.enter(phaseConnect, x.set.Connect)
	x.flush()
}

func (x *exchange) use(u *conn) {
	x.u = u
	u.x = x
}

// connected goes on when a new connection is established.
func (x *exchange) connected() { x.startAnswer() }

// startAnswer begins the wait for the head of the answer.
func (x *exchange) startAnswer() {
	now := x.w.loop.Now()
	x.sent = now
	x.ep.Sent(now)
	x.awaiting = true
	x.stallBy = 0
	if x.set.Stall {
		x.stallBy = now + x.ep.StallAfter()
	}
	x.enter(phaseAnswer, x.answerLimit())
}

// answerLimit returns how long an endpoint may take to begin its answer.
func (x *exchange) answerLimit() time.Duration {
	limit := x.set.FirstByte
	if x.route.FirstByte > 0 {
		limit = x.route.FirstByte
	}
	return earliest(limit, x.route.PerTry)
}

// flush sends what the endpoint has not got of the request.
func (x *exchange) flush() {
	u := x.u
	for x.reqAt < len(x.req) {
		n, e := loop.Write(u.fd, x.req[x.reqAt:])
		if e == unix.EAGAIN {
			return
		}
		if e != 0 {
			x.writeFailed(e)
			return
		}
		if u.connecting {
			// The kernel took the bytes: the connection stands, and its event need not be waited for.
			u.connected()
		}
		x.reqAt += n
		x.moved = x.w.loop.Now()
	}
	if !x.retained {
		x.req, x.reqAt = x.req[:0], 0
	}
	if x.tunnel && x.c.peerDone && !x.c.readable {
		loop.ShutdownWrite(u.fd)
	}
	if x.wantsClient() && x.c.readable {
		x.c.pump()
	}
}

// writeFailed handles a broken connection. What the endpoint may have said before it closed (an early
// refusal of a large body, say) still counts, so the answer is looked for first.
func (x *exchange) writeFailed(e unix.Errno) {
	if x.u.connecting {
		x.attemptFailed(failedConnect)
		return
	}
	x.u.readable = true
	x.req, x.reqAt = x.req[:min(x.reqAt, len(x.req))], min(x.reqAt, len(x.req))
	if x.reqAt > 0 || e == unix.EPIPE {
		x.pumpBroken()
		return
	}
	x.attemptFailed(failedReset)
}

// wantsClient reports whether what the client sends next belongs to this exchange and can go on.
func (x *exchange) wantsClient() bool {
	if x.u == nil || x.u.connecting || x.reqAt < len(x.req) {
		return false
	}
	return x.tunnel || (!x.reqBody.Done() && !x.done)
}

// readClient reads more of the request's body, or of what follows a switch of protocols.
func (x *exchange) readClient() {
	c := x.c
	p, ok := c.read(bulkRead)
	switch {
	case !ok:
		c.lost()
		return
	case len(p) == 0 && !c.readable: // would block
		x.rearm()
		return
	case len(p) == 0:
		c.readable = false
		x.clientEnded()
		return
	}
	x.moved = x.w.loop.Now()
	if x.tunnel {
		x.bytesIn += int64(len(p))
		x.forwardBytes(p)
		return
	}
	keep, used, err := x.reqBody.Pass(p)
	x.bytesIn = x.reqBody.Received()
	c.keep(p[used:])
	if err != nil {
		x.bodyRefused(err)
		return
	}
	p = p[:keep]
	if x.reqBody.Done() {
		p = append(p, x.reqBody.Tail()...) // p has room: the scratch buffer goes on behind it
		if x.phase == phaseAnswer {
			x.enter(phaseAnswer, x.answerLimit())
		}
	}
	x.forwardBytes(p)
}

// bodyRefused ends a request whose body breaks the protocol while it is being sent on.
func (x *exchange) bodyRefused(err error) {
	status, text := 400, "bad request body"
	if bad, ok := err.(*http1.Error); ok {
		status, text = bad.Status, bad.Text
	}
	x.keepAlive = false
	x.giveBack(balance.Outcome{Result: balance.Canceled})
	x.failBroken(status, text)
}

// clientEnded is the end of the client's stream while its bytes are wanted.
func (x *exchange) clientEnded() {
	if x.tunnel {
		if x.reqAt == len(x.req) {
			loop.ShutdownWrite(x.u.fd)
		}
		x.endTunnel()
		return
	}
	x.c.lost() // the body is cut short: the request will never be whole
}

// forwardBytes sends bytes of the request on, and keeps what the endpoint does not take at once. As long as
// the whole request is small enough it is kept for another attempt.
func (x *exchange) forwardBytes(p []byte) {
	if x.retained {
		if len(x.req)+len(p) <= retainMax {
			x.req = x.w.bufs.add(x.req, p)
			x.flush()
			return
		}
		x.retained = false
		x.req, x.reqAt = x.req[:0], 0
	}
	n, e := loop.Write(x.u.fd, p)
	if e != 0 && e != unix.EAGAIN {
		x.writeFailed(e)
		return
	}
	if n < len(p) {
		x.req = x.w.bufs.add(x.req, p[n:])
	}
}

// attemptFailed ends an attempt that brought no answer, and makes another or gives up.
func (x *exchange) attemptFailed(f failure) {
	u := x.u
	stale := f == failedReset && u != nil && u.reused && len(u.in) == 0
	x.settle(f, stale)
	if u != nil {
		u.close()
	}
	x.u = nil
	if x.answered {
		x.abort()
		return
	}
	if x.mayRetry(f, stale) {
		x.again(reasonOf[f], stale)
		return
	}
	switch f {
	case failedTimeout, failedStall:
		x.fail(504, "the endpoint did not answer in time")
	default:
		x.fail(502, "the endpoint could not be reached")
	}
}

var outcomeOf = [failureKinds]balance.Result{
	failedConnect:  balance.ConnectFailed,
	failedReset:    balance.Reset,
	failedTimeout:  balance.Timeout,
	failedStall:    balance.Stalled,
	failedProtocol: balance.ServerError,
}

// settle tells the pool how the attempt ended.
func (x *exchange) settle(f failure, stale bool) {
	o := balance.Outcome{Result: outcomeOf[f]}
	if stale {
		o.Result = balance.Canceled // the endpoint closed an idle connection, as it may
	} else if x.t != nil {
		x.t.stats.failures[f].Add(1)
	}
	x.giveBack(o)
}

// giveBack returns the place on the endpoint to the pool, once.
func (x *exchange) giveBack(o balance.Outcome) {
	if ep := x.ep; ep != nil {
		x.ep = nil
		if x.awaiting {
			x.awaiting = false
			ep.Abandoned(x.w.loop.Now())
		}
		x.last = ep
		x.up.Pool.Done(ep, o, x.w.loop.Now())
	}
}

var reasonOf = [failureKinds]retry.When{
	failedConnect:  retry.Connect,
	failedReset:    retry.Reset,
	failedTimeout:  retry.Timeout,
	failedStall:    retry.Stall,
	failedProtocol: retry.Reset,
}

// mayRetry decides whether the request may go out once more. A request that may have reached an endpoint is
// sent again only if doing it twice does no harm (RFC 9110 §9.2.2).
func (x *exchange) mayRetry(f failure, stale bool) bool {
	unsent := f == failedConnect || x.reqAt == 0
	if x.lost || !x.retained || !(unsent || x.method.Idempotent()) {
		return false
	}
	if stale {
		x.stales++
		return x.stales <= staleMax
	}
	return x.route.Retry.Wants(x.attempts, reasonOf[f], 0) && x.afford()
}

// afford takes a retry out of the budget.
func (x *exchange) afford() bool {
	b := x.budget()
	if b == nil || b.Take(x.w.loop.Now()) {
		return true
	}
	x.up.counters.noBudget.Add(1)
	return false
}

// again makes another attempt, after the back-off that the policy wants.
func (x *exchange) again(reason retry.When, stale bool) {
	if stale {
		x.attempts--
	} else {
		x.tried = append(x.tried, x.last)
		x.counters().retries.Add(1)
	}
	x.reqAt = 0
	if !stale {
		if wait := x.route.Retry.Backoff(x.attempts, reason, x.w.random()); wait > 0 {
			x.enter(phaseBackoff, wait)
			return
		}
	}
	x.repick()
}

// repick picks for a further attempt. The request itself is no longer parsed; what matters of it was kept.
func (x *exchange) repick() {
	x.w.pick = balance.Request{Hash: x.hash, Tried: x.tried}
	x.pick(&x.w.pick)
}

// clientFlushed goes on when the client has taken everything that was kept for it.
func (x *exchange) clientFlushed() {
	x.moved = x.w.loop.Now()
	switch {
	case x.phase == phaseNone || x.done && !x.tunnel:
		x.end()
	case x.tunnel && x.upEnded:
		loop.ShutdownWrite(x.c.fd)
		x.endTunnel()
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
	x.giveBack(balance.Outcome{Result: balance.Canceled})
	if x.u != nil {
		x.u.close()
		x.u = nil
	}
	x.end()
}

// abort ends an answer that cannot be completed. The client sees it by the missing end.
func (x *exchange) abort() {
	x.lost = true
	x.c.close()
	x.end()
}

// end is the last step: everything is sent, or nobody is left to send it to.
func (x *exchange) end() {
	c, w := x.c, x.w
	if x.u != nil {
		x.u.close()
		x.u = nil
	}
	x.account()
	whole := x.reqBody.Done() && !x.unparsed
	keepAlive := x.keepAlive && whole && !x.lost
	w.freeExchange(x)
	if c.state != clientClosed {
		c.ended(keepAlive, whole)
	} else {
		c.x = nil
	}
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
		for r, i := x.w.random(), 0; i < 16; i++ {
			x.requestID = append(x.requestID, hex[r&15])
			r >>= 4
		}
	}
}

// ownID reports whether that is the field which carries the identity.
func (x *exchange) ownID(name []byte) bool { return equalFold(name, x.lis.RequestID.Header) }

func (x *exchange) counters() *routeCounters {
	if x.route == nil || x.route.stats == nil {
		return &x.lis.unrouted.workers[x.w.id]
	}
	return &x.route.stats.workers[x.w.id]
}

// account reports the whole request, once.
func (x *exchange) account() {
	n := x.counters()
	class := statusClass(x.status)
	if x.lost && x.status < 400 {
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
