package edge

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/internal/loop"
)

// A Binding is a listener's name and what stays of it when a reload exchanges the Listener.
type Binding struct {
	Name    string
	Stats   Stats
	current atomic.Pointer[Listener]
	retired atomic.Bool

	mu      sync.Mutex
	sources map[netip.Addr]int // open connections by source; only kept if they are limited
}

// Stats count connections. Workers share them: a connection is rarer than a request.
type Stats struct {
	Accepted atomic.Uint64
	Open     atomic.Int64
	Full     atomic.Uint64           // times that the limit of connections was met
	Refused  [refusals]atomic.Uint64 // connections closed at once, by Refusal
}

// Refusal is why a connection was closed at once.
type Refusal uint8

// The reasons.
const (
	RefusedSource Refusal = iota // its source has as many as it may
	RefusedAccess                // its source may not come in
	refusals

	admitted = refusals
)

var refusalNames = [refusals]string{"max_connections_per_source", "access"}

func (r Refusal) String() string { return refusalNames[r] }

// Refusals lists the reasons.
func Refusals() []Refusal { return []Refusal{RefusedSource, RefusedAccess} }

// Listener returns the listener in force.
func (b *Binding) Listener() *Listener { return b.current.Load() }

// Retired reports whether the listener is gone from the configuration: its connections should be closed where
// their protocol allows it.
func (b *Binding) Retired() bool { return b.retired.Load() }

// Full reports whether the listener has as many connections as it may: new ones have to wait in the kernel's queue
// until one ends.
func (b *Binding) Full() bool {
	limit := b.Listener().MaxConns
	return limit > 0 && b.Stats.Open.Load() >= int64(limit)
}

// enter counts a connection in, or says why it may not come in. counted tells whether it is also counted
// among those of its source.
func (b *Binding) enter(a netip.Addr) (counted bool, why Refusal) {
	l := b.Listener()
	if len(l.Trusted) == 0 && !l.Access.Permits(a) { // behind proxies, only the protocol tells who it is
		return false, RefusedAccess
	}
	if l.MaxPerSource > 0 && a.IsValid() && !Contains(l.Trusted, a) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.sources[a] >= l.MaxPerSource {
			return false, RefusedSource
		}
		if b.sources == nil {
			b.sources = map[netip.Addr]int{}
		}
		b.sources[a]++
		counted = true
	}
	b.Stats.Open.Add(1)
	return counted, admitted
}

func (b *Binding) leave(a netip.Addr, counted bool) {
	b.Stats.Open.Add(-1)
	if !counted {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch n := b.sources[a]; {
	case n > 1:
		b.sources[a] = n - 1
	case n == 1:
		delete(b.sources, a)
	}
}

// An acceptor takes the new connections of one listener for one worker. Usually it has one descriptor; with
// sockets from a process that had more workers, several.
type acceptor struct {
	w     *Worker
	b     *Binding
	fds   []int
	doors []*door
	retry loop.Timer
}

// A door is one listening descriptor.
type door struct {
	a   *acceptor
	fd  int
	tok loop.Token
}

const (
	// acceptMax connections are taken before those that are there have their turn.
	acceptMax = 64

	// acceptAgain is the pause after a connection could not be accepted, because the listener has as many as
	// it may, or for want of descriptors or memory.
	acceptAgain = 20 * time.Millisecond

	// uneven is how many more connections than the emptiest worker one may have before it hands new ones
	// over. The kernel spreads connections by a hash, which is uneven for few long-lived ones; moving one
	// costs a wake-up, which is too much for short-lived ones that come out even anyway.
	uneven = 2

	// brief is how long connections last on average that are called short-lived.
	brief = 100 * time.Millisecond
)

// A turnover counts the connections that come, to tell how long they last.
type turnover struct {
	since time.Duration
	came  int // since then
	last  int // in the time of the same length before
}

// brief counts a connection, and reports whether those of a worker that has so many open are short-lived: by
// Little's law, they last as long as it takes for as many to come.
func (t *turnover) brief(now time.Duration, open int64) bool {
	if d := now - t.since; d >= brief {
		t.last = t.came
		if d >= 2*brief {
			t.last = 0
		}
		t.since, t.came = now, 0
	}
	t.came++
	return int64(t.last) > open
}

// open begins to accept.
func (a *acceptor) open() {
	for _, fd := range a.fds {
		d := &door{a: a, fd: fd}
		tok, err := a.w.Loop.Add(fd, d, loop.Readable)
		if err != nil {
			a.w.edge.log.Error("listener is deaf", "listener", a.b.Name, "error", err)
			continue
		}
		d.tok = tok
		a.doors = append(a.doors, d)
		d.Ready(loop.Readable)
	}
}

// stop accepts no more. What is in the kernel's queue by then is taken unless another process has the socket
// too, for closing it would reset those connections.
func (a *acceptor) stop(passed bool, done func()) {
	for _, d := range a.doors {
		for range backlog {
			if passed || !d.accept() {
				break
			}
		}
		a.w.Loop.Unwatch(d.fd, d.tok)
	}
	a.w.Loop.Disarm(&a.retry)
	a.doors = nil
	done()
}

func (a *acceptor) rebind(b *Binding) { a.b = b }

// Expire implements loop.Expirer.
func (a *acceptor) Expire(time.Duration) {
	for _, d := range a.doors {
		d.Ready(loop.Readable)
	}
}

// Ready implements loop.Handler.
func (d *door) Ready(loop.Events) {
	for range acceptMax {
		if d.a.b.Full() {
			d.a.b.Stats.Full.Add(1)
			d.a.pause()
			return
		}
		if !d.accept() {
			return
		}
	}
	d.a.w.Loop.Again(d.tok, loop.Readable)
}

// accept takes one connection, and reports whether another is worth trying.
func (d *door) accept() bool {
	a := d.a
	var sa unix.RawSockaddrAny
	fd, e := loop.Accept(d.fd, &sa)
	switch e {
	case 0:
		a.place(fd, peerOf(&sa))
	case unix.EAGAIN:
		return false
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		a.w.edge.log.Error("no connection can be accepted", "listener", a.b.Name, "error", e)
		a.w.edge.exhausted.Add(1)
		a.pause()
		return false
	default: // the connection died in the queue
	}
	return true
}

func (a *acceptor) pause() { a.w.Loop.Arm(&a.retry, a, a.w.Loop.Now()+acceptAgain) }

// place gives a new connection to the worker that should have it.
func (a *acceptor) place(fd int, peer netip.AddrPort) {
	a.b.Stats.Accepted.Add(1)
	counted, why := a.b.enter(peer.Addr())
	if why != admitted {
		a.b.Stats.Refused[why].Add(1)
		loop.Close(fd)
		return
	}
	c := Conn{Worker: a.w, Binding: a.b, FD: fd, Peer: peer, counted: counted}
	open := a.w.load.Load()
	if a.w.turnover.brief(a.w.Loop.Now(), open) {
		c.Binding.Listener().Server.Serve(c)
		return
	}
	if to := a.w.edge.emptiest(); to.load.Load()+uneven < open {
		c.Worker = to
		to.load.Add(1) // it counts the connection itself once it has it; until then nobody gives it one too many
		if to.Loop.Post(func() { to.load.Add(-1); c.Binding.Listener().Server.Serve(c) }) {
			return
		}
		to.load.Add(-1)
		c.Worker = a.w
	}
	c.Binding.Listener().Server.Serve(c)
}
