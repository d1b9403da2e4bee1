package l4

import (
	"log/slog"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/internal/edge"
)

// A Server passes connections and datagrams of listeners on. There is one for each edge.
type Server struct {
	edge    *edge.Edge
	workers []*worker
}

// NewServer makes a server on the workers of an edge. It must be called before the edge runs.
func NewServer(e *edge.Edge) *Server {
	s := &Server{edge: e}
	all := e.Workers()
	for _, w := range all {
		s.workers = append(s.workers, newWorker(w, len(all)))
	}
	return s
}

// A Service is what a listener does: it passes connections, or datagrams, to one pool.
type Service struct {
	Server   *Server
	Upstream *Upstream

	// AcceptProxy says that clients begin with a PROXY header, before each datagram too; only those in the
	// listener's Trusted are heard.
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
