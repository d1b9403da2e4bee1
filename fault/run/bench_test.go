package run

import (
	"context"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/bulkhead"
	"github.com/trivet-ha/trivet/fault/hedge"
	"github.com/trivet-ha/trivet/fault/limit"
	"github.com/trivet-ha/trivet/fault/limit/adaptive"
	"github.com/trivet-ha/trivet/fault/panics"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/shed"
)

func BenchmarkDo(b *testing.B) {
	f := func(context.Context) (int, error) { return 1, nil }
	for _, x := range []struct {
		name     string
		policies []fault.Policy
	}{
		{"nothing", nil},
		{"breaker", []fault.Policy{fault.Breaker(breaker.New(breaker.Config{}))}},
		{"breaker of calls", []fault.Policy{fault.Breaker(breaker.New(breaker.Config{Calls: 100}))}},
		{"retry", []fault.Policy{fault.Retry(retry.Policy{}, nil)}},
		{"bulkhead", []fault.Policy{fault.Bulkhead(bulkhead.New(bulkhead.Config{}))}},
		{"adaptive", []fault.Policy{fault.Adaptive(adaptive.New(adaptive.Config{}))}},
		{"limit", []fault.Policy{fault.Limit(limit.New(limit.Config{Tokens: 1e9, Burst: 1e9}), 0)}},
		{"shed", []fault.Policy{fault.Shed(shed.New(shed.Config{}))}},
		{"panics", []fault.Policy{fault.Panics(panics.New(panics.Config{}))}},
		{"timeout", []fault.Policy{fault.Timeout(time.Second)}},
		{"hedge", []fault.Policy{fault.Hedge(hedge.New(hedge.Config{Delay: time.Second}))}},
		{"six", []fault.Policy{
			fault.Shed(shed.New(shed.Config{})), fault.Limit(limit.New(limit.Config{Tokens: 1e9, Burst: 1e9}), 0),
			fault.Retry(retry.Policy{}, nil), fault.Breaker(breaker.New(breaker.Config{})),
			fault.Bulkhead(bulkhead.New(bulkhead.Config{})), fault.Panics(panics.New(panics.Config{})),
		}},
	} {
		b.Run(x.name, func(b *testing.B) {
			s := fault.Must(fault.New(x.policies...))
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Do(ctx, s, f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
