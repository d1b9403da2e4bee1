package fault

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/failsafe-go/failsafe-go/adaptivethrottler"
	fsbulkhead "github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	fsfallback "github.com/failsafe-go/failsafe-go/fallback"
	"github.com/failsafe-go/failsafe-go/hedgepolicy"
	"github.com/failsafe-go/failsafe-go/ratelimiter"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	fstimeout "github.com/failsafe-go/failsafe-go/timeout"
	"github.com/sony/gobreaker/v2"
	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/bulkhead"
	"github.com/trivet-ha/trivet/fault/fallback"
	"github.com/trivet-ha/trivet/fault/hedge"
	"github.com/trivet-ha/trivet/fault/limit"
	"github.com/trivet-ha/trivet/fault/limit/adaptive"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/run"
	"github.com/trivet-ha/trivet/fault/shed"
	"golang.org/x/time/rate"
)

// way is one way to call a function under a policy.
type way struct {
	by   string
	call func() (int, error)
}

func trivet(policies ...fault.Policy) way {
	s := fault.Must(fault.New(policies...))
	ctx := context.Background()
	f := func(context.Context) (int, error) { return 1, nil }
	return way{"trivet", func() (int, error) { return run.Do(ctx, s, f) }}
}

func failsafeGo(policies ...failsafe.Policy[int]) way {
	e := failsafe.With(policies...)
	f := func() (int, error) { return 1, nil }
	return way{"failsafe-go", func() (int, error) { return e.Get(f) }}
}

func goBreaker(s gobreaker.Settings) way {
	b := gobreaker.NewCircuitBreaker[int](s)
	f := func() (int, error) { return 1, nil }
	return way{"gobreaker", func() (int, error) { return b.Execute(f) }}
}

// task is what is asked of each.
type task struct {
	name string
	ways []way
}

// tasks lists what is compared. The policies are set to do the same, so far as they can.
func tasks() []task {
	return []task{
		{"breaker, failures in a row", []way{
			trivet(fault.Breaker(breaker.New(breaker.Config{Consecutive: 6, FailureRate: -1}))),
			failsafeGo(circuitbreaker.NewBuilder[int]().WithFailureThreshold(6).Build()),
			goBreaker(gobreaker.Settings{}),
		}},
		{"breaker, latest 100 calls", []way{
			trivet(fault.Breaker(breaker.New(breaker.Config{Calls: 100}))),
			failsafeGo(circuitbreaker.NewBuilder[int]().WithFailureThresholdRatio(50, 100).Build()),
		}},
		{"breaker, 10 s", []way{
			trivet(fault.Breaker(breaker.New(breaker.Config{}))),
			failsafeGo(circuitbreaker.NewBuilder[int]().WithFailureRateThreshold(0.5, 10, 10*time.Second).Build()),
			goBreaker(gobreaker.Settings{Interval: 10 * time.Second, BucketPeriod: time.Second}),
		}},
		{"retry with budget", []way{
			trivet(fault.Retry(retry.Policy{}, nil)),
			failsafeGo(retrypolicy.NewBuilder[int]().WithBackoff(25*time.Millisecond, 250*time.Millisecond).Build()),
		}},
		{"bulkhead", []way{
			trivet(fault.Bulkhead(bulkhead.New(bulkhead.Config{Limit: 10, Queue: -1}))),
			failsafeGo(fsbulkhead.New[int](10)),
		}},
		{"rate limit", []way{
			trivet(fault.Limit(limit.New(limit.Config{Tokens: 1e9, Burst: 1e9}), 0)),
			failsafeGo(ratelimiter.NewBursty[int](1_000_000_000, time.Second)),
			xTimeRate(),
		}},
		{"adaptive limit", []way{
			trivet(fault.Adaptive(adaptive.New(adaptive.Config{}))),
			failsafeGo(adaptivelimiter.NewWithDefaults[int]()),
		}},
		{"shedding", []way{
			trivet(fault.Shed(shed.New(shed.Config{}))),
			failsafeGo(adaptivethrottler.NewWithDefaults[int]()),
		}},
		{"timeout", []way{
			trivet(fault.Timeout(time.Second)),
			failsafeGo(fstimeout.New[int](time.Second)),
		}},
		{"hedge", []way{
			trivet(fault.Hedge(hedge.New(hedge.Config{Delay: time.Second}))),
			failsafeGo(hedgepolicy.NewWithDelay[int](time.Second)),
		}},
		{"fallback", []way{
			trivet(fault.Fallback(fallback.New(fallback.Config[int]{Static: new(7)}))),
			failsafeGo(fsfallback.NewWithResult(7)),
		}},
		{"retry, breaker, bulkhead", []way{
			trivet(
				fault.Retry(retry.Policy{}, nil),
				fault.Breaker(breaker.New(breaker.Config{Calls: 100})),
				fault.Bulkhead(bulkhead.New(bulkhead.Config{Limit: 10, Queue: -1})),
			),
			failsafeGo(
				retrypolicy.NewWithDefaults[int](),
				circuitbreaker.NewBuilder[int]().WithFailureThresholdRatio(50, 100).Build(),
				fsbulkhead.New[int](10),
			),
		}},
	}
}

func xTimeRate() way {
	l := rate.NewLimiter(1e9, 1e9)
	return way{"x/time/rate", func() (int, error) {
		if !l.Allow() {
			return 0, errors.New("limited")
		}
		return 1, nil
	}}
}

// BenchmarkCall is the cost of a call that is let through, by one goroutine.
func BenchmarkCall(b *testing.B) {
	for _, t := range tasks() {
		for _, w := range t.ways {
			b.Run(t.name+"/"+w.by, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := w.call(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkParallel is the same by as many goroutines as there are processors, all under one policy.
func BenchmarkParallel(b *testing.B) {
	for _, t := range tasks() {
		for _, w := range t.ways {
			b.Run(t.name+"/"+w.by, func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := w.call(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// BenchmarkRefused is the cost of a call that an open breaker refuses.
func BenchmarkRefused(b *testing.B) {
	failed := errors.New("failed")
	ours := fault.Must(fault.New(fault.Breaker(breaker.New(breaker.Config{Consecutive: 1, OpenFor: time.Hour}))))
	theirs := failsafe.With(circuitbreaker.NewBuilder[int]().WithDelay(time.Hour).Build())
	sony := gobreaker.NewCircuitBreaker[int](gobreaker.Settings{Timeout: time.Hour})
	f := func() (int, error) { return 0, failed }
	withContext := func(context.Context) (int, error) { return f() }
	for range 10 {
		_, _ = run.Do(context.Background(), ours, withContext)
		_, _ = theirs.Get(f)
		_, _ = sony.Execute(f)
	}
	for _, w := range []way{
		{"trivet", func() (int, error) { return run.Do(context.Background(), ours, withContext) }},
		{"failsafe-go", func() (int, error) { return theirs.Get(f) }},
		{"gobreaker", func() (int, error) { return sony.Execute(f) }},
	} {
		b.Run(w.by, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.call(); err == nil || err == failed {
					b.Fatal(err)
				}
			}
		})
	}
}
