package http2

import "bytes"

// nameChars are the characters of a field name: those of RFC 9110 §5.6.2 without upper-case letters (RFC 9113
// §8.2.1).
var nameChars = func() (set [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~") {
		set[c] = true
	}
	return set
}()

func isFieldName(b []byte) bool {
	for _, c := range b {
		if !nameChars[c] {
			return false
		}
	}
	return len(b) > 0
}

// isFieldValue reports whether b can stand in a line, and would be read there as it is (RFC 9113 §8.2.1). The other
// control characters are for package http1 to refuse.
func isFieldValue(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	return !isBlank(b[0]) && !isBlank(b[len(b)-1]) &&
		bytes.IndexByte(b, '\n') < 0 && bytes.IndexByte(b, '\r') < 0 && bytes.IndexByte(b, 0) < 0
}

// isVisible reports whether b holds neither spaces nor control characters.
func isVisible(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

func isTarget(b []byte) bool { return len(b) > 0 && b[0] == '/' }

func isStatus(b []byte) bool { return len(b) == 3 && isDigit(b[0]) && isDigit(b[1]) && isDigit(b[2]) }

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func isDigit(c byte) bool { return c-'0' <= 9 }

func lower(c byte) byte {
	if c-'A' < 26 {
		return c | 0x20
	}
	return c
}

// equalFold reports whether b is the lower-case s, ignoring the case of b.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if lower(c) != s[i] {
			return false
		}
	}
	return true
}

func equalFoldBytes(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}
