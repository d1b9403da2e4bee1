package l7

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/internal/loop"
)

// Config is what a Server is made of. The zero Config works.
type Config struct {
	Loops  int          // event loops; 0 is one for each processor
	Origin time.Time    // of all times given to pools; the zero Time is now
	Log    *slog.Logger // nil logs nothing

	// Inherited are listening sockets from another process, by address, as its Sockets gave them. Apply uses
	// them instead of opening new ones; CloseInherited closes what was not used.
	Inherited map[string][]int
}

// A Server takes requests on its listeners and passes them to pools.
type Server struct {
	origin    time.Time
	log       *slog.Logger
	workers   []*worker
	registry  *registry
	draining  atomic.Bool
	exhausted atomic.Uint64 // times that no connection could be accepted for want of a resource
	date      dateCache

	mu        sync.Mutex
	bindings  map[string]*binding
	sockets   map[string]*socket // by address
	inherited map[string][]int
	ended     bool // Run has returned
}

// New makes a server without listeners; see Apply.
func New(cfg Config) (*Server, error) {
	if cfg.Loops <= 0 {
		cfg.Loops = runtime.NumCPU()
	}
	if cfg.Origin.IsZero() {
		cfg.Origin = time.Now()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		origin: cfg.Origin, log: cfg.Log, registry: newRegistry(cfg.Loops),
		bindings: map[string]*binding{}, sockets: map[string]*socket{},
		inherited: maps.Clone(cfg.Inherited),
	}
	for i := range cfg.Loops {
		w, err := newWorker(s, i)
		if err != nil {
			for _, w := range s.workers {
				w.loop.Close()
			}
			return nil, err
		}
		s.workers = append(s.workers, w)
	}
	return s, nil
}

func (s *Server) now() time.Duration { return time.Since(s.origin) }

// Run serves until ctx ends, and then closes every connection and socket. See Drain for the gentle way.
//
// Each event loop holds a processor while requests come; Run therefore raises GOMAXPROCS so that other
// goroutines keep theirs.
func (s *Server) Run(ctx context.Context) error {
	if need := len(s.workers) + 2; runtime.GOMAXPROCS(0) < need {
		runtime.GOMAXPROCS(need)
	}
	var wg sync.WaitGroup
	for _, w := range s.workers {
		wg.Go(func() { _ = w.run(ctx) })
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for address, sock := range s.sockets {
		delete(s.sockets, address)
		sock.close()
	}
	return context.Cause(ctx)
}

// Apply makes the given listeners the ones that are served. It checks all of them and opens new sockets
// before it changes anything; on an error nothing has changed. A listener that stays keeps its sockets and
// connections: requests that begin from now on follow the new routes. One that is gone takes no more
// connections; those it has go on to the end of their request in progress.
func (s *Server) Apply(listeners []*Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errors.New("apply listeners: the server has ended")
	}
	byName := map[string]*Listener{}
	want := map[string]*Listener{} // by address
	for _, l := range listeners {
		if err := s.prepare(l); err != nil {
			return err
		}
		if byName[l.Name] != nil {
			return fmt.Errorf("listener %s: the name is taken", l.Name)
		}
		byName[l.Name] = l
		for _, a := range l.Addresses {
			if want[a] != nil {
				return fmt.Errorf("listener %s: listener %s already has address %s", l.Name, want[a].Name, a)
			}
			want[a] = l
		}
	}
	opened, err := s.open(want)
	if err != nil {
		return err
	}
	s.swap(byName, want, opened)
	s.registry.retain(byName)
	return nil
}

// prepare checks a listener and completes what is derived from it.
func (s *Server) prepare(l *Listener) error {
	if l.Name == "" || len(l.Addresses) == 0 {
		return errors.New("listener: needs a name and an address")
	}
	names := map[string]bool{}
	for _, r := range l.Routes {
		if err := r.check(); err != nil {
			return fmt.Errorf("listener %s: %w", l.Name, err)
		}
		if names[r.Name] {
			return fmt.Errorf("listener %s: two routes are named %s", l.Name, r.Name)
		}
		names[r.Name] = true
		r.stats = s.registry.route(l.Name, r.Name)
	}
	if l.Limits.Head == 0 {
		l.Limits.Head = http1.DefaultHead
	}
	l.index = newRouteIndex(l.Routes)
	l.stats = s.registry.listener(l.Name)
	l.unrouted = s.registry.route(l.Name, noRoute.Name)
	return nil
}

// open opens the sockets that are wanted and not there. On an error it closes them again, but for those that
// were inherited.
func (s *Server) open(want map[string]*Listener) (opened []*socket, err error) {
	for address := range want {
		if s.sockets[address] != nil {
			continue
		}
		sock, err := s.listen(address)
		if err != nil {
			for _, o := range opened {
				o.disown(s.inherited[o.address])
				o.close()
			}
			return nil, fmt.Errorf("listener %s: %w", want[address].Name, err)
		}
		opened = append(opened, sock)
	}
	for _, o := range opened {
		delete(s.inherited, o.address)
	}
	return opened, nil
}

// listen opens an address, or takes over what was inherited for it.
func (s *Server) listen(address string) (*socket, error) {
	fds := s.inherited[address]
	if len(fds) == 0 {
		return listen(address, len(s.workers))
	}
	return adopt(address, fds, len(s.workers))
}

// CloseInherited closes the inherited sockets that no listener wanted.
func (s *Server) CloseInherited() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for address, fds := range s.inherited {
		for _, fd := range fds {
			loop.Close(fd)
		}
		delete(s.inherited, address)
	}
}

// Sockets returns the listening descriptors by address, to be passed to another process. From then on this
// process leaves the files of Unix sockets alone when it closes them.
func (s *Server) Sockets() map[string][]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string][]int{}
	for address, sock := range s.sockets {
		sock.passed = true
		all[address] = slices.Clone(sock.fds)
	}
	return all
}

// KeepSockets undoes Sockets when the other process did not come up.
func (s *Server) KeepSockets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sock := range s.sockets {
		sock.passed = false
	}
}

// Addr returns the address that a listener really has for one of its configured addresses; they differ for
// port 0.
func (s *Server) Addr(address string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sock := s.sockets[address]; sock != nil {
		return sock.addr()
	}
	return ""
}

// swap is the one step in which a new configuration begins to hold.
func (s *Server) swap(byName, want map[string]*Listener, opened []*socket) {
	for name, l := range byName {
		b := s.bindings[name]
		if b == nil {
			b = &binding{name: name, stats: l.stats}
			s.bindings[name] = b
		}
		b.current.Store(l)
	}
	for _, o := range opened {
		s.sockets[o.address] = o
	}
	for address, sock := range s.sockets {
		l := want[address]
		if l == nil {
			delete(s.sockets, address)
			s.unserve(sock)
			continue
		}
		if b := s.bindings[l.Name]; sock.binding != b {
			s.serve(sock, b)
		}
	}
	for name, b := range s.bindings {
		if byName[name] == nil {
			b.listener().retired.Store(true)
			delete(s.bindings, name)
		}
	}
}

// serve gives each worker its part of a socket, or a new owner for it.
func (s *Server) serve(sock *socket, b *binding) {
	first := sock.binding == nil
	sock.binding = b
	for i, w := range s.workers {
		if !first {
			a := sock.acceptors[i]
			w.loop.Post(func() { a.b = b })
			continue
		}
		a := &acceptor{w: w, b: b}
		for j := i; j < len(sock.fds); j += len(s.workers) {
			a.fds = append(a.fds, sock.fds[j])
		}
		sock.acceptors = append(sock.acceptors, a)
		w.loop.Post(func() { a.open() })
	}
}

// unserve ends a socket, after what the kernel has queued on it.
func (s *Server) unserve(sock *socket) {
	passed := sock.passed
	var left atomic.Int32
	left.Store(int32(len(sock.acceptors)))
	done := func() {
		if left.Add(-1) == 0 {
			sock.close()
		}
	}
	for _, a := range sock.acceptors {
		if !a.w.loop.Post(func() { a.stop(passed); done() }) {
			done()
		}
	}
}

// Drain ends the service gently: no connection is accepted any more, and each open one is closed with the
// answer to its next request. It returns when all are gone, or when ctx ends. The sockets stay open if they
// have been handed over (see Sockets), for then the other process accepts.
func (s *Server) Drain(ctx context.Context) {
	s.draining.Store(true)
	s.mu.Lock()
	for address, sock := range s.sockets {
		delete(s.sockets, address)
		s.unserve(sock)
	}
	s.mu.Unlock()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for s.Connections() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Connections returns the number of open client connections.
func (s *Server) Connections() int {
	n := int64(0)
	for _, w := range s.workers {
		n += w.load.Load()
	}
	return int(n)
}

// Listeners returns the listeners in force, by name.
func (s *Server) Listeners() []*Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*Listener
	for _, b := range s.bindings {
		all = append(all, b.listener())
	}
	slices.SortFunc(all, func(a, b *Listener) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// emptiest returns the worker with the fewest connections.
func (s *Server) emptiest() *worker {
	best := s.workers[0]
	for _, w := range s.workers[1:] {
		if w.load.Load() < best.load.Load() {
			best = w
		}
	}
	return best
}

// draining reports whether connections should be closed with their next answer: because the server ends, or
// because their listener is gone.
func (l *Listener) draining(w *worker) bool { return w.srv.draining.Load() || l.retired.Load() }

// Loops returns the number of event loops.
func (s *Server) Loops() int { return len(s.workers) }

// Exhausted returns how often no connection could be accepted for want of descriptors or memory.
func (s *Server) Exhausted() uint64 { return s.exhausted.Load() }
