package retry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/storetest"
)

var errPassing = errors.New("connection reset by peer")

func TestSucceedsAfterFailuresThatPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		err := Do(t.Context(), Config{}, "x", func() error {
			if calls++; calls < 4 {
				return errPassing
			}
			return nil
		})
		if err != nil || calls != 4 {
			t.Fatalf("%d calls, %v", calls, err)
		}
	})
}

func TestGivesUpAfterItsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		begin := time.Now()
		err := Do(t.Context(), Config{Attempts: 5, First: time.Second, Longest: 3 * time.Second}, "x", func() error {
			calls++
			return errPassing
		})
		if !errors.Is(err, errPassing) || calls != 5 {
			t.Fatalf("%d calls, %v", calls, err)
		}
		if d := time.Since(begin); d > 1*time.Second+2*time.Second+3*time.Second+3*time.Second {
			t.Errorf("waited %v, longer than the bounds allow", d)
		}
	})
}

func TestNoAttemptBeginsAfterTheTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		err := Do(t.Context(), Config{Attempts: 1e6, Total: time.Minute}, "x", func() error { return errPassing })
		if !errors.Is(err, errPassing) || time.Since(begin) > time.Minute {
			t.Fatalf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestPermanentErrorsAreNotRepeated(t *testing.T) {
	for _, final := range []error{
		store.ErrNotExist, store.ErrExist, store.ErrDenied, store.ErrUnsupported, context.Canceled, Permanent(errPassing),
	} {
		calls := 0
		err := Do(t.Context(), Config{}, "x", func() error { calls++; return final })
		if !errors.Is(err, final) || calls != 1 {
			t.Errorf("%v: %d calls, %v", final, calls, err)
		}
	}
	if Permanent(nil) != nil || !errors.Is(Permanent(errPassing), errPassing) {
		t.Error("Permanent must keep the error")
	}
}

func TestCancellingEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := Do(ctx, Config{First: time.Hour, Longest: time.Hour, Total: 1000 * time.Hour}, "x", func() error { return errPassing })
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errPassing) {
			t.Fatalf("got %v, want both the deadline and the cause", err)
		}
	})
}

// flaky fails every call but each third, and breaks every reader off after 1000 bytes.
type flaky struct {
	store.Store
	calls atomic.Int64
}

func (f *flaky) fail() error {
	if f.calls.Add(1)%3 != 0 {
		return errPassing
	}
	return nil
}

func (f *flaky) Save(ctx context.Context, h store.Handle, data []byte) error {
	if err := f.fail(); err != nil {
		return err
	}
	return f.Store.Save(ctx, h, data)
}

func (f *flaky) Stat(ctx context.Context, h store.Handle) (store.Info, error) {
	if err := f.fail(); err != nil {
		return store.Info{}, err
	}
	return f.Store.Stat(ctx, h)
}

func (f *flaky) Remove(ctx context.Context, h store.Handle) error {
	if err := f.fail(); err != nil {
		return err
	}
	return f.Store.Remove(ctx, h)
}

func (f *flaky) List(ctx context.Context, kind store.Kind, prefix string, fn func(store.Info) error) error {
	broken := f.fail()
	n := 0
	err := f.Store.List(ctx, kind, prefix, func(i store.Info) error {
		if n++; broken != nil && n > 5 {
			return broken
		}
		return fn(i)
	})
	return errors.Join(err, broken)
}

func (f *flaky) Open(ctx context.Context, h store.Handle, offset, length int64) (io.ReadCloser, error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	r, err := f.Store.Open(ctx, h, offset, length)
	if err != nil {
		return nil, err
	}
	breaks := io.MultiReader(io.LimitReader(r, 1000), &tail{r})
	return struct {
		io.Reader
		io.Closer
	}{breaks, r}, nil
}

// tail fails unless nothing is left.
type tail struct{ r io.Reader }

func (t *tail) Read([]byte) (int, error) {
	n, err := t.r.Read(make([]byte, 1))
	if n > 0 {
		return 0, errPassing
	}
	return 0, err
}

func TestABrokenReaderGoesOnWhereItStopped(t *testing.T) {
	mem := storetest.NewMemory()
	data := storetest.Bytes(10_500, 1)
	h := storetest.HandleOf(store.Pack, data)
	if err := mem.Save(t.Context(), h, data); err != nil {
		t.Fatal(err)
	}
	s := New(&flaky{Store: mem}, Config{First: time.Nanosecond, Longest: time.Microsecond, Attempts: 4})
	for _, length := range []int64{-1, 10_500, 9_999} {
		r, err := s.Open(t.Context(), h, 0, length)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if want := data[:min(uint64(length), 10_500)]; err != nil || !bytes.Equal(got, want) {
			t.Errorf("length %d: %d bytes, %v", length, len(got), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	r, err := s.Open(t.Context(), h, 10, 2000)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := iotest.TestReader(r, data[10:2010]); err != nil {
		t.Error(err)
	}
}

func TestAFlakyStoreKeepsItsPromises(t *testing.T) {
	storetest.Run(t, storetest.Options{LargeBytes: 200_000, Files: 100}, func(*testing.T) storetest.Opener {
		mem := storetest.NewMemory()
		return func() store.Store {
			return New(&flaky{Store: mem}, Config{First: time.Nanosecond, Longest: time.Microsecond, Attempts: 200})
		}
	})
}
