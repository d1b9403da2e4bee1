package config

import (
	"fmt"
	"strings"
	"testing"
)

// A pool of ten thousand endpoints loads in a fraction of a second: a reload must not stop the world.
func BenchmarkParseTenThousandEndpoints(b *testing.B) {
	var src strings.Builder
	src.WriteString("listeners: {web: {address: ':8080', pool: site}}\npools:\n  site:\n    endpoints:\n")
	for i := range 10000 {
		fmt.Fprintf(&src, "      - {address: 10.%d.%d.%d:8000, weight: %d}\n", i>>16, i>>8&255, i&255, i%9+1)
	}
	for b.Loop() {
		if _, err := Parse("trivet.yaml", []byte(src.String())); err != nil {
			b.Fatal(err)
		}
	}
}
