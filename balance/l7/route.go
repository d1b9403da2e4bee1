package l7

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"github.com/trivet-ha/trivet/fault/hedge"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/shed"
)

// A Route says which requests it is for, and what is done with them. Exactly one of Upstream, Split,
// Redirect and Respond is set. It is immutable once it is part of a Listener.
type Route struct {
	Name  string
	Match Match

	Upstream *Upstream
	Split    []Share
	Redirect *Redirect
	Respond  *Respond

	Rewrite         Rewrite
	RequestHeaders  HeaderOps
	ResponseHeaders HeaderOps

	Timeout   time.Duration // the whole request, all attempts; 0 is no limit
	PerTry    time.Duration // one attempt, up to the head of its answer; 0 is no limit
	FirstByte time.Duration // instead of the pool's; 0 takes the pool's
	Retry     retry.Policy  // the zero Policy retries with its defaults; Attempts 1 does not
	Budget    *retry.Budget // nil takes the pool's

	Limits   []RateLimit
	Priority shed.Priority
	Hedge    *hedge.Hedge // second attempts for requests that take long; nil makes none
	Fallback *Fallback
	Inject   *Inject // faults on purpose; nil injects none

	BodyMax int64    // instead of the listener's; 0 takes the listener's
	Upgrade []string // protocols that a client may switch to, in lower case
	Access  Access

	splitSum uint64
	stats    *routeStats

	// Fields that the route takes out of heads are taken out of trailers too; nil if there are none.
	dropRequest, dropAnswer func(name []byte) bool
}

// A Share is one pool's part of a split route.
type Share struct {
	Upstream *Upstream
	Weight   uint64
}

// Redirect answers with a Location.
type Redirect struct {
	Status   int
	Location *Template
}

// Respond answers with a fixed text.
type Respond struct {
	Status  int
	Type    string // Content-Type; empty is text/plain
	Body    []byte
	Headers HeaderOps
}

// Match holds the conditions of a route; all that are set must hold. The zero Match matches every request.
type Match struct {
	Hosts      []string // lower case; "*.example.com" matches any name below; empty matches all
	Path       string
	PathPrefix string // in whole segments: /api is not the beginning of /apix
	PathRegexp *regexp.Regexp
	Methods    []string
	Headers    []FieldMatch
	Query      []FieldMatch
	Sources    []netip.Prefix
}

// FieldMatch is a condition on a header field or query parameter: with a value, by pattern, or present.
type FieldMatch struct {
	Name   string
	Value  string
	Regexp *regexp.Regexp
	Kind   FieldKind
}

// FieldKind says which part of a FieldMatch counts.
type FieldKind uint8

// The kinds of FieldMatch.
const (
	FieldEquals FieldKind = iota
	FieldMatches
	FieldPresent
	FieldAbsent
)

// Rewrite changes the path before a request is forwarded. At most one of its members is set.
type Rewrite struct {
	Path        string // the new path
	StripPrefix string
	Regexp      *regexp.Regexp // with Replace in regexp.Expand's syntax
	Replace     string
}

// HeaderOps are done in the order remove, set, add.
type HeaderOps struct {
	Remove []string
	Set    []HeaderOp
	Add    []HeaderOp
}

// HeaderOp is a field and the template of its value.
type HeaderOp struct {
	Name  string
	Value *Template
}

func (o *HeaderOps) empty() bool { return len(o.Remove)+len(o.Set)+len(o.Add) == 0 }

// drops reports whether the original field of that name does not pass.
func (o *HeaderOps) drops(name []byte) bool {
	for _, n := range o.Remove {
		if equalFold(name, n) {
			return true
		}
	}
	for i := range o.Set {
		if equalFold(name, o.Set[i].Name) {
			return true
		}
	}
	return false
}

func (r *Route) check() error {
	actions := 0
	for _, set := range []bool{r.Upstream != nil, len(r.Split) > 0, r.Redirect != nil, r.Respond != nil} {
		if set {
			actions++
		}
	}
	if actions != 1 {
		return fmt.Errorf("route %s: needs exactly one action, has %d", r.Name, actions)
	}
	if !r.RequestHeaders.empty() {
		r.dropRequest = r.RequestHeaders.drops
	}
	if !r.ResponseHeaders.empty() {
		r.dropAnswer = r.ResponseHeaders.drops
	}
	r.Retry = r.Retry.WithDefaults()
	if err := r.Retry.Check(); err != nil {
		return fmt.Errorf("route %s: %w", r.Name, err)
	}
	r.splitSum = 0
	for _, s := range r.Split {
		r.splitSum += s.Weight
	}
	if len(r.Split) > 0 && r.splitSum == 0 {
		return errors.New("route " + r.Name + ": the weights of its split are all zero")
	}
	return nil
}

// upgradesTo reports whether a client may switch to the protocol.
func (r *Route) upgradesTo(protocol []byte) bool {
	for _, p := range r.Upgrade {
		if equalFold(protocol, p) {
			return true
		}
	}
	return false
}

// upstream chooses the pool of a request.
func (r *Route) upstream(random uint64) *Upstream {
	if r.Upstream != nil || len(r.Split) == 0 {
		return r.Upstream
	}
	at := random % r.splitSum
	for i := range r.Split {
		if s := &r.Split[i]; at < s.Weight {
			return s.Upstream
		} else {
			at -= s.Weight
		}
	}
	return r.Split[0].Upstream
}
