package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
)

func checkNoInit(m *Module) (broken []string) {
	for _, p := range m.Packages {
		for _, f := range p.Code() {
			for _, decl := range f.AST.Decls {
				if d, ok := decl.(*ast.FuncDecl); ok && d.Recv == nil && d.Name.Name == "init" {
					broken = append(broken, f.At(d.Pos())+": func init: let the caller call it by name")
				}
			}
		}
	}
	return broken
}

// stampedVariables are set by the linker and read by nobody else. Each entry is "folder name".
func stampedVariables() map[string]string {
	return map[string]string{
		"internal/cli version": "the build stamps it: go build -ldflags -X",
	}
}

// checkPackageVariables allows a package variable that holds a value for good: an error, a table, a compiled
// pattern. It refuses one declared without a value, since that can only be there to be changed, and one that the
// package assigns to. It goes by names and does not follow pointers.
func checkPackageVariables(m *Module) (broken []string) {
	for _, p := range m.Packages {
		vars := make(map[string]string) // name → where it is declared
		for _, f := range p.Code() {
			for _, spec := range packageVars(f) {
				for _, name := range spec.Names {
					if _, stamped := stampedVariables()[p.Dir+" "+name.Name]; stamped || name.Name == "_" {
						continue
					}
					vars[name.Name] = f.At(name.Pos())
					if len(spec.Values) == 0 && !embedded(spec) {
						broken = append(broken, fmt.Sprintf("%s: var %s has no value, so it is there to be changed: make it a field", f.At(name.Pos()), name.Name))
					}
				}
			}
		}
		for _, f := range p.Code() {
			for _, decl := range f.AST.Decls {
				d, ok := decl.(*ast.FuncDecl)
				if !ok || d.Body == nil {
					continue
				}
				for _, target := range assignedGlobals(d) {
					if at, ok := vars[target.Name]; ok {
						broken = append(broken, fmt.Sprintf("%s: changes the package variable %s (%s)", f.At(target.Pos()), target.Name, at))
					}
				}
			}
		}
	}
	return broken
}

func packageVars(f *File) (specs []*ast.ValueSpec) {
	for _, decl := range f.AST.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.VAR {
			continue
		}
		for _, spec := range d.Specs {
			v := spec.(*ast.ValueSpec)
			if v.Doc == nil {
				v.Doc = d.Doc
			}
			specs = append(specs, v)
		}
	}
	return specs
}

// embedded reports whether the variable is filled by a go:embed directive.
func embedded(spec *ast.ValueSpec) bool {
	if spec.Doc == nil {
		return false
	}
	for _, c := range spec.Doc.List {
		if len(c.Text) > 10 && c.Text[:10] == "//go:embed" {
			return true
		}
	}
	return false
}

// assignedGlobals returns the roots of what the function assigns to, less the names it declares itself anywhere.
func assignedGlobals(d *ast.FuncDecl) (targets []*ast.Ident) {
	local := make(map[string]bool)
	declare := func(names ...*ast.Ident) {
		for _, n := range names {
			local[n.Name] = true
		}
	}
	if d.Recv != nil {
		for _, field := range d.Recv.List {
			declare(field.Names...)
		}
	}
	ast.Inspect(d, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.FuncType:
			for _, list := range []*ast.FieldList{x.Params, x.Results} {
				if list == nil {
					continue
				}
				for _, field := range list.List {
					declare(field.Names...)
				}
			}
		case *ast.ValueSpec:
			declare(x.Names...)
		case *ast.AssignStmt:
			for _, e := range x.Lhs {
				if id := root(e); x.Tok == token.DEFINE && id != nil {
					declare(id)
				} else if id != nil {
					targets = append(targets, id)
				}
			}
		case *ast.RangeStmt:
			for _, e := range []ast.Expr{x.Key, x.Value} {
				if id := root(e); id != nil && x.Tok == token.DEFINE {
					declare(id)
				}
			}
		case *ast.IncDecStmt:
			if id := root(x.X); id != nil {
				targets = append(targets, id)
			}
		}
		return true
	})
	kept := targets[:0]
	for _, id := range targets {
		if !local[id.Name] {
			kept = append(kept, id)
		}
	}
	return kept
}

// root returns the variable at the bottom of x, x[i], x.f, (x) and *x.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		default:
			return nil
		}
	}
}

func checkExit(m *Module) (broken []string) {
	for _, p := range m.Packages {
		if p.Name == "main" {
			continue
		}
		for _, f := range p.Code() {
			for _, pos := range f.Uses("os", "Exit") {
				broken = append(broken, f.At(pos)+": os.Exit outside a command: return an error")
			}
			for _, pos := range f.Uses("log", "Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln") {
				broken = append(broken, f.At(pos)+": log.Fatal outside a command: return an error")
			}
		}
	}
	return broken
}
