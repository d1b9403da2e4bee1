package faulthttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/run"
)

// TransportConfig says how requests are made. The zero TransportConfig means the
// defaults.
type TransportConfig struct {
	// Base makes the attempts. Default http.DefaultTransport.
	Base http.RoundTripper
	// Stack is the policies around each request. Its time-outs are for the time
	// until the head of the answer has come. Default: [Retry] within a budget.
	Stack *fault.Stack
	// Idle is how long the next part of an answer's body may take to come once it
	// is asked for. 0 is no limit but that of the request's context.
	Idle time.Duration
	// About says what policies want to know about a request. By default it is
	// nothing. Whether the request is unsafe is found out anyway.
	About func(*http.Request) fault.Call
	// Judge says what the end of an attempt means. Default [Judge].
	Judge func(*http.Response, error) fault.Verdict
	// BodyLimit is the size in bytes up to which a request's body is kept so that
	// it can be sent again, if the request can't make it anew (GetBody). Larger
	// ones are sent once. Default 64 KiB; negative keeps none.
	BodyLimit int64
}

// WithDefaults returns c with the default in place of each zero.
func (c TransportConfig) WithDefaults() TransportConfig {
	if c.Base == nil {
		c.Base = http.DefaultTransport
	}
	if c.Stack == nil {
		c.Stack = fault.Must(fault.New(fault.Retry(Retry(), nil)))
	}
	if c.About == nil {
		c.About = func(*http.Request) fault.Call { return fault.Call{} }
	}
	if c.Judge == nil {
		c.Judge = Judge
	}
	if c.BodyLimit == 0 {
		c.BodyLimit = 64 << 10
	}
	return c
}

// Check reports the first value of c that makes no sense.
func (c TransportConfig) Check() error {
	if c.Idle < 0 {
		return fmt.Errorf("faulthttp: idle time %v is negative", c.Idle)
	}
	return nil
}

// Retry is the retry policy that is right for HTTP: the usual reasons, and the
// statuses of gateways that found nobody behind them.
func Retry() retry.Policy {
	return retry.Policy{Statuses: retry.Statuses(http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout)}
}

// Transport is an http.RoundTripper that makes requests under policies. One is
// made for each service that is asked, so that its policies learn about that
// service.
type Transport struct {
	config TransportConfig
	runner run.Runner[*http.Response]
}

// NewTransport returns a transport. The error says what is wrong with c.
func NewTransport(c TransportConfig) (*Transport, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c = c.WithDefaults()
	return &Transport{
		config: c,
		runner: run.Runner[*http.Response]{Stack: c.Stack, Judge: c.Judge, Discard: discard},
	}, nil
}

// RoundTrip makes the request. The error is the base transport's, or a
// *[fault.Refusal] or *[fault.TimeoutError].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	about := t.config.About(req)
	about.Unsafe = about.Unsafe || !Safe(req)
	body, err := repeatable(req, t.config.BodyLimit)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the request's body: %w", err)
	case body == nil && has(req):
		return t.once(req, about)
	case has(req):
		defer req.Body.Close()
	}
	return t.runner.Do(req.Context(), about, func(ctx context.Context) (*http.Response, error) {
		return t.attempt(ctx, req, body)
	})
}

// once makes a request whose body can be sent once.
func (t *Transport) once(req *http.Request, about fault.Call) (*http.Response, error) {
	about.Unsafe = true
	runner := t.runner
	runner.Judge = func(r *http.Response, err error) fault.Verdict {
		v := t.config.Judge(r, err)
		v.Final = true
		return v
	}
	begun := false
	resp, err := runner.Do(req.Context(), about, func(ctx context.Context) (*http.Response, error) {
		begun = true
		return t.attempt(ctx, req, nil)
	})
	if !begun { // nobody else closes it
		req.Body.Close()
	}
	return resp, err
}

// Safe reports whether the effect of the request may happen twice: its method is
// idempotent (RFC 9110 §9.2.2), or it has an Idempotency-Key.
func Safe(req *http.Request) bool {
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	return retry.Safe(method, true) || req.Header.Get("Idempotency-Key") != "" || req.Header.Get("X-Idempotency-Key") != ""
}

// has reports whether the request has a body.
func has(req *http.Request) bool { return req.Body != nil && req.Body != http.NoBody }

// repeatable returns a function that makes the request's body anew for each
// attempt, or nil if there is none or it can only be sent once.
func repeatable(req *http.Request, limit int64) (func() (io.ReadCloser, error), error) {
	switch {
	case !has(req):
		return nil, nil
	case req.GetBody != nil:
		return req.GetBody, nil
	case req.ContentLength < 0 || req.ContentLength > limit:
		return nil, nil
	}
	kept, err := io.ReadAll(io.LimitReader(req.Body, req.ContentLength))
	if err != nil {
		req.Body.Close()
		return nil, err
	}
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(kept)), nil }, nil
}

// attempt makes the request once, with a body made anew unless body is nil. ctx is
// the attempt's and ends with it, so the answer's body must not depend on it: that
// lives by the request's own.
func (t *Transport) attempt(ctx context.Context, req *http.Request, body func() (io.ReadCloser, error)) (*http.Response, error) {
	again := req
	if body != nil {
		b, err := body()
		if err != nil {
			return nil, fmt.Errorf("make the request's body anew: %w", err)
		}
		again = req.WithContext(req.Context())
		again.Body, again.GetBody = b, body
	}
	if ctx == req.Context() && t.config.Idle == 0 {
		return t.config.Base.RoundTrip(again)
	}
	inner, cancel := context.WithCancelCause(req.Context())
	unlink := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	resp, err := t.config.Base.RoundTrip(again.WithContext(inner))
	if linked := unlink(); err == nil && linked {
		resp.Body = newBody(resp.Body, t.config.Idle, cancel)
		return resp, nil
	}
	cancel(nil)
	if err == nil { // the answer came as the attempt ended
		discard(resp)
		err = ctx.Err()
	}
	if end := ctx.Err(); end != nil && req.Context().Err() == nil && !errors.Is(err, end) {
		err = fmt.Errorf("%w: %w", end, err) // the attempt's end, and not the caller's
	}
	return nil, err
}
