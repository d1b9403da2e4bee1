package config

import (
	"slices"
	"strings"
)

// Template is a text with variables in braces, as in "{client_ip}"; {{ stands for a brace.
type Template string

// LogFormat is json, combined, or a Template.
type LogFormat string

// Variables is every variable that a template may name, with what it holds. One that has no value is written as nothing, or
// as - in a log line.
func Variables() map[string]string {
	return map[string]string{
		"attempts":      "how many endpoints were tried",
		"bytes_in":      "bytes of the request's body",
		"bytes_out":     "bytes of the response's body",
		"client_ip":     "the client's address, behind trusted proxies too",
		"client_port":   "the client's port",
		"duration_ms":   "milliseconds from the first byte of the request to the last of the response",
		"endpoint":      "the address of the endpoint that answered",
		"first_byte_ms": "milliseconds until the endpoint's first byte",
		"host":          "the host that was asked for",
		"listener":      "the listener's name",
		"method":        "the request's method",
		"path":          "the path that was asked for",
		"pool":          "the pool's name",
		"protocol":      "HTTP/1.1 or HTTP/1.0",
		"query":         "the query that was asked for, without its ?",
		"referer":       "the Referer header",
		"request_id":    "the request's id, when request_id is set",
		"route":         "the route's name",
		"scheme":        "http or https",
		"status":        "the status that the client got",
		"time":          "the time, in RFC 3339",
		"time_clf":      "the time, as Apache writes it: 02/Jan/2006:15:04:05 -0700",
		"uri":           "path and query, as the client wrote them",
		"user_agent":    "the User-Agent header",
	}
}

func parseTemplate(text string) (Template, error) {
	if _, err := parseHeaderValue(text); err != nil {
		return "", err
	}
	return Template(text), checkVariables(text)
}

// ParseLogFormat reads json, combined, or a template with at least one variable.
func ParseLogFormat(text string) (LogFormat, error) {
	if named := []string{"json", "combined"}; slices.Contains(named, text) {
		return LogFormat(text), nil
	}
	if !strings.Contains(text, "{") {
		return "", wrong("is no known format, and has no variable in braces", `write json, combined, or a template such as "{client_ip} {method} {uri} {status}"`)
	}
	_, err := parseTemplate(text)
	return LogFormat(text), err
}

// checkVariables finds a variable that there is not.
func checkVariables(text string) error {
	known := Variables()
	for {
		_, rest, found := strings.Cut(text, "{")
		if !found {
			return nil
		}
		if strings.HasPrefix(rest, "{") {
			text = rest[1:]
			continue
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return wrong("has a brace that is not closed", "write {{ for a brace")
		}
		if _, ok := known[name]; !ok {
			names := make([]string, 0, len(known))
			for name := range known {
				names = append(names, name)
			}
			return wrong("has the unknown variable {"+name+"}", didYouMean(name, names)+"; write {{ for a brace")
		}
		text = after
	}
}
