package tidy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// An importRule forbids what some packages may import.
type importRule struct {
	who   func(dir string) bool
	bad   func(importPath string) bool
	tests bool // whether the rule holds for test files too
	why   string
}

// Decide reports whether the package in dir is one of those that decide: no goroutine, no clock, no socket, no file.
func Decide(dir string) bool {
	switch dir {
	case "balance", "balance/l7/http1", "balance/l7/http2", "balance/l7/http2/hpack", "avail", "fault":
		return true
	case "fault/probe", "fault/supervise", "fault/run", "fault/faulthttp", "fault/faultgrpc":
		return false
	case "balance/gslb/answer", "balance/gslb/guard", "balance/gslb/steer", "balance/gslb/wire", "balance/gslb/zone":
		return true
	}
	return under(dir, "fault") || under(dir, "avail")
}

// importRules is the table behind the import rule: who, what not, and why.
func importRules() []importRule {
	return []importRule{
		{
			who: Decide,
			bad: func(p string) bool { d, ours := Ours(p); return !Standard(p) && !(ours && Decide(d)) },
			why: "a package that decides imports only the standard library and other packages that decide",
		},
		{
			who: Decide,
			bad: func(p string) bool {
				switch p {
				case "os", "net", "net/http", "net/textproto", "net/rpc", "net/smtp", "syscall", "log", "log/slog", "database/sql", "unsafe":
					return true
				}
				return under(p, "os") || under(p, "net/http")
			},
			why: "a package that decides touches no file, no socket, no process and no log (net/netip is welcome)",
		},
		{
			who: func(dir string) bool { return dir == "balance/l7/http1" },
			bad: func(p string) bool { _, ours := Ours(p); return ours },
			why: "the HTTP/1 engine is bytes in and events out; it knows nothing of the rest of the house",
		},
		{
			who: func(dir string) bool { return under(dir, "backup") || dir == "backup" },
			bad: func(p string) bool { d, ours := Ours(p); return ours && (d == "systems" || under(d, "systems")) },
			why: "systems implement backup's interfaces, so backup can not know them",
		},
		{
			who: func(dir string) bool {
				return dir != "." && dir != "internal/cli" && dir != "test" && !under(dir, "test") && !under(dir, "examples")
			},
			bad: func(p string) bool { return p == Path },
			why: "only the root wires a node; whoever imports it, but the command line, turns the house upside down",
		},
		{
			who: func(dir string) bool { return under(dir, "cmd") },
			bad: func(p string) bool { d, ours := Ours(p); return ours && d != "internal/cli" },
			why: "a command is signals and an exit code; everything else is internal/cli",
		},
		{
			who: func(dir string) bool { return under(dir, "systems") },
			bad: func(p string) bool {
				d, ours := Ours(p)
				return ours && (d == "balance" || under(d, "balance") || d == "config" || d == "api")
			},
			why: "what holds data knows nothing of traffic or of the file it was configured in",
		},
		{
			who:   func(string) bool { return true },
			tests: true,
			bad: func(p string) bool {
				return p == "github.com/stretchr/testify" || under(p, "github.com/stretchr/testify") || p == "github.com/pkg/errors"
			},
			why: "the standard library does this",
		},
	}
}

func checkImports(m *Module) (broken []string) {
	for _, p := range m.Packages {
		for _, f := range p.Files {
			imports := f.Imports()
			for _, name := range slices.Sorted(maps.Keys(imports)) {
				for _, r := range importRules() {
					if (!f.Test || r.tests) && r.who(p.Dir) && r.bad(name) {
						broken = append(broken, fmt.Sprintf("%s: imports %s: %s", f.At(imports[name]), name, r.why))
					}
				}
			}
		}
	}
	return broken
}

// under reports whether dir lies below parent.
func under(dir, parent string) bool { return strings.HasPrefix(dir, parent+"/") }
