package window

import (
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWindowForgetsSlotBySlot(t *testing.T) {
	s := NewScale(10 * time.Second)
	var c Counter
	for i := range 10 {
		c.Add(s.Slot(time.Duration(i)*time.Second+500*time.Millisecond), 1)
	}
	for after, want := range map[time.Duration]int{9: 10, 10: 9, 14: 5, 18: 1, 19: 0, 1000: 0} {
		if got := c.Sum(s.Slot(after*time.Second + 500*time.Millisecond)); got != want {
			t.Errorf("%d s after the beginning: %d, want %d", after, got, want)
		}
	}
}

func TestSleeperDoesNotDisturbTheNewWindow(t *testing.T) {
	var c Counter
	c.Add(25, 3)
	c.Add(15, 1)
	if got := c.Sum(25); got != 3 {
		t.Errorf("sum is %d after a count from a window ago, want 3", got)
	}
	c.Add(math.MaxInt32, 1) // so far behind that the clock must have moved
	c.Add(5, 1)
	if got := c.Sum(5); got != 1 {
		t.Errorf("sum is %d after the clock was set back, want 1", got)
	}
}

func TestSlotNumbersMayWrap(t *testing.T) {
	var c Counter
	for i := range uint32(5) {
		c.Add(math.MaxUint32-2+i, 1)
	}
	if got := c.Sum(2); got != 5 {
		t.Errorf("sum across the wrap is %d, want 5", got)
	}
}

func TestSlotsAreNumberedInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := time.Duration(rapid.Int64Range(int64(Min), int64(time.Hour)).Draw(t, "length"))
		at := time.Duration(rapid.Int64Range(math.MinInt64/2, math.MaxInt64/2).Draw(t, "at"))
		step := time.Duration(rapid.Int64Range(0, int64(20*length)).Draw(t, "step"))
		s := NewScale(length)
		slots := int64(int32(s.Slot(at+step) - s.Slot(at)))
		width := length / Slots
		if low, high := int64(step/width)-1, int64(step/width)+1; slots < low || slots > high {
			t.Fatalf("%v after %v are %d slots of %v", step, at, slots, width)
		}
	})
}

func TestCountsConcurrently(t *testing.T) {
	var c Counter
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				c.Add(uint32(i/100), 1)
			}
		})
	}
	wg.Wait()
	if got := c.Sum(9); got != 8000 {
		t.Errorf("sum is %d, want 8000", got)
	}
}

func BenchmarkAdd(b *testing.B) {
	s := NewScale(10 * time.Second)
	var c Counter
	b.ReportAllocs()
	for now := time.Duration(0); b.Loop(); now += time.Microsecond {
		c.Add(s.Slot(now), 1)
	}
}
