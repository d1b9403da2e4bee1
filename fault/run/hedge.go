package run

import (
	"context"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/hedge"
)

func (c *call[T]) hedge(ctx context.Context, i int, h *hedge.Hedge) (T, error) {
	after, ok := h.Begin(c.time())
	if !ok || c.about.Unsafe {
		return c.timed(ctx, i, h)
	}
	r := &race[T]{call: *c, ctx: ctx, policy: i, hedge: h, after: after}
	return r.run(c)
}

// timed makes an attempt and tells the hedge how long it took.
func (c *call[T]) timed(ctx context.Context, i int, h *hedge.Hedge) (T, error) {
	begun := c.time()
	v, err := c.enter(ctx, i+1)
	if c.verdict.Outcome == fault.OK {
		now := c.time()
		h.Observe(now, now-begun)
	}
	return v, err
}

// race is a call of which several attempts may be under way. The first runs in
// the caller's goroutine, each other in one of its own, which a timer starts.
// When one has an answer, the contexts of the others end.
type race[T any] struct {
	call   call[T] // as it began; for others to copy
	ctx    context.Context
	policy int
	hedge  *hedge.Hedge
	after  time.Duration

	running sync.WaitGroup // attempts but the first, also those still to be begun

	mu       sync.Mutex
	over     bool // no attempt may begin
	timer    *time.Timer
	attempts []*lazyContext
	hedges   int
	answered bool
	value    T
	err      error
	verdict  fault.Verdict
	panicked any
}

// run makes the first attempt for c, and returns the answer of the first that
// has one; if none has, the first attempt's error.
func (r *race[T]) run(c *call[T]) (T, error) {
	defer r.wait() // also if the first attempt panics
	v, err := r.attempt(c, r.first())
	if c.verdict.Outcome == fault.OK {
		if r.finish(v, err, c.verdict) {
			return v, err
		}
	} else {
		r.stop()
	}
	r.running.Wait()
	c.read()
	if r.answered {
		c.discard(v)
		c.verdict = r.verdict
		return r.value, r.err
	}
	return v, err
}

// attempt makes an attempt and tells the hedge how long it took, or would have
// taken at least.
func (r *race[T]) attempt(c *call[T], ctx *lazyContext) (T, error) {
	begun := c.time()
	v, err := c.timed(ctx, r.policy, r.hedge)
	if c.verdict.Outcome != fault.OK && ctx.Err() != nil && r.ctx.Err() == nil { // another answered
		now := c.time()
		r.hedge.Observe(now, now-begun)
	}
	return v, err
}

// first returns the context of the first attempt and sets the timer for the
// second.
func (r *race[T]) first() *lazyContext {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx := &lazyContext{Context: r.ctx}
	r.attempts = append(make([]*lazyContext, 0, 2), ctx)
	r.schedule()
	return ctx
}

// schedule sets the timer for the next attempt. The caller holds mu.
func (r *race[T]) schedule() {
	r.running.Add(1)
	r.timer = time.AfterFunc(r.after, r.another)
}

// another makes one more attempt if it may.
func (r *race[T]) another() {
	defer r.running.Done()
	ctx, ok := r.begin()
	if !ok {
		return
	}
	defer func() {
		if v := recover(); v != nil { // it is the caller who must hear of it
			r.mu.Lock()
			defer r.mu.Unlock()
			r.panicked = v
			r.end()
		}
	}()
	c := r.call
	c.read()
	v, err := r.attempt(&c, ctx)
	if c.verdict.Outcome != fault.OK || !r.finish(v, err, c.verdict) {
		c.discard(v)
	}
}

func (r *race[T]) begin() (*lazyContext, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.ctx.Err() != nil || !r.hedge.Take(Now(), r.hedges) {
		return nil, false
	}
	r.hedges++
	ctx := &lazyContext{Context: r.ctx}
	r.attempts = append(r.attempts, ctx)
	if r.hedges < r.hedge.Config().Hedges {
		r.schedule()
	}
	return ctx, true
}

// finish takes an answer, and reports whether it is the first.
func (r *race[T]) finish(v T, err error, verdict fault.Verdict) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answered {
		return false
	}
	r.answered, r.value, r.err, r.verdict = true, v, err, verdict
	r.end()
	return true
}

// stop lets no further attempt begin. Those under way go on: the first has
// failed, but one of them may have an answer.
func (r *race[T]) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.close()
}

// close stops the timer. The caller holds mu.
func (r *race[T]) close() {
	if !r.over && r.timer.Stop() {
		r.running.Done()
	}
	r.over = true
}

// end ends all attempts. The caller holds mu.
func (r *race[T]) end() {
	r.close()
	for _, a := range r.attempts {
		a.end()
	}
}

// wait ends all attempts and returns when they have.
func (r *race[T]) wait() {
	r.mu.Lock()
	r.end()
	r.mu.Unlock()
	r.running.Wait()
	if r.panicked != nil {
		panic(r.panicked)
	}
}
