package faulthttp

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/retry"
)

// Judge says what the end of an attempt means:
//
//   - an answer with a status below 500 is a success, but 429;
//   - 429 and 503 are failures for the load, and their Retry-After is heeded (RFC
//     9110 §10.2.3);
//   - any other status from 500 on is a failure;
//   - without a connection nothing was sent: such a request can always be repeated;
//   - a connection that ended, and one that took too long, are failures.
func Judge(r *http.Response, err error) fault.Verdict {
	if err != nil {
		return judgeError(err)
	}
	v := fault.Verdict{Outcome: fault.Failed, Reason: retry.Status, Status: r.StatusCode}
	switch {
	case r.StatusCode == http.StatusTooManyRequests, r.StatusCode == http.StatusServiceUnavailable:
		v.Overload, v.After = true, retryAfter(r.Header, time.Now())
	case r.StatusCode < 500:
		return fault.Verdict{}
	}
	return v
}

func judgeError(err error) fault.Verdict {
	v := fault.Judge(err)
	if v.Outcome != fault.Failed {
		return v
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		v.Reason, v.Unsent = retry.Connect, true
		return v
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		// Why a limit for each attempt is set, if not for another attempt? The
		// reason is left out, and any retry policy tries again.
		v.Overload = true
		return v
	}
	v.Reason = retry.Reset
	return v
}

// retryAfter returns the value of the field as of now; 0 if there is none that
// makes sense.
func retryAfter(h http.Header, now time.Time) time.Duration {
	field := h.Get("Retry-After")
	if field == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(field, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(field); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
