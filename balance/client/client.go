package client

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/faulthttp"
	"github.com/trivet-ha/trivet/fault/health"
	"github.com/trivet-ha/trivet/fault/probe"
	"github.com/trivet-ha/trivet/fault/run"
)

// LoadBalance returns an HTTP client whose requests go to one of the servers. The
// URL of a request need have no more than a path; if it has a host, that is the
// Host header. The error says what is wrong with the URLs.
func LoadBalance(urls ...string) (*http.Client, error) {
	c := Config{}
	for _, u := range urls {
		c.Servers = append(c.Servers, Server{URL: u})
	}
	client, err := New(c)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: client}, nil
}

// Client is an http.RoundTripper over a pool of servers. Its methods may be called
// concurrently.
type Client struct {
	config    Config
	pool      *balance.Pool
	transport *faulthttp.Transport
	base      http.RoundTripper
	servers   atomic.Pointer[map[string]*url.URL] // by endpoint; Update replaces it

	mu     sync.Mutex // of Update
	prober *probe.Prober
}

// New returns a client whose servers' health is unknown. The error names
// everything that is wrong with cfg.
func New(cfg Config) (*Client, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	pool, err := balance.New(cfg.pool(), run.Now())
	if err != nil {
		return nil, err
	}
	c := &Client{config: cfg, pool: pool, base: cfg.Base}
	if c.base == nil {
		c.base = newBase()
	}
	c.setServers(cfg.Servers)
	c.transport, err = faulthttp.NewTransport(faulthttp.TransportConfig{
		Base: attempts{c}, Stack: cfg.Stack, Idle: max(0, cfg.Idle), About: cfg.About, Judge: judge,
	})
	if err != nil {
		return nil, err
	}
	if cfg.Probe != nil {
		c.prober, err = probe.New(c.probeConfig(cfg))
	}
	return c, err
}

// newBase is the standard library's transport with the times that Trivet's own data
// plane has: the servers are near, and some close an idle connection after five
// seconds. There is no proxy between, and as many idle connections for each server
// as the library has for all, since all requests go to a few servers.
func newBase() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   100,
		IdleConnTimeout:       4 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

func (c *Client) probeConfig(cfg Config) probe.Config {
	return probe.Config{Check: cfg.Probe, Policy: cfg.Health, Targets: cfg.targets(), Report: c.report, Now: run.Now}
}

// report takes the result of a probe over.
func (c *Client) report(r probe.Report) {
	e := c.pool.ByAddress(r.Address)
	if e == nil || r.Verdict == health.Unknown {
		return
	}
	h := balance.Up
	if r.Verdict == health.Down {
		h = balance.Down
	}
	c.pool.SetHealth(e, h, r.Reason, r.At)
}

func (c *Client) setServers(servers []Server) {
	byURL := make(map[string]*url.URL, len(servers))
	for _, s := range servers {
		byURL[s.URL], _ = parseServer(s.URL) // it was checked
	}
	c.servers.Store(&byURL)
}

// server returns where the endpoint's requests go.
func (c *Client) server(e *balance.Endpoint) (*url.URL, error) {
	if u := (*c.servers.Load())[e.Address()]; u != nil {
		return u, nil
	}
	return parseServer(e.Address()) // it was added to the pool
}

// Run sends probes to the servers until ctx ends, and returns when the last of
// them has. Without Config.Probe it only waits. Requests can be made before, and
// without it.
func (c *Client) Run(ctx context.Context) error {
	if c.prober == nil {
		<-ctx.Done()
		return nil
	}
	return c.prober.Run(ctx)
}

// Update changes the servers. One whose URL stays keeps its state; requests to
// one that goes end as they would. On an error nothing has changed.
func (c *Client) Update(servers []Server) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	cfg := c.config
	cfg.Servers = servers
	if err := cfg.Check(); err != nil {
		return err
	}
	c.setServers(slices.Concat(servers, c.config.Servers)) // the old ones may have been chosen just now
	if err := c.pool.Update(cfg.pool(), run.Now()); err != nil {
		return err
	}
	c.config.Servers = servers
	if c.prober != nil {
		return c.prober.Update(c.probeConfig(cfg))
	}
	return nil
}

// Pool returns the pool of servers, whose endpoints are named by their URLs: to
// look at it, or to drain a server. Its times are run.Now's.
func (c *Client) Pool() *balance.Pool { return c.pool }

// CloseIdleConnections closes the connections that no request uses, as
// http.Client's method of this name expects.
func (c *Client) CloseIdleConnections() {
	if t, ok := c.base.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// RoundTrip makes the request. The error is that of the last attempt, or a
// *[fault.Refusal], a *[fault.TimeoutError], balance.ErrNone,
// balance.ErrSaturated or balance.ErrQueueFull.
func (c *Client) RoundTrip(req *http.Request) (*http.Response, error) {
	return c.transport.RoundTrip(req.WithContext(context.WithValue(req.Context(), triedKey{}, &tried{})))
}

// triedKey is the context key of a *tried.
type triedKey struct{}

// tried are the servers that had their turn with a request. Hedges add to it at
// the same time.
type tried struct {
	mu  sync.Mutex
	all []*balance.Endpoint
}

func (t *tried) add(e *balance.Endpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, e)
}

func (t *tried) list() []*balance.Endpoint {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all[:len(t.all):len(t.all)]
}

// judge is faulthttp's, for what this package adds.
func judge(r *http.Response, err error) fault.Verdict {
	if v, ok := verdictOf(err); ok {
		return v
	}
	return faulthttp.Judge(r, err)
}
