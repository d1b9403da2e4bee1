package l7_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7"
)

// echoer answers every request with its own name and given fields.
func echoer(t *testing.T, name string, fields ...string) *endpoint {
	e := newEndpoint(t)
	e.play(func(p *peer) {
		for p.tryHead() != "" {
			p.say(ok(name, append([]string{fmt.Sprintf("Content-Length: %d", len(name))}, fields...)...))
		}
	})
	return e
}

// ask sends a request and returns the answer's head and its body of one byte.
func (p *peer) ask(request string) (head, body string) {
	p.t.Helper()
	p.say(request)
	return p.head(), p.take(1)
}

var setCookie = regexp.MustCompile(`\r\nSet-Cookie: (srv=[^;\r]+)([^\r]*)\r\n`)

func TestCookieKeepsAClientWithItsEndpoint(t *testing.T) {
	a, b, c := echoer(t, "a"), echoer(t, "b"), echoer(t, "c")
	st := serve(t, []string{a.addr(), b.addr(), c.addr()}, func(s *setup) {
		s.upstream.Affinity = l7.Affinity{Cookie: "srv", TTL: time.Hour, Attributes: "; Path=/; HttpOnly"}
	})
	client := st.dial()
	seen := map[string]bool{}
	for range 3 { // new clients are spread
		head, who := client.ask(get())
		m := setCookie.FindStringSubmatch(head)
		if m == nil || m[2] != "; Max-Age=3600; Path=/; HttpOnly" {
			t.Fatalf("the client got\n%s", quoted(head))
		}
		seen[who] = true
		for range 5 {
			head, again := client.ask(get("Cookie: other=1; " + m[1] + "; more=2"))
			if again != who || strings.Contains(head, "Set-Cookie") {
				t.Fatalf("a client of %s came to %s with\n%s", who, again, quoted(head))
			}
		}
	}
	if len(seen) != 3 {
		t.Errorf("three clients came to %v", seen)
	}
	head, _ := client.ask(get("Cookie: srv=forged"))
	if !setCookie.MatchString(head) {
		t.Error("a value that names nobody is not replaced")
	}
}

func TestAffinityOutlastsDrainAndReloadButNotMaintenance(t *testing.T) {
	a, b := echoer(t, "a"), echoer(t, "b")
	st := serve(t, []string{a.addr(), b.addr()}, func(s *setup) { s.upstream.Affinity = l7.Affinity{Cookie: "srv"} })
	client := st.dial()
	head, who := client.ask(get())
	cookie := "Cookie: " + setCookie.FindStringSubmatch(head)[1]
	mine, other := a, "b"
	if who == "b" {
		mine, other = b, "a"
	}
	ep := st.pool.ByAddress(mine.addr())
	st.pool.SetAdmin(ep, balance.Drain, st.now())
	for range 4 {
		if _, got := client.ask(get()); got != other {
			t.Error("a new client came to an endpoint that is drained")
		}
		if _, got := client.ask(get(cookie)); got != who {
			t.Error("a session was moved off an endpoint that is drained")
		}
	}
	if err := st.srv.Apply([]*l7.Listener{st.makeListener()}); err != nil {
		t.Fatal(err)
	}
	st.up.Configure(st.up.Settings())
	cfg := st.setup.pool
	cfg.Algorithm = balance.LeastRequest
	if err := st.pool.Update(cfg, st.now()); err != nil {
		t.Fatal(err)
	}
	if _, got := client.ask(get(cookie)); got != who {
		t.Error("a session was lost by a reload")
	}
	st.pool.SetAdmin(ep, balance.Maintenance, st.now())
	head, got := client.ask(get(cookie))
	if got != other || !setCookie.MatchString(head) {
		t.Errorf("in maintenance: the session is with %s, and got\n%s", got, quoted(head))
	}
}

func TestApplicationsCookieIsLearned(t *testing.T) {
	a := echoer(t, "a", "Set-Cookie: sid=of-a; Path=/")
	b := echoer(t, "b", "Set-Cookie: sid=of-b; Path=/")
	st := serve(t, []string{a.addr(), b.addr()}, func(s *setup) {
		s.upstream.Affinity = l7.Affinity{Cookie: "sid", Application: true}
	})
	client := st.dial()
	client.ask(get())
	client.ask(get())
	for range 5 {
		for _, who := range []string{"a", "b"} {
			head, got := client.ask(get("Cookie: sid=of-" + who))
			if got != who || strings.Contains(head, "srv=") || strings.Count(head, "Set-Cookie") != 1 {
				t.Errorf("the session of %s came to %s with\n%s", who, got, quoted(head))
			}
		}
	}
}

// TestDeadConnectionDoesNotMoveASession: the retry on a new connection goes to the endpoint of the session.
func TestDeadConnectionDoesNotMoveASession(t *testing.T) {
	a, b := newEndpoint(t), newEndpoint(t)
	st := serve(t, []string{a.addr(), b.addr()}, oneLoop, func(s *setup) { s.upstream.Affinity = l7.Affinity{Cookie: "srv"} })
	client := st.dial()
	client.say(get())
	mine, other := either(t, a, b)
	server := mine.accept()
	server.expect(get())
	server.say(ok("", "Content-Length: 0"))
	cookie := "Cookie: " + setCookie.FindStringSubmatch(client.head())[1]
	for range 3 {
		release := st.srv.Hold()
		client.say(get(cookie))
		server.close()
		release()
		server = mine.accept()
		server.expect(get(cookie))
		server.say(ok("", "Content-Length: 0"))
		client.expect(ok("", "Content-Length: 0"))
	}
	other.untouched()
}

func TestHashKeysMapARequestToItsEndpoint(t *testing.T) {
	var addrs []string
	for i := range 5 {
		addrs = append(addrs, echoer(t, string(rune('a'+i))).addr())
	}
	for _, c := range []struct {
		name    string
		hash    l7.Hash
		request func(i int) string
	}{
		{"header", l7.Hash{Key: l7.HashHeader, Name: "X-User"}, func(i int) string { return get(fmt.Sprintf("x-user: %d", i)) }},
		{"cookie", l7.Hash{Key: l7.HashCookie, Name: "user"}, func(i int) string { return get(fmt.Sprintf("Cookie: a=b; user=%d", i)) }},
		{"query", l7.Hash{Key: l7.HashQuery, Name: "user"}, func(i int) string {
			return lines(fmt.Sprintf("GET /?a=b&user=%d HTTP/1.1", i), "Host: a.example")
		}},
		{"path", l7.Hash{Key: l7.HashPath}, func(i int) string { return lines(fmt.Sprintf("GET /%d?x HTTP/1.1", i), "Host: a.example") }},
		{"host", l7.Hash{Key: l7.HashHost}, func(i int) string { return lines("GET / HTTP/1.1", fmt.Sprintf("Host: h%d.example:80", i)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := serve(t, addrs, func(s *setup) {
				s.upstream.Hash = c.hash
				s.pool.Algorithm = balance.Maglev
			})
			client := st.dial()
			seen := map[string]bool{}
			for i := range 20 {
				_, who := client.ask(c.request(i))
				for range 3 {
					if _, again := client.ask(c.request(i)); again != who {
						t.Errorf("key %d came to %s and to %s", i, who, again)
					}
				}
				seen[who] = true
			}
			if len(seen) < 3 {
				t.Errorf("twenty keys came to %d endpoints", len(seen))
			}
		})
	}
	st := serve(t, addrs, func(s *setup) { s.pool.Algorithm = balance.Maglev }) // by source
	_, who := st.dial().ask(get())
	for range 5 {
		if _, again := st.dial().ask(get()); again != who {
			t.Error("connections of one source come to two endpoints")
		}
	}
}
