package faultgrpc

import (
	"context"
	"errors"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/panics"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Judge says what the end of a call means, by its code:
//
//   - OK, and what says that it is the caller who is wrong (INVALID_ARGUMENT,
//     NOT_FOUND, UNIMPLEMENTED and so on), is a success;
//   - CANCELLED says nothing about the service;
//   - UNAVAILABLE, RESOURCE_EXHAUSTED and DEADLINE_EXCEEDED are failures for the
//     load, and the RetryInfo among their details is heeded;
//   - UNKNOWN, INTERNAL and DATA_LOSS are failures.
func Judge(err error) fault.Verdict {
	if err == nil {
		return fault.Verdict{}
	}
	if v := fault.Judge(err); v.Outcome == fault.Ignored {
		return v
	}
	s := status.Convert(err)
	code := s.Code()
	if errors.Is(err, context.DeadlineExceeded) {
		code = codes.DeadlineExceeded
	}
	switch code {
	case codes.Canceled:
		return fault.Verdict{Outcome: fault.Ignored, Final: true}
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded:
		return fault.Verdict{Outcome: fault.Failed, Overload: true, After: retryDelay(s)}
	case codes.Unknown, codes.Internal, codes.DataLoss:
		return fault.Verdict{Outcome: fault.Failed}
	}
	return fault.Verdict{Final: true}
}

func retryDelay(s *status.Status) time.Duration {
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return max(0, info.GetRetryDelay().AsDuration())
		}
	}
	return 0
}

// statusError is an error of package fault with the status that gRPC knows it by.
type statusError struct {
	error
	code codes.Code
}

func (e *statusError) Unwrap() error { return e.error }

// GRPCStatus returns the status, as package status expects.
func (e *statusError) GRPCStatus() *status.Status { return status.New(e.code, e.Error()) }

// withStatus gives an error of package fault its status. Others have theirs.
func withStatus(err error) error {
	_, late := errors.AsType[*fault.TimeoutError](err)
	_, refused := errors.AsType[*fault.Refusal](err)
	_, panicked := errors.AsType[*panics.Error](err)
	switch {
	case err == nil:
		return nil
	case late:
		return &statusError{err, codes.DeadlineExceeded}
	case errors.Is(err, fault.ErrLimited):
		return &statusError{err, codes.ResourceExhausted}
	case refused:
		return &statusError{err, codes.Unavailable}
	case panicked:
		return status.Error(codes.Internal, "the handler panicked") // how is nobody's business but the server's
	}
	if _, ok := status.FromError(err); !ok { // a context's, or a policy's own
		return &statusError{err, status.FromContextError(err).Code()}
	}
	return err
}
