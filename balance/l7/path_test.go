package l7

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/trivet-ha/trivet/balance/l7/http1"
)

func normalised(t testing.TB, target string) (got string, ok bool) {
	t.Helper()
	req := new(http1.Request)
	if n, err := req.Parse([]byte("GET "+target+" HTTP/1.1\r\nHost: a\r\n\r\n"), nil); err != nil || n == 0 {
		t.Skip("no valid target")
	}
	ok = normalise(&worker{}, req)
	if ok && string(req.Target) != string(req.Path)+question(req) {
		t.Fatalf("%q: target %q, path %q, query %q", target, req.Target, req.Path, req.Query)
	}
	return string(req.Target), ok
}

func question(req *http1.Request) string {
	if len(req.Target) > len(req.Path) {
		return "?" + string(req.Query)
	}
	return ""
}

func TestDotSegmentsAreResolved(t *testing.T) {
	for in, want := range map[string]string{
		"/":                 "/",
		"/a/b":              "/a/b",
		"/a/./b":            "/a/b",
		"/a/../b":           "/b",
		"/a/b/..":           "/a/",
		"/a/b/.":            "/a/b/",
		"/a/b/../..":        "/",
		"/.":                "/",
		"/a/..":             "/",
		"/a//../b":          "/a/b",
		"/a/.../b":          "/a/.../b",
		"/a/.b/..c/d..":     "/a/.b/..c/d..",
		"/a/%2e%2E/b":       "/b",
		"/a/.%2e/b?../..":   "/b?../..",
		"/a/%2e/b?":         "/a/b?",
		"/a/%2e%2e%2fb":     "/a/%2e%2e%2fb", // an encoded slash is no slash
		"/%61/../b":         "/b",
		"/..":               "",
		"/a/../../b":        "",
		"/%2e%2e/":          "",
		"/a/..%2f..":        "/a/..%2f..",
		"/a/../%2e%2e":      "",
		"/../a?/../":        "",
		"/a/b/c/./../../g":  "/a/g", // RFC 3986 §5.2.4
		"/mid/content=5/..": "/mid/",
	} {
		got, ok := normalised(t, in)
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

// FuzzNormalise checks that no dot segment is left, that it changes nothing twice, and that where it agrees to a
// path, so does package path.
func FuzzNormalise(f *testing.F) {
	for _, s := range []string{"/a/../b", "/./", "/%2e%2E/a", "/a//..", "/a?b/../c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if strings.ContainsAny(target, " \r\n") || !strings.HasPrefix(target, "/") {
			t.Skip()
		}
		got, ok := normalised(t, target)
		if !ok {
			return
		}
		p, _, _ := strings.Cut(got, "?")
		if hasDotSegment([]byte(p)) {
			t.Fatalf("%q gives %q", target, got)
		}
		if again, ok := normalised(t, got); !ok || again != got {
			t.Fatalf("%q gives %q and then %q", target, got, again)
		}
		plain, err := url.PathUnescape(strings.ReplaceAll(strings.ReplaceAll(p, "%2f", "%252f"), "%2F", "%252F"))
		if err != nil || strings.Contains(p, "//") || strings.Contains(plain, "\x00") {
			return
		}
		if want := path.Clean(plain); want != plain && want+"/" != plain {
			t.Fatalf("%q gives %q, which is %q when it is clean", target, got, want)
		}
	})
}
