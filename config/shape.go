package config

import (
	"reflect"
	"strings"
)

// shape is what the tags of a struct say about a mapping in the file. The decoder, the JSON schema and the reference page
// all read it, so that they can't disagree.
//
//	yaml:"key"        the key in the mapping; "key,required" when it can't be left out; ",name" for the field that takes the
//	                  key itself: a slice of such structs is written as a mapping from names
//	scalar:"*"        the whole struct may be written as one value, or as a list if this field takes one, which then goes into
//	                  this field;
//	scalar:"off"      ... or as this word, which then sets this bool
//	default:"2s"      as it would be written in the file
//	min:"1" max:"9"   bounds, both included, as they would be written
//	aka:"a b"         what other programs call the key: only for hints
//
// What a key means is the doc comment of its field (see descriptions.go).
type shape struct {
	goType reflect.Type
	fields []field
	name   *field // takes the key of the mapping, or nil
}

// field is one key of a mapping.
type field struct {
	index    int
	goName   string
	goType   reflect.Type
	key      string // "" for the name
	required bool
	scalar   string // "", "*" or the word that sets it
	def      string
	hasDef   bool
	min, max string
	aka      []string
	secret   bool // the key with _file appended stands for the same field
}

func shapeOf(t reflect.Type) *shape {
	s := &shape{goType: t}
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, tagged := sf.Tag.Lookup("yaml")
		if !tagged {
			continue
		}
		key, option, _ := strings.Cut(tag, ",")
		f := field{
			index: i, goName: sf.Name, goType: sf.Type, key: key, required: option == "required",
			scalar: sf.Tag.Get("scalar"), min: sf.Tag.Get("min"), max: sf.Tag.Get("max"),
			aka: strings.Fields(sf.Tag.Get("aka")), secret: sf.Type == reflect.TypeFor[Secret](),
		}
		f.def, f.hasDef = sf.Tag.Lookup("default")
		s.fields = append(s.fields, f)
	}
	for i := range s.fields {
		if s.fields[i].key == "" {
			s.name = &s.fields[i]
		}
	}
	return s
}

// keys is every key that may be written, in the order of the fields.
func (s *shape) keys() []string {
	var keys []string
	for _, f := range s.fields {
		if f.key == "" {
			continue
		}
		keys = append(keys, f.key)
		if f.secret {
			keys = append(keys, f.key+"_file")
		}
	}
	return keys
}

// byKey finds the field of a key; fromFile tells that the key was its _file form.
func (s *shape) byKey(key string) (f *field, fromFile bool) {
	for i := range s.fields {
		switch f := &s.fields[i]; {
		case f.key == "":
		case f.key == key:
			return f, false
		case f.secret && f.key+"_file" == key:
			return f, true
		}
	}
	return nil, false
}

// hasScalar tells whether the struct may be written as one value.
func (s *shape) hasScalar() bool {
	for _, f := range s.fields {
		if f.scalar != "" {
			return true
		}
	}
	return false
}

// list returns the field that the whole struct may be written as, if that takes a list; or nil.
func (s *shape) list() *field {
	for i := range s.fields {
		if f := &s.fields[i]; f.scalar == "*" && f.goType.Kind() == reflect.Slice && !isNamedList(f.goType) {
			return f
		}
	}
	return nil
}

// isNamedList tells whether t is a slice that is written as a mapping from names.
func isNamedList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct && shapeOf(t.Elem()).name != nil
}

// enumerated is a string type with a closed set of values.
type enumerated interface{ Values() []string }

// valuesOf is the closed set of values of t, or nil.
func valuesOf(t reflect.Type) []string {
	if e, ok := reflect.Zero(t).Interface().(enumerated); ok && t.Kind() == reflect.String {
		return e.Values()
	}
	return nil
}

// findKey lists where in the grammar a key is known, as paths such as listeners.<name>.routes[].match.
func findKey(key string) []string {
	var found []string
	walkShapes(reflect.TypeFor[Config](), "", func(s *shape, path string) {
		if f, _ := s.byKey(key); f != nil {
			found = append(found, path)
		}
	})
	return found
}

// walkShapes visits t and every struct below it, with its path in the grammar.
func walkShapes(t reflect.Type, path string, visit func(*shape, string)) {
	switch {
	case t.Kind() == reflect.Pointer:
		walkShapes(t.Elem(), path, visit)
	case isNamedList(t):
		walkShapes(t.Elem(), join(path, "<name>"), visit)
	case t.Kind() == reflect.Slice:
		walkShapes(t.Elem(), path+"[]", visit)
	case t.Kind() == reflect.Struct:
		s := shapeOf(t)
		if len(s.fields) == 0 {
			return
		}
		visit(s, path)
		for _, f := range s.fields {
			if f.key != "" {
				walkShapes(f.goType, join(path, f.key), visit)
			}
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
