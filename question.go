package trivet

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/trivet-ha/trivet/api"
)

// question turns a question into the head of a request, the client's address and the port that it would
// connect to (empty: any).
func question(q api.Question) (head []byte, from netip.Addr, port string, err error) {
	if q.From != "" {
		if from, err = netip.ParseAddr(q.From); err != nil {
			return nil, from, "", api.Invalid(fmt.Sprintf("%q is no IP address", q.From), "give the client's address, such as 192.0.2.7")
		}
	}
	u, err := url.Parse(q.URL)
	if err != nil || u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https" {
		return nil, from, "", api.Invalid(fmt.Sprintf("%q is no URL of HTTP", q.URL), "write http://host/path, or a path")
	}
	method := q.Method
	if method == "" {
		method = "GET"
	}
	target := u.EscapedPath()
	if target == "" {
		target = "/"
	}
	if u.RawQuery != "" {
		target += "?" + u.RawQuery
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", method, target)
	hosted := false
	for _, f := range q.Headers {
		if strings.ContainsAny(f.Name+f.Value, "\r\n") {
			return nil, from, "", api.Invalid("a header holds a line end", "give each header on its own")
		}
		fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
		hosted = hosted || strings.EqualFold(f.Name, "Host")
	}
	if !hosted {
		host := u.Host
		if host == "" {
			host = "localhost"
		}
		fmt.Fprintf(&b, "Host: %s\r\n", host)
	}
	b.WriteString("\r\n")
	return []byte(b.String()), from, u.Port(), nil
}
