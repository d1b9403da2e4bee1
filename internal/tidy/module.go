package tidy

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Path is the module's import path.
const Path = "github.com/trivet-ha/trivet"

// A Module is the parsed source of a Go module.
type Module struct {
	Root     string     // the folder that holds go.mod
	Packages []*Package // in lexical order of Dir
	Texts    []string   // paths of all other text files, relative to Root
}

// A Package is one folder of Go files. Test files stand beside the others; look at [File.Test].
type Package struct {
	Dir   string // relative to the module's root, "." for the root itself
	Name  string // of its non-test files; of its test files when there are no others
	Files []*File
}

// A File is one parsed Go file.
type File struct {
	Path      string // relative to the module's root
	Test      bool
	Generated bool
	Lines     int
	AST       *ast.File

	set *token.FileSet
}

// Line returns the line of pos in the file.
func (f *File) Line(pos token.Pos) int { return f.set.Position(pos).Line }

// At returns "path:line" of pos, the form editors can follow.
func (f *File) At(pos token.Pos) string { return fmt.Sprintf("%s:%d", f.Path, f.Line(pos)) }

// Code returns the files that are neither tests nor generated.
func (p *Package) Code() []*File {
	var code []*File
	for _, f := range p.Files {
		if !f.Test && !f.Generated {
			code = append(code, f)
		}
	}
	return code
}

// FindRoot returns the nearest folder at or above dir that holds a go.mod.
func FindRoot(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("find go.mod at or above the working directory: there is none")
		}
		dir = parent
	}
}

// Load parses every Go file below root. Nested modules, hidden folders, testdata and build output are left out.
func Load(root string) (*Module, error) {
	m := &Module{Root: root}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel != "." && skipDir(name, d.Name()) {
				return fs.SkipDir
			}
			return m.loadPackage(filepath.ToSlash(rel))
		}
		if !strings.HasSuffix(name, ".go") && d.Type().IsRegular() {
			m.Texts = append(m.Texts, filepath.ToSlash(rel))
		}
		return nil
	})
	return m, err
}

// read returns the text of a file of the module, "" when it has none of that name.
func (m *Module) read(name string) string {
	text, err := os.ReadFile(filepath.Join(m.Root, name))
	if err != nil {
		return ""
	}
	return string(text)
}

func skipDir(full, name string) bool {
	if strings.HasPrefix(name, ".") && name != ".ci" {
		return true
	}
	switch name {
	case "testdata", "bin", "dist", "node_modules":
		return true
	}
	_, err := os.Stat(filepath.Join(full, "go.mod"))
	return err == nil
}

func (m *Module) loadPackage(dir string) error {
	names, err := filepath.Glob(filepath.Join(m.Root, dir, "*.go"))
	if err != nil || len(names) == 0 {
		return err
	}
	p := &Package{Dir: dir}
	for _, name := range names {
		f, err := parseFile(name, path.Join(dir, filepath.Base(name)))
		if err != nil {
			return err
		}
		p.Files = append(p.Files, f)
		if p.Name == "" || !f.Test {
			p.Name = f.AST.Name.Name
		}
	}
	m.Packages = append(m.Packages, p)
	return nil
}

func parseFile(name, rel string) (*File, error) {
	src, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, rel, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &File{
		Path:      rel,
		Test:      strings.HasSuffix(name, "_test.go"),
		Generated: ast.IsGenerated(tree),
		Lines:     bytes.Count(src, []byte("\n")),
		AST:       tree,
		set:       set,
	}, nil
}

// Imports returns the import paths of the file, each with its position.
func (f *File) Imports() map[string]token.Pos {
	paths := make(map[string]token.Pos, len(f.AST.Imports))
	for _, spec := range f.AST.Imports {
		paths[strings.Trim(spec.Path.Value, `"`)] = spec.Pos()
	}
	return paths
}

// Ours returns the folder of the module that an import path names, and whether it is one of the module's.
func Ours(importPath string) (dir string, ok bool) {
	if importPath == Path {
		return ".", true
	}
	return strings.CutPrefix(importPath, Path+"/")
}

// Standard reports whether an import path belongs to the standard library: its first element has no dot.
func Standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// localName returns the name by which the file calls the package, "" when it does not import it.
func (f *File) localName(importPath string) string {
	for _, spec := range f.AST.Imports {
		if strings.Trim(spec.Path.Value, `"`) != importPath {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		base := path.Base(importPath)
		if base == "v2" {
			base = path.Base(path.Dir(importPath))
		}
		return base
	}
	return ""
}

// Uses returns where the file selects one of the names from the package: uses("time", "Now") finds time.Now.
// It goes by the import's local name and does not see a variable that shadows it.
func (f *File) Uses(importPath string, names ...string) []token.Pos {
	local := f.localName(importPath)
	if local == "" {
		return nil
	}
	var found []token.Pos
	ast.Inspect(f.AST, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); !ok || x.Name != local {
			return true
		}
		for _, name := range names {
			if sel.Sel.Name == name {
				found = append(found, sel.Pos())
			}
		}
		return true
	})
	return found
}
