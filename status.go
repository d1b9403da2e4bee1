package trivet

import (
	"os"
	"strconv"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/fault/outlier"
)

// Status tells everything at a glance.
func (n *Node) Status() api.Status {
	n.mu.Lock()
	file, loaded := n.file, n.loaded
	n.mu.Unlock()
	s := api.Status{
		Version: n.version, PID: os.Getpid(), Started: n.origin, State: "serving",
		Loops: len(n.edge.Workers()), Connections: n.edge.Connections(), File: loaded,
	}
	select {
	case <-n.stopping:
		s.State = "draining"
	default:
	}
	listeners, routes := n.http.Stats()
	byListener := map[string]l7.ListenerStats{}
	for _, l := range listeners {
		byListener[l.Listener] = l
	}
	byRoute := map[[2]string]l7.RouteStats{}
	for _, r := range routes {
		byRoute[[2]string{r.Listener, r.Route}] = r
	}
	for i := range file.Listeners {
		l := &file.Listeners[i]
		if l.Protocol.ByAddress() {
			s.Listeners = append(s.Listeners, n.byAddressStatus(l))
			continue
		}
		s.Listeners = append(s.Listeners, n.listenerStatus(l, byListener[string(l.Name)], byRoute))
	}
	for _, p := range n.poolList() {
		s.Pools = append(s.Pools, n.poolStatus(p))
	}
	s.Backups = n.backups.list()
	s.Databases = n.backups.streamStatus()
	return s
}

func (n *Node) listenerStatus(l *config.Listener, stats l7.ListenerStats, routes map[[2]string]l7.RouteStats) api.Listener {
	st := api.Listener{
		Name: string(l.Name), Protocol: string(l.Protocol), Connections: int(stats.Open), MaxConnections: l.MaxConnections,
		Accepted: stats.Accepted, Refused: stats.Refused, BadRequests: stats.Bad,
	}
	for _, a := range l.Address {
		st.Addresses = append(st.Addresses, n.edge.Addr(a.String()))
	}
	for i := range l.Routes {
		r := &l.Routes[i]
		rs := routes[[2]string{string(l.Name), string(r.Name)}]
		st.Routes = append(st.Routes, routeStatus(string(r.Name), actionText(r), rs))
	}
	if rs := routes[[2]string{string(l.Name), l7.NoRoute}]; rs.Latency.Total() > 0 {
		st.Routes = append(st.Routes, routeStatus(l7.NoRoute, "refused, or taken by no route", rs))
	}
	return st
}

func routeStatus(name, action string, rs l7.RouteStats) api.Route {
	st := api.Route{Name: name, Action: action, Retries: rs.Retries, Statuses: map[string]uint64{}}
	for class, count := range rs.Status {
		st.Requests += count
		if count > 0 {
			st.Statuses[statusLabels[class]] = count
		}
	}
	st.P50, st.P99 = millis(rs.Latency.Quantile(0.5)), millis(rs.Latency.Quantile(0.99))
	return st
}

func actionText(r *config.Route) string {
	if in := r.Inject; in != nil && (in.Abort > 0 || in.Reset > 0 || in.Delay > 0 || in.Bandwidth > 0) {
		return targetText(r) + " WITH INJECTED FAULTS"
	}
	return targetText(r)
}

func targetText(r *config.Route) string {
	switch {
	case r.Redirect != nil:
		return "redirect " + r.Redirect.Status.String()
	case r.Respond != nil:
		return "respond " + r.Respond.Status.String()
	case r.Pool != "":
		return "pool " + string(r.Pool)
	}
	text := "split"
	for _, s := range r.Split {
		text += " " + string(s.Pool) + ":" + strconv.Itoa(s.Weight)
	}
	return text
}

func (n *Node) poolStatus(p *pool) api.Pool {
	now := n.now()
	stats, endpoints := p.upstream.Stats()
	st := api.Pool{
		Name: p.upstream.Name, Balance: string(p.balance.Algorithm()), Available: p.balance.Available(now),
		Panic: p.balance.Panicking(now), InFlight: p.balance.InFlight(), Pending: p.balance.Pending(),
		Rejected: stats.QueueFull + stats.QueueTimeout + stats.None,
	}
	n.mu.Lock()
	st.MaxRequests, st.MaxPending, st.Role = p.spec.Breaker.MaxRequests, p.spec.MaxPending(), string(p.spec.Role)
	group := p.group
	n.mu.Unlock()
	st.Failed = failedText(group)
	byAddress := map[string]l7.EndpointStats{}
	for _, e := range endpoints {
		byAddress[e.Endpoint] = e
	}
	for _, e := range p.balance.Endpoints() {
		st.Endpoints = append(st.Endpoints, n.endpointStatus(p, e.Status(now), byAddress[e.Address()]))
	}
	p.addSessions(&st)
	return st
}

func (n *Node) endpointStatus(p *pool, s balance.Status, stats l7.EndpointStats) api.Endpoint {
	st := api.Endpoint{
		Address: s.Address, Available: s.Available, Reason: s.Reason,
		Health: s.Health.String(), HealthSays: s.HealthReason, Role: s.Role.String(),
		Admin: adminWords[s.Admin], Outlier: s.Outlier.Standing.String(), RunTime: s.RunTime,
		Weight: s.Weight, RampPercent: s.RampTenths * 10, Priority: s.Priority,
		InFlight: s.InFlight, MaxRequests: s.MaxRequests, Connections: int(stats.Connections),
		Latency: millis(s.Latency), StallAfter: millis(s.StallAfter),
		Statuses: map[string]uint64{}, Failures: map[string]uint64{},
	}
	if st.Process = p.traffic.processAt(s.Address); st.Process != "" {
		st.RunTime = false // the file names what it runs
	}
	if s.Health != balance.HealthUnknown {
		st.HealthSince = n.origin.Add(s.HealthSince)
	}
	if s.Admin != balance.Ready {
		st.AdminSince = n.origin.Add(s.AdminSince)
	}
	if s.Outlier.Standing == outlier.Ejected {
		st.EjectedUntil = n.origin.Add(s.Outlier.Until)
	}
	for class, count := range stats.Status {
		if class > 0 && count > 0 {
			st.Statuses[statusLabels[class]] = count
		}
	}
	for kind, count := range stats.Failures {
		if count > 0 {
			st.Failures[kind] = count
		}
	}
	return st
}

var adminWords = map[balance.Admin]api.Admin{
	balance.Ready: api.Ready, balance.Drain: api.Drain, balance.Maintenance: api.Maintenance,
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
