package gslb

import (
	"net/netip"

	"github.com/trivet-ha/trivet/balance/gslb/answer"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
)

// Status is what a server serves, at one moment.
type Status struct {
	Addresses []string // as they really are
	Ready     bool     // something is in force
	Waiting   []string // pools whose first probes a newer configuration waits for
	Zones     []ZoneStatus
	Records   []RecordStatus
}

// ZoneStatus is a zone in force.
type ZoneStatus struct {
	Name    string
	Serial  uint32
	Names   int    // that have records
	Queries uint64 // since the zone was first served
}

// RecordStatus is what a name answers from one pool.
type RecordStatus struct {
	Name      string
	Pool      string
	Policy    string
	Mode      string
	TTL       uint32 // in seconds
	Addresses []netip.Addr
}

// Counts are counts since the start.
type Counts struct {
	answer.Totals
	Unsent         uint64 // answers that could not be sent
	Unread         uint64 // messages that were too long, or came from nowhere
	Changes        uint64 // of what a name is answered with, for health
	Connections    int    // TCP connections open
	Refused        uint64 // TCP connections closed at once, for a limit
	QueryLogMissed uint64 // lines of the query log in force that were too many
}

// Status tells what is served.
func (s *Server) Status() (st Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		for name, w := range s.next.pools {
			if w.pending > 0 {
				st.Waiting = append(st.Waiting, name)
			}
		}
	}
	if s.current == nil {
		return st
	}
	st.Ready = true
	for _, address := range s.current.cfg.Addresses {
		if d := s.doors[address]; d != nil {
			st.Addresses = append(st.Addresses, d.addr())
		}
	}
	for _, z := range s.current.world.Catalog.Zones() {
		st.Zones = append(st.Zones, ZoneStatus{Name: z.Apex.String(), Serial: z.Serial, Names: z.Size, Queries: z.Count.Sum()})
		z.Nodes(func(n *zone.Node) {
			if n.Steered != nil {
				st.Records = append(st.Records, s.recordStatus(n)...)
			}
		})
	}
	return st
}

func (s *Server) recordStatus(n *zone.Node) (all []RecordStatus) {
	for _, w := range s.current.inOrder() {
		for _, p := range w.slots {
			if p.record != n.Steered {
				continue
			}
			r := RecordStatus{Name: n.Name.String(), Pool: w.name, Policy: p.slot.Rules.Policy.String()}
			if plan := p.slot.Plan(); plan != nil {
				r.Mode, r.TTL, r.Addresses = plan.Mode.String(), plan.TTL, plan.Hosts()
			}
			all = append(all, r)
		}
	}
	return all
}

// Counts tells what has happened.
func (s *Server) Counts() (c Counts) {
	s.mu.Lock()
	workers, t := s.workers, s.tcp
	s.mu.Unlock()
	for _, w := range workers {
		w.responder.AddTo(&c.Totals)
		c.Unsent += w.unsent.Load()
		c.Unread += w.unread.Load()
	}
	if t != nil {
		for _, seat := range t.all {
			seat.responder.AddTo(&c.Totals)
		}
		c.Connections, c.Refused = t.open(), t.closed.Load()
	}
	c.Changes = s.changes.Load()
	if l := s.queryLog.Load(); l != nil {
		c.QueryLogMissed = l.Dropped()
	}
	return c
}
