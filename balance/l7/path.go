package l7

import (
	"bytes"

	"github.com/trivet-ha/trivet/balance/l7/http1"
)

// normalise resolves dot segments in the path, also those in percent-encoding, before a route looks at it
// (RFC 3986 §6.2.2.3): what a rule protects must be what the endpoint serves. It reports false if the path
// leads above its root. A path without dot segments, which is the usual case, is left as it is.
func normalise(w *worker, q *http1.Request) bool {
	if !hasDotSegment(q.Path) {
		return true
	}
	out := w.path[:0]
	for rest := q.Path[1:]; ; {
		segment := rest
		i := bytes.IndexByte(rest, '/')
		if i >= 0 {
			segment = rest[:i]
		}
		switch dots(segment) {
		case 1:
			if i < 0 {
				out = append(out, '/')
			}
		case 2:
			j := bytes.LastIndexByte(out, '/')
			if j < 0 {
				return false
			}
			out = out[:j]
			if i < 0 {
				out = append(out, '/')
			}
		default:
			out = append(append(out, '/'), segment...)
		}
		if i < 0 {
			break
		}
		rest = rest[i+1:]
	}
	n := len(out)
	if len(q.Target) > len(q.Path) {
		out = append(append(out, '?'), q.Query...)
	}
	w.path = out
	q.Target, q.Path = out, out[:n]
	if len(q.Query) > 0 {
		q.Query = out[n+1:]
	}
	return true
}

// hasDotSegment reports whether a segment of the path is "." or "..", in any spelling.
func hasDotSegment(path []byte) bool {
	if len(path) == 0 || path[0] != '/' {
		return false
	}
	for i := 0; i < len(path); {
		j := bytes.IndexByte(path[i:], '/')
		if j < 0 {
			return false
		}
		i += j + 1
		if i == len(path) || path[i] != '.' && path[i] != '%' {
			continue
		}
		end := bytes.IndexByte(path[i:], '/')
		if end < 0 {
			end = len(path) - i
		}
		if dots(path[i:i+end]) > 0 {
			return true
		}
	}
	return false
}

// dots returns 1 for ".", 2 for "..", and 0 for any other segment; "%2e" counts as a dot.
func dots(segment []byte) int {
	n := 0
	for i := 0; i < len(segment); n++ {
		switch {
		case segment[i] == '.':
			i++
		case segment[i] == '%' && i+2 < len(segment) && segment[i+1] == '2' && segment[i+2]|0x20 == 'e':
			i += 3
		default:
			return 0
		}
	}
	if n > 2 {
		return 0
	}
	return n
}
