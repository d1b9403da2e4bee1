package l7

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Template is a text with variables in braces, such as "{client_ip}". It is parsed once and expanded
// without allocation.
type Template struct {
	text  string
	parts []part
}

type part struct {
	literal  string
	variable variable
}

// variable appends its value.
type variable func(dst []byte, x *exchange) []byte

var variables = map[string]variable{
	"client_ip":     func(b []byte, x *exchange) []byte { return appendAddr(b, x.source) },
	"client_port":   func(b []byte, x *exchange) []byte { return appendUint(b, uint64(x.c.peer().Port())) },
	"scheme":        func(b []byte, x *exchange) []byte { return append(b, x.c.scheme()...) },
	"method":        func(b []byte, x *exchange) []byte { return x.fact(b, x.w.req.MethodText, x.log.method) },
	"host":          func(b []byte, x *exchange) []byte { return x.fact(b, x.w.req.Host, x.log.host) },
	"path":          func(b []byte, x *exchange) []byte { return x.fact(b, x.w.req.Path, x.log.path) },
	"query":         func(b []byte, x *exchange) []byte { return x.fact(b, x.w.req.Query, x.log.query) },
	"uri":           func(b []byte, x *exchange) []byte { return x.fact(b, x.w.req.Target, x.log.uri) },
	"referer":       func(b []byte, x *exchange) []byte { return x.fact(b, nil, x.log.ref) },
	"user_agent":    func(b []byte, x *exchange) []byte { return x.fact(b, nil, x.log.agt) },
	"protocol":      func(b []byte, x *exchange) []byte { return x.appendProtocol(b) },
	"request_id":    func(b []byte, x *exchange) []byte { return append(b, x.requestID...) },
	"listener":      func(b []byte, x *exchange) []byte { return append(b, x.lis.Name...) },
	"route":         func(b []byte, x *exchange) []byte { return append(b, x.routeName()...) },
	"pool":          func(b []byte, x *exchange) []byte { return append(b, x.poolName()...) },
	"endpoint":      func(b []byte, x *exchange) []byte { return append(b, x.endpointName()...) },
	"status":        func(b []byte, x *exchange) []byte { return strconv.AppendInt(b, int64(x.status), 10) },
	"attempts":      func(b []byte, x *exchange) []byte { return strconv.AppendInt(b, int64(x.attempts), 10) },
	"bytes_in":      func(b []byte, x *exchange) []byte { return strconv.AppendInt(b, x.bytesIn, 10) },
	"bytes_out":     func(b []byte, x *exchange) []byte { return strconv.AppendInt(b, x.bytesOut, 10) },
	"duration_ms":   func(b []byte, x *exchange) []byte { return appendMillis(b, x.took()) },
	"first_byte_ms": func(b []byte, x *exchange) []byte { return appendMillis(b, max(0, x.first-x.start)) },
	"time":          func(b []byte, x *exchange) []byte { return time.Now().AppendFormat(b, time.RFC3339) },
	"time_clf":      func(b []byte, x *exchange) []byte { return time.Now().AppendFormat(b, "02/Jan/2006:15:04:05 -0700") },
}

// Variables lists the names that a Template knows.
func Variables() []string {
	var names []string
	for n := range variables {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// ParseTemplate parses a text with variables. "{{" stands for a brace.
func ParseTemplate(text string) (*Template, error) {
	t := &Template{text: text}
	for rest := text; rest != ""; {
		i := strings.IndexByte(rest, '{')
		if i < 0 {
			t.parts = append(t.parts, part{literal: rest})
			break
		}
		if strings.HasPrefix(rest[i:], "{{") {
			t.parts = append(t.parts, part{literal: rest[:i+1]})
			rest = rest[i+2:]
			continue
		}
		if i > 0 {
			t.parts = append(t.parts, part{literal: rest[:i]})
		}
		end := strings.IndexByte(rest[i:], '}')
		if end < 0 {
			return nil, fmt.Errorf("parse %q: a brace is not closed; write {{ for a brace", text)
		}
		name := rest[i+1 : i+end]
		v, ok := variables[name]
		if !ok {
			return nil, fmt.Errorf("parse %q: there is no variable {%s}; there are %s", text, name, strings.Join(Variables(), ", "))
		}
		t.parts = append(t.parts, part{variable: v})
		rest = rest[i+end+1:]
	}
	return t, nil
}

// String returns the text that was parsed.
func (t *Template) String() string { return t.text }

// append expands the template.
func (t *Template) append(dst []byte, x *exchange) []byte {
	for i := range t.parts {
		if p := &t.parts[i]; p.variable != nil {
			dst = p.variable(dst, x)
		} else {
			dst = append(dst, p.literal...)
		}
	}
	return dst
}

// fact appends a part of the request: from its head while that is there, else as it was remembered. In a log
// line, what the client wrote is made harmless; a head's fields have been checked by the parser.
func (x *exchange) fact(dst, present []byte, remembered span) []byte {
	switch {
	case x.log.set:
		present = x.log.of(remembered)
	case x.logging: // the head was refused; what the worker has parsed last is another's
		present = nil
	}
	if x.logging {
		return appendSafe(dst, present)
	}
	return append(dst, present...)
}

func (x *exchange) appendProtocol(b []byte) []byte {
	if x.http2 {
		return append(b, "HTTP/2.0"...)
	}
	return append(append(b, "HTTP/1."...), '0'+byte(x.minor))
}

func (x *exchange) took() time.Duration { return x.w.Loop.Now() - x.start }

func (x *exchange) routeName() string {
	if x.route == nil {
		return ""
	}
	return x.route.Name
}

func (x *exchange) poolName() string {
	if x.up == nil {
		return ""
	}
	return x.up.Name
}

func (x *exchange) endpointName() string {
	switch {
	case x.ep != nil:
		return x.ep.Address()
	case x.last != nil:
		return x.last.Address()
	}
	return ""
}
