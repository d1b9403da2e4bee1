package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"strings"
)

// sleepers lists "path reason" of test files that may sleep on the wall clock. It may only shrink.
const sleepers = "internal/tidy/sleepers.txt"

func checkSleep(m *Module) (broken []string) {
	allowed := make(map[string]string)
	for line := range strings.Lines(m.read(sleepers)) {
		if name, reason, ok := strings.Cut(strings.TrimSpace(line), " "); ok && !strings.HasPrefix(name, "#") {
			allowed[name] = reason
		}
	}
	unused := maps.Clone(allowed)
	for _, p := range m.Packages {
		for _, f := range p.Files {
			if !f.Test {
				continue
			}
			for _, pos := range f.Uses("time", "Sleep") {
				if inBubble(f, pos) {
					continue
				}
				if allowed[f.Path] != "" {
					delete(unused, f.Path)
					continue
				}
				broken = append(broken, f.At(pos)+": time.Sleep outside a synctest bubble")
			}
		}
	}
	for path := range unused {
		broken = append(broken, fmt.Sprintf("sleepers.txt: %s sleeps no longer: take it off the list", path))
	}
	return broken
}

// inBubble reports whether a sleep at pos does no harm: it lies in a function literal given to synctest.Test, in a
// function whose doc comment says that it is called in a synctest bubble, on a line whose comment names the bubble, or
// in a loop with a condition, which waits for a state and not for a time.
func inBubble(f *File, pos token.Pos) (found bool) {
	for _, group := range f.AST.Comments {
		for _, c := range group.List {
			if f.Line(c.Pos()) == f.Line(pos) && strings.Contains(c.Text, "bubble") {
				return true
			}
		}
	}
	local := f.localName("testing/synctest")
	ast.Inspect(f.AST, func(n ast.Node) bool {
		if n == nil || pos < n.Pos() || pos >= n.End() {
			return n == nil || n == f.AST
		}
		switch x := n.(type) {
		case *ast.ForStmt:
			found = found || x.Cond != nil
		case *ast.CallExpr:
			if sel, ok := x.Fun.(*ast.SelectorExpr); ok && local != "" {
				if id, ok := sel.X.(*ast.Ident); ok && id.Name == local && sel.Sel.Name == "Test" {
					found = true
				}
			}
		case *ast.FuncDecl:
			if x.Doc != nil && bubbleWords.MatchString(x.Doc.Text()) {
				found = true
			}
		}
		return !found
	})
	return found
}
