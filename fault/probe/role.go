package probe

import "context"

// Role is what an endpoint is among its peers.
type Role uint8

// The roles.
const (
	RoleUnknown Role = iota // nobody has asked, or the endpoint does not say
	RolePrimary             // takes writes
	RoleReplica             // follows a primary
)

func (r Role) String() string { return [...]string{"unknown", "primary", "replica"}[r] }

// Answer is what a [Ranker] has learned.
type Answer struct {
	// Detail is for people, as that of [Check.Do].
	Detail string
	// Role is what the endpoint says it is.
	Role Role
	// Term orders claims to be the primary: of two, that of the higher term is the
	// later one. It is 0 for systems that do not count.
	Term uint64
}

// A Ranker is a Check that also learns what an endpoint is among its peers. A
// [Prober] whose check is one reports it.
type Ranker interface {
	Check
	// Rank is Do that tells the role as well.
	Rank(ctx context.Context, t Target) (Answer, error)
}
