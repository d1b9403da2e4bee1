package l7

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/trivet-ha/trivet/balance/l7/http1"
)

func queryOf(t testing.TB, head string) *query {
	t.Helper()
	req := new(http1.Request)
	if n, err := req.Parse([]byte(head), nil); err != nil || n == 0 {
		t.Fatalf("%q: %v", head, err)
	}
	return &query{req: req, host: appendHostName(nil, req.Host), source: netip.MustParseAddr("192.0.2.1")}
}

func TestHostNameIsFoundInAnAuthority(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "A.Example": "a.example", "a.example:80": "a.example", "a.example.": "a.example", "a.example.:80": "a.example",
		"[2001:DB8::1]": "2001:db8::1", "[2001:db8::1]:80": "2001:db8::1", "192.0.2.1:80": "192.0.2.1", ":80": "",
	} {
		if got := string(appendHostName(nil, []byte(in))); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

func TestNamesAreEqualButForCase(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"X-User", "x-uSER", true}, {"", "", true}, {"a", "b", false}, {"a", "aa", false},
		{"@", "`", false}, {"[", "{", false}, {"X-1", "x-1", true}, {"X-1", "X\r1", false},
	} {
		if got := equalFold([]byte(c.a), c.b); got != c.want {
			t.Errorf("%q and %q: %v", c.a, c.b, got)
		}
	}
}

// manySites has a route for each of n hosts, behind a few for all of them.
func manySites(n int) []*Route {
	routes := []*Route{
		{Name: "health", Match: Match{Path: "/.health"}},
		{Name: "wild", Match: Match{Hosts: []string{"*.wild.example"}}},
	}
	for i := range n {
		routes = append(routes, &Route{Name: fmt.Sprint(i), Match: Match{Hosts: []string{fmt.Sprintf("site%d.example", i)}, PathPrefix: "/"}})
	}
	return routes
}

func BenchmarkMatchThousandHosts(b *testing.B) {
	x := newRouteIndex(manySites(1000))
	for _, host := range []string{"site0.example", "site999.example", "x.wild.example"} {
		b.Run(host, func(b *testing.B) {
			q := queryOf(b, "GET /a/b HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
			b.ReportAllocs()
			for range b.N {
				if x.find(q) == nil {
					b.Fatal("no route")
				}
			}
		})
	}
}

func BenchmarkIndexThousandHosts(b *testing.B) {
	routes := manySites(1000)
	for range b.N {
		newRouteIndex(routes)
	}
}
