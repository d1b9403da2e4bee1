package config

import (
	"net/netip"
	"reflect"
	"slices"
)

// scalarType is a Go type that is written as one word in the file.
type scalarType struct {
	goType  reflect.Type
	name    string   // as the reference page calls it
	doc     string   // how it is written
	schema  string   // JSON type: "string", or "string|integer" when a bare number is fine too
	pattern string   // of the JSON schema; "" for none
	example []string // in the JSON schema
	parse   func(text string) (any, error)
}

// scalarTypes is every such type. A text is parsed by the type of its field alone, never guessed from its look.
func scalarTypes() []scalarType {
	return slices.Concat(dnsScalars(), backupScalars(), []scalarType{
		scalar("duration", "a number with a unit: `300ms`, `1.5s`, `2m`, `1h30m`, `30d`, `2w`; units are ns, us, ms, s, m, h, d (24 hours) and w (7 days). `0` needs no unit.",
			"string|integer", `^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h|d|w))+)$`, ParseDuration, "300ms", "2s", "30d"),
		scalar("size", "a number of bytes, with a unit or without: `4096`, `64KiB`, `1MiB`, `1GB`; KiB, MiB, GiB, TiB count by 1024, kB, MB, GB, TB by 1000.",
			"string|integer", `^[0-9]+(\.[0-9]+)?(B|[kK]B|KiB|MB|MiB|GB|GiB|TB|TiB)?$`, ParseSize, "64KiB", "1GB"),
		scalar("rate", "a number per time: `100/s`, `10/m`, `5000/h`; of bytes also with a unit: `64KiB/s`.", "string",
			`^[0-9]+(\.[0-9]+)?(B|[kK]B|KiB|MB|MiB|GB|GiB|TB|TiB)?/(s|m|h|d)$`, ParseRate, "100/s", "64KiB/s"),
		scalar("percentage", "a number with a percent sign: `20%`, `99.95%`.", "string", `^[0-9]+(\.[0-9]+)?%$`, ParsePercent, "20%"),
		scalar("address", "`host:port`, `:port` for every address of this machine, `[IPv6]:port`, or `unix:/path` for a Unix socket.", "string",
			"", ParseAddress, ":8080", "10.0.0.11:8000", "[::1]:80", "unix:/run/app.sock"),
		scalar("network", "addresses as `10.0.0.0/8` or `2001:db8::/32`; a single address stands for itself.", "string", "", parsePrefix, "10.0.0.0/8"),
		scalar("regular expression", "in RE2 syntax (as Go's regexp package); it may match anywhere unless it has `^` and `$`.", "string", "", parseRegexp, "^/v[0-9]+/"),
		scalar("HTTP method", "in capital letters: `GET`, `POST`, ...", "string", "^[A-Z][A-Z0-9!#$%&'*+.^_`|~-]*$", parseMethod, "GET"),
		scalar("host pattern", "an exact name `www.example.com`, all names below one `*.example.com`, or `*` for every name; case does not count, and there is no port.", "string",
			"", parseHostPattern, "shop.example.com", "*.example.com"),
		scalar("header name", "an HTTP token, as in `X-Request-ID`.", "string", "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", parseHeaderName, "X-Request-ID"),
		scalar("header value", "text without line breaks and other control characters.", "string|integer", "", parseHeaderValue),
		scalar("cookie name", "an HTTP token, as in `srv`.", "string", "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", parseCookieName, "srv"),
		scalar("status", "an HTTP status code of three digits.", "integer", "", parseStatus, "503"),
		scalar("status range", "one HTTP status code `200`, a range `200-299`, or a class `2xx`.", "string|integer", "^[1-5]([0-9][0-9](-[1-5][0-9][0-9])?|xx)$", parseStatusRange, "200", "200-299"),
		scalar("retry condition", "a failure by its name (`connect`, `reset`, `stall`, `timeout`), or an HTTP status code from 400 to 599.", "string|integer",
			"^(connect|reset|stall|timeout|[45][0-9][0-9])$", parseRetryCondition, "connect", "503"),
		scalar("URL path", "begins with `/`; no query and no fragment.", "string", "^/[^ ?#]*$", parseURLPath, "/healthz"),
		scalar("hash key", "`source` (the client's address), `path`, `host`, `header:NAME`, `cookie:NAME` or `query:NAME`.", "string",
			"^(source|path|host|header:.+|cookie:.+|query:.+)$", parseHashKey, "source", "cookie:session"),
		scalar("limit key", "a hash key, or `all` for one limit that all share.", "string",
			"^(all|source|path|host|header:.+|cookie:.+|query:.+)$", parseLimitKey, "source", "header:X-API-Key", "all"),
		scalar("template", "text with [variables](#variables) in braces, as in `{client_ip}`; `{{` stands for a brace.", "string|integer", "", parseTemplate, "{client_ip}"),
		scalar("log format", "`json`, `combined` (as Apache's), or a template with [variables](#variables) in braces: `{client_ip} {method} {uri} {status}`.", "string", "", ParseLogFormat, "json"),
		scalar("log output", "`stdout`, `stderr`, or the path of a file, which is opened anew on SIGHUP.", "string", "", parseLogOutput, "stdout", "/var/log/trivet/access.log"),
		scalar("file", "a path; a relative one begins from the directory of the configuration file.", "string", "", parseFilePath, "ca.pem"),
		scalar("kind of event", "a kind such as `endpoint.down`, or the beginning of several and a star: `process.*`, `*`.", "string", `^[a-z_.]*\*?$`, parseEventPattern, "endpoint.down", "process.*"),
		scalar("variable", "the name of a variable of the environment: letters, digits and `_`, not beginning with a digit.", "string", "^[A-Za-z_][A-Za-z0-9_]*$", parseVariableName, "DATABASE_URL"),
		scalar("name", "letters, digits, `-`, `_` and `.`, beginning with a letter or a digit, at most 63 of them.", "string", "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$", parseName, "web"),
	})
}

// scalar ties a Go type to the function that parses it.
func scalar[T any](name, doc, schema, pattern string, parse func(string) (T, error), example ...string) scalarType {
	return scalarType{
		goType: reflect.TypeFor[T](), name: name, doc: doc, schema: schema, pattern: pattern, example: example,
		parse: func(text string) (any, error) { return parse(text) },
	}
}

// Named types over strings: their names say what they may hold.
type (
	// Name names a listener, a pool, a route or an endpoint. It is a metric label and part of control API paths.
	Name string
	// Method is an HTTP method: a token in capital letters (RFC 9110 §9.1).
	Method string
	// HostPattern is an exact host name, *.suffix, or *; in lower case, without a port.
	HostPattern string
	// HeaderName is an HTTP field name (RFC 9110 §5.1), as written.
	HeaderName string
	// HeaderValue is an HTTP field value (RFC 9110 §5.5): no control characters, no spaces around it.
	HeaderValue string
	// CookieName is a cookie's name (RFC 6265 §4.1.1: a token).
	CookieName string
	// URLPath is the path of a URL: it begins with a slash and has no query.
	URLPath string
	// Status is an HTTP status code, 100 to 599.
	Status int
	// LogOutput is stdout, stderr, or a file's path, made absolute.
	LogOutput string
	// FilePath is a file's path, made absolute.
	FilePath string
	// VariableName is the name of a variable of the environment.
	VariableName string
)

// StatusRange is HTTP status codes from Low to High, both included.
type StatusRange struct{ Low, High int }

// Contains tells whether status is in the range.
func (r StatusRange) Contains(status int) bool { return r.Low <= status && status <= r.High }

// A RetryCondition is one kind of failure that allows another try: a Failure, or a status the endpoint answered.
type RetryCondition struct {
	Failure string // connect, reset, stall or timeout; "" when Status says it
	Status  int
}

// HashKey says what a hashing algorithm hashes.
type HashKey struct {
	Kind string // source, path, host, header, cookie or query
	Name string // of the header, cookie or query parameter
}

func (k HashKey) String() string {
	if k.Name == "" {
		return k.Kind
	}
	return k.Kind + ":" + k.Name
}

func parsePrefix(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		if masked := p.Masked(); masked != p {
			return masked, wrong("has bits set beyond its length", "write "+masked.String())
		}
		return p, nil
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.Prefix{}, wrong("is not a network", "write an address and a length, as in 10.0.0.0/8 or 2001:db8::/32, or a single address")
}

func parseFilePath(text string) (FilePath, error) {
	if text == "" {
		return "", wrong("is empty", "write a path")
	}
	return FilePath(text), nil
}

func parseVariableName(text string) (VariableName, error) {
	for i, r := range text {
		if r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || i > 0 && '0' <= r && r <= '9' {
			continue
		}
		return "", wrong("is no name of a variable", "write letters, digits and _, as in DATABASE_URL")
	}
	if text == "" {
		return "", wrong("is empty", "write a name, as in DATABASE_URL")
	}
	return VariableName(text), nil
}
