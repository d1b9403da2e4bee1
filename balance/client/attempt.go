package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/faulthttp"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/run"
)

// errStalled: the server has stopped answering anybody.
var errStalled = errors.New("the server has stopped answering")

// attempts is the http.RoundTripper that gives each attempt to a server.
type attempts struct{ client *Client }

func (a attempts) RoundTrip(req *http.Request) (*http.Response, error) {
	c := a.client
	before, _ := req.Context().Value(triedKey{}).(*tried)
	e, err := c.choose(req, before.list())
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, fmt.Errorf("choose one of the %s: %w", c.pool.Name(), err)
	}
	before.add(e)
	return c.send(req, e)
}

// choose picks a server, and waits for one if there is none.
func (c *Client) choose(req *http.Request, before []*balance.Endpoint) (*balance.Endpoint, error) {
	now := run.Now()
	e, err := c.pool.Pick(&balance.Request{Hash: c.config.Key(req), Now: now, Tried: before})
	if err == nil || c.config.Hold < 0 {
		return e, err
	}
	return c.hold(req.Context(), now, err)
}

// hold waits for a server until the time is up, which is then said by why.
func (c *Client) hold(ctx context.Context, now time.Duration, why error) (*balance.Endpoint, error) {
	given := make(chan *balance.Endpoint, 1)
	w := &balance.Waiter{Wake: func(e *balance.Endpoint) { given <- e }}
	if err := c.pool.Wait(w, now); err != nil {
		return nil, err
	}
	end := now + c.config.Hold
	timer := time.NewTimer(0) // the pool needs somebody to tell it the time
	defer timer.Stop()
	for {
		select {
		case e := <-given:
			return e, nil
		case <-ctx.Done():
			why = context.Cause(ctx)
		case <-timer.C:
			if now = run.Now(); now < end {
				next := min(max(c.pool.Tick(now), now+time.Millisecond), end)
				timer.Reset(next - now)
				continue
			}
		}
		if c.pool.Cancel(w) {
			return nil, why
		}
		return <-given, nil
	}
}

// send makes the attempt at the server, and sees to it that the pool learns how it
// went, exactly once: when it has failed, or when the answer's body has ended.
func (c *Client) send(req *http.Request, e *balance.Endpoint) (*http.Response, error) {
	server, err := c.server(e)
	if err != nil {
		c.pool.Done(e, balance.Outcome{Result: balance.Canceled}, run.Now())
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	again := req.WithContext(ctx)
	again.URL, again.Host = target(server, req)
	sent := run.Now()
	e.Sent(sent)
	w := c.watch(req, e, sent, cancel)
	resp, err := c.base.RoundTrip(again)
	now := run.Now()
	w.stop()
	if err != nil {
		e.Abandoned(now)
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		c.pool.Done(e, balance.Outcome{Result: resultOf(err, req)}, now)
		cancel(nil)
		return nil, err
	}
	e.Answered(now, now-sent)
	o := balance.Outcome{Result: balance.OK, Latency: now - sent, Status: resp.StatusCode}
	if resp.StatusCode >= 500 {
		o.Result = balance.ServerError
	}
	end := func(err error) {
		if err != nil {
			o.Result = resultOf(err, req)
		}
		c.pool.Done(e, o, run.Now())
		cancel(nil)
	}
	if resp.Body == http.NoBody {
		end(nil)
		return resp, nil
	}
	resp.Body = newBody(resp.Body, end)
	return resp, nil
}

// watch asks, from time to time, whether the server that an answer is waited for
// has stopped answering, and then ends the attempt if another can be made.
func (c *Client) watch(req *http.Request, e *balance.Endpoint, sent time.Duration, cancel context.CancelCauseFunc) *watch {
	w := &watch{}
	if c.config.Pool.Stall.Disabled || !faulthttp.Safe(req) || req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		w.stopped = true
		return w
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(e.StallAfter(), func() {
		stalled := c.pool.CheckStall(e, sent, run.Now())
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case w.stopped:
		case stalled:
			cancel(errStalled)
		default:
			w.timer.Reset(max(e.StallAfter()/4, 10*time.Millisecond))
		}
	})
	return w
}

type watch struct {
	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
}

func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.stopped = true
		w.timer.Stop()
	}
}

// resultOf says what an error tells about the server.
func resultOf(err error, req *http.Request) balance.Result {
	if errors.Is(err, errStalled) {
		return balance.Stalled
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return balance.ConnectFailed
	}
	n, isNet := errors.AsType[net.Error](err)
	switch cause := context.Cause(req.Context()); {
	case errors.Is(cause, context.DeadlineExceeded), errors.Is(cause, fault.ErrTimeout), cause == nil && isNet && n.Timeout():
		return balance.Timeout
	case cause != nil:
		return balance.Canceled
	}
	return balance.Reset
}

// verdictOf says what the errors of this package mean to the policies.
func verdictOf(err error) (fault.Verdict, bool) {
	switch {
	case errors.Is(err, errStalled):
		return fault.Verdict{Outcome: fault.Failed, Reason: retry.Stall}, true
	case errors.Is(err, balance.ErrNone), errors.Is(err, balance.ErrSaturated), errors.Is(err, balance.ErrQueueFull):
		return fault.Verdict{Outcome: fault.Ignored, Final: true, Unsent: true}, true
	}
	return fault.Verdict{}, false
}

// target returns where at the server the request goes, and its Host header: the
// one that its caller named, if any.
func target(server *url.URL, req *http.Request) (*url.URL, string) {
	u := *req.URL
	u.Scheme, u.Host = server.Scheme, server.Host
	if prefix := strings.TrimSuffix(server.Path, "/"); prefix != "" {
		u.Path = prefix + "/" + strings.TrimPrefix(u.Path, "/")
		if u.RawPath != "" {
			u.RawPath = strings.TrimSuffix(server.EscapedPath(), "/") + "/" + strings.TrimPrefix(u.RawPath, "/")
		}
	}
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	return &u, host
}

// hostPort is what is connected to.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
