package trivet

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/trivet-ha/trivet/balance/l4"
	"github.com/trivet-ha/trivet/internal/edge"
)

var (
	metricRole      = metric("endpoint_role", "What the endpoint's probe says it is among its peers; always 1.", "pool", "endpoint", "role")
	metricSessions  = metric("endpoint_sessions_total", "Connections and clients passed on by address.", "pool", "endpoint")
	metricOpenNow   = metric("endpoint_sessions", "Sessions open.", "pool", "endpoint")
	metricSent      = metric("endpoint_session_sent_bytes_total", "Bytes passed on to the endpoint by address.", "pool", "endpoint")
	metricReceived  = metric("endpoint_session_received_bytes_total", "Bytes passed on from the endpoint by address.", "pool", "endpoint")
	metricRefusals  = metric("endpoint_session_failures_total", "Sessions that the endpoint could not be reached for.", "pool", "endpoint")
	metricDatagrams = metric("pool_dropped_datagrams_total", "Datagrams that could not be passed on.", "pool")
)

// collectByAddress tells of listeners that pass on by address.
func (c collector) collectByAddress(count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	for name, b := range c.n.edge.Bindings() {
		if _, ok := b.Listener().Server.(*l4.Service); !ok {
			continue
		}
		count(metricAccepted, b.Stats.Accepted.Load(), name)
		gauge(metricOpen, float64(b.Stats.Open.Load()), name)
		count(metricFull, b.Stats.Full.Load(), name)
		for _, why := range edge.Refusals() {
			count(metricRefused, b.Stats.Refused[why].Load(), name, why.String())
		}
	}
}

// collectSessions tells of a pool's sessions, and returns what the caller adds to requests.
func (p *pool) collectSessions(count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) l4.PoolStats {
	name := p.sessions.Name
	stats, endpoints := p.sessions.Stats()
	count(metricDatagrams, stats.Dropped, name)
	for _, e := range endpoints {
		count(metricSessions, e.Sessions, name, e.Endpoint)
		gauge(metricOpenNow, float64(e.Open), name, e.Endpoint)
		count(metricSent, e.BytesIn, name, e.Endpoint)
		count(metricReceived, e.BytesOut, name, e.Endpoint)
		count(metricRefusals, e.Failures, name, e.Endpoint)
	}
	return stats
}
