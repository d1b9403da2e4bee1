package trivet

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l4"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/fault/probe"
	"github.com/trivet-ha/trivet/internal/edge"
)

// This file wires what is passed on by address: listeners of tcp and udp, and the sessions of pools.

// buildByAddress turns a listener of tcp or udp into what the edge serves.
func (b *build) buildByAddress(spec *config.Listener) *edge.Listener {
	access := edge.Access{Allow: spec.Access.Allow, Deny: spec.Access.Deny}
	return &edge.Listener{
		Name: string(spec.Name), Addresses: edgeAddresses(spec), MaxConns: spec.MaxConnections, MaxPerSource: spec.MaxConnectionsPerSource,
		Access: access, Trusted: spec.TrustedProxies,
		Server: &l4.Service{
			Server: b.n.sessions, Upstream: b.pools[spec.Pool].sessions, AcceptProxy: spec.AcceptProxy, Access: access,
		},
	}
}

// edgeAddresses are a listener's addresses in the words of package edge.
func edgeAddresses(spec *config.Listener) (all []string) {
	prefix := ""
	if spec.Protocol == config.ProtocolUDP {
		prefix = "udp:"
	}
	for _, a := range spec.Address {
		all = append(all, prefix+a.String())
	}
	return all
}

// sessionSettings turns a pool of the file into what package l4 wants.
func sessionSettings(p *config.Pool, addresses map[string]string, drain time.Duration) l4.Settings {
	return l4.Settings{
		Connect: p.Timeouts.Connect, Idle: p.Timeouts.Tunnel, FlowIdle: p.Timeouts.Idle, Queue: p.Queue.Timeout, Hold: p.Hold,
		Prefix4: p.Hash.Prefix4, Prefix6: p.Hash.Prefix6, OnDown: onDown(p), DrainTime: drain,
		Proxy: proxyVersions[p.ProxyProtocol], Replies: p.Replies, Addresses: addresses,
	}
}

var proxyVersions = map[config.ProxyProtocol]l4.ProxyVersion{
	config.ProxyProtocolOff: l4.NoProxy, config.ProxyProtocolV1: l4.ProxyV1, config.ProxyProtocolV2: l4.ProxyV2,
}

func onDown(p *config.Pool) l4.OnDown {
	switch {
	case p.OnDown == config.OnDownKeep:
		return l4.Keep
	case p.OnDown == config.OnDownDrain:
		return l4.Drain
	case p.OnDown == config.OnDownKill || p.Role == config.RolePrimary:
		return l4.Kill
	}
	return l4.Auto
}

var roles = map[config.Role]balance.Role{
	config.RoleAny: balance.RoleUnknown, config.RolePrimary: balance.Primary, config.RoleReplica: balance.Replica,
}

var probedRoles = map[probe.Role]balance.Role{
	probe.RoleUnknown: balance.RoleUnknown, probe.RolePrimary: balance.Primary, probe.RoleReplica: balance.Replica,
}

// sever has an endpoint's sessions do what their pool wants, if the change says that it serves no more.
func (n *Node) sever(e *balance.Endpoint, c balance.Change) {
	switch c.Kind {
	case balance.HealthChanged:
		if c.Health != balance.Down {
			return
		}
	case balance.AdminChanged:
		if c.Admin != balance.Maintenance {
			return
		}
	case balance.RoleChanged:
		if c.Fit {
			return
		}
	case balance.Removed:
	default:
		return
	}
	n.sessions.Down(e)
}

// databaseCheck turns a probe that asks a database, or by UDP, into a check; nil if it is another one.
func databaseCheck(spec *config.Probe) (check probe.Check, err error) {
	var secure *probe.TLS
	switch {
	case spec.Postgres != nil:
		p := spec.Postgres
		secure, err = probeTLS(p.TLS)
		check = &probe.Postgres{User: p.User, Password: p.Password.Reveal(), Database: p.Database, MaxLag: p.MaxLag, TLS: secure}
	case spec.MySQL != nil:
		p := spec.MySQL
		secure, err = probeTLS(p.TLS)
		check = &probe.MySQL{User: p.User, Password: p.Password.Reveal(), MaxLag: p.MaxLag, TLS: secure}
	case spec.Redis != nil:
		p := spec.Redis
		secure, err = probeTLS(p.TLS)
		check = &probe.Redis{User: p.User, Password: p.Password.Reveal(), MaxLag: p.MaxLag, TLS: secure}
	case spec.UDP != nil:
		check = &probe.UDP{Send: spec.UDP.Payload(), Expect: spec.UDP.Expect.Regexp}
	}
	return check, err
}

// byAddressStatus is what is known of a listener of tcp or udp.
func (n *Node) byAddressStatus(l *config.Listener) api.Listener {
	st := api.Listener{
		Name: string(l.Name), Protocol: string(l.Protocol), MaxConnections: l.MaxConnections, Pool: string(l.Pool), Refused: map[string]uint64{},
	}
	for _, a := range edgeAddresses(l) {
		st.Addresses = append(st.Addresses, n.edge.Addr(a))
	}
	if b := n.edge.Bindings()[string(l.Name)]; b != nil {
		st.Connections, st.Accepted = int(b.Stats.Open.Load()), b.Stats.Accepted.Load()
		for _, why := range edge.Refusals() {
			if count := b.Stats.Refused[why].Load(); count > 0 {
				st.Refused[why.String()] = count
			}
		}
	}
	return st
}

// addSessions adds what sessions have done to the status of a pool.
func (p *pool) addSessions(st *api.Pool) {
	stats, endpoints := p.sessions.Stats()
	st.Dropped = stats.Dropped
	st.Rejected += stats.QueueFull + stats.QueueTimeout + stats.None
	for _, s := range endpoints {
		for i := range st.Endpoints {
			if st.Endpoints[i].Address == s.Endpoint {
				addSession(&st.Endpoints[i], &s)
			}
		}
	}
}

func addSession(e *api.Endpoint, s *l4.EndpointStats) {
	e.Connections += int(s.Open)
	e.Sessions, e.BytesIn, e.BytesOut = s.Sessions, s.BytesIn, s.BytesOut
	if s.Failures > 0 {
		e.Failures["connect"] += s.Failures
	}
}

// explainSession tells where a connection or a datagram would go: the URL is tcp://host:port or udp://host:port, and
// an empty host or port leaves it open.
func (n *Node) explainSession(q api.Question) ([]api.Explanation, error) {
	u, err := url.Parse(q.URL)
	if err != nil {
		return nil, api.Invalid(fmt.Sprintf("%q is no address", q.URL), "write tcp://:5432")
	}
	from := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if q.From != "" {
		if from, err = netip.ParseAddr(q.From); err != nil {
			return nil, api.Invalid(fmt.Sprintf("%q is no IP address", q.From), "give the client's address, such as 192.0.2.7")
		}
	}
	file := n.File()
	var all []api.Explanation
	var names []string
	for i := range file.Listeners {
		l := &file.Listeners[i]
		if string(l.Protocol) != u.Scheme {
			continue
		}
		names = append(names, string(l.Name)+" on "+strings.Join(n.byAddressStatus(l).Addresses, ", "))
		if q.Listener == "" && n.reachedBy(l, u.Port()) || q.Listener == string(l.Name) {
			all = append(all, n.explainListener(l, from.Unmap()))
		}
	}
	if all == nil {
		return nil, api.NotFound("no listener takes such a connection", "there are "+strings.Join(names, "; "))
	}
	return all, nil
}

// reachedBy reports whether a listener has the port; an empty one reaches any.
func (n *Node) reachedBy(l *config.Listener, port string) bool {
	for _, a := range n.byAddressStatus(l).Addresses {
		if _, p, err := net.SplitHostPort(a); port == "" || err == nil && p == port {
			return true
		}
	}
	return false
}

func (n *Node) explainListener(l *config.Listener, from netip.Addr) api.Explanation {
	x := api.Explanation{Listener: string(l.Name), Source: from.String(), Pool: string(l.Pool), Action: "passed on by address"}
	access := edge.Access{Allow: l.Access.Allow, Deny: l.Access.Deny}
	if !access.Permits(from) {
		x.Refused, x.Pool, x.Action = "access denies "+from.String(), "", ""
		return x
	}
	p, err := n.pool(string(l.Pool))
	if err != nil {
		return x // it is being taken out
	}
	set := p.sessions.Settings()
	r := balance.Request{Hash: balance.HashAddr(from, set.Prefix4, set.Prefix6), Now: n.now()}
	x.Choices = choices(p.balance.Explain(&r))
	return x
}
