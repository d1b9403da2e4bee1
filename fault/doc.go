// Package fault says how policies against faults compose: which of them stand
// around a call, in which order, and what they make of its end.
//
// Each policy is a package of its own below this one. A [Stack] puts some of them
// around a function, and reads as mathematics does, the outermost first:
//
//	stack, err := fault.New(
//		fault.Timeout(2*time.Second),
//		fault.Retry(retry.Policy{Attempts: 3}, nil),
//		fault.Breaker(breaker.New(breaker.Config{})),
//	)
//
// is timeout(retry(breaker(f))): each attempt asks the breaker, and all attempts
// together have two seconds. Package run calls functions under a stack:
//
//	user, err := run.Do(ctx, stack, func(ctx context.Context) (User, error) { … })
//
// # The order
//
// Any order means something; this one means what is usually wanted. From the
// outside:
//
//   - [Fallback], [Else]: an answer when nothing else has one;
//   - [Timeout] of the whole call, its retries included;
//   - [Shed], [Limit]: what is refused costs nothing, and is not retried;
//   - [Retry]: what follows happens for each attempt;
//   - [Hedge]: and what follows for each of two attempts side by side;
//   - [Breaker]: counts every attempt, and not the calls that had a lucky third;
//   - [Bulkhead] or [Adaptive]: holds a place while an attempt runs, and none while
//     a retry waits;
//   - [Timeout] or [LearnedTimeout] of each attempt;
//   - [Panics]: a panic is a failed attempt.
//
// A stack is made once for each service that is called, and shared: that is how
// its policies learn.
//
// # Errors
//
// A call that a policy did not let through ends with a [Refusal]: errors.Is says
// by which ([ErrOpen], [ErrLimited], [ErrFull], [ErrShed]). One that took too long
// ends with a [TimeoutError], which is [ErrTimeout] and context.DeadlineExceeded.
// Any other error is the function's own, of its last attempt. What an error means
// to the policies is said by [Judge], or by a function of the caller's.
//
// The package calls nothing, starts no goroutine and reads no clock.
package fault
