package answer

import (
	"net/netip"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/balance/gslb/guard"
	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
)

// World is all that answers depend on. It is not changed once it is in use.
type World struct {
	Catalog *zone.Catalog
	// Where tells where clients are; nil if nobody knows.
	Where steer.Locator
	// NSID is told to who asks (RFC 5001); nil is not told.
	NSID []byte
	// UDPSize is the largest answer sent over UDP, in bytes, if the client takes it; 512 at least.
	UDPSize int
	// Keepalive is how long an idle TCP connection is kept (RFC 7828).
	Keepalive time.Duration
	// Believed are the resolvers whose word is taken for where their clients are (RFC 7871).
	Believed []netip.Prefix
	// Cookies makes and checks cookies; nil answers without.
	Cookies *guard.Cookies
	Limits  Limits
}

// Limits slow down clients whose address may be forged: over UDP, without a cookie of ours.
type Limits struct {
	// Answers limits how often the same answer goes to the same network, and Questions what comes from one address; nil
	// is no limit.
	Answers, Questions *guard.Limiter
	// Slip is how many answers beyond the limit come to one that is sent, but empty and marked as truncated, so that a
	// real client asks again over TCP; the others are dropped. 0 drops all.
	Slip int
	// Prefix4 and Prefix6 are what a network is.
	Prefix4, Prefix6 int
	// Exempt are networks without limits.
	Exempt []netip.Prefix
}

// Source is where a query came from, and when.
type Source struct {
	Addr netip.Addr // not an IPv4 address in IPv6 clothes
	TCP  bool
	Now  time.Duration // since an origin of the caller's choice
	Unix uint32        // seconds since 1970
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}
