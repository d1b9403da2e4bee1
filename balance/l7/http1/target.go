package http1

import "bytes"

// parseTarget reads the request target (RFC 9112 §3.2), up to the byte after
// it, which parseVersion looks at.
func (r *Request) parseTarget(b []byte, i int) (int, rule) {
	r.Host, r.Query = nil, nil
	if i == len(b) {
		return 0, more
	}
	switch {
	case b[i] == '/':
		return r.parsePath(b, i)
	case b[i] == '*':
		return r.parseAsterisk(b, i)
	case b[i]|0x20 == 'h':
		return r.parseAbsolute(b, i)
	case b[i] == ' ':
		return 0, targetForm
	case !queryChars[b[i]]:
		return 0, targetRule(b, i)
	}
	return 0, targetForm
}

// parsePath reads an absolute path and an optional query.
func (r *Request) parsePath(b []byte, i int) (int, rule) {
	start := i
	end, broken := skipPath(b, i)
	if broken != none {
		return 0, broken
	}
	r.Path = b[start:end:end]
	if end == len(b) {
		return 0, more
	}
	if b[end] == '?' {
		end = r.parseQuery(b, end)
	}
	r.Target = b[start:end:end]
	return end, none
}

// skipPath returns the index of the first byte of b[i:] that is not part of a
// path.
func skipPath(b []byte, i int) (int, rule) {
	for {
		for i < len(b) && pathChars[b[i]] {
			i++
		}
		if i == len(b) || b[i] != '%' {
			return i, none
		}
		for j := i + 1; j <= i+2; j++ {
			if j == len(b) {
				return i, more
			}
			if hexDigit(b[j]) > 15 {
				return i, targetEscape
			}
		}
		i += 3
	}
}

// parseQuery reads a query that begins with '?' at b[i].
func (r *Request) parseQuery(b []byte, i int) int {
	start := i + 1
	for i < len(b) && queryChars[b[i]] {
		i++
	}
	r.Query = b[start:i:i]
	return i
}

func (r *Request) parseAsterisk(b []byte, i int) (int, rule) {
	if i+1 == len(b) {
		return 0, more
	}
	if b[i+1] != ' ' || r.Method != OPTIONS {
		return 0, targetForm
	}
	r.Target = b[i : i+1 : i+1]
	r.Path = r.Target
	return i + 1, none
}

// parseAbsolute reads an absolute URL and reduces it to a path and query
// (RFC 9112 §3.2.2).
func (r *Request) parseAbsolute(b []byte, i int) (int, rule) {
	i, broken := skipScheme(b, i)
	if broken != none {
		return 0, broken
	}
	start := i
	for i < len(b) && queryChars[b[i]] && b[i] != '/' && b[i] != '?' {
		i++
	}
	if i == len(b) {
		return 0, more
	}
	host := b[start:i:i]
	if bytes.IndexByte(host, '@') >= 0 {
		return 0, targetUserinfo
	}
	if !isAuthority(host) {
		return 0, hostInvalid
	}
	if b[i] == '/' {
		i, broken = r.parsePath(b, i)
	} else {
		i, broken = r.emptyPath(b, i)
	}
	r.Host = host
	return i, broken
}

// skipScheme returns the index after "http://" or "https://".
func skipScheme(b []byte, i int) (int, rule) {
	for _, c := range []byte("http") {
		if i == len(b) {
			return 0, more
		}
		if b[i]|0x20 != c {
			return 0, targetForm
		}
		i++
	}
	if i < len(b) && b[i]|0x20 == 's' {
		i++
	}
	for _, c := range []byte("://") {
		if i == len(b) {
			return 0, more
		}
		if b[i] != c {
			return 0, targetForm
		}
		i++
	}
	return i, none
}

// emptyPath makes a target for a URL that has no path: "/" as in RFC 9110
// §4.2.3, or "*" for OPTIONS as in RFC 9112 §3.2.4.
func (r *Request) emptyPath(b []byte, i int) (int, rule) {
	if b[i] != '?' {
		r.scratch = append(r.scratch[:0], '/')
		if r.Method == OPTIONS {
			r.scratch[0] = '*'
		}
		r.Target, r.Path = r.scratch, r.scratch
		return i, none
	}
	start := i
	i = r.parseQuery(b, i)
	if i == len(b) {
		return 0, more
	}
	r.scratch = append(append(r.scratch[:0], '/'), b[start:i]...)
	r.Target = r.scratch
	r.Path = r.scratch[:1:1]
	return i, none
}

// isAuthority reports whether b is a host name, an IPv4 address or an IPv6
// address in brackets, with an optional port (RFC 9110 §7.2). An empty host is
// not: RFC 9110 §4.2.1 wants http URLs with one refused.
func isAuthority(b []byte) bool {
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		return end > 0 && isIPv6(b[1:end]) && isPort(b[end+1:])
	}
	label := 0 // bytes since the last dot
	for i, c := range b {
		switch {
		case hostChars[c]:
			label++
		case c == '.' && label > 0:
			label = 0
		case c == ':' && i > 0:
			return i <= maxHost && isPort(b[i:])
		default:
			return false
		}
	}
	return len(b) > 0 && len(b) <= maxHost
}

// isPort reports whether b is empty or a colon with a number from 0 to 65535.
func isPort(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ':' || len(b) == 1 || len(b) > 6 {
		return false
	}
	n := 0
	for _, c := range b[1:] {
		if !isDigit(c) {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}

// isIPv6 reports whether b is an IPv6 address without a zone (RFC 3986
// §3.2.2).
func isIPv6(b []byte) bool {
	groups, gap := 0, false
	for i := 0; i < len(b); {
		if bytes.HasPrefix(b[i:], []byte("::")) && !gap {
			gap = true
			i += 2
			continue
		}
		if i > 0 && b[i-1] != ':' { // between groups
			if b[i] != ':' || i+1 == len(b) {
				return false
			}
			i++
			continue
		}
		end := i
		for end < len(b) && hexDigit(b[end]) < 16 {
			end++
		}
		if end < len(b) && b[end] == '.' {
			groups += 2
			return isIPv4(b[i:]) && (groups == 8 && !gap || groups < 8 && gap)
		}
		if end == i || end-i > 4 {
			return false
		}
		groups++
		i = end
	}
	return groups == 8 && !gap || groups < 8 && gap
}

// isIPv4 reports whether b is four numbers from 0 to 255 without leading
// zeros.
func isIPv4(b []byte) bool {
	for part := range 4 {
		if part > 0 {
			if len(b) == 0 || b[0] != '.' {
				return false
			}
			b = b[1:]
		}
		n, i := 0, 0
		for i < len(b) && i < 3 && isDigit(b[i]) {
			n = n*10 + int(b[i]-'0')
			i++
		}
		if i == 0 || n > 255 || i > 1 && b[0] == '0' {
			return false
		}
		b = b[i:]
	}
	return len(b) == 0
}
