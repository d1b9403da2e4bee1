package run

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/bulkhead"
	"github.com/trivet-ha/trivet/fault/limit"
	"github.com/trivet-ha/trivet/fault/limit/adaptive"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/timeout"
)

// sleeping returns a function that takes a while, or as long as its context lasts.
func sleeping(d time.Duration) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		select {
		case <-time.After(d):
			return "answer", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func TestTimeoutEndsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stack(fault.Timeout(time.Second))
		begun := time.Now()
		v, err := Do(t.Context(), s, sleeping(time.Minute))
		want(t, v, err, "", fault.ErrTimeout)
		want(t, v, err, "", context.DeadlineExceeded)
		if e, ok := errors.AsType[*fault.TimeoutError](err); !ok || e.Limit != time.Second || time.Since(begun) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		v, err = Do(t.Context(), s, sleeping(999*ms))
		want(t, v, err, "answer", nil)
		v, err = Do(t.Context(), s, func(ctx context.Context) (string, error) {
			time.Sleep(2 * time.Second) // does not look at its context
			return "late answer", nil
		})
		want(t, v, err, "late answer", nil)
	})
}

func TestCallerMayBeLessPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*ms)
		defer cancel()
		v, err := Do(ctx, stack(fault.Timeout(time.Second)), sleeping(time.Minute))
		if _, ok := errors.AsType[*fault.TimeoutError](err); ok || v != "" || err != context.DeadlineExceeded {
			t.Errorf("%v", err)
		}
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(10*ms, stop)
		_, err = Do(ctx, stack(fault.Timeout(time.Second)), sleeping(time.Minute))
		want(t, "", err, "", context.Canceled)
	})
}

func TestEachAttemptHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		f := func(ctx context.Context) (string, error) {
			if calls++; calls < 3 {
				return sleeping(time.Minute)(ctx)
			}
			return "answer", nil
		}
		begun := time.Now()
		v, err := Do(t.Context(), stack(fault.Timeout(10*time.Second), fault.Retry(retry.Policy{}, nil), fault.Timeout(time.Second)), f)
		want(t, v, err, "answer", nil)
		if took := time.Since(begun); took < 2*time.Second || took > 2075*ms {
			t.Errorf("took %v", took)
		}
		calls = -100
		begun = time.Now()
		_, err = Do(t.Context(), stack(fault.Timeout(1500*ms), fault.Retry(retry.Policy{}, nil), fault.Timeout(time.Second)), f)
		want(t, "", err, "", fault.ErrTimeout)
		if took := time.Since(begun); took != 1500*ms {
			t.Errorf("all together took %v", took)
		}
	})
}

func TestLearnedTimeoutFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := timeout.NewLearned(timeout.LearnedConfig{Samples: 10})
		s := stack(fault.LearnedTimeout(l))
		for range 200 {
			v, err := Do(t.Context(), s, sleeping(100*ms))
			want(t, v, err, "answer", nil)
		}
		begun := time.Now()
		_, err := Do(t.Context(), s, sleeping(time.Minute))
		want(t, "", err, "", fault.ErrTimeout)
		if took := time.Since(begun); took < 300*ms || took > 310*ms {
			t.Errorf("took %v", took)
		}
	})
}

func TestBulkheadHasCallsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bulkhead.New(bulkhead.Config{Limit: 1, Queue: 1})
		s := stack(fault.Bulkhead(b))
		var wg sync.WaitGroup
		wg.Go(func() {
			v, err := Do(t.Context(), s, sleeping(50*ms))
			want(t, v, err, "answer", nil)
		})
		synctest.Wait()
		wg.Go(func() {
			v, err := Do(t.Context(), s, sleeping(ms))
			want(t, v, err, "answer", nil)
		})
		synctest.Wait()
		v, err := Do(t.Context(), s, sleeping(ms))
		want(t, v, err, "", fault.ErrFull)
		wg.Wait()
		if b.Running() != 0 || b.Waiting() != 0 {
			t.Errorf("%d run, %d wait", b.Running(), b.Waiting())
		}
	})
}

func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bulkhead.New(bulkhead.Config{Limit: 1})
		s := stack(fault.Bulkhead(b))
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = Do(t.Context(), s, sleeping(time.Hour)) })
		synctest.Wait()
		begun := time.Now()
		_, err := Do(t.Context(), s, sleeping(ms))
		want(t, "", err, "", fault.ErrFull)
		if took := time.Since(begun); took != 100*ms {
			t.Errorf("waited for %v", took)
		}
		time.Sleep(time.Second)
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(10*ms, func() { cancel(errDown) })
		_, err = Do(ctx, s, sleeping(ms))
		want(t, "", err, "", errDown) // the caller's cause
		wg.Wait()
	})
}

// TestAdmittedAsTheCallerGivesUp: the place is given back, or used.
func TestAdmittedAsTheCallerGivesUp(t *testing.T) {
	b := bulkhead.New(bulkhead.Config{Limit: 1, Queue: 100, Interval: time.Minute, Target: time.Minute})
	s := stack(fault.Bulkhead(b))
	var answered, gaveUp atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 300 {
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					for range i % 50 {
						_ = ctx.Err()
					}
					cancel()
				}()
				_, err := Do(ctx, s, func(context.Context) (int, error) { return 1, nil })
				switch {
				case err == nil:
					answered.Add(1)
				case errors.Is(err, context.Canceled):
					gaveUp.Add(1)
				default:
					t.Errorf("%v", err)
				}
			}
		})
	}
	wg.Wait()
	if b.Running() != 0 || b.Waiting() != 0 || answered.Load()+gaveUp.Load() != 2400 {
		t.Errorf("%d run, %d wait, %d answered, %d gave up", b.Running(), b.Waiting(), answered.Load(), gaveUp.Load())
	}
}

// TestLateAdmission: room was found just as the time was up, or as the caller
// gave up. Which of the two is seen first is left to chance.
func TestLateAdmission(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	b := bulkhead.New(bulkhead.Config{Limit: 1})
	for range 200 {
		c := call[int]{now: Now()}
		if !c.queue(t.Context(), b) { // there is room, and no time to wait
			t.Fatal("a call that was admitted does not run")
		}
		b.Release(0)
		if c.queue(gone, b) {
			b.Release(0)
		}
		if b.Running() != 0 {
			t.Fatalf("%d run", b.Running())
		}
	}
}

// TestATryThatOnlyWaitedIsMadeAgain: its time was up before there was room.
func TestATryThatOnlyWaitedIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bulkhead.New(bulkhead.Config{Limit: 1})
		b.Acquire()
		time.AfterFunc(15*ms, func() { b.Release(Now()) })
		s := stack(fault.Retry(retry.Policy{Attempts: 10, BackoffBase: ms}, nil), fault.Timeout(10*ms), fault.Bulkhead(b))
		r := Runner[string]{Stack: s}
		v, err := r.Do(t.Context(), fault.Call{Unsafe: true}, sleeping(0)) // it never left
		want(t, v, err, "answer", nil)
	})
}

func TestAdaptiveHasCallsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, x := range []struct {
			queue int
			err   error
		}{{-1, fault.ErrFull}, {1, nil}} {
			l := adaptive.New(adaptive.Config{Initial: 1, Queue: bulkhead.Config{Queue: x.queue}})
			s := stack(fault.Adaptive(l))
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = Do(t.Context(), s, sleeping(50*ms)) })
			synctest.Wait()
			_, err := Do(t.Context(), s, sleeping(ms))
			if !errors.Is(err, x.err) {
				t.Errorf("with a queue of %d: %v", x.queue, err)
			}
			wg.Wait()
			if n := l.Gate().Running(); n != 0 {
				t.Errorf("%d run", n)
			}
		}
	})
}

func TestLimitHasCallsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keyed := func(c limit.Config) *limit.Keyed { return limit.NewKeyed(limit.KeyedConfig{Config: c}) }
		bucket := limit.Config{Tokens: 10, Burst: 1}
		window := limit.Config{Tokens: 10, Per: time.Minute, Algorithm: limit.SlidingWindow}
		for _, x := range []struct {
			name   string
			policy fault.Policy
			calls  int
			about  fault.Call
			takes  time.Duration
			err    error
		}{
			{"bucket", fault.Limit(limit.New(bucket), time.Second), 6, fault.Call{}, 500 * ms, nil},
			{"bucket each", fault.LimitEach(keyed(bucket), time.Second), 6, fault.Call{Key: 7}, 500 * ms, nil},
			{"bucket that does not wait", fault.Limit(limit.New(bucket), 99*ms), 2, fault.Call{}, 0, fault.ErrLimited},
			{"more than there is", fault.Limit(limit.New(bucket), time.Hour), 1, fault.Call{Tokens: 2}, 0, fault.ErrLimited},
			{"window", fault.Limit(limit.New(window), time.Hour), 2, fault.Call{Tokens: 10}, 2 * time.Minute, nil},
			{"window that does not wait", fault.Limit(limit.New(window), time.Minute), 2, fault.Call{Tokens: 10}, 0, fault.ErrLimited},
		} {
			time.Sleep(time.Minute - Now()%time.Minute) // the beginning of a window
			begun := time.Now()
			r := Runner[string]{Stack: stack(x.policy)}
			f, _ := failing(0, nil)
			var err error
			for range x.calls {
				_, err = r.Do(t.Context(), x.about, f)
			}
			if !errors.Is(err, x.err) || (err == nil) != (x.err == nil) || time.Since(begun) != x.takes {
				t.Errorf("%s: %v after %v, want %v after %v", x.name, err, time.Since(begun), x.err, x.takes)
			}
		}
	})
}

func TestTokensOfACallThatGivesUpAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := limit.Config{Tokens: 10, Burst: 5}
		l, k := limit.New(c), limit.NewKeyed(limit.KeyedConfig{Config: c})
		for _, p := range []fault.Policy{fault.Limit(l, time.Minute), fault.LimitEach(k, time.Minute)} {
			r := Runner[string]{Stack: stack(p)}
			f, calls := failing(0, nil)
			_, err := r.Do(t.Context(), fault.Call{Tokens: 5}, f)
			want(t, "", err, "", nil)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(100*ms, cancel)
			_, err = r.Do(ctx, fault.Call{Tokens: 4}, f)
			want(t, "", err, "", context.Canceled)
			ctx, cancel = context.WithTimeout(t.Context(), 100*ms)
			_, err = r.Do(ctx, fault.Call{Tokens: 4}, f)
			want(t, "", err, "", fault.ErrLimited)
			cancel()
			time.Sleep(300 * ms)
			begun := time.Now()
			_, err = r.Do(t.Context(), fault.Call{Tokens: 4}, f)
			want(t, "", err, "", nil)
			if took := time.Since(begun); took != 0 || *calls != 2 {
				t.Errorf("%v: waited for %v, %d calls", p.Kind, took, *calls)
			}
		}
	})
}
