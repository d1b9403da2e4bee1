package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Redirect answers with the place to ask instead: a whole URL, or the request's own with parts replaced.
type Redirect struct {
	// The whole URL, such as https://www.example.com/new, or a path.
	To Template `yaml:"to" scalar:"*" aka:"url location"`
	// The scheme: https.
	Scheme string `yaml:"scheme" aka:"protocol"`
	// The host, with a port if it needs one. The default is the one that was asked for, with its port.
	Host string `yaml:"host"`
	// The path, without a query. The default is path and query as they were asked for.
	Path URLPath `yaml:"path"`
	// How long it holds, and whether the method stays. The default is temporary, so that a mistake is not remembered by
	// browsers: 301 and 308 are for good, 307 and 308 keep the method.
	Status Status `yaml:"status" default:"302" aka:"code"`
}

// Respond answers at once, without an endpoint.
type Respond struct {
	// The status.
	Status Status `yaml:"status" default:"200" scalar:"*" aka:"code"`
	// The body.
	Body string `yaml:"body" aka:"content text"`
	// Headers. Content-Type is text/plain unless it is written here.
	Headers []Header `yaml:"headers" aka:"header"`
}

var variableReference = regexp.MustCompile(`\{[a-z_]+\}`)

func (r *Redirect) validate(c *checker, path string) {
	if statuses := []Status{301, 302, 303, 307, 308}; !slices.Contains(statuses, r.Status) {
		c.fail(join(path, "status"), fmt.Sprintf("%d is no redirect", r.Status), "one of 301, 302, 303, 307, 308")
	}
	parts := r.Scheme != "" || r.Host != "" || r.Path != ""
	switch {
	case r.To == "" && !parts:
		c.fail(path, "does not say where to", "write to, or one of scheme, host and path")
	case r.To != "" && parts:
		c.failKey(join(path, "to"), "is the whole URL, so scheme, host and path have no place beside it", "keep to, or the parts")
	case r.To != "" && !isRedirectTarget(string(r.To)):
		c.fail(join(path, "to"), quote(string(r.To))+" is no URL and no path", "write https://www.example.com/path or /path")
	}
	if r.Scheme != "" && r.Scheme != "http" && r.Scheme != "https" {
		c.fail(join(path, "scheme"), strconv.Quote(r.Scheme)+" is neither http nor https", didYouMean(r.Scheme, []string{"http", "https"}))
	}
	if r.Host != "" && !isHostAndPort(r.Host) {
		c.fail(join(path, "host"), strconv.Quote(r.Host)+" is not a host", "write www.example.com, or www.example.com:8443")
	}
}

// Location is the template of the Location header.
func (r *Redirect) Location() Template {
	if r.To != "" {
		return r.To
	}
	literal := func(s, variable string) string {
		if s == "" {
			return variable
		}
		return strings.ReplaceAll(s, "{", "{{")
	}
	return Template(literal(r.Scheme, "{scheme}") + "://" + literal(r.Host, "{host}") + literal(string(r.Path), "{uri}"))
}

// isRedirectTarget judges a template as the URL it becomes: any variable may be a part of it, or all of it.
func isRedirectTarget(template string) bool {
	if strings.HasPrefix(template, "{scheme}://") {
		template = "http" + strings.TrimPrefix(template, "{scheme}")
	}
	if strings.HasPrefix(template, "{uri}") || strings.HasPrefix(template, "{path}") {
		return true
	}
	s := variableReference.ReplaceAllString(template, "x")
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return false
	}
	u, err := url.Parse(s)
	if err != nil {
		return false
	}
	return strings.HasPrefix(s, "/") || (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func (r *Respond) validate(c *checker, path string) {
	if r.Status < 200 {
		c.fail(join(path, "status"), fmt.Sprintf("%d is no final answer", r.Status), "write a status from 200 to 599")
	}
	if (r.Status == 204 || r.Status == 304) && r.Body != "" {
		c.failKey(join(path, "body"), fmt.Sprintf("has no place in a %d response (RFC 9110 §6.4.1)", r.Status), "remove it, or write another status")
	}
	checkHeaders(c, join(path, "headers"), r.Headers)
}
