package wire

import (
	"errors"
	"fmt"
	"strings"
)

// Name is a domain name as in a message, in lower case: each label behind its length, and a zero at the end, as in
// "\x03www\x07example\x03com\x00". Equal names are equal strings.
type Name string

// Root is the name above all.
const Root Name = "\x00"

// Limits of names (RFC 1035 §2.3.4).
const (
	NameMax  = 255
	LabelMax = 63
)

var (
	errEmptyLabel = errors.New("has an empty label")
	errLongLabel  = fmt.Errorf("has a label of more than %d bytes", LabelMax)
	errLongName   = fmt.Errorf("is longer than %d bytes", NameMax)
	errEscape     = errors.New("has a backslash without a character or three digits up to 255 behind it")
)

// ParseName reads a name as zone files write it (RFC 1035 §5.1): one without a dot at its end continues with origin,
// and "@" is the origin itself. The error completes the sentence "name ...".
func ParseName(text string, origin Name) (Name, error) {
	if text == "@" {
		return origin, nil
	}
	if text == "." {
		return Root, nil
	}
	if text == "" {
		return "", errEmptyLabel
	}
	p := nameParser{out: make([]byte, 1, len(text)+len(origin)+1)}
	for i := 0; i < len(text); {
		n, err := p.next(text[i:])
		if err != nil {
			return "", err
		}
		i += n
	}
	if p.ended {
		return p.finish(Root)
	}
	if err := p.label(); err != nil {
		return "", err
	}
	return p.finish(origin)
}

// nameParser collects labels. The length of the one under way is at start and still zero.
type nameParser struct {
	out   []byte
	start int
	ended bool // the last thing read was a dot
}

// next takes one character, and says how many bytes of the text that were.
func (p *nameParser) next(text string) (int, error) {
	p.ended = false
	switch c := text[0]; {
	case c == '.':
		p.ended = true
		return 1, p.label()
	case c != '\\':
		p.out = append(p.out, lower[c])
		return 1, nil
	case len(text) >= 4 && isDigit(text[1]) && isDigit(text[2]) && isDigit(text[3]):
		v := int(text[1]-'0')*100 + int(text[2]-'0')*10 + int(text[3]-'0')
		if v > 255 {
			return 0, errEscape
		}
		p.out = append(p.out, lower[v])
		return 4, nil
	case len(text) >= 2 && !isDigit(text[1]):
		p.out = append(p.out, lower[text[1]])
		return 2, nil
	}
	return 0, errEscape
}

// label ends the label under way and begins another.
func (p *nameParser) label() error {
	n := len(p.out) - p.start - 1
	if n == 0 {
		return errEmptyLabel
	}
	if n > LabelMax {
		return errLongLabel
	}
	p.out[p.start] = byte(n)
	p.start = len(p.out)
	p.out = append(p.out, 0)
	return nil
}

func (p *nameParser) finish(origin Name) (Name, error) {
	name := Name(p.out[:p.start]) + origin
	if len(name) > NameMax {
		return "", errLongName
	}
	return name, nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// NameOf returns the name that b holds uncompressed and nothing else, in lower case; or false.
func NameOf(b []byte) (Name, bool) {
	if len(b) > NameMax {
		return "", false
	}
	out := make([]byte, len(b))
	for i := 0; i < len(b); {
		n := int(b[i])
		out[i] = b[i]
		if n == 0 {
			return Name(out), i == len(b)-1
		}
		if n > LabelMax || i+1+n >= len(b) {
			return "", false
		}
		for j := i + 1; j <= i+n; j++ {
			out[j] = lower[b[j]]
		}
		i += 1 + n
	}
	return "", false
}

// String is the name as zone files write it, with a dot at its end.
func (n Name) String() string {
	if n == Root || n == "" {
		return "."
	}
	var b strings.Builder
	for i := 0; n[i] != 0; i += 1 + int(n[i]) {
		for _, c := range []byte(n[i+1 : i+1+int(n[i])]) {
			switch {
			case c == '.' || c == '\\' || c == '"' || c == ';' || c == '@' || c == '(' || c == ')' || c == '$':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c <= ' ' || c >= 0x7f:
				fmt.Fprintf(&b, `\%03d`, c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('.')
	}
	return b.String()
}

// Labels returns how many labels there are, the root not counted.
func (n Name) Labels() (count int) {
	for i := 0; n[i] != 0; i += 1 + int(n[i]) {
		count++
	}
	return count
}

// Parent returns the name without its first label. The root is its own parent.
func (n Name) Parent() Name {
	if n == Root {
		return Root
	}
	return n[1+int(n[0]):]
}

// IsWithin reports whether the name is zone or below it.
func (n Name) IsWithin(zone Name) bool {
	for len(n) > len(zone) {
		n = n.Parent()
	}
	return n == zone
}

// IsWildcard reports whether the first label is an asterisk (RFC 4592 §2.1.1).
func (n Name) IsWildcard() bool { return len(n) > 2 && n[0] == 1 && n[1] == '*' }

// lower folds the letters of ASCII: names compare without regard to case (RFC 4343).
var lower = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
	}
	for c := 'A'; c <= 'Z'; c++ {
		t[c] = byte(c) + 'a' - 'A'
	}
	return t
}()
