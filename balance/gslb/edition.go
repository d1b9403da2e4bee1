package gslb

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/balance/gslb/answer"
	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
)

// Pool is what is asked about the health of endpoints.
type Pool interface {
	// State tells what is known now, and until when it will stay so if nothing happens. It must not block.
	State(now time.Duration) (st *steer.State, next time.Duration)
}

// edition is a configuration with all that is kept for it.
type edition struct {
	cfg     Config
	world   *answer.World
	pools   map[string]*watched
	outside map[string]time.Duration // until when each alias's target outside is waited for
}

// watched is a pool and the slots that follow it.
type watched struct {
	name    string
	pool    Pool
	slots   []placed
	pending int           // endpoints never probed
	until   time.Duration // they are waited for
	next    time.Duration // when it has to be looked at again
	byLoad  bool
}

// placed is a slot and the record that it belongs to.
type placed struct {
	slot   *steer.Slot
	record *steer.Record
}

// newEdition finds the slots of all records.
func newEdition(cfg Config) *edition {
	e := &edition{cfg: cfg, world: &cfg.World, pools: map[string]*watched{}, outside: map[string]time.Duration{}}
	for _, z := range cfg.World.Catalog.Zones() {
		z.Nodes(func(n *zone.Node) {
			if n.Steered != nil {
				n.Steered.Slots(func(s *steer.Slot) { e.place(s, n.Steered) })
			}
		})
	}
	return e
}

func (e *edition) place(s *steer.Slot, r *steer.Record) {
	if s.Pool == "" {
		return
	}
	w := e.pools[s.Pool]
	if w == nil {
		w = &watched{name: s.Pool, pool: e.cfg.Pools[s.Pool]}
		e.pools[s.Pool] = w
	}
	for _, known := range w.slots {
		if known.slot == s {
			return
		}
	}
	w.slots = append(w.slots, placed{s, r})
	w.byLoad = w.byLoad || s.Rules.Weigh != steer.Fixed
}

// await says until when the edition waits for what is not known yet. What the editions before wait for, or waited for in
// vain, is not waited for anew: however often the configuration is replaced, it comes into force.
func (e *edition) await(now time.Duration, before ...*edition) {
	for name, w := range e.pools {
		w.until = now + e.cfg.FirstProbe
		for _, b := range before {
			if b == nil {
				continue
			}
			if o := b.pools[name]; o != nil && o.pending > 0 {
				w.until = min(w.until, o.until)
			}
		}
	}
	for _, o := range e.cfg.Outside {
		until := now + e.cfg.FirstProbe
		for _, b := range before {
			if b == nil {
				continue
			}
			if was, ok := b.outside[o.Name]; ok && o.Slot.Plan() == nil {
				until = min(until, was)
			}
		}
		e.outside[o.Name] = until
	}
}

// awaited returns until when something is waited for at the latest; that is over if nothing is.
func (e *edition) awaited() (until time.Duration) {
	for _, w := range e.pools {
		if w.pending > 0 {
			until = max(until, w.until)
		}
	}
	for _, o := range e.cfg.Outside {
		if o.Slot.Plan() == nil {
			until = max(until, e.outside[o.Name])
		}
	}
	return until
}

// ready reports whether all that is waited for is known, or has had its time.
func (e *edition) ready(now time.Duration) bool { return now >= e.awaited() }

// inherit hands over what the slots of one edition know to those of the next, by record and pool, and the counts of
// zones.
func (e *edition) inherit(old *edition) {
	before := old.world.Catalog.Zones()
	for _, z := range e.world.Catalog.Zones() {
		if i := slices.IndexFunc(before, func(o *zone.Zone) bool { return o.Apex == z.Apex }); i >= 0 {
			z.Count = before[i].Count
		}
	}
	for name, w := range e.pools {
		before := old.pools[name]
		if before == nil {
			continue
		}
		for _, p := range w.slots {
			for _, o := range before.slots {
				if o.record.Name == p.record.Name {
					p.slot.Inherit(o.slot)
				}
			}
		}
	}
}

// inOrder returns the pools by their names.
func (e *edition) inOrder() (all []*watched) {
	for _, name := range slices.Sorted(maps.Keys(e.pools)) {
		all = append(all, e.pools[name])
	}
	return all
}

// dirty is the pools that have changed since they were last looked at.
type dirty struct {
	nudge chan struct{} // holds one token when there are some
	used  atomic.Bool   // anybody follows pools at all

	mu    sync.Mutex
	pools map[string]bool
}

// PoolChanged tells that something about a pool has changed. It never blocks.
func (s *Server) PoolChanged(name string) {
	if !s.dirty.used.Load() {
		return
	}
	s.dirty.mu.Lock()
	if s.dirty.pools == nil {
		s.dirty.pools = map[string]bool{}
	}
	s.dirty.pools[name] = true
	s.dirty.mu.Unlock()
	s.wake()
}

func (s *Server) wake() {
	select {
	case s.dirty.nudge <- struct{}{}:
	default:
	}
}

func (d *dirty) take() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.pools
	d.pools = nil
	return all
}

// adopt makes cfg the next edition, and puts it in force if it is ready. The caller holds mu.
func (s *Server) adopt(cfg Config) {
	if cfg.World.Catalog == nil {
		cfg.World.Catalog, _ = zone.NewCatalog()
	}
	now := s.now()
	e := newEdition(cfg)
	if s.current != nil {
		e.inherit(s.current)
	}
	s.dirty.used.Store(len(e.pools) > 0)
	for _, w := range e.pools {
		s.refresh(w, now, nil)
	}
	s.tellOutside(e)
	e.await(now, s.next, s.current)
	s.next = e
	s.promote(now)
	s.wake()
	select {
	case s.outsideNudge <- struct{}{}:
	default:
	}
}

// promote puts the next edition in force if its time has come.
func (s *Server) promote(now time.Duration) {
	e := s.next
	if e == nil || !e.ready(now) {
		return
	}
	s.current, s.next = e, nil
	s.forgetOutside(e)
	s.world.Store(e.world)
	s.queryLog.Store(e.cfg.QueryLog)
	limits := e.cfg.Limits
	if limits.Connections == 0 {
		limits.Connections = 1024
	}
	if limits.PerSource == 0 {
		limits.PerSource = 32
	}
	s.limits.Store(&limits)
	s.open()
}

// keep follows pools until ctx ends.
func (s *Server) keep(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.dirty.nudge:
		case <-timer.C:
		}
		timer.Reset(s.follow(s.dirty.take()))
	}
}

// Longest and shortest time between two looks at a pool.
const (
	followMax = time.Second
	followMin = 10 * time.Millisecond
)

// follow looks at the pools that have changed or are due, and returns how long nothing is due.
func (s *Server) follow(changed map[string]bool) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	next := now + followMax
	for _, e := range []*edition{s.current, s.next} {
		if e == nil {
			continue
		}
		for name, w := range e.pools {
			if changed[name] || w.byLoad || now >= w.next {
				s.refresh(w, now, e)
			}
			next = min(next, w.next)
		}
	}
	s.promote(now)
	if s.next != nil {
		next = min(next, s.next.awaited())
	}
	return max(followMin, next-now)
}

// refresh makes new plans for a pool's slots, and tells what has changed if e is in force.
func (s *Server) refresh(w *watched, now time.Duration, e *edition) {
	var st *steer.State
	if w.pool == nil {
		st, w.next = &steer.State{}, now+followMax
	} else {
		st, w.next = w.pool.State(now)
	}
	w.pending = st.Pending()
	for _, p := range w.slots {
		fresh, before := p.slot.Refresh(now, st)
		if e == nil || e != s.current || fresh.SameAs(before) {
			continue
		}
		s.changes.Add(1)
		s.log.Info("dns answer changed", "name", p.record.Name, "pool", w.name, "mode", fresh.Mode.String(), "addresses", texts(fresh.Hosts()), "ttl", fresh.TTL)
	}
}

// texts writes addresses, as many as a line can hold.
func texts(hosts []netip.Addr) []string {
	const most = 16
	var all []string
	for i, h := range hosts {
		if i == most {
			return append(all, "...")
		}
		all = append(all, h.String())
	}
	return all
}
