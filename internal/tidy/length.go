package tidy

import (
	"bufio"
	"fmt"
	"go/ast"
	"strconv"
	"strings"
)

// longFunctions is the ratchet: "path function lines", for those that are long for a reason. An entry may shrink or
// go; the test says when it can.
const longFunctions = "internal/tidy/long_functions.txt"

func checkFileLength(m *Module) (broken []string) {
	for _, p := range m.Packages {
		for _, f := range p.Files {
			if f.Lines > fileLinesMax && !f.Generated {
				broken = append(broken, fmt.Sprintf("%s: %d lines, at most %d", f.Path, f.Lines, fileLinesMax))
			}
		}
	}
	return broken
}

func checkFunctionLength(m *Module) (broken []string) {
	allowed, broken := parseRatchet(m.read(longFunctions))
	for _, p := range m.Packages {
		for _, f := range p.Code() {
			for _, decl := range f.AST.Decls {
				d, ok := decl.(*ast.FuncDecl)
				if !ok {
					continue
				}
				lines := f.Line(d.End()) - f.Line(d.Pos()) + 1
				key := f.Path + " " + functionName(d)
				limit, listed := allowed[key]
				delete(allowed, key)
				switch {
				case lines > max(limit, functionLinesMax):
					broken = append(broken, fmt.Sprintf("%s: %s has %d lines, at most %d", f.At(d.Pos()), functionName(d), lines, max(limit, functionLinesMax)))
				case listed && lines <= functionLinesMax:
					broken = append(broken, fmt.Sprintf("long_functions.txt: %s has %d lines now: take it off the list", key, lines))
				case listed && lines < limit:
					broken = append(broken, fmt.Sprintf("long_functions.txt: %s has %d lines now, the list says %d: tighten it", key, lines, limit))
				}
			}
		}
	}
	for key := range allowed {
		broken = append(broken, "long_functions.txt: "+key+" is gone: take it off the list")
	}
	return broken
}

// functionName returns "Name" or "Type.Name".
func functionName(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return d.Name.Name
	}
	return receiver(d) + "." + d.Name.Name
}

// parseRatchet reads "path function lines" lines; # starts a comment.
func parseRatchet(text string) (allowed map[string]int, broken []string) {
	allowed = make(map[string]int)
	scanner := bufio.NewScanner(strings.NewReader(text))
	for scanner.Scan() {
		line, _, _ := strings.Cut(scanner.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		lines, err := 0, error(nil)
		if len(fields) == 3 {
			lines, err = strconv.Atoi(fields[2])
		}
		if len(fields) != 3 || err != nil {
			broken = append(broken, fmt.Sprintf("long_functions.txt: %q: want \"path function lines\"", scanner.Text()))
			continue
		}
		allowed[fields[0]+" "+fields[1]] = lines
	}
	return allowed, broken
}
