package run

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/hedge"
	"github.com/trivet-ha/trivet/fault/retry"
)

// after100 hedges after 100 ms and never runs out of budget.
func after100(hedges int) *hedge.Hedge {
	return hedge.New(hedge.Config{Delay: 100 * ms, Hedges: hedges, Budget: retry.BudgetConfig{Ratio: 10}})
}

// attempts is a function whose n-th attempt does as the n-th entry says.
type attempts struct {
	each []attempt

	mu     sync.Mutex
	begun  int
	ended  []string // how, in order
	values []string // discarded
}

type attempt struct {
	takes time.Duration
	value string
	err   error
	panic any
}

func (a *attempts) do(ctx context.Context) (string, error) {
	a.mu.Lock()
	x := a.each[a.begun]
	a.begun++
	a.mu.Unlock()
	end := func(how string) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.ended = append(a.ended, how)
	}
	select {
	case <-time.After(x.takes):
	case <-ctx.Done():
		end("cancelled")
		return "", ctx.Err()
	}
	if x.panic != nil {
		panic(x.panic)
	}
	end("answered")
	return x.value, x.err
}

func (a *attempts) runner(policies ...fault.Policy) *Runner[string] {
	return &Runner[string]{Stack: stack(policies...), Discard: func(v string) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if v != "" {
			a.values = append(a.values, v)
		}
	}}
}

func TestHedges(t *testing.T) {
	for _, x := range []struct {
		name   string
		hedges int
		about  fault.Call
		each   []attempt
		value  string
		err    error
		takes  time.Duration
		ended  []string
	}{
		{"a fast answer needs none", 1, fault.Call{},
			[]attempt{{takes: 50 * ms, value: "first"}},
			"first", nil, 50 * ms, []string{"answered"}},
		{"the second answers first", 1, fault.Call{},
			[]attempt{{takes: time.Minute}, {takes: 20 * ms, value: "second"}},
			"second", nil, 120 * ms, []string{"answered", "cancelled"}},
		{"the first answers after all", 1, fault.Call{},
			[]attempt{{takes: 110 * ms, value: "first"}, {takes: time.Minute}},
			"first", nil, 110 * ms, []string{"answered", "cancelled"}},
		{"the first fails at once: that is not slow", 1, fault.Call{},
			[]attempt{{takes: ms, err: errDown}},
			"", errDown, ms, []string{"answered"}},
		{"the first fails while the second is under way", 1, fault.Call{},
			[]attempt{{takes: 110 * ms, err: errDown}, {takes: 50 * ms, value: "second"}},
			"second", nil, 150 * ms, []string{"answered", "answered"}},
		{"both fail: the first one's error", 1, fault.Call{},
			[]attempt{{takes: 200 * ms, err: errDown}, {takes: ms, err: context.DeadlineExceeded}},
			"", errDown, 200 * ms, []string{"answered", "answered"}},
		{"two hedges", 2, fault.Call{},
			[]attempt{{takes: time.Minute}, {takes: time.Minute}, {takes: 10 * ms, value: "third"}},
			"third", nil, 210 * ms, []string{"answered", "cancelled", "cancelled"}},
		{"unsafe", 1, fault.Call{Unsafe: true},
			[]attempt{{takes: time.Minute, value: "first"}},
			"first", nil, time.Minute, []string{"answered"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &attempts{each: x.each}
				begun := time.Now()
				v, err := a.runner(fault.Hedge(after100(x.hedges))).Do(t.Context(), x.about, a.do)
				want(t, v, err, x.value, x.err)
				if took := time.Since(begun); took != x.takes {
					t.Errorf("took %v, want %v", took, x.takes)
				}
				if !slices.Equal(a.ended, x.ended) {
					t.Errorf("ended %q, want %q", a.ended, x.ended)
				}
			})
		})
	}
}

func TestSecondAnswerIsDiscarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stubborn := func(takes ...time.Duration) (*attempts, func(context.Context) (string, error)) {
			a := &attempts{}
			return a, func(context.Context) (string, error) {
				a.mu.Lock()
				d := takes[a.begun]
				a.begun++
				a.mu.Unlock()
				time.Sleep(d) // whatever its context says
				return d.String(), nil
			}
		}
		a, f := stubborn(200*ms, 50*ms)
		v, err := a.runner(fault.Hedge(after100(1))).Do(t.Context(), fault.Call{}, f)
		want(t, v, err, "50ms", nil)
		if !slices.Equal(a.values, []string{"200ms"}) {
			t.Errorf("discarded %q", a.values)
		}
		a, f = stubborn(120*ms, 50*ms)
		v, err = a.runner(fault.Hedge(after100(1))).Do(t.Context(), fault.Call{}, f)
		want(t, v, err, "120ms", nil)
		if !slices.Equal(a.values, []string{"50ms"}) {
			t.Errorf("discarded %q", a.values)
		}
	})
}

func TestHedgingEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 150*ms)
		defer cancel()
		a := &attempts{each: []attempt{{takes: time.Minute}, {takes: time.Minute}}}
		_, err := a.runner(fault.Hedge(after100(1))).Do(ctx, fault.Call{}, a.do)
		want(t, "", err, "", context.DeadlineExceeded)
		if !slices.Equal(a.ended, []string{"cancelled", "cancelled"}) {
			t.Errorf("ended %q", a.ended)
		}
	})
}

func TestHedgeWithoutBudgetIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &attempts{each: []attempt{{takes: time.Minute, value: "first"}, {}}}
		h := hedge.New(hedge.Config{Delay: 100 * ms, Budget: retry.BudgetConfig{Ratio: -1, MinPerSecond: -1}})
		v, err := a.runner(fault.Hedge(h)).Do(t.Context(), fault.Call{}, a.do)
		want(t, v, err, "first", nil)
		if a.begun != 1 {
			t.Errorf("%d attempts", a.begun)
		}
	})
}

// TestLoserSaysNothingAboutTheService: a breaker inside counts the answer alone.
func TestLoserSaysNothingAboutTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Consecutive: 1})
		a := &attempts{each: []attempt{{takes: time.Minute}, {takes: ms, value: "second"}}}
		v, err := a.runner(fault.Hedge(after100(1)), fault.Breaker(b)).Do(t.Context(), fault.Call{}, a.do)
		want(t, v, err, "second", nil)
		if s := b.Status(Now()); s.State != breaker.Closed || s.Counts.Calls != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestHedgeLearnsWhenToHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hedge.New(hedge.Config{Samples: 20})
		a := &attempts{}
		r := a.runner(fault.Hedge(h))
		for range 100 {
			a.begun, a.each = 0, []attempt{{takes: 50 * ms, value: "first"}}
			v, err := r.Do(t.Context(), fault.Call{}, a.do)
			want(t, v, err, "first", nil)
		}
		a.begun, a.each = 0, []attempt{{takes: time.Minute}, {takes: 50 * ms, value: "second"}}
		begun := time.Now()
		v, err := r.Do(t.Context(), fault.Call{}, a.do)
		want(t, v, err, "second", nil)
		if took := time.Since(begun); took < 100*ms || took > 110*ms {
			t.Errorf("took %v", took)
		}
	})
}

// TestPanicOfAHedgeReachesTheCaller and not the process.
func TestPanicOfAHedgeReachesTheCaller(t *testing.T) {
	for name, each := range map[string][]attempt{
		"of the second": {{takes: time.Minute}, {takes: ms, panic: "out of tea"}},
		"of the first":  {{takes: 200 * ms, panic: "out of tea"}, {takes: time.Minute}},
	} {
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if v := recover(); v != "out of tea" {
					t.Errorf("%s: recovered %v", name, v)
				}
			}()
			a := &attempts{each: each}
			_, _ = a.runner(fault.Hedge(after100(1))).Do(t.Context(), fault.Call{}, a.do)
			t.Errorf("%s: no panic", name)
		})
	}
}

func TestHedgesConcurrently(t *testing.T) {
	s := stack(fault.Hedge(hedge.New(hedge.Config{Delay: time.Microsecond, Hedges: 3, Budget: retry.BudgetConfig{Ratio: 10}})))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 100 {
				v, err := Do(t.Context(), s, func(ctx context.Context) (int, error) {
					for range i * 10 {
						if ctx.Err() != nil {
							return 0, ctx.Err()
						}
					}
					return i, nil
				})
				if err != nil || v != i {
					t.Errorf("%d, %v", v, err)
				}
			}
		})
	}
	wg.Wait()
}
