// Package panics answers where a program panics and how often, for callers that
// recover and live on.
//
// A [Recorder] turns what recover returned into an error with the stack, and
// counts panics by the place where they happen, a bounded number of places. The
// package recovers nothing by itself, starts no goroutine and reads no clock.
package panics

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config says how much is kept. The zero Config means the defaults.
type Config struct {
	// Places is the number of places in the code that are told apart. What
	// panics elsewhere after that is counted together. Default 64.
	Places int
	// OnPanic, if set, is called after each panic was recorded, by the goroutine
	// that panicked and outside all locks. It must not block.
	OnPanic func(*Error)
}

// WithDefaults returns c with the default in place of each zero.
func (c Config) WithDefaults() Config {
	if c.Places == 0 {
		c.Places = 64
	}
	return c
}

// Check reports the first value of c that makes no sense.
func (c Config) Check() error {
	if c = c.WithDefaults(); c.Places < 1 {
		return fmt.Errorf("panics: %d places are below 1", c.Places)
	}
	return nil
}

// Error is a panic.
type Error struct {
	// Value is what panic was called with.
	Value any
	// Place is the function, file and line of the call.
	Place string
	// Stack is the stack of the goroutine, as the runtime prints it.
	Stack string
}

func (e *Error) Error() string { return fmt.Sprintf("panic in %s: %v", e.Place, e.Value) }

// Unwrap returns the value if it is an error.
func (e *Error) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Place is a place in the code that panics.
type Place struct {
	Place string // function, file and line
	Count int
	First time.Duration
	Last  time.Duration
	Value string // of the last panic, as text
	Stack string // of the last panic
}

// Elsewhere is the name of all places beyond Config.Places.
const Elsewhere = "elsewhere"

// Recorder counts panics. Its methods may be called concurrently.
type Recorder struct {
	config Config

	mu     sync.Mutex
	total  int
	places map[string]*Place
}

// New returns a recorder of no panic so far. The caller has checked c.
func New(c Config) *Recorder {
	return &Recorder{config: c.WithDefaults(), places: map[string]*Place{}}
}

// Config returns the rules, defaults filled in.
func (r *Recorder) Config() Config { return r.config }

// Capture records a panic with the value that recover returned. It is to be
// called by the deferred function that recovered, whose stack still has the
// panic on it:
//
//	defer func() {
//		if v := recover(); v != nil {
//			err = recorder.Capture(now, v)
//		}
//	}()
func (r *Recorder) Capture(now time.Duration, value any) *Error {
	e := &Error{Value: value, Place: panicked(), Stack: string(debug.Stack())}
	text := fmt.Sprint(value)
	r.mu.Lock()
	r.total++
	p := r.place(e.Place)
	if p.Count == 0 {
		p.First = now
	}
	p.Count++
	p.Last, p.Value, p.Stack = now, text, e.Stack
	r.mu.Unlock()
	if r.config.OnPanic != nil {
		r.config.OnPanic(e)
	}
	return e
}

// place returns the record of a place. The caller holds mu.
func (r *Recorder) place(name string) *Place {
	if _, known := r.places[name]; !known && len(r.places) >= r.config.Places {
		name = Elsewhere
	}
	p := r.places[name]
	if p == nil {
		p = &Place{Place: name}
		r.places[name] = p
	}
	return p
}

// Total returns how many panics were captured.
func (r *Recorder) Total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

// Places returns the places that have panicked, the latest first.
func (r *Recorder) Places() []Place {
	r.mu.Lock()
	defer r.mu.Unlock()
	places := make([]Place, 0, len(r.places))
	for p := range maps.Values(r.places) {
		places = append(places, *p)
	}
	slices.SortFunc(places, func(a, b Place) int {
		return cmp.Or(cmp.Compare(b.Last, a.Last), cmp.Compare(a.Place, b.Place))
	})
	return places
}

// deepest is how far up the stack the call of panic is looked for.
const deepest = 64

// panicked names the place that the goroutine panicked at: the function that
// called into the runtime's panic. If deferred functions recovered and panicked
// again, it is where the first panic was.
func panicked() string {
	var pcs [deepest]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	place, inPanic := "an unknown place", false
	for {
		f, more := frames.Next()
		switch {
		case f.Function == "runtime.gopanic":
			inPanic = true
		case inPanic && !strings.HasPrefix(f.Function, "runtime."):
			place, inPanic = fmt.Sprintf("%s (%s:%d)", f.Function, path.Base(f.File), f.Line), false
		}
		if !more {
			return place
		}
	}
}
