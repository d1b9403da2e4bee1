package trivet

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/balance/l7/http2"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/internal/edge"
)

// buildListener turns a listener of the file into what the edge serves.
func (b *build) buildListener(spec *config.Listener) (*edge.Listener, error) {
	if spec.Protocol.ByAddress() {
		return b.buildByAddress(spec), nil
	}
	l := &l7.Listener{
		Name: string(spec.Name),
		Limits: http1.Limits{
			Line: int(spec.Limits.Line), Head: int(spec.Limits.HeaderSize), Fields: spec.Limits.HeaderCount,
			Underscores: underscores[spec.Underscores],
		},
		BodyMax: int64(spec.Limits.BodySize),
		Timeouts: l7.Timeouts{
			Header: spec.Timeouts.Header, Idle: spec.Timeouts.Idle, BodyIdle: spec.Timeouts.BodyIdle,
			WriteIdle: spec.Timeouts.WriteIdle, MinRate: int64(spec.Timeouts.MinRate),
		},
		MaxConns:     spec.MaxConnections,
		MaxPerSource: spec.MaxConnectionsPerSource,
		Trusted:      spec.TrustedProxies,
		Forward:      l7.Forward{XForwarded: forwards[spec.Forwarded.XForwarded], RFC7239: spec.Forwarded.RFC7239},
		Access:       l7.Access{Allow: spec.Access.Allow, Deny: spec.Access.Deny},
	}
	for _, a := range spec.Address {
		l.Addresses = append(l.Addresses, a.String())
	}
	if id := spec.RequestID; id != nil {
		l.RequestID = l7.RequestID{Header: string(id.Header), Trust: id.Trust}
	}
	if spec.HTTP2 {
		l.HTTP2 = &http2.Settings{Limits: l.Limits}
	}
	var err error
	if l.TLS, err = b.buildTLS(spec); err != nil {
		return nil, fmt.Errorf("listener %s: %w", spec.Name, err)
	}
	if l.Log, err = b.accessLog(spec.AccessLog); err != nil {
		return nil, fmt.Errorf("listener %s: %w", spec.Name, err)
	}
	for i := range spec.Routes {
		r, err := b.buildRoute(spec.Name, &spec.Routes[i])
		if err != nil {
			return nil, fmt.Errorf("listener %s: route %s: %w", spec.Name, spec.Routes[i].Name, err)
		}
		l.Routes = append(l.Routes, r)
	}
	return b.n.http.Bind(l)
}

var underscores = map[config.Underscores]http1.Underscores{
	config.UnderscoresDrop: http1.UnderscoresDrop, config.UnderscoresReject: http1.UnderscoresReject, config.UnderscoresPass: http1.UnderscoresKeep,
}

var forwards = map[config.XForwarded]l7.ForwardMode{
	config.XForwardedAppend: l7.ForwardAppend, config.XForwardedReplace: l7.ForwardReplace, config.XForwardedOff: l7.ForwardOff,
}

func (b *build) buildRoute(listener config.Name, spec *config.Route) (*l7.Route, error) {
	r := &l7.Route{
		Name:      string(spec.Name),
		Match:     buildMatch(&spec.Match),
		Timeout:   spec.Timeout,
		PerTry:    spec.PerTryTimeout,
		FirstByte: spec.FirstByteTimeout,
		BodyMax:   int64(spec.BodySize),
		Access:    l7.Access{Allow: spec.Access.Allow, Deny: spec.Access.Deny},
		Rewrite:   l7.Rewrite{Path: string(spec.Rewrite.Path), StripPrefix: string(spec.Rewrite.StripPrefix), Regexp: spec.Rewrite.Regex.Regexp, Replace: spec.Rewrite.Replace},
	}
	r.Retry, r.Budget = retryPolicy(&spec.Retry)
	for _, u := range spec.Upgrade {
		r.Upgrade = append(r.Upgrade, string(u))
	}
	var err error
	if r.RequestHeaders, err = buildHeaders(&spec.RequestHeaders); err != nil {
		return nil, err
	}
	if r.ResponseHeaders, err = buildHeaders(&spec.ResponseHeaders); err != nil {
		return nil, err
	}
	if err := b.buildPolicies(r, listener, spec); err != nil {
		return nil, err
	}
	return r, b.buildAction(r, spec)
}

func (b *build) buildAction(r *l7.Route, spec *config.Route) error {
	switch {
	case spec.Redirect != nil:
		t, err := l7.ParseTemplate(string(spec.Redirect.Location()))
		r.Redirect = &l7.Redirect{Status: int(spec.Redirect.Status), Location: t}
		return err
	case spec.Respond != nil:
		var err error
		r.Respond, err = buildRespond(spec.Respond)
		return err
	case spec.Pool != "":
		r.Upstream = b.pools[spec.Pool].upstream
	}
	for _, s := range spec.Split {
		r.Split = append(r.Split, l7.Share{Upstream: b.pools[s.Pool].upstream, Weight: uint64(s.Weight)})
	}
	return nil
}

func buildRespond(spec *config.Respond) (*l7.Respond, error) {
	respond := &l7.Respond{Status: int(spec.Status), Body: []byte(spec.Body)}
	for _, h := range spec.Headers {
		t, err := l7.ParseTemplate(string(h.Value))
		if err != nil {
			return nil, err
		}
		if strings.EqualFold(string(h.Name), "Content-Type") {
			respond.Type = string(h.Value)
			continue
		}
		respond.Headers.Add = append(respond.Headers.Add, l7.HeaderOp{Name: string(h.Name), Value: t})
	}
	return respond, nil
}

func buildMatch(spec *config.Match) l7.Match {
	m := l7.Match{
		Path: string(spec.Path), PathPrefix: string(spec.PathPrefix), PathRegexp: spec.PathRegex.Regexp, Sources: spec.Source,
		Headers: buildFields(spec.Header), Query: buildFields(spec.Query),
	}
	for _, h := range spec.Host {
		m.Hosts = append(m.Hosts, string(h))
	}
	for _, method := range spec.Method {
		m.Methods = append(m.Methods, string(method))
	}
	return m
}

func buildFields(specs []config.ValueMatch) []l7.FieldMatch {
	var all []l7.FieldMatch
	for _, s := range specs {
		f := l7.FieldMatch{Name: s.Name, Kind: l7.FieldPresent}
		switch {
		case s.Value != nil:
			f.Kind, f.Value = l7.FieldEquals, *s.Value
		case s.Regex != nil:
			f.Kind, f.Regexp = l7.FieldMatches, s.Regex.Regexp
		case s.Present != nil && !*s.Present:
			f.Kind = l7.FieldAbsent
		}
		all = append(all, f)
	}
	return all
}

func buildHeaders(spec *config.HeaderEdit) (ops l7.HeaderOps, err error) {
	for _, name := range spec.Remove {
		ops.Remove = append(ops.Remove, string(name))
	}
	if ops.Set, err = buildOps(spec.Set); err != nil {
		return ops, err
	}
	ops.Add, err = buildOps(spec.Add)
	return ops, err
}

func buildOps(specs []config.Header) ([]l7.HeaderOp, error) {
	var all []l7.HeaderOp
	for _, h := range specs {
		t, err := l7.ParseTemplate(string(h.Value))
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", h.Name, err)
		}
		all = append(all, l7.HeaderOp{Name: http.CanonicalHeaderKey(string(h.Name)), Value: t})
	}
	return all, nil
}

// logKey tells access logs apart: listeners that write the same lines to the same place share one.
type logKey struct {
	output, format string
	sample         float64
}

// accessLog is a log that is in force, and the file that it writes to.
type accessLog struct {
	*l7.AccessLog
	file io.Closer // nil for stdout and stderr
	stop func()
}

// accessLog returns the log that a listener of the file asks for: the one in force, or a new one.
func (b *build) accessLog(spec *config.AccessLog) (*l7.AccessLog, error) {
	if spec == nil {
		return nil, nil
	}
	key := logKey{string(spec.Output), string(spec.Format), spec.Sample.Fraction()}
	if l := b.logs[key]; l != nil {
		return l.AccessLog, nil
	}
	l := &accessLog{}
	var w io.Writer
	switch key.output {
	case "stdout":
		w = os.Stdout
	case "stderr":
		w = os.Stderr
	default:
		// A log file is opened anew by every reload, so that it can be rotated.
		f, err := os.OpenFile(key.output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if err != nil {
			return nil, fmt.Errorf("open access log: %w", err)
		}
		w, l.file = f, f
	}
	var err error
	if l.AccessLog, err = l7.NewAccessLog(w, key.format, key.sample); err != nil {
		return nil, err
	}
	b.logs[key] = l
	return l.AccessLog, nil
}
