package l7_test

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/trivet-ha/trivet/balance/l7"
)

// exchange plays one request and answer by hand and returns what the endpoint and the client got.
func (st *stage) exchange(client *peer, e *endpoint, request, answer string) (endpointGot, clientGot string) {
	st.t.Helper()
	client.say(request)
	server := e.accept()
	endpointGot = server.head()
	server.say(answer)
	clientGot = client.head()
	e.conns <- server.conn // it may be used again
	return endpointGot, clientGot
}

func template(t *testing.T, text string) *l7.Template {
	t.Helper()
	tmpl, err := l7.ParseTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

func prefixes(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

func TestForwardingFieldsSayWhatIsKnown(t *testing.T) {
	trusted := prefixes("127.0.0.0/8", "10.0.0.0/8")
	for _, c := range []struct {
		name    string
		forward l7.Forward
		trusted []netip.Prefix
		sent    []string
		want    []string
	}{
		{
			name: "a stranger's fields are replaced",
			sent: []string{"X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 443", "X-Real-IP: 9.9.9.9", "Forwarded: for=9.9.9.9"},
			want: []string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: a.example"},
		},
		{
			name: "a trusted proxy's fields are kept and added to", trusted: trusted,
			sent: []string{"X-Forwarded-For: 9.9.9.9, 10.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop"},
			want: []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: shop", "X-Forwarded-For: 9.9.9.9, 10.0.0.1, 127.0.0.1"},
		},
		{
			name: "what a trusted proxy does not say is filled in", trusted: trusted,
			sent: []string{"X-Forwarded-For: 9.9.9.9"},
			want: []string{"X-Forwarded-For: 9.9.9.9, 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: a.example"},
		},
		{
			name: "several fields make one list", trusted: trusted,
			sent: []string{"X-Forwarded-For: 9.9.9.9", "X-Forwarded-For: 10.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: h"},
			want: []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: h", "X-Forwarded-For: 9.9.9.9, 10.0.0.1, 127.0.0.1"},
		},
		{
			name: "replace trusts nobody", forward: l7.Forward{XForwarded: l7.ForwardReplace}, trusted: trusted,
			sent: []string{"X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https"},
			want: []string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: a.example"},
		},
		{
			name: "off touches nothing", forward: l7.Forward{XForwarded: l7.ForwardOff},
			sent: []string{"X-Forwarded-For: 9.9.9.9", "Forwarded: for=9.9.9.9"},
			want: []string{"X-Forwarded-For: 9.9.9.9", "Forwarded: for=9.9.9.9"},
		},
		{
			name: "RFC 7239 beside it", forward: l7.Forward{RFC7239: true}, trusted: trusted,
			sent: []string{"Forwarded: for=9.9.9.9"},
			want: []string{
				"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: a.example",
				`Forwarded: for=9.9.9.9, for=127.0.0.1;host="a.example";proto=http`,
			},
		},
		{
			name: "RFC 7239 alone, from a stranger", forward: l7.Forward{XForwarded: l7.ForwardOff, RFC7239: true},
			sent: []string{"Forwarded: for=9.9.9.9"},
			want: []string{`Forwarded: for=127.0.0.1;host="a.example";proto=http`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEndpoint(t)
			st := serve(t, []string{e.addr()}, func(s *setup) { s.listener.Forward, s.listener.Trusted = c.forward, c.trusted })
			got, _ := st.exchange(st.dial(), e, get(c.sent...), ok("", "Content-Length: 0"))
			if want := get(c.want...); got != want {
				t.Errorf("the endpoint got\n%s\nwant\n%s", quoted(got), quoted(want))
			}
		})
	}
}

// TestSourceIsFoundBehindTrustedProxies looks at the source by which a route is chosen.
func TestSourceIsFoundBehindTrustedProxies(t *testing.T) {
	for _, c := range []struct{ fields, want string }{
		{"", "127.0.0.1"},
		{"X-Forwarded-For: 9.9.9.9", "9.9.9.9"},
		{"X-Forwarded-For: 8.8.8.8, 9.9.9.9", "9.9.9.9"},
		{"X-Forwarded-For: 8.8.8.8, 9.9.9.9, 10.1.1.1", "9.9.9.9"},
		{"X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 10.1.1.1", "9.9.9.9"},
		{"X-Forwarded-For: 10.2.2.2, 10.1.1.1", "10.2.2.2"},
		{"X-Forwarded-For: 9.9.9.9, what?, 10.1.1.1", "10.1.1.1"},
		{"X-Forwarded-For: ::ffff:9.9.9.9", "9.9.9.9"},
		{"X-Forwarded-For: 2001:db8::1", "2001:db8::1"},
		{"X-Forwarded-For:", "127.0.0.1"},
	} {
		e := newEndpoint(t)
		st := serve(t, []string{e.addr()}, func(s *setup) {
			s.listener.Trusted = prefixes("127.0.0.0/8", "10.0.0.0/8")
			s.route.RequestHeaders.Set = []l7.HeaderOp{{Name: "X-Source", Value: template(t, "{client_ip}")}}
		})
		request := get()
		if c.fields != "" {
			request = get(c.fields)
		}
		got, _ := st.exchange(st.dial(), e, request, ok("", "Content-Length: 0"))
		if !strings.Contains(got, "\r\nX-Source: "+c.want+"\r\n") {
			t.Errorf("%q: the endpoint got\n%s\nwant %s", c.fields, quoted(got), c.want)
		}
	}
}

func TestRequestIsIdentified(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, func(s *setup) { s.listener.RequestID = l7.RequestID{Header: "X-Request-Id"} })
	client := st.dial()
	id := regexp.MustCompile(`\r\nX-Request-Id: ([0-9a-f]{32})\r\n`)
	seen := map[string]bool{}
	for range 20 {
		got, _ := st.exchange(client, e, get("x-request-id: mine"), ok("", "Content-Length: 0"))
		m := id.FindStringSubmatch(got)
		if m == nil || strings.Contains(got, "mine") {
			t.Fatalf("the endpoint got\n%s", quoted(got))
		}
		if seen[m[1]] {
			t.Fatalf("two requests are called %s", m[1])
		}
		seen[m[1]] = true
	}
}

func TestTrustedRequestIDIsKept(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, func(s *setup) {
		s.listener.RequestID = l7.RequestID{Header: "X-Request-Id", Trust: true}
		s.route.ResponseHeaders.Set = []l7.HeaderOp{{Name: "X-Request-Id", Value: template(t, "{request_id}")}}
	})
	client := st.dial()
	got, answer := st.exchange(client, e, get("x-request-id: mine"), ok("", "Content-Length: 0"))
	if got != get("X-Request-Id: mine") || !strings.Contains(answer, "X-Request-Id: mine\r\n") {
		t.Errorf("the endpoint got\n%sthe client got\n%s", quoted(got), quoted(answer))
	}
	got, _ = st.exchange(client, e, get("x-request-id: "+strings.Repeat("x", 129)), ok("", "Content-Length: 0"))
	if strings.Contains(got, "xxx") {
		t.Errorf("the endpoint got\n%s", quoted(got))
	}
}

func TestHeaderRulesChangeBothWays(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, func(s *setup) {
		s.route.RequestHeaders = l7.HeaderOps{
			Remove: []string{"X-Gone"},
			Set:    []l7.HeaderOp{{Name: "X-Set", Value: template(t, "{method} {host}{path}?{query}")}, {Name: "Host", Value: template(t, "inner")}},
			Add:    []l7.HeaderOp{{Name: "X-Add", Value: template(t, "a {{b}")}},
		}
		s.route.ResponseHeaders = l7.HeaderOps{
			Remove: []string{"Server"},
			Set:    []l7.HeaderOp{{Name: "X-Where", Value: template(t, "{pool}/{route} {uri}")}},
			Add:    []l7.HeaderOp{{Name: "X-More", Value: template(t, "{status}")}},
		}
	})
	got, answer := st.exchange(st.dial(), e,
		lines("GET /a/b?c=d HTTP/1.1", "Host: A.example", "x-gone: 1", "X-SET: 1", "x-add: 0"),
		ok("", "Content-Length: 0", "server: s", "X-where: nowhere", "X-More: 0"))
	want := lines("GET /a/b?c=d HTTP/1.1", "x-add: 0", "X-Set: GET A.example/a/b?c=d", "Host: inner", "X-Add: a {b}")
	if got != want {
		t.Errorf("the endpoint got\n%s\nwant\n%s", quoted(got), quoted(want))
	}
	want = ok("", "Content-Length: 0", "X-More: 0", "X-Where: site/all /a/b?c=d", "X-More: 200")
	if answer != want {
		t.Errorf("the client got\n%s\nwant\n%s", quoted(answer), quoted(want))
	}
}

// TestTemplatesOfAnswersRemember: by the time of an answer the worker has parsed the requests of others.
func TestTemplatesOfAnswersRemember(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, oneLoop, func(s *setup) {
		s.route.ResponseHeaders.Set = []l7.HeaderOp{{Name: "X-Path", Value: template(t, "{path}")}}
	})
	first, second := st.dial(), st.dial()
	first.say(lines("GET /first HTTP/1.1", "Host: a.example"))
	a := e.accept()
	a.head()
	second.say(lines("GET /second HTTP/1.1", "Host: a.example"))
	b := e.accept()
	b.head()
	b.say(ok("", "Content-Length: 0"))
	second.expect(ok("", "Content-Length: 0", "X-Path: /second"))
	a.say(ok("", "Content-Length: 0"))
	first.expect(ok("", "Content-Length: 0", "X-Path: /first"))
}

func TestTemplatesAreChecked(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"{nothing}", "there is no variable {nothing}"},
		{"{client_ip", "a brace is not closed"},
	} {
		if _, err := l7.ParseTemplate(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.text, err)
		}
	}
	if s := template(t, "a {{ {path}").String(); s != "a {{ {path}" {
		t.Errorf("String gives %q", s)
	}
	for _, v := range l7.Variables() {
		template(t, "{"+v+"}")
	}
}
