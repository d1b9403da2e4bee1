// Package loop answers "which socket can make progress, and which deadline has passed": an edge-triggered
// epoll loop with a timer wheel, run by one goroutine on one pinned OS thread. It never blocks in a handler,
// never allocates per event, and knows nothing of any protocol.
//
// Everything that a Loop owns is touched by its own goroutine only. The one door from outside is Post.
package loop

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Events is a set of what a socket is ready for.
type Events uint32

// The conditions that the kernel reports. Hangup and Error need no subscription.
const (
	Readable Events = unix.EPOLLIN
	Writable Events = unix.EPOLLOUT
	PeerDone Events = unix.EPOLLRDHUP // the peer has shut down its sending side
	Hangup   Events = unix.EPOLLHUP   // both directions are shut down
	Failed   Events = unix.EPOLLERR   // the socket holds an error
)

// A Handler is told that its socket may make progress. It must read or write until the kernel says "would
// block", a short count shows the same, or it calls Again: an edge is reported once.
type Handler interface {
	Ready(ev Events)
}

// A Token names a registration. The zero Token names none.
type Token struct {
	slot int32
	gen  int32
}

// Valid reports whether the token names a registration.
func (t Token) Valid() bool { return t.gen != 0 }

type slot struct {
	h   Handler
	gen int32
}

// batch is how many events one call to the kernel may return: enough to amortise the call, few enough that
// the first event of the next batch does not wait long.
const batch = 128

// patience is how long a loop waits for the kernel while it keeps its processor. Handing the processor back
// to the Go scheduler and taking it again costs more than the wait when requests come every millisecond or
// so; after this long without an event the loop is idle, and lets go.
//
// The wait is a raw system call. It delays nobody: the runtime stops a goroutine that holds a processor with
// a signal, and a signal ends epoll_wait.
const patience = 2 * time.Millisecond

// A Loop waits for sockets and deadlines and calls their handlers. Make one with New.
type Loop struct {
	epfd   int
	wakefd int
	events [batch]unix.EpollEvent
	slots  []slot
	free   []int32
	again  []deferred
	spare  []deferred
	wheel  wheel
	origin time.Time
	now    time.Duration
	closed bool

	sleeping atomic.Bool

	mu     sync.Mutex
	posted []func()
	dead   bool
}

type deferred struct {
	tok Token
	ev  Events
}

// New makes a loop whose clock counts from origin. It opens two file descriptors, which Run closes at its end;
// a loop that is never run needs Close.
func New(origin time.Time) (*Loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create event loop: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("create event loop: eventfd: %w", err)
	}
	l := &Loop{epfd: epfd, wakefd: wakefd, origin: origin}
	l.tell()
	l.wheel.init(l.now)
	if _, err := l.Add(wakefd, wakeHandler{l}, Readable); err != nil {
		unix.Close(epfd)
		unix.Close(wakefd)
		return nil, err
	}
	return l, nil
}

// Now returns the time since the loop's origin. It is read once for each call of a handler, which so sees one
// instant.
func (l *Loop) Now() time.Duration { return l.now }

// Add registers a socket, edge-triggered, for the given conditions; those that hold already are reported as the
// first edge. The caller closes the descriptor itself, after Remove.
func (l *Loop) Add(fd int, h Handler, ev Events) (Token, error) {
	var i int32
	if n := len(l.free); n > 0 {
		i = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		i = int32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	s := &l.slots[i]
	s.gen++
	if s.gen <= 0 {
		s.gen = 1
	}
	s.h = h
	e := unix.EpollEvent{Events: uint32(ev) | unix.EPOLLET, Fd: i, Pad: s.gen}
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		s.h = nil
		l.free = append(l.free, i)
		return Token{}, fmt.Errorf("watch socket: %w", err)
	}
	return Token{slot: i, gen: s.gen}, nil
}

// Remove forgets a registration; its handler is not called again. Closing the descriptor, which must follow,
// takes it out of the kernel's set.
func (l *Loop) Remove(t Token) {
	if s := l.find(t); s != nil {
		s.h = nil
		l.free = append(l.free, t.slot)
	}
}

// Unwatch removes a registration whose descriptor stays open, because another loop or process takes it over.
func (l *Loop) Unwatch(fd int, t Token) {
	if l.find(t) != nil {
		_ = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_DEL, fd, nil)
		l.Remove(t)
	}
}

// Again calls the handler once more with ev after all sockets that are ready now have had their turn. A
// handler that stops for fairness while its socket may still be ready uses it.
func (l *Loop) Again(t Token, ev Events) { l.again = append(l.again, deferred{t, ev}) }

// Post runs f on the loop's goroutine, in order. It is safe for any goroutine. It reports false when the
// loop has ended, and then f will not run.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return false
	}
	l.posted = append(l.posted, f)
	if l.sleeping.Load() {
		l.wake() // under mu: after shut has had it, the descriptor may be another's
	}
	l.mu.Unlock()
	return true
}

func (l *Loop) wake() {
	one := [8]byte{1}
	_, _ = unix.Write(l.wakefd, one[:])
}

// Stop makes Run return after the handlers in progress. Only the loop's goroutine may call it.
func (l *Loop) Stop() { l.closed = true }

// Run serves until Stop, or until ctx ends. It pins the calling goroutine to its thread.
func (l *Loop) Run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stop := context.AfterFunc(ctx, func() { l.Post(l.Stop) })
	defer stop()
	defer l.shut()
	for !l.closed {
		n := l.wait()
		l.tell()
		for i := range n {
			e := &l.events[i]
			if s := l.find(Token{e.Fd, e.Pad}); s != nil {
				s.h.Ready(Events(e.Events))
				l.tell()
			}
		}
		l.runPosted()
		l.runAgain()
		l.wheel.expire(l.now)
	}
	return context.Cause(ctx)
}

// tell reads the clock.
func (l *Loop) tell() { l.now = time.Since(l.origin) }

// wait returns how many of l.events the kernel has filled in.
func (l *Loop) wait() int {
	if len(l.again) > 0 {
		return l.poll(0)
	}
	next := l.wheel.next(l.now)
	l.sleeping.Store(true)
	defer l.sleeping.Store(false)
	if l.hasPosted() {
		return l.poll(0)
	}
	if n := l.poll(min(next, patience)); n != 0 || next <= patience {
		return n
	}
	if l.hasPosted() {
		return 0
	}
	n, err := unix.EpollWait(l.epfd, l.events[:], milliseconds(next-patience))
	if err != nil {
		return 0 // EINTR: the loop comes round again
	}
	return n
}

func (l *Loop) find(t Token) *slot {
	if s := &l.slots[t.slot]; s.gen == t.gen && s.h != nil {
		return s
	}
	return nil
}

func (l *Loop) hasPosted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.posted) > 0
}

func (l *Loop) runPosted() {
	l.mu.Lock()
	todo := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range todo {
		f()
		l.tell()
	}
}

func (l *Loop) runAgain() {
	if len(l.again) == 0 {
		return
	}
	todo := l.again
	l.again = l.spare[:0]
	for _, d := range todo {
		if s := l.find(d.tok); s != nil {
			s.h.Ready(d.ev)
			l.tell()
		}
	}
	l.spare = todo
}

func (l *Loop) shut() {
	l.mu.Lock()
	l.dead = true
	todo := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range todo {
		f()
	}
	l.Close()
}

// Close gives the descriptors of a loop back that is not run. Run does so itself at its end.
func (l *Loop) Close() {
	unix.Close(l.epfd)
	unix.Close(l.wakefd)
}

// milliseconds rounds up: a loop that wakes early would spin until the deadline.
func milliseconds(d time.Duration) int {
	return int((d + time.Millisecond - 1) / time.Millisecond)
}

type wakeHandler struct{ l *Loop }

func (w wakeHandler) Ready(Events) {
	var b [8]byte
	_, _ = unix.Read(w.l.wakefd, b[:])
}
