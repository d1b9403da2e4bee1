package loop

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// alarm is a Timer with an identity; it notes when it rings, and may arm itself again.
type alarm struct {
	Timer
	id    int
	rings []time.Duration
	then  func(now time.Duration)
}

func (a *alarm) Expire(now time.Duration) {
	a.rings = append(a.rings, now)
	if a.then != nil {
		a.then(now)
	}
}

func newWheel(now time.Duration) *wheel {
	w := new(wheel)
	w.init(now)
	return w
}

func TestDeadlineFiresAtItsTickAndNotBefore(t *testing.T) {
	w := newWheel(0)
	var a alarm
	w.arm(&a.Timer, &a, 10*time.Millisecond)
	for now := time.Duration(0); now < 12*time.Millisecond; now += time.Millisecond {
		if w.expire(now); len(a.rings) > 0 {
			t.Fatalf("it rang at %v", now)
		}
	}
	if w.expire(12 * time.Millisecond); len(a.rings) != 1 {
		t.Fatalf("it rang %d times at the tick after its deadline", len(a.rings))
	}
	if w.expire(time.Hour); len(a.rings) != 1 || a.Armed() {
		t.Fatal("it rang again")
	}
}

func TestDeadlineBeyondOneTurnWaitsForItsTurn(t *testing.T) {
	for _, after := range []time.Duration{
		wheelSlots * tick, (wheelSlots + 1) * tick, 17 * time.Second, time.Minute, 25 * time.Hour,
	} {
		w := newWheel(0)
		var a alarm
		w.arm(&a.Timer, &a, after)
		now := time.Duration(0)
		for range 100_000 { // as a loop does: sleep as long as the wheel says
			if now += w.next(now); now >= after {
				break
			}
			if w.expire(now); len(a.rings) > 0 {
				t.Fatalf("armed for %v, it rang at %v", after, now)
			}
		}
		if w.expire(now); len(a.rings) != 1 || now-after > tick {
			t.Fatalf("armed for %v, it rang %d times by %v", after, len(a.rings), now)
		}
	}
}

func TestLongSleepMissesNoDeadline(t *testing.T) {
	w := newWheel(0)
	all := make([]alarm, 3*wheelSlots)
	for i := range all {
		w.arm(&all[i].Timer, &all[i], time.Duration(i)*tick)
	}
	w.expire(time.Hour) // one call, hundreds of turns later
	for i := range all {
		if len(all[i].rings) != 1 {
			t.Fatalf("the deadline at tick %d rang %d times", i, len(all[i].rings))
		}
	}
	if w.armed != 0 {
		t.Errorf("%d are counted as armed", w.armed)
	}
}

func TestTimerMayBeArmedAgainWhenItRings(t *testing.T) {
	w := newWheel(0)
	var a alarm
	a.then = func(now time.Duration) { w.arm(&a.Timer, &a, now+20*time.Millisecond) }
	w.arm(&a.Timer, &a, 20*time.Millisecond)
	for now := time.Duration(0); now <= time.Second; now += time.Millisecond {
		w.expire(now)
	}
	if n := len(a.rings); n < 40 || n > 50 {
		t.Errorf("a timer of 20 ms rang %d times in a second", n)
	}
}

func TestTimerForNowOrThePastRingsAtTheNextTick(t *testing.T) {
	w := newWheel(time.Minute)
	var a alarm
	w.arm(&a.Timer, &a, 0)
	if got := w.next(time.Minute); got > tick {
		t.Errorf("the loop would sleep for %v", got)
	}
	if w.expire(time.Minute + tick); len(a.rings) != 1 {
		t.Error("it did not ring")
	}
}

func TestOwnerMayDisarmOthersOfItsSlot(t *testing.T) {
	w := newWheel(0)
	var first, second, third alarm
	first.then = func(time.Duration) { w.disarm(&second.Timer) }
	third.then = func(now time.Duration) { w.arm(&first.Timer, &first, now+wheelSlots*tick) }
	for _, a := range []*alarm{&first, &second, &third} {
		w.arm(&a.Timer, a, 5*tick)
	}
	w.expire(5 * tick)
	if len(first.rings) != 1 || len(second.rings) != 0 || len(third.rings) != 1 {
		t.Errorf("rings are %d, %d, %d", len(first.rings), len(second.rings), len(third.rings))
	}
	if w.disarm(&first.Timer); w.armed != 0 || w.used != [wheelSlots / 64]uint64{} {
		t.Error("the wheel is not empty")
	}
}

func TestEmptyWheelLetsTheLoopSleep(t *testing.T) {
	w := newWheel(0)
	if got := w.next(0); got < time.Hour {
		t.Errorf("it would wake after %v", got)
	}
	if got := milliseconds(w.next(0)); got > math.MaxInt32 {
		t.Errorf("%d ms are more than the kernel takes", got)
	}
}

// TestWheelAgreesWithAList arms, moves, disarms and expires at random, and asks after each step a plain list of
// deadlines who had to ring.
func TestWheelAgreesWithAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "begin"))
		o := oracle{t: t, w: newWheel(now), now: now, when: map[int]time.Duration{}}
		for i := range 12 {
			a := &alarm{id: i}
			a.then = func(now time.Duration) { o.rang(a, now) }
			o.alarms = append(o.alarms, a)
		}
		t.Repeat(map[string]func(*rapid.T){
			"":       func(*rapid.T) { o.check() },
			"arm":    o.arm,
			"disarm": func(t *rapid.T) { o.disarm(rapid.IntRange(0, 11).Draw(t, "who")) },
			"pass":   o.pass,
		})
	})
}

// oracle is the naive wheel: a list of deadlines.
type oracle struct {
	t      *rapid.T
	w      *wheel
	now    time.Duration
	alarms []*alarm
	when   map[int]time.Duration
	again  map[int]time.Duration // whom to arm again as it rings, and by how much later
}

// span draws a time: near ones, some ticks, some turns of the wheel.
func span(t *rapid.T, label string) time.Duration {
	unit := rapid.SampledFrom([]time.Duration{time.Microsecond, time.Millisecond, tick, 100 * tick, wheelSlots * tick}).Draw(t, label+" unit")
	return time.Duration(rapid.Int64Range(0, 40).Draw(t, label)) * unit
}

func (o *oracle) arm(t *rapid.T) {
	a := o.alarms[rapid.IntRange(0, 11).Draw(t, "who")]
	when := o.now + span(t, "after") - span(t, "before")/8
	o.when[a.id] = max(0, when)
	o.w.arm(&a.Timer, a, max(0, when))
}

func (o *oracle) disarm(id int) {
	delete(o.when, id)
	o.w.disarm(&o.alarms[id].Timer)
}

func (o *oracle) pass(t *rapid.T) {
	o.again = map[int]time.Duration{}
	for range rapid.IntRange(0, 3).Draw(t, "rearms") {
		o.again[rapid.IntRange(0, 11).Draw(t, "again")] = span(t, "again after")
	}
	victim := rapid.IntRange(0, 40).Draw(t, "victim") // some ring disarms another, mostly nobody
	if victim < 12 {
		o.again[victim] = -1
	}
	o.now += span(t, "time")
	o.w.expire(o.now)
}

// rang is called by the alarm that rings.
func (o *oracle) rang(a *alarm, now time.Duration) {
	when, armed := o.when[a.id]
	switch {
	case !armed:
		o.t.Fatalf("alarm %d rang at %v and is not armed", a.id, now)
	case when > now:
		o.t.Fatalf("alarm %d rang at %v, before its deadline %v", a.id, now, when)
	}
	delete(o.when, a.id)
	switch d, ok := o.again[a.id]; {
	case !ok:
	case d < 0:
		o.disarm((a.id + 1) % len(o.alarms))
	default:
		delete(o.again, a.id) // once: a rearm for now would go on for all the ticks in between
		o.when[a.id] = now + d
		o.w.arm(&a.Timer, a, now+d)
	}
}

func (o *oracle) check() {
	var first []time.Duration
	for _, a := range o.alarms {
		when, armed := o.when[a.id]
		if armed != a.Armed() {
			o.t.Fatalf("alarm %d: armed is %v, want %v", a.id, a.Armed(), armed)
		}
		if armed {
			first = append(first, when)
		}
	}
	if o.w.armed != len(first) {
		o.t.Fatalf("%d are counted, %d are armed", o.w.armed, len(first))
	}
	if len(first) == 0 {
		return
	}
	// What is due already was armed for the past and comes at the next tick; nothing is later than its own.
	due := max((slices.Min(first)+tick-1)/tick*tick, (o.now/tick+1)*tick)
	if wake := o.now + o.w.next(o.now); wake > due {
		o.t.Fatalf("the loop sleeps until %v, a deadline is at %v", wake, due)
	}
}

func BenchmarkArmLater(b *testing.B) {
	w := newWheel(0)
	var a alarm
	b.ReportAllocs()
	for i := range b.N {
		w.arm(&a.Timer, &a, time.Second+time.Duration(i))
	}
}

func BenchmarkArmAndDisarm(b *testing.B) {
	w := newWheel(0)
	var a alarm
	b.ReportAllocs()
	for range b.N {
		w.arm(&a.Timer, &a, time.Second)
		w.disarm(&a.Timer)
	}
}

// BenchmarkExpire is one deadline that is met and set again, among 10 000 that are not due.
func BenchmarkExpire(b *testing.B) {
	w := newWheel(0)
	others := make([]alarm, 10_000)
	for i := range others {
		w.arm(&others[i].Timer, &others[i], 1000*time.Hour+time.Duration(i)*time.Millisecond)
	}
	var a ticker
	now := time.Duration(0)
	b.ReportAllocs()
	for range b.N {
		now += tick
		w.arm(&a.Timer, &a, now)
		w.expire(now)
	}
	if int(a.rings) != b.N {
		b.Fatalf("%d of %d deadlines were met", a.rings, b.N)
	}
}

type ticker struct {
	Timer
	rings int
}

func (t *ticker) Expire(time.Duration) { t.rings++ }
