package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Match says which requests a route takes. Everything that is written must fit; of a list, one is enough.
type Match struct {
	// The host that the client asks for.
	Host []HostPattern `yaml:"host" aka:"hosts server_name domain hostname"`
	// The whole path, exactly.
	Path URLPath `yaml:"path" aka:"location"`
	// The beginning of the path, in whole segments: /api takes /api and /api/x but not /apix.
	PathPrefix URLPath `yaml:"path_prefix" aka:"prefix path_beg pathprefix"`
	// An expression that the path must match.
	PathRegex Regexp `yaml:"path_regex" aka:"path_regexp path_reg"`
	// The method. GET does not include HEAD: write both.
	Method []Method `yaml:"method" aka:"methods"`
	// Headers, each by an exact value, or {regex: ...}, or {present: true} or false.
	Header []ValueMatch `yaml:"header" aka:"headers"`
	// Query parameters, in the same ways.
	Query []ValueMatch `yaml:"query" aka:"queries params"`
	// The client's address.
	Source []netip.Prefix `yaml:"source" aka:"src client_ip remote_ip sources"`
}

// ValueMatch is a condition on a header or a query parameter. It has exactly one of value, regex and present.
type ValueMatch struct {
	// The header or parameter.
	Name string `yaml:",name"`
	// The whole value, exactly. Of a header that stands in the request several times, one is enough.
	Value *string `yaml:"value" scalar:"*" aka:"exact equals is"`
	// An expression that the value must match.
	Regex *Regexp `yaml:"regex" aka:"regexp match"`
	// Whether it is there at all, with whatever value.
	Present *bool `yaml:"present" aka:"exists"`
}

// IsCatchAll tells whether every request fits.
func (m *Match) IsCatchAll() bool {
	return len(m.Host) == 0 && m.Path == "" && m.PathPrefix == "" && m.PathRegex.IsZero() && len(m.Method) == 0 &&
		len(m.Header) == 0 && len(m.Query) == 0 && len(m.Source) == 0
}

func (m *Match) validate(c *checker, path string) {
	c.oneOf(path, true, "path", "path_prefix")
	for _, h := range m.Header {
		if !isToken(h.Name) {
			c.failKey(path+".header."+h.Name, strconv.Quote(h.Name)+" is not a header name", "use letters, digits and -, as in X-Canary")
		}
		if strings.EqualFold(h.Name, "Host") {
			c.failKey(path+".header."+h.Name, "is matched by host", "write match: {host: ...}")
		}
	}
}

func (v *ValueMatch) validate(c *checker, path string) {
	forms := 0
	for _, is := range []bool{v.Value != nil, v.Regex != nil, v.Present != nil} {
		if is {
			forms++
		}
	}
	if forms != 1 {
		c.fail(path, "needs exactly one of value, regex and present", `write a value, {regex: "^a"}, or {present: true}`)
	}
}

func isHostAndPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host = strings.Trim(s, "[]")
	} else if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return false
	}
	_, notIP := netip.ParseAddr(host)
	return notIP == nil || isHostName(host)
}
