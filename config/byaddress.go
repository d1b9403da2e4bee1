package config

import (
	"fmt"
	"slices"
	"time"
)

// Role says which endpoints of a pool get anything at all, by what they are among their peers. A probe that knows tells:
// postgres, mysql or redis.
type Role string

// The roles.
const (
	RoleAny     Role = "any"     // whatever they are
	RolePrimary Role = "primary" // the one that takes writes; never more than one, also when two say that they are it
	RoleReplica Role = "replica" // those that follow a primary
)

// Values is every role.
func (Role) Values() []string {
	return []string{string(RoleAny), string(RolePrimary), string(RoleReplica)}
}

// OnDown is what becomes of the sessions of an endpoint that is down, was removed or has lost its role.
type OnDown string

// What may become of them.
const (
	OnDownAuto  OnDown = "auto"  // kill with role: primary, and of udp; else keep
	OnDownKeep  OnDown = "keep"  // they go on as long as they can
	OnDownDrain OnDown = "drain" // they go on for drain_timeout
	OnDownKill  OnDown = "kill"  // they are cut at once: clients come again, and reach another endpoint. A session of udp moves by itself.
)

// Values is every choice.
func (OnDown) Values() []string {
	return []string{string(OnDownAuto), string(OnDownKeep), string(OnDownDrain), string(OnDownKill)}
}

// ProxyProtocol is the header by which an endpoint learns who the client is.
type ProxyProtocol string

// The versions.
const (
	ProxyProtocolOff ProxyProtocol = "off" // none
	ProxyProtocolV1  ProxyProtocol = "v1"  // a line of text
	ProxyProtocolV2  ProxyProtocol = "v2"  // binary; of udp, before each datagram
)

// Values is every version.
func (ProxyProtocol) Values() []string {
	return []string{string(ProxyProtocolOff), string(ProxyProtocolV1), string(ProxyProtocolV2)}
}

// heldForPrimary is how long sessions wait for a primary unless the file says otherwise: most change-overs take less.
const heldForPrimary = 10 * time.Second

// ByAddress tells whether the protocol is passed on without a look at what it carries.
func (p Protocol) ByAddress() bool { return p == ProtocolTCP || p == ProtocolUDP }

// validateByAddress checks what only holds for listeners that pass on by address.
func (l *Listener) validateByAddress(c *checker, path string) {
	if l.Pool == "" && !c.isBroken(join(path, "pool")) {
		c.failKey(path, fmt.Sprintf("has no pool, which protocol: %s needs", l.Protocol), "write pool: and the name of one")
	}
	if c.has(join(path, "routes")) {
		c.failKey(join(path, "routes"), fmt.Sprintf("can't be told apart: protocol %s carries no requests that Trivet reads", l.Protocol), "write pool: and the name of one, and protocol: http if it is HTTP")
	}
	for _, key := range []string{"limits", "timeouts", "forwarded", "request_id", "access_log", "underscores"} {
		if c.has(join(path, key)) {
			c.failKey(join(path, key), fmt.Sprintf("has no meaning with protocol: %s", l.Protocol), byAddressInstead[key])
		}
	}
	if l.AcceptProxy && len(l.TrustedProxies) == 0 {
		c.failKey(join(path, "accept_proxy"), "believes nobody: there are no trusted_proxies", "write trusted_proxies: [10.0.0.0/24] with the addresses of those that send the header")
	}
	if !l.AcceptProxy && len(l.TrustedProxies) > 0 {
		c.failKey(join(path, "trusted_proxies"), fmt.Sprintf("has no effect with protocol: %s", l.Protocol), "write accept_proxy: true beside it, if they send the PROXY header")
	}
	if l.Protocol != ProtocolUDP {
		return
	}
	for i, a := range l.Address {
		if a.Unix != "" {
			c.fail(fmt.Sprintf("%s.address[%d]", path, i), "a Unix socket takes no datagrams here", "write an IP address and a port")
		}
	}
	if p := c.config.Pool(l.Pool); p != nil {
		p.validateDatagrams(c, "pools."+string(p.Name), l)
	}
}

// byAddressInstead is what to write where a key of HTTP stands.
var byAddressInstead = map[string]string{
	"limits":      "remove it; max_connections limits the sessions",
	"timeouts":    "write timeouts in the pool: {connect: 2s, tunnel: 1h} for tcp, {idle: 60s} for udp",
	"forwarded":   "write proxy_protocol: v2 in the pool, if the endpoints understand it",
	"request_id":  "remove it",
	"access_log":  "remove it; trivet status and the metrics count sessions and bytes",
	"underscores": "remove it",
}

func (p *Pool) validateDatagrams(c *checker, path string, l *Listener) {
	for i := range p.Endpoints {
		if a := p.Endpoints[i].Address; a.Unix != "" {
			c.fail(fmt.Sprintf("%s.endpoints[%d]", path, i), fmt.Sprintf("a Unix socket takes no datagrams, and listener %s passes some on", l.Name), "write an IP address and a port")
		}
	}
	if p.ProxyProtocol == ProxyProtocolV1 {
		c.fail(join(path, "proxy_protocol"), fmt.Sprintf("v1 is for connections, and listener %s passes datagrams on", l.Name), "write v2")
	}
}

// validateByAddress checks what depends on the roles of endpoints, and on who uses the pool.
func (p *Pool) validateByAddress(c *checker, path string) {
	kind := p.Health.Probe.Kind()
	if p.Role != RoleAny {
		switch {
		case p.Health.Off:
			c.fail(join(path, "role"), "only a probe tells an endpoint's role, and health is off", "remove health: off")
		case !slices.Contains([]string{"postgres", "mysql", "redis"}, kind):
			c.fail(join(path, "role"), fmt.Sprintf("a probe by %s does not tell an endpoint's role", kind), "write health: {probe: {postgres: {user: ..., password_file: ...}}}, or mysql, or redis")
		case kind == "postgres" && p.Health.Probe.Postgres.User == "" || kind == "mysql" && p.Health.Probe.MySQL.User == "":
			c.fail(join(path, "role"), "the probe must log in to learn an endpoint's role", fmt.Sprintf("write %s: {user: trivet, password_file: ...}", kind))
		}
		if !c.has(join(path, "hold")) {
			p.Hold = heldForPrimary
		}
	}
	for i := range c.config.Listeners {
		l := &c.config.Listeners[i]
		if !l.Protocol.ByAddress() && l.uses(p.Name) && p.ProxyProtocol != ProxyProtocolOff {
			c.fail(join(path, "proxy_protocol"), fmt.Sprintf("goes before connections that are passed on by address, and listener %s passes requests on", l.Name), "remove it: endpoints learn of clients by X-Forwarded-For")
			return
		}
	}
	if p.Replies > 0 && !c.config.onlyDatagrams(p.Name) {
		c.fail(join(path, "replies"), "counts datagrams, and not only listeners of udp use the pool", "remove it")
	}
}

// uses tells whether something that comes to the listener may go to the pool.
func (l *Listener) uses(pool Name) bool {
	return l.Pool == pool || slices.ContainsFunc(l.Routes, func(r Route) bool { return slices.Contains(r.Pools(), pool) })
}

// onlyDatagrams tells whether the pool is used, and by nothing but listeners of udp.
func (c *Config) onlyDatagrams(pool Name) bool {
	used := false
	for i := range c.Listeners {
		if l := &c.Listeners[i]; l.uses(pool) {
			if l.Protocol != ProtocolUDP {
				return false
			}
			used = true
		}
	}
	return used
}
