// Package fallback answers what is said instead when a call has failed: the last
// good answer, if it is not too old, or one that was agreed upon beforehand.
//
// The package makes no call, starts no goroutine and reads no clock. To ask
// somebody else instead, another pool say, see fault.Else.
package fallback

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// Config says what to answer with. Its zero value has no answer to anything.
type Config[T any] struct {
	// KeepFor is how old the last good answer may be. 0 keeps none. (RFC 5861
	// calls it stale-if-error.)
	KeepFor time.Duration
	// Refresh is how often a good answer replaces the one kept before, so that
	// keeping costs next to nothing. Default a twentieth of KeepFor; negative is
	// every time.
	Refresh time.Duration
	// Static, if set, is the answer where there is no other.
	Static *T
	// When says which errors get an answer. Default all.
	When func(error) bool
}

// WithDefaults returns c with the default in place of each zero.
func (c Config[T]) WithDefaults() Config[T] {
	if c.Refresh == 0 {
		c.Refresh = c.KeepFor / 20
	}
	if c.When == nil {
		c.When = func(error) bool { return true }
	}
	return c
}

// Check reports the first value of c that makes no sense.
func (c Config[T]) Check() error {
	c = c.WithDefaults()
	switch {
	case c.KeepFor < 0:
		return fmt.Errorf("fallback: keeping an answer for %v is negative", c.KeepFor)
	case c.KeepFor > 0 && c.Refresh > c.KeepFor:
		return fmt.Errorf("fallback: an answer is refreshed every %v and kept for %v", c.Refresh, c.KeepFor)
	case c.KeepFor == 0 && c.Static == nil:
		return fmt.Errorf("fallback: neither the last answer nor a static one")
	}
	return nil
}

// Source is where an answer comes from.
type Source uint8

// The sources.
const (
	// None: there is no answer.
	None Source = iota
	// Last: it is the last good one.
	Last
	// Static: it was agreed upon.
	Static
)

func (s Source) String() string { return [...]string{"none", "last", "static"}[s] }

// Fallback has answers for the calls of one kind: calls that would all get the
// same one. Its methods may be called concurrently and take no lock.
type Fallback[T any] struct {
	config Config[T]
	last   atomic.Pointer[answer[T]]
	nextAt atomic.Int64 // time.Duration from which an answer replaces the last
	used   [3]atomic.Int64
}

type answer[T any] struct {
	value T
	at    time.Duration
}

// New returns a fallback that has seen no answer. The caller has checked c.
func New[T any](c Config[T]) *Fallback[T] {
	f := &Fallback[T]{config: c.WithDefaults()}
	f.nextAt.Store(math.MinInt64)
	return f
}

// Config returns the rules, defaults filled in.
func (f *Fallback[T]) Config() Config[T] { return f.config }

// Good takes a good answer, which is kept and may be given to others.
func (f *Fallback[T]) Good(now time.Duration, value T) {
	if f.config.KeepFor == 0 || int64(now) < f.nextAt.Load() {
		return
	}
	f.nextAt.Store(int64(now + f.config.Refresh))
	f.last.Store(&answer[T]{value, now})
}

// Answer returns what to answer with after a call has failed with err.
func (f *Fallback[T]) Answer(now time.Duration, err error) (value T, from Source) {
	if f.config.When(err) {
		value, from = f.answer(now)
	}
	f.used[from].Add(1)
	return value, from
}

func (f *Fallback[T]) answer(now time.Duration) (value T, from Source) {
	if a := f.last.Load(); a != nil && now-a.at <= f.config.KeepFor {
		return a.value, Last
	}
	if f.config.Static != nil {
		return *f.config.Static, Static
	}
	return value, None
}

// Used returns how often an answer came from the source.
func (f *Fallback[T]) Used(from Source) int64 { return f.used[from].Load() }
