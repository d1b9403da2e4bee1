package faulthttp

import (
	"net/http"
	"testing"
	"time"
)

// FuzzRetryAfter: whatever a server sends, the wait is neither negative nor, where
// it is seconds, anything else than these.
func FuzzRetryAfter(f *testing.F) {
	for _, field := range []string{"", "120", "-5", "1e9", "Fri, 02 Jan 2026 03:05:05 GMT", "99999999999999999999", " 7", "\x00"} {
		f.Add(field)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, field string) {
		got := retryAfter(http.Header{"Retry-After": {field}}, now)
		if got < 0 {
			t.Errorf("%q: %v", field, got)
		}
		if at, err := http.ParseTime(field); err == nil && at.After(now) && got == 0 {
			t.Errorf("%q is after now, and the wait is 0", field)
		}
	})
}

// FuzzClient: any text is an address or is not, and an address is masked.
func FuzzClient(f *testing.F) {
	for _, remote := range []string{"", "@", "192.0.2.1:80", "[2001:db8::1]:80", "[fe80::1%eth0]:80", "[::ffff:192.0.2.1]:80", "192.0.2.1"} {
		f.Add(remote)
	}
	f.Fuzz(func(t *testing.T, remote string) {
		p := Client(remote)
		if p.IsValid() && (p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" || p.Addr().Is6() && p.Bits() != 64) {
			t.Errorf("%q: %v", remote, p)
		}
	})
}
