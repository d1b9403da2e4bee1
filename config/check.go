package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// validator is a part of the file that has rules beyond the types of its keys.
type validator interface {
	validate(c *checker, path string)
}

// checker gathers what validators find.
type checker struct {
	config *Config
	keys   map[string]place
	places map[string]place
	broken []string // paths that failed to decode: what depends on them is not judged
	errs   Errors
}

// fail reports an error at the value of path, or at the nearest part above it that was written.
func (c *checker) fail(path, message, hint string) {
	if c.isBroken(path) {
		return
	}
	e := c.config.place(path).error(message, hint)
	e.Path = path
	c.errs = append(c.errs, e)
}

// failKey reports an error at the key of path rather than at its value.
func (c *checker) failKey(path, message, hint string) {
	if c.isBroken(path) {
		return
	}
	at, ok := c.keys[path]
	if !ok {
		at = c.config.place(path)
	}
	e := at.error(message, hint)
	e.Path = path
	c.errs = append(c.errs, e)
}

// has tells whether the key at path is written in the file.
func (c *checker) has(path string) bool {
	_, ok := c.keys[path]
	return ok
}

// isBroken tells whether path, or something in it, failed to decode.
func (c *checker) isBroken(path string) bool {
	for _, b := range c.broken {
		if b == path || strings.HasPrefix(b, path+".") || strings.HasPrefix(b, path+"[") {
			return true
		}
	}
	return false
}

// oneOf reports when not exactly one of keys is written below path; with none allowed, when more than one is.
func (c *checker) oneOf(path string, noneAllowed bool, keys ...string) {
	var written []string
	for _, key := range keys {
		if c.has(join(path, key)) {
			written = append(written, key)
		}
	}
	choice := strings.Join(keys, ", ")
	switch {
	case len(written) > 1:
		c.failKey(join(path, written[1]), fmt.Sprintf("%s and %s exclude each other", written[0], written[1]), "keep one of "+choice)
	case len(written) == 0 && !noneAllowed:
		c.failKey(path, "says nothing: it has none of "+choice, "write one of them")
	}
}

// offAlone reports when something that is off has other settings too.
func (c *checker) offAlone(path string, off bool) {
	if !off {
		return
	}
	for key := range c.keys {
		if strings.HasPrefix(key, path+".") && key != path+".off" {
			c.failKey(path, "is off, but has other settings", "remove off: true, or the rest")
			return
		}
	}
}

// poolExists reports a reference to a pool that is not in the file.
func (c *checker) poolExists(path string, pool Name) {
	if pool == "" || c.config.Pool(pool) != nil || slices.Contains(c.broken, "pools") {
		return
	}
	names := make([]string, len(c.config.Pools))
	for i, p := range c.config.Pools {
		names[i] = string(p.Name)
	}
	hint := didYouMean(string(pool), names)
	if len(names) == 0 {
		hint = "there are no pools: write pools: {" + string(pool) + ": {endpoints: [10.0.0.11:8000]}}"
	}
	c.fail(path, fmt.Sprintf("there is no pool %q", pool), hint)
}

// walk calls validate on v and on everything in it.
func (c *checker) walk(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			c.walk(v.Elem(), path)
		}
	case reflect.Struct:
		s := shapeOf(v.Type())
		if len(s.fields) == 0 {
			return
		}
		if part, ok := v.Addr().Interface().(validator); ok {
			part.validate(c, path)
		}
		for _, f := range s.fields {
			if f.key != "" {
				c.walk(v.Field(f.index), join(path, f.key))
			}
		}
	case reflect.Slice:
		named := isNamedList(v.Type())
		for i := range v.Len() {
			at := path + "[" + strconv.Itoa(i) + "]"
			if named {
				at = join(path, fmt.Sprint(v.Index(i).Field(shapeOf(v.Type().Elem()).name.index).Interface()))
			}
			c.walk(v.Index(i), at)
		}
	}
}
