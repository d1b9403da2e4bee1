package trivet

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7"
)

// collector turns the node's own counters into Prometheus metrics when they are asked for. Requests touch
// plain counters only; names and labels are put together here.
type collector struct{ n *Node }

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("trivet_"+name, help, labels, nil)
}

var (
	metricBuild = metric("build_info", "The version of this process; always 1.", "version")

	metricAccepted = metric("listener_connections_total", "Connections accepted.", "listener")
	metricOpen     = metric("listener_connections", "Connections open.", "listener")
	metricRefused  = metric("listener_refused_connections_total", "Connections closed at once.", "listener", "reason")
	metricFull     = metric("listener_limit_met_total", "Times that new connections had to wait because max_connections were open.", "listener")
	metricShaken   = metric("listener_tls_handshakes_total", "TLS handshakes, by result: full, resumed (by a session ticket) or failed.", "listener", "result")
	metricBad      = metric("listener_bad_requests_total", "Requests refused because they are no valid HTTP.", "listener")
	metricNoFiles  = metric("accept_exhausted_total", "Times that no connection could be accepted for want of descriptors or memory.")

	metricRequests = metric("requests_total", "Requests, by the class of the answer's status; none is a request given up without an answer.", "listener", "route", "status")
	metricLatency  = metric("request_duration_seconds", "Time from a request's first byte to the last of its answer.", "listener", "route")
	metricRetries  = metric("request_retries_total", "Further attempts.", "listener", "route")
	metricPolicies = metric("request_policies_total", "What policies have done to requests: rate limits, hold, hedges, fallbacks and so on.", "listener", "route", "policy")
	metricBytesIn  = metric("request_body_bytes_total", "Bytes of request bodies.", "listener", "route")
	metricBytesOut = metric("response_body_bytes_total", "Bytes of answers' bodies.", "listener", "route")

	metricAnswers   = metric("endpoint_responses_total", "Answers, by the class of their status.", "pool", "endpoint", "status")
	metricFailures  = metric("endpoint_failures_total", "Attempts that brought no answer.", "pool", "endpoint", "kind")
	metricFirstByte = metric("endpoint_first_byte_seconds", "Time from a request sent to the head of its answer.", "pool", "endpoint")
	metricConnects  = metric("endpoint_connects_total", "Connections opened.", "pool", "endpoint")
	metricReuses    = metric("endpoint_reuses_total", "Requests sent on an open connection.", "pool", "endpoint")
	metricConns     = metric("endpoint_connections", "Connections open.", "pool", "endpoint")
	metricInFlight  = metric("endpoint_requests", "Requests in flight.", "pool", "endpoint")
	metricUp        = metric("endpoint_available", "1 if the endpoint takes requests.", "pool", "endpoint")
	metricHealth    = metric("endpoint_health", "What the probes say: 1 up, 0 down, -1 not known.", "pool", "endpoint")
	metricWeight    = metric("endpoint_weight", "The endpoint's weight.", "pool", "endpoint")

	metricAlgorithm = metric("pool_info", "The pool's algorithm; always 1.", "pool", "algorithm")
	metricAvailable = metric("pool_available", "Endpoints that take requests.", "pool")
	metricPanic     = metric("pool_panic", "1 while too few endpoints are available and all are used.", "pool")
	metricPending   = metric("pool_queue", "Requests that wait for a place.", "pool")
	metricQueued    = metric("pool_queued_total", "Requests and sessions that had to wait for a place.", "pool")
	metricRejected  = metric("pool_rejected_total", "Requests answered with 503, and sessions ended, for want of an endpoint.", "pool", "reason")
	metricNoBudget  = metric("pool_retry_budget_spent_total", "Retries not made because the budget was spent.", "pool")
	metricEjections = metric("ejections_total", "Endpoints taken out because of the outcomes of requests.")

	metricReload = metric("config_loaded_timestamp_seconds", "When the configuration in force was loaded.")

	metricEvents     = metric("events_total", "What happened and what was done about it.", "kind")
	metricDropped    = metric("events_dropped_total", "Events that came faster than they could be taken.")
	metricLost       = metric("events_lost_total", "Events that a follower, a hook or the state file was too slow for.")
	metricIncidents  = metric("incidents_open", "Faults that are not over.")
	metricUntracked  = metric("incidents_untracked_total", "Faults that were not tracked because too many were open.")
	metricKept       = metric("events_kept_total", "Events written to the state file.")
	metricKeepErrors = metric("state_errors_total", "Failures to write to the state file, or to delete from it.")

	metricHook        = metric("hook_notices_total", "What hooks were told, by what became of it.", "hook", "result")
	metricHookRetries = metric("hook_retries_total", "Further attempts to tell a hook something.", "hook")
	metricHookPending = metric("hook_pending", "What hooks are being told now.", "hook")

	metricProcess         = metric("process_ready", "1 if the process answers.", "pool", "process")
	metricProcessRestarts = metric("process_restarts_total", "Restarts of processes that had ended by themselves.", "pool", "process")
	metricProcessFailed   = metric("pool_processes_failed", "Processes that were given up.", "pool")
)

// statusLabels are the names of status classes; see l7.RouteStats.
var statusLabels = [6]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

// Describe implements prometheus.Collector. It describes nothing: the collector is unchecked, because what
// there is depends on the configuration.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	n := c.n
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(metricBuild, 1, n.version)
	count(metricNoFiles, n.edge.Exhausted())
	count(metricEjections, n.ejected.Load())
	c.collectHistory(count, gauge)
	c.collectDNS(count, gauge)
	n.mu.Lock()
	gauge(metricReload, float64(n.loaded.Since.UnixMilli())/1000)
	n.mu.Unlock()
	listeners, routes := n.http.Stats()
	for _, l := range listeners {
		count(metricAccepted, l.Accepted, l.Listener)
		gauge(metricOpen, float64(l.Open), l.Listener)
		count(metricFull, l.Full, l.Listener)
		count(metricBad, l.Bad, l.Listener)
		count(metricShaken, l.Handshakes-l.Resumed, l.Listener, "full")
		count(metricShaken, l.Resumed, l.Listener, "resumed")
		count(metricShaken, l.HandshakesFailed, l.Listener, "failed")
		for reason, v := range l.Refused {
			count(metricRefused, v, l.Listener, reason)
		}
	}
	for _, r := range routes {
		for class, v := range r.Status {
			count(metricRequests, v, r.Listener, r.Route, statusLabels[class])
		}
		count(metricRetries, r.Retries, r.Listener, r.Route)
		for policy, v := range r.Policies {
			count(metricPolicies, v, r.Listener, r.Route, policy)
		}
		count(metricBytesIn, r.BytesIn, r.Listener, r.Route)
		count(metricBytesOut, r.BytesOut, r.Listener, r.Route)
		ch <- histogram(metricLatency, &r.Latency, r.Listener, r.Route)
	}
	c.collectByAddress(count, gauge)
	c.collectBackups(count, gauge)
	c.collectDatabases(count, gauge)
	for _, p := range n.poolList() {
		c.collectPool(p, ch, count, gauge)
		c.collectProcesses(p, count, gauge)
	}
}

func (c collector) collectPool(p *pool, ch chan<- prometheus.Metric, count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	name, now := p.name, c.n.now()
	stats, endpoints := p.upstream.Stats()
	sessions := p.collectSessions(count, gauge)
	gauge(metricAlgorithm, 1, name, string(p.balance.Algorithm()))
	gauge(metricAvailable, float64(p.balance.Available(now)), name)
	gauge(metricPanic, truth(p.balance.Panicking(now)), name)
	gauge(metricPending, float64(p.balance.Pending()), name)
	count(metricQueued, stats.Queued+sessions.Queued, name)
	count(metricRejected, stats.QueueFull+sessions.QueueFull, name, "queue_full")
	count(metricRejected, stats.QueueTimeout+sessions.QueueTimeout, name, "queue_timeout")
	count(metricRejected, stats.None+sessions.None, name, "no_endpoint")
	count(metricNoBudget, stats.NoBudget, name)
	for _, e := range p.balance.Endpoints() {
		s := e.Status(now)
		gauge(metricUp, truth(s.Available), name, s.Address)
		gauge(metricHealth, healthValue[s.Health], name, s.Address)
		gauge(metricInFlight, float64(s.InFlight), name, s.Address)
		gauge(metricWeight, float64(s.Weight), name, s.Address)
		if s.Role != balance.RoleUnknown {
			gauge(metricRole, 1, name, s.Address, s.Role.String())
		}
	}
	for _, e := range endpoints {
		for class, v := range e.Status[1:] {
			count(metricAnswers, v, name, e.Endpoint, statusLabels[class+1])
		}
		for kind, v := range e.Failures {
			count(metricFailures, v, name, e.Endpoint, kind)
		}
		count(metricConnects, e.Connects, name, e.Endpoint)
		count(metricReuses, e.Reuses, name, e.Endpoint)
		gauge(metricConns, float64(e.Connections), name, e.Endpoint)
		ch <- histogram(metricFirstByte, &e.Latency, name, e.Endpoint)
	}
}

func (c collector) collectHistory(count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	h := c.n.history
	s := h.stream.Stats()
	for kind, v := range s.Events {
		count(metricEvents, v, string(kind))
	}
	count(metricDropped, s.Dropped)
	count(metricLost, s.Lost)
	gauge(metricIncidents, float64(s.Open))
	count(metricUntracked, s.Untracked)
	if h.journal != nil {
		j := h.journal.Stats()
		count(metricKept, j.Written)
		count(metricKeepErrors, j.Errors)
	}
	for name, k := range h.hookStats() {
		count(metricHook, k.Delivered, name, "delivered")
		count(metricHook, k.Failed, name, "failed")
		count(metricHook, k.Lost, name, "lost")
		count(metricHookRetries, k.Retried, name)
		gauge(metricHookPending, float64(k.Pending), name)
	}
}

func (c collector) collectProcesses(p *pool, count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	g := c.n.groupOf(p)
	if g == nil {
		return
	}
	list, _ := g.Status()
	for _, s := range list {
		gauge(metricProcess, truth(s.State == "ready"), p.name, s.Name)
		count(metricProcessRestarts, uint64(s.Restarts), p.name, s.Name)
	}
	gauge(metricProcessFailed, float64(g.Failed()), p.name)
}

var healthValue = map[balance.Health]float64{balance.HealthUnknown: -1, balance.Up: 1, balance.Down: 0}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func histogram(d *prometheus.Desc, h *l7.Histogram, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(l7.LatencyBounds))
	sum := uint64(0)
	for i, bound := range l7.LatencyBounds {
		sum += h.Counts[i]
		buckets[bound.Seconds()] = sum
	}
	return prometheus.MustNewConstHistogram(d, h.Total(), float64(h.Sum)/float64(time.Second), buckets, labels...)
}

// metricsRegistry returns what is to be had at /metrics.
func (n *Node) metricsRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{n}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// poolList returns the pools in force, in order of their names.
func (n *Node) poolList() []*pool {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []*pool
	for _, name := range n.poolNames() {
		all = append(all, n.pools[name])
	}
	return all
}
