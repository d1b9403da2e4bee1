package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/faulthttp"
	"github.com/trivet-ha/trivet/fault/health"
	"github.com/trivet-ha/trivet/fault/probe"
)

// Server is one of several that do the same.
type Server struct {
	// URL is where requests go: scheme, host and port, and a path that is put
	// before theirs. It is the server's identity.
	URL string
	// Weight is its share relative to the others'; 0 means 1.
	Weight int
	// Priority 0 is used first, then 1 and so on.
	Priority int
	// MaxRequests limits the requests in flight; 0 is no limit.
	MaxRequests int
}

// Config says which servers there are and how requests are made. Only Servers has
// no useful zero.
type Config struct {
	Servers []Server
	// Pool rules the choice: algorithm, limits, ejection. Its endpoints are the
	// Servers. The algorithm is balance.P2C by default: it prefers the faster
	// server, and needs no agreement among the programs that ask.
	Pool balance.Config
	// Stack is the policies around a request. By default it is tried three times
	// at most, within a budget, and each attempt has 30 s until the head of the
	// answer.
	Stack *fault.Stack
	// Hold is how long a request waits if no server is available, or all have as
	// many requests as they may. Default 5 s; negative is not at all. How many may
	// wait is Pool.MaxPending.
	Hold time.Duration
	// Idle is how long the next part of an answer's body may take. Default 60 s;
	// negative is no limit but that of the request's context.
	Idle time.Duration
	// Key, if set, is the key of the algorithms that hash: requests of equal keys
	// go to the same server.
	Key func(*http.Request) uint64
	// About says what policies want to know about a request.
	About func(*http.Request) fault.Call
	// Base makes the requests. By default it is a transport of this client's own.
	Base http.RoundTripper
	// Probe asks servers how they are, by Health's rules, while Run is running. By
	// default none does: servers are judged by the requests.
	Probe  probe.Check
	Health health.Policy
}

// WithDefaults returns c with the default in place of each zero.
func (c Config) WithDefaults() Config {
	if c.Pool.Algorithm == "" {
		c.Pool.Algorithm = balance.P2C
	}
	if c.Pool.Name == "" {
		c.Pool.Name = "servers"
	}
	if c.Stack == nil {
		c.Stack = fault.Must(fault.New(fault.Retry(faulthttp.Retry(), nil), fault.Timeout(30*time.Second)))
	}
	if c.Idle == 0 {
		c.Idle = time.Minute
	}
	if c.Hold == 0 {
		c.Hold = 5 * time.Second
	}
	if c.Key == nil {
		c.Key = func(*http.Request) uint64 { return 0 }
	}
	c.Pool.Probed = c.Probe != nil
	c.Servers = slices.Clone(c.Servers)
	return c
}

// Check reports everything in c that makes no sense, joined.
func (c Config) Check() error {
	c = c.WithDefaults()
	var errs []error
	if len(c.Servers) == 0 {
		errs = append(errs, errors.New("client: there is no server"))
	}
	for _, s := range c.Servers {
		if _, err := parseServer(s.URL); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, c.Health.Check(), c.pool().Check())...)
}

// pool is the pool's configuration, endpoints included.
func (c *Config) pool() balance.Config {
	p := c.Pool
	p.Endpoints = make([]balance.EndpointConfig, len(c.Servers))
	for i, s := range c.Servers {
		p.Endpoints[i] = balance.EndpointConfig{Address: s.URL, Weight: s.Weight, Priority: s.Priority, MaxRequests: s.MaxRequests}
	}
	return p
}

// targets are the servers as probes connect to them.
func (c *Config) targets() []probe.Target {
	targets := make([]probe.Target, len(c.Servers))
	for i, s := range c.Servers {
		u, _ := parseServer(s.URL) // it was checked
		targets[i] = probe.Target{Address: s.URL, Dial: hostPort(u)}
	}
	return targets
}

func parseServer(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("client: server %q: %w", text, err)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("client: server %q: the scheme is neither http nor https", text)
	case u.Hostname() == "":
		return nil, fmt.Errorf("client: server %q has no host", text)
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, fmt.Errorf("client: server %q has more than scheme, host, port and path", text)
	}
	return u, nil
}
