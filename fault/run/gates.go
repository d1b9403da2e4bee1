package run

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/bulkhead"
	"github.com/trivet-ha/trivet/fault/limit/adaptive"
	"github.com/trivet-ha/trivet/fault/shed"
)

// The policies here let a call in and are told how it went. If the function
// panics they are told that it failed.

func (c *call[T]) breaker(ctx context.Context, i int, b *breaker.Breaker) (v T, err error) {
	t, ok := b.Allow(c.time())
	if !ok {
		return c.refused(i, fault.ErrOpen, b.Wait(c.now))
	}
	ended := false
	defer func() {
		if !ended {
			b.Done(t, breaker.Failed, Now())
		}
	}()
	v, err = c.enter(ctx, i+1)
	ended = true
	if c.verdict.Outcome != fault.OK || b.Timed() {
		c.time()
	}
	b.Done(t, c.verdict.Breaker(), c.now)
	return v, err
}

func (c *call[T]) shed(ctx context.Context, i int, s *shed.Shedder) (v T, err error) {
	if !s.Admit(c.time(), c.about.Priority, rand.Uint64()) {
		return c.refused(i, fault.ErrShed, 0)
	}
	ended := false
	defer func() {
		if !ended {
			s.Done(Now(), shed.Refused)
		}
	}()
	v, err = c.enter(ctx, i+1)
	ended = true
	s.Done(c.time(), c.verdict.Shed())
	return v, err
}

func (c *call[T]) adaptive(ctx context.Context, i int, l *adaptive.Limiter) (v T, err error) {
	t, ok := l.Acquire(c.time())
	if !ok {
		if !c.queue(ctx, l.Gate()) {
			return c.full(ctx, i)
		}
		t = l.Admitted(c.now)
	}
	ended := false
	defer func() {
		if !ended {
			l.Done(t, adaptive.Ignored, Now())
		}
	}()
	v, err = c.enter(ctx, i+1)
	ended = true
	l.Done(t, c.verdict.Adaptive(), c.time())
	return v, err
}

func (c *call[T]) bulkhead(ctx context.Context, i int, b *bulkhead.Bulkhead) (v T, err error) {
	if !b.Acquire() && !c.queue(ctx, b) {
		return c.full(ctx, i)
	}
	ended := false
	defer func() {
		if !ended {
			b.Release(Now())
		}
	}()
	v, err = c.enter(ctx, i+1)
	ended = true
	if b.Waiting() > 0 { // else it does not matter
		c.time()
	}
	b.Release(c.now)
	return v, err
}

func (c *call[T]) full(ctx context.Context, i int) (T, error) {
	if ctx.Err() != nil {
		return c.gaveUp(ctx)
	}
	return c.refused(i, fault.ErrFull, 0)
}

// queue waits for room in a bulkhead, and reports whether there was some in time.
func (c *call[T]) queue(ctx context.Context, b *bulkhead.Bulkhead) bool {
	admitted := make(chan bool, 1)
	w := &bulkhead.Waiter{Wake: func(ok bool) { admitted <- ok }}
	until, ok := b.Wait(w, c.time())
	if !ok {
		return false
	}
	timer := time.NewTimer(until - c.now)
	defer timer.Stop()
	select {
	case ok = <-admitted:
		c.read()
		return ok
	case <-timer.C:
	case <-ctx.Done():
	}
	c.read()
	if b.Cancel(w, c.now) {
		return false
	}
	if ok = <-admitted; ok && ctx.Err() != nil { // admitted as the caller gave up
		b.Release(c.now)
		return false
	}
	return ok
}

// limit takes tokens, and waits for those of the near future.
func (c *call[T]) limit(ctx context.Context, i int, p *fault.Policy) (v T, err error) {
	n, until := max(c.about.Tokens, 1), c.time()+p.Wait
	for {
		wait, ok := c.reserve(p, n, until-c.now)
		if !ok && wait > until-c.now {
			return c.refused(i, fault.ErrLimited, wait)
		}
		if wait > 0 && !c.pause(ctx, wait) {
			if ok {
				c.giveBack(p, n)
			}
			if ctx.Err() != nil {
				return c.gaveUp(ctx)
			}
			return c.refused(i, fault.ErrLimited, wait) // the caller will not wait so long
		}
		if ok {
			return c.enter(ctx, i+1)
		}
	}
}

func (c *call[T]) reserve(p *fault.Policy, n int, atMost time.Duration) (time.Duration, bool) {
	if p.Each != nil {
		return p.Each.Reserve(c.now, c.about.Key, n, atMost)
	}
	return p.Limit.Reserve(c.now, n, atMost)
}

func (c *call[T]) giveBack(p *fault.Policy, n int) {
	if p.Each != nil {
		p.Each.Return(c.now, c.about.Key, n)
		return
	}
	p.Limit.Return(c.now, n)
}
