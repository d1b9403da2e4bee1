package tidy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/trivet-ha/trivet/config"
)

func TestTheHouseKeepsItsRules(t *testing.T) {
	root, err := FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range Rules() {
		t.Run(strings.ReplaceAll(rule.Name, " ", "_"), func(t *testing.T) {
			broken := rule.Check(m)
			slices.Sort(broken)
			for _, line := range broken {
				t.Error(line)
			}
			if len(broken) > 0 {
				t.Logf("why: %s", rule.Why)
			}
		})
	}
}

// Each file of testdata holds a small module that breaks one rule, and in "want" the lines that say where.
func TestEachRuleFindsWhatItForbids(t *testing.T) {
	for _, rule := range Rules() {
		name := strings.ReplaceAll(rule.Name, " ", "_")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(filepath.Join("testdata", name+".txtar"))
			if err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			var want string
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				target := filepath.Join(root, f.Name)
				if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
					t.Fatal(err)
				}
				// ~ hides the forbidden words of a fixture from the rule itself; @lines stands for what is too much.
				data := strings.NewReplacer("~", "", "@lines", strings.Repeat("\n", fileLinesMax)).Replace(string(f.Data))
				if err := os.WriteFile(target, []byte(data), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			m, err := Load(root)
			if err != nil {
				t.Fatal(err)
			}
			got := rule.Check(m)
			slices.Sort(got)
			if diff := cmp.Diff(strings.TrimSpace(strings.ReplaceAll(want, "~", "")), strings.Join(got, "\n")); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			if rule.Why == "" {
				t.Error("a rule without a reason is an order")
			}
		})
	}
}

func TestFindRootFailsWhereThereIsNoModule(t *testing.T) {
	if root, err := FindRoot(t.TempDir()); err == nil {
		t.Errorf("FindRoot outside any module = %s, want an error", root)
	}
}

// Every example that begins with "# trivet.yaml" must be one that Trivet accepts.
func TestExamplesInTheDocumentationAreValidConfigurations(t *testing.T) {
	root, err := FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(# trivet.yaml.*?)```")
	found := 0
	for _, page := range m.Texts {
		if filepath.Ext(page) != ".md" {
			continue
		}
		for _, example := range block.FindAllStringSubmatch(m.read(page), -1) {
			found++
			if _, err := config.Parse(page, []byte(example[1])); err != nil {
				t.Errorf("%s: an example is not valid:\n%v", page, err)
			}
		}
	}
	if found == 0 {
		t.Error("no page has an example; README.md had one")
	}
}
