package http1

import (
	"fmt"
	"strings"
	"testing"
)

// responseFacts writes what a parsed response means in one line: status, body,
// then what else is true of it, then the fields that are not forwarded.
func responseFacts(r *Response) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d %s", r.Status, r.Framing)
	if r.Framing == FramingLength {
		fmt.Fprintf(&s, "=%d", r.Length)
	}
	if r.Minor == 0 {
		s.WriteString(" 1.0")
	}
	if !r.KeepAlive {
		s.WriteString(" close")
	}
	if r.Upgrade != nil {
		fmt.Fprintf(&s, " upgrade=%s", r.Upgrade)
	}
	return s.String() + hopFacts(r.Fields)
}

var responseTable = []struct {
	name, raw string
	to        Method
	want      string
}{
	// --- what sound servers send
	{"nginx", smallResponse, GET, "200 length=128 -Connection"},
	{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", GET, "200 chunked -Transfer-Encoding"},
	{"until close", "HTTP/1.1 200 OK\r\n\r\n", GET, "200 close close"},
	{"http 1.0", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", GET, "200 length=5 1.0 close"},
	{"http 1.0 keep-alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", GET, "200 length=5 1.0 -Connection"},
	{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", GET, "200 length=5 close -Connection"},
	{"no reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", GET, "200 length=0"},
	{"no reason and no space", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", GET, "200 length=0"},
	{"reason with bytes above ASCII", "HTTP/1.1 404 Non trouv\xe9\r\nContent-Length: 0\r\n\r\n", GET, "404 length=0"},
	{"underscore", "HTTP/1.1 200 OK\r\nX_A: 1\r\nContent-Length: 0\r\n\r\n", GET, "200 length=0"},
	{"length to HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", HEAD, "200 none"},
	{"chunked to HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HEAD, "200 none -Transfer-Encoding"},
	{"nothing to HEAD", "HTTP/1.1 200 OK\r\n\r\n", HEAD, "200 none"},
	{"304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", GET, "304 none"},
	{"304 chunked", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", GET, "304 none -Transfer-Encoding"},
	{"204", "HTTP/1.1 204 No Content\r\n\r\n", GET, "204 none"},
	{"204 with zero length", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", GET, "204 none -Content-Length"},
	{"204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", GET, "204 none close -Content-Length"},
	{"204 chunked", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", GET, "204 none close -Transfer-Encoding"},
	{"205", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", GET, "205 length=0"},
	{"100", "HTTP/1.1 100 Continue\r\n\r\n", POST, "100 none"},
	{"103", "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n", GET, "103 none"},
	{"1xx with hop-by-hop fields (golang 81319)", "HTTP/1.1 103 Early Hints\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nLink: </a>\r\n\r\n", GET, "103 none close -Connection,X-Mine,Keep-Alive"},
	{"1xx with a length", "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n", GET, "103 none close -Content-Length"},
	{"101", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", GET, "101 none upgrade=websocket -Connection,Upgrade"},
	{"101 without Upgrade", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n", GET, "!502 upgrade-missing"},
	{"101 without Connection", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", GET, "!502 upgrade-missing"},
	{"101 to h2c", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", GET, "!502 upgrade-missing"},
	{"426 names a protocol", "HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: TLS/1.3\r\nContent-Length: 0\r\n\r\n", GET, "426 length=0 -Connection,Upgrade"},
	{"nominated field", "HTTP/1.1 200 OK\r\nConnection: x-mine\r\nX-Mine: 1\r\nContent-Length: 0\r\n\r\n", GET, "200 length=0 -Connection,X-Mine"},
	{"nominated cookie", "HTTP/1.1 200 OK\r\nConnection: set-cookie\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n", GET, "200 length=0 -Connection"},
	{"trailer announced", "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n", GET, "200 chunked -Transfer-Encoding"},
	{"trailer announced without chunks", "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nContent-Length: 1\r\n\r\n", GET, "200 length=1 -Trailer"},

	// --- not complete
	{"nothing", "", GET, "more"},
	{"part of the status", "HTTP/1.1 20", GET, "more"},
	{"status without a line end", "HTTP/1.1 200", GET, "more"},
	{"part of the reason", "HTTP/1.1 200 O", GET, "more"},
	{"no empty line", "HTTP/1.1 200 OK\r\nA: b\r\n", GET, "more"},

	// --- refused
	{"http 0.9", "<html>", GET, "!502 status-line"},
	{"empty line before", "\r\nHTTP/1.1 200 OK\r\n\r\n", GET, "!502 status-line"},
	{"icy", "ICY 200 OK\r\n\r\n", GET, "!502 status-line"},
	{"lower case", "http/1.1 200 OK\r\n\r\n", GET, "!502 status-line"},
	{"http 1.2", "HTTP/1.2 200 OK\r\n\r\n", GET, "!502 status-line"},
	{"http 2", "HTTP/2 200\r\n\r\n", GET, "!502 status-line"},
	{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", GET, "!502 status-line"},
	{"two digits", "HTTP/1.1 20 OK\r\n\r\n", GET, "!502 status-line"},
	{"four digits", "HTTP/1.1 2000 OK\r\n\r\n", GET, "!502 status-line"},
	{"plus", "HTTP/1.1 +20 OK\r\n\r\n", GET, "!502 status-line"},
	{"letter d for a digit", "HTTP/1.1 10d OK\r\n\r\n", GET, "!502 status-line"},
	{"letters for the minor version", "HTTP/1.m 200 OK\r\n\r\n", GET, "!502 status-line"},
	{"status 099", "HTTP/1.1 099 OK\r\n\r\n", GET, "!502 status-code"},
	{"status 600", "HTTP/1.1 600 OK\r\n\r\n", GET, "!502 status-code"},
	{"status 999", "HTTP/1.1 999 OK\r\n\r\n", GET, "!502 status-code"},
	{"lf after the status line", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", GET, "!502 bare-lf"},
	{"lf after the status", "HTTP/1.1 200\nContent-Length: 0\r\n\r\n", GET, "!502 bare-lf"},
	{"cr in the reason", "HTTP/1.1 200 O\rK\r\n\r\n", GET, "!502 bare-cr"},
	{"nul in the reason", "HTTP/1.1 200 O\x00K\r\n\r\n", GET, "!502 reason-char"},
	{"length and coding", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", GET, "!502 length-and-coding"},
	{"length and coding to HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", HEAD, "!502 length-and-coding"},
	{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", GET, "!502 content-length-duplicate"},
	{"two equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", GET, "!502 content-length-duplicate"},
	{"length list", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", GET, "!502 content-length"},
	{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", GET, "!502 content-length"},
	{"gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", GET, "!502 transfer-encoding"},
	{"identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", GET, "!502 transfer-encoding"},
	{"chunked in http 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", GET, "!502 transfer-encoding-http10"},
	{"space before colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", GET, "!502 field-space"},
	{"obs-fold", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", GET, "!502 obs-fold"},
	{"nul in a value", "HTTP/1.1 200 OK\r\nA: b\x00\r\n\r\n", GET, "!502 field-value"},
	{"bare cr in a value (response splitting)", "HTTP/1.1 200 OK\r\nLocation: /a\rSet-Cookie: x=y\r\n\r\n", GET, "!502 bare-cr"},
	{"framing announced as trailer", "HTTP/1.1 200 OK\r\nTrailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n", GET, "!502 trailer-names"},
	{"long line", "HTTP/1.1 200 " + strings.Repeat("a", DefaultLine) + "\r\n\r\n", GET, "!502 line-length"},
	{"large head", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", DefaultHead) + "\r\n\r\n", GET, "!502 head-size"},
	{"many fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", DefaultFields+1) + "\r\n\r\n", GET, "!502 field-count"},
}

func TestResponseTable(t *testing.T) {
	for _, c := range responseTable {
		t.Run(c.name, func(t *testing.T) {
			var r Response
			n, err := r.Parse([]byte(c.raw), c.to, nil)
			got := "more"
			switch {
			case err != nil:
				got = refused(t, err)
			case n > 0:
				got = responseFacts(&r)
			}
			if got != c.want {
				t.Errorf("Parse(%q)\n got %s\nwant %s", c.raw, got, c.want)
			}
		})
	}
}

// TestResponseCutAnywhere is TestRequestCutAnywhere for responses.
func TestResponseCutAnywhere(t *testing.T) {
	for _, c := range responseTable {
		if len(c.raw) < 1000 {
			checkResponsePrefixes(t, []byte(c.raw), c.to)
		}
	}
}

func checkResponsePrefixes(t *testing.T, raw []byte, to Method) {
	t.Helper()
	var whole, part Response
	n, want := whole.Parse(raw, to, nil)
	for i := range raw {
		m, err := part.Parse(raw[:i], to, nil)
		if err != nil && err != want {
			t.Fatalf("Parse(%q) = %v, but the whole %q gives %v", raw[:i], err, raw, want)
		}
		if m != 0 && m != n || n > 0 && i >= n && m != n {
			t.Fatalf("Parse(%q) = %d, the whole gives %d", raw[:i], m, n)
		}
		if end := HeadEnd(raw[:i], 0); end >= 0 && m == 0 && err == nil {
			t.Fatalf("HeadEnd(%q) = %d, but Parse wants more", raw[:i], end)
		} else if m > 0 && end != m {
			t.Fatalf("HeadEnd(%q) = %d, Parse says %d", raw[:i], end, m)
		}
	}
}

func TestResponseParts(t *testing.T) {
	var r Response
	raw := "HTTP/1.1 404 Not  Found\r\nServer: x\r\nContent-Length: 3\r\n\r\nabc"
	n, err := r.Parse([]byte(raw), GET, &Limits{Line: 25, Head: 57, Fields: 2})
	if err != nil || n != len(raw)-3 {
		t.Fatal(n, err)
	}
	if string(r.Reason) != "Not  Found" || !r.Has(Server) || r.Has(Date) || !r.HasBody() || r.Interim() {
		t.Errorf("reason %q, fields %v", r.Reason, r.Fields)
	}
}

func TestInterimResponses(t *testing.T) {
	for status, want := range map[int]bool{100: true, 101: false, 102: true, 103: true, 199: true, 200: false, 500: false} {
		if r := (Response{Status: status}); r.Interim() != want {
			t.Errorf("Interim of %d is %v", status, !want)
		}
	}
}
