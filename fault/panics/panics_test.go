package panics

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

const second = time.Second

func capture(r *Recorder, now time.Duration, f func()) (err *Error) {
	defer func() {
		if v := recover(); v != nil {
			err = r.Capture(now, v)
		}
	}()
	f()
	return nil
}

func dereference() {
	var p *Place
	p.Count++
}

func wrapped() { panic(fmt.Errorf("read: %w", io.ErrUnexpectedEOF)) }

func TestErrorNamesThePlace(t *testing.T) {
	r := New(Config{})
	err := capture(r, 0, wrapped)
	if !strings.HasPrefix(err.Error(), "panic in github.com/trivet-ha/trivet/fault/panics.wrapped (panics_test.go:") || !strings.HasSuffix(err.Error(), "): read: unexpected EOF") {
		t.Errorf("error is %q", err)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("it does not wrap the error it was called with")
	}
	if !strings.Contains(err.Stack, "panics.wrapped") {
		t.Errorf("stack is %s", err.Stack)
	}
	if err := capture(r, 0, dereference); !strings.Contains(err.Place, "panics.dereference") {
		t.Errorf("the runtime's own panic is placed in %s", err.Place)
	}
	if err := capture(r, 0, func() { panic("text") }); err.Unwrap() != nil {
		t.Errorf("text unwraps to %v", err.Unwrap())
	}
	if err := capture(r, 0, func() {
		defer func() { panic(recover()) }()
		wrapped()
	}); !strings.Contains(err.Place, "panics.wrapped") {
		t.Errorf("a panic that was passed on is placed in %s", err.Place)
	}
	if err := r.Capture(0, "made up"); err.Place != "an unknown place" {
		t.Errorf("without a panic the place is %s", err.Place)
	}
	if got := capture(r, 0, func() {}); got != nil {
		t.Errorf("no panic: %v", got)
	}
}

func TestCountsByPlace(t *testing.T) {
	var told []string
	r := New(Config{OnPanic: func(e *Error) { told = append(told, fmt.Sprint(e.Value)) }})
	for i := range 3 {
		capture(r, time.Duration(i)*second, wrapped)
	}
	capture(r, 5*second, dereference)
	places := r.Places()
	if r.Total() != 4 || len(places) != 2 || len(told) != 4 {
		t.Fatalf("%d panics at %d places, told of %d", r.Total(), len(places), len(told))
	}
	if p := places[0]; p.Count != 1 || p.First != 5*second || !strings.Contains(p.Value, "nil pointer") {
		t.Errorf("latest: %+v", p)
	}
	if p := places[1]; p.Count != 3 || p.First != 0 || p.Last != 2*second || p.Value != "read: unexpected EOF" || p.Stack == "" {
		t.Errorf("before: %+v", p)
	}
}

func TestPlacesAreBounded(t *testing.T) {
	r := New(Config{Places: 2})
	for _, f := range []func(){wrapped, dereference, func() { panic(1) }, func() { panic(2) }, wrapped} {
		capture(r, 0, f)
	}
	byName := map[string]int{}
	for _, p := range r.Places() {
		byName[p.Place] = p.Count
	}
	if len(byName) != 3 || byName[Elsewhere] != 2 || r.Total() != 5 {
		t.Errorf("%v", byName)
	}
}

func TestCapturesConcurrently(t *testing.T) {
	r := New(Config{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				capture(r, 0, wrapped)
			}
		})
	}
	wg.Wait()
	if r.Total() != 800 || r.Places()[0].Count != 800 {
		t.Errorf("%d panics", r.Total())
	}
}

func TestCheckRefusesNonsense(t *testing.T) {
	if err := (Config{Places: -1}).Check(); err == nil || !strings.Contains(err.Error(), "places") {
		t.Error(err)
	}
	if err := (Config{}).Check(); err != nil {
		t.Error(err)
	}
	if got := New(Config{}).Config().Places; got != 64 {
		t.Errorf("%d places by default", got)
	}
}

func BenchmarkCapture(b *testing.B) {
	r := New(Config{})
	b.ReportAllocs()
	for b.Loop() {
		capture(r, 0, wrapped)
	}
}

func Example() {
	r := New(Config{})
	work := func() (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = r.Capture(0, v)
			}
		}()
		panic("out of tea")
	}
	err := work()
	var p *Error
	fmt.Println(errors.As(err, &p), p.Value)
	fmt.Println(r.Total())
	// Output:
	// true out of tea
	// 1
}
