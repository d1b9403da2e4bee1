package trivet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/avail"
	"github.com/trivet-ha/trivet/avail/report"
	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/events/tally"
)

const (
	// lookEvery is how often pools are looked at: an outage is as long as it is to a fifth of a second.
	lookEvery = 200 * time.Millisecond
	// flushEvery is how often what was counted is written down.
	flushEvery = time.Minute
	// rollEvery is how often what is old is written together.
	rollEvery = 10 * time.Minute
	// lossesKept bounds what is known, second by second, of the failures of a pool: half an hour. A fault that lasts longer
	// counts as noticed only for what failed in that time.
	lossesKept = 1800
)

var errNotMeasured = errors.New("nothing is measured yet: the process has only begun, or is about to end")

// meter measures what the service delivers: it looks at the pools and at the counters of requests, and writes the
// difference down every minute.
type meter struct {
	n *Node

	mu      sync.Mutex
	store   *tally.Store // nil before run
	looked  time.Time
	last    map[string]report.Counts  // of routes and pools, since the process began
	now     map[string]*report.Counts // of pools, since the last flush
	losses  map[string]*losses        // by pool
	told    map[int64]bool            // faults written down
	burning string                    // the alert in force
}

// losses is how many requests of a pool had failed at the ends of seconds.
type losses struct {
	at               []time.Time
	failed, requests []uint64
}

func newMeter(n *Node) *meter {
	return &meter{n: n, last: map[string]report.Counts{}, now: map[string]*report.Counts{}, losses: map[string]*losses{}, told: map[int64]bool{}}
}

// run measures until ctx ends, and writes down what there is then.
func (m *meter) run(ctx context.Context) error {
	store, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	m.mu.Lock()
	m.store, m.looked = store, time.Now()
	m.mu.Unlock()
	defer func() {
		if err := m.flush(context.WithoutCancel(ctx), time.Now()); err != nil {
			m.n.log.Error("counts not written", "error", err)
		}
		m.mu.Lock()
		m.store = nil
		m.mu.Unlock()
	}()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	flushed, rolled := time.Now(), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-look.C:
			m.look(now)
			if now.Sub(flushed) < flushEvery {
				continue
			}
			flushed = now
			err := m.flush(ctx, now)
			if now.Sub(rolled) >= rollEvery {
				rolled = now
				err = errors.Join(err, store.Roll(ctx, now))
			}
			if err == nil {
				err = m.alert(ctx, now)
			}
			if err != nil && ctx.Err() == nil {
				m.n.log.Error("counts not written", "error", err)
			}
		}
	}
}

// open opens the state file, or a memory if there is none or it can not be.
func (m *meter) open(ctx context.Context) (*tally.Store, error) {
	path := ""
	if j := m.n.history.journal; j != nil {
		path = j.Path()
	}
	store, err := tally.Open(ctx, path)
	if err != nil && path != "" {
		m.n.log.Warn("what is measured is not kept over a restart", "error", err)
		return tally.Open(ctx, "")
	}
	return store, err
}

// look adds the time since the last look to what pools are now.
func (m *meter) look(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	long := avail.Of(at.Sub(m.looked))
	m.looked = at
	if long <= 0 {
		return
	}
	now := m.n.now()
	for _, p := range m.n.poolList() {
		c := m.now[p.name]
		if c == nil {
			c = &report.Counts{}
			m.now[p.name] = c
		}
		count(c, p.balance, now, long)
	}
	m.lose(at)
}

// count adds a time to what a pool is.
func count(c *report.Counts, p *balance.Pool, now time.Duration, long avail.Seconds) {
	available, all := p.Available(now), p.Endpoints()
	if available > 0 {
		c.Up += long
	} else {
		c.Down += long
	}
	c.EndpointUp += long * avail.Seconds(available)
	c.Busy += long * avail.Seconds(p.InFlight())
	if available == len(all) {
		return
	}
	for _, e := range all {
		if s := e.Status(now); !s.Available && s.Admin == balance.Ready {
			c.EndpointDown += long
		}
	}
}

// lose notes how many requests of each pool have failed by now, once a second. The caller holds mu.
func (m *meter) lose(at time.Time) {
	pools := m.served()
	for name, c := range pools {
		l := m.losses[name]
		if l == nil {
			l = &losses{}
			m.losses[name] = l
		}
		if n := len(l.at); n > 0 && at.Sub(l.at[n-1]) < time.Second {
			continue
		}
		if len(l.at) == lossesKept {
			l.at, l.failed, l.requests = l.at[1:], l.failed[1:], l.requests[1:]
		}
		l.at, l.failed, l.requests = append(l.at, at), append(l.failed, c.Failed), append(l.requests, c.Requests)
	}
}

// served is what was counted of the requests of each pool since the process began: by the routes that lead there. A
// failure on a route that leads to several counts for each.
func (m *meter) served() map[string]report.Counts {
	_, routes := m.n.http.Stats()
	byName := map[[2]string]*l7.RouteStats{}
	for i := range routes {
		byName[[2]string{routes[i].Listener, routes[i].Route}] = &routes[i]
	}
	pools := map[string]report.Counts{}
	eachRoute(m.n.File(), func(listener, route string, to []config.Name) {
		r := byName[[2]string{listener, route}]
		for _, pool := range to {
			sum := pools[string(pool)]
			if r != nil {
				sum.Add(countsOf(r))
			}
			pools[string(pool)] = sum
		}
	})
	return pools
}

// eachRoute visits the routes of a file with the pools that they lead to.
func eachRoute(file *config.Config, visit func(listener, route string, pools []config.Name)) {
	for i := range file.Listeners {
		l := &file.Listeners[i]
		for j := range l.Routes {
			visit(string(l.Name), string(l.Routes[j].Name), l.Routes[j].Pools())
		}
	}
}

// countsOf is a route's counters. A client that went away before the answer is nobody's failure.
func countsOf(r *l7.RouteStats) report.Counts {
	c := report.Counts{Failed: r.Status[5], Latency: slices.Clone(r.Latency.Counts[:]), LatencySum: avail.Of(r.Latency.Sum)}
	for class, n := range r.Status {
		if class > 0 {
			c.Requests += n
		}
	}
	return c
}

// flush writes down what was counted since the last time, and the faults that are over.
func (m *meter) flush(ctx context.Context, at time.Time) error {
	m.look(at)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.store == nil {
		return errNotMeasured
	}
	rows := m.rows()
	if err := m.store.Write(ctx, at, rows); err != nil {
		return err
	}
	return m.writeFaults(ctx, at)
}

// rows is what was counted since the last time. The caller holds mu.
func (m *meter) rows() []tally.Row {
	var rows []tally.Row
	whole := report.Counts{}
	_, routes := m.n.http.Stats()
	for i := range routes {
		c := m.since("route "+routes[i].Listener+"/"+routes[i].Route, countsOf(&routes[i]))
		if c.Requests == 0 || routes[i].Route == l7.NoRoute {
			continue
		}
		rows = append(rows, tally.Row{Kind: tally.Route, Name: routes[i].Listener + "/" + routes[i].Route, Counts: c})
		whole.Add(c)
	}
	if whole.Requests > 0 {
		rows = append(rows, tally.Row{Kind: tally.Whole, Counts: whole})
	}
	served := m.served()
	for name, c := range m.now {
		sum := *c
		sum.Add(m.since("pool "+name, served[name]))
		rows = append(rows, tally.Row{Kind: tally.Pool, Name: name, Counts: sum})
	}
	m.now = map[string]*report.Counts{}
	return rows
}

// since is what has been added to counters since the last time. Counters that have gone back began anew.
func (m *meter) since(key string, c report.Counts) report.Counts {
	was := m.last[key]
	m.last[key] = c
	if c.Requests < was.Requests || c.Failed < was.Failed {
		return c
	}
	d := report.Counts{Requests: c.Requests - was.Requests, Failed: c.Failed - was.Failed, LatencySum: c.LatencySum - was.LatencySum, Latency: slices.Clone(c.Latency)}
	for i := range was.Latency {
		if i < len(d.Latency) && d.Latency[i] >= was.Latency[i] {
			d.Latency[i] -= was.Latency[i]
		}
	}
	return d
}

// writeFaults writes down the faults of endpoints that are over, with what clients lost meanwhile. The caller holds mu.
func (m *meter) writeFaults(ctx context.Context, at time.Time) error {
	list, err := m.n.Incidents(ctx, events.IncidentFilter{Since: at.Add(-lossesKept * time.Second)})
	if err != nil {
		return err
	}
	for i := range list {
		one := &list[i]
		if one.State != events.Recovered || one.Pool == "" || one.Endpoint == "" && one.Process == "" || m.told[one.ID] || one.Ended.Before(m.n.origin) {
			continue
		}
		f := report.Fault{
			ID: one.ID, Pool: one.Pool, Where: one.Endpoint, What: string(one.Kinds[0]), Began: one.Began,
			ToDetect: avail.Of(one.ToDetect.Duration()), ToRecover: avail.Of(one.ToRecover.Duration()),
		}
		if one.Process != "" {
			f.Where = one.Process
		}
		if l := m.losses[one.Pool]; l != nil {
			f.Failed = l.between(one.Began, one.Ended)
		}
		if err := m.store.WriteFault(ctx, f, one.Ended); err != nil {
			return err
		}
		m.told[one.ID] = true
	}
	return nil
}

// between is how many requests failed in a time, beyond what the share that failed in the minutes before leads one to
// expect (and three standard deviations of that).
func (l *losses) between(from, to time.Time) uint64 {
	at := func(t time.Time) int { // the last look at or before t
		i, _ := slices.BinarySearchFunc(l.at, t, func(a, t time.Time) int { return a.Compare(t.Add(1)) })
		return max(0, i-1)
	}
	begin, end := at(from), min(at(to)+1, len(l.at)-1)
	if end <= begin {
		return 0
	}
	failed, requests := float64(l.failed[end]-l.failed[begin]), float64(l.requests[end]-l.requests[begin])
	expected := 0.0
	if before := at(from.Add(-5 * time.Minute)); l.requests[begin] > l.requests[before] {
		share := float64(l.failed[begin]-l.failed[before]) / float64(l.requests[begin]-l.requests[before])
		expected = share * requests
	}
	if beyond := failed - expected - 3*math.Sqrt(expected); beyond > 0 && l.failed[end] >= l.failed[begin] {
		return uint64(failed - expected + 0.5)
	}
	return 0
}

// alert tells when the budget of errors burns too fast, and when it no longer does.
func (m *meter) alert(ctx context.Context, at time.Time) error {
	o := &m.n.File().Objectives
	m.mu.Lock()
	defer m.mu.Unlock()
	if o.Availability == 0 || m.store == nil {
		return nil
	}
	b := avail.Budget{Allowed: avail.FromAvailability(o.Availability.Fraction()), Window: avail.Of(o.Window)}
	whole, err := m.store.Read(ctx, tally.Whole, at.Add(-o.Window/5), at)
	if err != nil {
		return err
	}
	burns := report.Burns(b, whole[""], at, o.MinRequests)
	now := ""
	e := events.Event{Kind: events.BudgetEased, Evidence: "requests fail no faster than " + o.Availability.String() + " allows"}
	for _, one := range burns {
		if !one.Fires {
			continue
		}
		now = fmt.Sprint(one.Page)
		kind := events.BudgetBurning
		if one.Page {
			kind = events.BudgetBurningFast
		}
		e = events.Event{Kind: kind, Evidence: fmt.Sprintf("requests fail %.1f times as fast as %s allows over %s, and %.1f times over %s",
			one.AtLong, o.Availability, one.Long.Duration(), one.AtShort, one.Short.Duration())}
		break // the gravest comes first
	}
	if now != m.burning {
		m.burning = now
		m.n.history.publish(e)
	}
	return nil
}
