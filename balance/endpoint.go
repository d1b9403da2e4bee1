package balance

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/fault/outlier"
)

// Health is what active probes say.
type Health uint8

// The verdicts.
const (
	HealthUnknown Health = iota
	Up
	Down
)

func (h Health) String() string { return [...]string{"unknown", "up", "down"}[h] }

// Admin is what the administrator wants.
type Admin uint8

// The administrator's wishes.
const (
	// Ready: takes requests.
	Ready Admin = iota
	// Drain: takes only requests that prefer it, those of its sessions.
	Drain
	// Maintenance: takes none.
	Maintenance
)

func (a Admin) String() string { return [...]string{"ready", "drain", "maintenance"}[a] }

// Why an endpoint may be closed to requests. A Pick names those that hold for
// it; an endpoint with any of them is passed by.
const (
	gateRemoved uint32 = 1 << iota
	gateMaintenance
	gateDrain
	gateDown
	gateEjected
	gateAwaited // joined a probed pool and has no verdict yet
	gateRole    // has not the role that the pool wants

	// gateProbation closes nothing; it says that the limit is probation's.
	gateProbation

	gateAll   = gateRemoved | gateMaintenance | gateDrain | gateDown | gateEjected | gateAwaited | gateRole
	gateAdmin = gateRemoved | gateMaintenance | gateDrain | gateRole // orders, as against verdicts
	gatePanic = gateRemoved | gateMaintenance | gateRole
)

// noLimit is the effective limit of an endpoint without one.
const noLimit = math.MaxInt64

// Endpoint is one server of a pool. It stays the same object for as long as its
// address belongs to the pool, also over Update.
type Endpoint struct {
	// What every request reads or writes, on one cache line.
	inFlight atomic.Int64
	limit    atomic.Int64 // of inFlight, by configuration and probation
	gate     atomic.Uint32
	weight   atomic.Uint32
	latency  peakLatency
	stall    silence

	record  *outlier.Record
	pool    *Pool
	address string
	key     uint64
	hash    uint64

	priority atomic.Int64

	// The pool's mu guards the rest.
	config       EndpointConfig // as the file says
	runtime      bool           // added at run time; no file names it
	health       Health
	healthReason string
	healthSince  time.Duration
	role         Role
	term         uint64
	followed     bool // was a replica since the last primary was appointed
	admin        Admin
	adminSince   time.Duration
	ejectedUntil time.Duration
	rampFrom     time.Duration // beginning of its slow start
	ramping      bool
}

func newEndpoint(p *Pool, c EndpointConfig, o outlier.Config, now time.Duration) *Endpoint {
	e := &Endpoint{
		pool:        p,
		address:     c.Address,
		key:         keyOf(c.Address),
		hash:        HashBytes([]byte(c.Address)),
		record:      outlier.NewRecord(o),
		healthSince: now,
		adminSince:  now,
	}
	e.configure(c)
	return e
}

// keyOf derives an endpoint's key from its address.
func keyOf(address string) uint64 {
	sum := sha256.Sum256([]byte(address))
	return binary.LittleEndian.Uint64(sum[:])
}

// keyEncoding refuses the variants of a key that differ only in unused bits.
var keyEncoding = base64.RawURLEncoding.Strict()

// keyLen is the length of an encoded key.
const keyLen = 11

func parseKey(key []byte) (k uint64, ok bool) {
	if len(key) != keyLen {
		return 0, false
	}
	var b [8]byte
	n, err := keyEncoding.Decode(b[:], key)
	return binary.LittleEndian.Uint64(b[:]), err == nil && n == len(b)
}

// Address returns the endpoint's address.
func (e *Endpoint) Address() string { return e.address }

// Pool returns the pool the endpoint belongs, or belonged, to.
func (e *Endpoint) Pool() *Pool { return e.pool }

// Weight returns the present weight, without slow start.
func (e *Endpoint) Weight() int { return int(e.weight.Load()) }

// Priority returns the priority; 0 is used first.
func (e *Endpoint) Priority() int { return int(e.priority.Load()) }

// Key returns a short opaque name for use in affinity cookies: 11 characters
// of the URL-safe base64 alphabet. It depends on the address alone, so it means
// the same after a restart and on another node.
func (e *Endpoint) Key() string {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], e.key)
	return keyEncoding.EncodeToString(b[:])
}

// InFlight returns the number of requests that hold a place.
func (e *Endpoint) InFlight() int { return int(e.inFlight.Load()) }

// Latency returns the moving average of the time to the first byte of an answer
// that follows peaks at once, as of the last answer; 0 if there was none.
func (e *Endpoint) Latency() time.Duration { return e.latency.last() }

// configure takes weight, priority and limit over. The caller holds the pool's
// mu, or the endpoint is not yet shared.
func (e *Endpoint) configure(c EndpointConfig) {
	e.config = c
	e.weight.Store(uint32(c.Weight))
	e.priority.Store(int64(c.Priority))
	e.setLimit()
}

// setLimit derives the limit of requests in flight. On probation one more
// than those still in flight from before is let through.
func (e *Endpoint) setLimit() {
	limit := int64(noLimit)
	if e.config.MaxRequests > 0 {
		limit = int64(e.config.MaxRequests)
	}
	if e.gate.Load()&gateProbation != 0 {
		limit = min(limit, e.inFlight.Load()+1)
	}
	e.limit.Store(limit)
}

// reserve takes a place if there is one.
func (e *Endpoint) reserve() bool {
	if e.inFlight.Add(1) <= e.limit.Load() {
		return true
	}
	e.inFlight.Add(-1)
	return false
}

// open reports whether none of the given reasons keeps requests away.
func (e *Endpoint) open(block uint32) bool { return e.gate.Load()&block == 0 }

func (e *Endpoint) hasRoom() bool { return e.inFlight.Load() < e.limit.Load() }

// setGate sets or clears one reason. The caller holds the pool's mu.
func (e *Endpoint) setGate(bit uint32, closed bool) {
	if closed {
		e.gate.Or(bit)
	} else {
		e.gate.And(^bit)
	}
}
