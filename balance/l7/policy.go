package l7

import (
	"time"

	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/limit"
	"github.com/trivet-ha/trivet/fault/limit/adaptive"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/shed"
)

// A RateLimit bounds the requests of each client, or of whatever its key tells apart. Who is above it gets a
// 429 that says when to come back.
type RateLimit struct {
	Hash    Hash // what tells clients apart
	All     bool // nothing does: one limit for all
	Limiter *limit.Keyed
}

// Guards decide whether a pool takes a request at all. They outlive reloads; nil ones guard nothing.
type Guards struct {
	Breaker     *breaker.Breaker  // stops asking a pool that fails
	Concurrency *adaptive.Limiter // lets in as many at a time as the pool can bear
	Shed        *shed.Shedder     // refuses the least important first when the pool refuses many
}

// A Fallback is what a client gets in place of a failure: one of Respond and Upstream.
type Fallback struct {
	When     retry.StatusSet // the failures, by the status that they would have
	Respond  *Respond
	Upstream *Upstream // another pool, which is asked once more
}

// deed is something that a policy has done to a request.
type deed uint8

const (
	deedLimited deed = iota
	deedShed
	deedBroken
	deedCrowded
	deedHeld
	deedHedged
	deedHedgeWon
	deedFellBack
	deedInjected
	deedKinds
)

var deedNames = [deedKinds]string{
	"rate_limited", "shed", "breaker_open", "concurrency_limited", "held", "hedged", "hedge_won", "fallback", "fault_injected",
}

func (x *exchange) did(d deed) { x.counters().deeds[d].Add(1) }

// withinRates asks the route's rate limits. It reports false if the request was answered because of one; what
// earlier limits have given goes back.
func (x *exchange) withinRates() bool {
	now := x.w.Loop.Now()
	for i := range x.route.Limits {
		l := &x.route.Limits[i]
		wait, ok := l.Limiter.Take(now, x.limitKey(l), 1)
		if ok {
			continue
		}
		for j := range i {
			x.route.Limits[j].Limiter.Return(now, x.limitKey(&x.route.Limits[j]), 1)
		}
		x.did(deedLimited)
		x.retryAfter = wait
		x.fail(429, "too many requests")
		return false
	}
	return true
}

func (x *exchange) limitKey(l *RateLimit) uint64 {
	if l.All {
		return 0
	}
	return l.Hash.of(&x.w.req, x.w.host, x.source)
}

// admit asks the guards of the pool. It reports false if the request was answered because of one.
func (x *exchange) admit() bool {
	g, now := &x.set.Guards, x.w.Loop.Now()
	if g.Shed != nil {
		if !g.Shed.Admit(now, x.route.Priority, x.w.Random()) {
			x.did(deedShed)
			x.fail(503, "the service is overloaded")
			return false
		}
		x.admitted.shed = true
	}
	if g.Breaker != nil {
		var ok bool
		if x.admitted.call, ok = g.Breaker.Allow(now); !ok {
			x.leave(guardIgnore)
			x.did(deedBroken)
			x.retryAfter = g.Breaker.Wait(now)
			x.fail(503, "the service has failed too often of late")
			return false
		}
		x.admitted.breaker = true
	}
	if g.Concurrency != nil {
		var ok bool
		if x.admitted.place, ok = g.Concurrency.Acquire(now); !ok {
			x.leave(guardIgnore)
			x.did(deedCrowded)
			x.fail(503, "the service is at its limit")
			return false
		}
		x.admitted.concurrency = true
	}
	return true
}

// admission is what the guards have given and want back.
type admission struct {
	shed, breaker, concurrency bool
	call                       breaker.Ticket
	place                      adaptive.Ticket
}

// guardOutcome is how a request went, as guards see it.
type guardOutcome uint8

const (
	guardIgnore guardOutcome = iota // it says nothing of the pool
	guardOK
	guardFailed
)

// judge says how the request went.
func (x *exchange) judge() guardOutcome {
	switch {
	case x.status >= 500:
		return guardFailed
	case x.lost && !x.done:
		return guardIgnore
	}
	return guardOK
}

// leave tells the guards that the request is over.
func (x *exchange) leave(o guardOutcome) {
	a := &x.admitted
	if !a.shed && !a.breaker && !a.concurrency {
		return
	}
	g, now := &x.set.Guards, x.w.Loop.Now()
	if a.shed {
		g.Shed.Done(now, [...]shed.Outcome{shed.Ignored, shed.Accepted, shed.Refused}[o])
	}
	if a.breaker {
		g.Breaker.Done(a.call, [...]breaker.Outcome{breaker.Ignored, breaker.OK, breaker.Failed}[o], now)
	}
	if a.concurrency {
		g.Concurrency.Done(a.place, [...]adaptive.Outcome{adaptive.Ignored, adaptive.OK, adaptive.Dropped}[o], now)
	}
	*a = admission{}
}

// fallBack gives the client something else in place of a failure with that status. It reports false if the
// route has nothing.
func (x *exchange) fallBack(status int) bool {
	if x.route == nil {
		return false
	}
	f := x.route.Fallback
	if f == nil || x.fellBack || x.answered || x.up == nil || !f.When.Has(status) {
		return false
	}
	if f.Upstream == nil {
		x.fellBack = true
		x.did(deedFellBack)
		x.reply(f.Respond.Status, f.Respond.Type, f.Respond.Body, &f.Respond.Headers)
		return true
	}
	if !x.retained || x.reqAt > 0 && !x.method.Idempotent() {
		return false
	}
	x.fellBack = true
	x.did(deedFellBack)
	x.status = status
	x.leave(x.judge())
	x.status = 0
	x.up, x.preferred = f.Upstream, nil
	x.set = x.up.settings.Load()
	x.attempts, x.tried, x.reqAt = 0, x.tried[:0], 0
	x.repick()
	return true
}

// hold makes the request wait until the pool has an endpoint again, if the pool wants that. Requests go out in
// the order in which they came.
func (x *exchange) hold() bool {
	if x.set.Hold <= 0 || !x.retained {
		return false
	}
	x.did(deedHeld)
	x.wait(x.set.Hold)
	return true
}

// Deeds are what policies have done to the requests of a route since the process began, by name.
func (r *routeCounters) deedsInto(all map[string]uint64) {
	for d := range r.deeds {
		all[deedNames[d]] += r.deeds[d].Load()
	}
}

// retryAfterMax bounds what a client is told to wait.
const retryAfterMax = time.Hour
