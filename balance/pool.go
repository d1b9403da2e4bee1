package balance

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Pool is a set of endpoints that serve the same requests. All methods may be
// called concurrently.
//
// State is changed under mu, and then view is marked as stale: the next Pick
// builds a new one, so that a thousand changes at a time cost one build. An
// endpoint's gate is closed at once, and Pick looks at the gate last: no view is
// old enough to send a request to an endpoint that is out.
type Pool struct {
	view       atomic.Pointer[view]
	nextChange atomic.Int64 // time.Duration from which view is stale

	stallRequests atomic.Int64 // StallConfig.Requests
	scouts        atomic.Pointer[scouts]

	_        [64]byte // what follows is written by every request
	inFlight atomic.Int64
	turn     atomic.Uint64 // of the rotation
	draws    atomic.Uint64 // random numbers made for requests without one
	_        [64]byte

	queue queue

	mu        sync.Mutex
	config    Config // with defaults; Endpoints is nil
	endpoints []*Endpoint
	byAddress map[string]*Endpoint
	byKey     map[uint64]*Endpoint // replaced as a whole; views share it
	layouts   map[int]*layout      // by priority
	paroled   time.Duration        // when ejections were last cut short
	primary   *Endpoint            // if the pool wants one and there is one
	last      *Endpoint            // who was the primary last, also while it is down
	term      uint64               // of the last primary
}

// stale is the value of nextChange that makes the next Pick build a view.
const stale = math.MinInt64

// New returns a pool. Its endpoints' health is unknown and they start at their
// full weight. The error names everything that is wrong with cfg.
func New(cfg Config, now time.Duration) (*Pool, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	p := &Pool{byAddress: map[string]*Endpoint{}, layouts: map[int]*layout{}, paroled: now - paroleEvery}
	p.turn.Store(cfg.Seed)
	for _, c := range cfg.Endpoints {
		p.insert(newEndpoint(p, c, cfg.Outlier, now))
	}
	p.adopt(cfg)
	p.rekey()
	p.appoint(now)
	v, next := p.build(now)
	p.view.Store(v)
	p.nextChange.Store(int64(next))
	return p, nil
}

func (p *Pool) insert(e *Endpoint) {
	p.endpoints = append(p.endpoints, e)
	p.byAddress[e.address] = e
}

// adopt takes the settings over that are not endpoints'.
func (p *Pool) adopt(cfg Config) {
	if cfg.OnChange == nil {
		cfg.OnChange = p.config.OnChange
	}
	cfg.Endpoints = nil
	p.config = cfg
	p.stallRequests.Store(int64(cfg.Stall.Requests))
}

// rekey builds what depends on the set of endpoints.
func (p *Pool) rekey() {
	byKey := make(map[uint64]*Endpoint, len(p.endpoints))
	for _, e := range p.endpoints {
		byKey[e.key] = e
	}
	p.byKey = byKey
}

// Update takes a new configuration over. An endpoint whose address stays keeps
// its identity and its state: health, administration, ejection, requests in
// flight, latency, slow start. So do wishes made at run time: a weight, until
// the configuration's changes; an added endpoint, until it is removed. New
// endpoints start slowly. On an error nothing has changed.
func (p *Pool) Update(cfg Config, now time.Duration) error {
	if err := cfg.Check(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	p.mu.Lock()
	kept := p.addedAtRunTime(cfg.Endpoints)
	if n := len(cfg.Endpoints) + len(kept); n > MaxEndpoints {
		p.mu.Unlock()
		return fmt.Errorf("pool %s: %d endpoints, with those added at run time, are more than %d", cfg.Name, n, MaxEndpoints)
	}
	p.adopt(cfg)
	changes := p.replace(cfg.Endpoints, kept, now)
	for _, e := range p.endpoints {
		p.conform(e)
	}
	p.finish(append(changes, p.appoint(now)...), now)
	return nil
}

// addedAtRunTime lists the endpoints that no configuration has named, nor does
// the one that lists next.
func (p *Pool) addedAtRunTime(next []EndpointConfig) (kept []*Endpoint) {
	for _, e := range p.endpoints {
		if e.runtime && !slices.ContainsFunc(next, func(c EndpointConfig) bool { return c.Address == e.address }) {
			kept = append(kept, e)
		}
	}
	return kept
}

// replace makes next and kept the pool's endpoints.
func (p *Pool) replace(next []EndpointConfig, kept []*Endpoint, now time.Duration) (changes []event) {
	old := p.byAddress
	p.endpoints, p.byAddress = nil, make(map[string]*Endpoint, len(next))
	for _, c := range next {
		e := old[c.Address]
		if e == nil {
			e = p.join(c, now)
			changes = append(changes, event{e, Change{Kind: Added, At: now}})
		} else {
			e.reconfigure(c)
		}
		p.insert(e)
	}
	for _, e := range kept {
		p.insert(e)
	}
	for address, e := range old {
		if p.byAddress[address] != e {
			e.setGate(gateRemoved, true)
			changes = append(changes, event{e, Change{Kind: Removed, At: now}})
		}
	}
	p.rekey()
	p.layouts = p.layoutsInUse()
	return changes
}

func (p *Pool) layoutsInUse() map[int]*layout {
	used := map[int]*layout{}
	for _, e := range p.endpoints {
		if l := p.layouts[e.Priority()]; l != nil {
			used[e.Priority()] = l
		}
	}
	return used
}

// reconfigure takes a new configuration of the endpoint over. A weight set at
// run time gives way only to one that has changed.
func (e *Endpoint) reconfigure(c EndpointConfig) {
	weight := e.weight.Load()
	changed := c.Weight != e.config.Weight
	e.runtime = false
	e.configure(c)
	if !changed {
		e.weight.Store(weight)
	}
}

// join makes an endpoint that comes into the running pool.
func (p *Pool) join(c EndpointConfig, now time.Duration) *Endpoint {
	e := newEndpoint(p, c, p.config.Outlier, now)
	e.setGate(gateAwaited, p.config.Probed)
	e.startSlowly(now)
	return e
}

// conform makes an endpoint's state agree with the pool's settings.
func (p *Pool) conform(e *Endpoint) {
	e.record.SetConfig(p.config.Outlier)
	if !p.config.Probed {
		e.setGate(gateAwaited, false)
	}
	if p.config.Outlier.Disabled {
		e.acquit()
	}
	if p.config.SlowStart == 0 {
		e.ramping = false
	}
}

// Add puts an endpoint into the pool at run time.
func (p *Pool) Add(c EndpointConfig, now time.Duration) (*Endpoint, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	if err := p.mayAdd(c.Address); err != nil {
		p.mu.Unlock()
		return nil, err
	}
	e := p.join(c, now)
	e.runtime = true
	p.endpoints = slices.Clone(p.endpoints) // views share the old one
	p.insert(e)
	p.rekey()
	changes := []event{{e, Change{Kind: Added, At: now}}}
	p.finish(append(changes, p.appoint(now)...), now)
	return e, nil
}

func (p *Pool) mayAdd(address string) error {
	if p.byAddress[address] != nil {
		return fmt.Errorf("add endpoint %s: pool %s has it already", address, p.config.Name)
	}
	if p.byKey[keyOf(address)] != nil {
		return fmt.Errorf("add endpoint %s: another of pool %s has the same key", address, p.config.Name)
	}
	if len(p.endpoints) >= MaxEndpoints {
		return fmt.Errorf("add endpoint %s: pool %s has %d already", address, p.config.Name, MaxEndpoints)
	}
	return nil
}

// Remove takes an endpoint out of the pool at run time. Its requests in flight
// go on; their Done is still due.
func (p *Pool) Remove(address string, now time.Duration) error {
	p.mu.Lock()
	e := p.byAddress[address]
	if e == nil {
		p.mu.Unlock()
		return fmt.Errorf("remove endpoint %s: pool %s does not have it", address, p.config.Name)
	}
	delete(p.byAddress, address)
	p.endpoints = slices.DeleteFunc(slices.Clone(p.endpoints), func(o *Endpoint) bool { return o == e })
	p.rekey()
	e.setGate(gateRemoved, true)
	changes := []event{{e, Change{Kind: Removed, At: now}}}
	p.finish(append(changes, p.appoint(now)...), now)
	return nil
}

// Name returns the pool's name.
func (p *Pool) Name() string { return p.view.Load().config.Name }

// Algorithm returns the pool's algorithm.
func (p *Pool) Algorithm() Algorithm { return p.view.Load().config.Algorithm }

// InFlight returns the number of requests that hold a place in the pool.
func (p *Pool) InFlight() int { return int(p.inFlight.Load()) }

// Endpoints returns the endpoints, those of the configuration first and in its
// order. The slice must not be modified.
func (p *Pool) Endpoints() []*Endpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.endpoints
}

// ByKey returns the endpoint with that [Endpoint.Key], or nil.
func (p *Pool) ByKey(key []byte) *Endpoint {
	k, ok := parseKey(key)
	if !ok {
		return nil
	}
	return p.view.Load().byKey[k]
}

// ByAddress returns the endpoint with that address, or nil.
func (p *Pool) ByAddress(address string) *Endpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byAddress[address]
}

// Available returns how many endpoints are available.
func (p *Pool) Available(now time.Duration) int { return p.current(now).available }

// Panicking reports whether so few endpoints are available that all are used.
func (p *Pool) Panicking(now time.Duration) bool { return p.current(now).panicking }

// Tick does what is due by time alone: ejections end, slow starts step on. Pick
// does so too; a pool whose requests all wait needs someone to call Tick, at
// about the time it returns.
func (p *Pool) Tick(now time.Duration) (next time.Duration) {
	p.current(now)
	return time.Duration(p.nextChange.Load())
}

// current returns a view that is not stale.
func (p *Pool) current(now time.Duration) *view {
	if int64(now) >= p.nextChange.Load() {
		p.mu.Lock()
		p.rebuild(now)
	}
	return p.view.Load()
}

// refresh builds a new view unless another goroutine is at it.
func (p *Pool) refresh(now time.Duration) {
	if p.mu.TryLock() {
		p.rebuild(now)
	}
}

// rebuild replaces the view and unlocks mu.
func (p *Pool) rebuild(now time.Duration) {
	changes := p.endEjections(now)
	old := p.view.Load()
	v, next := p.build(now)
	p.view.Store(v)
	p.nextChange.Store(int64(next))
	if v.panicking != old.panicking {
		changes = append(changes, event{nil, panicChange(v.panicking, now)})
	}
	on := p.config.OnChange
	p.mu.Unlock()
	announce(on, changes)
	p.dispatch(now)
}

// finish marks the view as stale, unlocks mu and tells of what has changed.
func (p *Pool) finish(changes []event, now time.Duration) {
	p.nextChange.Store(stale)
	on := p.config.OnChange
	p.mu.Unlock()
	announce(on, changes)
	if p.queue.pending.Load() > 0 {
		p.current(now)
	}
}

// endEjections puts on probation whose time is up.
func (p *Pool) endEjections(now time.Duration) (changes []event) {
	for _, e := range p.endpoints {
		if e.gate.Load()&gateEjected != 0 && now >= e.ejectedUntil {
			changes = append(changes, e.parole("ejection is over", now))
		}
	}
	return changes
}

// parole ends the ejection and puts the endpoint on probation.
func (e *Endpoint) parole(reason string, now time.Duration) event {
	e.record.Release()
	e.setGate(gateProbation, true)
	e.setLimit()
	e.setGate(gateEjected, false)
	return event{e, Change{Kind: OnProbation, Reason: reason, At: now}}
}

// acquit forgets all evidence against the endpoint.
func (e *Endpoint) acquit() {
	e.record.Reset()
	e.setGate(gateEjected|gateProbation, false)
	e.setLimit()
}
