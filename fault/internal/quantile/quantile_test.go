package quantile

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const second = time.Second

func TestHighestOfABucketIsNear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, longest).Draw(t, "d"))
		i := bucket(d)
		if i < 0 || i >= buckets {
			t.Fatalf("%v falls into bucket %d", d, i)
		}
		if over := highest(i) - d; over < 0 || over > max(d/32, 1023) {
			t.Fatalf("%v is taken for %v", d, highest(i))
		}
		if bucket(highest(i)) != i || highest(i) < longest && bucket(highest(i)+1) != i+1 {
			t.Fatalf("%v is not the end of bucket %d", highest(i), i)
		}
	})
	if bucket(-1) != 0 || bucket(math.MaxInt64) != buckets-1 {
		t.Error("what is out of range does not fall into the outermost buckets")
	}
}

func TestAgreesWithSorting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rank := rapid.Float64Range(0.01, 1).Draw(t, "rank")
		samples := rapid.SliceOfN(rapid.Int64Range(1000, 60e9), 1, 500).Draw(t, "samples")
		e := New(rank, 10*second, 1)
		for _, s := range samples {
			e.Observe(0, time.Duration(s))
		}
		e.refresh(0)
		got, known := e.Value()
		slices.Sort(samples)
		want := time.Duration(samples[int(math.Ceil(rank*float64(len(samples))))-1])
		if over := got - want; !known || over < 0 || over > max(want/32, 1023) {
			t.Fatalf("%v, %v, want %v", got, known, want)
		}
	})
}

func TestIsNotKnownFromTooFew(t *testing.T) {
	e := New(0.5, 10*second, 100)
	for i := range 99 {
		e.Observe(time.Duration(i)*second/100, second)
	}
	if v, known := e.Value(); known {
		t.Errorf("99 samples make %v", v)
	}
	e.Observe(2*second, second)
	if v, known := e.Value(); !known || (v-second).Abs() > second/31 {
		t.Errorf("100 samples make %v, %v", v, known)
	}
}

func TestForgetsWhatIsOld(t *testing.T) {
	e := New(0.9, 10*second, 10)
	now := time.Duration(0)
	play := func(length, sample time.Duration) time.Duration {
		for end := now + length; now < end; now += 50 * time.Millisecond {
			e.Observe(now, sample)
		}
		v, _ := e.Value()
		return v
	}
	if got := play(20*second, second); (got - second).Abs() > second/31 {
		t.Errorf("at first %v", got)
	}
	if got := play(3*second, 2*second); got < 19*second/10 {
		t.Errorf("after 3 s of slow calls %v", got)
	}
	if got := play(12*second, second); got > 11*second/10 {
		t.Errorf("12 s later %v", got)
	}
	now += time.Hour
	e.Observe(now, 3*second)
	e.Observe(now+second, 3*second)
	if v, known := e.Value(); known {
		t.Errorf("an hour later it still says %v", v)
	}
}

func TestNothingAboveTheLongest(t *testing.T) {
	e := New(1.1, second, 1) // rank beyond all samples
	e.Observe(0, second)
	if v, _ := e.Value(); v != longest {
		t.Errorf("%v", v)
	}
}

func TestObservesConcurrently(t *testing.T) {
	e := New(0.5, second, 1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 2000 {
				e.Observe(time.Duration(i)*time.Millisecond, time.Millisecond)
			}
		})
	}
	wg.Wait()
	if v, known := e.Value(); !known || (v-time.Millisecond).Abs() > time.Millisecond/31 {
		t.Errorf("%v, %v", v, known)
	}
}

func BenchmarkObserve(b *testing.B) {
	e := New(0.95, 30*second, 100)
	b.ReportAllocs()
	for now := time.Duration(0); b.Loop(); now += time.Microsecond {
		e.Observe(now, now&0xffffff)
	}
}
