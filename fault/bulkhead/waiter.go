package bulkhead

import "time"

// Waiter is a call that waits. It may be used again after it was woken or
// cancelled.
type Waiter struct {
	// Wake is called exactly once for each Wait that reported true and was not
	// cancelled: with true, the call may run, and Release is due; with false, it
	// has waited too long. The caller is the goroutine that made the room, which
	// may be the one that is in Wait, before that returns. It holds no lock. Wake
	// must not block.
	Wake func(admitted bool)

	queued     bool // guarded by the bulkhead's mu, as are the others until it wakes
	until      time.Duration
	admitted   bool
	next, prev *Waiter
}

// list is a list of waiters, in the order of their coming.
type list struct{ first, last *Waiter }

func (l *list) push(w *Waiter) {
	w.next, w.prev = nil, l.last
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
}

func (l *list) remove(w *Waiter) {
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.next, w.prev = nil, nil
}

// wake calls Wake of all. One that was woken may wait again at once.
func (l *list) wake() {
	for l.first != nil {
		w := l.first
		l.remove(w)
		w.Wake(w.admitted)
	}
}
