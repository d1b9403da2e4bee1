package fault

import (
	"context"
	"errors"
	"time"

	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/limit/adaptive"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/shed"
)

// Outcome is whether an attempt speaks for or against the service.
type Outcome uint8

// The outcomes.
const (
	// OK: the service did what it was asked, or said why it is the caller who is
	// wrong.
	OK Outcome = iota
	// Failed: it did not.
	Failed
	// Ignored: the attempt says nothing about the service; a policy did not let it
	// through, or its caller gave up.
	Ignored
)

func (o Outcome) String() string { return [...]string{"ok", "failed", "ignored"}[o] }

// Verdict is what the end of an attempt means to the policies around it. The zero
// Verdict is that of a success.
type Verdict struct {
	Outcome Outcome
	// Final: another attempt would not help. A success is final anyway.
	Final bool
	// Unsent: the attempt had no effect for certain, so that another does no harm.
	Unsent bool
	// Overload: it failed because there is too much to do.
	Overload bool
	// Reason is what a retry policy may ask for; 0 is a failure of no known kind,
	// which any policy takes for a reason.
	Reason retry.When
	// Status is the answer's, if the Reason is retry.Status.
	Status int
	// After is for how long the service asked to be left alone.
	After time.Duration
}

// MaxAfter is the longest time that a service may ask to be left alone for and
// still get another attempt of the same call.
const MaxAfter = 10 * time.Second

// Breaker returns what a breaker is told.
func (v Verdict) Breaker() breaker.Outcome {
	return [...]breaker.Outcome{breaker.OK, breaker.Failed, breaker.Ignored}[v.Outcome]
}

// Adaptive returns what an adaptive limiter is told: the latency of a failure
// says little, unless it failed for the load.
func (v Verdict) Adaptive() adaptive.Outcome {
	switch {
	case v.Overload:
		return adaptive.Dropped
	case v.Outcome == OK:
		return adaptive.OK
	}
	return adaptive.Ignored
}

// Shed returns what a shedder is told.
func (v Verdict) Shed() shed.Outcome {
	return [...]shed.Outcome{shed.Accepted, shed.Refused, shed.Ignored}[v.Outcome]
}

// Judge says what an error means if nobody says otherwise:
//
//   - nil is a success, and so is an error marked [Permanent];
//   - a [Refusal], and context.Canceled, say nothing about the service, and
//     another attempt is pointless;
//   - a time-out is a failure for the load;
//   - an error with a method RetryAfter() time.Duration is a failure for the load,
//     and the next attempt waits for as long;
//   - any other is a failure, and another attempt may help.
func Judge(err error) Verdict {
	if err == nil {
		return Verdict{}
	}
	if _, ok := errors.AsType[*Refusal](err); ok {
		return Verdict{Outcome: Ignored, Final: true, Unsent: true}
	}
	v := Verdict{Outcome: Failed}
	if m, ok := errors.AsType[*marked](err); ok {
		v = m.verdict
	}
	switch {
	case v.Outcome == OK:
	case errors.Is(err, context.DeadlineExceeded):
		v.Overload = true
	case errors.Is(err, context.Canceled):
		v.Outcome, v.Final = Ignored, true
	default:
		if r, ok := errors.AsType[retryAfter](err); ok {
			v.After, v.Overload = r.RetryAfter(), true
		}
	}
	return v
}

type retryAfter interface {
	error
	RetryAfter() time.Duration
}
