package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/bulkhead"
	"github.com/trivet-ha/trivet/fault/fallback"
	"github.com/trivet-ha/trivet/fault/hedge"
	"github.com/trivet-ha/trivet/fault/limit"
	"github.com/trivet-ha/trivet/fault/limit/adaptive"
	"github.com/trivet-ha/trivet/fault/panics"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/shed"
	"github.com/trivet-ha/trivet/fault/timeout"
)

func all() []Policy {
	return []Policy{
		Fallback(fallback.New(fallback.Config[int]{Static: new(1)})),
		Else(func(context.Context, error) (int, error) { return 2, nil }),
		Timeout(5 * time.Second),
		Shed(shed.New(shed.Config{})),
		LimitEach(limit.NewKeyed(limit.KeyedConfig{Config: limit.Config{Tokens: 1}}), 0),
		Limit(limit.New(limit.Config{Tokens: 1}), 0),
		Retry(retry.Policy{Attempts: 2}, nil),
		Hedge(hedge.New(hedge.Config{})),
		Breaker(breaker.New(breaker.Config{})),
		Adaptive(adaptive.New(adaptive.Config{})),
		Bulkhead(bulkhead.New(bulkhead.Config{})),
		LearnedTimeout(timeout.NewLearned(timeout.LearnedConfig{})),
		Panics(panics.New(panics.Config{})),
	}
}

func TestStackReadsAsItIsWritten(t *testing.T) {
	s, err := New(all()...)
	if err != nil {
		t.Fatal(err)
	}
	want := "fallback(else(timeout 5s(shed(limit each(limit(retry 2(hedge(breaker(adaptive(bulkhead(learned timeout(panics(f)))))))))))))"
	if got := s.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := len(s.Policies()); got != 13 {
		t.Errorf("%d policies", got)
	}
	if s := (*Stack)(nil); s.Policies() != nil {
		t.Error("a nil stack has policies")
	}
	if got := Must(New()).String(); got != "f" {
		t.Errorf("nothing is %s", got)
	}
}

// TestStackDoesNotChange: the caller's slice may.
func TestStackDoesNotChange(t *testing.T) {
	policies := all()
	s := Must(New(policies...))
	policies[0] = Policy{}
	if s.Policies()[0].Kind != KindFallback {
		t.Error("the stack has changed")
	}
}

func TestNewRefusesNonsense(t *testing.T) {
	b, tries, second := breaker.New(breaker.Config{}), Retry(retry.Policy{}, nil), Hedge(hedge.New(hedge.Config{}))
	f := fallback.New(fallback.Config[int]{Static: new(1)})
	for want, policies := range map[string][]Policy{
		"policy 1 of 2: it was not made by":             {{}, tries},
		"policy 2 of 2: retry: -1 attempts":             {Timeout(1), Retry(retry.Policy{Attempts: -1}, nil)},
		"timeout: 0s is not positive":                   {Timeout(0)},
		"breaker: window":                               {Breaker(breaker.New(breaker.Config{Window: 1}))},
		"bulkhead: limit":                               {Bulkhead(bulkhead.New(bulkhead.Config{Limit: -1}))},
		"hedge: quantile":                               {Hedge(hedge.New(hedge.Config{Quantile: 2}))},
		"adaptive: minimum":                             {Adaptive(adaptive.New(adaptive.Config{Min: -1}))},
		"limit: 0 tokens":                               {Limit(limit.New(limit.Config{}), 0)},
		"limit: -100 keys":                              {LimitEach(limit.NewKeyed(limit.KeyedConfig{Config: limit.Config{Tokens: 1}, Keys: -100}), 0)},
		"shed: K":                                       {Shed(shed.New(shed.Config{K: -1}))},
		"fallback: neither":                             {Fallback(fallback.New(fallback.Config[int]{}))},
		"timeout: factor":                               {LearnedTimeout(timeout.NewLearned(timeout.LearnedConfig{Factor: -1}))},
		"panics: -1 places":                             {Panics(panics.New(panics.Config{Places: -1}))},
		"three times three are nine":                    {tries, Timeout(1), tries},
		"the hedge belongs inside":                      {second, tries},
		"a hedge inside a hedge":                        {second, Hedge(hedge.New(hedge.Config{}))},
		"policy 3 of 3: the same breaker stands":        {Breaker(b), tries, Breaker(b)},
		"policy 2 of 2: the same fallback stands":       {Fallback(f), Fallback(f)},
		"policy 1 of 1: breaker: slow call -1ns is neg": {Breaker(breaker.New(breaker.Config{SlowCall: -1}))},
	} {
		if _, err := New(policies...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	if _, err := New(Timeout(2), Retry(retry.Policy{}, nil), Timeout(1), Breaker(b), Breaker(breaker.New(breaker.Config{}))); err != nil {
		t.Error(err)
	}
	if _, err := New(Timeout(-1), Timeout(-2)); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("not every mistake is named: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("Must takes anything")
		}
	}()
	Must(New(Timeout(0)))
}

func TestErrorsSayWhatTheyAre(t *testing.T) {
	refusal := error(&Refusal{Err: ErrOpen, Wait: 3 * time.Second})
	late := error(&TimeoutError{Limit: time.Second, Err: fmt.Errorf("read: %w", io.EOF)})
	for _, x := range []struct {
		err  error
		text string
		is   []error
	}{
		{refusal, "the breaker is open: try again in 3s", []error{ErrOpen}},
		{&Refusal{Err: ErrFull}, "too many calls are under way", []error{ErrFull}},
		{late, "no answer within 1s", []error{ErrTimeout, context.DeadlineExceeded, io.EOF}},
		{Permanent(io.EOF), "EOF", []error{io.EOF}},
		{Unsent(io.EOF), "EOF", []error{io.EOF}},
	} {
		if x.err.Error() != x.text {
			t.Errorf("%q, want %q", x.err, x.text)
		}
		for _, target := range x.is {
			if !errors.Is(x.err, target) {
				t.Errorf("%q is not %q", x.err, target)
			}
		}
	}
	if errors.Is(refusal, ErrFull) || errors.Is(late, context.Canceled) {
		t.Error("an error is what it is not")
	}
	if n, ok := errors.AsType[net.Error](late); ok || n != nil {
		t.Error("a time-out pretends to be of the network") // it has no Temporary
	}
	if got := refusal.(*Refusal).RetryAfter(); got != 3*time.Second {
		t.Errorf("try again after %v", got)
	}
	if !late.(*TimeoutError).Timeout() {
		t.Error("a time-out is none")
	}
	if Permanent(nil) != nil || Unsent(nil) != nil {
		t.Error("no error is marked")
	}
}

// Within a millisecond a policy has one refusal for all, and each stack has its own.
func TestCallsRefusedAtATimeShareTheirRefusal(t *testing.T) {
	b := Breaker(breaker.New(breaker.Config{}))
	p, other := &Must(New(b)).Policies()[0], &Must(New(b)).Policies()[0]
	r := p.Refuse(ErrOpen, 1500*time.Microsecond)
	if r.Err != ErrOpen || r.Wait != 2*time.Millisecond {
		t.Errorf("refused with %v after %v", r.Err, r.Wait)
	}
	for name, one := range map[string]struct {
		refusal *Refusal
		wait    time.Duration
		same    bool
	}{
		"a moment later":   {p.Refuse(ErrOpen, 1100*time.Microsecond), 2 * time.Millisecond, true},
		"of another stack": {other.Refuse(ErrOpen, 1500*time.Microsecond), 2 * time.Millisecond, false},
		"not known":        {p.Refuse(ErrOpen, 0), 0, false},
		"another reason":   {p.Refuse(ErrShed, 0), 0, false},
	} {
		if (one.refusal == r) != one.same || one.refusal.Wait != one.wait {
			t.Errorf("%s: %+v, the same: %v", name, one.refusal, one.refusal == r)
		}
	}
}

// busy is an error like that of a service which says when to come back.
type busy time.Duration

func (b busy) Error() string             { return "busy" }
func (b busy) RetryAfter() time.Duration { return time.Duration(b) }

func TestJudge(t *testing.T) {
	for _, x := range []struct {
		name string
		err  error
		want Verdict
	}{
		{"success", nil, Verdict{}},
		{"any error", io.EOF, Verdict{Outcome: Failed}},
		{"an answer", fmt.Errorf("get user: %w", Permanent(io.EOF)), Verdict{Final: true}},
		{"an answer after a time-out of its own", Permanent(context.DeadlineExceeded), Verdict{Final: true}},
		{"unsent", fmt.Errorf("dial: %w", Unsent(io.EOF)), Verdict{Outcome: Failed, Unsent: true}},
		{"unsent for time", Unsent(context.DeadlineExceeded), Verdict{Outcome: Failed, Unsent: true, Overload: true}},
		{"refused", fmt.Errorf("call: %w", &Refusal{Err: ErrOpen, Wait: 1}), Verdict{Outcome: Ignored, Final: true, Unsent: true}},
		{"caller gave up", fmt.Errorf("read: %w", context.Canceled), Verdict{Outcome: Ignored, Final: true}},
		{"caller's time is up", context.DeadlineExceeded, Verdict{Outcome: Failed, Overload: true}},
		{"time-out", &TimeoutError{Err: context.Canceled}, Verdict{Outcome: Failed, Overload: true}},
		{"comes back later", fmt.Errorf("get: %w", busy(time.Second)), Verdict{Outcome: Failed, Overload: true, After: time.Second}},
	} {
		if got := Judge(x.err); got != x.want {
			t.Errorf("%s: %+v, want %+v", x.name, got, x.want)
		}
	}
}

func TestVerdictsTranslate(t *testing.T) {
	for _, x := range []struct {
		v Verdict
		b breaker.Outcome
		a adaptive.Outcome
		s shed.Outcome
	}{
		{Verdict{}, breaker.OK, adaptive.OK, shed.Accepted},
		{Verdict{Outcome: Failed}, breaker.Failed, adaptive.Ignored, shed.Refused},
		{Verdict{Outcome: Failed, Overload: true}, breaker.Failed, adaptive.Dropped, shed.Refused},
		{Verdict{Outcome: Ignored}, breaker.Ignored, adaptive.Ignored, shed.Ignored},
	} {
		if x.v.Breaker() != x.b || x.v.Adaptive() != x.a || x.v.Shed() != x.s {
			t.Errorf("%+v: %v, %v, %v", x.v, x.v.Breaker(), x.v.Adaptive(), x.v.Shed())
		}
	}
	if got := fmt.Sprint(OK, Failed, Ignored, Kind(0), KindLimitEach); got != "ok failed ignored nothing limit each" {
		t.Error(got)
	}
}
