package run_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/bulkhead"
	"github.com/trivet-ha/trivet/fault/fallback"
	"github.com/trivet-ha/trivet/fault/panics"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/run"
)

// try, except: a function is tried a few times, and if all is in vain another
// says what to do.
func ExampleTry() {
	stack := fault.Must(fault.New(
		fault.Timeout(2*time.Second),
		fault.Retry(retry.Policy{Attempts: 3}, nil),
		fault.Panics(panics.New(panics.Config{})),
	))
	attempts := 0
	stock, err := run.Try(context.Background(), stack,
		func(context.Context) (int, error) {
			attempts++
			var shelves []int
			return shelves[attempts], nil // panics
		},
		func(_ context.Context, err error) (int, error) {
			fmt.Println("after", attempts, "attempts:", errors.Unwrap(err))
			return 0, nil // sell nothing that may not be there
		})
	fmt.Println(stock, err)
	// Output:
	// after 3 attempts: runtime error: index out of range [3] with length 0
	// 0 <nil>
}

// What stands around the calls to one service, from the outside in: the last good
// answer, a limit for the whole call, three attempts within a budget, a breaker
// that counts each of them, a bound on how many run at a time, and a limit for
// each.
func ExampleDo() {
	prices := fallback.New(fallback.Config[string]{KeepFor: time.Hour})
	guard := breaker.New(breaker.Config{Consecutive: 3})
	stack := fault.Must(fault.New(
		fault.Fallback(prices),
		fault.Timeout(2*time.Second),
		fault.Retry(retry.Policy{Attempts: 3}, nil),
		fault.Breaker(guard),
		fault.Bulkhead(bulkhead.New(bulkhead.Config{Limit: 10})),
		fault.Timeout(500*time.Millisecond),
	))
	fmt.Println(stack)

	down := false
	ask := func(context.Context) (string, error) {
		if down {
			return "", errors.New("connection refused")
		}
		return "9.90", nil
	}
	for range 3 {
		price, err := run.Do(context.Background(), stack, ask)
		fmt.Println(price, err, guard.Status(run.Now()).State)
		down = true
	}
	// Output:
	// fallback(timeout 2s(retry 3(breaker(bulkhead(timeout 500ms(f))))))
	// 9.90 <nil> closed
	// 9.90 <nil> open
	// 9.90 <nil> open
}
