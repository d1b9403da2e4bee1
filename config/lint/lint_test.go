package lint

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trivet-ha/trivet/config"
)

var update = flag.Bool("update", false, "write what is found into the golden files")

func load(t *testing.T, name string) *config.Config {
	t.Helper()
	c, err := config.Load(name)
	if err != nil {
		t.Fatalf("%s:\n%v", name, err)
	}
	return c
}

// Beside each file under testdata stands what is found in it. Together they make every rule speak.
func TestEveryRuleFindsWhatItIsFor(t *testing.T) {
	t.Setenv("LINT_PASSWORD", "s3cret")
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	silent := Rules()
	for _, name := range files {
		var b strings.Builder
		for _, f := range Check(load(t, name)) {
			delete(silent, f.Rule)
			fmt.Fprintf(&b, "%d:%d %s %s: %s: %s\n    write %s\n", f.Line, f.Column, f.Severity, f.Rule, f.Path, f.What, f.Write)
		}
		golden := strings.TrimSuffix(name, ".yaml") + ".findings"
		if *update {
			if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), b.String()); diff != "" {
			t.Errorf("%s: findings changed (-want +got):\n%s", name, diff)
		}
	}
	for name := range silent {
		t.Errorf("no file makes rule %s speak", name)
	}
}

func TestTheExamplesAreExemplary(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, name := range files {
		for _, f := range Check(load(t, name)) {
			if f.Severity != Note {
				t.Errorf("%s:%d: %s: %s", name, f.Line, f.Rule, f.What)
			}
		}
	}
}

func TestWorstIsTheGravest(t *testing.T) {
	if got := Worst(nil); got != "" {
		t.Errorf("of nothing it is %q", got)
	}
	if got := Worst([]Finding{{Severity: Note}, {Severity: Error}, {Severity: Warning}}); got != Error {
		t.Errorf("it is %q", got)
	}
	if got := Worst([]Finding{{Severity: Note}}); got != Note {
		t.Errorf("it is %q", got)
	}
}
