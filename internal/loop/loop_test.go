package loop

import (
	"context"
	"errors"
	"os"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient is how long a test waits for what must happen.
const patient = 10 * time.Second

// start runs a loop until the test ends.
func start(t testing.TB) *Loop {
	t.Helper()
	l, err := New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if procs := runtime.GOMAXPROCS(0); procs < 4 {
		runtime.GOMAXPROCS(4)
		t.Cleanup(func() { runtime.GOMAXPROCS(procs) })
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	return l
}

// on runs f on the loop and waits for it.
func on(t testing.TB, l *Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(func() { f(); close(done) }) {
		t.Fatal("the loop has ended")
	}
	wait(t, done)
}

func wait(t testing.TB, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patient):
		t.Fatal("it did not happen")
	}
}

// pair returns two connected sockets.
func pair(t testing.TB) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

// ear is a Handler that hands on what it hears.
type ear func(ev Events)

func (e ear) Ready(ev Events) { e(ev) }

func TestPostRunsEverythingInTheOrderOfEachPoster(t *testing.T) {
	l := start(t)
	const posters, each = 16, 500
	var seen [posters]int // only the loop writes it
	done := make(chan struct{})
	left := posters * each
	var wg sync.WaitGroup
	for p := range posters {
		wg.Go(func() {
			for i := range each {
				l.Post(func() {
					if seen[p] != i {
						t.Errorf("poster %d: %d came when %d was due", p, i, seen[p])
					}
					seen[p]++
					if left--; left == 0 {
						close(done)
					}
				})
				if i%50 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	wg.Wait()
	wait(t, done)
}

func TestPostWakesASleepingLoop(t *testing.T) {
	l := start(t)
	for range 20 {
		for !l.sleeping.Load() {
			runtime.Gosched()
		}
		on(t, l, func() {})
	}
}

func TestPostFromTheLoopRunsBeforeItSleeps(t *testing.T) {
	l := start(t)
	done := make(chan struct{})
	on(t, l, func() { l.Post(func() { l.Post(func() { close(done) }) }) })
	wait(t, done)
}

func TestPostAfterTheEndIsRefused(t *testing.T) {
	l, err := New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ran := false
	l.Post(func() { l.Stop() })
	l.Post(func() { ran = true })
	if err := l.Run(context.Background()); err != nil || !ran {
		t.Fatalf("Run returned %v; what was posted before its end ran: %v", err, ran)
	}
	if l.Post(func() { t.Error("it ran") }) {
		t.Error("Post says that it will run")
	}
}

// TestPostRacingTheEndNeverWritesElsewhere ends loops while others post: each function runs, or Post says that
// it will not, and no wake-up goes to a descriptor that has been closed and given to somebody else.
func TestPostRacingTheEndNeverWritesElsewhere(t *testing.T) {
	for range 50 {
		l, err := New(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var ran, accepted atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for l.Post(func() { ran.Add(1) }) {
					accepted.Add(1)
					runtime.Gosched()
				}
			})
		}
		wg.Go(func() {
			for ran.Load() < 20 {
				runtime.Gosched()
			}
			l.Post(l.Stop)
		})
		if err := l.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe() // likely gets the numbers that are free now
		if err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		w.Close()
		if n, _ := r.Read(make([]byte, 8)); n != 0 {
			t.Error("somebody wrote to a descriptor of another")
		}
		r.Close()
		if ran.Load() != accepted.Load() {
			t.Fatalf("%d were accepted, %d ran", accepted.Load(), ran.Load())
		}
	}
}

func TestHandlerHearsOfItsSocketOncePerEdge(t *testing.T) {
	l := start(t)
	a, b := pair(t)
	heard := make(chan Events, 10)
	var tok Token
	on(t, l, func() {
		var err error
		if tok, err = l.Add(a, ear(func(ev Events) { heard <- ev }), Readable|PeerDone); err != nil {
			t.Error(err)
		}
	})
	for range 3 {
		Write(b, []byte("x"))
		if ev := <-heard; ev != Readable {
			t.Errorf("heard %b", ev)
		}
	}
	ShutdownWrite(b)
	if ev := <-heard; ev&PeerDone == 0 {
		t.Errorf("heard %b at the peer's end", ev)
	}
	on(t, l, func() { l.Remove(tok) })
	Close(a)
	Close(b)
}

func TestAddReportsWhatIsThereAlready(t *testing.T) {
	l := start(t)
	a, b := pair(t)
	Write(b, []byte("early"))
	ShutdownWrite(b)
	heard := make(chan Events, 1)
	on(t, l, func() {
		if _, err := l.Add(a, ear(func(ev Events) { heard <- ev }), Readable|PeerDone); err != nil {
			t.Error(err)
		}
	})
	if ev := <-heard; ev&(Readable|PeerDone) != Readable|PeerDone {
		t.Errorf("heard %b", ev)
	}
	Close(a)
	Close(b)
}

// TestStaleEventMissesTheSuccessor closes a socket in the handler of another while an event for it is in the
// same batch, and gives its slot to a new socket.
func TestStaleEventMissesTheSuccessor(t *testing.T) {
	l := start(t)
	a, peerA := pair(t)
	b, peerB := pair(t)
	next, peerNext := pair(t)
	var tokA, tokB, tokNext Token
	done := make(chan struct{})
	var calls []string
	on(t, l, func() {
		closeOther := func(name string, other *Token) ear {
			return func(Events) {
				calls = append(calls, name)
				if tokNext.Valid() {
					return
				}
				l.Remove(*other)
				var err error
				if tokNext, err = l.Add(next, ear(func(ev Events) {
					calls = append(calls, "next")
					if ev&Readable != 0 {
						t.Error("the successor was told of bytes that its predecessor got")
					}
				}), Readable|Writable); err != nil {
					t.Error(err)
				}
				if tokNext.slot != other.slot || tokNext.gen == other.gen {
					t.Errorf("slot %d, generation %d after %d, %d: not the same slot anew", tokNext.slot, tokNext.gen, other.slot, other.gen)
				}
				l.Post(func() { l.Post(func() { close(done) }) })
			}
		}
		tokA, _ = l.Add(a, closeOther("a", &tokB), Readable)
		tokB, _ = l.Add(b, closeOther("b", &tokA), Readable)
		Write(peerA, []byte("x")) // both in one batch: the loop is busy here
		Write(peerB, []byte("x"))
	})
	wait(t, done)
	on(t, l, func() {
		if len(calls) != 2 || calls[1] != "next" { // "next" because it is writable
			t.Errorf("calls are %v", calls)
		}
	})
	for _, fd := range []int{a, b, next, peerA, peerB, peerNext} {
		Close(fd)
	}
}

// TestStaleEventDoesNotStopTheClock wakes the loop by nothing but an event whose handler is gone: a deadline
// that passed meanwhile must be met all the same.
func TestStaleEventDoesNotStopTheClock(t *testing.T) {
	l := start(t)
	a, b := pair(t)
	kept, err := unix.Dup(a) // keeps the registration alive in the kernel
	if err != nil {
		t.Fatal(err)
	}
	var began, rang time.Duration
	done := make(chan struct{})
	on(t, l, func() {
		tok, _ := l.Add(a, ear(func(Events) { t.Error("the handler was called") }), Readable)
		l.Remove(tok)
		Close(a)
		began = l.Now()
		r := &ringer{f: func(now time.Duration) { rang = now; close(done) }}
		l.Arm(&r.Timer, r, began+60*time.Millisecond)
	})
	ping := time.NewTicker(5 * time.Millisecond)
	defer ping.Stop()
	for waiting := true; waiting; {
		select {
		case <-ping.C:
			Write(b, []byte("x"))
		case <-done:
			waiting = false
		case <-time.After(patient):
			t.Fatal("the deadline was not met")
		}
	}
	if late := rang - began - 60*time.Millisecond; late < 0 || late > 50*time.Millisecond {
		t.Errorf("the deadline was met %v late", late)
	}
	Close(b)
	Close(kept)
}

type ringer struct {
	Timer
	f func(now time.Duration)
}

func (r *ringer) Expire(now time.Duration) { r.f(now) }

func TestAgainComesAfterTheOthers(t *testing.T) {
	l := start(t)
	a, peerA := pair(t)
	b, peerB := pair(t)
	done := make(chan struct{})
	var calls []string
	on(t, l, func() {
		var tokA Token
		turns := 0
		tokA, _ = l.Add(a, ear(func(Events) {
			calls = append(calls, "a")
			if turns++; turns < 3 {
				l.Again(tokA, Readable)
			} else {
				close(done)
			}
		}), Readable)
		_, _ = l.Add(b, ear(func(Events) { calls = append(calls, "b") }), Readable)
		Write(peerA, []byte("x"))
		Write(peerB, []byte("x"))
	})
	wait(t, done)
	on(t, l, func() {
		if got := len(calls); got != 4 || calls[3] != "a" || calls[2] != "a" {
			t.Errorf("calls are %v", calls)
		}
	})
	for _, fd := range []int{a, b, peerA, peerB} {
		Close(fd)
	}
}

func TestAgainIsVoidOnceTheSocketIsRemoved(t *testing.T) {
	l := start(t)
	a, b := pair(t)
	on(t, l, func() {
		tok, _ := l.Add(a, ear(func(Events) { t.Error("the handler was called") }), PeerDone)
		l.Again(tok, Readable)
		l.Remove(tok)
	})
	on(t, l, func() {})
	Close(a)
	Close(b)
}

func TestUnwatchedSocketStaysOpen(t *testing.T) {
	l := start(t)
	a, b := pair(t)
	on(t, l, func() {
		tok, _ := l.Add(a, ear(func(Events) { t.Error("the handler was called") }), Readable)
		l.Unwatch(a, tok)
		l.Unwatch(a, tok) // nothing left to do
		Write(b, []byte("x"))
	})
	on(t, l, func() {})
	var p [8]byte
	if n, e := Read(a, p[:]); n != 1 || e != 0 {
		t.Errorf("read %d, %v", n, e)
	}
	Close(a)
	Close(b)
}

func TestLoopMeetsItsDeadlines(t *testing.T) {
	l := start(t)
	for _, after := range []time.Duration{time.Millisecond, 5 * time.Millisecond, 30 * time.Millisecond} {
		var armed, rang time.Duration
		done := make(chan struct{})
		on(t, l, func() {
			armed = l.Now()
			r := &ringer{f: func(now time.Duration) { rang = now; close(done) }}
			l.Arm(&r.Timer, r, armed+after)
		})
		wait(t, done)
		if took := rang - armed; took < after || took > after+tick+100*time.Millisecond {
			t.Errorf("armed for %v, it rang after %v", after, took)
		}
	}
}

// TestWaitingLoopDoesNotHoldUpTheCollector: the raw wait keeps its processor, and the collector has to stop the
// world in spite of that. It does so by a signal; without, it would wait for up to [patience].
func TestWaitingLoopDoesNotHoldUpTheCollector(t *testing.T) {
	l := start(t)
	on(t, l, func() { // always something to come within patience, so that the loop never lets go of its processor
		r := &ringer{}
		r.f = func(now time.Duration) { l.Arm(&r.Timer, r, now+time.Millisecond) }
		l.Arm(&r.Timer, r, l.Now())
	})
	before := stopTimes(t)
	const rounds = 200
	for range rounds {
		runtime.GC()
	}
	after := stopTimes(t)
	quick, slow := uint64(0), uint64(0)
	for i, n := range after.Counts {
		if n -= before.Counts[i]; after.Buckets[i+1] <= 1e-3 {
			quick += n
		} else {
			slow += n
		}
	}
	if quick+slow < rounds || slow > (quick+slow)/4 {
		t.Errorf("of %d stops, %d took longer than a millisecond", quick+slow, slow)
	}
}

// stopTimes is the histogram of how long the collector took to stop the world, in seconds.
func stopTimes(t *testing.T) *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: "/sched/pauses/stopping/gc:seconds"}}
	if metrics.Read(s); s[0].Value.Kind() != metrics.KindFloat64Histogram {
		t.Fatal("the runtime does not measure it")
	}
	return s[0].Value.Float64Histogram()
}

func TestRunGivesItsDescriptorsBack(t *testing.T) {
	before := descriptors(t)
	for range 10 {
		l, err := New(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		stop()
		_ = l.Run(ctx)
		if l, err = New(time.Now()); err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors were open, now %d", before, after)
	}
}

func descriptors(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestCallsTellEndAndErrorApart(t *testing.T) {
	a, b := pair(t)
	var p [16]byte
	if n, e := Read(a, p[:]); n != 0 || e != unix.EAGAIN {
		t.Errorf("nothing there: %d, %v", n, e)
	}
	if n, e := WriteMore(b, []byte("abc")); n != 3 || e != 0 {
		t.Errorf("WriteMore: %d, %v", n, e)
	}
	if n, e := Read(a, p[:]); string(p[:n]) != "abc" || e != 0 {
		t.Errorf("read %q, %v", p[:n], e)
	}
	if n, e := Write(b, nil); n != 0 || e != 0 {
		t.Errorf("nothing written: %d, %v", n, e)
	}
	if n, e := Read(a, nil); n != 0 || e != 0 {
		t.Errorf("nothing read: %d, %v", n, e)
	}
	ShutdownWrite(b)
	if n, e := Read(a, p[:]); n != 0 || e != 0 {
		t.Errorf("at the end: %d, %v", n, e)
	}
	Close(b)
	if _, e := Write(a, []byte("x")); e != unix.EPIPE { // and no signal
		t.Errorf("nobody reads: %v", e)
	}
	Close(a)
}

// BenchmarkEvent is a byte from one socket to another by way of the loop, there and back.
func BenchmarkEvent(b *testing.B) {
	l := start(b)
	x, y := pair(b)
	done := make(chan struct{})
	left := b.N
	b.ReportAllocs()
	b.ResetTimer()
	on(b, l, func() {
		echo := func(fd int) ear {
			var p [8]byte
			return func(ev Events) {
				if ev&Readable == 0 {
					return
				}
				n, _ := Read(fd, p[:])
				if left--; left == 0 {
					close(done)
				} else if left > 0 {
					Write(fd, p[:n])
				}
			}
		}
		_, _ = l.Add(x, echo(x), Readable)
		_, _ = l.Add(y, echo(y), Readable)
		Write(x, []byte("x"))
	})
	wait(b, done)
	b.StopTimer()
	Close(x)
	Close(y)
}

// BenchmarkPost is a function posted by another goroutine that waits for it.
func BenchmarkPost(b *testing.B) {
	l := start(b)
	c := make(chan struct{})
	f := func() { c <- struct{}{} }
	b.ReportAllocs()
	for range b.N {
		l.Post(f)
		<-c
	}
}
