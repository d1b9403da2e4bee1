package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// StatusRange is the statuses From to To, both included.
type StatusRange struct{ From, To int }

func (r StatusRange) String() string {
	if r.From == r.To {
		return fmt.Sprint(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// HTTP is a request over HTTP/1.1. Redirects are not followed.
type HTTP struct {
	// Method is GET by default.
	Method string
	// Path, with a query if need be, is / by default.
	Path string
	// Host is the Host header; the endpoint's address by default, localhost if
	// that is a path.
	Host string
	// Header is sent as well. Its User-Agent is trivet-probe by default.
	Header http.Header
	// Expect are the statuses that are well. Default 200-299.
	Expect []StatusRange
	// Body, if set, must match within the first 64 KiB of the answer's body.
	Body *regexp.Regexp
	// TLS, if set, speaks TLS.
	TLS *TLS
}

// Bounds of what is read of an answer.
const (
	maxHead = 64 << 10
	maxBody = 64 << 10
)

// Check reports what makes no sense.
func (h *HTTP) Check() error {
	_, err := h.request(Target{Address: "localhost:80"})
	for _, r := range h.Expect {
		if r.From < 100 || r.To > 599 || r.From > r.To {
			return fmt.Errorf("http probe: statuses %v are not between 100 and 599", r)
		}
	}
	if err == nil && h.Body != nil && h.Method == http.MethodHead {
		err = errors.New("http probe: the answer to HEAD has no body to match")
	}
	return err
}

// Do implements Check.
func (h *HTTP) Do(ctx context.Context, t Target) (detail string, err error) {
	r, err := h.request(t)
	if err != nil {
		return "", err
	}
	name, _, err := net.SplitHostPort(h.Host)
	if err != nil {
		name = h.Host
	}
	conn, stop, err := connect(ctx, t, h.TLS, strings.Trim(name, "[]"), "http/1.1")
	if err != nil {
		return "", err
	}
	defer stop()
	if err := r.Write(conn); err != nil {
		return "", explain(ctx, "send request", err)
	}
	answer, err := readAnswer(bufio.NewReader(io.LimitReader(conn, maxHead+maxBody)), r)
	if err != nil {
		return "", explain(ctx, "wait for answer", err)
	}
	if !h.expects(answer.StatusCode) {
		return "", fmt.Errorf("status %d, want %s", answer.StatusCode, h.expected())
	}
	if err := h.matchBody(ctx, answer.Body); err != nil {
		return "", err
	}
	return fmt.Sprintf("status %d", answer.StatusCode), nil
}

func (h *HTTP) request(t Target) (*http.Request, error) {
	method := h.Method
	if method == "" {
		method = http.MethodGet
	}
	path := h.Path
	if path == "" {
		path = "/"
	}
	target, err := url.ParseRequestURI(path)
	if err != nil || !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("http probe: %q is no path", path)
	}
	host := h.Host
	if host == "" {
		host = t.Address
		if t.host() == "" {
			host = "localhost"
		}
	}
	r, err := http.NewRequest(method, "http://localhost/", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("http probe: %w", err)
	}
	r.URL.Path, r.URL.RawPath, r.URL.RawQuery = target.Path, target.RawPath, target.RawQuery
	if h.Header != nil {
		r.Header = h.Header.Clone()
	}
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header.Set("User-Agent", "trivet-probe")
	}
	r.Host, r.Close = host, true
	return r, nil
}

// readAnswer reads the final answer, past interim ones. RFC 9110 §15.2.
func readAnswer(in *bufio.Reader, r *http.Request) (*http.Response, error) {
	for {
		answer, err := http.ReadResponse(in, r)
		if err != nil || answer.StatusCode >= 200 || answer.StatusCode == http.StatusSwitchingProtocols {
			return answer, err
		}
	}
}

func (h *HTTP) ranges() []StatusRange {
	if len(h.Expect) == 0 {
		return []StatusRange{{200, 299}}
	}
	return h.Expect
}

func (h *HTTP) expects(status int) bool {
	return slices.ContainsFunc(h.ranges(), func(r StatusRange) bool { return status >= r.From && status <= r.To })
}

func (h *HTTP) expected() string {
	var all []string
	for _, r := range h.ranges() {
		all = append(all, r.String())
	}
	return strings.Join(all, ", ")
}

// matchBody looks at as much of the body as it takes, and may.
func (h *HTTP) matchBody(ctx context.Context, body io.Reader) error {
	if h.Body == nil {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(body, maxBody))
	if h.Body.Match(text) {
		return nil
	}
	if err != nil {
		return explain(ctx, "read body", err)
	}
	return fmt.Errorf("body %s does not match %s", quote(text), h.Body)
}
