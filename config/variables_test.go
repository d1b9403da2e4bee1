package config_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/config"
)

// What a file may name in braces is what the data plane knows.
func TestVariablesAreThoseOfTheDataPlane(t *testing.T) {
	ours, theirs := slices.Sorted(maps.Keys(config.Variables())), slices.Sorted(slices.Values(l7.Variables()))
	if !slices.Equal(ours, theirs) {
		t.Errorf("the file has %v\nthe data plane has %v", ours, theirs)
	}
	for _, text := range []string{"json", "combined", "{client_ip} {{ {status}", "a } b {uri}"} {
		if _, err := config.ParseLogFormat(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if text == l7.FormatJSON || text == l7.FormatCombined {
			continue
		}
		if _, err := l7.ParseTemplate(text); err != nil {
			t.Errorf("the data plane refuses %q: %v", text, err)
		}
	}
}
