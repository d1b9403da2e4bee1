package config

import (
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

// Regexp is a compiled regular expression. The zero Regexp is none.
type Regexp struct{ *regexp.Regexp }

// IsZero tells whether there is no expression.
func (r Regexp) IsZero() bool { return r.Regexp == nil }

func (r Regexp) String() string {
	if r.Regexp == nil {
		return ""
	}
	return r.Regexp.String()
}

// MarshalText gives the expression as written.
func (r Regexp) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func parseRegexp(text string) (Regexp, error) {
	re, err := regexp.Compile(text)
	if err != nil {
		message := "is not a regular expression"
		if bad, ok := err.(*syntax.Error); ok {
			message += ": " + bad.Code.String()
		}
		return Regexp{}, wrong(message, "see https://github.com/google/re2/wiki/Syntax; in a YAML text in single quotes a backslash is a backslash")
	}
	return Regexp{re}, nil
}

// isToken tells whether s is an HTTP token (RFC 9110 §5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && !strings.Contains("!#$%&'*+-.^_`|~", s[i:i+1]) {
			return false
		}
	}
	return s != ""
}

func parseName(text string) (Name, error) {
	const hint = "use letters, digits, - _ and ., beginning with a letter or a digit, at most 63 of them"
	if text == "" || len(text) > 63 || !isAlphanumeric(text[0]) {
		return "", wrong("is not a name", hint)
	}
	for i := range len(text) {
		if c := text[i]; !isAlphanumeric(c) && c != '-' && c != '_' && c != '.' {
			return "", wrong("is not a name: it contains "+strconv.QuoteRune(rune(c)), hint)
		}
	}
	return Name(text), nil
}

func parseMethod(text string) (Method, error) {
	known := []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"}
	switch {
	case !isToken(text):
		return "", wrong("is not an HTTP method", "one of "+strings.Join(known, ", "))
	case text == "CONNECT":
		return "", wrong("is never forwarded: Trivet answers CONNECT with 405", "remove it")
	case text != strings.ToUpper(text):
		return "", wrong("is not in capital letters, and methods distinguish case", "write "+strings.ToUpper(text))
	}
	if !slices.Contains(known, text) {
		if near := nearest(text, known); near != "" && distance(near, text) == 1 {
			return "", wrong("is not an HTTP method", didYouMean(text, known))
		}
	}
	return Method(text), nil
}

func parseHostPattern(text string) (HostPattern, error) {
	lower := strings.ToLower(strings.TrimSuffix(text, "."))
	if text == "*" {
		return "*", nil
	}
	for i := range len(text) {
		if text[i] >= 0x80 {
			return "", wrong("is not written in ASCII", "write the name as it stands in the Host header: xn--...")
		}
	}
	if ip, err := netip.ParseAddr(strings.Trim(lower, "[]")); err == nil {
		if ip.Is6() {
			return HostPattern("[" + ip.String() + "]"), nil
		}
		return HostPattern(ip.String()), nil
	}
	if host, _, hasPort := strings.Cut(lower, ":"); hasPort {
		return "", wrong("has a port, and ports do not count here", "write "+host)
	}
	name := strings.TrimPrefix(lower, "*.")
	if strings.Contains(name, "*") {
		return "", wrong("has a * elsewhere than at its front", `write "*.example.com" for all names below example.com`)
	}
	if !isHostName(name) {
		return "", wrong("is not a host name", "write www.example.com, \"*.example.com\" or \"*\"")
	}
	return HostPattern(lower), nil
}

func parseHeaderName(text string) (HeaderName, error) {
	if !isToken(text) {
		return "", wrong("is not a header name", "use letters, digits and -, as in X-Request-ID")
	}
	return HeaderName(text), nil
}

func parseHeaderValue(text string) (HeaderValue, error) {
	for i := range len(text) {
		if c := text[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return "", wrong("contains a control character, which no header value may", "keep it on one line")
		}
	}
	if strings.Trim(text, " \t") != text {
		return "", wrong("has spaces around it, which HTTP strips", "remove them")
	}
	return HeaderValue(text), nil
}

func parseCookieName(text string) (CookieName, error) {
	if !isToken(text) {
		return "", wrong("is not a cookie name", "use letters, digits, - and _")
	}
	return CookieName(text), nil
}

func parseStatus(text string) (Status, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 100 || n > 599 || len(text) != 3 {
		return 0, wrong("is not an HTTP status code", "write three digits from 100 to 599")
	}
	return Status(n), nil
}

func parseStatusRange(text string) (StatusRange, error) {
	const hint = "write 200, 200-299 or 2xx"
	if class, isClass := strings.CutSuffix(text, "xx"); isClass && len(class) == 1 && class >= "1" && class <= "5" {
		low := int(class[0]-'0') * 100
		return StatusRange{low, low + 99}, nil
	}
	from, to, isRange := strings.Cut(text, "-")
	low, err := parseStatus(strings.TrimSpace(from))
	if err != nil {
		return StatusRange{}, wrong("is not a range of HTTP status codes", hint)
	}
	if !isRange {
		return StatusRange{int(low), int(low)}, nil
	}
	high, err := parseStatus(strings.TrimSpace(to))
	if err != nil {
		return StatusRange{}, wrong("is not a range of HTTP status codes", hint)
	}
	if high < low {
		return StatusRange{}, wrong("ends before it begins", "write "+high.String()+"-"+low.String())
	}
	return StatusRange{int(low), int(high)}, nil
}

func (s Status) String() string { return strconv.Itoa(int(s)) }

func parseRetryCondition(text string) (RetryCondition, error) {
	failures := []string{"connect", "reset", "stall", "timeout"}
	if slices.Contains(failures, text) {
		return RetryCondition{Failure: text}, nil
	}
	status, err := parseStatus(text)
	switch {
	case err != nil:
		hint := "one of " + strings.Join(failures, ", ") + ", or a status such as 503"
		if near := nearest(text, failures); near != "" {
			hint = didYouMean(text, failures)
		}
		return RetryCondition{}, wrong("is not a reason to try again", hint)
	case status < 400:
		return RetryCondition{}, wrong("is not a failure", "write a status from 400 to 599, such as 503")
	}
	return RetryCondition{Status: int(status)}, nil
}

func (c RetryCondition) String() string {
	if c.Failure != "" {
		return c.Failure
	}
	return strconv.Itoa(c.Status)
}

func parseURLPath(text string) (URLPath, error) {
	switch {
	case !strings.HasPrefix(text, "/"):
		return "", wrong("does not begin with /", "write /"+text)
	case strings.ContainsAny(text, "?#"):
		return "", wrong("has a query or a fragment", "write the path alone")
	}
	for i := range len(text) {
		if c := text[i]; c <= 0x20 || c >= 0x7f {
			return "", wrong("contains a character that no URL path may", "percent-encode it: %20 for a space")
		}
	}
	return URLPath(text), nil
}

func parseHashKey(text string) (HashKey, error) {
	whole, named := []string{"source", "path", "host"}, []string{"header", "cookie", "query"}
	if slices.Contains(whole, text) {
		return HashKey{Kind: text}, nil
	}
	kind, name, found := strings.Cut(text, ":")
	switch {
	case !slices.Contains(named, kind):
		if near := nearest(kind, append(whole, named...)); near != "" {
			return HashKey{}, wrong("is nothing that can be hashed", didYouMean(kind, []string{near}))
		}
		return HashKey{}, wrong("is nothing that can be hashed", "one of source, path, host, header:NAME, cookie:NAME, query:NAME")
	case !found || name == "":
		return HashKey{}, wrong("does not say which "+kind, "write "+kind+":NAME")
	case kind != "query" && !isToken(name):
		return HashKey{}, wrong("does not name a "+kind, "write "+kind+":NAME, of letters, digits and -")
	}
	return HashKey{kind, name}, nil
}

func parseLogOutput(text string) (LogOutput, error) {
	if text == "" {
		return "", wrong("is empty", "write stdout, stderr or a path")
	}
	return LogOutput(text), nil
}
