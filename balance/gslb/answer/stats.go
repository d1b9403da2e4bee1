package answer

import (
	"sync/atomic"

	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
)

// TypeLabels are the names of what Totals.Types counts.
var TypeLabels = [...]string{"other", "A", "AAAA", "CNAME", "MX", "TXT", "SRV", "HTTPS", "SVCB", "NS", "SOA", "CAA", "PTR", "ANY", "DS"}

// typeSlots finds a type's place among the labels; types from 256 on are looked at apart.
var typeSlots = func() (slots [256]uint8) {
	for i, label := range TypeLabels {
		if t, ok := wire.ParseType(label); ok && t < 256 {
			slots[t] = uint8(i)
		}
	}
	return slots
}()

// caaSlot is where CAA, type 257, stands in TypeLabels.
const caaSlot = 11

func typeSlot(t wire.Type) int {
	switch {
	case t < 256:
		return int(typeSlots[t])
	case t == wire.TypeCAA:
		return caaSlot
	}
	return 0
}

// Policies are the labels of what Totals.Policies counts: how names whose addresses follow pools were answered.
var Policies = [...]string{
	steer.All.String(), steer.One.String(), steer.Weighted.String(), steer.Failover.String(), steer.Hash.String(), "view", "geo",
}

const (
	policyView = len(Policies) - 2
	policyGeo  = len(Policies) - 1
)

// LimitedLabels are the names of what Totals.Limited counts: what became of a query beyond a limit.
var LimitedLabels = [...]string{"dropped", "truncated", "cookie"}

const (
	limitedDrop = iota
	limitedSlip
	limitedCookie
)

// rcodes is one more than the largest code in use.
const rcodes = int(wire.BadCookie) + 1

// stats are what a responder has counted. It alone writes them.
type stats struct {
	types     [len(TypeLabels)]atomic.Uint64
	rcodes    [rcodes]atomic.Uint64
	policies  [len(Policies)]atomic.Uint64
	limited   [len(LimitedLabels)]atomic.Uint64
	transport [2]atomic.Uint64
	ignored   atomic.Uint64
	truncated atomic.Uint64
	proven    atomic.Uint64
	downs     atomic.Uint64
}

// Totals are counts since the start.
type Totals struct {
	Types     [len(TypeLabels)]uint64 // questions
	Rcodes    map[wire.Rcode]uint64   // answers
	Policies  [len(Policies)]uint64
	Limited   [len(LimitedLabels)]uint64
	UDP, TCP  uint64
	Ignored   uint64 // that were no queries, so nobody was answered
	Truncated uint64
	Proven    uint64 // with a cookie of ours
	Downs     uint64 // answered from a pool of which no endpoint was in
}

// AddTo adds the responder's counts. Any goroutine may call it.
func (r *Responder) AddTo(t *Totals) {
	s := &r.stats
	sum := func(to []uint64, from []atomic.Uint64) {
		for i := range from {
			to[i] += from[i].Load()
		}
	}
	sum(t.Types[:], s.types[:])
	sum(t.Policies[:], s.policies[:])
	sum(t.Limited[:], s.limited[:])
	if t.Rcodes == nil {
		t.Rcodes = map[wire.Rcode]uint64{}
	}
	for code := range s.rcodes {
		if n := s.rcodes[code].Load(); n > 0 {
			t.Rcodes[wire.Rcode(code)] += n
		}
	}
	t.UDP += s.transport[0].Load()
	t.TCP += s.transport[1].Load()
	t.Ignored += s.ignored.Load()
	t.Truncated += s.truncated.Load()
	t.Proven += s.proven.Load()
	t.Downs += s.downs.Load()
}
