package config

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// Schema is a JSON schema (draft 2020-12) of the file, for editors: they complete keys and show what they mean. It knows the
// form of every value but not the rules between them; Parse knows all.
func Schema() []byte {
	w := schemaWriter{defs: map[string]any{}, scalars: map[reflect.Type]scalarType{}}
	for _, s := range scalarTypes() {
		w.scalars[s.goType] = s
	}
	root := w.object(reflect.TypeFor[Config]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = "https://github.com/trivet-ha/trivet/docs/reference/trivet.schema.json"
	root["title"] = "trivet.yaml"
	root["patternProperties"] = map[string]any{"^x-": map[string]any{"description": "A place for anchors: ignored."}}
	root["$defs"] = w.defs
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("config: " + err.Error()) // maps of plain values always marshal
	}
	return append(out, '\n')
}

type schemaWriter struct {
	defs    map[string]any
	scalars map[reflect.Type]scalarType
}

// of is the schema of a value of type t.
func (w *schemaWriter) of(t reflect.Type) map[string]any {
	if s, ok := w.scalars[t]; ok {
		return w.define(t.Name(), func() map[string]any { return scalarSchema(s) })
	}
	if t == reflect.TypeFor[Secret]() {
		return map[string]any{"type": "string", "pattern": `\$\{[A-Z_][A-Z0-9_]*`}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return w.of(t.Elem())
	case reflect.Struct:
		return w.define(t.Name(), func() map[string]any { return w.structure(t) })
	case reflect.Slice:
		return w.list(t)
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	default:
		if values := valuesOf(t); values != nil {
			return w.define(t.Name(), func() map[string]any { return enumSchema(t, values) })
		}
		return map[string]any{"type": []string{"string", "number", "boolean"}}
	}
}

// define puts a schema into $defs once and refers to it.
func (w *schemaWriter) define(name string, schema func() map[string]any) map[string]any {
	if _, done := w.defs[name]; !done {
		w.defs[name] = nil // a type that refers to itself refers to this
		w.defs[name] = schema()
	}
	return map[string]any{"$ref": "#/$defs/" + name}
}

func scalarSchema(s scalarType) map[string]any {
	// A text with a variable of the environment may become anything.
	text := map[string]any{"type": "string"}
	if s.pattern != "" {
		text["pattern"] = s.pattern + `|\$\{[A-Z_]`
	}
	out := map[string]any{"description": plain(s.doc)}
	switch types := strings.Split(s.schema, "|"); {
	case len(types) > 1:
		out["anyOf"] = []any{text, map[string]any{"type": types[1]}}
	case types[0] == "integer":
		out["type"] = "integer"
	default:
		out["type"] = "string"
		if p, ok := text["pattern"]; ok {
			out["pattern"] = p
		}
	}
	if len(s.example) > 0 {
		out["examples"] = s.example
	}
	return out
}

func enumSchema(t reflect.Type, values []string) map[string]any {
	var choices []any
	for _, value := range values {
		choices = append(choices, map[string]any{"const": value, "description": describe(t.Name() + "=" + value)})
	}
	return map[string]any{"oneOf": choices}
}

func (w *schemaWriter) list(t reflect.Type) map[string]any {
	if isNamedList(t) {
		return map[string]any{"type": "object", "additionalProperties": w.of(t.Elem())}
	}
	item := w.of(t.Elem())
	many := map[string]any{"type": "array", "items": item}
	elem := t.Elem()
	if _, isScalar := w.scalars[elem]; elem.Kind() == reflect.Struct && !isScalar && !shapeOf(elem).hasScalar() {
		return many
	}
	return map[string]any{"anyOf": []any{item, many}}
}

// structure is a mapping, or the value that may stand for it.
func (w *schemaWriter) structure(t reflect.Type) map[string]any {
	object := w.object(t)
	var forms []any
	for _, f := range shapeOf(t).fields {
		switch f.scalar {
		case "":
		case "*":
			forms = append(forms, w.field(t, f))
		default:
			forms = append(forms, map[string]any{"enum": []any{f.scalar, false}, "description": describe(t.Name() + "." + f.goName)})
		}
	}
	if forms == nil {
		return object
	}
	return map[string]any{"anyOf": append(forms, object)}
}

func (w *schemaWriter) object(t reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, f := range shapeOf(t).fields {
		if f.key == "" {
			continue
		}
		properties[f.key] = w.field(t, f)
		if f.secret {
			properties[f.key+"_file"] = map[string]any{"type": "string", "description": describe(t.Name()+"."+f.goName) + " Read from this file."}
		}
		if f.required {
			required = append(required, f.key)
		}
	}
	out := map[string]any{"type": "object", "properties": properties, "additionalProperties": false, "description": describe(t.Name())}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// field is the schema of a key: its type's, with its own description, default and bounds.
func (w *schemaWriter) field(t reflect.Type, f field) map[string]any {
	out := w.of(f.goType)
	out["description"] = describe(t.Name() + "." + f.goName)
	if f.hasDef {
		out["default"] = jsonDefault(f)
	}
	for word, text := range map[string]string{"minimum": f.min, "maximum": f.max} {
		if n, err := strconv.ParseFloat(text, 64); err == nil && (f.goType.Kind() == reflect.Int || f.goType.Kind() == reflect.Float64) {
			out[word] = n
		}
	}
	return out
}

func jsonDefault(f field) any {
	switch f.goType.Kind() {
	case reflect.Bool:
		return f.def == "true"
	case reflect.Slice:
		return strings.Fields(f.def)
	}
	if n, err := strconv.ParseFloat(f.def, 64); err == nil {
		return n
	}
	return f.def
}

// plain drops Markdown's code marks and links.
func plain(markdown string) string {
	return strings.NewReplacer("`", "", "[variables](#variables)", "variables").Replace(markdown)
}
