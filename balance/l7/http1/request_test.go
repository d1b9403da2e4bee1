package http1

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// facts writes what a parsed request means in one line: method, target, host,
// body, then what else is true of it, then the names of the fields that are
// not forwarded.
func facts(r *Request) string {
	var s strings.Builder
	host := "-"
	if r.Host != nil {
		host = string(r.Host)
	}
	fmt.Fprintf(&s, "%s %s %s %s", r.MethodText, r.Target, host, r.Framing)
	if r.Framing == FramingLength {
		fmt.Fprintf(&s, "=%d", r.Length)
	}
	if r.Minor == 0 {
		s.WriteString(" 1.0")
	}
	if !r.KeepAlive {
		s.WriteString(" close")
	}
	if r.Expect {
		s.WriteString(" expect")
	}
	if r.Upgrade != nil {
		fmt.Fprintf(&s, " upgrade=%s", r.Upgrade)
	}
	return s.String() + hopFacts(r.Fields)
}

func hopFacts(fields []Field) string {
	var hops []string
	for _, f := range fields {
		if f.Hop {
			hops = append(hops, string(f.Name))
		}
	}
	if hops == nil {
		return ""
	}
	return " -" + strings.Join(hops, ",")
}

// refused writes an error as "!status rule".
func refused(t *testing.T, err error) string {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is not an *Error", err)
	}
	return fmt.Sprintf("!%d %s", e.Status, e.Rule)
}

// requestTable holds raw requests and what becomes of them: facts, a refusal,
// or "more". Attacks are named after where they come from. Where a line says
// "body", it is about what follows the head, which Parse leaves alone.
var requestTable = []struct{ name, raw, want string }{
	// --- what sound clients send
	{"wrk", wrkRequest, "GET /index.html 127.0.0.1:8080 none"},
	{"browser", browserRequest, "GET /products/list?category=12&sort=price shop.example.com none -Connection"},
	{"post", postRequest, "POST /api/orders shop.example.com length=128"},
	{"chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "POST / h chunked -Transfer-Encoding"},
	{"chunked in capitals", "POST / HTTP/1.1\r\nHost: h\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n", "POST / h chunked -TRANSFER-ENCODING"},
	{"zero length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "POST / h length=0"},
	{"http 1.0 without host", "GET / HTTP/1.0\r\n\r\n", "GET / - none 1.0 close"},
	{"http 1.0 keep-alive", "GET / HTTP/1.0\r\nHost: h\r\nConnection: Keep-Alive\r\n\r\n", "GET / h none 1.0 -Connection"},
	{"http 1.0 close and keep-alive", "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "GET / - none 1.0 close -Connection"},
	{"close", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "GET / h none close -Connection"},
	{"close among others", "GET / HTTP/1.1\r\nHost: h\r\nConnection: te ,, CLOSE\r\nTE: trailers\r\n\r\n", "GET / h none close -Connection,TE"},
	{"close in the second of two Connection fields", "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", "GET / h none close -Connection,Connection"},
	{"no white space around values", "GET / HTTP/1.1\r\nHost:h\r\nA:b\r\n\r\n", "GET / h none"},
	{"much white space around values", "GET / HTTP/1.1\r\nHost: \t h \t \r\nA:\t\r\n\r\n", "GET / h none"},
	{"empty value", "GET / HTTP/1.1\r\nHost: h\r\nA:\r\n\r\n", "GET / h none"},
	{"bytes above ASCII in a value", "GET / HTTP/1.1\r\nHost: h\r\nA: \xc3\xa9\xff\r\n\r\n", "GET / h none"},
	{"tab inside a value", "GET / HTTP/1.1\r\nHost: h\r\nA: b\tccccccccc\td\r\n\r\n", "GET / h none"},
	{"own method", "M-SEARCH / HTTP/1.1\r\nHost: h\r\n\r\n", "M-SEARCH / h none"},
	{"options asterisk", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * h none"},
	{"two slashes", "GET //evil.example/x HTTP/1.1\r\nHost: h\r\n\r\n", "GET //evil.example/x h none"},
	{"escapes", "GET /a%20b%2F?q=100%&x=%zz HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a%20b%2F?q=100%&x=%zz h none"},
	{"characters that browsers send raw", "GET /a|b^c{d}?[e]=\"f\"|`\\ HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a|b^c{d}?[e]=\"f\"|`\\ h none"},
	{"empty query", "GET /? HTTP/1.1\r\nHost: h\r\n\r\n", "GET /? h none"},
	{"pipelined", "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a h none"},
	{"empty line before", "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / h none"},
	{"two empty lines before", "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / h none"},
	{"three empty lines before", "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "!400 empty-lines"},
	{"bare lf before", "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "!400 bare-lf"},
	{"bare cr before", "\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", "!400 bare-cr"},

	// --- not complete
	{"nothing", "", "more"},
	{"cr", "\r", "more"},
	{"part of the method", "GE", "more"},
	{"part of the version", "GET / HTTP/1.", "more"},
	{"no empty line", "GET / HTTP/1.1\r\nHost: h\r\n", "more"},
	{"half an empty line", "GET / HTTP/1.1\r\nHost: h\r\n\r", "more"},

	// --- request line
	{"tls hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "!400 tls-hello"},
	{"http2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "!505 http2-preface"},
	{"no method", " / HTTP/1.1\r\nHost: h\r\n\r\n", "!400 method"},
	{"lower-case method", "get / HTTP/1.1\r\nHost: h\r\n\r\n", "!400 method"},
	{"method with a separator", "GE(T / HTTP/1.1\r\nHost: h\r\n\r\n", "!400 method"},
	{"method with nul", "GET\x00 / HTTP/1.1\r\nHost: h\r\n\r\n", "!400 method"},
	{"long method", strings.Repeat("A", 33) + " / HTTP/1.1\r\nHost: h\r\n\r\n", "!501 method-length"},
	{"longest method", strings.Repeat("A", 32) + " / HTTP/1.1\r\nHost: h\r\n\r\n", strings.Repeat("A", 32) + " / h none"},
	{"connect (Traefik, 2026)", "CONNECT internal:22 HTTP/1.1\r\nHost: internal:22\r\n\r\n", "!405 method-connect"},
	{"trace", "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", "!405 method-trace"},
	{"space before method", " GET / HTTP/1.1\r\nHost: h\r\n\r\n", "!400 method"},
	{"tab after method", "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", "!400 method"},
	{"two spaces after method", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-form"},
	{"two spaces after target", "GET /  HTTP/1.1\r\nHost: h\r\n\r\n", "!400 version"},
	{"space in target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", "!400 version"},
	{"tab in target", "GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-char"},
	{"nul in target", "GET /a\x00b HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-char"},
	{"del in target", "GET /a\x7f HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-char"},
	{"above ASCII in path", "GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-char"},
	{"above ASCII in query", "GET /?\xe9 HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-char"},
	{"bare cr in target", "GET /a\rb HTTP/1.1\r\nHost: h\r\n\r\n", "!400 bare-cr"},
	{"bare lf in target", "GET /a\nb HTTP/1.1\r\nHost: h\r\n\r\n", "!400 bare-lf"},
	{"fragment", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-fragment"},
	{"fragment after query", "GET /a?b#c HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-fragment"},
	{"fragment only", "GET # HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-fragment"},
	{"bad escape", "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-escape"},
	{"short escape", "GET /% HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-escape"},
	{"half an escape", "GET /%4 HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-escape"},
	{"relative target", "GET index.html HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-form"},
	{"asterisk for get", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-form"},
	{"asterisk and more", "OPTIONS *x HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-form"},
	{"authority-form", "GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-form"},
	{"backslash target", "GET \\x HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-form"},
	{"http 0.9", "GET /\r\n", "!400 version-missing"},
	{"http 0.9 with lf", "GET /\n", "!400 bare-lf"},
	{"http 0.9 by number", "GET / HTTP/0.9\r\n\r\n", "!505 version-unsupported"},
	{"http 1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", "!505 version-unsupported"},
	{"http 2.0", "GET / HTTP/2.0\r\nHost: h\r\n\r\n", "!505 version-unsupported"},
	{"http 3.1", "GET / HTTP/3.1\r\nHost: h\r\n\r\n", "!505 version-unsupported"},
	{"lower-case http", "GET / http/1.1\r\nHost: h\r\n\r\n", "!400 version"},
	{"no minor", "GET / HTTP/1\r\nHost: h\r\n\r\n", "!400 version"},
	{"minor of two digits", "GET / HTTP/1.10\r\nHost: h\r\n\r\n", "!400 version"},
	{"major of two digits", "GET / HTTP/01.1\r\nHost: h\r\n\r\n", "!400 version"},
	{"letters for the version", "GET / HTTP/d.d\r\nHost: h\r\n\r\n", "!400 version"},
	{"other protocol", "GET / ICAP/1.0\r\nHost: h\r\n\r\n", "!400 version"},
	{"space after version", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", "!400 version"},
	{"two versions", "GET / HTTP/1.1 HTTP/1.1\r\nHost: h\r\n\r\n", "!400 version"},
	{"lf after version", "GET / HTTP/1.1\nHost: h\r\n\r\n", "!400 bare-lf"},
	{"cr after version", "GET / HTTP/1.1\rHost: h\r\n\r\n", "!400 bare-cr"},
	{"two crs after version", "GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", "!400 bare-cr"},
	{"space first in the fields", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", "!400 obs-fold"},

	// --- absolute-form
	{"absolute", "GET http://h:8080/a?b HTTP/1.1\r\nHost: h:8080\r\n\r\n", "GET /a?b h:8080 none"},
	{"absolute wins over Host", "GET http://real/a HTTP/1.1\r\nHost: other\r\n\r\n", "GET /a real none"},
	{"absolute in capitals", "GET HTTP://H/ HTTP/1.1\r\nHost: h\r\n\r\n", "GET / H none"},
	{"absolute https", "GET https://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "GET / h none"},
	{"absolute without path", "GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", "GET / h none"},
	{"absolute without path, with query", "GET http://h?q=1 HTTP/1.1\r\nHost: h\r\n\r\n", "GET /?q=1 h none"},
	{"absolute options without path", "OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * h none"},
	{"absolute options with path", "OPTIONS http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS / h none"},
	{"absolute, http 1.0, no Host", "GET http://h/ HTTP/1.0\r\n\r\n", "GET / h none 1.0 close"},
	{"absolute without Host", "GET http://h/ HTTP/1.1\r\n\r\n", "!400 host-missing"},
	{"absolute with a bad Host", "GET http://h/ HTTP/1.1\r\nHost: a b\r\n\r\n", "!400 host-invalid"},
	{"absolute with user", "GET http://user@h/ HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-userinfo"},
	{"absolute with user and password", "GET http://good:80@evil/ HTTP/1.1\r\nHost: good\r\n\r\n", "!400 target-userinfo"},
	{"at sign in an absolute path", "GET http://h/a@b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a@b h none"},
	{"absolute with an empty host", "GET http:///a HTTP/1.1\r\nHost: h\r\n\r\n", "!400 host-invalid"},
	{"absolute with a bad port", "GET http://h:8x/ HTTP/1.1\r\nHost: h\r\n\r\n", "!400 host-invalid"},
	{"absolute with a backslash", "GET http://h\\@evil/ HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-userinfo"},
	{"absolute with a fragment", "GET http://h#x HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-fragment"},
	{"absolute with a control character", "GET http://h\x01/ HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-char"},
	{"other scheme", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-form"},
	{"scheme that begins like http", "GET httpx://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-form"},
	{"scheme with one slash", "GET http:/h/ HTTP/1.1\r\nHost: h\r\n\r\n", "!400 target-form"},

	// --- Host
	{"no Host", "GET / HTTP/1.1\r\n\r\n", "!400 host-missing"},
	{"two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "!400 host-duplicate"},
	{"two equal Hosts", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "!400 host-duplicate"},
	{"two Hosts in http 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "!400 host-duplicate"},
	{"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "!400 host-invalid"},
	{"Host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "!400 host-invalid"},
	{"Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "!400 host-invalid"},
	{"Host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "!400 host-invalid"},
	{"Host with a scheme", "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", "!400 host-invalid"},
	{"Host above ASCII", "GET / HTTP/1.1\r\nHost: \xc3\xa9.example\r\n\r\n", "!400 host-invalid"},
	{"IPv6 Host", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "GET / [::1]:80 none"},
	{"Host with space before colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "!400 field-space"},

	// --- field lines
	{"bare lf after a field", "GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n", "!400 bare-lf"},
	{"bare cr in a value", "GET / HTTP/1.1\r\nHost: h\r\nA: b\rTransfer-Encoding: chunked\r\n\r\n", "!400 bare-cr"},
	{"cr cr lf", "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\r\n\r\n", "!400 bare-cr"},
	{"head ended by lf lf", "GET / HTTP/1.1\r\nHost: h\n\n", "!400 bare-lf"},
	{"head ended by crlf lf", "GET / HTTP/1.1\r\nHost: h\r\n\n", "!400 bare-lf"},
	{"nul in a value", "GET / HTTP/1.1\r\nHost: h\r\nA: b\x00\r\n\r\n", "!400 field-value"},
	{"nul in a long value", "GET / HTTP/1.1\r\nHost: h\r\nA: 0123456789abcdef\x000123456789\r\n\r\n", "!400 field-value"},
	{"vertical tab before chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\x0bchunked\r\n\r\n", "!400 field-value"},
	{"del in a value", "GET / HTTP/1.1\r\nHost: h\r\nA: 0123456789\x7f123456789\r\n\r\n", "!400 field-value"},
	{"obs-fold", "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", "!400 obs-fold"},
	{"obs-fold with a tab", "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\tc\r\n\r\n", "!400 obs-fold"},
	{"obs-fold of Transfer-Encoding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", "!501 transfer-encoding"},
	{"space before colon", "GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", "!400 field-space"},
	{"tab before colon", "GET / HTTP/1.1\r\nHost: h\r\nContent-Length\t: 5\r\n\r\n", "!400 field-space"},
	{"no colon", "GET / HTTP/1.1\r\nHost: h\r\nA\r\n\r\n", "!400 field-name"},
	{"empty name", "GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n", "!400 field-name"},
	{"name with a separator", "GET / HTTP/1.1\r\nHost: h\r\nA(B): c\r\n\r\n", "!400 field-name"},
	{"name with nul", "GET / HTTP/1.1\r\nHost: h\r\nContent-Length\x00: 5\r\n\r\n", "!400 field-name"},
	{"name above ASCII", "GET / HTTP/1.1\r\nHost: h\r\nX\xc3\xa9: c\r\n\r\n", "!400 field-name"},
	{"name that folds to a known one (Kelvin sign)", "GET / HTTP/1.1\r\nHost: h\r\n\xe2\x84\xaaeep-Alive: 1\r\n\r\n", "!400 field-name"},
	{"underscore alias of a forwarding field", "GET / HTTP/1.1\r\nHost: h\r\nX_Forwarded_For: 1.2.3.4\r\n\r\n", "GET / h none -X_Forwarded_For"},
	{"underscore alias of framing", "POST / HTTP/1.1\r\nHost: h\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n", "POST / h none -Content_Length,Transfer_Encoding"},
	{"httpoxy (CVE-2016-5385)", "GET / HTTP/1.1\r\nHost: h\r\nProxy: http://evil\r\n\r\n", "GET / h none -Proxy"},

	// --- Content-Length
	{"negative length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", "!400 content-length"},
	{"plus length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\n", "!400 content-length"},
	{"hexadecimal length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\n", "!400 content-length"},
	{"underscore in length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1_0\r\n\r\n", "!400 content-length"},
	{"fractional length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5.0\r\n\r\n", "!400 content-length"},
	{"space in length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5 5\r\n\r\n", "!400 content-length"},
	{"empty length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", "!400 content-length"},
	{"length list", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\n", "!400 content-length"},
	{"length list with an empty element", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5,\r\n\r\n", "!400 content-length"},
	{"quoted length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \"5\"\r\n\r\n", "!400 content-length"},
	{"length in other digits", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \xd9\xa5\r\n\r\n", "!400 content-length"},
	{"largest length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9223372036854775807\r\n\r\n", "POST / h length=9223372036854775807"},
	{"length overflows int64", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9223372036854775808\r\n\r\n", "!400 content-length"},
	{"length overflows uint64", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551621\r\n\r\n", "!400 content-length"},
	{"leading zeros in length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0000000000000000000000010\r\n\r\n", "POST / h length=10"},
	{"two lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "!400 content-length-duplicate"},
	{"two equal lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n", "!400 content-length-duplicate"},

	// --- Transfer-Encoding
	{"CL.TE", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", "!400 length-and-coding"},
	{"TE.CL", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "!400 length-and-coding"},
	{"CL.TE with an unknown coding", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: xchunked\r\n\r\n", "!400 length-and-coding"},
	{"chunked after a comma", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: ,chunked\r\n\r\n", "!501 transfer-encoding"},
	{"chunked before a comma", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked,\r\n\r\n", "!501 transfer-encoding"},
	{"chunked twice", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", "!501 transfer-encoding"},
	{"chunked twice on two lines", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "!501 transfer-encoding-duplicate"},
	{"TE.TE", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n\r\n", "!501 transfer-encoding-duplicate"},
	{"gzip, chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "!501 transfer-encoding"},
	{"chunked, gzip", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", "!501 transfer-encoding"},
	{"identity", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", "!501 transfer-encoding"},
	{"xchunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", "!501 transfer-encoding"},
	{"quoted chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", "!501 transfer-encoding"},
	{"chunked with a parameter", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", "!501 transfer-encoding"},
	{"empty coding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n", "!501 transfer-encoding"},
	{"chunked with a long s", "POST / HTTP/1.1\r\nHost: h\r\nTran\xc5\xbffer-Encoding: chunked\r\n\r\n", "!400 field-name"},
	{"chunked in http 1.0", "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", "!400 transfer-encoding-http10"},
	{"space before colon of a coding (CVE-2019-16276)", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n", "!400 field-space"},
	{"nominated coding", "POST / HTTP/1.1\r\nHost: h\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n", "POST / h chunked -Connection,Transfer-Encoding"},

	// --- Connection
	{"nominated field", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, X-Mine\r\nx-mine: 1\r\nX-Mine: 2\r\nX-Other: 3\r\n\r\n", "GET / h none close -Connection,x-mine,X-Mine"},
	{"nominated before and after", "GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nConnection: a\r\nConnection: b\r\nB: 2\r\n\r\n", "GET / h none -A,Connection,Connection,B"},
	{"nominated forwarding fields (CVE-2024-45410)", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, X-Forwarded-For, X-Forwarded-Host, X-Real-Ip, Forwarded\r\nX-Forwarded-For: 1\r\nX-Forwarded-Host: h\r\nX-Real-IP: 1\r\nForwarded: for=1\r\n\r\n", "GET / h none close -Connection"},
	{"nominated Host and framing", "POST / HTTP/1.1\r\nHost: h\r\nConnection: Host, Content-Length\r\nContent-Length: 5\r\n\r\n", "POST / h length=5 -Connection"},
	{"nominated credentials", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Authorization, Cookie\r\nAuthorization: a\r\nCookie: b\r\n\r\n", "GET / h none -Connection"},
	{"Connection with no token", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close; x\r\n\r\n", "!400 connection"},
	{"Connection with a quote", "GET / HTTP/1.1\r\nHost: h\r\nConnection: \"close\"\r\n\r\n", "!400 connection"},
	{"empty Connection", "GET / HTTP/1.1\r\nHost: h\r\nConnection:\r\n\r\n", "GET / h none -Connection"},
	{"as many nominated names as allowed", "GET / HTTP/1.1\r\nHost: h\r\nConnection: " + strings.Repeat("x,", 16) + "\r\n\r\n", "GET / h none -Connection"},
	{"too many nominated names", "GET / HTTP/1.1\r\nHost: h\r\nConnection: " + strings.Repeat("x,", 17) + "\r\n\r\n", "!400 connection-count"},
	{"all hop-by-hop fields", "GET / HTTP/1.1\r\nHost: h\r\nKeep-Alive: 1\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nProxy-Authorization: x\r\nProxy-Authenticate: x\r\nUpgrade: x\r\nHTTP2-Settings: x\r\n\r\n",
		"GET / h none -Keep-Alive,Proxy-Connection,TE,Proxy-Authorization,Proxy-Authenticate,Upgrade,HTTP2-Settings"},

	// --- Upgrade
	{"websocket", "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "GET /ws h none upgrade=websocket -Connection,Upgrade"},
	{"websocket as Firefox sends it", "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n", "GET /ws h none upgrade=WebSocket -Connection,Upgrade"},
	{"upgrade that Connection does not mention", "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n", "GET / h none -Upgrade"},
	{"Connection: upgrade alone", "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n\r\n", "GET / h none -Connection"},
	{"h2c (golang 80416)", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", "GET / h none -Connection,Upgrade,HTTP2-Settings"},
	{"h2c in capitals", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: H2C\r\n\r\n", "GET / h none -Connection,Upgrade"},
	{"websocket with HTTP2-Settings", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nHTTP2-Settings: x\r\n\r\n", "GET / h none -Connection,Upgrade,HTTP2-Settings"},
	{"h2c hidden in a list", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n", "GET / h none -Connection,Upgrade"},
	{"h2c hidden on a second line", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n", "GET / h none -Connection,Upgrade,Upgrade"},
	{"three Upgrade fields", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: a\r\nUpgrade: websocket\r\n\r\n", "GET / h none -Connection,Upgrade,Upgrade,Upgrade"},
	{"upgrade with a version", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n", "GET / h none upgrade=TLS/1.0 -Connection,Upgrade"},
	{"upgrade of no token", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: web socket\r\n\r\n", "GET / h none -Connection,Upgrade"},
	{"empty upgrade", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade:\r\n\r\n", "GET / h none -Connection,Upgrade"},
	{"upgrade with a body (CVE-2026-58055)", "POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello", "POST / h length=5 -Connection,Upgrade"},
	{"upgrade with chunks", "POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n", "POST / h chunked -Connection,Upgrade,Transfer-Encoding"},
	{"upgrade with zero length", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", "GET / h length=0 upgrade=websocket -Connection,Upgrade"},
	{"upgrade in http 1.0", "GET / HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "GET / h none 1.0 close -Connection,Upgrade"},

	// --- Expect, Trailer
	{"expect", "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n", "POST / h length=5 expect"},
	{"expect without a body", "GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n", "GET / h none -Expect"},
	{"expect in http 1.0", "POST / HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", "POST / h length=5 1.0 close -Expect"},
	{"other expectation", "POST / HTTP/1.1\r\nHost: h\r\nExpect: x=y\r\nContent-Length: 5\r\n\r\n", "!417 expect"},
	{"expectation list", "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue, 100-continue\r\nContent-Length: 5\r\n\r\n", "!417 expect"},
	{"second expectation", "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nExpect: x\r\nContent-Length: 5\r\n\r\n", "!417 expect"},
	{"trailer announced", "POST / HTTP/1.1\r\nHost: h\r\nTrailer: X-Sum,, ETag\r\nTransfer-Encoding: chunked\r\n\r\n", "POST / h chunked -Transfer-Encoding"},
	{"trailer announced without chunks", "POST / HTTP/1.1\r\nHost: h\r\nTrailer: X-Sum\r\nContent-Length: 1\r\n\r\n", "POST / h length=1 -Trailer"},
	{"framing announced as trailer", "POST / HTTP/1.1\r\nHost: h\r\nTrailer: X, content-length\r\nTransfer-Encoding: chunked\r\n\r\n", "!400 trailer-names"},
}

func TestRequestTable(t *testing.T) {
	for _, c := range requestTable {
		t.Run(c.name, func(t *testing.T) {
			var r Request
			n, err := r.Parse([]byte(c.raw), nil)
			got := "more"
			switch {
			case err != nil:
				got = refused(t, err)
				if n != 0 {
					t.Errorf("n = %d with an error, want 0", n)
				}
			case n > 0:
				got = facts(&r)
			}
			if got != c.want {
				t.Errorf("Parse(%q)\n got %s\nwant %s", c.raw, got, c.want)
			}
		})
	}
}

// TestRequestCutAnywhere: a prefix of a request is either not complete or
// refused with what the whole is refused with, and never accepted.
func TestRequestCutAnywhere(t *testing.T) {
	for _, c := range requestTable {
		for _, lim := range tightLimits {
			checkRequestPrefixes(t, []byte(c.raw), lim)
		}
	}
}

// tightLimits cut into most requests.
var tightLimits = []*Limits{nil, {Line: 20}, {Head: 60}, {Fields: 1}, {Line: 25, Head: 50, Fields: 2, Body: 3, Underscores: UnderscoresReject}}

func checkRequestPrefixes(t *testing.T, raw []byte, lim *Limits) {
	t.Helper()
	var whole, part Request
	n, want := whole.Parse(raw, lim)
	for i := range raw {
		m, err := part.Parse(raw[:i], lim)
		if err != nil && err != want {
			t.Fatalf("Parse(%q) = %v, but the whole %q gives %v", raw[:i], err, raw, want)
		}
		if m != 0 && m != n {
			t.Fatalf("Parse(%q) = %d, the whole gives %d", raw[:i], m, n)
		}
		if n > 0 && i >= n && m != n {
			t.Fatalf("Parse(%q) = %d, want %d: bytes after the head matter", raw[:i], m, n)
		}
		if end := HeadEnd(raw[:i], 0); end >= 0 && m == 0 && err == nil {
			t.Fatalf("HeadEnd(%q) = %d, but Parse wants more", raw[:i], end)
		} else if m > 0 && end != m {
			t.Fatalf("HeadEnd(%q) = %d, Parse says %d", raw[:i], end, m)
		}
	}
}

func TestRequestParts(t *testing.T) {
	var r Request
	raw := "PUT /a/b?c=d?e HTTP/1.1\r\nHost: h\r\nX-One:  1 \r\ncontent-type: text/plain\r\n\r\n"
	if n, err := r.Parse([]byte(raw), nil); n != len(raw) || err != nil {
		t.Fatal(n, err)
	}
	if r.Method != PUT || string(r.Path) != "/a/b" || string(r.Query) != "c=d?e" {
		t.Errorf("method %v, path %q, query %q", r.Method, r.Path, r.Query)
	}
	want := []Field{
		{Name: []byte("Host"), Value: []byte("h"), Known: Host},
		{Name: []byte("X-One"), Value: []byte("1")},
		{Name: []byte("content-type"), Value: []byte("text/plain"), Known: ContentType},
	}
	if fmt.Sprint(r.Fields) != fmt.Sprint(want) {
		t.Errorf("fields %v\nwant %v", r.Fields, want)
	}
	if !r.Has(ContentType) || r.Has(Cookie) || Find(r.Fields, ContentType) != 2 || Find(r.Fields, Cookie) != -1 {
		t.Error("Has or Find is wrong about known names")
	}
	if FindText(r.Fields, []byte("x-oNE")) != 1 || FindText(r.Fields, []byte("x-two")) != -1 {
		t.Error("FindText is wrong")
	}
}

// TestFieldsFoundByText: names compare without case, and only by letters.
func TestFieldsFoundByText(t *testing.T) {
	fields := []Field{{Name: []byte("A[")}, {Name: []byte("A{")}, {Name: []byte("AB")}}
	for name, want := range map[string]int{"a[": 0, "a{": 1, "ab": 2, "a": -1, "abc": -1} {
		if got := FindText(fields, []byte(name)); got != want {
			t.Errorf("FindText(%q) = %d, want %d", name, got, want)
		}
	}
}

// TestRequestForgets: nothing of one request is left in the next.
func TestRequestForgets(t *testing.T) {
	var r, fresh Request
	for _, before := range requestTable {
		for _, c := range requestTable[:20] {
			_, _ = r.Parse([]byte(before.raw), nil)
			if _, err := r.Parse([]byte(c.raw), nil); err != nil {
				t.Fatal(err)
			}
			if _, err := fresh.Parse([]byte(c.raw), nil); err != nil {
				t.Fatal(err)
			}
			if got, want := facts(&r), facts(&fresh); got != want || r.seen != fresh.seen || string(r.Query) != string(fresh.Query) {
				t.Fatalf("after %q: got %s, want %s", before.name, got, want)
			}
		}
	}
}

func TestAbsoluteFormReplacesHostField(t *testing.T) {
	var r Request
	if _, err := r.Parse([]byte("GET http://real:81/ HTTP/1.1\r\nHost: other\r\n\r\n"), nil); err != nil {
		t.Fatal(err)
	}
	if !r.Has(Host) || r.HasBody() {
		t.Error("Has or HasBody is wrong")
	}
	if got := string(AppendFields(nil, r.Fields)); got != "Host: real:81\r\n" {
		t.Errorf("forwards %q", got)
	}
}

func TestLengthIsForwardedWithoutLeadingZeros(t *testing.T) {
	var r Request
	if _, err := r.Parse([]byte("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0010\r\n\r\n"), nil); err != nil {
		t.Fatal(err)
	}
	if got := string(r.Fields[1].Value); got != "10" || r.Length != 10 {
		t.Errorf("forwards Content-Length %q for %d", got, r.Length)
	}
}

func TestRequestLimits(t *testing.T) {
	line := func(n int) string { // a request whose line has n bytes
		const around = len("GET / HTTP/1.1\r\n")
		return "GET /" + strings.Repeat("a", n-around) + " HTTP/1.1\r\nHost: h\r\n\r\n"
	}
	head := func(n int) string { // a request whose head has n bytes
		const around = len("GET / HTTP/1.1\r\nHost: h\r\nA: \r\n\r\n")
		return "GET / HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("b", n-around) + "\r\n\r\n"
	}
	fields := func(n int) string {
		return "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("a: b\r\n", n-1) + "\r\n"
	}
	for _, c := range []struct {
		name, raw string
		lim       *Limits
		want      string
	}{
		{"longest line", line(DefaultLine), nil, ""},
		{"longest line after an empty one", "\r\n" + line(DefaultLine), nil, ""},
		{"line too long", line(DefaultLine + 1), nil, "!414 line-length"},
		{"line too long and not complete", line(DefaultLine + 1)[:DefaultLine], nil, "!414 line-length"},
		{"line not complete", line(DefaultLine + 1)[:DefaultLine-1], nil, "more"},
		{"own longest line", line(30), &Limits{Line: 30}, ""},
		{"own line too long", line(31), &Limits{Line: 30}, "!414 line-length"},
		{"largest head", head(DefaultHead), nil, ""},
		{"largest head and a body", head(DefaultHead) + "body", nil, ""},
		{"head too large", head(DefaultHead + 1), nil, "!431 head-size"},
		{"head too large and not complete", head(DefaultHead + 1)[:DefaultHead], nil, "!431 head-size"},
		{"head not complete", head(DefaultHead + 1)[:DefaultHead-1], nil, "more"},
		{"own largest head", head(100), &Limits{Head: 100}, ""},
		{"own head too large", head(101), &Limits{Head: 100}, "!431 head-size"},
		{"most fields", fields(DefaultFields), nil, ""},
		{"too many fields", fields(DefaultFields + 1), nil, "!431 field-count"},
		{"own most fields", fields(3), &Limits{Fields: 3}, ""},
		{"own too many fields", fields(4), &Limits{Fields: 3}, "!431 field-count"},
		{"largest body", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n", &Limits{Body: 10}, ""},
		{"body too large", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n", &Limits{Body: 10}, "!413 body-size"},
		{"underscore refused", "GET / HTTP/1.1\r\nHost: h\r\nA_b: c\r\n\r\n", &Limits{Underscores: UnderscoresReject}, "!400 field-underscore"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Request
			n, err := r.Parse([]byte(c.raw), c.lim)
			got := ""
			if err != nil {
				got = refused(t, err)
			} else if n == 0 {
				got = "more"
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestUnderscoresKept(t *testing.T) {
	var r Request
	if _, err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: h\r\nA_b: c\r\n\r\n"), &Limits{Underscores: UnderscoresKeep}); err != nil {
		t.Fatal(err)
	}
	if r.Fields[1].Hop {
		t.Error("the field is not forwarded")
	}
}

// TestHeadEndResumes: a head that comes byte by byte is found at the same
// place, although each search begins where the last one ended.
func TestHeadEndResumes(t *testing.T) {
	for _, c := range requestTable {
		raw := []byte(c.raw)
		want := HeadEnd(raw, 0)
		for step := 1; step <= 3; step++ {
			got, from := -1, 0
			for i := 0; i <= len(raw) && got < 0; i += step {
				got = HeadEnd(raw[:i], from)
				from = i
			}
			if got < 0 {
				got = HeadEnd(raw, from)
			}
			if got != want {
				t.Errorf("HeadEnd of %q in steps of %d = %d, want %d", raw, step, got, want)
			}
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	var r Request
	var p Response
	request, absolute, response := []byte(browserRequest), []byte("GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n"), []byte(smallResponse)
	refusedRequest := []byte("GET / HTTP/1.1\r\n\r\n")
	if n := testing.AllocsPerRun(100, func() {
		_, _ = r.Parse(request, nil)
		_, _ = r.Parse(absolute, nil)
		_, _ = r.Parse(refusedRequest, nil)
		_, _ = p.Parse(response, GET, nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
