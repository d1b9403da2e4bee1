package tidy

import (
	"fmt"
	"go/ast"
)

// clockReaders are the functions of package time that read or await the clock.
func clockReaders() []string {
	return []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
}

// globalRandom are the functions of math/rand and math/rand/v2 that draw from the hidden, shared source.
func globalRandom() []string {
	return []string{
		"Int", "IntN", "Intn", "Int32", "Int32N", "Int31", "Int31n", "Int63", "Int63n", "Int64", "Int64N", "Uint", "UintN",
		"Uint32", "Uint32N", "Uint64", "Uint64N", "N", "Float32", "Float64", "NormFloat64", "ExpFloat64", "Perm", "Shuffle", "Seed", "Read",
	}
}

func checkPurity(m *Module) (broken []string) {
	for _, p := range m.Packages {
		if !Decide(p.Dir) {
			continue
		}
		for _, f := range p.Code() {
			for _, pos := range f.Uses("time", clockReaders()...) {
				broken = append(broken, f.At(pos)+": reads the clock: take now as an argument")
			}
			for _, source := range []string{"math/rand", "math/rand/v2"} {
				for _, pos := range f.Uses(source, globalRandom()...) {
					broken = append(broken, f.At(pos)+": draws from the global random source: take a number or a *rand.Rand")
				}
			}
			ast.Inspect(f.AST, func(n ast.Node) bool {
				if g, ok := n.(*ast.GoStmt); ok {
					broken = append(broken, fmt.Sprintf("%s: starts a goroutine: a package that decides has none", f.At(g.Pos())))
				}
				return true
			})
		}
	}
	return broken
}
