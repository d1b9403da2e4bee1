package run

import (
	"context"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/fault"
)

// lazyContext is a context with an end that most functions never ask about: it
// sets a timer and makes a channel only for those that do.
type lazyContext struct {
	context.Context           // the parent, which ends no sooner than until
	until           time.Time // zero is never

	mu     sync.Mutex
	real   context.Context // once somebody has asked
	cancel context.CancelFunc
	err    error // if it ended before anybody asked
}

func (l *lazyContext) Deadline() (time.Time, bool) {
	if l.until.IsZero() {
		return l.Context.Deadline()
	}
	return l.until, true
}

func (l *lazyContext) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.real == nil {
		if l.until.IsZero() {
			l.real, l.cancel = context.WithCancel(l.Context)
		} else {
			l.real, l.cancel = context.WithDeadlineCause(l.Context, l.until, fault.ErrTimeout)
		}
		if l.err != nil {
			l.cancel()
		}
	}
	return l.real.Done()
}

func (l *lazyContext) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.errLocked()
}

func (l *lazyContext) errLocked() error {
	switch {
	case l.err != nil:
		return l.err
	case l.real != nil:
		return l.real.Err()
	case l.Context.Err() != nil:
		return l.Context.Err()
	case !l.until.IsZero() && !time.Now().Before(l.until):
		return context.DeadlineExceeded
	}
	return nil
}

// Value also lets the standard library find the real context, so that contexts
// made from this one need no goroutine to follow it.
func (l *lazyContext) Value(key any) any {
	l.mu.Lock()
	real := l.real
	l.mu.Unlock()
	if real != nil {
		return real.Value(key)
	}
	return l.Context.Value(key)
}

// end ends the context.
func (l *lazyContext) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	if l.err = l.errLocked(); l.err == nil {
		l.err = context.Canceled
	}
	if l.cancel != nil {
		l.cancel()
	}
}
