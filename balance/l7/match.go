package l7

import (
	"bytes"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/internal/edge"
)

// routeIndex finds the routes that a host name leaves over, so that a thousand sites cost one look-up.
type routeIndex struct {
	byHost map[string][]*Route // exact names, each with the wildcard and host-less routes among its own, in order
	other  []*Route            // for names not in byHost
}

func newRouteIndex(routes []*Route) routeIndex {
	x := routeIndex{byHost: map[string][]*Route{}}
	for _, r := range routes {
		for _, h := range r.Match.Hosts {
			if !strings.HasPrefix(h, "*") {
				x.byHost[h] = nil
			}
		}
	}
	for _, r := range routes {
		x.add(r)
	}
	return x
}

// add puts a route behind those that came before it.
func (x *routeIndex) add(r *Route) {
	if !wildcard(r.Match.Hosts) { // its hosts are all that it can match
		for i, h := range r.Match.Hosts {
			if !slices.Contains(r.Match.Hosts[:i], h) {
				x.byHost[h] = append(x.byHost[h], r)
			}
		}
		return
	}
	x.other = append(x.other, r)
	for h := range x.byHost {
		if r.Match.hostMatches([]byte(h)) {
			x.byHost[h] = append(x.byHost[h], r)
		}
	}
}

// wildcard reports whether hosts that no route names are among these.
func wildcard(hosts []string) bool {
	return len(hosts) == 0 || slices.ContainsFunc(hosts, func(h string) bool { return strings.HasPrefix(h, "*") })
}

// find returns the first route that matches, or nil.
func (x *routeIndex) find(q *query) *Route {
	list, ok := x.byHost[string(q.host)]
	if !ok {
		list = x.other
	}
	for _, r := range list {
		if r.Match.matches(q) {
			return r
		}
	}
	return nil
}

// query is what routes look at.
type query struct {
	req    *http1.Request
	host   []byte // lower case, without port or final dot
	source netip.Addr
}

func (m *Match) matches(q *query) bool {
	return m.hostMatches(q.host) &&
		m.pathMatches(q.req.Path) &&
		m.methodMatches(q.req.MethodText) &&
		(len(m.Headers) == 0 || m.headersMatch(q.req)) &&
		(len(m.Query) == 0 || m.queryMatches(q.req.Query)) &&
		(len(m.Sources) == 0 || edge.Contains(m.Sources, q.source))
}

// failure names the first condition that does not hold, for explanations; empty if all do.
func (m *Match) failure(q *query) string {
	switch {
	case !m.hostMatches(q.host):
		return "host is not " + strings.Join(m.Hosts, " or ")
	case !m.pathMatches(q.req.Path):
		return "path does not match " + m.pathText()
	case !m.methodMatches(q.req.MethodText):
		return "method is not " + strings.Join(m.Methods, " or ")
	case len(m.Headers) > 0 && !m.headersMatch(q.req):
		return "header condition does not hold"
	case len(m.Query) > 0 && !m.queryMatches(q.req.Query):
		return "query condition does not hold"
	case len(m.Sources) > 0 && !edge.Contains(m.Sources, q.source):
		return "source address is in none of its networks"
	}
	return ""
}

func (m *Match) pathText() string {
	switch {
	case m.Path != "":
		return m.Path
	case m.PathPrefix != "":
		return m.PathPrefix + "*"
	case m.PathRegexp != nil:
		return "~" + m.PathRegexp.String()
	}
	return "*"
}

func (m *Match) hostMatches(host []byte) bool {
	if len(m.Hosts) == 0 {
		return true
	}
	for _, h := range m.Hosts {
		if h == "*" || h == string(host) {
			return true
		}
		if strings.HasPrefix(h, "*.") && len(host) > len(h)-1 && string(host[len(host)-len(h)+1:]) == h[1:] {
			return true
		}
	}
	return false
}

func (m *Match) pathMatches(path []byte) bool {
	switch {
	case m.Path != "":
		return m.Path == string(path)
	case m.PathPrefix != "":
		return underPrefix(path, m.PathPrefix)
	case m.PathRegexp != nil:
		return m.PathRegexp.Match(path)
	}
	return true
}

// underPrefix reports whether the path begins with the prefix, in whole segments.
func underPrefix(path []byte, prefix string) bool {
	if len(path) < len(prefix) || string(path[:len(prefix)]) != prefix {
		return false
	}
	return len(path) == len(prefix) || prefix[len(prefix)-1] == '/' || path[len(prefix)] == '/'
}

func (m *Match) methodMatches(method []byte) bool {
	if len(m.Methods) == 0 {
		return true
	}
	for _, want := range m.Methods {
		if want == string(method) {
			return true
		}
	}
	return false
}

func (m *Match) headersMatch(req *http1.Request) bool {
	for i := range m.Headers {
		if !m.Headers[i].headerHolds(req) {
			return false
		}
	}
	return true
}

func (f *FieldMatch) headerHolds(req *http1.Request) bool {
	found := false
	for i := range req.Fields {
		if !equalFold(req.Fields[i].Name, f.Name) {
			continue
		}
		found = true
		if f.holds(req.Fields[i].Value) {
			return true
		}
	}
	return !found && f.Kind == FieldAbsent
}

func (f *FieldMatch) holds(value []byte) bool {
	switch f.Kind {
	case FieldEquals:
		return string(value) == f.Value
	case FieldMatches:
		return f.Regexp.Match(value)
	case FieldPresent:
		return true
	}
	return false
}

func (m *Match) queryMatches(query []byte) bool {
	for i := range m.Query {
		if !m.Query[i].queryHolds(query) {
			return false
		}
	}
	return true
}

func (f *FieldMatch) queryHolds(query []byte) bool {
	found := false
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte{'&'})
		name, value, _ := bytes.Cut(pair, []byte{'='})
		if !equalUnescaped(name, f.Name) {
			continue
		}
		found = true
		if f.holds(unescape(value)) {
			return true
		}
	}
	return !found && f.Kind == FieldAbsent
}

// queryValue returns the first value of a parameter as it was sent, not decoded.
func queryValue(query []byte, name string) []byte {
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte{'&'})
		if n, value, _ := bytes.Cut(pair, []byte{'='}); equalUnescaped(n, name) {
			return value
		}
	}
	return nil
}

func equalUnescaped(raw []byte, s string) bool {
	return string(raw) == s || (escaped(raw) && string(unescape(raw)) == s)
}

func escaped(raw []byte) bool {
	return bytes.IndexByte(raw, '%') >= 0 || bytes.IndexByte(raw, '+') >= 0
}

// unescape decodes a query component; one that is malformed stays as it is.
func unescape(raw []byte) []byte {
	if !escaped(raw) {
		return raw
	}
	s, err := url.QueryUnescape(string(raw))
	if err != nil {
		return raw
	}
	return []byte(s)
}

// appendHostName appends the host part of an authority in lower case, without port and final dot.
func appendHostName(dst, authority []byte) []byte {
	host := authority
	if len(host) > 0 && host[0] == '[' {
		if i := bytes.IndexByte(host, ']'); i > 0 {
			host = host[1:i]
		}
	} else if i := bytes.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	if n := len(host); n > 0 && host[n-1] == '.' {
		host = host[:n-1]
	}
	for _, c := range host {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// equalFold compares a field name with one of ours, ASCII case-insensitively.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(b) {
		x, y := b[i], s[i]
		if x != y && (x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}
