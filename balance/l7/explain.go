package l7

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/internal/edge"
	"github.com/trivet-ha/trivet/internal/loop"
)

// A Question describes a request, to ask where it would go.
type Question struct {
	Head []byte     // the request's head as it would be sent
	From netip.Addr // the client's address; the zero Addr is the machine itself
}

// An Explanation says what a listener would do with a request, and why.
type Explanation struct {
	Listener string
	Refused  string // why no route was asked: the request is invalid, or its source may not
	Status   int    // of the answer, if Trivet gives it itself
	Source   netip.Addr
	Host     string
	Path     string
	Tried    []Verdict // the routes that were looked at, in order
	Route    string
	Action   string // what the route does, for people
	Pool     string
	Target   string // as the endpoint would get it
	Hash     uint64
	Affinity string // the endpoint that the client's cookie names
	Choices  []balance.Consideration
}

// A Verdict is what a route says to a request: Why is empty if it takes it.
type Verdict struct {
	Route string
	Why   string
}

// Explain says what a request would meet. It sends and counts nothing.
func (l *Listener) Explain(q Question, now time.Duration) Explanation {
	e := Explanation{Listener: l.Name}
	w := &worker{Worker: &edge.Worker{Loop: &loop.Loop{}}, srv: &Server{}}
	if !q.From.IsValid() {
		q.From = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	req := &w.req
	if n, err := req.Parse(q.Head, &l.Limits); err != nil {
		e.refuse(err)
		return e
	} else if n == 0 {
		e.Status, e.Refused = 408, "the request's head is not complete"
		return e
	}
	if !normalise(w, req) {
		e.Status, e.Refused = 400, "the path leads out of the site"
		return e
	}
	e.Source = l.source(req, q.From)
	w.host = appendHostName(nil, req.Host)
	e.Host, e.Path = string(w.host), string(req.Path)
	if !l.Access.Permits(e.Source) {
		e.Status, e.Refused = 403, fmt.Sprintf("the listener's access list denies %s", e.Source)
		return e
	}
	x := &exchange{w: w, lis: l, c: &client{transport: transport{w: w, Conn: edge.Conn{Peer: netip.AddrPortFrom(q.From, 0)}}}, source: e.Source, method: req.Method}
	if x.route = e.find(l, &query{req: req, host: w.host, source: e.Source}); x.route != nil {
		e.follow(x, now)
	}
	return e
}

func (e *Explanation) refuse(err error) {
	e.Status, e.Refused = 400, err.Error()
	if bad, ok := err.(*http1.Error); ok {
		e.Status, e.Refused = bad.Status, fmt.Sprintf("%s (rule %s)", bad.Text, bad.Rule)
	}
}

// find asks the routes in order.
func (e *Explanation) find(l *Listener, q *query) *Route {
	for _, r := range l.Routes {
		why := r.Match.failure(q)
		e.Tried = append(e.Tried, Verdict{Route: r.Name, Why: why})
		if why == "" {
			e.Route = r.Name
			return r
		}
	}
	e.Status, e.Action = 404, "no route takes it"
	return nil
}

// follow says what the route does.
func (e *Explanation) follow(x *exchange, now time.Duration) {
	r, req := x.route, &x.w.req
	switch {
	case !r.Access.Permits(e.Source):
		e.Status, e.Action = 403, fmt.Sprintf("the route's access list denies %s", e.Source)
		return
	case r.Redirect != nil:
		e.Status, e.Action = r.Redirect.Status, "redirect to "+string(r.Redirect.Location.append(nil, x))
		return
	case r.Respond != nil:
		e.Status, e.Action = r.Respond.Status, "fixed answer"
		return
	}
	x.up = r.upstream(uint64(now))
	e.Action = "pass to pool " + x.up.Name
	if len(r.Split) > 0 {
		e.Action = fmt.Sprintf("split over %d pools, this time to %s", len(r.Split), x.up.Name)
	}
	set := x.up.settings.Load()
	e.Pool, e.Target = x.up.Name, string(x.target())
	e.Hash = set.Hash.of(req, x.w.host, e.Source)
	p := balance.Request{Hash: e.Hash, Random: uint64(now) | 1, Now: now}
	if set.Affinity.Cookie != "" {
		if p.Prefer = x.up.prefer(&set.Affinity, req, now); p.Prefer != nil {
			e.Affinity = p.Prefer.Address()
		}
	}
	e.Choices = x.up.Pool.Explain(&p)
}
