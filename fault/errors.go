package fault

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Why a policy did not let a call through, or ended it.
var (
	// ErrOpen: a breaker is open; the service has failed too often of late.
	ErrOpen = errors.New("the breaker is open")
	// ErrLimited: the rate is used up.
	ErrLimited = errors.New("the rate limit is reached")
	// ErrFull: as many calls run as may, and nobody may wait, or waiting took too
	// long.
	ErrFull = errors.New("too many calls are under way")
	// ErrShed: the service can't take all calls, and this one was given up.
	ErrShed = errors.New("the call was shed")
	// ErrTimeout: the call, or the attempt, took longer than it may.
	ErrTimeout = errors.New("the time is up")
)

// Refusal is the error of a call that a policy did not let through. The function
// was not called. Calls that are refused at about the same time share one, so it
// must not be modified.
type Refusal struct {
	// Err is ErrOpen, ErrLimited, ErrFull or ErrShed.
	Err error
	// Wait is how long it is until another try may be let through, rounded up to
	// milliseconds; 0 is not known.
	Wait time.Duration
}

func (r *Refusal) Error() string {
	if r.Wait <= 0 {
		return r.Err.Error()
	}
	return fmt.Sprintf("%v: try again in %v", r.Err, r.Wait)
}

// Unwrap returns Err.
func (r *Refusal) Unwrap() error { return r.Err }

// RetryAfter returns Wait: what a server puts into a Retry-After field.
func (r *Refusal) RetryAfter() time.Duration { return r.Wait }

// refusals holds the latest refusal of a policy, so that one that refuses many
// calls a second costs no allocation for each.
type refusals struct{ latest atomic.Pointer[Refusal] }

// Refuse returns the error of a call that the policy, which must be one of a
// stack, does not let through.
func (p *Policy) Refuse(reason error, wait time.Duration) *Refusal {
	wait = (wait + time.Millisecond - 1).Truncate(time.Millisecond)
	r := p.refusals.latest.Load()
	if r == nil || r.Err != reason || r.Wait != wait {
		r = &Refusal{Err: reason, Wait: wait}
		p.refusals.latest.Store(r)
	}
	return r
}

// TimeoutError is the error of a call, or an attempt, that took longer than it
// may. It is ErrTimeout and context.DeadlineExceeded.
type TimeoutError struct {
	// Limit is how long it may take.
	Limit time.Duration
	// Err is what the function said as its time was up.
	Err error
}

func (e *TimeoutError) Error() string { return fmt.Sprintf("no answer within %v", e.Limit) }

// Is reports whether the target is one of the errors that e is.
func (e *TimeoutError) Is(target error) bool {
	return target == ErrTimeout || target == context.DeadlineExceeded
}

// Unwrap returns Err.
func (e *TimeoutError) Unwrap() error { return e.Err }

// Timeout reports true, as the package net would have it.
func (e *TimeoutError) Timeout() bool { return true }

// Permanent marks an error as an answer: the service works, and to ask it again
// would not change what it says. It is nil if err is.
func Permanent(err error) error { return mark(err, Verdict{Outcome: OK, Final: true}) }

// Unsent marks an error of an attempt that had no effect, because the request did
// not leave: it may be made again even if it is unsafe. It is nil if err is.
func Unsent(err error) error { return mark(err, Verdict{Outcome: Failed, Unsent: true}) }

// marked is an error with a verdict.
type marked struct {
	error
	verdict Verdict
}

func mark(err error, v Verdict) error {
	if err == nil {
		return nil
	}
	return &marked{err, v}
}

func (m *marked) Unwrap() error { return m.error }
