package l7

import (
	"crypto/tls"
	"net"
	"strings"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/internal/loop"
)

// sessionsKept is how many TLS sessions a worker remembers for each endpoint: a new connection takes the latest.
const sessionsKept = 4

// security is how one worker speaks TLS to one endpoint. Sessions are the endpoint's own: another that has the same
// name could not resume them.
type security struct {
	base *tls.Config // of which the others were made
	of   map[string]*tls.Config
}

// secured returns the configuration for connections that speak the given protocol (RFC 7301); nil is plain text.
func (t *target) secured(protocol string) *tls.Config {
	if t.set.TLS == nil {
		return nil
	}
	if cfg := t.security.of[protocol]; cfg != nil {
		return cfg
	}
	cfg := t.security.base.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = hostOf(t.ep.Address())
	}
	cfg.NextProtos = []string{protocol}
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(sessionsKept)
	t.security.of[protocol] = cfg
	return cfg
}

// renewed follows the configuration of TLS. It reports whether it is another one than before.
func (t *target) renewed(set *UpstreamSettings) bool {
	var base *tls.Config
	if set.TLS != nil {
		base = set.TLS()
	}
	if base == t.security.base {
		return false
	}
	t.security = security{base: base, of: map[string]*tls.Config{}}
	return true
}

// hostOf is the name that an endpoint's certificate must be for. A Unix socket has none.
func hostOf(address string) string {
	if strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "/") {
		return "localhost"
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// shaken goes on after the handshake with an endpoint.
func (u *conn) shaken(err error) {
	x := u.x
	if err != nil {
		u.t.unsecured(err)
	}
	switch {
	case x == nil:
		u.t.drop(u)
	case u != x.u && err != nil:
		x.dropRival(balance.ConnectFailed)
	case u != x.u:
		x.rivalReady(loop.Readable | loop.Writable)
	case err != nil:
		x.attemptFailed(failedConnect)
	default:
		u.connecting, u.readable = false, true
		x.flush()
		if u.x == x && u == x.u && u.readable {
			x.pump()
		}
	}
}

// unsecured tells why an endpoint can't be spoken to.
func (t *target) unsecured(err error) {
	t.w.srv.log.Warn("TLS handshake with endpoint failed", "endpoint", t.ep.Address(), "error", err)
}
