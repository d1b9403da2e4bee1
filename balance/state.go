package balance

import (
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/fault/outlier"
)

// SetHealth takes the verdict of active probes over. An endpoint that comes up
// after it was down starts slowly, and an ejection from that time ends.
func (p *Pool) SetHealth(e *Endpoint, h Health, reason string, now time.Duration) {
	p.mu.Lock()
	e.healthReason = reason
	awaited := e.gate.Load()&gateAwaited != 0
	if h == e.health && !awaited {
		p.mu.Unlock()
		return
	}
	was := e.health
	e.health, e.healthSince = h, now
	e.setGate(gateDown, h == Down)
	e.setGate(gateAwaited, false)
	changes := []event{{e, Change{Kind: HealthChanged, Health: h, Reason: reason, At: now}}}
	if h == Down {
		e.role, e.term = RoleUnknown, 0 // who is down is nothing until it says so again
	}
	changes = append(changes, p.appoint(now)...)
	if was == Down && h == Up {
		e.startSlowly(now)
		if e.gate.Load()&gateEjected != 0 {
			changes = append(changes, e.parole("its probes succeed again", now))
		}
	}
	if awaited && h == Up {
		e.startSlowly(now)
	}
	p.finish(changes, now)
}

// SetAdmin takes the administrator's wish over. An endpoint that comes back
// from maintenance starts slowly, with a clean record.
func (p *Pool) SetAdmin(e *Endpoint, a Admin, now time.Duration) {
	p.mu.Lock()
	if a == e.admin {
		p.mu.Unlock()
		return
	}
	if e.admin == Maintenance {
		e.acquit()
		e.startSlowly(now)
	}
	e.admin, e.adminSince = a, now
	e.setGate(gateDrain, a == Drain)
	e.setGate(gateMaintenance, a == Maintenance)
	p.finish([]event{{e, Change{Kind: AdminChanged, Admin: a, At: now}}}, now)
}

// SetWeight changes an endpoint's weight at run time. The error says that the
// weight is not between 1 and MaxWeight.
func (p *Pool) SetWeight(e *Endpoint, weight int, now time.Duration) error {
	if weight < 1 || weight > MaxWeight {
		return fmt.Errorf("endpoint %s: weight %d is not between 1 and %d", e.address, weight, MaxWeight)
	}
	p.mu.Lock()
	e.weight.Store(uint32(weight))
	p.finish([]event{{e, Change{Kind: WeightChanged, Weight: weight, At: now}}}, now)
	return nil
}

// paroleEvery limits how often ejections are cut short.
const paroleEvery = time.Second

// eject holds a suspicion against e and reports whether e is out.
func (p *Pool) eject(e *Endpoint, s outlier.Suspicion, now time.Duration) bool {
	p.mu.Lock()
	if gate := e.gate.Load(); gate&(gateEjected|gateRemoved) != 0 {
		p.mu.Unlock()
		return gate&gateEjected != 0
	}
	c := p.config.Outlier
	if !s.Conclusive() && !c.Convicts(s, p.peers(e, now)) {
		p.mu.Unlock()
		return false
	}
	ejected, available := p.census(e)
	if !c.MayEject(s.Cause, ejected, available, len(p.endpoints)) {
		p.spare(available, now)
		return false
	}
	e.ejectedUntil = e.record.Eject(s, now)
	e.setGate(gateEjected, true)
	e.setGate(gateProbation, false)
	e.setLimit()
	e.ramping = false
	p.finish([]event{{e, Change{Kind: Ejected, Until: e.ejectedUntil, Reason: e.record.State().Reason, At: now}}}, now)
	return true
}

// spare answers evidence against an endpoint that may not be ejected, and
// unlocks mu. If it is the last one available, nobody is known to do better: the
// ejected ones are given a chance.
func (p *Pool) spare(available int, now time.Duration) {
	if available > 1 || now-p.paroled < paroleEvery || p.config.Outlier.Disabled {
		p.mu.Unlock()
		return
	}
	var changes []event
	for _, e := range p.endpoints {
		if e.gate.Load()&gateEjected != 0 {
			changes = append(changes, e.parole("the last one available fails as well", now))
		}
	}
	if len(changes) == 0 {
		p.mu.Unlock()
		return
	}
	p.paroled = now
	p.finish(changes, now)
}

// census counts the ejected endpoints and the available ones, e among them. One on probation, which takes a request
// at a time, could not do the work of the others and is neither.
func (p *Pool) census(e *Endpoint) (ejected, available int) {
	for _, o := range p.endpoints {
		gate := o.gate.Load()
		switch {
		case gate&gateEjected != 0:
			ejected++
		case o == e, o.open(gateAll) && gate&gateProbation == 0:
			available++
		}
	}
	return ejected, available
}

// maxPeers bounds the number of endpoints that one is compared with.
const maxPeers = 256

// peers sums up how others have done within the window: all, or in a large pool
// the next few hundred by order.
func (p *Pool) peers(e *Endpoint, now time.Duration) (sum outlier.Sample) {
	n := len(p.endpoints)
	start := scale(e.hash, n)
	for i := range min(n, maxPeers) {
		if o := p.endpoints[(start+i)%n]; o != e {
			s := o.record.Sample(now)
			sum.Failures += s.Failures
			sum.Requests += s.Requests
		}
	}
	return sum
}

// trust ends the probation that e has passed.
func (p *Pool) trust(e *Endpoint, now time.Duration) {
	p.mu.Lock()
	if e.gate.Load()&(gateEjected|gateProbation) != gateProbation {
		p.mu.Unlock()
		return
	}
	e.setGate(gateProbation, false)
	e.setLimit()
	e.startSlowly(now)
	p.finish([]event{{e, Change{Kind: Trusted, At: now}}}, now)
}
