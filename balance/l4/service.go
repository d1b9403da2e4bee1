package l4

import (
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/internal/edge"
)

// OnDown says what becomes of a session whose endpoint stops taking new ones.
type OnDown uint8

// The choices.
const (
	Keep  OnDown = iota // the session goes on
	Drain               // the session goes on for Settings.DrainTime, then it is cut
	Kill                // the session is cut at once
)

// Settings say how a pool's endpoints are talked to. Zero times mean no limit.
type Settings struct {
	Connect   time.Duration // to establish a connection
	Idle      time.Duration // without a byte in either direction
	HalfOpen  time.Duration // without a byte, once one direction has ended; 0 is a minute
	Queue     time.Duration // a session waits no longer for a free endpoint
	Attempts  int           // connections tried for one session; 0 is 3
	Prefix4   int           // leading bits of an IPv4 source that the hashing algorithms look at; 0 is all
	Prefix6   int
	OnDown    OnDown
	DrainTime time.Duration // see Drain
	Proxy     ProxyVersion  // the PROXY header that the endpoint gets

	// Addresses says where endpoints whose address is a name are dialled: "ip:port".
	Addresses map[string]string
}

// An Upstream is a pool as sessions see it. It outlives reloads.
type Upstream struct {
	Name string
	Pool *balance.Pool

	settings atomic.Pointer[Settings]
	stats    sync.Map // address → *endpointCounters
}

// NewUpstream makes an upstream over a pool.
func NewUpstream(name string, p *balance.Pool, s Settings) *Upstream {
	u := &Upstream{Name: name, Pool: p}
	u.Configure(s)
	return u
}

// Configure changes the settings. Sessions keep the ones they began with.
func (u *Upstream) Configure(s Settings) {
	if s.Attempts == 0 {
		s.Attempts = 3
	}
	if s.HalfOpen == 0 {
		s.HalfOpen = time.Minute
	}
	u.settings.Store(&s)
}

// Settings returns the settings in force.
func (u *Upstream) Settings() Settings { return *u.settings.Load() }

// endpointCounters count what happens with one endpoint. Workers share them: a session is rarer than a request.
type endpointCounters struct {
	sessions atomic.Uint64
	failures atomic.Uint64
	open     atomic.Int64
	in, out  atomic.Uint64 // bytes to and from the endpoint
}

func (u *Upstream) counters(address string) *endpointCounters {
	if c, ok := u.stats.Load(address); ok {
		return c.(*endpointCounters)
	}
	c, _ := u.stats.LoadOrStore(address, &endpointCounters{})
	return c.(*endpointCounters)
}

// EndpointStats is what has happened with an endpoint since the process began.
type EndpointStats struct {
	Pool, Endpoint string
	Sessions       uint64
	Failures       uint64 // connections that could not be made
	Open           int64
	BytesIn        uint64 // sent to it
	BytesOut       uint64 // come from it
}

// Stats returns the figures of the endpoints.
func (u *Upstream) Stats() []EndpointStats {
	var all []EndpointStats
	u.stats.Range(func(address, value any) bool {
		c := value.(*endpointCounters)
		all = append(all, EndpointStats{
			Pool: u.Name, Endpoint: address.(string), Sessions: c.sessions.Load(), Failures: c.failures.Load(),
			Open: c.open.Load(), BytesIn: c.in.Load(), BytesOut: c.out.Load(),
		})
		return true
	})
	return all
}

// A Server passes the connections of listeners on. There is one for each edge.
type Server struct {
	edge    *edge.Edge
	workers []*worker
}

// NewServer makes a server on the workers of an edge. It must be called before the edge runs.
func NewServer(e *edge.Edge) *Server {
	s := &Server{edge: e}
	for _, w := range e.Workers() {
		s.workers = append(s.workers, newWorker(w))
	}
	return s
}

// A Service is what a listener does: it passes connections to one pool.
type Service struct {
	Server   *Server
	Upstream *Upstream

	// AcceptProxy says that clients begin with a PROXY header; only those in the listener's Trusted may connect.
	AcceptProxy bool
	HeaderTime  time.Duration // for the PROXY header; 0 is 5 s
	Access      edge.Access   // looked at once the PROXY header has told the source
}

// Serve implements edge.Server.
func (s *Service) Serve(c edge.Conn) {
	w := s.Server.workers[c.Worker.ID]
	x := &session{Conn: c, w: w, service: s, up: s.Upstream, set: s.Upstream.settings.Load(), source: c.Peer}
	x.Enter(x)
	x.begin()
}

func (s *Server) log() *slog.Logger { return s.edge.Log() }

// Down tells the server that an endpoint no longer takes sessions, or no longer those it has: it is down, was
// removed, or has lost its role. What becomes of its sessions is the pool's OnDown. Any goroutine may call it.
func (s *Server) Down(ep *balance.Endpoint) {
	for _, w := range s.workers {
		w.Loop.Post(func() { w.down(ep) })
	}
}

// hashOf is the key of the hashing algorithms.
func (s *Settings) hashOf(source netip.AddrPort) uint64 {
	return balance.HashAddr(source.Addr(), s.Prefix4, s.Prefix6)
}
