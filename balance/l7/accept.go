package l7

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/internal/loop"
)

// A binding is a listener's name and what stays of it when a reload exchanges the Listener.
type binding struct {
	name    string
	current atomic.Pointer[Listener]
	stats   *listenerStats

	mu      sync.Mutex
	sources map[netip.Addr]int // open connections by source; only kept if they are limited
}

func (b *binding) listener() *Listener { return b.current.Load() }

// full reports whether new connections have to wait in the kernel's queue until one ends.
func (b *binding) full() bool {
	limit := b.listener().MaxConns
	return limit > 0 && b.stats.open.Load() >= int64(limit)
}

// enter counts a connection in, or says why it may not come in. counted tells whether it is also counted
// among those of its source.
func (b *binding) enter(a netip.Addr) (counted bool, why refusal) {
	l := b.listener()
	if len(l.Trusted) == 0 && !l.Access.Permits(a) { // behind proxies, only the request tells who it is
		return false, refusedAccess
	}
	if l.MaxPerSource > 0 && a.IsValid() && !containsAddr(l.Trusted, a) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.sources[a] >= l.MaxPerSource {
			return false, refusedSource
		}
		if b.sources == nil {
			b.sources = map[netip.Addr]int{}
		}
		b.sources[a]++
		counted = true
	}
	b.stats.open.Add(1)
	return counted, admitted
}

func (b *binding) leave(a netip.Addr, counted bool) {
	b.stats.open.Add(-1)
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
	w     *worker
	b     *binding
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
)

// open begins to accept.
func (a *acceptor) open() {
	for _, fd := range a.fds {
		d := &door{a: a, fd: fd}
		tok, err := a.w.loop.Add(fd, d, loop.Readable)
		if err != nil {
			a.w.srv.log.Error("listener is deaf", "listener", a.b.name, "error", err)
			continue
		}
		d.tok = tok
		a.doors = append(a.doors, d)
		d.Ready(loop.Readable)
	}
}

// stop accepts no more. What is in the kernel's queue by then is taken unless another process has the socket
// too, for closing it would reset those connections.
func (a *acceptor) stop(passed bool) {
	for _, d := range a.doors {
		for range backlog {
			if passed || !d.accept() {
				break
			}
		}
		a.w.loop.Unwatch(d.fd, d.tok)
	}
	a.w.loop.Disarm(&a.retry)
	a.doors = nil
}

// Expire implements loop.Expirer.
func (a *acceptor) Expire(time.Duration) {
	for _, d := range a.doors {
		d.Ready(loop.Readable)
	}
}

// Ready implements loop.Handler.
func (d *door) Ready(loop.Events) {
	for range acceptMax {
		if d.a.b.full() {
			d.a.b.stats.full.Add(1)
			d.a.pause()
			return
		}
		if !d.accept() {
			return
		}
	}
	d.a.w.loop.Again(d.tok, loop.Readable)
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
		a.w.srv.log.Error("no connection can be accepted", "listener", a.b.name, "error", e)
		a.w.srv.exhausted.Add(1)
		a.pause()
		return false
	default: // the connection died in the queue
	}
	return true
}

func (a *acceptor) pause() { a.w.loop.Arm(&a.retry, a, a.w.loop.Now()+acceptAgain) }

// place gives a new connection to the worker that should have it.
func (a *acceptor) place(fd int, peer netip.AddrPort) {
	a.b.stats.accepted.Add(1)
	counted, why := a.b.enter(peer.Addr())
	if why != admitted {
		a.b.stats.refused[why].Add(1)
		loop.Close(fd)
		return
	}
	w := a.w
	if to := w.srv.emptiest(); to.load.Load()+uneven < w.load.Load() {
		b := a.b
		to.load.Add(1) // the worker counts it itself once it has it; until then nobody else gives it one too many
		if to.loop.Post(func() { to.load.Add(-1); to.serve(b, fd, peer, counted) }) {
			return
		}
		to.load.Add(-1)
	}
	w.serve(a.b, fd, peer, counted)
}

// serve begins with a new connection. Usually the first request is already there.
func (w *worker) serve(b *binding, fd int, peer netip.AddrPort, counted bool) {
	c := &client{w: w, b: b, fd: fd, peer: peer, counted: counted, readable: true, began: w.loop.Now()}
	w.remember(c)
	c.pump()
}
