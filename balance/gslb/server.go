package gslb

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/balance/gslb/answer"
)

// answerMax is the largest answer sent over UDP, whatever is configured.
const answerMax = 4096

// Options are what a server is made with. The zero Options are usable.
type Options struct {
	// Workers is how many event loops answer over UDP, each with a socket for each address. Default 1.
	Workers int
	// Origin is when the server's time begins. Default now.
	Origin time.Time
	Log    *slog.Logger // nil logs nothing
	// Inherited are the sockets of a process that this one replaces, as its Sockets said.
	Inherited map[string][]int
	// Lookup finds the addresses of names outside. Default: the machine's resolver.
	Lookup Lookup
}

// Limits of TCP connections.
type Limits struct {
	Connections int // of all clients; 0 is 1024
	PerSource   int // of an IPv4 address, or a /64; 0 is 32
}

// Config is what a server serves.
type Config struct {
	// Addresses are where it listens, as host:port. No host is every address of the machine.
	Addresses []string
	// World is what is answered.
	World answer.World
	// Pools are what its records' slots follow, by name.
	Pools map[string]Pool
	// Outside are the aliases whose targets are in nobody's zone.
	Outside []Outside
	// FirstProbe is how long a configuration waits for pools of which some endpoint has never been probed, before it comes
	// into force all the same.
	FirstProbe time.Duration
	// QueryLog, if not nil, is noted queries in. Whoever made it runs it.
	QueryLog *QueryLog
	Limits   Limits
}

// Server serves DNS. Its methods may be called by any goroutine.
//
// A configuration comes into force in one step: the catalog, and all that belongs to it, is one pointer that each answer
// loads once. Until the first one is in force, queries wait in the kernel.
type Server struct {
	log     *slog.Logger
	origin  time.Time
	options Options

	world    atomic.Pointer[answer.World]
	queryLog atomic.Pointer[QueryLog]
	limits   atomic.Pointer[Limits]

	dirty        dirty
	outsideNudge chan struct{} // holds one token when there may be new names
	changes      atomic.Uint64 // of what a name is answered with, for health

	mu        sync.Mutex
	inherited map[string][]int
	workers   []*worker
	tcp       *tcp
	doors     map[string]*door
	ears      map[string][]*ear
	current   *edition                // in force
	next      *edition                // waits for its pools' first probes
	found     map[string][]netip.Addr // addresses of names outside
	missing   map[string]bool         // names outside that were not found last time
	run       context.Context
	parts     sync.WaitGroup // of run
	drained   bool
}

// New makes a server that serves nothing yet. It opens nothing.
func New(o Options) *Server {
	if o.Origin.IsZero() {
		o.Origin = time.Now()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Lookup == nil {
		o.Lookup = systemLookup
	}
	o.Workers = max(1, o.Workers)
	s := &Server{
		log: o.Log, origin: o.Origin, options: o, inherited: maps.Clone(o.Inherited),
		doors: map[string]*door{}, ears: map[string][]*ear{}, found: map[string][]netip.Addr{}, missing: map[string]bool{},
		outsideNudge: make(chan struct{}, 1),
	}
	s.dirty.nudge = make(chan struct{}, 1)
	s.limits.Store(&Limits{})
	return s
}

// now is the time as pools and limits see it.
func (s *Server) now() time.Duration { return time.Since(s.origin) }

// source is a source of which all but the address is filled in.
func (s *Server) source(now time.Duration) answer.Source {
	return answer.Source{Now: now, Unix: uint32(s.origin.Add(now).Unix())}
}

// Change is a configuration that is ready to come into force.
type Change struct {
	server *Server
	cfg    Config
	fresh  []*door
}

// Prepare does all of a configuration that may fail: it opens the addresses that are new. One of Commit and Discard
// must follow, before another Prepare.
func (s *Server) Prepare(cfg Config) (*Change, error) {
	c := &Change{server: s, cfg: cfg}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(cfg.Addresses) > 0 {
		if err := s.hire(); err != nil {
			return nil, err
		}
	}
	for _, address := range cfg.Addresses {
		if s.doors[address] != nil {
			continue
		}
		d, err := s.openDoor(address)
		if err != nil {
			c.discard()
			return nil, err
		}
		c.fresh = append(c.fresh, d)
	}
	return c, nil
}

// hire makes the workers, once there is something to do for them.
func (s *Server) hire() error {
	if s.workers != nil {
		return nil
	}
	var workers []*worker
	for id := range s.options.Workers {
		w, err := newWorker(s, id)
		if err != nil {
			for _, w := range workers {
				w.loop.Close()
			}
			return err
		}
		workers = append(workers, w)
	}
	s.workers = workers
	s.tcp = newTCP(s, 2*len(workers))
	return nil
}

func (s *Server) openDoor(address string) (*door, error) {
	udp, tcp := s.inherited[udpKey+address], s.inherited[tcpKey+address]
	if len(udp) == 0 || len(tcp) == 0 {
		return openDoor(address, len(s.workers))
	}
	delete(s.inherited, udpKey+address)
	delete(s.inherited, tcpKey+address)
	return adoptDoor(address, udp, tcp)
}

// Discard gives back what Prepare has opened.
func (c *Change) Discard() {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.discard()
}

func (c *Change) discard() {
	for _, d := range c.fresh {
		d.close()
	}
}

// Commit puts the configuration in force, at once or as soon as its pools were probed. Addresses that are served stay
// so without a gap.
func (c *Change) Commit() {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := map[string]bool{}
	for _, address := range c.cfg.Addresses {
		wanted[address] = true
	}
	for address, d := range s.doors {
		if !wanted[address] {
			s.shut(d)
		}
	}
	for _, d := range c.fresh {
		s.doors[d.address] = d
		s.ears[d.address] = s.assign(d)
	}
	s.adopt(c.cfg)
}

// assign gives each UDP socket of a door a worker.
func (s *Server) assign(d *door) (ears []*ear) {
	for i, fd := range d.udp {
		ears = append(ears, &ear{worker: s.workers[i%len(s.workers)], fd: fd, wild: d.wild})
	}
	return ears
}

// shut ends a door: what has arrived is still answered.
func (s *Server) shut(d *door) {
	delete(s.doors, d.address)
	ears := s.ears[d.address]
	delete(s.ears, d.address)
	if d.tcp != nil {
		d.tcp.Close()
	}
	for _, e := range ears {
		end := func() { e.unwatch(); unix.Close(e.fd) }
		if !e.worker.started || !e.worker.loop.Post(end) {
			unix.Close(e.fd)
		}
	}
	d.udp = nil
}

// Run serves until ctx ends. It returns when all it started has ended. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	s.run = ctx
	s.open()
	s.parts.Go(func() { s.resolve(ctx) })
	s.mu.Unlock()
	s.keep(ctx)
	s.Drain()
	s.parts.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.doors {
		d.close()
	}
	return nil
}

// open watches the sockets of doors that are not watched yet, once there is something to answer. The caller holds mu.
func (s *Server) open() {
	if s.run == nil || s.run.Err() != nil || s.world.Load() == nil || s.drained {
		return
	}
	for _, w := range s.workers {
		if !w.started {
			w.started = true
			s.parts.Go(func() { w.run(s.run) })
		}
	}
	for address, d := range s.doors {
		if d.open {
			continue
		}
		d.open = true
		for _, e := range s.ears[address] {
			e.worker.loop.Post(e.watch)
		}
		s.parts.Go(func() { s.tcp.serve(s.run, d.tcp) })
	}
}

// Drain ends: queries that have arrived are answered, and no more are read. Sockets stay open until Run ends, so that a
// process that shares them reads on.
func (s *Server) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drained {
		return
	}
	s.drained = true
	var wg sync.WaitGroup
	for _, ears := range s.ears {
		for _, e := range ears {
			wg.Add(1)
			if !e.worker.started || !e.worker.loop.Post(func() { e.unwatch(); wg.Done() }) {
				wg.Done()
			}
		}
	}
	for _, d := range s.doors {
		d.tcp.Close()
	}
	if s.tcp != nil {
		s.tcp.end()
	}
	wg.Wait()
}

// Prefixes of what Sockets calls them.
const (
	udpKey = "dns+udp:"
	tcpKey = "dns+tcp:"
)

// IsSocket reports whether a name is one that Sockets gives.
func IsSocket(name string) bool {
	return strings.HasPrefix(name, udpKey) || strings.HasPrefix(name, tcpKey)
}

// Sockets returns all descriptors, by names that Options.Inherited understands. They stay this server's.
func (s *Server) Sockets() map[string][]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string][]int{}
	for address, d := range s.doors {
		all[udpKey+address] = slices.Clone(d.udp)
		if fd, err := descriptor(d.tcp); err == nil {
			all[tcpKey+address] = []int{fd}
		}
	}
	return all
}

// CloseInherited closes the inherited sockets that no address has claimed.
func (s *Server) CloseInherited() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fds := range s.inherited {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	s.inherited = nil
}

// Addr returns where an address of the configuration is really served, which differs with port 0.
func (s *Server) Addr(address string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.doors[address]; d != nil {
		return d.addr(), nil
	}
	return "", fmt.Errorf("dns is not served on %s", address)
}

// descriptor returns the number of a listener's.
func descriptor(l net.Listener) (fd int, err error) {
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		return -1, err
	}
	err = raw.Control(func(number uintptr) { fd = int(number) })
	return fd, err
}
