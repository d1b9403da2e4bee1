package l7

import (
	"bytes"
	"net/netip"
	"strconv"
	"unsafe"

	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/internal/edge"
)

// appendRequest builds the request as the endpoint gets it.
func (x *exchange) appendRequest(dst []byte) []byte {
	q, ops := &x.w.req, &x.route.RequestHeaders
	dst = http1.AppendRequestLine(dst, q.MethodText, x.target())
	x.upgrading = len(q.Upgrade) > 0 && x.route.upgradesTo(q.Upgrade)
	hosted := false
	for i := range q.Fields {
		f := &q.Fields[i]
		if f.Hop || x.replaces(f.Known) || !ops.empty() && ops.drops(f.Name) || x.lis.RequestID.Header != "" && x.ownID(f.Name) || x.claims(f) {
			continue
		}
		hosted = hosted || f.Known == http1.Host
		dst = http1.AppendField(dst, f.Name, f.Value)
	}
	if !hosted && !ops.drops(hostName) {
		host := q.Host
		if len(host) == 0 {
			host = []byte(x.up.Name) // HTTP/1.0 may do without; the next hop may not
		}
		dst = http1.AppendField(dst, hostName, host)
	}
	if q.Framing == http1.FramingChunked {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	if x.http2 && hasField(q, http1.TE) {
		dst = append(dst, "TE: trailers\r\nConnection: te\r\n"...) // nothing else may stand there (RFC 9113 §8.2.2)
	}
	dst = x.appendForwarding(dst, q)
	if subject := x.c.subject(); len(subject) > 0 {
		dst = http1.AppendField(dst, clientSubject, subject)
	}
	if len(x.requestID) > 0 {
		dst = append(dst, x.lis.RequestID.Header...)
		dst = append(dst, ": "...)
		dst = append(dst, x.requestID...)
		dst = append(dst, "\r\n"...)
	}
	if x.upgrading {
		dst = append(dst, "Connection: upgrade\r\nUpgrade: "...)
		dst = append(dst, q.Upgrade...)
		dst = append(dst, "\r\n"...)
	}
	dst = x.appendOps(dst, ops)
	return append(dst, "\r\n"...)
}

var hostName = []byte("Host")

// ClientSubject is the field that tells an endpoint the subject of the client's certificate, if that was verified.
const ClientSubject = "X-Client-Cert-Subject"

var clientSubject = []byte(ClientSubject)

// claims reports whether a field of the request says who the client is, without the right to: only a trusted proxy
// may, and only if nobody has proved it to us.
func (x *exchange) claims(f *http1.Field) bool {
	return f.Known == http1.Other && len(f.Name) == len(ClientSubject) && equalFold(f.Name, ClientSubject) &&
		!(x.believed() && len(x.c.subject()) == 0)
}

// target returns the request target as the route rewrites it.
func (x *exchange) target() []byte {
	q, rw := &x.w.req, &x.route.Rewrite
	path := q.Path
	switch {
	case rw.Path != "":
		path = []byte(rw.Path)
	case rw.StripPrefix != "" && underPrefix(path, rw.StripPrefix):
		path = path[len(rw.StripPrefix):]
		if len(path) == 0 || path[0] != '/' {
			path = append([]byte{'/'}, path...)
		}
	case rw.Regexp != nil:
		path = rw.Regexp.ReplaceAll(path, []byte(rw.Replace))
		if len(path) == 0 || path[0] != '/' {
			path = append([]byte{'/'}, path...)
		}
		path = escapePath(path)
	default:
		return q.Target
	}
	if len(q.Target) > len(q.Path) {
		path = append(append(bytes.Clone(path), '?'), q.Query...)
	}
	return path
}

// escapePath keeps a rewritten path from breaking out of the request line.
func escapePath(p []byte) []byte {
	const hex = "0123456789ABCDEF"
	var out []byte
	for i, c := range p {
		if c > ' ' && c < 0x7f && c != '?' && c != '#' {
			if out != nil {
				out = append(out, c)
			}
			continue
		}
		if out == nil {
			out = append(make([]byte, 0, len(p)+8), p[:i]...)
		}
		out = append(out, '%', hex[c>>4], hex[c&15])
	}
	if out == nil {
		return p
	}
	return out
}

// replaces reports whether a forwarding field of the request gives way to ours.
func (x *exchange) replaces(name http1.Name) bool {
	switch name {
	case http1.XForwardedFor, http1.XForwardedProto, http1.XForwardedHost, http1.XForwardedPort, http1.XRealIP:
		return x.lis.Forward.XForwarded != ForwardOff && (name == http1.XForwardedFor || !x.believed())
	case http1.Forwarded:
		return x.lis.Forward.RFC7239 || !x.believed() && x.lis.Forward.XForwarded != ForwardOff
	}
	return false
}

// believed reports whether what the peer says of the client before it is passed on.
func (x *exchange) believed() bool {
	return x.lis.Forward.XForwarded == ForwardAppend && edge.Contains(x.lis.Trusted, x.c.peer().Addr())
}

func (x *exchange) appendForwarding(dst []byte, q *http1.Request) []byte {
	peer := x.c.peer().Addr()
	if x.lis.Forward.XForwarded != ForwardOff && peer.IsValid() {
		dst = append(dst, "X-Forwarded-For: "...)
		believed := x.believed()
		if believed {
			dst = appendList(dst, q, http1.XForwardedFor)
		}
		dst = append(appendAddr(dst, peer), "\r\n"...)
		if !believed || !hasField(q, http1.XForwardedProto) {
			dst = append(dst, "X-Forwarded-Proto: "...)
			dst = append(append(dst, x.c.scheme()...), "\r\n"...)
		}
		if (!believed || !hasField(q, http1.XForwardedHost)) && len(q.Host) > 0 {
			dst = http1.AppendField(dst, []byte("X-Forwarded-Host"), q.Host)
		}
	}
	if x.lis.Forward.RFC7239 && peer.IsValid() {
		dst = append(dst, "Forwarded: "...)
		if x.believed() {
			dst = appendList(dst, q, http1.Forwarded)
		}
		dst = appendForwarded(dst, peer, q.Host, x.c.scheme())
	}
	return dst
}

// appendForwarded appends one element of RFC 7239 §4.
func appendForwarded(dst []byte, peer netip.Addr, host []byte, scheme string) []byte {
	dst = append(dst, "for="...)
	if peer.Unmap().Is6() {
		dst = append(dst, `"[`...)
		dst = append(peer.WithZone("").AppendTo(dst), `]"`...)
	} else {
		dst = peer.Unmap().AppendTo(dst)
	}
	if len(host) > 0 {
		dst = append(dst, `;host="`...)
		dst = append(append(dst, host...), '"')
	}
	dst = append(dst, ";proto="...)
	return append(append(dst, scheme...), "\r\n"...)
}

// appendList appends the values of a list field, each with a comma behind.
func appendList(dst []byte, q *http1.Request, name http1.Name) []byte {
	for i := range q.Fields {
		if f := &q.Fields[i]; f.Known == name && len(f.Value) > 0 {
			dst = append(append(dst, f.Value...), ", "...)
		}
	}
	return dst
}

func hasField(q *http1.Request, name http1.Name) bool {
	for i := range q.Fields {
		if q.Fields[i].Known == name {
			return true
		}
	}
	return false
}

func (x *exchange) appendOps(dst []byte, ops *HeaderOps) []byte {
	for i := range ops.Set {
		dst = x.appendOp(dst, &ops.Set[i])
	}
	for i := range ops.Add {
		dst = x.appendOp(dst, &ops.Add[i])
	}
	return dst
}

func (x *exchange) appendOp(dst []byte, op *HeaderOp) []byte {
	dst = append(dst, op.Name...)
	dst = append(dst, ": "...)
	dst = op.Value.append(dst, x)
	return append(dst, "\r\n"...)
}

// appendAnswer builds the head of an answer, interim or final, as the client gets it.
func (x *exchange) appendAnswer(dst []byte, resp *http1.Response) []byte {
	ops := &x.route.ResponseHeaders
	dst = http1.AppendStatus(dst, 1, resp.Status, resp.Reason)
	for i := range resp.Fields {
		f := &resp.Fields[i]
		if f.Hop || !ops.empty() && ops.drops(f.Name) || x.insists(f) {
			continue
		}
		dst = http1.AppendField(dst, f.Name, f.Value)
	}
	if resp.Status < 200 {
		if resp.Status == 101 {
			dst = append(dst, "Connection: upgrade\r\nUpgrade: "...)
			dst = append(append(dst, resp.Upgrade...), "\r\n"...)
		}
		return append(dst, "\r\n"...)
	}
	if resp.Framing == http1.FramingChunked && x.minor > 0 || x.chunker {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	dst = x.appendAffinity(dst)
	dst = x.appendHSTS(dst)
	if !ops.empty() {
		dst = x.appendOps(dst, ops)
	}
	return append(x.appendConnection(dst), "\r\n"...)
}

const strictTransport = "Strict-Transport-Security"

// insists reports whether a field of an answer gives way to the listener's own Strict-Transport-Security: there
// must be one at most (RFC 6797 §7.1).
func (x *exchange) insists(f *http1.Field) bool {
	return x.lis.TLS != nil && x.lis.TLS.HSTS != "" && f.Known == http1.Other && equalFold(f.Name, strictTransport)
}

func (x *exchange) appendHSTS(dst []byte) []byte {
	if x.lis.TLS == nil || x.lis.TLS.HSTS == "" {
		return dst
	}
	return append(append(append(dst, strictTransport+": "...), x.lis.TLS.HSTS...), "\r\n"...)
}

// appendConnection tells the client whether its connection goes on, where that is not the default.
func (x *exchange) appendConnection(dst []byte) []byte {
	switch {
	case !x.keepAlive:
		return append(dst, "Connection: close\r\n"...)
	case x.minor == 0:
		return append(dst, "Connection: keep-alive\r\n"...)
	}
	return dst
}

// appendAffinity gives the client our cookie if it came without, or has been sent to another endpoint.
func (x *exchange) appendAffinity(dst []byte) []byte {
	a := &x.set.Affinity
	if a.Cookie == "" || a.Application || x.preferred == x.ep {
		return dst
	}
	dst = append(dst, "Set-Cookie: "...)
	dst = append(append(append(dst, a.Cookie...), '='), x.t.key...)
	if a.TTL > 0 {
		dst = append(dst, "; Max-Age="...)
		dst = strconv.AppendInt(dst, int64(a.TTL.Seconds()), 10)
	}
	return append(append(dst, a.Attributes...), "\r\n"...)
}

// source returns the client's address: the peer's, or what trusted proxies say of those before them, read
// from the right up to the first that is not trusted.
func (l *Listener) source(q *http1.Request, peer netip.Addr) netip.Addr {
	if len(l.Trusted) == 0 || !edge.Contains(l.Trusted, peer) {
		return peer
	}
	source := peer
	for i := len(q.Fields) - 1; i >= 0; i-- {
		if q.Fields[i].Known != http1.XForwardedFor {
			continue
		}
		for rest := q.Fields[i].Value; len(rest) > 0; {
			item := rest
			if j := bytes.LastIndexByte(rest, ','); j >= 0 {
				item, rest = rest[j+1:], rest[:j]
			} else {
				rest = nil
			}
			a, ok := parseAddr(bytes.TrimSpace(item))
			if !ok {
				return source
			}
			source = a.Unmap()
			if !edge.Contains(l.Trusted, source) {
				return source
			}
		}
	}
	return source
}

// parseAddr is netip.ParseAddr without a copy: nothing of the result refers to b.
func parseAddr(b []byte) (netip.Addr, bool) {
	a, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(b), len(b)))
	return a, err == nil
}

func appendAddr(dst []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return append(dst, "unix"...)
	}
	return a.AppendTo(dst)
}

func appendUint(dst []byte, n uint64) []byte { return strconv.AppendUint(dst, n, 10) }
