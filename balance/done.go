package balance

import (
	"time"

	"github.com/trivet-ha/trivet/fault/outlier"
)

// Result is how a request ended, as far as its endpoint is to be judged.
type Result uint8

// The results.
const (
	// OK: an answer that does not say that the server failed.
	OK Result = iota
	// ServerError: an answer that says so: 5xx.
	ServerError
	// ConnectFailed: there was no connection to send the request on.
	ConnectFailed
	// Reset: the connection ended before the answer did.
	Reset
	// Timeout: the answer, or its next part, took longer than the caller waits.
	Timeout
	// Stalled: the request was moved away because CheckStall said so.
	Stalled
	// Canceled: the request ended for a reason that is not the endpoint's.
	Canceled
)

func (r Result) String() string {
	return [...]string{"ok", "server_error", "connect_failed", "reset", "timeout", "stalled", "canceled"}[r]
}

// Outcome is what the caller learned about an endpoint from one request.
type Outcome struct {
	Result Result
	// Latency is the time from sending the request to the first byte of the
	// answer; 0 if there was none.
	Latency time.Duration
	// Status is the status of the answer, for people; 0 if there was none.
	Status int
}

// Done reports how a request ended, gives its place back, and hands it to the
// first request that waits. It is called exactly once for each successful Pick
// and each Waiter that was woken, and is the only place where outcomes are
// reported.
func (p *Pool) Done(e *Endpoint, o Outcome, now time.Duration) {
	switch o.Result {
	case OK:
		if o.Latency > 0 {
			e.latency.observe(o.Latency, now, p.view.Load().config.Decay)
		}
		if e.record.Success(now) {
			p.trust(e, now)
		}
	case ConnectFailed:
		p.fail(e, outlier.Connect, o.Latency, now)
	case ServerError, Reset, Timeout, Stalled:
		p.fail(e, outlier.Errors, o.Latency, now)
	}
	p.release(e, now)
}

// fail holds a failure against e. Its latency counts only if it is worse than
// the average: failing fast must not attract requests.
func (p *Pool) fail(e *Endpoint, cause outlier.Cause, latency, now time.Duration) {
	c := &p.view.Load().config
	if float32(latency) > e.latency.at(now, c.Decay) {
		e.latency.observe(latency, now, c.Decay)
	}
	if s, suspect := e.record.Failure(cause, now); suspect && !c.Outlier.Disabled {
		p.eject(e, s, now)
	}
}

// release gives e's place to a waiting request or back.
func (p *Pool) release(e *Endpoint, now time.Duration) {
	if p.queue.pending.Load() > 0 {
		e.stall.settle(e.inFlight.Load() - 1)
		if p.handOver(e) {
			return
		}
	}
	e.stall.settle(e.inFlight.Add(-1))
	p.inFlight.Add(-1)
	if p.queue.pending.Load() > 0 {
		p.dispatch(now)
	}
}
