package loop

import (
	"math"
	"math/bits"
	"time"
)

// tick is the resolution of deadlines. They never fire early, and at most one tick later than a loop that is not
// held up by a handler can.
const tick = 4 * time.Millisecond

// wheelSlots ticks make one turn of the wheel (16 s); a deadline beyond it is looked at once a turn.
const wheelSlots = 4096

// A Timer calls its Expirer once its deadline has passed. The zero Timer is not armed. It lives inside the
// thing that it times, so that arming allocates nothing.
type Timer struct {
	when  time.Duration // the deadline that the owner wants
	filed int64         // the tick under which the wheel has it
	owner Expirer
	next  *Timer
	prev  *Timer
}

// An Expirer is told that its timer's deadline has passed. It may arm the timer again.
type Expirer interface {
	Expire(now time.Duration)
}

// Arm sets or moves a deadline. Moving it later costs one store: the wheel finds out when the old one comes.
func (l *Loop) Arm(t *Timer, owner Expirer, when time.Duration) { l.wheel.arm(t, owner, when) }

// Disarm cancels a deadline.
func (l *Loop) Disarm(t *Timer) { l.wheel.disarm(t) }

// Armed reports whether a deadline is set.
func (t *Timer) Armed() bool { return t.next != nil }

type wheel struct {
	slots   [wheelSlots]Timer // heads of circular lists
	used    [wheelSlots / 64]uint64
	current int64 // the tick up to which everything has been expired
	armed   int
	due     Timer // head of those being expired; a local one would be allocated each time
}

func (w *wheel) init(now time.Duration) {
	for i := range w.slots {
		s := &w.slots[i]
		s.next, s.prev = s, s
	}
	w.due.next, w.due.prev = &w.due, &w.due
	w.current = int64(now / tick)
}

func (w *wheel) arm(t *Timer, owner Expirer, when time.Duration) {
	t.owner, t.when = owner, when
	at := int64((when + tick - 1) / tick)
	if t.next != nil {
		if at >= t.filed {
			return
		}
		w.unlink(t)
	}
	w.link(t, at)
}

func (w *wheel) disarm(t *Timer) {
	if t.next != nil {
		w.unlink(t)
	}
}

func (w *wheel) link(t *Timer, at int64) {
	t.filed = max(at, w.current+1)
	i := t.filed & (wheelSlots - 1)
	head := &w.slots[i]
	t.prev, t.next = head.prev, head
	head.prev.next, head.prev = t, t
	w.used[i>>6] |= 1 << (i & 63)
	w.armed++
}

func (w *wheel) unlink(t *Timer) {
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
	w.armed--
	i := t.filed & (wheelSlots - 1)
	if head := &w.slots[i]; head.next == head {
		w.used[i>>6] &^= 1 << (i & 63)
	}
}

// expire calls the owners of all deadlines up to now.
func (w *wheel) expire(now time.Duration) {
	to := int64(now / tick)
	if w.armed == 0 {
		w.current = max(w.current, to)
		return
	}
	w.current = max(w.current, to-wheelSlots) // one turn visits every slot
	for w.current < to {
		w.current++
		i := w.current & (wheelSlots - 1)
		if w.used[i>>6]&(1<<(i&63)) != 0 {
			w.expireSlot(&w.slots[i], now)
		}
	}
}

// expireSlot takes the whole list off first: an owner may arm and disarm timers of this very slot.
func (w *wheel) expireSlot(head *Timer, now time.Duration) {
	due := &w.due
	due.next, due.prev = head.next, head.prev
	due.next.prev, due.prev.next = due, due
	head.next, head.prev = head, head
	i := w.current & (wheelSlots - 1)
	w.used[i>>6] &^= 1 << (i & 63)
	for due.next != due {
		t := due.next
		w.unlink(t)
		if at := int64((t.when + tick - 1) / tick); at > w.current {
			w.link(t, at)
			continue
		}
		t.owner.Expire(now)
	}
}

// next returns how long the loop may sleep.
func (w *wheel) next(now time.Duration) time.Duration {
	if w.armed == 0 {
		return math.MaxInt32 * time.Millisecond
	}
	from := w.current + 1
	at := from + w.distance(from&(wheelSlots-1))
	return max(0, time.Duration(at)*tick-now)
}

// distance counts the empty slots from i on.
func (w *wheel) distance(i int64) int64 {
	word, off := i>>6, i&63
	if b := w.used[word] >> off; b != 0 {
		return int64(bits.TrailingZeros64(b))
	}
	n := 64 - off
	for k := int64(1); k <= wheelSlots/64; k++ {
		if b := w.used[(word+k)&(wheelSlots/64-1)]; b != 0 {
			return n + int64(bits.TrailingZeros64(b))
		}
		n += 64
	}
	return wheelSlots
}
