package balance

import (
	"fmt"
	"time"
)

// Role is what an endpoint is among its peers.
type Role uint8

// The roles.
const (
	RoleUnknown Role = iota
	// Primary takes writes.
	Primary
	// Replica follows a primary.
	Replica
)

func (r Role) String() string { return [...]string{"unknown", "primary", "replica"}[r] }

// SetRole takes over what the probe has learned about an endpoint's role. It is
// forgotten when the endpoint goes down. term orders claims to be the primary, if
// the system counts them; 0 if not.
//
// A pool that wants the primary sends requests to one endpoint at most. Of several
// that say they are it, that of the highest term is believed, and among equals the
// one that was it before. That one's successor must have a higher term, or have
// been seen as a replica since: a server that comes back from the dead may still
// take itself for the primary, and what is written to it then is lost, so it is
// not believed even if there is no other. A panic does not lift this.
func (p *Pool) SetRole(e *Endpoint, r Role, term uint64, now time.Duration) {
	p.mu.Lock()
	if r == Replica {
		e.followed = true
	}
	if e.role == r && e.term == term {
		p.mu.Unlock()
		return
	}
	e.role, e.term = r, term
	p.finish(p.appoint(now), now)
}

// Reappoint makes known who was the primary last, as another process has known it.
// It comes before any role is set.
func (p *Pool) Reappoint(e *Endpoint, term uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.term = e, term
}

// Term returns the term of the last primary.
func (p *Pool) Term() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.term
}

// Primary returns the endpoint that is the primary, if the pool wants one and
// there is one.
func (p *Pool) Primary() *Endpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.primary
}

// appoint lets those take requests that have the role that the pool wants. The
// caller holds mu, or the pool is not yet shared.
func (p *Pool) appoint(now time.Duration) (changes []event) {
	if p.last != nil && !p.last.open(gateRemoved) {
		p.last, p.term = nil, 0
	}
	p.primary = p.claimant()
	if p.primary != nil {
		if p.primary != p.last {
			p.last = p.primary
			for _, e := range p.endpoints {
				e.followed = e.role == Replica
			}
		}
		p.term = p.primary.term
	}
	for _, e := range p.endpoints {
		fit := p.fits(e)
		if fit == e.open(gateRole) {
			continue
		}
		e.setGate(gateRole, !fit)
		if p.config.Role != RoleUnknown {
			changes = append(changes, event{e, Change{Kind: RoleChanged, Role: e.role, Fit: fit, Reason: p.unfit(e), At: now}})
		}
	}
	return changes
}

// claimant is the endpoint whose claim to be the primary is believed.
func (p *Pool) claimant() (best *Endpoint) {
	if p.config.Role != Primary {
		return nil
	}
	for _, e := range p.endpoints {
		switch {
		case e.role != Primary || !p.believes(e):
		case best == nil || e.term > best.term || e.term == best.term && e == p.last:
			best = e
		}
	}
	return best
}

// believes reports whether e may be the primary if it says so: the last one, or a
// successor.
func (p *Pool) believes(e *Endpoint) bool {
	switch {
	case p.last == nil || e.term > p.term:
		return true
	case e.term < p.term:
		return false
	}
	return e == p.last || e.followed
}

func (p *Pool) fits(e *Endpoint) bool {
	switch p.config.Role {
	case Primary:
		return e == p.primary
	case Replica:
		return e.role == Replica
	}
	return true
}

// unfit says for people why e has not the role that the pool wants; nothing if it
// has.
func (p *Pool) unfit(e *Endpoint) string {
	switch {
	case p.fits(e):
		return ""
	case e.role == RoleUnknown:
		return "its role is not known"
	case p.config.Role == Replica:
		return "up but no replica"
	case e.role == Replica:
		return "up but not primary"
	case e.term < p.term:
		return fmt.Sprintf("says that it is the primary, but %s is since (%d, this one %d)", p.last.address, p.term, e.term)
	}
	return fmt.Sprintf("says that it is the primary, but %s is, and this one did not follow it", p.last.address)
}
