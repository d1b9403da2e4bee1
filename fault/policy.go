package fault

import (
	"context"
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/bulkhead"
	"github.com/trivet-ha/trivet/fault/fallback"
	"github.com/trivet-ha/trivet/fault/hedge"
	"github.com/trivet-ha/trivet/fault/limit"
	"github.com/trivet-ha/trivet/fault/limit/adaptive"
	"github.com/trivet-ha/trivet/fault/panics"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/shed"
	"github.com/trivet-ha/trivet/fault/timeout"
)

// Kind is which policy a [Policy] is.
type Kind uint8

// The kinds, named after the functions that make them.
const (
	KindTimeout Kind = iota + 1
	KindLearnedTimeout
	KindRetry
	KindBreaker
	KindHedge
	KindBulkhead
	KindAdaptive
	KindLimit
	KindLimitEach
	KindShed
	KindFallback
	KindElse
	KindPanics
)

func (k Kind) String() string {
	return [...]string{
		"nothing", "timeout", "learned timeout", "retry", "breaker", "hedge", "bulkhead", "adaptive", "limit",
		"limit each", "shed", "fallback", "else", "panics",
	}[k]
}

// Policy is one layer around a function. Only the fields of its kind are set.
type Policy struct {
	Kind     Kind
	Wait     time.Duration // of KindTimeout: the limit; of the limits: the longest wait
	Learned  *timeout.Learned
	Retry    retry.Policy
	Budget   *retry.Budget
	Breaker  *breaker.Breaker
	Hedge    *hedge.Hedge
	Bulkhead *bulkhead.Bulkhead
	Adaptive *adaptive.Limiter
	Limit    *limit.Limiter
	Each     *limit.Keyed
	Shed     *shed.Shedder
	Answer   any // *fallback.Fallback[T], or func(context.Context, error) (T, error)
	Panics   *panics.Recorder

	check    func() error
	refusals *refusals // its own in each stack
}

// Timeout ends what it stands around after a time. The function learns of it by
// its context and is expected to return then.
func Timeout(limit time.Duration) Policy {
	return Policy{Kind: KindTimeout, Wait: limit, check: func() error {
		if limit <= 0 {
			return fmt.Errorf("timeout: %v is not positive", limit)
		}
		return nil
	}}
}

// LearnedTimeout is [Timeout] after a time that follows how long calls take.
func LearnedTimeout(l *timeout.Learned) Policy {
	return Policy{Kind: KindLearnedTimeout, Learned: l, check: func() error { return l.Config().Check() }}
}

// Retry makes the attempt again if it failed. The budget bounds retries to a
// share of the calls; nil is one of this policy alone, with the defaults. It waits
// for as long as the service asked for; if that is more than [MaxAfter], or the
// caller will not wait for so long, the last attempt is the result.
func Retry(p retry.Policy, b *retry.Budget) Policy {
	if b == nil {
		b = retry.NewBudget(retry.BudgetConfig{})
	}
	return Policy{Kind: KindRetry, Retry: p.WithDefaults(), Budget: b, check: p.Check}
}

// Breaker refuses calls with [ErrOpen] while the service fails.
func Breaker(b *breaker.Breaker) Policy {
	return Policy{Kind: KindBreaker, Breaker: b, check: func() error { return b.Config().Check() }}
}

// Hedge makes a second attempt beside one that takes unusually long, and takes
// the first answer. It must only stand around what may happen twice; see
// [Call].Unsafe for calls that may not.
func Hedge(h *hedge.Hedge) Policy {
	return Policy{Kind: KindHedge, Hedge: h, check: func() error { return h.Config().Check() }}
}

// Bulkhead lets a number of calls run at a time, has some more wait, and refuses
// the others with [ErrFull].
func Bulkhead(b *bulkhead.Bulkhead) Policy {
	return Policy{Kind: KindBulkhead, Bulkhead: b, check: func() error { return b.Config().Check() }}
}

// Adaptive is [Bulkhead] with a number that follows what the service can bear.
func Adaptive(l *adaptive.Limiter) Policy {
	return Policy{Kind: KindAdaptive, Adaptive: l, check: func() error { return l.Config().Check() }}
}

// Limit lets calls through at a rate. One that would have to wait for longer than
// the given time, which may be 0, is refused with [ErrLimited].
func Limit(l *limit.Limiter, wait time.Duration) Policy {
	return Policy{Kind: KindLimit, Limit: l, Wait: wait, check: func() error { return l.Config().Check() }}
}

// LimitEach is [Limit] for each key of the calls ([Call].Key).
func LimitEach(k *limit.Keyed, wait time.Duration) Policy {
	return Policy{Kind: KindLimitEach, Each: k, Wait: wait, check: func() error { return k.Config().Check() }}
}

// Shed gives up calls with [ErrShed] while the service can't take all, the less
// important ones first ([Call].Priority).
func Shed(s *shed.Shedder) Policy {
	return Policy{Kind: KindShed, Shed: s, check: func() error { return s.Config().Check() }}
}

// Fallback answers in place of a call that has failed. Calls under one stack then
// must all be for the same answer, of type T.
func Fallback[T any](f *fallback.Fallback[T]) Policy {
	return Policy{Kind: KindFallback, Answer: f, check: func() error { return f.Config().Check() }}
}

// Else calls another function after a failure, which gets the error: one that
// asks another pool, say. Its results are those of the call.
func Else[T any](f func(context.Context, error) (T, error)) Policy {
	return Policy{Kind: KindElse, Answer: f, check: func() error { return nil }}
}

// Panics makes a panic of the function an error, a *[panics.Error], and counts
// it. Without this policy panics pass through, and all others are told of a
// failure.
func Panics(r *panics.Recorder) Policy {
	return Policy{Kind: KindPanics, Panics: r, check: func() error { return r.Config().Check() }}
}

// Call is what policies may want to know about one call. The zero Call is that
// of one which has nothing to say.
type Call struct {
	// Key tells calls apart for LimitEach: the hash of a client's address, say.
	Key uint64
	// Tokens is how many the call takes from a rate limit. 0 means 1.
	Tokens int
	// Priority is how important the call is to Shed.
	Priority shed.Priority
	// Unsafe says that the call's effect must not happen twice: it is not hedged,
	// and only made again if the attempt had no effect ([Verdict].Unsent).
	Unsafe bool
}
