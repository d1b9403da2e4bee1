package l4

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/balance"
)

// OnDown says what becomes of a session whose endpoint stops taking new ones.
type OnDown uint8

// The choices. A session of datagrams that is cut goes on with another endpoint.
const (
	Auto  OnDown = iota // Keep for connections, Kill for datagrams
	Keep                // the session goes on
	Drain               // the session goes on for Settings.DrainTime, then it is cut
	Kill                // the session is cut at once
)

// Settings say how a pool's endpoints are talked to. Zero times mean no limit.
type Settings struct {
	Connect   time.Duration // to establish a connection
	Idle      time.Duration // without a byte in either direction
	HalfOpen  time.Duration // without a byte, once one direction has ended; 0 is a minute
	Queue     time.Duration // a connection waits no longer for an endpoint that is not full
	Hold      time.Duration // and for one that is available at all; 0 does not wait
	Attempts  int           // endpoints tried for one session; 0 is 3
	Prefix4   int           // leading bits of an IPv4 source that the hashing algorithms look at; 0 is all
	Prefix6   int
	OnDown    OnDown
	DrainTime time.Duration // see Drain
	Proxy     ProxyVersion  // the PROXY header that the endpoint gets; only ProxyV2 goes before datagrams

	FlowIdle time.Duration // a session of datagrams ends without one in either direction
	// Replies is how many datagrams answer one of a client's: with the last, the session ends, and an endpoint that
	// has sent none at all counts as failed. 0 is not known.
	Replies int

	// Addresses says where endpoints whose address is a name are dialled: "ip:port".
	Addresses map[string]string
}

// dial is where an endpoint is connected to.
func (s *Settings) dial(ep *balance.Endpoint) string {
	if ip, ok := s.Addresses[ep.Address()]; ok {
		return ip
	}
	return ep.Address()
}

// hashOf is the key of the hashing algorithms.
func (s *Settings) hashOf(source netip.AddrPort) uint64 {
	return balance.HashAddr(source.Addr(), s.Prefix4, s.Prefix6)
}

// An Upstream is a pool as sessions see it. It outlives reloads.
type Upstream struct {
	Name string
	Pool *balance.Pool

	settings atomic.Pointer[Settings]
	stats    sync.Map // address → []endpointCounters, one for each worker

	queued, queueFull, queueLate, none, dropped atomic.Uint64
}

// NewUpstream makes an upstream over a pool.
func NewUpstream(name string, p *balance.Pool, s Settings) *Upstream {
	u := &Upstream{Name: name, Pool: p}
	u.Configure(s)
	return u
}

// Configure changes the settings. Sessions keep the ones they began with.
func (u *Upstream) Configure(s Settings) {
	if s.Attempts == 0 {
		s.Attempts = 3
	}
	if s.HalfOpen == 0 {
		s.HalfOpen = time.Minute
	}
	u.settings.Store(&s)
}

// Settings returns the settings in force.
func (u *Upstream) Settings() Settings { return *u.settings.Load() }
