package run

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trivet-ha/trivet/fault"
)

type key struct{}

func TestLazyContextIsAContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		defer cancel()
		make := func(limit time.Duration) *lazyContext {
			return &lazyContext{Context: parent, until: time.Now().Add(limit)}
		}
		c := make(time.Second)
		if c.Value(key{}) != "value" || c.Err() != nil || c.real != nil {
			t.Errorf("at first: %v, %v, real %v", c.Value(key{}), c.Err(), c.real)
		}
		if end, ok := c.Deadline(); !ok || time.Until(end) != time.Second {
			t.Errorf("ends at %v, %v", end, ok)
		}
		time.Sleep(time.Second)
		if c.Err() != context.DeadlineExceeded || c.real != nil {
			t.Errorf("a second later: %v", c.Err())
		}
		<-c.Done()
		if c.Err() != context.DeadlineExceeded || c.Value(key{}) != "value" {
			t.Errorf("asked for the first time: %v", c.Err())
		}
		c.end()

		c = make(time.Second)
		child, stop := context.WithCancel(c)
		defer stop()
		<-child.Done()
		if child.Err() != context.DeadlineExceeded || context.Cause(child) != fault.ErrTimeout {
			t.Errorf("child: %v, %v", child.Err(), context.Cause(child))
		}
		c.end()

		c = make(time.Second)
		c.end()
		if c.Err() != context.Canceled {
			t.Errorf("after its end: %v", c.Err())
		}
		time.Sleep(2 * time.Second)
		if c.end(); c.Err() != context.Canceled {
			t.Errorf("it has changed its mind: %v", c.Err())
		}
		<-c.Done()

		c = &lazyContext{Context: parent}
		if _, ok := c.Deadline(); ok {
			t.Error("without an end it has a deadline")
		}
		done := c.Done()
		c.end()
		if <-done; c.Err() != context.Canceled {
			t.Errorf("asked, then ended: %v", c.Err())
		}

		c = make(time.Hour)
		cancel()
		if !errors.Is(c.Err(), context.Canceled) {
			t.Errorf("the parent has ended: %v", c.Err())
		}
		c.end()
	})
}

// TestChildrenNeedNoGoroutine: the standard library finds the real context.
func TestChildrenNeedNoGoroutine(t *testing.T) {
	c := &lazyContext{Context: context.Background(), until: time.Now().Add(time.Hour)}
	defer c.end()
	before := runtime.NumGoroutine()
	for range 100 {
		_, stop := context.WithCancel(c)
		defer stop()
	}
	if n := runtime.NumGoroutine() - before; n > 5 {
		t.Errorf("a hundred children have %d goroutines", n)
	}
}
