package load

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// A pacer says when each request is due. It sleeps in the kernel on a thread of its own with no timer slack: the
// runtime's timers round up to a millisecond, which is more than most answers take here.
type pacer struct {
	start time.Time
	every float64 // nanoseconds between requests
	slack int     // the thread's timer slack before, to be put back
}

// napMax bounds one sleep, and so the time until a cancelled context is noticed.
const napMax = 20 * time.Millisecond

func newPacer(rate float64) *pacer {
	runtime.LockOSThread()
	p := &pacer{every: float64(time.Second) / rate}
	p.slack, _ = unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // a nicety: without it the kernel adds 50 µs
	p.start = time.Now()
	return p
}

func (p *pacer) close() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(p.slack), 0, 0, 0)
	runtime.UnlockOSThread()
}

// wait sleeps until request number seq is due. A request that is overdue returns at once: the schedule does not
// shift. It reports false when ctx has ended.
func (p *pacer) wait(ctx context.Context, seq uint64) (due time.Time, ok bool) {
	due = p.start.Add(time.Duration(float64(seq) * p.every))
	for ctx.Err() == nil {
		left := time.Until(due)
		if left <= 0 {
			return due, true
		}
		nap := unix.NsecToTimespec(int64(min(left, napMax)))
		_ = unix.Nanosleep(&nap, nil) // woken early by a signal, it sleeps again
	}
	return due, false
}
