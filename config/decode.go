package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
)

// decoder fills Go values from the tree, and goes on after an error to find the others.
type decoder struct {
	dir      string // that relative paths in the file begin from
	scalars  map[reflect.Type]scalarType
	shapes   map[reflect.Type]*shape
	defaults map[reflect.Type]reflect.Value // of the structs met so far
	places   map[string]place               // of every key that was written, by path
	keys     map[string]place               // of the keys themselves, where they differ from their values
	errs     Errors
}

func newDecoder(dir string) *decoder {
	d := &decoder{
		dir: dir, scalars: map[reflect.Type]scalarType{}, shapes: map[reflect.Type]*shape{}, defaults: map[reflect.Type]reflect.Value{},
		places: map[string]place{}, keys: map[string]place{},
	}
	for _, s := range scalarTypes() {
		d.scalars[s.goType] = s
	}
	return d
}

func (d *decoder) shape(t reflect.Type) *shape {
	s, ok := d.shapes[t]
	if !ok {
		s = shapeOf(t)
		d.shapes[t] = s
	}
	return s
}

func (d *decoder) fail(at place, path, message, hint string) {
	e := at.error(message, hint)
	e.Path = path
	d.errs = append(d.errs, e)
}

// value decodes n into v, which is settable and holds its default.
func (d *decoder) value(n *node, v reflect.Value, path string) {
	d.places[path] = n.at
	if n.kind == kindBroken {
		return
	}
	if n.kind == kindNull {
		d.fail(n.at, path, "has no value", "write a value, or remove the key to get the default")
		return
	}
	t := v.Type()
	if s, ok := d.scalars[t]; ok {
		d.scalar(n, v, path, s.name, s.parse)
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		target := reflect.New(t.Elem())
		d.setDefaults(target.Elem())
		d.value(n, target.Elem(), path)
		v.Set(target)
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	default:
		d.basic(n, v, path)
	}
}

// scalar parses the text of n with parse.
func (d *decoder) scalar(n *node, v reflect.Value, path, typeName string, parse func(string) (any, error)) {
	if n.kind != kindScalar {
		d.fail(n.at, path, fmt.Sprintf("is %s, but takes one %s", n.kind, typeName), "")
		return
	}
	text, ok := d.expand(n, path)
	if !ok {
		return
	}
	parsed, err := parse(text)
	if err != nil {
		var bad *valueError
		hint := ""
		if errors.As(err, &bad) {
			hint = bad.hint
		}
		d.fail(n.at, path, quote(n.text)+" "+err.Error(), hint)
		return
	}
	switch file := parsed.(type) {
	case FilePath:
		parsed = FilePath(d.resolve(string(file)))
	case StoreLocation:
		if dir := file.IsLocal(); dir != "" {
			parsed = StoreLocation(d.resolve(dir))
		}
	case LogOutput:
		if file != "stdout" && file != "stderr" {
			parsed = LogOutput(d.resolve(string(file)))
		}
	}
	v.Set(reflect.ValueOf(parsed).Convert(v.Type()))
}

// quote shows a text as written in the file, so that what the environment gave stays out of messages.
func quote(text string) string {
	const longest = 60
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "..."
	}
	return strconv.Quote(text)
}

func (d *decoder) expand(n *node, path string) (string, bool) {
	text, missing := expandEnv(n.text)
	for _, name := range missing {
		d.fail(n.at, path, "the environment variable "+name+" is not set", "set it, or write ${"+name+":-default}")
	}
	return text, len(missing) == 0
}

// basic decodes strings, numbers, booleans and enumerations.
func (d *decoder) basic(n *node, v reflect.Value, path string) {
	t := v.Type()
	switch t.Kind() {
	case reflect.String:
		values := valuesOf(t)
		d.scalar(n, v, path, "text", func(text string) (any, error) {
			if values == nil {
				return text, nil
			}
			for _, value := range values {
				if value == text {
					return text, nil
				}
			}
			return nil, wrong("is not one of the values of this key", didYouMean(text, values))
		})
	case reflect.Bool:
		d.scalar(n, v, path, "true or false", parseBool)
	case reflect.Int:
		d.scalar(n, v, path, "whole number", parseInt)
	case reflect.Float64:
		d.scalar(n, v, path, "number", func(text string) (any, error) {
			f, err := strconv.ParseFloat(text, 64)
			if err != nil || f != f || f-f != 0 {
				return nil, wrong("is not a number", "write a number such as 1.25")
			}
			return f, nil
		})
	default:
		panic("config: no way to decode a " + t.String())
	}
}

func parseBool(text string) (any, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "yes", "on", "True", "TRUE", "1":
		return nil, wrong("is not true or false", "write true")
	case "no", "off", "False", "FALSE", "0":
		return nil, wrong("is not true or false", "write false")
	default:
		return nil, wrong("is not true or false", "write true or false")
	}
}

func parseInt(text string) (any, error) {
	i, err := strconv.Atoi(text)
	if err != nil {
		return nil, wrong("is not a whole number", "write digits only")
	}
	return i, nil
}

// list decodes a slice: a mapping from names, a sequence, or one value alone.
func (d *decoder) list(n *node, v reflect.Value, path string) {
	if isNamedList(v.Type()) {
		d.namedList(n, v, path)
		return
	}
	items := n.items
	if n.kind != kindSequence {
		if n.kind == kindMapping && v.Type().Elem().Kind() == reflect.Struct && !d.oneMappingIsList(v.Type().Elem()) {
			d.fail(n.at, path, "is a mapping, but takes a list", "begin each entry with a dash: - key: value")
			return
		}
		items = []*node{n}
	}
	out := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		d.setDefaults(out.Index(i))
		d.value(item, out.Index(i), path+"["+strconv.Itoa(i)+"]")
	}
	v.Set(out)
}

// oneMappingIsList tells whether a single mapping may stand for a list of one. It may where an entry can be a single value.
func (d *decoder) oneMappingIsList(elem reflect.Type) bool {
	_, isScalar := d.scalars[elem]
	return isScalar || d.shape(elem).hasScalar()
}

func (d *decoder) namedList(n *node, v reflect.Value, path string) {
	if n.kind != kindMapping {
		d.fail(n.at, path, fmt.Sprintf("is %s, but takes a mapping from names", n.kind), "write name: followed by its settings")
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.pairs), len(n.pairs))
	for i, p := range n.pairs {
		elem := out.Index(i)
		d.setDefaults(elem)
		at := join(path, p.key)
		d.keys[at] = p.at
		name := d.shape(elem.Type()).name
		d.value(&node{kind: kindScalar, text: p.key, at: p.at}, elem.Field(name.index), at)
		d.value(p.value, elem, at)
	}
	v.Set(out)
}

// structure decodes a mapping, or the one value that may stand for it.
func (d *decoder) structure(n *node, v reflect.Value, path string) {
	s := d.shape(v.Type())
	if f := s.list(); f != nil && n.kind == kindSequence {
		d.bounded(n, v.Field(f.index), f, path)
		return
	}
	switch n.kind {
	case kindScalar:
		d.shorthand(n, v, s, path)
	case kindMapping:
		for _, p := range n.pairs {
			d.member(p, v, s, path)
		}
		d.required(n, s, path)
	default:
		d.fail(n.at, path, fmt.Sprintf("is %s, but takes a mapping", n.kind), "keys here are "+strings.Join(s.keys(), ", "))
	}
}

func (d *decoder) shorthand(n *node, v reflect.Value, s *shape, path string) {
	word, words := n.text, []string{}
	if word == "false" {
		word = "off" // what YAML 1.1 makes of it
	}
	for _, f := range s.fields {
		switch f.scalar {
		case "":
			continue
		case "*":
			d.bounded(n, v.Field(f.index), &f, path)
			return
		case word:
			v.Field(f.index).SetBool(true)
			return
		}
		words = append(words, f.scalar)
	}
	hint := "keys here are " + strings.Join(s.keys(), ", ")
	if len(words) > 0 {
		hint = "write " + strings.Join(words, " or ") + ", or a mapping; " + hint
	}
	d.fail(n.at, path, quote(n.text)+" stands where a mapping belongs", hint)
}

// member decodes one key of a mapping.
func (d *decoder) member(p pair, v reflect.Value, s *shape, path string) {
	at := join(path, p.key)
	if path == "" && strings.HasPrefix(p.key, "x-") {
		return // a place for anchors
	}
	f, fromFile := s.byKey(p.key)
	if f == nil {
		d.fail(p.at, at, fmt.Sprintf("%q is not a key here", p.key), unknownKeyHint(p.key, s, path))
		return
	}
	d.keys[at] = p.at
	if f.secret {
		d.secret(p, v.Field(f.index), at, fromFile)
		return
	}
	d.bounded(p.value, v.Field(f.index), f, at)
}

func unknownKeyHint(key string, s *shape, path string) string {
	for _, f := range s.fields {
		for _, other := range f.aka {
			if foldName(other) == foldName(key) {
				return `did you mean "` + f.key + `"?`
			}
		}
	}
	if nearest(key, s.keys()) == "" {
		if elsewhere := findKey(key); len(elsewhere) > 0 {
			place := elsewhere[0]
			if place == "" {
				place = "the top of the file"
			}
			return fmt.Sprintf("%q belongs under %s; keys here are %s", key, place, strings.Join(s.keys(), ", "))
		}
		return "keys here are " + strings.Join(s.keys(), ", ")
	}
	return didYouMean(key, s.keys())
}

// secret decodes key: ${NAME} or key_file: path.
func (d *decoder) secret(p pair, v reflect.Value, path string, fromFile bool) {
	d.places[path] = p.value.at
	if p.value.kind == kindBroken {
		return
	}
	if p.value.kind != kindScalar {
		d.fail(p.value.at, path, fmt.Sprintf("is %s, but takes one text", p.value.kind), "")
		return
	}
	if !v.IsZero() {
		d.fail(p.at, path, "is given twice: by value and by file", "keep one of the two")
		return
	}
	text, ok := d.expand(p.value, path)
	if !ok {
		return
	}
	if !fromFile {
		if text == p.value.text {
			d.fail(p.value.at, path, "is a secret written in the file", "write "+p.key+"_file: /path, or "+p.key+": ${NAME} to take it from the environment")
			return
		}
		v.Set(reflect.ValueOf(Secret{value: text, from: "the environment"}))
		return
	}
	secret, err := readSecret(d.resolve(text))
	if err != nil {
		d.fail(p.value.at, path, quote(p.value.text)+" can't be read: "+err.Error(), "")
		return
	}
	v.Set(reflect.ValueOf(secret))
}

// resolve makes a path absolute, from the configuration file's directory.
func (d *decoder) resolve(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(d.dir, path)
}

// bounded decodes a field and checks its bounds.
func (d *decoder) bounded(n *node, v reflect.Value, f *field, path string) {
	before := len(d.errs)
	d.value(n, v, path)
	if len(d.errs) > before || v.Kind() == reflect.Pointer || (f.min == "" && f.max == "") {
		return
	}
	if f.min != "" && compare(v, d.parsed(v.Type(), f.min)) < 0 {
		d.fail(n.at, path, quote(n.text)+" is below the least value, "+f.min, "write "+f.min+" or more")
	}
	if f.max != "" && compare(v, d.parsed(v.Type(), f.max)) > 0 {
		d.fail(n.at, path, quote(n.text)+" is above the greatest value, "+f.max, "write "+f.max+" or less")
	}
}

// parsed is a text of a struct tag as a value of type t.
func (d *decoder) parsed(t reflect.Type, text string) reflect.Value {
	v := reflect.New(t).Elem()
	n := &node{kind: kindScalar, text: text}
	if t.Kind() == reflect.Slice && !isNamedList(t) {
		n = &node{kind: kindSequence}
		for word := range strings.FieldsSeq(text) {
			n.items = append(n.items, &node{kind: kindScalar, text: word})
		}
	}
	scratch := &decoder{scalars: d.scalars, shapes: d.shapes, defaults: d.defaults, places: map[string]place{}, keys: map[string]place{}}
	scratch.value(n, v, "")
	if len(scratch.errs) > 0 {
		panic("config: tag of a " + t.String() + ": " + scratch.errs[0].Message)
	}
	return v
}

func compare(a, b reflect.Value) int {
	if a.Kind() == reflect.Float64 {
		return sign(a.Float() - b.Float())
	}
	return sign(float64(a.Int()) - float64(b.Int()))
}

func sign(f float64) int {
	switch {
	case f < 0:
		return -1
	case f > 0:
		return 1
	default:
		return 0
	}
}

func (d *decoder) required(n *node, s *shape, path string) {
	for _, f := range s.fields {
		if !f.required {
			continue
		}
		if _, written := d.keys[join(path, f.key)]; !written {
			at := n.at
			if key, ok := d.keys[path]; ok {
				at = key
			}
			d.fail(at, path, fmt.Sprintf("has no %q", f.key), "write "+f.key+":")
		}
	}
}

// setDefaults fills v, and every struct in it that is not behind a pointer, with the defaults of its tags.
func (d *decoder) setDefaults(v reflect.Value) {
	if _, isScalar := d.scalars[v.Type()]; isScalar || v.Kind() != reflect.Struct {
		return
	}
	if known, ok := d.defaults[v.Type()]; ok {
		v.Set(known)
		return
	}
	for _, f := range d.shape(v.Type()).fields {
		if f.hasDef {
			v.Field(f.index).Set(d.parsed(f.goType, f.def))
		} else {
			d.setDefaults(v.Field(f.index))
		}
	}
	known := reflect.New(v.Type()).Elem()
	known.Set(v)
	d.defaults[v.Type()] = known
}
