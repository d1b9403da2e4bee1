package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// wants is a text and what it parses to, or "!" and a part of the error or its hint.
type wants map[string]string

func check[T any](t *testing.T, parse func(string) (T, error), cases wants) {
	t.Helper()
	for text, want := range cases {
		got, err := parse(text)
		if reason, fails := strings.CutPrefix(want, "!"); fails {
			var bad *valueError
			if !errors.As(err, &bad) || !strings.Contains(bad.message+"; "+bad.hint, reason) {
				t.Errorf("%q: error %v, want %q", text, err, reason)
			}
			continue
		}
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q: %v, %v, want %s", text, got, err, want)
		}
	}
}

func TestDurations(t *testing.T) {
	check(t, ParseDuration, wants{
		"0": "0s", "300ms": "300ms", "1.5s": "1.5s", "1h30m": "1h30m0s", "30d": "720h0m0s", "2w": "336h0m0s", "1d12h": "36h0m0s", "0.5d": "12h0m0s", "5µs": "5µs",
		"": "!not a duration", "5": "!write 5s", "1.5": "!no unit", "5x": `!unknown unit "x"`, "-1s": "!not a duration", "s": "!not a duration", "1s-": "!unknown unit",
		"1..5s": "!not a duration", "300y": "!unknown unit", "999999999999d": "!too long", "100000d200000d": "!too long", "1e3s": `!unknown unit "e"`, "5 s": "!unknown unit", "..d": "!not a duration",
	})
}

func TestSizes(t *testing.T) {
	check(t, ParseSize, wants{
		"0": "0", "4096": "4KiB", "64KiB": "64KiB", "1.5MiB": "1536KiB", "1GB": "1GB", "10kB": "10kB", "10KB": "10kB", "1TiB": "1TiB", "1TB": "1TB", "5B": "5", "5 MiB": "5MiB",
		"": "!begin with a number", "64K": "!units are", "64kib": "!unknown unit", "-5": "!begin with a number", "1.5B": "!whole number", "99999999999TiB": "!too large",
	})
}

func TestRates(t *testing.T) {
	check(t, ParseRate, wants{
		"100/s": "100/s", "120/m": "2/s", "3600/h": "1/s", "86400/d": "1/s", "64KiB/s": "65536/s", "0/s": "0/s",
		"100": "!per which time", "100/y": "!unknown time", "x/s": "!begin with a number",
	})
}

func TestPercentages(t *testing.T) {
	check(t, ParsePercent, wants{
		"20%": "20%", "99.95%": "99.95%", "0%": "0%", "20 %": "20%",
		"20": "!write 20%", "0.2": "!write 20%", "x%": "!not a percentage", "-1%": "!not a percentage", "NaN%": "!not a percentage",
	})
	if got := Percent(20).Fraction(); got != 0.2 {
		t.Errorf("20%% is %v", got)
	}
}

func TestAddresses(t *testing.T) {
	check(t, ParseAddress, wants{
		":8080": ":8080", ":0": "[::]:0", "10.0.0.1:80": "10.0.0.1:80", "[::1]:80": "[::1]:80", "App1:80": "app1:80", "a_b.internal:80": "a_b.internal:80",
		"unix:/run/x.sock": "unix:/run/x.sock", "unix:@abstract": "unix:@abstract",
		"8080": `!write ":8080"`, "10.0.0.1": `!write "10.0.0.1:8000"`, "::1": `!write "[::1]:8000"`, "app1": "!write app1:8000", "10.0.0.1:x": "!no port number",
		"10.0.0.1:70000": "!no port number", "a b:80": "!neither an IP", "http://10.0.0.1:80/": "!write 10.0.0.1:80 alone", "unix:x": "!absolute path", "unix:/": "!absolute path",
		"-a:80": "!neither an IP", "": "!not an address", "unix:/" + strings.Repeat("x", 108): "!too long", "*:80": "!neither an IP",
	})
	tcp, unix := Address{Host: "::1", Port: 80}, Address{Unix: "/x"}
	if tcp.Network() != "tcp" || tcp.Dial() != "[::1]:80" || unix.Network() != "unix" || unix.Dial() != "/x" || !(Address{}).IsZero() || (Address{}).String() != "" {
		t.Error("forms for package net are wrong")
	}
}

func TestHostPatterns(t *testing.T) {
	check(t, parseHostPattern, wants{
		"Shop.Example.com": "shop.example.com", "*.example.com": "*.example.com", "*": "*", "example.com.": "example.com", "10.0.0.1": "10.0.0.1", "[::1]": "[::1]", "::1": "[::1]", "localhost": "localhost",
		"example.com:80": "!write example.com", "a.*.com": "!elsewhere", "münchen.de": "!xn--", "a b": "!not a host name", "": "!not a host name", "*.": "!elsewhere",
	})
}

func TestHTTPWords(t *testing.T) {
	check(t, parseMethod, wants{"GET": "GET", "PROPFIND": "PROPFIND", "get": "!write GET", "GTE": `!did you mean "GET"`, "CONNECT": "!never forwarded", "G T": "!not an HTTP method"})
	check(t, parseHeaderName, wants{"X-A": "X-A", "X A": "!not a header name", "": "!not a header name"})
	check(t, parseHeaderValue, wants{"a b": "a b", "a\tb": "a\tb", "a\nb": "!control character", " a": "!spaces", "": ""})
	check(t, parseCookieName, wants{"srv": "srv", "a=b": "!not a cookie name"})
	check(t, parseStatus, wants{"200": "200", "099": "!three digits", "600": "!three digits", "x": "!three digits"})
	check(t, parseStatusRange, wants{"200": "{200 200}", "200-299": "{200 299}", "2xx": "{200 299}", "6xx": "!write 200", "299-200": "!write 200-299", "200-x": "!range", "xx": "!range"})
	check(t, parseURLPath, wants{"/": "/", "/a%20b": "/a%20b", "a": "!write /a", "/a?b": "!query", "/a b": "!percent-encode", "/é": "!percent-encode"})
	check(t, parseHashKey, wants{
		"source": "source", "path": "path", "host": "host", "header:X-A": "header:X-A", "cookie:s": "cookie:s", "query:a b": "query:a b",
		"header": "!write header:NAME", "header:": "!write header:NAME", "header:a b": "!does not name", "heder:x": `!did you mean`, "": "!nothing that can be hashed",
	})
	check(t, parseRetryCondition, wants{"connect": "connect", "reset": "reset", "stall": "stall", "timeout": "timeout", "503": "503", "200": "!not a failure", "conect": `!did you mean "connect"`, "xyzzy": "!one of connect"})
	check(t, parseRegexp, wants{"^/a$": "^/a$", "[": "!missing closing ]"})
	check(t, parseName, wants{"web-1.a_b": "web-1.a_b", "-a": "!is not a name", "": "!is not a name", "a/b": "!contains '/'", strings.Repeat("x", 64): "!at most 63"})
	check(t, parseTemplate, wants{"a {client_ip} {{": "a {client_ip} {{", "{clientip}": `!did you mean "client_ip"`, "{a": "!not closed", "a\nb": "!control character"})
	check(t, ParseLogFormat, wants{"json": "json", "combined": "combined", "{status}": "{status}", "plain": "!no known format", "{x}": "!unknown variable"})
	check(t, parsePrefix, wants{"10.0.0.0/8": "10.0.0.0/8", "10.0.0.1": "10.0.0.1/32", "::1": "::1/128", "10.0.0.1/8": "!write 10.0.0.0/8", "x": "!not a network", "fe80::1%eth0": "!not a network"})
	check(t, parseLogOutput, wants{"stdout": "stdout", "": "!empty"})
	check(t, parseFilePath, wants{"a": "a", "": "!empty"})
}

func TestStatusRangesContainTheirEnds(t *testing.T) {
	r := StatusRange{200, 299}
	if !r.Contains(200) || !r.Contains(299) || r.Contains(300) || r.Contains(199) {
		t.Error("ends are wrong")
	}
}

// The oracle is Go's own parser, wherever only its units are used.
func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"1s", "1h2m3.5s", "1d", "2w3d", "x", "1", ".5s", "9223372036854775807ns"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseDuration(text)
		if err != nil {
			return
		}
		if got < 0 {
			t.Fatalf("%q is negative: %v", text, got)
		}
		if want, goErr := time.ParseDuration(text); goErr == nil && want != got {
			t.Fatalf("%q is %v, and for Go %v", text, got, want)
		}
		if again, err := ParseDuration(got.String()); err != nil || again != got {
			t.Fatalf("%q: what is printed, %s, reads as %v, %v", text, got, again, err)
		}
	})
}
