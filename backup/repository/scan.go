package repository

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads JSON of a known shape without building values for it. Index files and trees are large, and
// decoding them by reflection would cost more than all else. It accepts what encoding/json accepts, any order of
// keys and unknown keys included; only keys are compared exactly.
type scanner struct {
	data    []byte
	pos     int
	depth   int
	unquote []byte // holds strings that had escapes
}

const maxJSONDepth = 64

var errJSON = errors.New("invalid JSON")

func (s *scanner) fail(want string) error {
	return fmt.Errorf("%w at byte %d: want %s", errJSON, s.pos, want)
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// next skips white space and returns the byte there, or 0 at the end.
func (s *scanner) next() byte {
	if s.pos < len(s.data) && s.data[s.pos] > ' ' {
		return s.data[s.pos]
	}
	s.space()
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) expect(c byte) error {
	if s.next() != c {
		return s.fail(strconv.QuoteRune(rune(c)))
	}
	s.pos++
	return nil
}

// end fails unless only white space is left.
func (s *scanner) end() error {
	if s.next() != 0 || s.pos < len(s.data) {
		return s.fail("the end")
	}
	return nil
}

// null consumes the word null if it is there.
func (s *scanner) null() bool {
	if s.next() == 'n' && bytes.HasPrefix(s.data[s.pos:], []byte("null")) {
		s.pos += 4
		return true
	}
	return false
}

// object calls member for every key of an object (or never, for null). member consumes the value. The key is valid
// only until then.
func (s *scanner) object(member func(key []byte) error) error {
	if s.null() {
		return nil
	}
	if err := s.open('{'); err != nil {
		return err
	}
	defer func() { s.depth-- }()
	if s.next() == '}' {
		s.pos++
		return nil
	}
	for {
		key, err := s.str()
		if err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
		if done, err := s.separator('}'); done || err != nil {
			return err
		}
	}
}

// array calls element for every element (or never, for null). element consumes it.
func (s *scanner) array(element func() error) error {
	if s.null() {
		return nil
	}
	if err := s.open('['); err != nil {
		return err
	}
	defer func() { s.depth-- }()
	if s.next() == ']' {
		s.pos++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if done, err := s.separator(']'); done || err != nil {
			return err
		}
	}
}

func (s *scanner) open(c byte) error {
	if s.depth >= maxJSONDepth {
		return fmt.Errorf("%w: nested deeper than %d", errJSON, maxJSONDepth)
	}
	if err := s.expect(c); err != nil {
		return err
	}
	s.depth++
	return nil
}

func (s *scanner) separator(end byte) (done bool, err error) {
	switch s.next() {
	case ',':
		s.pos++
		return false, nil
	case end:
		s.pos++
		return true, nil
	}
	return false, s.fail(strconv.QuoteRune(rune(end)) + " or ','")
}

// uint reads a number without sign, fraction or exponent.
func (s *scanner) uint() (uint64, error) {
	if c := s.next(); c < '0' || c > '9' {
		return 0, s.fail("a whole number")
	}
	start := s.pos
	var n uint64
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		if c < '0' || c > '9' {
			break
		}
		if n > (1<<64-1)/10 || (n == (1<<64-1)/10 && c > '5') {
			return 0, s.fail("a number below 2^64")
		}
		n = n*10 + uint64(c-'0')
		s.pos++
	}
	if s.data[start] == '0' && s.pos > start+1 {
		return 0, s.fail("a number without leading zero")
	}
	if s.pos < len(s.data) {
		if c := s.data[s.pos]; c == '.' || c == 'e' || c == 'E' {
			return 0, s.fail("a whole number")
		}
	}
	return n, nil
}

// uint32 reads a number below 2^32.
func (s *scanner) uint32() (uint32, error) {
	n, err := s.uint()
	if err == nil && n > 1<<32-1 {
		err = s.fail("a number below 2^32")
	}
	return uint32(n), err
}

// str reads a string. The bytes are valid until the next call of str.
func (s *scanner) str() ([]byte, error) {
	if err := s.expect('"'); err != nil {
		return nil, err
	}
	start := s.pos
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return s.data[start : s.pos-1], nil
		case c == '\\' || c >= utf8.RuneSelf:
			return s.strSlow(start)
		case c < ' ':
			return nil, s.fail("no control character in a string")
		}
		s.pos++
	}
	return nil, s.fail("the end of the string")
}

// strSlow reads a string that has escapes or bytes outside ASCII. What is not UTF-8 becomes U+FFFD, as
// in encoding/json.
func (s *scanner) strSlow(start int) ([]byte, error) {
	out := append(s.unquote[:0], s.data[start:s.pos]...)
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		switch {
		case c == '"':
			s.pos++
			s.unquote = out
			return out, nil
		case c < ' ':
			return nil, s.fail("no control character in a string")
		case c == '\\':
			var err error
			if out, err = s.escape(out); err != nil {
				return nil, err
			}
		case c < utf8.RuneSelf:
			out = append(out, c)
			s.pos++
		default:
			r, n := utf8.DecodeRune(s.data[s.pos:])
			out = utf8.AppendRune(out, r)
			s.pos += n
		}
	}
	return nil, s.fail("the end of the string")
}

func (s *scanner) escape(out []byte) ([]byte, error) {
	if s.pos+1 >= len(s.data) {
		return nil, s.fail("an escape")
	}
	c := s.data[s.pos+1]
	s.pos += 2
	switch c {
	case '"', '\\', '/':
		return append(out, c), nil
	case 'b':
		return append(out, '\b'), nil
	case 'f':
		return append(out, '\f'), nil
	case 'n':
		return append(out, '\n'), nil
	case 'r':
		return append(out, '\r'), nil
	case 't':
		return append(out, '\t'), nil
	case 'u':
		r, err := s.hex4()
		if err != nil {
			return nil, err
		}
		if utf16.IsSurrogate(r) {
			if rest := s.data[s.pos:]; len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
				back := s.pos
				s.pos += 2
				low, err := s.hex4()
				if err != nil {
					return nil, err
				}
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					return utf8.AppendRune(out, pair), nil
				}
				s.pos = back
			}
			r = utf8.RuneError
		}
		return utf8.AppendRune(out, r), nil
	}
	return nil, s.fail("an escape")
}

func (s *scanner) hex4() (rune, error) {
	if s.pos+4 > len(s.data) {
		return 0, s.fail("four hexadecimal digits")
	}
	n, err := strconv.ParseUint(string(s.data[s.pos:s.pos+4]), 16, 16)
	if err != nil {
		return 0, s.fail("four hexadecimal digits")
	}
	s.pos += 4
	return rune(n), nil
}

// id reads an ID in hexadecimal.
func (s *scanner) id(id *ID) error {
	text, err := s.str()
	if err != nil {
		return err
	}
	if len(text) != 2*len(id) {
		return s.fail("64 hexadecimal digits")
	}
	for i := range id {
		hi, lo := hexValue[text[2*i]], hexValue[text[2*i+1]]
		if hi|lo > 15 {
			return s.fail("64 hexadecimal digits")
		}
		id[i] = hi<<4 | lo
	}
	return nil
}

// hexValue maps a digit to its value and all else to 0xff.
var hexValue = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i := range 10 {
		t['0'+i] = byte(i)
	}
	for i := range 6 {
		t['a'+i], t['A'+i] = byte(10+i), byte(10+i)
	}
	return t
}()

// raw consumes one value of any kind and returns its text.
func (s *scanner) raw() ([]byte, error) {
	s.space()
	start := s.pos
	if err := s.skip(); err != nil {
		return nil, err
	}
	return s.data[start:s.pos], nil
}

// skip consumes one value of any kind.
func (s *scanner) skip() error {
	switch c := s.next(); {
	case c == '{':
		return s.object(func([]byte) error { return s.skip() })
	case c == '[':
		return s.array(s.skip)
	case c == '"':
		_, err := s.str()
		return err
	case c == '-' || (c >= '0' && c <= '9'):
		return s.number()
	}
	for _, word := range []string{"null", "true", "false"} {
		if bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
			s.pos += len(word)
			return nil
		}
	}
	return s.fail("a value")
}

func (s *scanner) number() error {
	if s.data[s.pos] == '-' {
		s.pos++
	}
	start := s.pos
	if !s.digits() || (s.data[start] == '0' && s.pos > start+1) {
		return s.fail("a number")
	}
	if s.pos < len(s.data) && s.data[s.pos] == '.' {
		s.pos++
		if !s.digits() {
			return s.fail("a digit")
		}
	}
	if s.pos < len(s.data) && s.data[s.pos]|0x20 == 'e' {
		s.pos++
		if s.pos < len(s.data) && (s.data[s.pos] == '+' || s.data[s.pos] == '-') {
			s.pos++
		}
		if !s.digits() {
			return s.fail("a digit")
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}
