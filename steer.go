package trivet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/config"
)

// ChangeEndpoint changes an endpoint's weight or what is wanted of it. It holds until the process ends, over
// reloads and upgrades too.
func (n *Node) ChangeEndpoint(poolName, address string, c api.Change) (api.Endpoint, error) {
	p, e, err := n.endpoint(poolName, address)
	if err != nil {
		return api.Endpoint{}, err
	}
	if c.Admin != nil {
		admin, ok := adminOf(*c.Admin)
		if !ok {
			return api.Endpoint{}, api.Invalid(fmt.Sprintf("no state is called %q", *c.Admin), "say ready, drain or maintenance")
		}
		p.balance.SetAdmin(e, admin, n.now())
	}
	if c.Weight != nil {
		if err := p.balance.SetWeight(e, *c.Weight, n.now()); err != nil {
			return api.Endpoint{}, api.Invalid(err.Error(), fmt.Sprintf("weights are 1 to %d; to send it nothing, drain it", balance.MaxWeight))
		}
	}
	return n.present(p, e), nil
}

func adminOf(word api.Admin) (balance.Admin, bool) {
	for admin, w := range adminWords {
		if w == word {
			return admin, true
		}
	}
	return 0, false
}

// AddEndpoint adds an endpoint until it is removed or the process ends; a reload keeps it.
func (n *Node) AddEndpoint(poolName string, spec api.NewEndpoint) (api.Endpoint, error) {
	p, err := n.pool(poolName)
	if err != nil {
		return api.Endpoint{}, err
	}
	a, err := config.ParseAddress(spec.Address)
	if err != nil || a.Unix == "" && (a.Host == "" || a.Port == 0) {
		return api.Endpoint{}, api.Invalid(fmt.Sprintf("%q is no address of an endpoint", spec.Address), "write host:port or unix:/path")
	}
	if p.balance.ByAddress(a.String()) != nil {
		return api.Endpoint{}, api.Conflict(fmt.Sprintf("pool %s already has %s", poolName, a), "")
	}
	found, err := resolvePool(&config.Pool{Name: config.Name(poolName), Endpoints: []config.Endpoint{{Address: a}}})
	if err != nil {
		return api.Endpoint{}, api.Invalid(err.Error(), "write an IP address, or a name that resolves")
	}
	n.learnAddresses(p, found)
	e, err := p.balance.Add(balance.EndpointConfig{
		Address: a.String(), Weight: spec.Weight, Priority: spec.Priority, MaxRequests: spec.MaxRequests,
	}, n.now())
	if err != nil {
		return api.Endpoint{}, api.Invalid(err.Error(), "")
	}
	n.probeAgain(p)
	return n.present(p, e), nil
}

// learnAddresses tells the pool where names are that were added at run time.
func (n *Node) learnAddresses(p *pool, found map[string]string) {
	if len(found) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s := p.upstream.Settings()
	merged := map[string]string{}
	for from, to := range s.Addresses {
		merged[from] = to
	}
	for from, to := range found {
		merged[from] = to
	}
	s.Addresses = merged
	p.upstream.Configure(s)
	sessions := p.sessions.Settings()
	sessions.Addresses = merged
	p.sessions.Configure(sessions)
}

// RemoveEndpoint takes an endpoint out. Requests in flight to it end in peace. One that the file names comes
// back with the next reload.
func (n *Node) RemoveEndpoint(poolName, address string) error {
	p, e, err := n.endpoint(poolName, address)
	if err != nil {
		return err
	}
	if name := p.traffic.processAt(e.Address()); name != "" {
		return api.Conflict(fmt.Sprintf("%s is process %s, which Trivet keeps running", address, name), "trivet process stop ends it")
	}
	if err := p.balance.Remove(e.Address(), n.now()); err != nil {
		return api.Conflict(err.Error(), "")
	}
	n.probeAgain(p)
	return nil
}

// probeAgain makes the pool's prober see the endpoints that there are now.
func (n *Node) probeAgain(p *pool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p.prober.refresh()
}

func (n *Node) pool(name string) (*pool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.pools[config.Name(name)]; p != nil {
		return p, nil
	}
	var names []string
	for _, known := range n.poolNames() {
		names = append(names, string(known))
	}
	return nil, api.NotFound(fmt.Sprintf("there is no pool %q", name), "there are "+strings.Join(names, ", "))
}

func (n *Node) endpoint(poolName, address string) (*pool, *balance.Endpoint, error) {
	p, err := n.pool(poolName)
	if err != nil {
		return nil, nil, err
	}
	if e := p.balance.ByAddress(address); e != nil {
		return p, e, nil
	}
	var known []string
	for _, e := range p.balance.Endpoints() {
		known = append(known, e.Address())
	}
	return nil, nil, api.NotFound(fmt.Sprintf("pool %s has no endpoint %q", poolName, address), "it has "+strings.Join(known, ", "))
}

func (n *Node) present(p *pool, e *balance.Endpoint) api.Endpoint {
	_, all := p.upstream.Stats()
	i := slices.IndexFunc(all, func(s l7.EndpointStats) bool { return s.Endpoint == e.Address() })
	var stats l7.EndpointStats
	if i >= 0 {
		stats = all[i]
	}
	return n.endpointStatus(p, e.Status(n.now()), stats)
}

// ExplainEndpoint tells why an endpoint is in or out, in every pool that has it.
func (n *Node) ExplainEndpoint(address string) ([]api.EndpointExplanation, error) {
	var all []api.EndpointExplanation
	for _, p := range n.poolList() {
		if e := p.balance.ByAddress(address); e != nil {
			all = append(all, api.EndpointExplanation{
				Pool: p.upstream.Name, Endpoint: n.present(p, e), Events: n.history.lastOf(p.name, address),
			})
		}
	}
	if all == nil {
		return nil, api.NotFound(fmt.Sprintf("no pool has an endpoint %q", address), "trivet pool list shows them")
	}
	return all, nil
}

// ExplainRequest tells where a request would go, for every listener that it may come in by.
func (n *Node) ExplainRequest(q api.Question) ([]api.Explanation, error) {
	if strings.HasPrefix(q.URL, "tcp:") || strings.HasPrefix(q.URL, "udp:") {
		return n.explainSession(q)
	}
	head, from, port, err := question(q)
	if err != nil {
		return nil, err
	}
	var all []api.Explanation
	for _, l := range n.http.Listeners() {
		if q.Listener != "" && l.Name != q.Listener || q.Listener == "" && !n.listensOn(l, port) {
			continue
		}
		all = append(all, explanation(l.Explain(l7.Question{Head: head, From: from}, n.now())))
	}
	if all == nil {
		var names []string
		for _, l := range n.http.Listeners() {
			names = append(names, l.Name+" on "+strings.Join(l.Addresses, ", "))
		}
		return nil, api.NotFound("no listener takes such a request", "there are "+strings.Join(names, "; "))
	}
	return all, nil
}

// listensOn reports whether a listener is reached by a port; an empty port reaches any.
func (n *Node) listensOn(l *l7.Listener, port string) bool {
	return port == "" || slices.ContainsFunc(l.Addresses, func(a string) bool {
		return strings.HasSuffix(n.edge.Addr(a), ":"+port)
	})
}

func explanation(e l7.Explanation) api.Explanation {
	x := api.Explanation{
		Listener: e.Listener, Refused: e.Refused, Status: e.Status, Host: e.Host, Path: e.Path, Route: e.Route,
		Action: e.Action, Pool: e.Pool, Target: e.Target, Affinity: e.Affinity,
	}
	if e.Source.IsValid() {
		x.Source = e.Source.String()
	}
	for _, v := range e.Tried {
		x.Routes = append(x.Routes, api.Verdict{Route: v.Route, Why: v.Why})
	}
	x.Choices = choices(e.Choices)
	return x
}

func choices(considered []balance.Consideration) (all []api.Choice) {
	for _, c := range considered {
		all = append(all, api.Choice{
			Address: c.Endpoint.Address(), Chosen: c.Chosen, Considered: c.Considered, Reason: c.Reason, Score: c.Score, Share: c.Share,
		})
	}
	return all
}
