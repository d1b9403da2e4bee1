package supervise

import "github.com/trivet-ha/trivet/fault/supervise/life"

// seat is what a slot keeps over the restarts of its process: the port, so that
// the endpoint stays the same for whoever balances.
type seat struct {
	port   int
	proven bool // a process was ready there, so it was free
}

// seat gives an instance a port, the slot's if that has proven good and nobody
// sits there, and enters it.
func (g *Group) seat(in *instance) error {
	g.mu.Lock()
	s := g.seats[in.slot]
	vacant := !g.sits(s.port)
	if s.proven && vacant {
		in.port = s.port
		g.instances[in.id] = in
		g.mu.Unlock()
		return nil
	}
	g.mu.Unlock()
	port, err := g.cfg.Ports.Take()
	if err != nil {
		return err
	}
	in.port = port
	g.mu.Lock()
	g.instances[in.id] = in
	if vacant {
		g.seats[in.slot] = seat{port: port}
	}
	g.mu.Unlock()
	if vacant {
		g.vacate(in.slot, s.port)
	}
	return nil
}

// unseat takes an instance out. Its port stays the slot's if it was.
func (g *Group) unseat(in *instance) {
	g.mu.Lock()
	delete(g.instances, in.id)
	kept := g.seats[in.slot].port == in.port
	g.rewatch()
	g.mu.Unlock()
	if !kept {
		g.vacate(in.slot, in.port)
	}
}

// prove makes the port of an instance that is ready the slot's. The caller holds
// mu.
func (g *Group) prove(in *instance) { g.seats[in.slot] = seat{port: in.port, proven: true} }

// sits reports whether an instance has the port. The caller holds mu.
func (g *Group) sits(port int) bool {
	for _, in := range g.instances {
		if in.port == port {
			return true
		}
	}
	return false
}

// vacate gives a port back that nobody sits at, and no slot keeps.
func (g *Group) vacate(slot, port int) {
	if port == 0 {
		return
	}
	g.cfg.Traffic.Put(Standing{Process: g.name(slot), Address: addressOf(port), State: Gone})
	g.cfg.Ports.Free(port)
}

// leaveSeats gives back the ports of slots that shall have no process. A slot has
// its seat until Traffic knows, so that a place that is told to be stopped gets
// nothing any more.
func (g *Group) leaveSeats() {
	left := map[int]int{}
	g.mu.Lock()
	slots := g.life.Slots()
	for slot, s := range g.seats {
		if !g.sits(s.port) && (g.life.Closing() || slot >= len(slots) || slots[slot].Halted) {
			left[slot] = s.port
		}
	}
	g.mu.Unlock()
	for slot, port := range left {
		g.vacate(slot, port)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for slot, port := range left {
		if g.seats[slot].port == port {
			delete(g.seats, slot)
		}
	}
}

// instance returns the instance of a process, or nil if it is gone already.
func (g *Group) instance(id life.ID) *instance {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.instances[id]
}

// list returns the instances there are.
func (g *Group) list() []*instance {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []*instance
	for _, in := range g.instances {
		all = append(all, in)
	}
	return all
}
