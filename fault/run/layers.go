package run

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/fallback"
	"github.com/trivet-ha/trivet/fault/panics"
	"github.com/trivet-ha/trivet/fault/timeout"
)

func (c *call[T]) timeout(ctx context.Context, i int, limit time.Duration) (T, error) {
	v, err, _ := c.within(ctx, i, limit)
	return v, err
}

func (c *call[T]) learnedTimeout(ctx context.Context, i int, l *timeout.Learned) (T, error) {
	begun := c.time()
	v, err, late := c.within(ctx, i, l.Limit())
	if late || c.verdict.Outcome == fault.OK {
		now := c.time()
		l.Observe(now, now-begun)
	}
	return v, err
}

// within passes the next policies with a limit, and reports whether they were too
// late.
func (c *call[T]) within(ctx context.Context, i int, limit time.Duration) (v T, err error, late bool) {
	until := c.time() + limit
	if end, ok := ctx.Deadline(); ok && end.Sub(origin) <= until {
		v, err = c.enter(ctx, i+1) // the caller is the less patient
		return v, err, false
	}
	inner := &lazyContext{Context: ctx, until: origin.Add(until)}
	defer inner.end()
	v, err = c.enter(inner, i+1)
	if c.verdict.Outcome == fault.OK || c.time() < until || ctx.Err() != nil {
		return v, err, false
	}
	c.discard(v)
	v = *new(T)
	if c.verdict.Outcome == fault.Failed {
		c.verdict = fault.Verdict{Outcome: fault.Failed, Overload: true, Unsent: c.verdict.Unsent}
	} else {
		c.verdict.Final = false // it was not the caller who gave up
	}
	return v, &fault.TimeoutError{Limit: limit, Err: err}, true
}

func (c *call[T]) retry(ctx context.Context, i int, p *fault.Policy) (v T, err error) {
	p.Budget.Request(c.time())
	for attempts := 1; ; attempts++ {
		v, err = c.enter(ctx, i+1)
		if !c.again(p, attempts) || c.verdict.After > fault.MaxAfter || !p.Budget.Take(c.time()) {
			return v, err
		}
		wait := max(p.Retry.Backoff(attempts, c.verdict.Reason, rand.Uint64()), c.verdict.After)
		if !c.pause(ctx, wait) {
			p.Budget.Return(c.now)
			return v, err
		}
		c.discard(v)
	}
}

// again reports whether the last attempt may be made once more.
func (c *call[T]) again(p *fault.Policy, attempts int) bool {
	v := &c.verdict
	switch {
	case v.Outcome == fault.OK || v.Final || c.about.Unsafe && !v.Unsent:
		return false
	case v.Reason == 0:
		return attempts < p.Retry.Attempts
	}
	return p.Retry.Wants(attempts, v.Reason, v.Status)
}

func (c *call[T]) fallback(ctx context.Context, i int, p *fault.Policy) (v T, err error) {
	f, ok := p.Answer.(*fallback.Fallback[T])
	if !ok {
		return v, fmt.Errorf("call a function that returns %T: its fallback is %T", v, p.Answer)
	}
	v, err = c.enter(ctx, i+1)
	if c.verdict.Outcome == fault.OK {
		if err == nil {
			f.Good(c.time(), v)
		}
		return v, err
	}
	if ctx.Err() != nil {
		return v, err
	}
	answer, from := f.Answer(c.time(), err)
	if from == fallback.None {
		return v, err
	}
	c.discard(v)
	c.verdict = fault.Verdict{}
	return answer, nil
}

func (c *call[T]) otherwise(ctx context.Context, i int, p *fault.Policy) (v T, err error) {
	f, ok := p.Answer.(func(context.Context, error) (T, error))
	if !ok {
		return v, fmt.Errorf("call a function that returns %T: the other is %T", v, p.Answer)
	}
	v, err = c.enter(ctx, i+1)
	if c.verdict.Outcome == fault.OK || ctx.Err() != nil {
		return v, err
	}
	c.discard(v)
	v, err = f(ctx, err)
	c.stale = true
	c.verdict = c.judged(v, err)
	return v, err
}

func (c *call[T]) panics(ctx context.Context, i int, r *panics.Recorder) (v T, err error) {
	defer func() {
		if value := recover(); value != nil {
			c.read()
			c.verdict = fault.Verdict{Outcome: fault.Failed}
			err = r.Capture(c.now, value)
		}
	}()
	return c.enter(ctx, i+1)
}
