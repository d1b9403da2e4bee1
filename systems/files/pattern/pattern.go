// Package pattern answers whether a path is chosen by a list of patterns, in the two dialects that people
// already have lists in: restic's (exclude files and --include options) and git's (gitignore files).
//
// A path is followed one name at a time, from the root down, beside the walk that visits it: no path is
// ever split or joined, and a name costs one map look-up for all literal patterns plus one comparison for
// each wildcard that could match at this depth. The package opens no file and follows no link.
package pattern

import (
	"bytes"
	"fmt"
	"path"
	"strings"
)

// Dialect says how a line is understood.
type Dialect uint8

const (
	// Restic is the language of restic's exclude and include options: a pattern that starts with a
	// slash is anchored at the root, any other matches at every depth; "**" stands for any number of
	// names; a pattern that matches a directory matches all below it; "!" takes an earlier match back.
	Restic Dialect = iota
	// Gitignore is the language of gitignore(5): a slash at the start or in the middle anchors the
	// pattern at the directory of its file, a slash at the end makes it match directories only, and a
	// match holds for that entry alone (what is below an excluded directory is never asked for).
	Gitignore
)

// Options changes how a list of patterns is read.
type Options struct {
	Dialect Dialect
	// FoldCase compares without regard to upper and lower case.
	FoldCase bool
}

// List is a compiled list of patterns. It is immutable and may be shared by any number of goroutines.
type List struct {
	patterns []compiled
	fold     bool
	sticky   bool
	// start holds the states that are active before the first name.
	start []state
}

// compiled is one line: the sequence of components that a run of names has to match.
type compiled struct {
	parts   []component
	negated bool
	// directory restricts the match to directories.
	directory bool
	// floating lets the sequence begin at any depth.
	floating bool
}

// component matches one name, or any number of names.
type component struct {
	kind componentKind
	text string
}

type componentKind uint8

const (
	literal  componentKind = iota // the name is text
	anyName                       // "*"
	prefixed                      // "text*"
	suffixed                      // "*text"
	infixed                       // "*text*"
	glob                          // any other wildcard, for path.Match
	anyDepth                      // "**"
)

// BadPatternError is returned by Compile for a line that means nothing.
type BadPatternError struct {
	Line    int // counted from 1
	Pattern string
}

// Error says which line is wrong, and why.
func (e *BadPatternError) Error() string {
	return fmt.Sprintf("pattern %q in line %d: a bracket is not closed, or an escape ends the line", e.Pattern, e.Line)
}

// Compile reads one pattern per line. Empty lines are skipped. The error, if any, is a *BadPatternError.
func Compile(lines []string, opts Options) (*List, error) {
	l := &List{fold: opts.FoldCase, sticky: opts.Dialect == Restic}
	for i, line := range lines {
		c, ok := parse(line, opts)
		if !ok {
			continue
		}
		for _, part := range c.parts {
			if part.kind != glob {
				continue
			}
			if _, err := path.Match(part.text, ""); err != nil {
				return nil, &BadPatternError{Line: i + 1, Pattern: line}
			}
		}
		l.patterns = append(l.patterns, c)
	}
	for i := range l.patterns {
		l.start = l.closure(l.start, state{pattern: int32(i)})
	}
	return l, nil
}

// Lines splits the text of an exclude file into patterns: comments, empty lines and the spaces around a
// pattern are dropped. In the gitignore dialect a trailing space may be kept by a backslash.
func Lines(text []byte, dialect Dialect) []string {
	var lines []string
	for line := range bytes.Lines(text) {
		s := strings.TrimRight(string(line), "\r\n")
		if dialect == Gitignore {
			s = trimGitSpace(s)
		} else {
			s = strings.TrimSpace(s)
		}
		if s == "" || s[0] == '#' {
			continue
		}
		lines = append(lines, s)
	}
	return lines
}

// trimGitSpace drops trailing spaces unless the last of them is escaped.
func trimGitSpace(s string) string {
	for strings.HasSuffix(s, " ") && !strings.HasSuffix(s, `\ `) {
		s = s[:len(s)-1]
	}
	return s
}

func parse(line string, opts Options) (compiled, bool) {
	var c compiled
	if rest, ok := strings.CutPrefix(line, "!"); ok {
		c.negated, line = true, rest
	}
	if opts.FoldCase {
		line = strings.ToLower(line)
	}
	if opts.Dialect == Gitignore {
		return parseGit(c, line)
	}
	return parseRestic(c, line)
}

func parseRestic(c compiled, line string) (compiled, bool) {
	if line == "" {
		return c, false
	}
	line = path.Clean(line)
	c.floating = line[0] != '/'
	for name := range strings.SplitSeq(strings.Trim(line, "/"), "/") {
		if name != "" {
			c.parts = append(c.parts, newComponent(name))
		}
	}
	// A match of "a" chooses all that is below a: "a/**" says nothing more.
	for n := len(c.parts); n > 0 && c.parts[n-1].kind == anyDepth; n-- {
		c.parts = c.parts[:n-1]
	}
	return c, true
}

func parseGit(c compiled, line string) (compiled, bool) {
	if rest, ok := strings.CutSuffix(line, "/"); ok {
		c.directory, line = true, rest
	}
	c.floating = !strings.Contains(line, "/")
	line = strings.ReplaceAll(line, "[!", "[^")
	names := strings.Split(strings.TrimPrefix(line, "/"), "/")
	for i, name := range names {
		switch {
		case name == "":
		case name == "**" && i == len(names)-1:
			// "a/**" is all that is below a, but not a itself.
			c.parts = append(c.parts, component{kind: anyDepth}, component{kind: anyName})
		default:
			c.parts = append(c.parts, newComponent(name))
		}
	}
	return c, len(c.parts) > 0
}

func newComponent(name string) component {
	if name == "**" {
		return component{kind: anyDepth}
	}
	if !strings.ContainsAny(name, `*?[\`) {
		return component{kind: literal, text: name}
	}
	plain := strings.Trim(name, "*")
	if strings.ContainsAny(plain, `*?[\`) {
		return component{kind: glob, text: name}
	}
	head, tail := name[0] == '*', name[len(name)-1] == '*'
	switch {
	case plain == "":
		return component{kind: anyName}
	case head && tail:
		return component{kind: infixed, text: plain}
	case head:
		return component{kind: suffixed, text: plain}
	default:
		return component{kind: prefixed, text: plain}
	}
}

func (c component) matches(name string) bool {
	switch c.kind {
	case literal:
		return name == c.text
	case anyName:
		return true
	case prefixed:
		return strings.HasPrefix(name, c.text)
	case suffixed:
		return strings.HasSuffix(name, c.text)
	case infixed:
		return strings.Contains(name, c.text)
	case glob:
		ok, err := path.Match(c.text, name)
		return ok && err == nil
	}
	return false
}
