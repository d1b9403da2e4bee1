package http1

import (
	"encoding/binary"
	"math/bits"
)

// charset is a set of bytes. An array of bool beats a bit set here: one load,
// no shift, and all sets in use fit in the first-level cache.
type charset [256]bool

func setOf(ranges ...string) charset {
	var s charset
	for _, r := range ranges {
		if len(r) == 3 && r[1] == '-' {
			for c := int(r[0]); c <= int(r[2]); c++ {
				s[c] = true
			}
			continue
		}
		for i := range len(r) {
			s[r[i]] = true
		}
	}
	return s
}

func (s charset) without(chars string) charset {
	for i := range len(chars) {
		s[chars[i]] = false
	}
	return s
}

var (
	// RFC 9110 §5.6.2: tchar.
	tokenChars = setOf("a-z", "A-Z", "0-9", "!#$%&'*+-.^_`|~")

	// Methods are case-sensitive tokens (RFC 9110 §9.1) and every registered
	// one is upper-case. A backend that ignores case would take "get" for
	// GET after the proxy's rules for GET have looked away.
	methodChars = setOf("A-Z", "0-9", "-_")

	// Visible ASCII without '#', which RFC 9112 §3.2 has no place for.
	// Browsers send some characters that RFC 3986 wants encoded ('|', '^',
	// '{'), so these pass.
	queryChars = setOf("!-~").without("#")
	pathChars  = queryChars.without("?%")

	// RFC 9110 §5.5: field-vchar, SP, HTAB and obs-text.
	valueChars = setOf(" -~", "\x80-\xff", "\t")

	// A registered name as DNS has it, and '_' which occurs in practice.
	// RFC 3986 would allow sub-delims and percent-encoding too.
	hostChars = setOf("a-z", "A-Z", "0-9", "-_")
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// skipValue returns the index of the first byte of b[i:] that can't be part
// of a field value (in a sound message the CR that ends it), or len(b).
func skipValue(b []byte, i int) int {
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		del := x ^ ones*0x7f
		// Per byte: below 0x20, or 0x7f. The borrow of a subtraction can
		// only reach bytes above one that is flagged rightly, and the
		// lowest is the one used.
		m := (((x - ones*0x20) &^ x) | ((del - ones) &^ del)) & highs
		if m == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(m) >> 3
		if b[i] != '\t' {
			return i
		}
		i++
	}
	for i < len(b) && valueChars[b[i]] {
		i++
	}
	return i
}

func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenChars[c] {
			return false
		}
	}
	return len(b) > 0
}

// trim removes optional white space (RFC 9110 §5.6.3) from both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func isDigit(c byte) bool { return c-'0' <= 9 }

// hexDigit returns the value of a hexadecimal digit, or a number above 15.
func hexDigit(c byte) byte {
	switch {
	case c-'0' <= 9:
		return c - '0'
	case c|0x20-'a' <= 5:
		return c | 0x20 - 'a' + 10
	}
	return 0xff
}

// foldEqual reports whether b is the lower-case ASCII string s, ignoring the
// case of b.
func foldEqual(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if c-'A' < 26 {
			c |= 0x20
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// sameName reports whether two field names are equal, ignoring ASCII case.
func sameName(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i], b[i]
		if x-'A' < 26 {
			x |= 0x20
		}
		if y-'A' < 26 {
			y |= 0x20
		}
		if x != y {
			return false
		}
	}
	return true
}
