package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Error is one thing wrong in a file, with where it stands and what to write instead.
type Error struct {
	File    string `json:"file"`
	Line    int    `json:"line"`             // from 1; 0 when the file as a whole is meant
	Column  int    `json:"column"`           // in characters, from 1
	Path    string `json:"path,omitempty"`   // the key, as in pools.site.health.interval
	Message string `json:"message"`          // what is wrong
	Hint    string `json:"hint,omitempty"`   // what to write
	Source  string `json:"source,omitempty"` // the offending line, as written
	Width   int    `json:"width,omitempty"`  // characters that are meant
}

// Error is the error on one line: file:line:column: path: message.
func (e Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Path != "" {
		b.WriteString(e.Path)
		b.WriteString(": ")
	}
	b.WriteString(e.Message)
	return b.String()
}

// Text is the error for a person: the one line, the line of the file with a caret under the place, and the hint.
func (e Error) Text() string {
	var b strings.Builder
	b.WriteString(e.Error())
	b.WriteByte('\n')
	if e.Line > 0 && e.Source != "" {
		b.WriteString(Excerpt(e.Line, e.Column, e.Width, e.Source))
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, "  hint: %s\n", e.Hint)
	}
	return b.String()
}

// Excerpt is one line of a file with a caret below column (counted in characters, from 1), width characters wide.
func Excerpt(line, column, width int, source string) string {
	const widest = 160 // a longer line is cut: the reader has the column
	source = strings.ToValidUTF8(source, "\uFFFD")
	runes := []rune(source)
	column = min(max(column, 1), len(runes)+1)
	from := 0
	if column > widest {
		from = column - widest/2
	}
	to := min(from+widest, len(runes))
	shown := string(runes[from:to])
	indent := make([]rune, 0, column-1-from)
	for _, r := range runes[from : column-1] {
		if r != '\t' {
			r = ' '
		}
		indent = append(indent, r)
	}
	carets := strings.Repeat("^", max(1, min(width, to-column+1)))
	number := fmt.Sprintf("%5d", line)
	return fmt.Sprintf("%s | %s\n%s | %s%s\n", number, shown, strings.Repeat(" ", len(number)), string(indent), carets)
}

// Errors is everything wrong in one file, in the file's order. It is never empty when returned as an error.
type Errors []Error

// Error is every error as Text shows it, parted by empty lines.
func (e Errors) Error() string {
	texts := make([]string, len(e))
	for i := range e {
		texts[i] = e[i].Text()
	}
	return strings.TrimRight(strings.Join(texts, "\n"), "\n")
}

// inOrder sorts by place and drops what was said twice about one place.
func (e Errors) inOrder() Errors {
	slices.SortStableFunc(e, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.CompactFunc(e, func(a, b Error) bool {
		return a.Line == b.Line && a.Column == b.Column && a.Path == b.Path && a.Message == b.Message
	})
}

// valueError says what is wrong with one value; the decoder adds where it stands.
type valueError struct {
	message string
	hint    string
}

func (e *valueError) Error() string { return e.message }

// wrong is a valueError: message completes the sentence `"20" is ...`.
func wrong(message, hint string) error { return &valueError{message, hint} }

// textWidth is the number of characters of s, at least 1.
func textWidth(s string) int { return max(1, utf8.RuneCountInString(s)) }
