package l7_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/trivet-ha/trivet/balance/l7"
)

// turn is one request and its answer, in bytes.
type turn struct {
	client   string // what the client sends
	endpoint string // what the endpoint gets; empty: it must get nothing
	answer   string // what the endpoint says
	got      string // what the client gets, without Date fields
}

// closing says what becomes of connections after the last turn.
type closing uint8

const (
	bothStay       closing = iota // the client's serves another request, the endpoint's is kept
	clientCloses                  // the client's connection ends after the answer
	endpointCloses                // the endpoint's connection is not used again; the client's stays
	bothClose
)

type transcript struct {
	name    string
	turns   []turn
	then    closing
	ends    bool // the endpoint closes after its last answer
	changes func(*setup)
}

func get(fields ...string) string {
	return lines(append([]string{"GET / HTTP/1.1", "Host: a.example"}, fields...)...)
}

func ok(body string, fields ...string) string {
	return lines(append([]string{"HTTP/1.1 200 OK"}, fields...)...) + body
}

var transcripts = []transcript{
	{
		name: "a plain request and its answer pass as they are",
		turns: []turn{{
			client:   get("Accept: */*", "X-Thing: 1", "x-thing: 2"),
			endpoint: get("Accept: */*", "X-Thing: 1", "x-thing: 2"),
			answer:   ok("hello", "Server: s", "Content-Length: 5", "X-Two: a", "X-Two: b"),
			got:      ok("hello", "Server: s", "Content-Length: 5", "X-Two: a", "X-Two: b"),
		}},
	},
	{
		name: "three requests use one connection each way",
		turns: []turn{
			{get("X-N: 1"), get("X-N: 1"), ok("1", "Content-Length: 1"), ok("1", "Content-Length: 1")},
			{get("X-N: 2"), get("X-N: 2"), ok("", "Content-Length: 0"), ok("", "Content-Length: 0")},
			{get("X-N: 3"), get("X-N: 3"), ok("3", "Content-Length: 1"), ok("3", "Content-Length: 1")},
		},
	},
	{
		name: "a body of declared length passes",
		turns: []turn{{
			client:   lines("POST /p HTTP/1.1", "Host: a.example", "Content-Length: 11") + "hello world",
			endpoint: lines("POST /p HTTP/1.1", "Host: a.example", "Content-Length: 11") + "hello world",
			answer:   lines("HTTP/1.1 201 Created", "Content-Length: 0"),
			got:      lines("HTTP/1.1 201 Created", "Content-Length: 0"),
		}},
	},
	{
		name: "chunks keep their sizes, lose their extensions, and harmless trailers pass",
		turns: []turn{{
			client:   lines("POST / HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked", "Trailer: X-Sum") + "5;x=y\r\nhello\r\n006\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n",
			endpoint: lines("POST / HTTP/1.1", "Host: a.example", "Trailer: X-Sum", "Transfer-Encoding: chunked") + "5\r\nhello\r\n06\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n",
			answer:   ok("3\r\nabc\r\n0\r\nX-Check: 3\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: X-Check"),
			got:      ok("3\r\nabc\r\n0\r\nX-Check: 3\r\n\r\n", "Trailer: X-Check", "Transfer-Encoding: chunked"),
		}},
	},
	{
		name: "trailers that would be fields of consequence do not pass",
		turns: []turn{{
			client:   lines("POST / HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked") + "1\r\nx\r\n0\r\nContent-Length: 9\r\nHost: b\r\nAuthorization: me\r\nX_User: root\r\nX-Fine: 1\r\n\r\n",
			endpoint: lines("POST / HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked") + "1\r\nx\r\n0\r\nX-Fine: 1\r\n\r\n",
			answer:   ok("1\r\ny\r\n0\r\nSet-Cookie: a=b\r\nX-Ok: 1\r\n\r\n", "Transfer-Encoding: chunked"),
			got:      ok("1\r\ny\r\n0\r\nX-Ok: 1\r\n\r\n", "Transfer-Encoding: chunked"),
		}},
	},
	{
		name: "fields that a route removes do not come back as trailers",
		changes: func(s *setup) {
			s.route.RequestHeaders.Remove = []string{"X-Role"}
			s.route.ResponseHeaders.Remove = []string{"X-Secret"}
		},
		turns: []turn{{
			client:   lines("POST / HTTP/1.1", "Host: a.example", "X-Role: admin", "Transfer-Encoding: chunked") + "1\r\nx\r\n0\r\nx-role: admin\r\nX-Sum: 1\r\n\r\n",
			endpoint: lines("POST / HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked") + "1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n",
			answer:   ok("1\r\ny\r\n0\r\nX-SECRET: 1\r\n\r\n", "X-Secret: 2", "Transfer-Encoding: chunked"),
			got:      ok("1\r\ny\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
		}},
	},
	{
		name: "an answer to HEAD has no body whatever it says",
		turns: []turn{
			{lines("HEAD / HTTP/1.1", "Host: a.example"), lines("HEAD / HTTP/1.1", "Host: a.example"), ok("", "Content-Length: 1000"), ok("", "Content-Length: 1000")},
			{lines("HEAD / HTTP/1.1", "Host: a.example"), lines("HEAD / HTTP/1.1", "Host: a.example"), ok("", "Transfer-Encoding: chunked"), ok("")},
			{lines("HEAD / HTTP/1.1", "Host: a.example"), lines("HEAD / HTTP/1.1", "Host: a.example"), ok(""), ok("")},
		},
	},
	{
		name: "204 and 304 have no body",
		turns: []turn{
			{get(), get(), lines("HTTP/1.1 204 No Content", "X-A: b"), lines("HTTP/1.1 204 No Content", "X-A: b")},
			{get("If-None-Match: \"x\""), get("If-None-Match: \"x\""), lines("HTTP/1.1 304 Not Modified", "Content-Length: 99"), lines("HTTP/1.1 304 Not Modified", "Content-Length: 99")},
			{get(), get(), ok("x", "Content-Length: 1"), ok("x", "Content-Length: 1")},
		},
	},
	{
		name: "an answer that ends with its connection reaches the client in chunks",
		ends: true, then: endpointCloses,
		turns: []turn{{get(), get(), ok("hello, all of you"), ok("11\r\nhello, all of you\r\n0\r\n\r\n", "Transfer-Encoding: chunked")}},
	},
	{
		name: "an answer of HTTP/1.0 ends with its connection too",
		ends: true, then: endpointCloses,
		turns: []turn{{get(), get(), lines("HTTP/1.0 200 Fine", "Content-Type: x/y") + "hey", lines("HTTP/1.1 200 Fine", "Content-Type: x/y", "Transfer-Encoding: chunked") + "3\r\nhey\r\n0\r\n\r\n"}},
	},
	{
		name:  "Connection: close of the endpoint concerns nobody else",
		then:  endpointCloses,
		turns: []turn{{get(), get(), ok("x", "Connection: close", "Content-Length: 1"), ok("x", "Content-Length: 1")}},
	},
	{
		name: "Connection: close of the client concerns nobody else",
		then: clientCloses,
		turns: []turn{{
			client: get("Connection: close"), endpoint: get(),
			answer: ok("x", "Content-Length: 1"), got: ok("x", "Content-Length: 1", "Connection: close"),
		}},
	},
	{
		name: "a client of HTTP/1.0 gets no chunks",
		then: clientCloses,
		turns: []turn{{
			client: lines("GET / HTTP/1.0", "Host: a.example", "Connection: keep-alive"), endpoint: get(),
			answer: ok("5\r\nhello\r\n1\r\n!\r\n0\r\nX-T: 1\r\n\r\n", "Transfer-Encoding: chunked"), got: ok("hello!", "Connection: close"),
		}},
	},
	{
		name: "a client of HTTP/1.0 may keep its connection when the length is known",
		turns: []turn{{
			client: lines("GET / HTTP/1.0", "Host: a.example", "Connection: keep-alive"), endpoint: get(),
			answer: ok("x", "Content-Length: 1"), got: ok("x", "Content-Length: 1", "Connection: keep-alive"),
		}},
	},
	{
		name: "a client of HTTP/1.0 is done after one answer",
		then: clientCloses,
		turns: []turn{{
			client: lines("GET / HTTP/1.0"), endpoint: lines("GET / HTTP/1.1", "Host: site"),
			answer: ok("x", "Content-Length: 1"), got: ok("x", "Content-Length: 1", "Connection: close"),
		}},
	},
	{
		name: "an answer without length to a client of HTTP/1.0 ends with the connection",
		then: bothClose, ends: true,
		turns: []turn{{
			client: lines("GET / HTTP/1.0", "Host: a.example"), endpoint: get(),
			answer: ok("all of it"), got: ok("all of it", "Connection: close"),
		}},
	},
	{
		name: "an interim answer passes, but not to HTTP/1.0",
		turns: []turn{
			{get(), get(), lines("HTTP/1.1 103 Early Hints", "Link: </s.css>", "Connection: x") + ok("x", "Content-Length: 1"), lines("HTTP/1.1 103 Early Hints", "Link: </s.css>") + ok("x", "Content-Length: 1")},
			{
				lines("GET / HTTP/1.0", "Host: a.example", "Connection: keep-alive"), get(),
				lines("HTTP/1.1 103 Early Hints", "Link: </s.css>") + ok("x", "Content-Length: 1"),
				ok("x", "Content-Length: 1", "Connection: keep-alive"),
			},
		},
	},
	{
		name: "hop-by-hop fields stay on their hop, both ways",
		turns: []turn{{
			client:   get("Connection: keep-alive, X-Mine", "X-Mine: 1", "Keep-Alive: timeout=5", "Proxy-Connection: x", "TE: trailers", "Proxy-Authorization: Basic x", "X-Kept: 1"),
			endpoint: get("X-Kept: 1"),
			answer:   ok("x", "Content-Length: 1", "Connection: X-Theirs", "X-Theirs: 1", "Keep-Alive: timeout=9", "X-Kept: 2"),
			got:      ok("x", "Content-Length: 1", "X-Kept: 2"),
		}},
	},
	{
		name: "what Connection nominates does not take fields of consequence along",
		turns: []turn{{
			client:   get("Connection: Authorization, Cookie, X-Forwarded-For", "Authorization: a", "Cookie: c=d"),
			endpoint: get("Authorization: a", "Cookie: c=d"),
			answer:   ok("", "Content-Length: 0"), got: ok("", "Content-Length: 0"),
		}},
	},
	{
		name: "an absolute target becomes a path, and its authority the host",
		turns: []turn{{
			client:   lines("GET http://b.example:81/x?y=1 HTTP/1.1", "Host: a.example"),
			endpoint: lines("GET /x?y=1 HTTP/1.1", "Host: b.example:81"),
			answer:   ok("", "Content-Length: 0"), got: ok("", "Content-Length: 0"),
		}},
	},
	{
		name: "names with an underscore do not pass",
		turns: []turn{{
			client: get("X_Forwarded_For: 1.2.3.4", "X-Ok: 1"), endpoint: get("X-Ok: 1"),
			answer: ok("", "Content-Length: 0"), got: ok("", "Content-Length: 0"),
		}},
	},
	{
		name:    "Upgrade: h2c is no upgrade",
		changes: func(s *setup) { s.route.Upgrade = []string{"websocket", "h2c"} },
		turns: []turn{{
			client: get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), endpoint: get(),
			answer: ok("", "Content-Length: 0"), got: ok("", "Content-Length: 0"),
		}},
	},
	{
		name: "an upgrade that the route does not allow is an ordinary request",
		turns: []turn{{
			client: get("Connection: Upgrade", "Upgrade: websocket"), endpoint: get(),
			answer: ok("", "Content-Length: 0"), got: ok("", "Content-Length: 0"),
		}},
	},
	{
		name:    "an upgrade that the endpoint declines is an ordinary request",
		changes: func(s *setup) { s.route.Upgrade = []string{"websocket"} },
		turns: []turn{{
			client: get("Connection: Upgrade", "Upgrade: WebSocket"), endpoint: get("Connection: upgrade", "Upgrade: WebSocket"),
			answer: ok("no", "Content-Length: 2"), got: ok("no", "Content-Length: 2"),
		}},
	},
	{
		name:    "a switch of protocols that nobody asked for is refused",
		then:    endpointCloses,
		changes: func(s *setup) { s.route.Upgrade = []string{"websocket"}; s.route.Retry.Attempts = 1 },
		turns: []turn{{
			client: get(), endpoint: get(),
			answer: lines("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"),
			got:    ownAnswer("502 Bad Gateway", "the endpoint sent an invalid answer"),
		}},
	},
	{
		name:  "bytes after an answer are not part of the next one",
		then:  endpointCloses,
		turns: []turn{{get(), get(), ok("x", "Content-Length: 1") + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", ok("x", "Content-Length: 1")}},
	},
	{
		name: "an answer with both lengths is none",
		then: endpointCloses, changes: once,
		turns: []turn{{get(), get(), ok("3\r\nabc\r\n0\r\n\r\n", "Content-Length: 3", "Transfer-Encoding: chunked"), ownAnswer("502 Bad Gateway", "the endpoint sent an invalid answer")}},
	},
	{
		name: "a broken chunk before anything was passed on is no answer",
		then: endpointCloses, changes: once,
		turns: []turn{{get(), get(), ok("zz\r\nabc\r\n", "Transfer-Encoding: chunked"), ownAnswer("502 Bad Gateway", "the endpoint sent an invalid answer")}},
	},
	{
		name: "pipelined requests are answered in order",
		turns: []turn{
			{get("X-N: 1") + get("X-N: 2"), get("X-N: 1"), ok("1", "Content-Length: 1"), ok("1", "Content-Length: 1")},
			{"", get("X-N: 2"), ok("2", "Content-Length: 1"), ok("2", "Content-Length: 1")},
		},
	},
	{
		name: "a request behind a body begins where the body ends",
		turns: []turn{
			{
				lines("POST / HTTP/1.1", "Host: a.example", "Content-Length: 3") + "abc" + get("X-N: 2"),
				lines("POST / HTTP/1.1", "Host: a.example", "Content-Length: 3") + "abc",
				ok("1", "Content-Length: 1"), ok("1", "Content-Length: 1"),
			},
			{"", get("X-N: 2"), ok("2", "Content-Length: 1"), ok("2", "Content-Length: 1")},
		},
	},
	{
		name: "a request behind a chunked body begins where the body ends",
		turns: []turn{
			{
				lines("POST / HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n" + get("X-N: 2"),
				lines("POST / HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n",
				ok("1", "Content-Length: 1"), ok("1", "Content-Length: 1"),
			},
			{"", get("X-N: 2"), ok("2", "Content-Length: 1"), ok("2", "Content-Length: 1")},
		},
	},
	{
		name:  "an empty line before a request is skipped",
		turns: []turn{{"\r\n" + get(), get(), ok("", "Content-Length: 0"), ok("", "Content-Length: 0")}},
	},
	{
		name: "a path is cleaned of dots before it is routed and sent",
		turns: []turn{{
			client:   lines("GET /a/./b/%2e%2E/c?x=/../ HTTP/1.1", "Host: a.example"),
			endpoint: lines("GET /a/c?x=/../ HTTP/1.1", "Host: a.example"),
			answer:   ok("", "Content-Length: 0"), got: ok("", "Content-Length: 0"),
		}},
	},
	{
		name:  "a path that leads out of the site is refused",
		turns: []turn{{client: lines("GET /a/../../etc HTTP/1.1", "Host: a.example"), got: ownAnswer("400 Bad Request", "the path leads out of the site")}},
	},
	{
		name: "a declared body above the limit is refused before it is read",
		then: clientCloses, changes: func(s *setup) { s.listener.BodyMax = 10 },
		turns: []turn{{client: lines("POST / HTTP/1.1", "Host: a.example", "Content-Length: 11"), got: ownAnswer("413 Content Too Large", "the body is too large", "Connection: close")}},
	},
	{
		name:    "a route's limit of bodies replaces the listener's",
		changes: func(s *setup) { s.listener.BodyMax, s.route.BodyMax = 10, 20 },
		turns: []turn{{
			client:   lines("POST / HTTP/1.1", "Host: a.example", "Content-Length: 11") + "hello world",
			endpoint: lines("POST / HTTP/1.1", "Host: a.example", "Content-Length: 11") + "hello world",
			answer:   ok("", "Content-Length: 0"), got: ok("", "Content-Length: 0"),
		}},
	},
	{
		name: "an expectation passes with the body's leave to come",
		turns: []turn{{
			client:   lines("POST / HTTP/1.1", "Host: a.example", "Content-Length: 2", "Expect: 100-continue") + "hi",
			endpoint: lines("POST / HTTP/1.1", "Host: a.example", "Content-Length: 2", "Expect: 100-continue") + "hi",
			answer:   lines("HTTP/1.1 100 Continue") + ok("", "Content-Length: 0"),
			got:      lines("HTTP/1.1 100 Continue") + ok("", "Content-Length: 0"),
		}},
	},
}

// once keeps an attempt from being repeated.
func once(s *setup) { s.route.Retry.Attempts = 1 }

func TestTranscripts(t *testing.T) {
	for _, c := range transcripts {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) { c.play(t) })
	}
}

func (c *transcript) play(t *testing.T) {
	e := newEndpoint(t)
	change := []func(*setup){func(s *setup) { s.server.Loops = 1 }}
	if c.changes != nil {
		change = append(change, c.changes)
	}
	st := serve(t, []string{e.addr()}, change...)
	client := st.dial()
	var server *peer
	for i, turn := range c.turns {
		client.say(turn.client)
		if turn.endpoint != "" {
			if server == nil {
				server = e.accept()
			}
			server.expect(turn.endpoint)
			server.say(turn.answer)
			if c.ends && i == len(c.turns)-1 {
				server.shut()
			}
		}
		if i < len(c.turns)-1 {
			client.expect(turn.got)
			continue
		}
		got := ""
		if c.then == clientCloses || c.then == bothClose {
			got = undated(client.rest())
		} else {
			got = client.synced()
		}
		if got != turn.got {
			t.Errorf("the client got\n%s\nwant\n%s", quoted(got), quoted(turn.got))
		}
	}
	e.untouched()
	if server == nil {
		return
	}
	switch kept := st.srv.IdleConns(); c.then {
	case endpointCloses, bothClose:
		server.broken()
		if kept != 0 {
			t.Errorf("%d connections are kept for later requests", kept)
		}
	default:
		if kept != 1 {
			t.Errorf("%d connections are kept for later requests, want 1", kept)
		}
	}
}

// refusals are requests that no endpoint may ever hear of.
var refusals = []struct{ name, request, status string }{
	{"both lengths", lines("POST / HTTP/1.1", "Host: a", "Content-Length: 4", "Transfer-Encoding: chunked") + "0\r\n\r\n", "400"},
	{"both lengths, the other way round", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Content-Length: 4") + "0\r\n\r\n", "400"},
	{"two lengths", lines("POST / HTTP/1.1", "Host: a", "Content-Length: 4", "Content-Length: 5") + "abcde", "400"},
	{"two equal lengths", lines("POST / HTTP/1.1", "Host: a", "Content-Length: 4", "Content-Length: 4") + "abcd", "400"},
	{"a list of lengths", lines("POST / HTTP/1.1", "Host: a", "Content-Length: 4, 4") + "abcd", "400"},
	{"a signed length", lines("POST / HTTP/1.1", "Host: a", "Content-Length: +4") + "abcd", "400"},
	{"a hexadecimal length", lines("POST / HTTP/1.1", "Host: a", "Content-Length: 0x4") + "abcd", "400"},
	{"an empty length", lines("POST / HTTP/1.1", "Host: a", "Content-Length: ") + "abcd", "400"},
	{"a length beyond 64 bits", lines("POST / HTTP/1.1", "Host: a", "Content-Length: 18446744073709551617"), "400"},
	{"chunked twice", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + "0\r\n\r\n", "501"},
	{"chunked after nothing", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: ,chunked") + "0\r\n\r\n", "501"},
	{"an unknown coding", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: gzip, chunked") + "0\r\n\r\n", "501"},
	{"a coding with a vertical tab", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: \vchunked") + "0\r\n\r\n", "400"},
	{"a coding in HTTP/1.0", lines("POST / HTTP/1.0", "Host: a", "Transfer-Encoding: chunked") + "0\r\n\r\n", "400"},
	{"a space before the colon", lines("GET / HTTP/1.1", "Host: a", "Content-Length : 4") + "abcd", "400"},
	{"a folded line", lines("GET / HTTP/1.1", "Host: a", "X-A: b", " Content-Length: 4") + "abcd", "400"},
	{"a bare LF", "GET / HTTP/1.1\nHost: a\n\n", "400"},
	{"a bare LF in the fields", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", "400"},
	{"a bare CR", lines("GET / HTTP/1.1", "Host: a", "X-A: b\rContent-Length: 4"), "400"},
	{"a NUL", lines("GET / HTTP/1.1", "Host: a", "X-A: b\x00c"), "400"},
	{"an empty name", lines("GET / HTTP/1.1", "Host: a", ": b"), "400"},
	{"no colon", lines("GET / HTTP/1.1", "Host: a", "whatever"), "400"},
	{"no host", lines("GET / HTTP/1.1", "X: y"), "400"},
	{"two hosts", lines("GET / HTTP/1.1", "Host: a", "Host: b"), "400"},
	{"a host with a path", lines("GET / HTTP/1.1", "Host: a/b"), "400"},
	{"CONNECT", lines("CONNECT a:443 HTTP/1.1", "Host: a:443"), "405"},
	{"TRACE", lines("TRACE / HTTP/1.1", "Host: a"), "405"},
	{"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
	{"a fragment", lines("GET /a#b HTTP/1.1", "Host: a"), "400"},
	{"a space in the target", lines("GET /a b HTTP/1.1", "Host: a"), "400"},
	{"user information", lines("GET http://u:p@a/ HTTP/1.1", "Host: a"), "400"},
	{"HTTP/0.9", "GET /\r\n\r\n", "400"},
	{"HTTP/1.2", lines("GET / HTTP/1.2", "Host: a"), "505"},
	{"a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"},
	{"an unknown expectation", lines("POST / HTTP/1.1", "Host: a", "Content-Length: 1", "Expect: the-worst") + "x", "417"},
	{"a long first line", lines("GET /"+strings.Repeat("a", 9000)+" HTTP/1.1", "Host: a"), "414"},
	{"a large head", lines("GET / HTTP/1.1", "Host: a", "X: "+strings.Repeat("b", 70_000)), "431"},
	{"many fields", lines("GET / HTTP/1.1", "Host: a", strings.TrimSuffix(strings.Repeat("X: y\r\n", 120), "\r\n")), "431"},
	{"a chunk size of no digits", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + "\r\nabc\r\n0\r\n\r\n", "400"},
	{"a chunk size with a sign", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + "-3\r\nabc\r\n0\r\n\r\n", "400"},
	{"a chunk size with 0x", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + "0x3\r\nabc\r\n0\r\n\r\n", "400"},
	{"a chunk size that wraps", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + "10000000000000003\r\nabc\r\n0\r\n\r\n", "400"},
	{"a bare LF after a chunk size", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + "3\nabc\r\n0\r\n\r\n", "400"},
	{"a bare LF in a chunk extension", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + "3;a\nabc\r\n0\r\n\r\n", "400"},
	{"a chunk longer than it says", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + "2\r\nabc\r\n0\r\n\r\n", "400"},
	{"a folded trailer", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + "0\r\nX: y\r\n z\r\n\r\n", "400"},
}

// TestBadRequestIsRefusedBeforeAnEndpointHearsOfIt sends what breaks a rule with a good request behind it, which
// must not be answered either: where it begins, nobody knows.
func TestBadRequestIsRefusedBeforeAnEndpointHearsOfIt(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()})
	for _, c := range refusals {
		client := st.dial()
		client.say(c.request + get("X-Smuggled: 1"))
		answer := client.rest()
		client.close()
		if !strings.HasPrefix(answer, "HTTP/1.1 "+c.status+" ") || !strings.Contains(answer, "\r\nConnection: close\r\n") || answers(answer) != 1 {
			t.Errorf("%s: the client got\n%s\nwant %s", c.name, quoted(answer), c.status)
		}
	}
	e.untouched()
	listeners, _ := st.srv.Stats()
	if n := listeners[0].Bad; n == 0 || n > uint64(len(refusals)) {
		t.Errorf("%d bad requests are counted of %d", n, len(refusals))
	}
}

// answers counts status lines.
func answers(s string) int { return len(statusLine.FindAllString(s, -1)) }

var statusLine = regexp.MustCompile(`(?m)^HTTP/1\.1 \d{3} `)

// TestBodyRefusedOnItsWayEndsBothConnections breaks the rules of chunks when the endpoint has part of the body.
func TestBodyRefusedOnItsWayEndsBothConnections(t *testing.T) {
	for _, c := range []struct{ name, first, second, status string }{
		{"chunk", lines("POST / HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked") + "3\r\nabc\r\n", "-1\r\n", "400"},
		{"limit", lines("POST / HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked") + "3\r\nabc\r\n", "8\r\nabcdefgh\r\n", "413"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEndpoint(t)
			st := serve(t, []string{e.addr()}, func(s *setup) { s.listener.BodyMax = 10 })
			client := st.dial()
			client.say(c.first)
			server := e.accept()
			server.expect(c.first)
			client.say(c.second + get())
			if answer := client.rest(); !strings.HasPrefix(answer, "HTTP/1.1 "+c.status) || answers(answer) != 1 {
				t.Errorf("the client got\n%s", quoted(answer))
			}
			if after, _ := server.broken(); after != "" {
				t.Errorf("the endpoint got %q", after)
			}
			e.untouched()
		})
	}
}

// TestBytesMayComeOneByOne sends requests and answers in pieces of one byte.
func TestBytesMayComeOneByOne(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()})
	client := st.dial()
	request := lines("POST /x HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked") + "3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n"
	answer := lines("HTTP/1.1 103 Early Hints", "Link: <x>") + ok("2\r\nhi\r\n0\r\nX-T: 2\r\n\r\n", "Transfer-Encoding: chunked")
	for i := range request {
		client.say(request[i : i+1])
	}
	server := e.accept()
	server.expect(request)
	for i := range answer {
		server.say(answer[i : i+1])
	}
	client.expect(answer)
	if got := client.synced(); got != "" {
		t.Errorf("the client got %q more", got)
	}
}

// TestPiecesOfABodyAreReadWithoutATimer: on a fresh connection the first piece of a body comes with the head; the
// next must be noticed when it comes.
func TestPiecesOfABodyAreReadWithoutATimer(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, func(s *setup) {
		s.listener.Timeouts = l7.Timeouts{}
		s.upstream = l7.UpstreamSettings{}
	})
	client := st.dial()
	client.say(lines("POST / HTTP/1.1", "Host: a.example", "Content-Length: 9") + "abc")
	server := e.accept()
	server.expect(lines("POST / HTTP/1.1", "Host: a.example", "Content-Length: 9") + "abc")
	client.say("def")
	server.expect("def")
	client.say("ghi")
	server.expect("ghi")
	server.say(ok("", "Content-Length: 0"))
	client.expect(ok("", "Content-Length: 0"))
}
