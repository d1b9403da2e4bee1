package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// packageCommentWordsMin is what it takes to say what a package answers and what it never does.
const packageCommentWordsMin = 12

func checkPackageComments(m *Module) (broken []string) {
	for _, p := range m.Packages {
		text, ok := packageComment(p)
		want := "Package " + strings.TrimSuffix(p.Name, "_test") + " "
		if p.Name == "main" {
			want = "Command "
		}
		switch {
		case !ok:
			broken = append(broken, p.Dir+": no package comment; it starts with \""+want+"\" and says what the package answers")
		case !strings.HasPrefix(text, want):
			broken = append(broken, fmt.Sprintf("%s: the package comment starts %q, want %q", p.Dir, firstWords(text, 3), want))
		case len(strings.Fields(text)) < packageCommentWordsMin:
			broken = append(broken, fmt.Sprintf("%s: the package comment is %q: say what it answers and what it never does", p.Dir, strings.TrimSpace(text)))
		}
	}
	return broken
}

// packageComment returns the package's comment; a folder of tests alone may have it in a test file.
func packageComment(p *Package) (text string, ok bool) {
	files := p.Code()
	if len(files) == 0 {
		files = p.Files
	}
	for _, f := range files {
		if f.AST.Doc != nil && f.AST.Doc.Text() != "" {
			return f.AST.Doc.Text(), true
		}
	}
	return "", slices.ContainsFunc(p.Files, func(f *File) bool { return f.Generated }) && len(p.Code()) == 0
}

func firstWords(text string, n int) string {
	words := strings.Fields(text)
	return strings.Join(words[:min(n, len(words))], " ")
}

func checkPackageNames(m *Module) (broken []string) {
	for _, p := range m.Packages {
		switch strings.TrimSuffix(p.Name, "_test") {
		case "util", "utils", "common", "helper", "helpers", "misc", "base", "manager", "shared", "lib":
			broken = append(broken, fmt.Sprintf("%s: package %s says nothing about what it answers", p.Dir, p.Name))
		}
	}
	return broken
}

func checkDocComments(m *Module) (broken []string) {
	for _, p := range m.Packages {
		if p.Name == "main" {
			continue
		}
		for _, f := range p.Code() {
			for _, decl := range f.AST.Decls {
				for _, bare := range undocumented(decl) {
					broken = append(broken, fmt.Sprintf("%s: %s is exported and has no doc comment", f.At(bare.Pos()), bare.Name))
				}
			}
		}
	}
	return broken
}

// undocumented returns the exported names of a declaration that nothing explains. One comment over a group of
// constants or variables is enough for the group.
func undocumented(decl ast.Decl) (bare []*ast.Ident) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || ast.IsExported(receiver(d))) && !plainInterface(d) {
			bare = append(bare, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					bare = append(bare, s.Name)
				}
			case *ast.ValueSpec:
				for _, name := range s.Names {
					if name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil && d.Tok != token.IMPORT {
						bare = append(bare, name)
					}
				}
			}
		}
	}
	return bare
}

// plainInterface reports whether the method is one whose meaning the standard library has fixed.
func plainInterface(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return false
	}
	switch d.Name.Name {
	case "Error", "String", "Unwrap", "Is", "Len", "Less", "Swap", "Push", "Pop", "Close", "Read", "Write", "ServeHTTP",
		"MarshalText", "UnmarshalText", "MarshalJSON", "UnmarshalJSON", "MarshalYAML", "UnmarshalYAML":
		return true
	}
	return false
}

// receiver returns the name of the method's receiver type.
func receiver(d *ast.FuncDecl) string {
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}
