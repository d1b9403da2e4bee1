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
// one that was it before: a primary that comes back from the dead does not know
// that another has taken its place. A panic does not lift this.
func (p *Pool) SetRole(e *Endpoint, r Role, term uint64, now time.Duration) {
	p.mu.Lock()
	if e.role == r && e.term == term {
		p.mu.Unlock()
		return
	}
	e.role, e.term = r, term
	p.finish(p.appoint(now), now)
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
	p.primary = p.claimant()
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
		case e.role != Primary:
		case best == nil || e.term > best.term || e.term == best.term && e == p.primary:
			best = e
		}
	}
	return best
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
	case e.role == Primary && p.config.Role == Primary && p.primary.term > e.term:
		return fmt.Sprintf("says that it is the primary, but %s is since (%d, this one %d)", p.primary.address, p.primary.term, e.term)
	case e.role == Primary && p.config.Role == Primary:
		return fmt.Sprintf("says that it is the primary, but %s is already", p.primary.address)
	case p.config.Role == Primary:
		return "up but not primary"
	}
	return "up but no replica"
}
