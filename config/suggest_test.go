package config

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNearestFindsSlipsAndNothingElse(t *testing.T) {
	keys := []string{"listeners", "pools", "endpoints", "health", "timeout", "timeouts", "max_requests"}
	for word, want := range map[string]string{
		"listenrs": "listeners", "lsiteners": "listeners", "Pools": "pools", "end-points": "endpoints", "maxRequests": "max_requests", "heatlh": "health",
		"timeot": "timeout", "timeoutss": "timeouts", "xyzzy": "", "": "", "backends": "",
	} {
		if got := nearest(word, keys); got != want {
			t.Errorf("%q is nearest to %q, want %q", word, got, want)
		}
	}
}

// The oracle is the definition of the optimal string alignment distance, as recursion.
func TestDistanceIsTheDefinition(t *testing.T) {
	var naive func(a, b string) int
	naive = func(a, b string) int {
		if a == "" || b == "" {
			return len(a) + len(b)
		}
		i, j := len(a)-1, len(b)-1
		cost := 1
		if a[i] == b[j] {
			cost = 0
		}
		d := min(naive(a[:i], b)+1, naive(a, b[:j])+1, naive(a[:i], b[:j])+cost)
		if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
			d = min(d, naive(a[:i-1], b[:j-1])+1)
		}
		return d
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.StringMatching(`[abc]{0,5}`).Draw(t, "a"), rapid.StringMatching(`[abc]{0,5}`).Draw(t, "b")
		if got, want := distance(a, b), naive(a, b); got != want {
			t.Fatalf("distance(%q, %q) = %d, want %d", a, b, got, want)
		}
	})
	if got := distance(strings.Repeat("a", 100), "a"); got != 64 {
		t.Errorf("a long word is %d away", got)
	}
}
