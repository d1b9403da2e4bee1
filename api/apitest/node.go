// Package apitest holds a Node that keeps its state in memory, for tests of what stands on the control API. It balances
// nothing.
package apitest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/api"
)

// Node is an api.Node of two pools, site and api. Its methods may be called by any goroutine.
type Node struct {
	mu      sync.Mutex
	status  api.Status
	calls   int // of what changes or explains something
	reload  error
	upgrade error

	history   history
	processes []api.Process
	backups   []api.Backup
}

// NewNode makes a node; every one begins alike.
func NewNode() *Node {
	started := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	return &Node{history: pastOf(started), processes: processesOf(started), backups: backupsOf(started), status: api.Status{
		Version: "1.2.3", PID: 4711, Started: started, State: "serving", Loops: 2, Connections: 37,
		File: api.File{Path: "/etc/trivet/trivet.yaml", Since: started.Add(time.Hour)},
		Listeners: []api.Listener{{
			Name: "web", Protocol: "http", Addresses: []string{":8080"}, Connections: 37, MaxConnections: 65536, Accepted: 1200, BadRequests: 3,
			Routes: []api.Route{
				{Name: "api", Action: "pool api", Requests: 1500, Statuses: map[string]uint64{"2xx": 1490, "5xx": 10}, Retries: 4, P50: 2.5, P99: 25},
				{Name: "site", Action: "pool site", Requests: 250_000, Statuses: map[string]uint64{"2xx": 249_990, "4xx": 10}, P50: 1, P99: 10},
			},
		}},
		Pools: []api.Pool{
			{Name: "site", Balance: "least_request", Available: 1, InFlight: 12, MaxRequests: 10000, MaxPending: 1000, Endpoints: []api.Endpoint{
				{
					Address: "10.0.0.11:8000", Available: true, Health: "up", HealthSince: started, Admin: api.Ready, Outlier: "good", Weight: 3, RampPercent: 100,
					InFlight: 12, Connections: 20, Latency: 1.25, StallAfter: 200, Statuses: map[string]uint64{"2xx": 249_990}, Failures: map[string]uint64{},
				},
				{
					Address: "10.0.0.12:8000", Health: "down", HealthSays: "connect: connection refused", HealthSince: started.Add(2 * time.Hour),
					Reason: "down for 5m: connect: connection refused", Admin: api.Ready, Outlier: "good", Weight: 1, RampPercent: 100,
					Statuses: map[string]uint64{"2xx": 10}, Failures: map[string]uint64{"connect": 2},
				},
			}},
			{Name: "api", Balance: "p2c", Available: 1, MaxPending: 1000, Endpoints: []api.Endpoint{{
				Address: "10.0.0.21:9000", Available: true, Health: "up", HealthSince: started, Admin: api.Ready, Outlier: "good", Weight: 1, RampPercent: 40,
				Reason: "slow start at 40 % of its weight", Latency: 12, Statuses: map[string]uint64{"2xx": 1490, "5xx": 10}, Failures: map[string]uint64{},
			}}},
		},
	}}
}

// Calls is how often the node was asked to change or explain something.
func (n *Node) Calls() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls
}

// FailReload makes every reload fail with err.
func (n *Node) FailReload(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reload = err
}

// FailUpgrade makes every upgrade fail with err.
func (n *Node) FailUpgrade(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.upgrade = err
}

// Status implements api.Viewer.
func (n *Node) Status() api.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.status
	s.Pools = slices.Clone(s.Pools)
	for i := range s.Pools {
		s.Pools[i].Endpoints = slices.Clone(s.Pools[i].Endpoints)
	}
	return s
}

// ExplainRequest implements api.Viewer.
func (n *Node) ExplainRequest(q api.Question) ([]api.Explanation, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	source := q.From
	if source == "" {
		source = "127.0.0.1"
	}
	return []api.Explanation{{
		Listener: "web", Source: source, Host: "shop.example.com", Path: "/x",
		Routes: []api.Verdict{{Route: "api", Why: "the path does not begin with /api/"}, {Route: "site"}},
		Route:  "site", Action: "pass to pool site", Pool: "site", Target: "/x",
		Choices: []api.Choice{
			{Address: "10.0.0.11:8000", Chosen: true, Considered: true, Reason: "fewest requests in flight per weight", Score: 4, Share: 1},
			{Address: "10.0.0.12:8000", Reason: "down for 5m: connect: connection refused"},
		},
	}}, nil
}

// ExplainEndpoint implements api.Viewer.
func (n *Node) ExplainEndpoint(address string) ([]api.EndpointExplanation, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	for _, p := range n.status.Pools {
		for _, e := range p.Endpoints {
			if e.Address == address {
				return []api.EndpointExplanation{{Pool: p.Name, Endpoint: e, Events: []api.Event{
					{At: e.HealthSince, What: e.Health, Reason: e.HealthSays},
				}}}, nil
			}
		}
	}
	return nil, api.NotFound("there is no endpoint "+address, "trivet pool list shows them")
}

// find gives the endpoint, under mu.
func (n *Node) find(pool, address string) (*api.Pool, int, error) {
	for i := range n.status.Pools {
		p := &n.status.Pools[i]
		if p.Name != pool {
			continue
		}
		return p, slices.IndexFunc(p.Endpoints, func(e api.Endpoint) bool { return e.Address == address }), nil
	}
	return nil, -1, api.NotFound(fmt.Sprintf("there is no pool %q", pool), "trivet pool list shows them")
}

func noEndpoint(pool, address string) error {
	return api.NotFound(fmt.Sprintf("there is no endpoint %s in pool %s", address, pool), "trivet pool list "+pool+" shows them")
}

// ChangeEndpoint implements api.Steerer.
func (n *Node) ChangeEndpoint(pool, address string, c api.Change) (api.Endpoint, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	p, i, err := n.find(pool, address)
	if err != nil {
		return api.Endpoint{}, err
	}
	if i < 0 {
		return api.Endpoint{}, noEndpoint(pool, address)
	}
	e := &p.Endpoints[i]
	if c.Admin != nil {
		e.Admin = *c.Admin
	}
	if c.Weight != nil {
		e.Weight = *c.Weight
	}
	return *e, nil
}

// AddEndpoint implements api.Steerer.
func (n *Node) AddEndpoint(pool string, add api.NewEndpoint) (api.Endpoint, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	p, i, err := n.find(pool, add.Address)
	if err != nil {
		return api.Endpoint{}, err
	}
	if i >= 0 {
		return api.Endpoint{}, api.Conflict(add.Address+" is in the pool already", "trivet pool weight changes it")
	}
	e := api.Endpoint{
		Address: add.Address, Health: "unknown", Admin: api.Ready, Outlier: "good", RunTime: true, Weight: max(1, add.Weight), RampPercent: 100,
		Priority: add.Priority, MaxRequests: add.MaxRequests, Reason: "waiting for its first probe",
	}
	p.Endpoints = append(p.Endpoints, e)
	return e, nil
}

// RemoveEndpoint implements api.Steerer.
func (n *Node) RemoveEndpoint(pool, address string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	p, i, err := n.find(pool, address)
	if err != nil {
		return err
	}
	if i < 0 {
		return noEndpoint(pool, address)
	}
	p.Endpoints = slices.Delete(p.Endpoints, i, i+1)
	return nil
}

// ReloadFile implements api.Keeper.
func (n *Node) ReloadFile(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	return n.reload
}

// Upgrade implements api.Keeper.
func (n *Node) Upgrade(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	return n.upgrade
}
