package http2

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/trivet-ha/trivet/balance/l7/http2/hpack"
)

const page = "../../../docs/explanation/http2-strictness.md"

// TestEveryRuleIsOnThePage: the documentation lists each rule with its code and source, and no rule that does not
// exist.
func TestEveryRuleIsOnThePage(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if row, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ := strings.Cut(row, "`")
			if rows[name] != "" {
				t.Errorf("%s: two rows for %s", page, name)
			}
			rows[name] = strings.TrimSpace(line)
		}
	}
	for _, e := range Rules() {
		row := rows[e.Rule]
		start, end := fmt.Sprintf("| `%s` | %s | ", e.Rule, e.Code), fmt.Sprintf(" | %s |", e.Source)
		if !strings.HasPrefix(row, start) || !strings.HasSuffix(row, end) {
			t.Errorf("%s: row for %s is %q, want %q ... %q", page, e.Rule, row, start, end)
		}
		delete(rows, e.Rule)
	}
	for _, e := range refusals {
		row := rows[e.Rule]
		start, end := fmt.Sprintf("| `%s` | %d | ", e.Rule, e.Status), fmt.Sprintf(" | %s |", e.Source)
		if !strings.HasPrefix(row, start) || !strings.HasSuffix(row, end) {
			t.Errorf("%s: row for %s is %q, want %q ... %q", page, e.Rule, row, start, end)
		}
		delete(rows, e.Rule)
	}
	for name := range rows {
		t.Errorf("%s: %s is no rule", page, name)
	}
}

// TestEveryRuleIsTested: each rule is the outcome of some row of the tables.
func TestEveryRuleIsTested(t *testing.T) {
	tested := map[string]bool{"output-full": true, "preface": true, "settings-first": true} // in tests of their own
	for _, table := range [][]row{serverTable, clientTable, flowTable} {
		for _, r := range table {
			for _, word := range strings.Fields(r.want) {
				tested[word] = true
			}
		}
	}
	for _, f := range floods {
		tested[f.rule] = true
	}
	for _, e := range Rules() {
		if !tested[e.Rule] {
			t.Errorf("no row for %s", e.Rule)
		}
	}
	for _, e := range refusals {
		if !tested[e.Rule] {
			t.Errorf("no row for %s", e.Rule)
		}
	}
}

func TestRulesAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range Rules() {
		if e.Rule == "" || e.Text == "" || e.Source == "" || e.Code == NoError || e.Code > HTTP11Required {
			t.Errorf("rule %+v is not complete", e)
		}
		if seen[e.Rule] {
			t.Errorf("two rules are called %s", e.Rule)
		}
		seen[e.Rule] = true
		if want := e.Rule + ": " + e.Text; e.Error() != want {
			t.Errorf("error %q, want %q", e.Error(), want)
		}
	}
	for e := hpack.ErrTruncated; e <= hpack.ErrTableOrder; e++ {
		r := ruleErrors[hpackTruncated+rule(e-hpack.ErrTruncated)]
		if r.Code != CompressionError || !strings.HasPrefix(r.Rule, "hpack-") {
			t.Errorf("%v is the rule %+v", e, r)
		}
	}
}

func TestNamesOfCodesAndKinds(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{NoError.String(), "NO_ERROR"}, {HTTP11Required.String(), "HTTP_1_1_REQUIRED"}, {Code(99).String(), "99"}, {Code(1<<32 - 1).String(), "4294967295"},
		{KindRequest.String(), "request"}, {KindPong.String(), "pong"}, {Kind(99).String(), "unknown"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
