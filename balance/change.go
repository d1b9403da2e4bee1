package balance

import "time"

// ChangeKind says what has changed.
type ChangeKind uint8

// The changes.
const (
	// HealthChanged: the probes' verdict is another.
	HealthChanged ChangeKind = iota
	// AdminChanged: the administrator wants something else.
	AdminChanged
	// WeightChanged at run time.
	WeightChanged
	// Ejected for failing requests, until Change.Until.
	Ejected
	// OnProbation: the ejection has ended; one request at a time.
	OnProbation
	// Trusted: the probation is passed.
	Trusted
	// RoleChanged: the endpoint has come to have the role that the pool wants, or
	// has lost it.
	RoleChanged
	// Added to the running pool.
	Added
	// Removed from the pool.
	Removed
	// PanicBegan: too few endpoints are available, so all are used. The
	// endpoint is nil.
	PanicBegan
	// PanicEnded: enough are available again. The endpoint is nil.
	PanicEnded
)

func (k ChangeKind) String() string {
	return [...]string{"health", "admin", "weight", "ejected", "probation", "trusted", "role", "added", "removed", "panic", "panic_ended"}[k]
}

// Change tells of a change in an endpoint's or the pool's state.
type Change struct {
	Kind   ChangeKind
	Health Health        // after HealthChanged
	Admin  Admin         // after AdminChanged
	Weight int           // after WeightChanged
	Role   Role          // after RoleChanged: what the endpoint says it is
	Fit    bool          // after RoleChanged: it has the role that the pool wants
	Until  time.Duration // end of the ejection, after Ejected
	Reason string        // for people; may be empty
	At     time.Duration
}

type event struct {
	endpoint *Endpoint
	change   Change
}

func panicChange(began bool, now time.Duration) Change {
	if began {
		return Change{Kind: PanicBegan, Reason: "too few endpoints are available; using all", At: now}
	}
	return Change{Kind: PanicEnded, At: now}
}

func announce(on func(*Endpoint, Change), events []event) {
	if on == nil {
		return
	}
	for _, e := range events {
		on(e.endpoint, e.change)
	}
}
