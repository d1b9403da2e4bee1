package limit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/storetest"
)

func TestManyWaitersShareOneRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBucket(1000)
		begin := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for range 10 {
					if err := b.Wait(t.Context(), 100); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if d := time.Since(begin); d < 9800*time.Millisecond || d > 10*time.Second {
			t.Errorf("10,000 bytes at 1,000 a second took %v", d)
		}
	})
}

func TestIdlenessIsNotSavedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBucket(1000)
		time.Sleep(time.Hour)
		begin := time.Now()
		if err := b.Wait(t.Context(), 5000); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d < 4800*time.Millisecond {
			t.Errorf("5,000 bytes after an hour's rest took only %v", d)
		}
	})
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := NewBucket(1).Wait(ctx, 1000); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestNoLimitIsFree(t *testing.T) {
	var b *Bucket
	if n := testing.AllocsPerRun(100, func() { _ = b.Wait(t.Context(), 1<<30) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if New(0, -1).Active() {
		t.Error("zero and negative rates mean no limit")
	}
	c, _ := net.Pipe()
	if New(0, 0).Conn(c) != c {
		t.Error("an unlimited connection is itself")
	}
}

func TestAConnectionFlowsEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, z := net.Pipe()
		limited := New(10_000, 0).Conn(a)
		data := storetest.Bytes(50_000, 1)
		begin := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			if n, err := limited.Write(data); err != nil || n != len(data) {
				t.Errorf("wrote %d: %v", n, err)
			}
			limited.Close()
		})
		half := make([]byte, 25_000)
		if _, err := io.ReadFull(z, half); err != nil {
			t.Error(err)
		}
		if d := time.Since(begin); d < 2300*time.Millisecond || d > 2700*time.Millisecond {
			t.Errorf("half of it took %v, want about 2.5 s", d)
		}
		rest, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(append(half, rest...), data) {
			t.Errorf("other bytes came out: %v", err)
		}
		wg.Wait()
	})
}

func TestClosingAConnectionEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, z := net.Pipe()
		defer z.Close()
		limited := New(1, 0).Conn(a)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := limited.Write(make([]byte, 500)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("got %v, want net.ErrClosed", err)
			}
		})
		synctest.Wait()
		limited.Close()
		wg.Wait()
	})
}

func TestReaderKeepsBytes(t *testing.T) {
	data := storetest.Bytes(10_000, 2)
	if err := iotest.TestReader(Reader(t.Context(), NewBucket(1<<30), bytes.NewReader(data)), data); err != nil {
		t.Error(err)
	}
}

func TestALimitedStoreKeepsItsPromises(t *testing.T) {
	storetest.Run(t, storetest.Options{LargeBytes: 4 << 20, Files: 100}, func(*testing.T) storetest.Opener {
		m := storetest.NewMemory()
		return func() store.Store { return Store(m, New(1<<30, 1<<30)) }
	})
}

func BenchmarkTake(b *testing.B) {
	bucket := NewBucket(1 << 40)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		bucket.take(now, 1000)
	}
}
