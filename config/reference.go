package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Reference is the reference page of the file, in Markdown.
func Reference() []byte {
	w := referenceWriter{scalars: map[reflect.Type]scalarType{}}
	for _, s := range scalarTypes() {
		w.scalars[s.goType] = s
	}
	w.WriteString(referenceIntroduction)
	w.section(reflect.TypeFor[Config](), "")
	w.types()
	w.variables()
	return []byte(w.String())
}

const referenceIntroduction = `# The configuration file

<!-- Generated from package config by "make gen": change the comments there, not this page. -->

` + "`trivet.yaml`" + ` is the whole interface of the daemon. The smallest one that does something:

` + "```yaml" + `
listeners:
  web: {address: ":8080", pool: site}
pools:
  site:
    endpoints: [10.0.0.11:8000, 10.0.0.12:8000]
    health: {probe: {http: /healthz}}
` + "```" + `

` + "`trivet check trivet.yaml`" + ` says whether a file is right, and what could be better about it.
[trivet.schema.json](trivet.schema.json) (also ` + "`trivet schema`" + `) makes editors complete and explain keys.

What holds everywhere:

- Unknown keys, wrong units, names that stand twice and references to nothing are errors, all of them shown at once.
- Where a list is expected, a single value does too.
- ` + "`${NAME}`" + ` is replaced by that variable of the environment, ` + "`${NAME:-value}`" + ` by a value if it is not set or empty;
  ` + "`$${NAME}`" + ` stands for itself. Names are in capitals.
- A secret is never written in the file: ` + "`token_file: path`" + ` reads it from a file, ` + "`token: ${NAME}`" + ` from the environment.
- YAML's anchors and merge keys work; keys at the top that begin with ` + "`x-`" + ` are ignored and may hold them.
- A relative path begins from the folder of the file.
`

type referenceWriter struct {
	strings.Builder
	scalars map[reflect.Type]scalarType
	used    []string
}

// section describes the keys of t, then the sections below it.
func (w *referenceWriter) section(t reflect.Type, path string) {
	s := shapeOf(t)
	title := "`" + path + "`"
	if path == "" {
		title = "Top level"
	}
	fmt.Fprintf(w, "\n## %s\n\n", title)
	if doc := describe(t.Name()); doc != "" && path != "" {
		fmt.Fprintf(w, "%s\n\n", doc)
	}
	for _, f := range s.fields {
		if f.scalar == "*" {
			fmt.Fprintf(w, "May be written as a single value, which then is `%s`.\n\n", f.key)
		}
	}
	for _, f := range s.fields {
		if f.key != "" {
			w.key(t, f, path)
		}
	}
	for _, f := range s.fields {
		if f.key == "" {
			continue
		}
		if inner, at := w.inner(f.goType, join(path, f.key)); inner != nil {
			w.section(inner, at)
		}
	}
}

// inner is the struct that a key holds, with its path, or nil.
func (w *referenceWriter) inner(t reflect.Type, path string) (reflect.Type, string) {
	if _, isScalar := w.scalars[t]; isScalar || t == reflect.TypeFor[Secret]() {
		return nil, ""
	}
	switch {
	case t.Kind() == reflect.Pointer:
		return w.inner(t.Elem(), path)
	case isNamedList(t):
		if w.isPlainNamed(t) {
			return nil, ""
		}
		return w.inner(t.Elem(), join(path, "<name>"))
	case t.Kind() == reflect.Slice:
		return w.inner(t.Elem(), path+"[]")
	case t.Kind() == reflect.Struct:
		if slices.Contains(w.used, t.Name()) {
			return nil, "" // shown where it first appears
		}
		w.used = append(w.used, t.Name())
		return t, path
	default:
		return nil, ""
	}
}

// isPlainNamed tells whether t is a mapping from names to single values, which needs no section of its own.
func (w *referenceWriter) isPlainNamed(t reflect.Type) bool {
	s := shapeOf(t.Elem())
	return len(s.fields) == 2 && s.hasScalar()
}

func (w *referenceWriter) key(t reflect.Type, f field, path string) {
	name := "`" + f.key + "`"
	if f.secret {
		name += " or `" + f.key + "_file`"
	}
	facts := []string{w.typeName(f.goType, join(path, f.key))}
	switch {
	case f.required:
		facts = append(facts, "required")
	case f.hasDef && f.goType.Kind() == reflect.Slice:
		facts = append(facts, "default `["+strings.Join(strings.Fields(f.def), ", ")+"]`")
	case f.hasDef:
		facts = append(facts, "default `"+f.def+"`")
	}
	switch {
	case f.min != "" && f.max != "":
		facts = append(facts, f.min+" to "+f.max)
	case f.min != "":
		facts = append(facts, "at least "+f.min)
	}
	fmt.Fprintf(w, "- **%s** (%s). %s\n", name, strings.Join(facts, ", "), describe(t.Name()+"."+f.goName))
	for _, value := range valuesOf(f.goType) {
		fmt.Fprintf(w, "  - `%s`: %s\n", value, describe(f.goType.Name()+"="+value))
	}
	if f.goType.Kind() == reflect.Slice {
		for _, value := range valuesOf(f.goType.Elem()) {
			fmt.Fprintf(w, "  - `%s`: %s\n", value, describe(f.goType.Elem().Name()+"="+value))
		}
	}
}

// typeName says what a key takes, linked to where that is explained.
func (w *referenceWriter) typeName(t reflect.Type, path string) string {
	if s, ok := w.scalars[t]; ok {
		return "[" + s.name + "](#" + anchor(s.name) + ")"
	}
	if t == reflect.TypeFor[Secret]() {
		return "secret"
	}
	switch {
	case t.Kind() == reflect.Pointer:
		return w.typeName(t.Elem(), path)
	case isNamedList(t) && w.isPlainNamed(t):
		s := shapeOf(t.Elem())
		return "mapping from names to " + w.typeName(s.fields[1].goType, path)
	case isNamedList(t):
		return "mapping from names to settings"
	case t.Kind() == reflect.Slice:
		if t.Elem().Kind() == reflect.Struct && w.scalars[t.Elem()].name == "" {
			return "list of settings"
		}
		return "list of " + w.typeName(t.Elem(), path)
	case t.Kind() == reflect.Struct:
		for _, f := range shapeOf(t).fields {
			if f.scalar != "" && f.scalar != "*" {
				return "settings, or `" + f.scalar + "`"
			}
		}
		return "settings"
	case valuesOf(t) != nil:
		return "one of the words below"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int:
		return "whole number"
	case t.Kind() == reflect.Float64:
		return "number"
	default:
		return "text"
	}
}

// types explains the values that are written as one word.
func (w *referenceWriter) types() {
	w.WriteString("\n# Values\n")
	list := scalarTypes()
	slices.SortFunc(list, func(a, b scalarType) int { return strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) })
	for _, s := range list {
		fmt.Fprintf(w, "\n## %s\n\n%s\n", s.name, strings.ToUpper(s.doc[:1])+s.doc[1:])
	}
}

func (w *referenceWriter) variables() {
	w.WriteString("\n## variables\n\nWhat a template or a log format may name in braces. One without a value is written as nothing, or as `-` in a log line.\n\n")
	all := Variables()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(w, "- `{%s}`: %s\n", name, all[name])
	}
}

func anchor(title string) string { return strings.ReplaceAll(strings.ToLower(title), " ", "-") }
