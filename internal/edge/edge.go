package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/internal/loop"
)

// Config is what an Edge is made of. The zero Config works.
type Config struct {
	Loops  int          // event loops; 0 is one for each processor
	Origin time.Time    // of all loops' clocks; the zero Time is now
	Log    *slog.Logger // nil logs nothing

	// Inherited are listening sockets from another process, by address, as its Sockets gave them. Apply uses
	// them instead of opening new ones; CloseInherited closes what was not used.
	Inherited map[string][]int
}

// A Server is what is done with the connections of a listener.
type Server interface {
	// Serve begins with a new connection: it copies c into a connection of its own and calls Enter on that. It
	// runs on the connection's worker.
	Serve(c Conn)
}

// A Listener says where connections come in, who may come in, and what is done with them. It is immutable once
// it has been given to Apply.
type Listener struct {
	Name      string
	Addresses []string // "host:port", ":port", "[::1]:80", "unix:/path"; "udp:host:port" for a PacketServer
	Server    Server

	// Deferred has the kernel wait with a connection until its first byte: right where the client speaks first.
	Deferred bool

	MaxConns     int            // open connections; 0 is no limit
	MaxPerSource int            // open connections of one address; 0 is no limit
	Access       Access         // who may come in
	Trusted      []netip.Prefix // proxies: whom they stand for, only the protocol tells, so Access is left to it
}

// An Edge runs the event loops and accepts connections for them.
type Edge struct {
	origin    time.Time
	log       *slog.Logger
	workers   []*Worker
	draining  atomic.Bool
	exhausted atomic.Uint64

	mu        sync.Mutex
	bindings  map[string]*Binding
	sockets   map[string]*socket // by address
	ending    map[string]*socket // by address: they still take what the kernel has queued
	inherited map[string][]int
	ended     bool // Run has returned
}

// New makes an edge without listeners; see Apply.
func New(cfg Config) (*Edge, error) {
	if cfg.Loops <= 0 {
		cfg.Loops = runtime.NumCPU()
	}
	if cfg.Origin.IsZero() {
		cfg.Origin = time.Now()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e := &Edge{
		origin: cfg.Origin, log: cfg.Log,
		bindings: map[string]*Binding{}, sockets: map[string]*socket{}, ending: map[string]*socket{}, inherited: maps.Clone(cfg.Inherited),
	}
	for i := range cfg.Loops {
		w, err := newWorker(e, i)
		if err != nil {
			for _, w := range e.workers {
				w.Loop.Close()
			}
			return nil, err
		}
		e.workers = append(e.workers, w)
	}
	return e, nil
}

// Workers returns the workers, in order of their IDs.
func (e *Edge) Workers() []*Worker { return e.workers }

// Log is where the edge and its protocols tell of trouble.
func (e *Edge) Log() *slog.Logger { return e.log }

// Now returns the time since the origin, on any goroutine.
func (e *Edge) Now() time.Duration { return time.Since(e.origin) }

// Run serves until ctx ends, and then closes every connection and socket. See Drain for the gentle way.
//
// Each event loop holds a processor while there is work; Run therefore raises GOMAXPROCS so that other
// goroutines keep theirs.
func (e *Edge) Run(ctx context.Context) error {
	if need := len(e.workers) + 2; runtime.GOMAXPROCS(0) < need {
		runtime.GOMAXPROCS(need)
	}
	var wg sync.WaitGroup
	for _, w := range e.workers {
		wg.Go(func() { _ = w.run(ctx) })
	}
	wg.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	for address, sock := range e.sockets {
		delete(e.sockets, address)
		sock.close()
	}
	return context.Cause(ctx)
}

// Apply makes the given listeners the ones that are served. It opens new sockets before it changes anything;
// on an error nothing has changed. A listener that stays keeps its sockets and connections. One that is gone
// takes no more connections; those it has go on.
func (e *Edge) Apply(listeners []*Listener) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return errors.New("apply listeners: the server has ended")
	}
	byName := map[string]*Listener{}
	want := map[string]*Listener{} // by address
	for _, l := range listeners {
		if l.Name == "" || len(l.Addresses) == 0 || l.Server == nil {
			return errors.New("listener: needs a name, an address and a server")
		}
		if byName[l.Name] != nil {
			return fmt.Errorf("listener %s: the name is taken", l.Name)
		}
		byName[l.Name] = l
		for _, a := range l.Addresses {
			if _, ok := l.Server.(PacketServer); !ok && strings.HasPrefix(a, packetPrefix) {
				return fmt.Errorf("listener %s: its server takes no datagrams", l.Name)
			}
			if want[a] != nil {
				return fmt.Errorf("listener %s: listener %s already has address %s", l.Name, want[a].Name, a)
			}
			want[a] = l
		}
	}
	opened, err := e.open(want)
	if err != nil {
		return err
	}
	e.swap(byName, want, opened)
	return nil
}

// open opens the sockets that are wanted and not there. On an error it closes them again, but for those that
// were inherited.
func (e *Edge) open(want map[string]*Listener) (opened []*socket, err error) {
	for address, l := range want {
		if e.sockets[address] != nil {
			continue
		}
		sock, err := e.listen(address, l.Deferred)
		if err != nil {
			for _, o := range opened {
				o.disown(e.inherited[o.address])
				o.close()
			}
			return nil, fmt.Errorf("listener %s: %w", l.Name, err)
		}
		opened = append(opened, sock)
	}
	for _, o := range opened {
		delete(e.inherited, o.address)
	}
	return opened, nil
}

// endingMax is how long an address that comes back waits for the socket that had it before.
const endingMax = 5 * time.Second

// listen opens an address, or takes over what was inherited for it.
func (e *Edge) listen(address string, deferred bool) (*socket, error) {
	fds := e.inherited[address]
	if len(fds) == 0 {
		if err := e.ending[address].wait(endingMax); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
		return listen(address, len(e.workers), deferred)
	}
	return adopt(address, fds, len(e.workers), deferred)
}

// swap is the one step in which a new configuration begins to hold.
func (e *Edge) swap(byName, want map[string]*Listener, opened []*socket) {
	for name, l := range byName {
		b := e.bindings[name]
		if b == nil {
			b = &Binding{Name: name}
			e.bindings[name] = b
		}
		b.current.Store(l)
	}
	for _, o := range opened {
		e.sockets[o.address] = o
	}
	for address, sock := range e.sockets {
		l := want[address]
		if l == nil {
			delete(e.sockets, address)
			e.unserve(sock)
			continue
		}
		sock.setDeferred(l.Deferred)
		if b := e.bindings[l.Name]; sock.binding != b {
			e.serve(sock, b)
		}
	}
	for name, b := range e.bindings {
		if byName[name] == nil {
			b.retired.Store(true)
			delete(e.bindings, name)
		}
	}
}

// serve gives each worker its part of a socket, or a new owner for it.
func (e *Edge) serve(sock *socket, b *Binding) {
	first := sock.binding == nil
	sock.binding = b
	for i, w := range e.workers {
		if !first {
			t := sock.takers[i]
			w.Loop.Post(func() { t.rebind(b) })
			continue
		}
		var fds []int
		for j := i; j < len(sock.fds); j += len(e.workers) {
			fds = append(fds, sock.fds[j])
		}
		t := newTaker(sock, w, b, fds)
		sock.takers = append(sock.takers, t)
		w.Loop.Post(t.open)
	}
}

func newTaker(sock *socket, w *Worker, b *Binding, fds []int) taker {
	if sock.packets {
		return &Port{Worker: w, Binding: b, FDs: fds, Wildcard: sock.wildcard()}
	}
	return &acceptor{w: w, b: b, fds: fds}
}

// unserve ends a socket, after what the kernel has queued on it.
func (e *Edge) unserve(sock *socket) {
	maps.DeleteFunc(e.ending, func(_ string, s *socket) bool { return s.wait(0) == nil })
	e.ending[sock.address] = sock
	sock.closed = make(chan struct{})
	passed := sock.passed
	var left atomic.Int32
	left.Store(int32(len(sock.takers)))
	done := func() {
		if left.Add(-1) == 0 {
			sock.close()
			close(sock.closed)
		}
	}
	for i, t := range sock.takers {
		if !e.workers[i].Loop.Post(func() { t.stop(passed, done) }) {
			done()
		}
	}
}

// Drain ends the service gently: no connection is accepted any more, and protocols close those that are open
// as soon as they can; see Worker.Draining. It returns when all are gone, or when ctx ends.
func (e *Edge) Drain(ctx context.Context) {
	e.draining.Store(true)
	e.mu.Lock()
	for address, sock := range e.sockets {
		delete(e.sockets, address)
		e.unserve(sock)
	}
	e.mu.Unlock()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for e.Connections() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Connections returns the number of open connections.
func (e *Edge) Connections() int {
	n := int64(0)
	for _, w := range e.workers {
		n += w.load.Load()
	}
	return int(n)
}

// Exhausted returns how often no connection could be accepted for want of descriptors or memory.
func (e *Edge) Exhausted() uint64 { return e.exhausted.Load() }

// Bindings returns what is bound now, by name.
func (e *Edge) Bindings() map[string]*Binding {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.bindings)
}

// CloseInherited closes the inherited sockets that no listener wanted.
func (e *Edge) CloseInherited() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for address, fds := range e.inherited {
		for _, fd := range fds {
			loop.Close(fd)
		}
		delete(e.inherited, address)
	}
}

// Sockets returns the listening descriptors by address, to be passed to another process. From then on this
// process leaves the files of Unix sockets alone when it closes them.
func (e *Edge) Sockets() map[string][]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[string][]int{}
	for address, sock := range e.sockets {
		sock.passed = true
		all[address] = slices.Clone(sock.fds)
	}
	return all
}

// KeepSockets undoes Sockets when the other process did not come up.
func (e *Edge) KeepSockets() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, sock := range e.sockets {
		sock.passed = false
	}
}

// Addr returns the address that a listener really has for one of its configured addresses: they differ for
// port 0, and "udp:" is left off. It is empty if nothing listens there.
func (e *Edge) Addr(address string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if sock := e.sockets[address]; sock != nil {
		return sock.addr()
	}
	return ""
}

// emptiest returns the worker with the fewest connections.
func (e *Edge) emptiest() *Worker {
	best := e.workers[0]
	for _, w := range e.workers[1:] {
		if w.load.Load() < best.load.Load() {
			best = w
		}
	}
	return best
}
