package trivet

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/balance/gslb"
	"github.com/trivet-ha/trivet/balance/gslb/answer"
	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
)

// QueryDNS implements api.DNSViewer: it tells what a client would be answered, and why.
func (n *Node) QueryDNS(q api.DNSQuestion) (api.DNSAnswer, error) {
	if n.File().DNS == nil {
		return api.DNSAnswer{}, api.NotFound("this node serves no DNS", "write a section dns: in its file")
	}
	kind, ok := wire.ParseType(q.Type)
	if !ok {
		return api.DNSAnswer{}, api.Invalid(fmt.Sprintf("%q is no type of records", q.Type), "write A, AAAA, MX, ... or TYPE65")
	}
	if _, err := wire.ParseName(q.Name, wire.Root); err != nil {
		return api.DNSAnswer{}, api.Invalid(fmt.Sprintf("%q is no name: it %v", q.Name, err), "write a name such as www.example.com")
	}
	from := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if q.From != "" {
		var err error
		if from, err = netip.ParseAddr(q.From); err != nil {
			return api.DNSAnswer{}, api.Invalid(fmt.Sprintf("%q is no IP address", q.From), "write the client's address, such as 192.0.2.7")
		}
	}
	r, err := n.names.server.Ask(q.Name, uint16(kind), from)
	if errors.Is(err, gslb.ErrNotReady) {
		return api.DNSAnswer{}, api.Conflict(err.Error(), "ask again in a moment")
	}
	if err != nil {
		return api.DNSAnswer{}, err
	}
	return dnsAnswer(r, from), nil
}

func dnsAnswer(r *gslb.Reply, from netip.Addr) api.DNSAnswer {
	a := api.DNSAnswer{
		From: from.String(), Rcode: r.Rcode, Authoritative: r.Authoritative,
		Answer: r.Answer, Authority: r.Authority, Additional: r.Additional, Steps: r.Steps,
	}
	s := r.Steering
	if s == nil {
		return a
	}
	a.Steering = &api.DNSSteering{Name: s.Record, Pool: s.Pool, Answer: s.Policy, Mode: s.Mode, Led: s.Led, TTL: int(s.TTL)}
	scale := float64(rampSteps) // of weights that come from a pool
	if s.Pool == "" {
		scale = 1
	}
	for _, e := range s.Endpoints {
		a.Steering.Endpoints = append(a.Steering.Endpoints, api.DNSEndpoint{
			Endpoint: e.Address, Addresses: plainAddresses(e.Addresses), Priority: e.Priority, Weight: e.Weight / scale,
			In: e.In, Answered: e.Answered, Reason: e.Why,
		})
	}
	return a
}

func plainAddresses(all []netip.Addr) (texts []string) {
	for _, a := range all {
		texts = append(texts, a.String())
	}
	return texts
}

// DNS implements api.DNSViewer: it tells what is served.
func (n *Node) DNS() (api.DNS, error) {
	if n.File().DNS == nil {
		return api.DNS{}, api.NotFound("this node serves no DNS", "write a section dns: in its file")
	}
	s, c := n.names.server.Status(), n.names.server.Counts()
	d := api.DNS{Addresses: s.Addresses, Ready: s.Ready, Waiting: s.Waiting, Queries: c.UDP + c.TCP, Changes: c.Changes}
	for _, z := range s.Zones {
		d.Zones = append(d.Zones, api.DNSZone{Name: z.Name, Serial: z.Serial, Names: z.Names, Queries: z.Queries})
	}
	for _, r := range s.Records {
		d.Names = append(d.Names, api.DNSName{Name: r.Name, Pool: r.Pool, Answer: r.Policy, Mode: r.Mode, TTL: int(r.TTL), Addresses: plainAddresses(r.Addresses)})
	}
	return d, nil
}

var (
	metricDNSQueries   = metric("dns_queries_total", "DNS queries, by the type that was asked for.", "type")
	metricDNSResponses = metric("dns_responses_total", "DNS answers, by their code.", "rcode")
	metricDNSTransport = metric("dns_transport_queries_total", "DNS queries, by how they came.", "transport")
	metricDNSZone      = metric("dns_zone_queries_total", "DNS queries for a zone.", "zone")
	metricDNSPolicy    = metric("dns_steered_answers_total", "DNS answers with addresses that follow pools, by how these were chosen.", "policy")
	metricDNSDowns     = metric("dns_down_answers_total", "DNS answers from pools of which no endpoint was healthy.")
	metricDNSChanges   = metric("dns_answer_changes_total", "Changes of what a name is answered with, because of health or by order.")
	metricDNSMode      = metric("dns_name_down", "1 while no endpoint is healthy of a pool that the name follows.", "name", "pool")
	metricDNSAddresses = metric("dns_name_addresses", "Addresses that a name may be answered with from a pool.", "name", "pool")
	metricDNSLimited   = metric("dns_limited_total", "DNS queries beyond a limit, by what became of them.", "action")
	metricDNSTruncated = metric("dns_truncated_total", "DNS answers that were truncated.")
	metricDNSProven    = metric("dns_proven_total", "DNS queries with a cookie of this server.")
	metricDNSIgnored   = metric("dns_ignored_total", "Messages that were no DNS queries, or could not be answered.")
	metricDNSUnsent    = metric("dns_unsent_total", "DNS answers that could not be sent.")
	metricDNSTCP       = metric("dns_tcp_connections", "TCP connections of DNS clients open.")
	metricDNSTCPClosed = metric("dns_tcp_refused_total", "TCP connections of DNS clients closed at once, for a limit.")
	metricDNSLogMissed = metric("dns_query_log_dropped_total", "Lines of the query log that came faster than they could be written.")
)

// collectDNS gives the metrics of the name server, if there is one.
func (c collector) collectDNS(count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	if c.n.File().DNS == nil {
		return
	}
	t := c.n.names.server.Counts()
	for i, label := range answer.TypeLabels {
		count(metricDNSQueries, t.Types[i], label)
	}
	for code, v := range t.Rcodes {
		count(metricDNSResponses, v, code.String())
	}
	for i, label := range answer.Policies {
		count(metricDNSPolicy, t.Policies[i], label)
	}
	for i, label := range answer.LimitedLabels {
		count(metricDNSLimited, t.Limited[i], label)
	}
	count(metricDNSTransport, t.UDP, "udp")
	count(metricDNSTransport, t.TCP, "tcp")
	count(metricDNSDowns, t.Downs)
	count(metricDNSChanges, t.Changes)
	count(metricDNSTruncated, t.Truncated)
	count(metricDNSProven, t.Proven)
	count(metricDNSIgnored, t.Ignored+t.Unread)
	count(metricDNSUnsent, t.Unsent)
	gauge(metricDNSTCP, float64(t.Connections))
	count(metricDNSTCPClosed, t.Refused)
	count(metricDNSLogMissed, t.QueryLogMissed)
	s := c.n.names.server.Status()
	for _, z := range s.Zones {
		count(metricDNSZone, z.Queries, z.Name)
	}
	for _, r := range s.Records {
		gauge(metricDNSMode, truth(r.Mode == steer.Down.String()), r.Name, r.Pool)
		gauge(metricDNSAddresses, float64(len(r.Addresses)), r.Name, r.Pool)
	}
}
