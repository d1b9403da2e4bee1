package l7_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/fault/retry"
)

// say is a route that answers with its own name.
func say(name string, m l7.Match) *l7.Route {
	return &l7.Route{Name: name, Match: m, Respond: &l7.Respond{Status: 200, Body: []byte(name)}}
}

// atlas has a route for everything that can be matched.
func atlas() []*l7.Route {
	return []*l7.Route{
		say("exact-path", l7.Match{Hosts: []string{"a.example"}, Path: "/exact"}),
		say("prefix", l7.Match{Hosts: []string{"a.example"}, PathPrefix: "/api"}),
		say("prefix-slash", l7.Match{Hosts: []string{"a.example"}, PathPrefix: "/dir/"}),
		say("regex", l7.Match{Hosts: []string{"a.example"}, PathRegexp: regexp.MustCompile(`^/u/[0-9]+$`)}),
		say("method", l7.Match{Hosts: []string{"a.example"}, Methods: []string{"PUT", "PURGE"}}),
		say("header", l7.Match{Hosts: []string{"a.example"}, Headers: []l7.FieldMatch{{Name: "X-Canary", Value: "1"}}}),
		say("header-regex", l7.Match{Hosts: []string{"a.example"}, Headers: []l7.FieldMatch{{Name: "User-Agent", Kind: l7.FieldMatches, Regexp: regexp.MustCompile("(?i)bot")}}}),
		say("header-present", l7.Match{Hosts: []string{"a.example"}, Headers: []l7.FieldMatch{{Name: "X-Debug", Kind: l7.FieldPresent}}}),
		say("query", l7.Match{Hosts: []string{"a.example"}, Query: []l7.FieldMatch{{Name: "v", Value: "a b"}}}),
		say("query-absent", l7.Match{Hosts: []string{"a.example"}, Path: "/search", Query: []l7.FieldMatch{{Name: "q", Kind: l7.FieldAbsent}}}),
		say("wildcard", l7.Match{Hosts: []string{"*.b.example", "b.example"}}),
		say("never", l7.Match{Hosts: []string{"a.example"}, Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}),
		say("source", l7.Match{Hosts: []string{"c.example"}, Sources: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}),
		say("any-host", l7.Match{PathPrefix: "/everywhere"}),
		say("rest-of-a", l7.Match{Hosts: []string{"a.example"}}),
		say("catch-all", l7.Match{Hosts: []string{"*"}, PathPrefix: "/any"}),
	}
}

var ways = []struct{ request, want string }{
	{lines("GET /exact HTTP/1.1", "Host: a.example"), "exact-path"},
	{lines("GET /exact/ HTTP/1.1", "Host: a.example"), "rest-of-a"},
	{lines("GET /exact?x=y HTTP/1.1", "Host: A.Example:8080"), "exact-path"},
	{lines("GET /exact HTTP/1.1", "Host: a.example."), "exact-path"},
	{lines("GET /api HTTP/1.1", "Host: a.example"), "prefix"},
	{lines("GET /api/x HTTP/1.1", "Host: a.example"), "prefix"},
	{lines("GET /apix HTTP/1.1", "Host: a.example"), "rest-of-a"},
	{lines("GET /x/../api/y HTTP/1.1", "Host: a.example"), "prefix"},
	{lines("GET /api/../exact HTTP/1.1", "Host: a.example"), "exact-path"},
	{lines("GET /dir/ HTTP/1.1", "Host: a.example"), "prefix-slash"},
	{lines("GET /dir HTTP/1.1", "Host: a.example"), "rest-of-a"},
	{lines("GET /u/17 HTTP/1.1", "Host: a.example"), "regex"},
	{lines("GET /u/x HTTP/1.1", "Host: a.example"), "rest-of-a"},
	{lines("PURGE /x HTTP/1.1", "Host: a.example"), "method"},
	{lines("GET /x HTTP/1.1", "Host: a.example", "x-canary: 0", "x-canary: 1"), "header"},
	{lines("GET /x HTTP/1.1", "Host: a.example", "X-Canary: 2"), "rest-of-a"},
	{lines("GET /x HTTP/1.1", "Host: a.example", "User-Agent: GoogleBot"), "header-regex"},
	{lines("GET /x HTTP/1.1", "Host: a.example", "X-Debug:"), "header-present"},
	{lines("GET /x?u=1&v=a+b HTTP/1.1", "Host: a.example"), "query"},
	{lines("GET /x?%76=a%20b HTTP/1.1", "Host: a.example"), "query"},
	{lines("GET /x?v=%zz HTTP/1.1", "Host: a.example"), "rest-of-a"},
	{lines("GET /search HTTP/1.1", "Host: a.example"), "query-absent"},
	{lines("GET /search?q=1 HTTP/1.1", "Host: a.example"), "rest-of-a"},
	{lines("GET / HTTP/1.1", "Host: x.b.example"), "wildcard"},
	{lines("GET / HTTP/1.1", "Host: x.y.b.example"), "wildcard"},
	{lines("GET / HTTP/1.1", "Host: b.example"), "wildcard"},
	{lines("GET / HTTP/1.1", "Host: xb.example"), ""},
	{lines("GET / HTTP/1.1", "Host: c.example"), "source"},
	{lines("GET /everywhere/ HTTP/1.1", "Host: a.example"), "any-host"},
	{lines("GET /everywhere/ HTTP/1.1", "Host: z.example"), "any-host"},
	{lines("GET /everywhere HTTP/1.1", "Host: [2001:db8::1]:80"), "any-host"},
	{lines("GET /any HTTP/1.1", "Host: z.example"), "catch-all"},
	{lines("GET http://a.example/exact HTTP/1.1", "Host: z.example"), "exact-path"},
	{lines("GET / HTTP/1.1", "Host: z.example"), ""},
	{lines("OPTIONS * HTTP/1.1", "Host: a.example"), "rest-of-a"},
	{lines("GET /exact HTTP/1.0", "Connection: keep-alive"), ""},
}

func TestFirstRouteThatMatchesTakesTheRequest(t *testing.T) {
	st := serve(t, nil, func(s *setup) {
		s.before = atlas()
		s.route = l7.Route{Name: "last", Match: l7.Match{Hosts: []string{"nobody"}}, Respond: &l7.Respond{Status: 204}}
	})
	client := st.dial()
	listener := st.srv.Listeners()[0]
	for _, w := range ways {
		client.say(w.request)
		head := client.head()
		_, length, _ := strings.Cut(head, "Content-Length: ")
		n := 0
		fmt.Sscanf(length, "%d", &n)
		body := client.take(n)
		if w.want == "" {
			if !strings.HasPrefix(head, "HTTP/1.1 404 Not Found\r\n") {
				t.Errorf("%q got\n%s", w.request, quoted(head))
			}
		} else if body != w.want {
			t.Errorf("%q went to %s, want %s", w.request, body, w.want)
		}
		// Explain tells the same, and why not before.
		e := listener.Explain(l7.Question{Head: []byte(w.request)}, st.now())
		if e.Route != w.want {
			t.Errorf("%q is explained by route %q, want %q", w.request, e.Route, w.want)
		}
		for i, v := range e.Tried {
			if v.Route != listener.Routes[i].Name || (v.Why == "") != (v.Route == w.want && w.want != "") {
				t.Errorf("%q: route %d is %s and says %q", w.request, i, v.Route, v.Why)
			}
		}
	}
}

func TestExplainTellsWhatIsDone(t *testing.T) {
	st := serve(t, []string{"192.0.2.1:80", "192.0.2.2:80"}, func(s *setup) {
		s.upstream.Affinity = l7.Affinity{Cookie: "srv"}
		s.upstream.Hash = l7.Hash{Key: l7.HashPath}
		s.pool.Algorithm = balance.Maglev
		s.route.Rewrite = l7.Rewrite{StripPrefix: "/app"}
		s.before = []*l7.Route{
			{Name: "moved", Match: l7.Match{Path: "/old"}, Redirect: &l7.Redirect{Status: 308, Location: template(t, "https://{host}/new?{query}")}},
			{Name: "inner", Match: l7.Match{Path: "/inner"}, Access: l7.Access{Allow: prefixes("10.0.0.0/8")}},
		}
	})
	l := st.srv.Listeners()[0]
	explain := func(head, from string) l7.Explanation {
		q := l7.Question{Head: []byte(head)}
		if from != "" {
			q.From = netip.MustParseAddr(from)
		}
		return l.Explain(q, st.now())
	}
	key := st.pool.Endpoints()[1].Key()
	e := explain(lines("GET /app/x HTTP/1.1", "Host: a.example", "Cookie: srv="+key), "")
	if e.Route != "all" || e.Pool != "site" || e.Target != "/x" || e.Affinity != "192.0.2.2:80" || len(e.Choices) != 2 || e.Hash == 0 || e.Source.String() != "127.0.0.1" {
		t.Errorf("%+v", e)
	}
	if e = explain(lines("GET /old?a=b HTTP/1.1", "Host: a.example"), ""); e.Status != 308 || e.Action != "redirect to https://a.example/new?a=b" {
		t.Errorf("%+v", e)
	}
	if e = explain(lines("GET /inner HTTP/1.1", "Host: a.example"), "192.0.2.9"); e.Status != 403 || !strings.Contains(e.Action, "192.0.2.9") {
		t.Errorf("%+v", e)
	}
	if e = explain(lines("GET /inner HTTP/1.1", "Host: a.example"), "10.0.0.9"); e.Pool != "site" {
		t.Errorf("%+v", e)
	}
	if e = explain("GET / HTTP/1.1\r\n", ""); e.Status != 408 || e.Refused == "" {
		t.Errorf("%+v", e)
	}
	if e = explain(lines("GET /../x HTTP/1.1", "Host: a"), ""); e.Status != 400 || e.Refused == "" {
		t.Errorf("%+v", e)
	}
	if e = explain(lines("GET / HTTP/1.1", "Host: a", "Content-Length: x"), ""); e.Status != 400 || !strings.Contains(e.Refused, "content-length") {
		t.Errorf("%+v", e)
	}
	if n := st.pool.InFlight(); n != 0 {
		t.Errorf("explaining took %d places", n)
	}
}

func TestRedirectsAndFixedAnswers(t *testing.T) {
	st := serve(t, nil, func(s *setup) {
		s.before = []*l7.Route{
			{Name: "moved", Match: l7.Match{Path: "/old"}, Redirect: &l7.Redirect{Status: 301, Location: template(t, "https://{host}{uri}")}},
			{
				Name: "teapot", Match: l7.Match{Path: "/tea"},
				Respond:         &l7.Respond{Status: 418, Type: "application/json", Body: []byte(`{"short":true}`), Headers: l7.HeaderOps{Add: []l7.HeaderOp{{Name: "X-For", Value: template(t, "{client_ip}")}}}},
				ResponseHeaders: l7.HeaderOps{Set: []l7.HeaderOp{{Name: "X-All", Value: template(t, "{status}")}}},
			},
			{Name: "nothing", Match: l7.Match{Path: "/none"}, Respond: &l7.Respond{Status: 204, Body: []byte("ignored")}},
			{Name: "closed", Match: l7.Match{Path: "/closed"}, Access: l7.Access{Deny: prefixes("127.0.0.0/8")}, Respond: &l7.Respond{Status: 200}},
		}
	})
	client := st.dial()
	for _, c := range []struct{ request, want string }{
		{lines("GET /old?a=b HTTP/1.1", "Host: a.example"), lines("HTTP/1.1 301 Moved Permanently", "Content-Type: text/plain; charset=utf-8", "Content-Length: 0", "Location: https://a.example/old?a=b")},
		{lines("POST /tea HTTP/1.1", "Host: a.example", "Content-Length: 3") + "hot", lines("HTTP/1.1 418", "Content-Type: application/json", "Content-Length: 14", "X-For: 127.0.0.1", "X-All: 418") + `{"short":true}`},
		{lines("HEAD /tea HTTP/1.1", "Host: a.example"), lines("HTTP/1.1 418", "Content-Type: application/json", "Content-Length: 14", "X-For: 127.0.0.1", "X-All: 418")},
		{lines("GET /none HTTP/1.1", "Host: a.example"), lines("HTTP/1.1 204 No Content")},
		{lines("GET /closed HTTP/1.1", "Host: a.example"), ownAnswer("403 Forbidden", "this address may not")},
	} {
		client.say(c.request)
		got := strings.Replace(client.synced(), "HTTP/1.1 418 I'm a teapot", "HTTP/1.1 418", 1)
		if got = strings.Replace(got, "HTTP/1.1 418 \r", "HTTP/1.1 418\r", 1); got != c.want {
			t.Errorf("%q got\n%s\nwant\n%s", c.request, quoted(got), quoted(c.want))
		}
	}
}

func TestPathsAreRewritten(t *testing.T) {
	for _, c := range []struct {
		rewrite    l7.Rewrite
		from, want string
	}{
		{l7.Rewrite{Path: "/index"}, "/a/b?c=d", "/index?c=d"},
		{l7.Rewrite{StripPrefix: "/app"}, "/app/x?y", "/x?y"},
		{l7.Rewrite{StripPrefix: "/app"}, "/app", "/"},
		{l7.Rewrite{StripPrefix: "/app/"}, "/app/x", "/x"},
		{l7.Rewrite{StripPrefix: "/app"}, "/apple", "/apple"},
		{l7.Rewrite{Regexp: regexp.MustCompile(`^/u/(\d+)`), Replace: "/user/$1"}, "/u/7/x?q", "/user/7/x?q"},
		{l7.Rewrite{Regexp: regexp.MustCompile(`^/x`), Replace: "y z\r\nX: ?#"}, "/x", "/y%20z%0D%0AX:%20%3F%23"},
		{l7.Rewrite{Regexp: regexp.MustCompile(`nothing`), Replace: "x"}, "/a?b", "/a?b"},
	} {
		e := newEndpoint(t)
		st := serve(t, []string{e.addr()}, func(s *setup) { s.route.Rewrite = c.rewrite })
		got, _ := st.exchange(st.dial(), e, lines("GET "+c.from+" HTTP/1.1", "Host: a.example"), ok("", "Content-Length: 0"))
		if want := lines("GET "+c.want+" HTTP/1.1", "Host: a.example"); got != want {
			t.Errorf("%+v: the endpoint got %q, want %q", c.rewrite, got, want)
		}
	}
}

func TestSplitFollowsItsWeights(t *testing.T) {
	a, b := echoer(t, "a"), echoer(t, "b")
	st := serve(t, nil, func(s *setup) {
		share := func(e *endpoint) *l7.Upstream {
			p, err := balance.New(balance.Config{Endpoints: []balance.EndpointConfig{{Address: e.addr()}}}, 0)
			if err != nil {
				t.Fatal(err)
			}
			return l7.NewUpstream("share", p, nil, l7.UpstreamSettings{})
		}
		s.route = l7.Route{Name: "split", Split: []l7.Share{{Upstream: share(a), Weight: 9}, {Upstream: share(b), Weight: 1}}}
	})
	client := st.dial()
	seen := map[string]int{}
	for range 1000 {
		_, who := client.ask(get())
		seen[who]++
	}
	if seen["a"] < 850 || seen["b"] < 60 {
		t.Errorf("of a split 9:1 came %v", seen)
	}
}

func TestApplyChecksEverythingFirst(t *testing.T) {
	st := serve(t, nil)
	up := st.up
	listener := func(change func(*l7.Listener, *l7.Route)) []*l7.Listener {
		r := &l7.Route{Name: "r", Upstream: up}
		l := &l7.Listener{Name: "l", Addresses: []string{"127.0.0.1:0"}, Routes: []*l7.Route{r}}
		change(l, r)
		return []*l7.Listener{l}
	}
	for want, list := range map[string][]*l7.Listener{
		"needs a name":               listener(func(l *l7.Listener, r *l7.Route) { l.Name = "" }),
		"needs a name and":           listener(func(l *l7.Listener, r *l7.Route) { l.Addresses = nil }),
		"exactly one action, has 0":  listener(func(l *l7.Listener, r *l7.Route) { r.Upstream = nil }),
		"exactly one action, has 2":  listener(func(l *l7.Listener, r *l7.Route) { r.Respond = &l7.Respond{} }),
		"weights of its split":       listener(func(l *l7.Listener, r *l7.Route) { r.Upstream, r.Split = nil, []l7.Share{{Upstream: up}} }),
		"two routes are named":       listener(func(l *l7.Listener, r *l7.Route) { l.Routes = append(l.Routes, &l7.Route{Name: "r", Upstream: up}) }),
		"retry":                      listener(func(l *l7.Listener, r *l7.Route) { r.Retry = retry.Policy{Attempts: -1} }),
		"must be an IP address":      listener(func(l *l7.Listener, r *l7.Route) { l.Addresses = []string{"example:80"} }),
		"no number up to":            listener(func(l *l7.Listener, r *l7.Route) { l.Addresses = []string{":http"} }),
		"missing port":               listener(func(l *l7.Listener, r *l7.Route) { l.Addresses = []string{"127.0.0.1"} }),
		"the name is taken":          append(listener(func(*l7.Listener, *l7.Route) {}), listener(func(l *l7.Listener, r *l7.Route) { l.Addresses = []string{"127.0.0.2:0"} })...),
		"already has address":        append(listener(func(*l7.Listener, *l7.Route) {}), listener(func(l *l7.Listener, r *l7.Route) { l.Name = "m" })...),
		"cannot assign":              listener(func(l *l7.Listener, r *l7.Route) { l.Addresses = []string{"127.0.0.1:0", "192.0.2.1:80"} }),
		"listen on unix:/nowhere/s:": listener(func(l *l7.Listener, r *l7.Route) { l.Addresses = []string{"unix:/nowhere/s"} }),
	} {
		if err := st.srv.Apply(list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	st.dial().synced() // nothing has changed
	if n := len(st.srv.Listeners()); n != 1 {
		t.Errorf("%d listeners are there", n)
	}
}

// TestManyRoutesKeepTheirOrder compares the index by host with asking every route in turn.
func TestManyRoutesKeepTheirOrder(t *testing.T) {
	var routes []*l7.Route
	hosts := []string{"a.example", "b.example", "x.a.example", "*.a.example", "*.example", "*"}
	for i := range 200 {
		m := l7.Match{PathPrefix: fmt.Sprintf("/%d", i%7)}
		for j := range i % 4 {
			m.Hosts = append(m.Hosts, hosts[(i*5+j*3)%len(hosts)])
		}
		routes = append(routes, say(fmt.Sprintf("r%03d", i), m))
	}
	st := serve(t, nil, func(s *setup) { s.before = routes[150:] })
	l := st.srv.Listeners()[0]
	client := st.dial()
	for _, host := range []string{"a.example", "b.example", "x.a.example", "y.a.example", "z.example", "other"} {
		for p := range 8 {
			request := lines(fmt.Sprintf("GET /%d/x HTTP/1.1", p), "Host: "+host)
			want := l.Explain(l7.Question{Head: []byte(request)}, 0).Route // asks every route in turn
			client.say(request)
			got := client.synced()
			if want == "all" {
				want = "no endpoint is available\n"
			}
			if !strings.HasSuffix(got, "\r\n\r\n"+want) {
				t.Errorf("host %s, path %d: got\n%s\nwant %s", host, p, quoted(got), want)
			}
		}
	}
}

func TestStatsCountWhatHappens(t *testing.T) {
	e := echoer(t, "x")
	st := serve(t, []string{e.addr()}, oneLoop)
	client := st.dial()
	for range 3 {
		client.ask(get())
	}
	client.synced()
	client.say(lines("GET /../ HTTP/1.1", "Host: a"))
	client.synced()
	_, routes := st.srv.Stats()
	i := slices.IndexFunc(routes, func(r l7.RouteStats) bool { return r.Route == "all" })
	if r := routes[i]; r.Status != [6]uint64{2: 3} || r.BytesOut != 3 || r.Latency.Total() != 3 || r.Latency.Sum <= 0 || r.Latency.Sum > time.Minute {
		t.Errorf("%+v", r)
	}
	_, endpoints := st.up.Stats()
	if e := endpoints[0]; e.Status != [6]uint64{2: 3} || e.Connects != 1 || e.Reuses != 2 || e.Connections != 1 || e.Latency.Total() != 3 {
		t.Errorf("%+v", e)
	}
	listeners, _ := st.srv.Stats()
	if l := listeners[0]; l.Listener != "web" || l.Accepted != 1 || l.Open != 1 {
		t.Errorf("%+v", l)
	}
	i = slices.IndexFunc(routes, func(r l7.RouteStats) bool { return r.Route == "(none)" })
	if i < 0 || routes[i].Status[4] != 1 {
		t.Errorf("what no route took is counted as %+v", routes)
	}
}
