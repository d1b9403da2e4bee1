package http1

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

const page = "../../../docs/explanation/http-strictness.md"

// TestEveryRuleIsOnThePage: the documentation lists each rule with its status
// and source, and no rule that does not exist.
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
	tested := map[string]bool{"line-length": true, "truncated": true} // in TestRequestLimits, TestBodyTable (End)
	note := func(want string) {
		if _, rule, ok := strings.Cut(want, " "); ok && want[0] == '!' {
			tested[rule] = true
		}
	}
	for _, c := range requestTable {
		note(c.want)
	}
	for _, c := range responseTable {
		note(c.want)
	}
	for _, c := range bodyTable {
		tested[c.refusal] = true
	}
	for _, name := range []string{"body-size", "field-underscore", "chunk-waste"} { // in tests of their own
		tested[name] = true
	}
	for _, e := range Rules() {
		if !tested[e.Rule] {
			t.Errorf("no row for %s", e.Rule)
		}
	}
}

func TestRulesAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range Rules() {
		if e.Rule == "" || e.Text == "" || e.Source == "" || e.Status < 400 {
			t.Errorf("rule %+v is not complete", e)
		}
		if seen[e.Rule] {
			t.Errorf("two rules are called %s", e.Rule)
		}
		seen[e.Rule] = true
		if Reason(e.Status) == "" {
			t.Errorf("status %d has no reason", e.Status)
		}
	}
	for i := more + 1; i < ruleCount; i++ {
		if responseErrors[i].Status != 502 || responseErrors[i].Rule != requestErrors[i].Rule {
			t.Errorf("for responses rule %d is %+v", i, responseErrors[i])
		}
	}
}

func TestErrorsTellPeopleWhatToDo(t *testing.T) {
	var r Request
	_, err := r.Parse([]byte("GET /a#b HTTP/1.1\r\n"), nil)
	var e *Error
	if !errors.As(err, &e) || err.Error() != "target-fragment: the target holds '#'; leave the fragment out, or send %23" {
		t.Errorf("error %v", err)
	}
}
