package config

import (
	"fmt"
	"slices"
	"strings"
)

// HeaderEdit changes headers: first remove, then set, then add.
type HeaderEdit struct {
	// Put this value in place of all others.
	Set []Header `yaml:"set" aka:"replace"`
	// Add this value to those that are there.
	Add []Header `yaml:"add" aka:"append"`
	// Take these away.
	Remove []HeaderName `yaml:"remove" aka:"delete del hide"`
}

// Header is a header with its value.
type Header struct {
	// The header's name.
	Name HeaderName `yaml:",name"`
	// Its value.
	Value Template `yaml:"value,required" scalar:"*"`
}

// IsZero tells whether nothing is changed.
func (e *HeaderEdit) IsZero() bool { return len(e.Set) == 0 && len(e.Add) == 0 && len(e.Remove) == 0 }

func (e *HeaderEdit) validate(c *checker, path string) {
	checkHeaders(c, join(path, "set"), e.Set)
	checkHeaders(c, join(path, "add"), e.Add)
	for i, name := range e.Remove {
		if problem, hint := reservedHeader(name); problem != "" {
			c.fail(fmt.Sprintf("%s.remove[%d]", path, i), problem, hint)
		}
	}
}

func checkHeaders(c *checker, path string, headers []Header) {
	for i, h := range headers {
		at := join(path, string(h.Name))
		if problem, hint := reservedHeader(h.Name); problem != "" {
			c.failKey(at, problem, hint)
		}
		if slices.ContainsFunc(headers[:i], func(other Header) bool { return strings.EqualFold(string(other.Name), string(h.Name)) }) {
			c.failKey(at, fmt.Sprintf("%s stands here a second time: case does not count", h.Name), "remove one of the two")
		}
	}
}

// reservedHeader says why a header is not for the configuration to change.
func reservedHeader(name HeaderName) (problem, hint string) {
	lower := strings.ToLower(string(name))
	// RFC 9110 §7.6.1 and RFC 9112 §6: these describe one connection, or where a message ends.
	framing := []string{"connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
	switch {
	case slices.Contains(framing, lower):
		return fmt.Sprintf("%s belongs to the connection and is set by Trivet", name), "remove it"
	case lower == "host":
		return "Host is passed on as the client sent it: applications build links from it", "remove it"
	default:
		return "", ""
	}
}
