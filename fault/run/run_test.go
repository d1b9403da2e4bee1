package run

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/bulkhead"
	"github.com/trivet-ha/trivet/fault/fallback"
	"github.com/trivet-ha/trivet/fault/limit"
	"github.com/trivet-ha/trivet/fault/limit/adaptive"
	"github.com/trivet-ha/trivet/fault/panics"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/shed"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

var errDown = errors.New("down")

// stack makes a stack of policies that are known to be right.
func stack(policies ...fault.Policy) *fault.Stack { return fault.Must(fault.New(policies...)) }

// failing returns a function that fails the first n times and then answers.
func failing(n int, err error) (f func(context.Context) (string, error), calls *int) {
	calls = new(int)
	return func(context.Context) (string, error) {
		if *calls++; *calls <= n {
			return "", err
		}
		return "answer", nil
	}, calls
}

// want checks a result.
func want(t *testing.T, v string, err error, wantV string, wantErr error) {
	t.Helper()
	if v != wantV || !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) {
		t.Errorf("%q, %v, want %q, %v", v, err, wantV, wantErr)
	}
}

func TestNothingAroundAFunctionIsTheFunction(t *testing.T) {
	f, calls := failing(1, io.EOF)
	for _, s := range []*fault.Stack{nil, stack()} {
		*calls = 0
		v, err := Do(t.Context(), s, f)
		want(t, v, err, "", io.EOF)
		v, err = Do(t.Context(), s, f)
		want(t, v, err, "answer", nil)
	}
}

func TestTryExcept(t *testing.T) {
	except := func(_ context.Context, err error) (string, error) { return "instead of " + err.Error(), nil }
	f, _ := failing(1, io.EOF)
	v, err := Try(t.Context(), nil, f, except)
	want(t, v, err, "instead of EOF", nil)
	v, err = Try(t.Context(), nil, f, except)
	want(t, v, err, "answer", nil)
}

func TestRetriesUntilItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, calls := failing(2, errDown)
		begun := time.Now()
		v, err := Do(t.Context(), stack(fault.Retry(retry.Policy{}, nil)), f)
		want(t, v, err, "answer", nil)
		if took := time.Since(begun); *calls != 3 || took > 75*ms {
			t.Errorf("%d calls, %v", *calls, took)
		}
		f, calls = failing(9, errDown)
		v, err = Do(t.Context(), stack(fault.Retry(retry.Policy{Attempts: 4}, nil)), f)
		want(t, v, err, "", errDown)
		if *calls != 4 {
			t.Errorf("%d calls, want 4", *calls)
		}
	})
}

// TestRetriesHelpAsMuchAsTheyCost: where each attempt fails with probability p, of
// calls with r attempts 1 − p^r succeed, and (1 − p^r) / (1 − p) attempts are made
// for each. All that can happen for p = 1/2 and r = 3, once each: 7/8, and 7/4.
func TestRetriesHelpAsMuchAsTheyCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stack(fault.Retry(retry.Policy{Attempts: 3}, nil))
		succeeded, attempts := 0, 0
		for fails := range 8 {
			nth := 0
			_, err := Do(t.Context(), s, func(context.Context) (int, error) {
				attempts++
				nth++
				if fails>>(nth-1)&1 == 1 {
					return 0, errDown
				}
				return 1, nil
			})
			if err == nil {
				succeeded++
			}
		}
		if succeeded != 7 || attempts != 14 {
			t.Errorf("%d of 8 calls succeeded with %d attempts, want 7 with 14", succeeded, attempts)
		}
	})
}

func TestWhatIsNotRetried(t *testing.T) {
	for _, x := range []struct {
		name  string
		about fault.Call
		judge func(string, error) fault.Verdict
		err   error
		calls int
	}{
		{"any error", fault.Call{}, nil, errDown, 3},
		{"an answer", fault.Call{}, nil, fault.Permanent(errDown), 1},
		{"its caller gave up", fault.Call{}, nil, context.Canceled, 1},
		{"unsafe", fault.Call{Unsafe: true}, nil, errDown, 1},
		{"unsafe, but it did not leave", fault.Call{Unsafe: true}, nil, fault.Unsent(errDown), 3},
		{"a reason that the policy does not want", fault.Call{}, func(string, error) fault.Verdict {
			return fault.Verdict{Outcome: fault.Failed, Reason: retry.Timeout}
		}, errDown, 1},
		{"a reason that it wants", fault.Call{}, func(string, error) fault.Verdict {
			return fault.Verdict{Outcome: fault.Failed, Reason: retry.Connect}
		}, errDown, 3},
		{"a status that it does not want", fault.Call{}, func(string, error) fault.Verdict {
			return fault.Verdict{Outcome: fault.Failed, Reason: retry.Status, Status: 503}
		}, errDown, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			f, calls := failing(9, x.err)
			r := Runner[string]{Stack: stack(fault.Retry(retry.Policy{}, nil)), Judge: x.judge}
			if _, err := r.Do(t.Context(), x.about, f); !errors.Is(err, x.err) || *calls != x.calls {
				t.Errorf("%s: %d calls, %v, want %d", x.name, *calls, err, x.calls)
			}
		})
	}
}

// busy says when to come back.
type busy time.Duration

func (busy) Error() string               { return "busy" }
func (b busy) RetryAfter() time.Duration { return time.Duration(b) }

func TestRetryComesBackWhenItWasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := failing(1, busy(3*time.Second))
		begun := time.Now()
		v, err := Do(t.Context(), stack(fault.Retry(retry.Policy{}, nil)), f)
		want(t, v, err, "answer", nil)
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("came back after %v", took)
		}
		f, calls := failing(1, busy(time.Hour))
		_, err = Do(t.Context(), stack(fault.Retry(retry.Policy{}, nil)), f)
		if err != busy(time.Hour) || *calls != 1 {
			t.Errorf("it waits for an hour: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		f, calls = failing(1, busy(3*time.Second))
		begun = time.Now()
		_, err = Do(ctx, stack(fault.Retry(retry.Policy{}, nil)), f)
		if err != busy(3*time.Second) || *calls != 1 || time.Since(begun) != 0 {
			t.Errorf("it waits for what its caller does not wait for: %v after %v", err, time.Since(begun))
		}
	})
}

func TestRetriesStayWithinTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stack(fault.Retry(retry.Policy{}, retry.NewBudget(retry.BudgetConfig{Ratio: 0.1, MinPerSecond: -1})))
		f, calls := failing(1000, errDown)
		for range 100 {
			if _, err := Do(t.Context(), s, f); err == nil {
				t.Fatal("no error")
			}
		}
		if *calls < 105 || *calls > 110 {
			t.Errorf("100 calls and a tenth of retries are %d attempts", *calls)
		}
	})
}

func TestRetryThatIsNotMadeGoesBackToTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := retry.NewBudget(retry.BudgetConfig{})
		before := b.Remaining(Now())
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		f, calls := failing(9, busy(9*time.Second))
		_, err := Do(ctx, stack(fault.Retry(retry.Policy{}, b)), f)
		if err != busy(9*time.Second) || *calls != 1 {
			t.Errorf("%d calls, %v", *calls, err)
		}
		if after := b.Remaining(Now()); after < before {
			t.Errorf("%d retries are left, there were %d", after, before)
		}
		f, calls = failing(9, errDown) // a retry at once, for which there is no wait to end
		r := Runner[string]{Stack: stack(fault.Retry(retry.Policy{}, b)), Judge: func(string, error) fault.Verdict {
			return fault.Verdict{Outcome: fault.Failed, Reason: retry.Connect}
		}}
		if _, err := r.Do(ctx, fault.Call{}, f); err != errDown || *calls != 1 {
			t.Errorf("%d calls of a caller that has given up, %v", *calls, err)
		}
	})
}

func TestBreakerOpensAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Consecutive: 3, Probes: 1, OpenFor: 5 * time.Second})
		s := stack(fault.Breaker(b))
		f, calls := failing(3, errDown)
		for range 3 {
			_, err := Do(t.Context(), s, f)
			want(t, "", err, "", errDown)
		}
		_, err := Do(t.Context(), s, f)
		want(t, "", err, "", fault.ErrOpen)
		if r, ok := errors.AsType[*fault.Refusal](err); !ok || r.Wait != 5*time.Second || *calls != 3 {
			t.Errorf("%v after %d calls", err, *calls)
		}
		time.Sleep(5 * time.Second)
		v, err := Do(t.Context(), s, f)
		want(t, v, err, "answer", nil)
		if st := b.Status(Now()).State; st != breaker.Closed {
			t.Errorf("it is %v", st)
		}
	})
}

func TestBreakerInsideARetryCountsEveryAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Consecutive: 2})
		f, calls := failing(9, errDown)
		_, err := Do(t.Context(), stack(fault.Retry(retry.Policy{Attempts: 5}, nil), fault.Breaker(b)), f)
		want(t, "", err, "", fault.ErrOpen) // and the refusal is not retried
		if *calls != 2 {
			t.Errorf("%d calls", *calls)
		}
	})
}

func TestPanicsAreErrorsAndCounted(t *testing.T) {
	r := panics.New(panics.Config{})
	b := breaker.New(breaker.Config{Consecutive: 1})
	_, err := Do(t.Context(), stack(fault.Breaker(b), fault.Panics(r)), func(context.Context) (int, error) { panic("out of tea") })
	if p, ok := errors.AsType[*panics.Error](err); !ok || p.Value != "out of tea" || !strings.Contains(p.Place, "TestPanics") {
		t.Errorf("%v", err)
	}
	if r.Total() != 1 || b.Status(Now()).State != breaker.Open {
		t.Errorf("%d panics, the breaker is %v", r.Total(), b.Status(Now()).State)
	}
}

// TestPanicsThatPassLeaveNothingBehind: places are given back, and the policies
// know that it failed.
func TestPanicsThatPassLeaveNothingBehind(t *testing.T) {
	b := breaker.New(breaker.Config{Consecutive: 1})
	bulk := bulkhead.New(bulkhead.Config{})
	ad := adaptive.New(adaptive.Config{})
	sh := shed.New(shed.Config{})
	s := stack(fault.Timeout(time.Second), fault.Shed(sh), fault.Breaker(b), fault.Bulkhead(bulk), fault.Adaptive(ad))
	func() {
		defer func() {
			if v := recover(); v != "out of tea" {
				t.Errorf("recovered %v", v)
			}
		}()
		_, _ = Do(t.Context(), s, func(context.Context) (int, error) { panic("out of tea") })
	}()
	if bulk.Running() != 0 || ad.Gate().Running() != 0 || b.Status(Now()).State != breaker.Open {
		t.Errorf("%d and %d run, the breaker is %v", bulk.Running(), ad.Gate().Running(), b.Status(Now()).State)
	}
}

func TestShedsWhatItIsToldTo(t *testing.T) {
	sh := shed.New(shed.Config{MaxShed: 1})
	sh.Press(1)
	f, calls := failing(0, nil)
	v, err := Do(t.Context(), stack(fault.Shed(sh)), f)
	want(t, v, err, "", fault.ErrShed)
	sh.Press(0)
	v, err = Do(t.Context(), stack(fault.Shed(sh)), f)
	want(t, v, err, "answer", nil)
	if *calls != 1 {
		t.Errorf("%d calls", *calls)
	}
}

func TestPrioritiesAreShedInOrder(t *testing.T) {
	sh := shed.New(shed.Config{})
	sh.Press(0.4)
	r := Runner[string]{Stack: stack(fault.Shed(sh))}
	f, _ := failing(0, nil)
	refused := map[shed.Priority]int{}
	synctest.Test(t, func(t *testing.T) {
		for range 200 {
			time.Sleep(ms)
			for _, p := range []shed.Priority{shed.Sheddable, shed.Critical} {
				if _, err := r.Do(t.Context(), fault.Call{Priority: p}, f); err != nil {
					refused[p]++
				}
			}
		}
	})
	if refused[shed.Sheddable] < 50 || refused[shed.Critical] > 0 {
		t.Errorf("refused %v", refused)
	}
}

func TestFallbackAnswers(t *testing.T) {
	s := stack(fault.Fallback(fallback.New(fallback.Config[string]{KeepFor: time.Hour, Refresh: -1})))
	f := func(v string, err error) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return v, err }
	}
	v, err := Do(t.Context(), s, f("", errDown))
	want(t, v, err, "", errDown)
	v, err = Do(t.Context(), s, f("first", nil))
	want(t, v, err, "first", nil)
	v, err = Do(t.Context(), s, f("", errDown))
	want(t, v, err, "first", nil)
	v, err = Do(t.Context(), s, f("", fault.Permanent(io.EOF)))
	want(t, v, err, "", io.EOF) // an answer needs none
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v, err = Do(ctx, s, f("", ctx.Err()))
	want(t, v, err, "", context.Canceled) // nobody waits for one
}

func TestElseAsksAnother(t *testing.T) {
	var dropped []string
	b := breaker.New(breaker.Config{Consecutive: 1})
	r := Runner[string]{
		Stack: stack(fault.Breaker(b), fault.Else(func(_ context.Context, err error) (string, error) {
			if err == errDown {
				return "from another", nil
			}
			return "", err
		})),
		Judge: func(v string, err error) fault.Verdict {
			if v == "half an answer" {
				return fault.Verdict{Outcome: fault.Failed}
			}
			return fault.Judge(err)
		},
		Discard: func(v string) { dropped = append(dropped, v) },
	}
	v, err := r.Do(t.Context(), fault.Call{}, func(context.Context) (string, error) { return "half an answer", errDown })
	want(t, v, err, "from another", nil)
	if len(dropped) != 1 || dropped[0] != "half an answer" || b.Status(Now()).State != breaker.Closed {
		t.Errorf("dropped %q, the breaker is %v", dropped, b.Status(Now()).State)
	}
	v, err = r.Do(t.Context(), fault.Call{}, func(context.Context) (string, error) { return "answer", nil })
	want(t, v, err, "answer", nil)
	v, err = r.Do(t.Context(), fault.Call{}, func(context.Context) (string, error) { return "", io.EOF })
	want(t, v, err, "", io.EOF)
	if st := b.Status(Now()).State; st != breaker.Open {
		t.Errorf("the other failed, and the breaker is %v", st)
	}
}

func TestAnswersOfAnotherTypeAreRefused(t *testing.T) {
	f, calls := failing(0, nil)
	for _, p := range []fault.Policy{
		fault.Fallback(fallback.New(fallback.Config[int]{Static: new(1)})),
		fault.Else(func(context.Context, error) (int, error) { return 1, nil }),
	} {
		if _, err := Do(t.Context(), stack(p), f); err == nil || !strings.Contains(err.Error(), "returns string") {
			t.Errorf("%v: %v", p.Kind, err)
		}
	}
	if *calls != 0 {
		t.Error("the function was called")
	}
}

// TestAResultMayBeAFailure: what a function returns without an error may still be
// retried, and what is not returned is discarded.
func TestAResultMayBeAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped []int
		status := 500
		r := Runner[int]{
			Stack: stack(fault.Fallback(fallback.New(fallback.Config[int]{Static: new(200)})), fault.Retry(retry.Policy{Statuses: retry.Statuses(500, 501)}, nil)),
			Judge: func(status int, err error) fault.Verdict {
				return fault.Verdict{Outcome: fault.Failed, Reason: retry.Status, Status: status}
			},
			Discard: func(v int) { dropped = append(dropped, v) },
		}
		v, err := r.Do(t.Context(), fault.Call{}, func(context.Context) (int, error) { status++; return status - 1, nil })
		if v != 200 || err != nil || len(dropped) != 3 || dropped[2] != 502 {
			t.Errorf("%d, %v, dropped %v", v, err, dropped)
		}
	})
}

func TestCallsThatAreRefusedAllocateNothing(t *testing.T) {
	b := breaker.New(breaker.Config{})
	b.Force(breaker.ForcedOpen, "", Now())
	s := stack(fault.Breaker(b))
	f := func(context.Context) (int, error) { return 1, nil }
	if n := testing.AllocsPerRun(1000, func() { _, _ = Do(context.Background(), s, f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCallsThatAreLetThroughAllocateNothing(t *testing.T) {
	s := stack(
		fault.Fallback(fallback.New(fallback.Config[int]{Static: new(1)})),
		fault.Else(func(context.Context, error) (int, error) { return 1, nil }),
		fault.Shed(shed.New(shed.Config{})),
		fault.Limit(limit.New(limit.Config{Tokens: 1e9}), 0),
		fault.LimitEach(limit.NewKeyed(limit.KeyedConfig{Config: limit.Config{Tokens: 1e9}}), 0),
		fault.Retry(retry.Policy{}, nil),
		fault.Breaker(breaker.New(breaker.Config{})),
		fault.Adaptive(adaptive.New(adaptive.Config{})),
		fault.Bulkhead(bulkhead.New(bulkhead.Config{})),
		fault.Panics(panics.New(panics.Config{})),
	)
	r := Runner[int]{Stack: s}
	f := func(context.Context) (int, error) { return 1, nil }
	if n := testing.AllocsPerRun(1000, func() {
		_, _ = Do(context.Background(), s, f)
		_, _ = r.Do(context.Background(), fault.Call{Key: 1}, f)
	}); n != 0 {
		t.Errorf("%v allocations in two calls", n)
	}
}
