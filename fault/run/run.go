// Package run calls functions under the policies of package fault.
//
// [Do] calls a function once or several times, as a stack of policies decides,
// and returns the answer that counts. It is the part that reads the clock and
// waits; it decides nothing. Everything that Do starts has ended when it returns:
// a function must therefore return soon after its context has ended, as all that
// wait for something do.
//
// A call under policies that let it through, or refuse it, allocates nothing and
// takes no lock. A time-out needs one allocation, for the context; a hedge a few.
package run

import (
	"context"
	"time"

	"github.com/trivet-ha/trivet/fault"
)

// origin is the beginning of this package's time.
var origin = time.Now()

// Now is the time by which functions are called: what the policies of a stack
// take for now. It begins with the program.
func Now() time.Duration { return time.Since(origin) }

// Do calls f under the policies of the stack. The error is f's, of its last
// attempt, or a *[fault.Refusal] or *[fault.TimeoutError].
func Do[T any](ctx context.Context, s *fault.Stack, f func(context.Context) (T, error)) (T, error) {
	c := call[T]{policies: s.Policies(), f: f, now: Now()}
	return c.enter(ctx, 0)
}

// Try calls try under the policies of the stack and, if that is in vain, except
// with the error. What except returns is returned.
func Try[T any](ctx context.Context, s *fault.Stack, try func(context.Context) (T, error), except func(context.Context, error) (T, error)) (T, error) {
	v, err := Do(ctx, s, try)
	if err != nil {
		return except(ctx, err)
	}
	return v, nil
}

// Runner calls functions whose results mean more than their errors say.
type Runner[T any] struct {
	Stack *fault.Stack
	// Judge says what the end of an attempt means. Nil is [fault.Judge] of its
	// error.
	Judge func(T, error) fault.Verdict
	// Discard, if set, gets every result that is not returned: of an attempt that
	// was made again, and of one that came second.
	Discard func(T)
}

// Do calls f under the policies of the stack, which may ask about the call.
func (r *Runner[T]) Do(ctx context.Context, about fault.Call, f func(context.Context) (T, error)) (T, error) {
	c := call[T]{policies: r.Stack.Policies(), judge: r.Judge, drop: r.Discard, about: about, f: f, now: Now()}
	return c.enter(ctx, 0)
}

// call is a call under way. It belongs to one goroutine; a hedge has a copy.
type call[T any] struct {
	policies []fault.Policy
	f        func(context.Context) (T, error)
	judge    func(T, error) fault.Verdict
	drop     func(T)
	about    fault.Call

	now     time.Duration // when something last happened; what follows takes no time
	stale   bool          // an attempt has ended since now; see time
	verdict fault.Verdict // of the last attempt, or of what a policy made of it
}

// enter passes the i-th policy and calls f behind the last.
func (c *call[T]) enter(ctx context.Context, i int) (T, error) {
	if i == len(c.policies) {
		return c.attempt(ctx)
	}
	p := &c.policies[i]
	switch p.Kind {
	case fault.KindTimeout:
		return c.timeout(ctx, i, p.Wait)
	case fault.KindLearnedTimeout:
		return c.learnedTimeout(ctx, i, p.Learned)
	case fault.KindRetry:
		return c.retry(ctx, i, p)
	case fault.KindBreaker:
		return c.breaker(ctx, i, p.Breaker)
	case fault.KindHedge:
		return c.hedge(ctx, i, p.Hedge)
	case fault.KindBulkhead:
		return c.bulkhead(ctx, i, p.Bulkhead)
	case fault.KindAdaptive:
		return c.adaptive(ctx, i, p.Adaptive)
	case fault.KindLimit, fault.KindLimitEach:
		return c.limit(ctx, i, p)
	case fault.KindShed:
		return c.shed(ctx, i, p.Shed)
	case fault.KindFallback:
		return c.fallback(ctx, i, p)
	case fault.KindElse:
		return c.otherwise(ctx, i, p)
	default:
		return c.panics(ctx, i, p.Panics)
	}
}

func (c *call[T]) attempt(ctx context.Context) (v T, err error) {
	v, err = c.f(ctx)
	c.stale = true
	c.verdict = c.judged(v, err)
	return v, err
}

// time returns the time. It reads the clock, which costs more than most policies,
// only if somebody asks, and once after each attempt.
func (c *call[T]) time() time.Duration {
	if c.stale {
		c.read()
	}
	return c.now
}

// read reads the clock.
func (c *call[T]) read() {
	c.now, c.stale = Now(), false
}

func (c *call[T]) judged(v T, err error) fault.Verdict {
	switch {
	case c.judge != nil:
		return c.judge(v, err)
	case err == nil:
		return fault.Verdict{}
	}
	return fault.Judge(err)
}

// refused ends a call that the i-th policy did not let through.
func (c *call[T]) refused(i int, reason error, wait time.Duration) (v T, err error) {
	c.verdict = fault.Verdict{Outcome: fault.Ignored, Final: true, Unsent: true}
	return v, c.policies[i].Refuse(reason, wait)
}

// gaveUp ends a call whose caller did not wait for a policy to let it through.
func (c *call[T]) gaveUp(ctx context.Context) (v T, err error) {
	c.verdict = fault.Verdict{Outcome: fault.Ignored, Final: true, Unsent: true}
	return v, context.Cause(ctx)
}

func (c *call[T]) discard(v T) {
	if c.drop != nil {
		c.drop(v)
	}
}

// pause waits. It reports false, without waiting for nothing, if the context ends
// before.
func (c *call[T]) pause(ctx context.Context, wait time.Duration) bool {
	if wait <= 0 {
		return ctx.Err() == nil
	}
	if end, ok := ctx.Deadline(); ok && end.Sub(origin) <= c.time()+wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		c.read()
		return true
	case <-ctx.Done():
		c.read()
		return false
	}
}
