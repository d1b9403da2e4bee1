// Package lint answers what in a valid configuration would cost availability: single points of failure, waits without an
// end, probes that see nothing. Each finding says why it matters and what to write. Check judges the file alone: it connects to
// nothing and reads nothing. Certificates judges the files of certificates that it names, and Disks where its backups are kept.
package lint

import (
	"cmp"
	"slices"

	"github.com/trivet-ha/trivet/config"
)

// Severity is how much a finding matters.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // will fail some day, or opens a door: fix it before it serves anybody
	Warning Severity = "warning" // an outage waiting for one fault
	Note    Severity = "note"    // worth knowing
)

// Finding is one thing that could be better, and where.
type Finding struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	Line     int      `json:"line"`   // from 1; 0 when it is nowhere in the file
	Column   int      `json:"column"` // in characters, from 1
	Width    int      `json:"-"`      // of what is meant, in characters
	Path     string   `json:"path"`   // as pools.site.queue.timeout
	Source   string   `json:"source"` // the line, as written
	What     string   `json:"what"`
	Why      string   `json:"why"`
	Write    string   `json:"write"` // what to write
}

// rule is a name and what finds it.
type rule struct {
	name     string
	severity Severity
	why      string
	find     func(*config.Config, report)
}

// report takes one finding of a rule: where, what is found, and what to write.
type report func(path, what, write string)

// rules is every rule; a new section of the file brings its own list.
func rules() []rule {
	return slices.Concat(poolRules(), routeRules(), listenerRules(), dnsRules(), byAddressRules(), backupRules())
}

// Rules is the name of every rule, with why it matters.
func Rules() map[string]string {
	out := map[string]string{}
	for _, r := range rules() {
		out[r.name] = r.why
	}
	return out
}

// Check gives the findings for a valid configuration, in the file's order.
func Check(c *config.Config) []Finding { return findAll(c, rules()) }

func findAll(c *config.Config, rules []rule) []Finding {
	var findings []Finding
	for _, r := range rules {
		r.find(c, func(path, what, write string) {
			at := c.Position(path)
			findings = append(findings, Finding{
				Rule: r.name, Severity: r.severity, File: c.File(), Line: at.Line, Column: at.Column, Width: at.Width, Source: at.Source, Path: path,
				What: what, Why: r.why, Write: write,
			})
		})
	}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return findings
}

// Worst is the gravest severity among findings, or "" without any.
func Worst(findings []Finding) Severity {
	for _, s := range []Severity{Error, Warning, Note} {
		if slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == s }) {
			return s
		}
	}
	return ""
}
