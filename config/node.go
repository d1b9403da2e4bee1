package config

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// A kind is the form of a node. There are no typed scalars: the field that takes a scalar gives its text a type, so that
// `version: 1.10` never turns into 1.1, nor `country: no` into false.
type kind uint8

const (
	kindNull kind = iota
	kindScalar
	kindMapping
	kindSequence
	kindBroken // what is wrong with it has been said
)

func (k kind) String() string {
	return [...]string{"nothing", "a single value", "a mapping", "a list", "wrong"}[k]
}

// place is where something stands in the file: from 1, in characters.
type place struct {
	line, column, width int
}

// node is the file as a tree, with aliases and merge keys resolved.
type node struct {
	kind  kind
	at    place
	text  string  // of a scalar, without quotes
	pairs []pair  // of a mapping, in the file's order
	items []*node // of a sequence
}

// pair is one key and its value in a mapping.
type pair struct {
	key   string
	at    place
	value *node
}

const (
	maxFileSize = 16 << 20 // bytes; a pool of ten thousand endpoints takes less than one
	maxDepth    = 64       // mappings within mappings; the grammar needs twelve
	maxNodes    = 1 << 20  // after aliases are expanded: a small file must not become a large one
)

// parseYAML reads src as one YAML document. The node is nil when the document is empty, or is no YAML at all; next to other
// errors it holds what could be read.
//
// The library is go.yaml.in/yaml and not goccy/go-yaml, whose version 1.19.2 takes [10.0.0.1:80] for a mapping when it
// stands inside braces: an address must never become something else in silence.
func parseYAML(src string) (root *node, errs Errors) {
	if len(src) > maxFileSize {
		return nil, Errors{{Message: fmt.Sprintf("the file is larger than %d MiB", maxFileSize>>20)}}
	}
	if at, deep := tooDeep(src); deep {
		return nil, Errors{at.error("brackets are nested too deeply", "")}
	}
	// A panic of the library on an odd file must be an error about that file, not the end of the process that reloads it.
	defer func() {
		if r := recover(); r != nil {
			root, errs = nil, Errors{{Message: fmt.Sprintf("the file is not YAML: %v", r)}}
		}
	}()
	decoder := yaml.NewDecoder(strings.NewReader(src))
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, Errors{syntaxError(err, src)}
	}
	b := builder{anchors: map[*yaml.Node]*node{}}
	if len(document.Content) > 0 {
		root = b.node(document.Content[0], 0)
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		b.fail(placeOf(&second), "a second document begins here", "keep everything in one document: remove the ---")
	} else if !errors.Is(err, io.EOF) {
		b.errs = append(b.errs, syntaxError(err, src))
	}
	return root, b.errs
}

// tooDeep finds where flow brackets nest beyond what the grammar could need, before a recursive parser meets them.
func tooDeep(src string) (place, bool) {
	depth, line, lineStart := 0, 1, 0
	for i := range len(src) {
		switch src[i] {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(0, depth-1)
		case '\n':
			line, lineStart = line+1, i+1
		}
		if depth > 16*maxDepth { // brackets within texts count too, so the bound is wide
			return place{line: line, column: i - lineStart + 1, width: 1}, true
		}
	}
	return place{}, false
}

var yamlMessage = regexp.MustCompile(`(?s)^yaml: (?:line \d+: )?(.*)$`)

// syntaxError says where the file stops being YAML. The library names the line on which the surrounding mapping began, at
// times not even that, so the place is searched for; it is good to the line.
func syntaxError(err error, src string) Error {
	message := err.Error()
	if parts := yamlMessage.FindStringSubmatch(message); parts != nil {
		message = strings.ReplaceAll(parts[1], "\n", " ")
	}
	lines := splitLines(src)
	number := firstBadLine(lines)
	text := strings.TrimRight(lines[number-1], " \t\r\n")
	indent := len(text) - len(strings.TrimLeft(text, " "))
	at := place{line: number, column: indent + 1, width: textWidth(text[indent:])}
	hint := ""
	switch {
	case strings.Contains(text, "\t") && strings.Contains(message, "cannot start any token"):
		hint = "indent with spaces, not with tabs"
	case strings.Contains(message, "cannot start any token"):
		hint = "put values that begin with @ % or ` in double quotes"
	case strings.Contains(message, "mapping values are not allowed"):
		hint = `put values that contain ": " in double quotes, and check the indentation`
	case strings.Contains(message, "did not find expected ',' or"):
		hint = "a bracket is not closed; or a value that contains { } [ ] or , is not in double quotes"
	case strings.Contains(message, "did not find expected key"), strings.Contains(message, "did not find expected '-'"):
		hint = "check the indentation: keys of one mapping, and dashes of one list, stand in one column"
	case strings.Contains(message, "unknown anchor"):
		hint = "an alias *name needs an anchor &name above it"
	}
	return at.error("not YAML: "+message, hint)
}

// splitLines parts a text into lines with their ends, where YAML (1.1 §5.4) and so the library's line numbers do.
func splitLines(text string) []string {
	var lines []string
	for {
		i := strings.IndexAny(text, "\n\r\u0085\u2028\u2029")
		if i < 0 {
			return append(lines, text)
		}
		_, width := utf8.DecodeRuneInString(text[i:])
		if strings.HasPrefix(text[i:], "\r\n") {
			width = 2
		}
		lines, text = append(lines, text[:i+width]), text[i+width:]
	}
}

// firstBadLine is the line after the longest beginning of the file that is YAML, from 1. A bracket or a quote that is never
// closed is so found where it opens.
func firstBadLine(lines []string) int {
	const most = 4 << 20 // bytes read in search of it: a fraction of a second
	read := 0
	for n := len(lines) - 1; n > 0; n-- {
		beginning := strings.Join(lines[:n], "")
		if read += len(beginning); read > most {
			break
		}
		if isYAML(beginning) {
			return n + 1
		}
	}
	return 1
}

func isYAML(src string) bool {
	decoder := yaml.NewDecoder(strings.NewReader(src))
	for {
		var document yaml.Node
		if err := decoder.Decode(&document); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

func (at place) error(message, hint string) Error {
	return Error{Line: at.line, Column: at.column, Message: message, Hint: hint, Width: at.width}
}

func placeOf(n *yaml.Node) place {
	at := place{line: max(n.Line, 1), column: max(n.Column, 1), width: 1}
	switch {
	case n.Kind == yaml.AliasNode:
		at.width = 1 + textWidth(n.Value)
	case n.Kind != yaml.ScalarNode || n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		at.width = 2 + len([]rune(n.Value))
	default:
		at.width = textWidth(n.Value)
	}
	return at
}

// builder turns the library's tree into ours.
type builder struct {
	anchors map[*yaml.Node]*node // what an alias may stand for; nil while its anchor is still being read
	nodes   int
	errs    Errors
}

func (b *builder) fail(at place, message, hint string) {
	b.errs = append(b.errs, at.error(message, hint))
}

func (b *builder) node(n *yaml.Node, depth int) *node {
	if n.Anchor != "" {
		b.anchors[n] = nil
	}
	out := &node{at: placeOf(n)}
	b.build(out, n, depth)
	if n.Anchor != "" {
		b.anchors[n] = out
	}
	return out
}

func (b *builder) build(out *node, n *yaml.Node, depth int) {
	if depth > maxDepth {
		out.kind = kindBroken
		b.fail(out.at, "values are nested too deeply", "")
		return
	}
	if !b.count(out, 1) {
		out.kind = kindBroken
		return
	}
	if n.Style&yaml.TaggedStyle != 0 {
		out.kind = kindBroken
		b.fail(out.at, "tags such as "+n.Tag+" are not used in this file", "remove the tag: the key decides the type")
		return
	}
	switch n.Kind {
	case yaml.AliasNode:
		b.alias(out, n)
	case yaml.SequenceNode:
		out.kind = kindSequence
		for _, item := range n.Content {
			out.items = append(out.items, b.node(item, depth+1))
		}
	case yaml.MappingNode:
		out.kind = kindMapping
		b.mapping(out, n.Content, depth)
	case yaml.ScalarNode:
		if n.Tag != "!!null" {
			out.kind, out.text = kindScalar, n.Value
		}
	}
}

// count adds to the number of nodes and reports once when it passes the limit.
func (b *builder) count(n *node, more int) bool {
	before := b.nodes
	b.nodes += more
	if before <= maxNodes && b.nodes > maxNodes {
		b.fail(n.at, "the file has too many values once its aliases are expanded", "")
	}
	return b.nodes <= maxNodes
}

// alias makes out the same as what the alias stands for. Its place stays the anchor's: that is where the values are.
func (b *builder) alias(out *node, n *yaml.Node) {
	out.kind = kindBroken
	target := b.anchors[n.Alias]
	if target == nil {
		b.fail(out.at, "*"+n.Value+" stands inside of what it stands for", "")
		return
	}
	if b.count(out, size(target)) {
		*out = *target
	}
}

func size(n *node) int {
	total := 1
	for _, p := range n.pairs {
		total += size(p.value)
	}
	for _, item := range n.items {
		total += size(item)
	}
	return total
}

// mapping fills out.pairs: own keys first, then those of merge keys (<<) that are not among them.
func (b *builder) mapping(out *node, content []*yaml.Node, depth int) {
	seen := map[string]place{}
	var merged []*node
	for i := 0; i+1 < len(content); i += 2 {
		key, at := content[i], placeOf(content[i])
		value := b.node(content[i+1], depth+1)
		if value.kind == kindNull {
			value.at = at // an empty value has no place of its own
		}
		if key.Tag == "!!merge" {
			merged = append(merged, value)
			continue
		}
		if key.Kind != yaml.ScalarNode {
			b.fail(at, "a key must be a single word", "")
			continue
		}
		if first, twice := seen[key.Value]; twice {
			b.fail(at, fmt.Sprintf("%q stands here a second time: the first is on line %d", key.Value, first.line), "remove one of the two")
			continue
		}
		seen[key.Value] = at
		out.pairs = append(out.pairs, pair{key: key.Value, at: at, value: value})
	}
	for _, m := range merged {
		b.merge(out, m, seen)
	}
}

func (b *builder) merge(out, from *node, seen map[string]place) {
	switch from.kind {
	case kindMapping:
		for _, p := range from.pairs {
			if _, own := seen[p.key]; !own {
				seen[p.key] = p.at
				out.pairs = append(out.pairs, p)
			}
		}
	case kindSequence:
		for _, item := range from.items {
			b.merge(out, item, seen)
		}
	case kindBroken:
	default:
		b.fail(from.at, "<< takes an alias of a mapping, or a list of them", "write <<: *name")
	}
}
