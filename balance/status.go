package balance

import (
	"fmt"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/fault/outlier"
)

// Status is all that is known about an endpoint, at one moment.
type Status struct {
	Address string
	Key     string
	// Available: takes requests like any other.
	Available bool
	// Reason says for people why the endpoint is not available, or takes less
	// than its share; empty if neither is so.
	Reason string

	Health       Health
	HealthReason string        // as the probe said it
	HealthSince  time.Duration // when the verdict was first given
	Awaited      bool          // joined a probed pool; no verdict yet
	Role         Role          // as the probe said it
	Term         uint64        // of its claim to be the primary; see SetRole
	Unfit        string        // why its role is not the one that the pool wants; empty if it is
	LastPrimary  bool          // the pool wants the primary, and this is it, or was it last
	Admin        Admin
	AdminSince   time.Duration
	Outlier      outlier.State
	Removed      bool
	RunTime      bool // added at run time; no configuration names it

	Weight     int
	RampTenths int // tenths of the weight that count, 10 but in a slow start
	Priority   int

	InFlight    int
	MaxRequests int // 0 is no limit
	Latency     time.Duration
	StallAfter  time.Duration
}

// Status returns all that is known about the endpoint.
func (e *Endpoint) Status(now time.Duration) Status {
	p := e.pool
	p.current(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{
		Address:      e.address,
		Key:          e.Key(),
		Available:    e.open(gateAll),
		Health:       e.health,
		HealthReason: e.healthReason,
		HealthSince:  e.healthSince,
		Awaited:      !e.open(gateAwaited),
		Role:         e.role,
		Term:         e.term,
		Unfit:        p.unfit(e),
		LastPrimary:  e == p.last,
		Admin:        e.admin,
		AdminSince:   e.adminSince,
		Outlier:      e.record.State(),
		Removed:      !e.open(gateRemoved),
		RunTime:      e.runtime,
		Weight:       e.Weight(),
		RampTenths:   int(e.step(now, p.config.SlowStart)),
		Priority:     e.Priority(),
		InFlight:     e.InFlight(),
		MaxRequests:  e.config.MaxRequests,
		Latency:      e.Latency(),
		StallAfter:   e.StallAfter(),
	}
	s.Reason = strings.Join(s.reasons(now), "; ")
	return s
}

// reasons lists what keeps requests away, the weightiest first.
func (s *Status) reasons(now time.Duration) (why []string) {
	add := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	if s.Removed {
		add("removed from the pool")
	}
	switch s.Admin {
	case Maintenance:
		add("in maintenance for %v", round(now-s.AdminSince))
	case Drain:
		add("draining for %v: only its sessions", round(now-s.AdminSince))
	}
	if s.Health == Down {
		add("down for %v: %s", round(now-s.HealthSince), s.HealthReason)
	}
	if s.Awaited {
		add("waiting for its first probe")
	}
	if s.Unfit != "" && s.Health != Down {
		add("%s", s.Unfit)
	}
	switch s.Outlier.Standing {
	case outlier.Ejected:
		add("ejected for %v more: %s", round(s.Outlier.Until-now), s.Outlier.Reason)
	case outlier.Probation:
		add("on probation, %d more successes needed: was ejected because %s", s.Outlier.Remaining, s.Outlier.Reason)
	}
	if s.RampTenths < rampSteps {
		add("slow start at %d0 %% of its weight", s.RampTenths)
	}
	return why
}

// round drops the digits that nobody reads.
func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}
