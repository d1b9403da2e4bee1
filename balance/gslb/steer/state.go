package steer

import (
	"net/netip"
	"time"
)

// Standing is what an endpoint may be used for.
type Standing uint8

// The standings, the best first.
const (
	In         Standing = iota // takes clients
	Awaited                    // no probe has said anything yet
	Out                        // down, or ejected for failing
	Draining                   // keeps the clients it has
	Maintained                 // takes nobody
)

func (s Standing) String() string {
	return [...]string{"in", "awaited", "out", "draining", "in maintenance"}[s]
}

// Endpoint is what is known about one server of a pool.
type Endpoint struct {
	Address  string       // as the pool names it
	Hosts    []netip.Addr // where clients reach it; none if that is no IP address
	Weight   int          // its present one, relative to the others'
	Priority int          // 0 is used first
	Standing Standing
	Reason   string // why it stands so, for people

	Latency  time.Duration // of its answers, a moving average; 0 is not known
	Requests int           // in flight there, as far as this process sends them
}

// State is what is known about a pool at one moment. It is not changed afterwards.
type State struct {
	Endpoints []Endpoint
	Panic     bool // so few are in that the pool uses all
}

// Pending returns how many endpoints wait for their first probe.
func (s *State) Pending() (n int) {
	for i := range s.Endpoints {
		if s.Endpoints[i].Standing == Awaited {
			n++
		}
	}
	return n
}
