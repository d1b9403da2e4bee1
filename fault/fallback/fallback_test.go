package fallback

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const second = time.Second

var errDown = errors.New("down")

func TestLastGoodAnswerIsKeptForAWhile(t *testing.T) {
	f := New(Config[string]{KeepFor: 60 * second, Static: new("closed")})
	ask := func(now time.Duration, want string, from Source) {
		t.Helper()
		if v, s := f.Answer(now, errDown); v != want || s != from {
			t.Errorf("at %v: %q, %v, want %q, %v", now, v, s, want, from)
		}
	}
	ask(0, "closed", Static)
	f.Good(second, "a")
	ask(2*second, "a", Last)
	f.Good(3*second, "b") // too soon to be worth keeping
	ask(3*second, "a", Last)
	f.Good(4*second, "c")
	ask(64*second, "c", Last)
	ask(64*second+1, "closed", Static)
	if f.Used(Last) != 3 || f.Used(Static) != 2 || f.Used(None) != 0 {
		t.Errorf("used %d, %d, %d", f.Used(Last), f.Used(Static), f.Used(None))
	}
}

func TestOnlyWhatIsMeantGetsAnAnswer(t *testing.T) {
	f := New(Config[int]{Static: new(7), When: func(err error) bool { return err == errDown }})
	if v, from := f.Answer(0, errDown); v != 7 || from != Static {
		t.Errorf("%d, %v", v, from)
	}
	if v, from := f.Answer(0, errors.New("no such user")); v != 0 || from != None {
		t.Errorf("%d, %v", v, from)
	}
	f.Good(0, 9)
	if v, _ := f.Answer(0, errDown); v != 7 {
		t.Errorf("an answer is kept although none is to be: %d", v)
	}
}

func TestWithoutAnyAnswerThereIsNone(t *testing.T) {
	f := New(Config[int]{KeepFor: second, Refresh: -1})
	if _, from := f.Answer(0, errDown); from != None {
		t.Errorf("from %v", from)
	}
	f.Good(0, 1)
	f.Good(0, 2)
	if v, _ := f.Answer(0, errDown); v != 2 {
		t.Errorf("refreshed every time, the answer is %d", v)
	}
}

// TestNoAnswerIsOlderThanItMayBe whatever the order of events, and it is at most
// a refresh behind the latest.
func TestNoAnswerIsOlderThanItMayBe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config[time.Duration]{KeepFor: time.Duration(rapid.Int64Range(20, 1e11).Draw(t, "keep"))}
		f := New(c)
		now, latest, any := time.Duration(0), time.Duration(0), false
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			now += time.Duration(rapid.Int64Range(0, int64(c.KeepFor)).Draw(t, "step"))
			if rapid.Bool().Draw(t, "good") {
				f.Good(now, now)
				latest, any = now, true
				continue
			}
			v, from := f.Answer(now, errDown)
			switch {
			case from == Last && (now-v > c.KeepFor || latest-v >= max(c.KeepFor/20, 1)):
				t.Fatalf("at %v an answer of %v, the latest was of %v", now, v, latest)
			case from == None && any && now-latest+c.KeepFor/20 < c.KeepFor:
				t.Fatalf("at %v no answer, and there was a good one at %v", now, latest)
			}
		}
	})
}

func TestCheckRefusesNonsense(t *testing.T) {
	for want, c := range map[string]Config[int]{
		"negative": {KeepFor: -1},
		"every 2s": {KeepFor: second, Refresh: 2 * second},
		"neither":  {},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := (Config[int]{Static: new(1)}).Check(); err != nil {
		t.Error(err)
	}
	if got := New(Config[int]{KeepFor: 20 * second}).Config().Refresh; got != second {
		t.Errorf("refreshed every %v", got)
	}
	if got := fmt.Sprint(None, Last, Static); got != "none last static" {
		t.Error(got)
	}
}

func TestKeepsConcurrently(t *testing.T) {
	f := New(Config[int]{KeepFor: second, Refresh: -1})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 1000 {
				f.Good(0, i)
				if v, from := f.Answer(0, errDown); from != Last || v < 0 || v > 7 {
					t.Errorf("%d, %v", v, from)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkGood(b *testing.B) {
	f := New(Config[string]{KeepFor: time.Minute})
	b.ReportAllocs()
	for now := time.Duration(0); b.Loop(); now += time.Microsecond {
		f.Good(now, "answer")
	}
}

func Example() {
	prices := New(Config[string]{KeepFor: time.Hour, Static: new("ask at the counter")})
	down := errors.New("connection refused")
	fmt.Println(prices.Answer(0, down))
	prices.Good(time.Minute, "9.90")
	fmt.Println(prices.Answer(2*time.Minute, down))
	fmt.Println(prices.Answer(2*time.Hour, down))
	// Output:
	// ask at the counter static
	// 9.90 last
	// ask at the counter static
}
