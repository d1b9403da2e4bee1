package http1

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestEveryKnownNameIsFound(t *testing.T) {
	seen := map[uint8]Name{}
	for n := Other + 1; n < nameCount; n++ {
		text := n.String()
		if text == "" {
			t.Fatalf("name %d has no text", n)
		}
		h := nameHash([]byte(text))
		if m, ok := seen[h]; ok {
			t.Errorf("%v and %v have one hash", m, n)
		}
		seen[h] = n
		for _, s := range []string{text, strings.ToLower(text), strings.ToUpper(text)} {
			if got := Lookup([]byte(s)); got != n {
				t.Errorf("Lookup(%q) = %v", s, got)
			}
		}
		for _, s := range []string{text + "x", "x" + text, text[1:], text[:len(text)-1], strings.ReplaceAll(text, "-", "\r"), strings.ReplaceAll(text, "-", "_")} {
			if got := Lookup([]byte(s)); s != text && got == n {
				t.Errorf("Lookup(%q) = %v", s, got)
			}
		}
	}
	for n := Other + 1; n < nameCount; n++ { // any other letter at any place makes another name
		for i := range n.String() {
			b := []byte(n.String())
			b[i] ^= 1
			if got := Lookup(b); got == n {
				t.Errorf("Lookup(%q) = %v", b, got)
			}
		}
		if len(n.String()) > 24 {
			t.Errorf("%v does not fit in three words", n)
		}
	}
	for _, s := range []string{"", "x", "-", "x-unknown", "Ho\x13t"} {
		if got := Lookup([]byte(s)); got != Other {
			t.Errorf("Lookup(%q) = %v", s, got)
		}
	}
	if nameCount > 64 {
		t.Error("a set of names does not fit in 64 bits")
	}
	if Other.String() != "" || nameCount.String() != "" {
		t.Error("a name that is none has a text")
	}
}

// TestHopByHopNames: those of RFC 9110 §7.6.1 and of net/http/httputil, with
// HTTP2-Settings and Proxy. Trailer is end-to-end since RFC 9110.
func TestHopByHopNames(t *testing.T) {
	want := "Connection Keep-Alive Proxy-Connection Transfer-Encoding TE Upgrade HTTP2-Settings Proxy-Authenticate Proxy-Authorization Proxy"
	var got []string
	for n := range nameCount {
		if n.HopByHop() {
			got = append(got, n.String())
		}
	}
	if strings.Join(got, " ") != want {
		t.Errorf("hop-by-hop: %s", got)
	}
}

func TestAuthority(t *testing.T) {
	for _, s := range []string{
		"a", "example.com", "Example.COM.", "a-b.c_d", "127.0.0.1", "1", "a:0", "a:80", "a:65535", "a:00080",
		"[::]", "[::1]:80", "[2001:db8::1]", "[1:2:3:4:5:6:7:8]", "[::ffff:1.2.3.4]:443", strings.Repeat("a", 255), strings.Repeat("a", 255) + ":80",
	} {
		if !isAuthority([]byte(s)) {
			t.Errorf("%q is refused", s)
		}
	}
	for _, s := range []string{
		"", ":80", ".", ".a", "a..b", "a:", "a:b", "a:-1", "a:+1", "a:65536", "a:100000", "a:80:80", "a b", "a\tb", "a,b", "a;b", "a/b", "a?b", "a#b", "u@a",
		"a%20b", "a\\b", "a'b", "a\"b", "a<b", "a(b)", "\x00", "a\x7f", "\xff", "::1", "[", "[]", "[::1", "::1]", "[::1]a", "[::1]:", "[::1]:x", "[::1]]",
		"[fe80::1%25eth0]", "[v1.x]", "[1.2.3.4]", "[a]", strings.Repeat("a", 256), strings.Repeat("a", 256) + ":80",
	} {
		if isAuthority([]byte(s)) {
			t.Errorf("%q is accepted", s)
		}
	}
}

// FuzzIPv6 compares with the standard library, which wants a string.
func FuzzIPv6(f *testing.F) {
	for _, s := range []string{
		"::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9", "::1::", ":::", "1:", ":1",
		"::1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "1.2.3.4", "::1.2.3", "::1.2.3.4.5", "::01.2.3.4", "::256.2.3.4", "::1.2.3.4:5", "12345::", "g::",
		"1:2:3:4:5:6::1.2.3.4", "1:2:3:4:5::1.2.3.4",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := netip.ParseAddr(s)
		want := err == nil && a.Is6() && a.Zone() == ""
		if got := isIPv6([]byte(s)); got != want {
			t.Errorf("isIPv6(%q) = %v", s, got)
		}
	})
}

// TestSkipValueAgreesWithTheTable: eight bytes at once or one by one, the same
// bytes end a value.
func TestSkipValueAgreesWithTheTable(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			b := []byte(strings.Repeat("\x80", 20))
			b[at] = byte(c)
			want := at
			if valueChars[c] {
				want = 20
			}
			if got := skipValue(b, 0); got != want {
				t.Errorf("byte %#x at %d: skipValue = %d", c, at, got)
			}
		}
	}
	for pair := range 1 << 16 { // a borrow must not hide or invent a byte below
		b := []byte{byte(pair), byte(pair >> 8), 'a', 'a', 'a', 'a', 'a', 'a'}
		want := 0
		for want < len(b) && valueChars[b[want]] {
			want++
		}
		if got := skipValue(b, 0); got != want {
			t.Fatalf("skipValue(%q) = %d, want %d", b, got, want)
		}
	}
}

func TestMethods(t *testing.T) {
	for m := GET; m <= CONNECT; m++ {
		if got := methodOf([]byte(m.String())); got != m {
			t.Errorf("methodOf(%q) = %v", m.String(), got)
		}
	}
	if OtherMethod.String() != "" || Method(99).String() != "" {
		t.Error("a method that is none has a text")
	}
	for m, want := range map[Method][2]bool{
		OtherMethod: {false, false}, GET: {true, true}, HEAD: {true, true}, POST: {false, false}, PUT: {false, true},
		DELETE: {false, true}, OPTIONS: {true, true}, PATCH: {false, false}, TRACE: {true, true}, CONNECT: {false, false},
	} {
		if m.Safe() != want[0] || m.Idempotent() != want[1] {
			t.Errorf("%v: safe %v, idempotent %v", m, m.Safe(), m.Idempotent())
		}
	}
}

func TestReasons(t *testing.T) {
	for status := range 700 {
		want := http.StatusText(status)
		switch status {
		case 413: // RFC 9110 renamed three
			want = "Content Too Large"
		case 414:
			want = "URI Too Long"
		case 416:
			want = "Range Not Satisfiable"
		}
		got := Reason(status)
		if got == "" && want != "" && !rare[status] {
			t.Errorf("no reason for %d %s", status, want)
		}
		if got != "" && got != want && status != 203 && status != 422 {
			t.Errorf("Reason(%d) = %q, net/http has %q", status, got, want)
		}
	}
}

// rare are the statuses that no proxy invents.
var rare = map[int]bool{102: true, 207: true, 208: true, 226: true, 305: true, 418: true, 423: true, 424: true, 506: true, 508: true, 510: true}

func TestAppend(t *testing.T) {
	b := AppendRequestLine(nil, []byte("GET"), []byte("/a"))
	b = AppendField(b, []byte("A"), []byte("b"))
	b = AppendKnown(b, XForwardedFor, []byte("::1"))
	b = AppendContentLength(b, 1234567890123)
	b = AppendChunked(b)
	b = AppendEnd(b)
	want := "GET /a HTTP/1.1\r\nA: b\r\nX-Forwarded-For: ::1\r\nContent-Length: 1234567890123\r\nTransfer-Encoding: chunked\r\n\r\n"
	if string(b) != want {
		t.Errorf("got %q", b)
	}
	for _, c := range []struct{ got, want string }{
		{string(AppendStatus(nil, 1, 200, nil)), "HTTP/1.1 200 OK\r\n"},
		{string(AppendStatus(nil, 0, 404, []byte("Gone Fishing"))), "HTTP/1.0 404 Gone Fishing\r\n"},
		{string(AppendStatus(nil, 1, 299, nil)), "HTTP/1.1 299 \r\n"},
		{string(AppendStatus(nil, 1, 200, []byte{})), "HTTP/1.1 200 \r\n"},
		{string(AppendUint(nil, 0)), "0"},
		{string(AppendUint(nil, 1<<64-1)), "18446744073709551615"},
		{string(AppendChunk(nil, nil)), ""},
		{string(AppendChunk(nil, make([]byte, 0x1af))[:5]), "1af\r\n"},
		{string(AppendChunkSize(nil, 1<<62)), "4000000000000000\r\n"},
		{string(AppendLastChunk([]byte("x"))), "x0\r\n\r\n"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestFramingTexts(t *testing.T) {
	var got []string
	for f := FramingNone; f <= FramingClose; f++ {
		got = append(got, f.String())
	}
	if strings.Join(got, " ") != "none length chunked close" {
		t.Error(got)
	}
}
