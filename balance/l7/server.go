package l7

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/internal/edge"
)

// A Server takes requests on its listeners and passes them to pools, on the event loops of an edge.
type Server struct {
	edge     *edge.Edge
	log      *slog.Logger
	workers  []*worker
	registry *registry
	date     dateCache
}

// On makes a server without listeners on an edge, which may serve other protocols too. It must be called
// before the edge runs. Listeners are made ready by Bind, and applied to the edge together with those of
// other protocols.
func On(e *edge.Edge) *Server {
	s := &Server{edge: e, log: e.Log(), registry: newRegistry(len(e.Workers()))}
	for _, w := range e.Workers() {
		s.workers = append(s.workers, newWorker(s, w))
	}
	return s
}

// Bind checks a listener and makes it ready to be applied. What it counts goes on from a listener of the same
// name before it.
func (s *Server) Bind(l *Listener) (*edge.Listener, error) {
	if l.Name == "" || len(l.Addresses) == 0 {
		return nil, errors.New("listener: needs a name and an address")
	}
	names := map[string]bool{}
	for _, r := range l.Routes {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("listener %s: %w", l.Name, err)
		}
		if names[r.Name] {
			return nil, fmt.Errorf("listener %s: two routes are named %s", l.Name, r.Name)
		}
		names[r.Name] = true
		r.stats = s.registry.route(l.Name, r.Name)
	}
	if l.Limits.Head == 0 {
		l.Limits.Head = http1.DefaultHead
	}
	l.server = s
	l.index = newRouteIndex(l.Routes)
	l.counters = s.registry.listener(l.Name)
	l.unrouted = s.registry.route(l.Name, noRoute.Name)
	return &edge.Listener{
		Name: l.Name, Addresses: l.Addresses, Server: l, Deferred: true,
		MaxConns: l.MaxConns, MaxPerSource: l.MaxPerSource, Access: l.Access, Trusted: l.Trusted,
	}, nil
}

// Retain forgets the figures of listeners and routes that are not among those in force: a metric is not kept
// for ever because a route once was.
func (s *Server) Retain() {
	byName := map[string]*Listener{}
	for _, l := range s.Listeners() {
		byName[l.Name] = l
	}
	s.registry.retain(byName)
}

// Listeners returns the listeners in force, by name.
func (s *Server) Listeners() []*Listener {
	var all []*Listener
	for _, b := range s.edge.Bindings() {
		if l, ok := b.Listener().Server.(*Listener); ok && l.server == s {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b *Listener) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Config is what a Server of its own is made of; see edge.Config.
type Config = edge.Config

// Standalone is a Server on an edge of its own, for programs that serve nothing but HTTP.
type Standalone struct {
	*Server
	*edge.Edge
}

// New makes a server on an edge of its own.
func New(cfg Config) (*Standalone, error) {
	e, err := edge.New(cfg)
	if err != nil {
		return nil, err
	}
	return &Standalone{Server: On(e), Edge: e}, nil
}

// Apply makes the given listeners the ones that are served. It checks all of them and opens new sockets
// before it changes anything; on an error nothing has changed. A listener that stays keeps its sockets and
// connections: requests that begin from now on follow the new routes. One that is gone takes no more
// connections; those it has go on to the end of their request in progress.
func (s *Standalone) Apply(listeners []*Listener) error {
	var bound []*edge.Listener
	for _, l := range listeners {
		b, err := s.Bind(l)
		if err != nil {
			return err
		}
		bound = append(bound, b)
	}
	if err := s.Edge.Apply(bound); err != nil {
		return err
	}
	s.Retain()
	return nil
}

// Run serves until ctx ends, and then closes every connection and socket. See Drain for the gentle way.
func (s *Standalone) Run(ctx context.Context) error { return s.Edge.Run(ctx) }

func (s *Server) now() time.Duration { return s.edge.Now() }
