package retry

import (
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSafeIsIdempotentOrUnsent(t *testing.T) {
	for method, idempotent := range map[string]bool{
		"GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true, "PUT": true, "DELETE": true,
		"POST": false, "PATCH": false, "CONNECT": false, "LOCK": false, "get": false, "": false,
	} {
		if got := Safe(method, true); got != idempotent {
			t.Errorf("Safe(%q, sent) is %v", method, got)
		}
		if !Safe([]byte(method), false) {
			t.Errorf("Safe(%q, not sent) is false", method)
		}
	}
	if n := testing.AllocsPerRun(100, func() { Safe([]byte("DELETE"), true) }); n != 0 {
		t.Errorf("Safe allocates %v times", n)
	}
}

func TestWantsByReasonAttemptsAndStatus(t *testing.T) {
	def := Policy{}.WithDefaults()
	statuses := Policy{Statuses: Statuses(502, 503)}.WithDefaults()
	for _, c := range []struct {
		name     string
		policy   Policy
		attempts int
		reason   When
		status   int
		want     bool
	}{
		{"connect, first", def, 1, Connect, 0, true},
		{"connect, second", def, 2, Connect, 0, true},
		{"connect, third and last", def, 3, Connect, 0, false},
		{"reset", def, 1, Reset, 0, true},
		{"stall", def, 1, Stall, 0, true},
		{"timeout is not a default", def, 1, Timeout, 0, false},
		{"statuses are not a default", def, 1, Status, 503, false},
		{"listed status", statuses, 1, Status, 503, true},
		{"status that is not listed", statuses, 1, Status, 500, false},
		{"statuses keep the other reasons", statuses, 1, Reset, 0, true},
		{"one attempt is never again", Policy{Attempts: 1}.WithDefaults(), 1, Connect, 0, false},
		{"chosen reason", Policy{When: Timeout}.WithDefaults(), 1, Timeout, 0, true},
		{"reason not chosen", Policy{When: Timeout}.WithDefaults(), 1, Connect, 0, false},
	} {
		if got := c.policy.Wants(c.attempts, c.reason, c.status); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestStatusSetHoldsExactlyItsMembers(t *testing.T) {
	s := Statuses(100, 163, 164, 503, 599)
	for status := -10; status < 800; status++ {
		want := status == 100 || status == 163 || status == 164 || status == 503 || status == 599
		if s.Has(status) != want {
			t.Errorf("Has(%d) is %v", status, !want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("status 600 is taken without complaint")
		}
	}()
	Statuses(600)
}

func TestBackoffDoublesUpToItsMaximum(t *testing.T) {
	p := Policy{BackoffBase: 100 * time.Millisecond, BackoffMax: 350 * time.Millisecond}.WithDefaults()
	for attempts, limit := range map[int]time.Duration{1: 100, 2: 200, 3: 350, 4: 350, 60: 350} {
		limit *= time.Millisecond
		if got := p.Backoff(attempts, Status, math.MaxUint64); got >= limit || got < limit-time.Microsecond {
			t.Errorf("longest wait after %d attempts is %v, want just below %v", attempts, got, limit)
		}
		if got := p.Backoff(attempts, Status, 0); got != 0 {
			t.Errorf("shortest wait is %v", got)
		}
	}
}

func TestFirstRetryElsewhereGoesAtOnce(t *testing.T) {
	p := Policy{}.WithDefaults()
	for _, reason := range []When{Connect, Reset, Stall} {
		if got := p.Backoff(1, reason, math.MaxUint64); got != 0 {
			t.Errorf("first retry waits %v", got)
		}
		if got := p.Backoff(2, reason, math.MaxUint64); got == 0 {
			t.Error("second retry does not wait")
		}
	}
	if p.Backoff(1, Timeout, math.MaxUint64) == 0 {
		t.Error("a retry after a time-out does not wait")
	}
}

func TestPolicyCheckRefusesNonsense(t *testing.T) {
	for want, p := range map[string]Policy{
		"attempts":        {Attempts: -1},
		"backoff base":    {BackoffBase: -1},
		"backoff maximum": {BackoffBase: time.Second, BackoffMax: time.Millisecond},
	} {
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if err := (Policy{}).Check(); err != nil {
		t.Error(err)
	}
}

func TestBudgetCheckRefusesNonsense(t *testing.T) {
	for want, c := range map[string]BudgetConfig{
		"ratio":   {Ratio: math.NaN()},
		"minimum": {MinPerSecond: math.Inf(1)},
		"window":  {Window: time.Microsecond},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := (BudgetConfig{}).Check(); err != nil {
		t.Error(err)
	}
}

func TestBudgetIsAShareOfTheRequests(t *testing.T) {
	b := NewBudget(BudgetConfig{Ratio: 0.2, MinPerSecond: -1})
	for range 1000 {
		b.Request(time.Second)
	}
	if got := b.Remaining(time.Second); got != 200 {
		t.Errorf("remaining is %d, want 200", got)
	}
	if got := takeAll(b, time.Second); got != 200 {
		t.Errorf("%d retries pass, want 200", got)
	}
}

// TestThousandFailuresAtOnceDoNotAllRetry is Envoy's issue 30205: retries that
// wait in back-off must count, or all of a thousand pass.
func TestThousandFailuresAtOnceDoNotAllRetry(t *testing.T) {
	b := NewBudget(BudgetConfig{})
	passed := 0
	for range 1000 {
		b.Request(0)
	}
	for range 1000 { // all fail, and none has been sent again yet
		if b.Take(0) {
			passed++
		}
	}
	if passed != 230 { // a fifth, and three a second
		t.Errorf("%d retries pass, want 230", passed)
	}
}

func TestLowTrafficMayRetry(t *testing.T) {
	b := NewBudget(BudgetConfig{MinPerSecond: 2})
	b.Request(0)
	if got := takeAll(b, 0); got != 20 {
		t.Errorf("%d retries pass, want 20: 2 a second for 10 s", got)
	}
}

func TestBudgetForgetsAfterItsWindow(t *testing.T) {
	b := NewBudget(BudgetConfig{Ratio: 1, MinPerSecond: -1, Window: 10 * time.Second})
	for range 10 {
		b.Request(500 * time.Millisecond)
	}
	if got := b.Remaining(9999 * time.Millisecond); got != 10 {
		t.Errorf("within the window remaining is %d", got)
	}
	if got := b.Remaining(10 * time.Second); got != 0 {
		t.Errorf("after the window remaining is %d", got)
	}
	b.Request(100 * time.Second)
	if got := takeAll(b, 100*time.Second); got != 1 {
		t.Errorf("after a pause %d pass, want 1", got)
	}
}

func TestReturnedRetryCanBeTakenAgain(t *testing.T) {
	b := NewBudget(BudgetConfig{Ratio: -1, MinPerSecond: 0.1})
	if !b.Take(time.Second) || b.Take(2*time.Second) {
		t.Fatal("budget is not 1")
	}
	b.Return(3 * time.Second)
	if !b.Take(3 * time.Second) {
		t.Error("returned retry is lost")
	}
	b.Return(3 * time.Second)
	b.Return(3 * time.Second) // one too many changes nothing
	if got := b.Remaining(3 * time.Second); got != 1 {
		t.Errorf("remaining is %d, want 1", got)
	}
}

func TestBudgetWorksFromAnyOrigin(t *testing.T) {
	for _, origin := range []time.Duration{0, -time.Hour, time.Duration(1<<31-5) * time.Second, math.MaxInt64 - time.Hour} {
		b := NewBudget(BudgetConfig{Ratio: 0.5, MinPerSecond: -1})
		for i := range 10 {
			b.Request(origin + time.Duration(i)*time.Second)
		}
		if got := takeAll(b, origin+9*time.Second); got != 5 {
			t.Errorf("from %v %d pass, want 5", origin, got)
		}
	}
}

func TestThreadsMayDisagreeOnTheTime(t *testing.T) {
	b := NewBudget(BudgetConfig{Ratio: 1, MinPerSecond: -1})
	b.Request(5 * time.Second)
	b.Request(4999 * time.Millisecond) // a thread a little behind
	if got := takeAll(b, 4999*time.Millisecond); got != 2 {
		t.Errorf("%d pass, want 2", got)
	}
}

func TestBudgetIsNeverExceededConcurrently(t *testing.T) {
	b := NewBudget(BudgetConfig{Ratio: 0.1, MinPerSecond: -1})
	const threads, each = 8, 2000
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			for range each {
				b.Request(time.Second)
				if b.Take(time.Second) {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := passed.Load(); got > threads*each/10 || got < threads*each/20 {
		t.Errorf("%d of %d pass, want at most a tenth and not far below", got, threads*each)
	}
}

func TestRetriesStayWithinTheBudgetOfAnyWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := BudgetConfig{
			Ratio:        rapid.Float64Range(0.01, 1).Draw(t, "ratio"),
			MinPerSecond: rapid.Float64Range(0.1, 5).Draw(t, "min"),
		}
		b := NewBudget(c)
		now := time.Duration(0)
		var requests, retries []time.Duration
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond
			if rapid.Bool().Draw(t, "request") {
				b.Request(now)
				requests = append(requests, now)
			} else if b.Take(now) {
				retries = append(retries, now)
			}
			// A window of parts begins with the part that now-9s falls into.
			from := now.Truncate(time.Second) - 9*time.Second
			limit := c.MinPerSecond*10 + c.Ratio*float64(since(requests, from))
			if got := since(retries, from); float64(got) > limit && len(retries) > 0 && retries[len(retries)-1] == now {
				t.Fatalf("%d retries since %v, allowed %v", got, from, limit)
			}
		}
	})
}

func since(times []time.Duration, from time.Duration) (n int) {
	for _, at := range times {
		if at >= from {
			n++
		}
	}
	return n
}

func takeAll(b *Budget, now time.Duration) (n int) {
	for n < 1_000_000 && b.Take(now) {
		n++
	}
	return n
}

func BenchmarkBudget(b *testing.B) {
	budget := NewBudget(BudgetConfig{})
	b.ReportAllocs()
	b.Run("Request", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for now := time.Duration(0); pb.Next(); now += time.Microsecond {
				budget.Request(now)
			}
		})
	})
	b.Run("Take", func(b *testing.B) {
		b.ReportAllocs()
		for now := time.Duration(0); b.Loop(); now += time.Microsecond {
			budget.Take(now)
		}
	})
}
