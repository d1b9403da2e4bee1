package trivet

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/fault/supervise"
)

// traffic makes endpoints of the processes of a pool. It is there for every pool, also for those that have no
// processes.
type traffic struct {
	n     *Node
	pool  *pool
	names sync.Map // of processes, by address; read while the pool tells of a change

	mu    sync.Mutex                    // held while the pool is told
	seats map[string]supervise.Standing // by address
	left  map[string]bool               // addresses that get nothing because their process is being exchanged
}

func newTraffic(n *Node, p *pool) *traffic {
	return &traffic{n: n, pool: p, seats: map[string]supervise.Standing{}, left: map[string]bool{}}
}

// Put implements supervise.Traffic.
func (t *traffic) Put(s supervise.Standing) {
	if s.State == supervise.Down {
		t.mark(s) // at once: what follows may have to wait for a reload
	}
	t.n.mu.Lock()
	defer t.n.mu.Unlock()
	t.place(s)
	if t.pool.prober != nil {
		t.pool.prober.refresh()
	}
}

// InFlight implements supervise.Traffic.
func (t *traffic) InFlight(address string) int {
	if e := t.pool.balance.ByAddress(address); e != nil {
		return e.InFlight()
	}
	return 0
}

// place makes the pool know where a process stands. The caller holds the node's mu.
func (t *traffic) place(s supervise.Standing) {
	p, now := t.pool.balance, t.n.now()
	e := p.ByAddress(s.Address)
	switch {
	case s.State == supervise.Gone:
		if e != nil {
			_ = p.Remove(s.Address, now) // it is there
		}
		t.mu.Lock()
		delete(t.seats, s.Address)
		delete(t.left, s.Address)
		t.mu.Unlock()
		t.names.Delete(s.Address)
		return
	case e == nil:
		t.enter(s)
		if e, _ = p.Add(endpointAt(s.Address, t.pool.spec), now); e == nil {
			t.n.log.Error("process gets no requests: the pool is full", "pool", t.pool.name, "process", s.Process)
			return
		}
	}
	if s.State == supervise.Serving && t.pool.prober != nil {
		t.pool.prober.trust(s.Address)
	}
	t.mark(s)
}

// endpointAt is what the file says about a pool's processes, for one at an address.
func endpointAt(address string, spec *config.Pool) balance.EndpointConfig {
	c := balance.EndpointConfig{Address: address}
	if e := spec.Run(); e != nil {
		c.Weight, c.Priority, c.MaxRequests = e.Weight, e.Priority, e.MaxRequests
	}
	return c
}

// enter notes whose address it is, so that the first event about it can tell.
func (t *traffic) enter(s supervise.Standing) {
	s.State = supervise.Starting
	t.names.Store(s.Address, s.Process)
	t.mu.Lock()
	t.seats[s.Address] = s
	t.mu.Unlock()
}

// mark makes a process's standing the state of its endpoint. One that starts is new to the pool, which waits for
// a first verdict, or was Down or Leaving before. mu is held all the while, so that of two who know
// something the later one is heard last.
func (t *traffic) mark(s supervise.Standing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seats[s.Address] = s
	e := t.pool.balance.ByAddress(s.Address)
	if e == nil {
		return
	}
	p, now := t.pool.balance, t.n.now()
	switch s.State {
	case supervise.Serving:
		p.SetHealth(e, balance.Up, s.Reason, now)
		p.Renew(e, now)
		if t.left[s.Address] {
			p.SetAdmin(e, balance.Ready, now)
			delete(t.left, s.Address)
		}
	case supervise.Down:
		p.SetHealth(e, balance.Down, s.Reason, now)
	case supervise.Leaving:
		if e.Status(now).Admin == balance.Ready {
			p.SetAdmin(e, balance.Maintenance, now)
			t.left[s.Address] = true
		}
	}
}

// probed takes a verdict of the probes over, unless it is about a process that is known not to answer.
func (t *traffic) probed(e *balance.Endpoint, verdict balance.Health, reason string, at time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.asks(e.Address()) {
		return
	}
	t.pool.balance.SetHealth(e, verdict, reason, at)
}

// answers reports whether it makes sense to ask an endpoint how it is.
func (t *traffic) answers(address string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.asks(address)
}

// asks is answers, under mu.
func (t *traffic) asks(address string) bool {
	s, ours := t.seats[address]
	return !ours || s.State == supervise.Serving
}

// wish is what the administrator wants of an endpoint that is in a state for whatever reason.
func (t *traffic) wish(address string, now balance.Admin) balance.Admin {
	if t.leaves(address) {
		return balance.Ready
	}
	return now
}

// leaves reports whether an endpoint gets nothing because its process is being exchanged.
func (t *traffic) leaves(address string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.left[address]
}

// processAt is the name of the process at an address; "" is none of ours.
func (t *traffic) processAt(address string) string {
	name, _ := t.names.Load(address)
	text, _ := name.(string)
	return text
}

// endpoints is what the pool's processes are under a configuration. The caller holds the node's mu.
func (t *traffic) endpoints(spec *config.Pool) []balance.EndpointConfig {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.seats) == 0 {
		return nil
	}
	var all []balance.EndpointConfig
	for _, e := range t.pool.balance.Endpoints() {
		if _, ours := t.seats[e.Address()]; ours {
			all = append(all, endpointAt(e.Address(), spec))
		}
	}
	return all
}

// awaitPredecessor waits until the process that this one has taken over from is gone, with the requests that it
// still had, and then lets processes be replaced.
func (n *Node) awaitPredecessor(ctx context.Context) error {
	if n.inherit == nil || !n.predecessorEnds(ctx) {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, g := range n.held {
		g.Hold(false)
	}
	n.held = nil
	return nil
}

// predecessorEnds waits until the process that this one has taken over from is gone, and reports whether it is.
func (n *Node) predecessorEnds(ctx context.Context) bool {
	if n.inherit == nil {
		return true
	}
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for os.Getppid() == n.inherit.predecessor {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
	return true
}
