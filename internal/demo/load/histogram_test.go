package load

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestQuantilesAreWithinOnePercentOfTheSortedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 300).Draw(t, "values")
		var h Histogram
		for _, v := range values {
			h.Record(time.Duration(v))
		}
		slices.Sort(values)
		for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 1} {
			rank := max(int(math.Ceil(q*float64(len(values)))), 1)
			want, got := values[rank-1], int64(h.Quantile(q))
			if got < want || float64(got-want) > float64(want)/subBuckets {
				t.Fatalf("Quantile(%g) = %d, the list says %d", q, got, want)
			}
		}
		if h.Max() != time.Duration(values[len(values)-1]) || h.Count() != uint64(len(values)) {
			t.Fatalf("max %v of %d, want %v of %d", h.Max(), h.Count(), values[len(values)-1], len(values))
		}
	})
}

func TestEverySlotEndsWhereTheNextBegins(t *testing.T) {
	for i := range histogramSlots - 1 {
		end := slotEnd(i)
		if slot(end) != i || slot(end+1) != i+1 {
			t.Fatalf("slot %d ends at %d, which lies in slot %d, and %d in slot %d", i, end, slot(end), end+1, slot(end+1))
		}
	}
	if last := slot(math.MaxInt64); last >= histogramSlots {
		t.Errorf("the longest duration lies in slot %d of %d", last, histogramSlots)
	}
}

func TestMergeEqualsRecordingBoth(t *testing.T) {
	var a, b, both Histogram
	for i := range 1000 {
		d := time.Duration(i*i) * time.Microsecond
		both.Record(d)
		if i%3 == 0 {
			a.Record(d)
		} else {
			b.Record(d)
		}
	}
	a.Merge(&b)
	if a != both {
		t.Error("merging two halves differs from recording the whole")
	}
}

func TestAnEmptyHistogramIsAllZero(t *testing.T) {
	var h Histogram
	if h.Quantile(0.99) != 0 || h.Max() != 0 || h.Mean() != 0 || h.Count() != 0 {
		t.Error("an empty histogram reports something")
	}
}

func BenchmarkRecord(b *testing.B) {
	var h Histogram
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		h.Record(time.Duration(i))
	}
}
