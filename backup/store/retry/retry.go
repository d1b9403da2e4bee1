// Package retry repeats what failed for a passing reason: a store.Store around another, with a bounded number of
// attempts, a bounded time, and waits that grow and are jittered so that many clients do not return at once.
//
// It never repeats what cannot get better (a file that is not there, a refusal, a cancelled call), and never
// hides the last error.
package retry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

// Config bounds the repetition. The zero Config has the defaults.
type Config struct {
	// Attempts is how often a call is made in all; 8 when zero.
	Attempts int
	// First is the longest wait before the second attempt; it doubles from there on. 500 ms when zero.
	First time.Duration
	// Longest is the longest single wait; 30 s when zero.
	Longest time.Duration
	// Total is the time after which no new attempt begins; 15 min when zero, as restic's.
	Total time.Duration
	// Log hears of every repetition; nobody when nil.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Attempts <= 0 {
		c.Attempts = 8
	}
	if c.First <= 0 {
		c.First = 500 * time.Millisecond
	}
	if c.Longest <= 0 {
		c.Longest = 30 * time.Second
	}
	if c.Total <= 0 {
		c.Total = 15 * time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// wait is the pause after the given number of failed attempts: anything from nothing to the bound of
// that attempt ("full jitter"), so that clients that failed together come back apart.
func (c Config) wait(failed int) time.Duration {
	bound := c.Longest
	if shift := failed - 1; shift < 30 {
		bound = min(bound, c.First<<shift)
	}
	return rand.N(bound + 1)
}

type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks err as one that a repetition cannot cure. It returns nil for nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// IsPermanent reports whether a repetition is in vain: the error is marked, or says by itself that the
// answer will stay the same.
func IsPermanent(err error) bool {
	var marked permanentError
	if errors.As(err, &marked) {
		return true
	}
	for _, final := range []error{
		store.ErrNotExist, store.ErrExist, store.ErrDenied, store.ErrUnsupported, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

// Do calls f until it succeeds, fails for good, or the bounds are reached. The error is the last one of f,
// with the number of attempts in front when there was more than one.
func Do(ctx context.Context, c Config, what string, f func() error) error {
	c = c.withDefaults()
	begin := time.Now()
	for failed := 1; ; failed++ {
		err := f()
		if err == nil {
			return nil
		}
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			return fmt.Errorf("%w after: %w", cause, err)
		}
		pause := c.wait(failed)
		if failed >= c.Attempts || IsPermanent(err) || time.Since(begin)+pause > c.Total {
			if failed > 1 {
				return fmt.Errorf("%w (attempt %d)", err, failed)
			}
			return err
		}
		c.Log.Warn("store call failed, trying again", "call", what, "attempt", failed, "pause", pause.Round(time.Millisecond), "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w while waiting to repeat after: %w", context.Cause(ctx), err)
		}
	}
}

// New puts the repetition around a store. The result is a store.Stager and an io.Closer if s is.
func New(s store.Store, c Config) store.Store {
	w := &wrapper{next: s, config: c.withDefaults()}
	if stager, ok := s.(store.Stager); ok {
		return &stagingWrapper{wrapper: w, Stager: stager}
	}
	return w
}

// wrapper repeats the calls of a store.
type wrapper struct {
	next   store.Store
	config Config
}

// stagingWrapper hands staging through as it is: a staged file lives on this machine's disk, where a
// repetition cures nothing.
type stagingWrapper struct {
	*wrapper
	store.Stager
}

// Close closes the store inside.
func (w *wrapper) Close() error {
	if c, ok := w.next.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Unwrap returns the store inside.
func (w *wrapper) Unwrap() store.Store { return w.next }

func (w *wrapper) Save(ctx context.Context, h store.Handle, data []byte) error {
	return Do(ctx, w.config, "save "+h.String(), func() error { return w.next.Save(ctx, h, data) })
}

func (w *wrapper) Stat(ctx context.Context, h store.Handle) (info store.Info, err error) {
	err = Do(ctx, w.config, "stat "+h.String(), func() error {
		info, err = w.next.Stat(ctx, h)
		return err
	})
	return info, err
}

func (w *wrapper) Remove(ctx context.Context, h store.Handle) error {
	return Do(ctx, w.config, "remove "+h.String(), func() error { return w.next.Remove(ctx, h) })
}

// List gathers the whole listing of one attempt before it calls fn: a listing that broke off is begun
// again, and fn must hear of each file once.
func (w *wrapper) List(ctx context.Context, kind store.Kind, prefix string, fn func(store.Info) error) error {
	var files []store.Info
	err := Do(ctx, w.config, "list "+kind.String(), func() error {
		files = files[:0]
		return w.next.List(ctx, kind, prefix, func(i store.Info) error {
			files = append(files, i)
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, i := range files {
		if err := fn(i); err != nil {
			return err
		}
	}
	return nil
}
