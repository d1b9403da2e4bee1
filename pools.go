package trivet

import (
	"crypto/tls"
	"slices"
	"strings"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l4"
	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/fault/outlier"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/supervise"
)

// pool is a pool of the file with everything that belongs to it while it is in force.
type pool struct {
	name     string
	spec     *config.Pool
	balance  *balance.Pool
	upstream *l7.Upstream // as requests see it
	sessions *l4.Upstream // as what is passed on by address does
	prober   *prober
	signs    signs
	stop     func()

	traffic   *traffic
	group     *supervise.Group // keeps the pool's command running; nil if it has none
	stopGroup func()
}

// newPool returns a pool that has yet to get what balances, and what sends.
func newPool(n *Node, spec *config.Pool) *pool {
	p := &pool{name: string(spec.Name), spec: spec}
	p.traffic = newTraffic(n, p)
	return p
}

// balanceConfig turns a pool of the file into what package balance wants. Processes that run are in it, for they
// are drained and not dropped.
func (p *pool) balanceConfig(spec *config.Pool) balance.Config {
	cfg := balance.Config{
		Name:           string(spec.Name),
		Algorithm:      balance.Algorithm(spec.Balance),
		Probed:         !spec.Health.Off || spec.Run() != nil, // a command is asked before it gets requests
		Role:           roles[spec.Role],
		TableSize:      spec.Hash.TableSize,
		LoadFactor:     spec.Hash.LoadFactor,
		SlowStart:      spec.SlowStart,
		PanicThreshold: spec.PanicThreshold.Fraction(),
		MaxRequests:    spec.Breaker.MaxRequests,
		MaxPending:     spec.MaxPending(),
		Seed:           balance.HashBytes([]byte(spec.Name)),
		OnChange:       p.note,
		Stall: balance.StallConfig{
			Disabled: spec.Stall.Off, Requests: spec.Stall.Requests, Min: spec.Stall.Min, Max: spec.Stall.Max,
		},
		Outlier: outlier.Config{
			Disabled:        spec.Outlier.Off,
			Consecutive:     spec.Outlier.Consecutive,
			MinRequests:     spec.Outlier.MinRequests,
			Window:          spec.Outlier.Window,
			Margin:          spec.Outlier.Margin.Fraction(),
			BaseEjection:    spec.Outlier.BaseEjection,
			MaxEjection:     spec.Outlier.MaxEjection,
			ConnectEjection: spec.Outlier.ConnectEjection,
			MaxEjected:      spec.Outlier.MaxEjected.Fraction(),
			Probation:       spec.Outlier.Probation,
		},
	}
	if cfg.MaxPending == 0 {
		cfg.MaxPending = -1
	}
	for _, e := range spec.Endpoints {
		if e.Run != nil {
			continue
		}
		cfg.Endpoints = append(cfg.Endpoints, balance.EndpointConfig{
			Address: e.Address.String(), Weight: e.Weight, Priority: e.Priority, MaxRequests: e.MaxRequests,
		})
	}
	cfg.Endpoints = append(cfg.Endpoints, p.traffic.endpoints(spec)...)
	return cfg
}

// upstreamSettings turns a pool of the file into what package l7 wants.
func upstreamSettings(p *config.Pool, addresses map[string]string, secure func() *tls.Config) l7.UpstreamSettings {
	s := l7.UpstreamSettings{
		TLS:       secure,
		Hash:      l7.Hash{Key: hashKeys[p.Hash.Key.Kind], Name: p.Hash.Key.Name, Prefix4: p.Hash.Prefix4, Prefix6: p.Hash.Prefix6},
		Connect:   p.Timeouts.Connect,
		FirstByte: p.Timeouts.FirstByte,
		IdleIO:    p.Timeouts.Idle,
		Tunnel:    p.Timeouts.Tunnel,
		KeepAlive: p.Timeouts.Keepalive,
		HTTP2:     p.Protocol == config.PoolHTTP2,
		Ping:      p.Timeouts.Ping,
		MaxIdle:   p.MaxIdle,
		Queue:     p.Queue.Timeout,
		Hold:      p.Hold,
		Stall:     !p.Stall.Off,
		Addresses: addresses,
	}
	if a := p.Affinity; a != nil {
		s.Affinity = l7.Affinity{
			Cookie: string(a.Cookie), Application: a.Mode == config.AffinityLearn, TTL: a.TTL, Attributes: cookieAttributes(a),
		}
	}
	return s
}

var hashKeys = map[string]l7.HashKey{
	"source": l7.HashSource, "header": l7.HashHeader, "cookie": l7.HashCookie,
	"query": l7.HashQuery, "path": l7.HashPath, "host": l7.HashHost,
}

// cookieAttributes renders what stands behind the value of an affinity cookie (RFC 6265 §4.1.1).
func cookieAttributes(a *config.Affinity) string {
	var b strings.Builder
	b.WriteString("; Path=" + string(a.Path))
	if a.Domain != "" {
		b.WriteString("; Domain=" + a.Domain)
	}
	if a.Secure {
		b.WriteString("; Secure")
	}
	if a.HTTPOnly {
		b.WriteString("; HttpOnly")
	}
	switch a.SameSite {
	case config.SameSiteStrict:
		b.WriteString("; SameSite=Strict")
	case config.SameSiteNone:
		b.WriteString("; SameSite=None")
	default:
		b.WriteString("; SameSite=Lax")
	}
	return b.String()
}

// retryPolicy turns a route's retry section into a policy and its budget.
func retryPolicy(r *config.Retry) (retry.Policy, *retry.Budget) {
	p := retry.Policy{Attempts: r.Attempts, BackoffBase: r.Backoff.Base, BackoffMax: r.Backoff.Max}
	if r.Off {
		p.Attempts = 1
	}
	var statuses []int
	for _, c := range r.When {
		switch c.Failure {
		case "connect":
			p.When |= retry.Connect
		case "reset":
			p.When |= retry.Reset
		case "stall":
			p.When |= retry.Stall
		case "timeout":
			p.When |= retry.Timeout
		case "":
			p.When |= retry.Status
			statuses = append(statuses, c.Status)
		}
	}
	p.Statuses = retry.Statuses(statuses...)
	cfg := retry.BudgetConfig{Ratio: r.Budget.Percent.Fraction(), MinPerSecond: float64(r.Budget.Min)}
	if cfg.Ratio == 0 {
		cfg.Ratio = -1
	}
	if cfg.MinPerSecond == 0 {
		cfg.MinPerSecond = -1
	}
	return p.WithDefaults(), retry.NewBudget(cfg)
}

// poolNames returns the names in order.
func (n *Node) poolNames() []config.Name {
	var names []config.Name
	for name := range n.pools {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
