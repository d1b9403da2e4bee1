package gslb

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/balance/gslb/steer"
)

// Outside is the target of an alias that is in nobody's zone. Its addresses are looked up before they are asked for, and
// again and again; those found last stay until others are found.
type Outside struct {
	Name string
	Slot *steer.Slot
}

// How names outside are looked up.
const (
	outsideEvery  = 30 * time.Second // as pools' names are
	outsideRetry  = 2 * time.Second  // after a failure
	outsideWithin = 5 * time.Second
)

// Lookup asks a resolver for the addresses of a name.
type Lookup func(ctx context.Context, name string) ([]netip.Addr, error)

// systemLookup asks the machine's resolver.
func systemLookup(ctx context.Context, name string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
}

// resolve keeps the addresses of names outside until ctx ends.
func (s *Server) resolve(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.outsideNudge:
		case <-timer.C:
		}
		wait := outsideEvery
		for _, name := range s.outsideNames() {
			if !s.lookUp(ctx, name) {
				wait = outsideRetry
			}
		}
		timer.Reset(wait)
	}
}

// outsideNames lists the names that any edition has, each once.
func (s *Server) outsideNames() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range []*edition{s.current, s.next} {
		if e == nil {
			continue
		}
		for _, o := range e.cfg.Outside {
			names = append(names, o.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// lookUp looks a name up once, and reports whether it was found.
func (s *Server) lookUp(ctx context.Context, name string) bool {
	limited, cancel := context.WithTimeout(ctx, outsideWithin)
	defer cancel()
	hosts, err := s.options.Lookup(limited, name)
	if err != nil || len(hosts) == 0 {
		if ctx.Err() == nil {
			s.noteMissing(name, err)
		}
		return false
	}
	for i := range hosts {
		hosts[i] = hosts[i].Unmap()
	}
	slices.SortFunc(hosts, netip.Addr.Compare)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.missing, name)
	if slices.Equal(s.found[name], hosts) {
		return true
	}
	s.log.Info("target of an alias found", "name", name, "addresses", texts(hosts))
	s.found[name] = hosts
	for _, e := range []*edition{s.current, s.next} {
		if e != nil {
			s.tellOutside(e)
		}
	}
	s.promote(s.now())
	return true
}

// noteMissing says that a name was not found, once until it is.
func (s *Server) noteMissing(name string, err error) {
	s.mu.Lock()
	known := s.missing[name]
	s.missing[name] = true
	s.mu.Unlock()
	if !known {
		s.log.Warn("target of an alias not found; its last addresses stay", "name", name, "error", err)
	}
}

// tellOutside gives the slots of an edition the addresses that were found.
func (s *Server) tellOutside(e *edition) {
	for _, o := range e.cfg.Outside {
		if hosts := s.found[o.Name]; hosts != nil {
			o.Slot.Refresh(s.now(), &steer.State{Endpoints: []steer.Endpoint{{Address: o.Name, Hosts: hosts, Weight: 1}}})
		}
	}
}

// forgetOutside drops what was found for names that no edition has any more.
func (s *Server) forgetOutside(e *edition) {
	gone := func(name string) bool { _, ok := e.outside[name]; return !ok }
	maps.DeleteFunc(s.found, func(name string, _ []netip.Addr) bool { return gone(name) })
	maps.DeleteFunc(s.missing, func(name string, _ bool) bool { return gone(name) })
}
