package l7

import (
	"crypto/tls"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/fault/retry"
)

// An Upstream is a pool as HTTP sees it: the pool itself, and how its endpoints are talked to. It outlives
// reloads; Configure changes its settings while requests run.
type Upstream struct {
	Name   string
	Pool   *balance.Pool
	Budget *retry.Budget

	settings atomic.Pointer[UpstreamSettings]
	learned  *learned
	counters poolCounters

	mu        sync.Mutex
	endpoints map[string]*endpointStats // by address
}

// endpointStats are the counters of one endpoint over all workers.
type endpointStats struct {
	workers []*endpointCounters
}

// UpstreamSettings say how the endpoints of a pool are talked to. Zero times mean no limit.
type UpstreamSettings struct {
	Hash     Hash
	Affinity Affinity

	Connect   time.Duration // to establish a connection
	FirstByte time.Duration // from the request sent to the head of the answer
	IdleIO    time.Duration // without a byte of the answer's body from the endpoint, or taken by it of the request's
	Tunnel    time.Duration // without a byte in either direction, after an upgrade
	KeepAlive time.Duration // an idle connection is kept no longer; below the endpoints' own limit
	MaxIdle   int           // idle connections kept for each endpoint and event loop
	Queue     time.Duration // a request waits no longer for a free endpoint
	Hold      time.Duration // a request waits so long when no endpoint is available; 0 is not at all
	Stall     bool          // move requests off an endpoint that has stopped answering
	Guards    Guards

	// TLS returns how endpoints are spoken to under TLS: the name that certificates must be for, unless it is each
	// endpoint's own, the authorities, our certificate, the oldest version. What it returns may change from one call to
	// the next, as files are renewed; connections that are opened from then on follow. If it is nil, plain text is spoken.
	TLS func() *tls.Config

	// HTTP2 speaks HTTP/2 to the endpoints: under TLS if they agree, in plain text from the first byte on. Requests that
	// ask for a switch of protocols go by HTTP/1.1.
	HTTP2 bool
	Ping  time.Duration // without a byte of HTTP/2 while answers are owed: then a sign of life is asked for

	// Addresses says where endpoints whose address is a name are dialled: "ip:port".
	Addresses map[string]string
}

// Hash says what the hashing algorithms look at.
type Hash struct {
	Key     HashKey
	Name    string // of the header, cookie or query parameter
	Prefix4 int    // leading bits of an IPv4 source address that count; 0 is all 32
	Prefix6 int    // leading bits of an IPv6 source address that count; 0 is all 128
}

// HashKey is a part of a request.
type HashKey uint8

// The parts that can be hashed.
const (
	HashSource HashKey = iota
	HashHeader
	HashCookie
	HashQuery
	HashPath
	HashHost
)

// NewUpstream makes an upstream over a pool.
func NewUpstream(name string, p *balance.Pool, b *retry.Budget, s UpstreamSettings) *Upstream {
	u := &Upstream{Name: name, Pool: p, Budget: b, learned: newLearned(), endpoints: map[string]*endpointStats{}}
	u.Configure(s)
	return u
}

// Configure changes the settings. Requests in progress keep the ones they began with.
func (u *Upstream) Configure(s UpstreamSettings) {
	if s.Hash.Prefix4 == 0 {
		s.Hash.Prefix4 = 32
	}
	if s.Hash.Prefix6 == 0 {
		s.Hash.Prefix6 = 128
	}
	u.settings.Store(&s)
}

// Settings returns the settings in force.
func (u *Upstream) Settings() UpstreamSettings { return *u.settings.Load() }

// endpointStats returns a worker's counters of an endpoint.
func (u *Upstream) endpointStats(w *worker, ep *balance.Endpoint) *endpointCounters {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.endpoints[ep.Address()]
	if s == nil {
		s = &endpointStats{workers: make([]*endpointCounters, len(w.srv.workers))}
		u.endpoints[ep.Address()] = s
	}
	if s.workers[w.ID] == nil {
		s.workers[w.ID] = &endpointCounters{}
	}
	return s.workers[w.ID]
}

// of computes the hash of a request.
func (h *Hash) of(req *http1.Request, host []byte, source netip.Addr) uint64 {
	switch h.Key {
	case HashHeader:
		for i := range req.Fields {
			if equalFold(req.Fields[i].Name, h.Name) {
				return balance.HashBytes(req.Fields[i].Value)
			}
		}
	case HashCookie:
		if v := cookieValue(req, h.Name); v != nil {
			return balance.HashBytes(v)
		}
	case HashQuery:
		if v := queryValue(req.Query, h.Name); v != nil {
			return balance.HashBytes(v)
		}
	case HashPath:
		return balance.HashBytes(req.Path)
	case HashHost:
		return balance.HashBytes(host)
	}
	// A request without the key is spread by its source, so that it too stays with one endpoint.
	return balance.HashAddr(source, h.Prefix4, h.Prefix6)
}
