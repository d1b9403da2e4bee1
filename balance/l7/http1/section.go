package http1

import "bytes"

// section gathers what the field lines of one head say.
type section struct {
	fields      []Field
	seen        uint64 // known names so far, by Name.bit
	minor       int    // of the message's version
	underscores Underscores

	length    int64 // Content-Length, if seen
	options   option
	nominated int    // names in Connection that are not known
	protocol  []byte // of the one Upgrade field; nil if there are more
}

// option is a set of connection options (RFC 9110 §7.6.1).
type option uint8

const (
	optionClose option = 1 << iota
	optionKeepAlive
	optionUpgrade
)

func (s *section) has(n Name) bool { return s.seen&(1<<n) != 0 }

// parse reads field lines from b[i:] up to and with the empty line, and
// returns the index after it.
func (s *section) parse(b []byte, i, limit int) (int, rule) {
	for i < len(b) && b[i] != '\r' {
		start := i
		for i < len(b) && tokenChars[b[i]] {
			i++
		}
		if i == len(b) {
			return 0, more
		}
		if b[i] != ':' || i == start {
			return 0, nameRule(b, start, i)
		}
		name := b[start:i:i]
		i++
		for i < len(b) && isBlank(b[i]) {
			i++
		}
		start = i
		i = skipValue(b, i)
		if i+1 >= len(b) || b[i] != '\r' || b[i+1] != '\n' {
			return 0, lineRule(b, i, fieldValue)
		}
		end := i
		for end > start && isBlank(b[end-1]) {
			end--
		}
		i += 2
		if len(s.fields) == limit {
			return 0, fieldCount
		}
		known := lookup(name)
		s.fields = append(s.fields, Field{Name: name, Value: b[start:end:end], Known: known, Hop: known.HopByHop()})
		f := &s.fields[len(s.fields)-1]
		if noted>>known&1 != 0 {
			if r := s.note(f); r != none {
				return 0, r
			}
		}
		s.seen |= 1 << known
	}
	if i+1 >= len(b) || b[i+1] != '\n' {
		return 0, lineRule(b, i, fieldValue)
	}
	return i + 2, none
}

// nameRule says what is wrong with the field line that begins at start and
// whose name ends at i, where no colon follows.
func nameRule(b []byte, start, i int) rule {
	switch c := b[i]; {
	case isBlank(c) && i == start:
		return obsFold
	case isBlank(c):
		return fieldSpace
	case c == '\n' && i == start:
		return bareLF
	}
	return fieldName
}

// lineRule says what is wrong at b[i], where CR LF was expected and the rest
// of the line is of a kind whose rule is other.
func lineRule(b []byte, i int, other rule) rule {
	switch {
	case i == len(b) || i+1 == len(b) && b[i] == '\r':
		return more
	case b[i] == '\n':
		return bareLF
	case b[i] == '\r':
		return bareCR
	}
	return other
}

// noted are the names whose values decide something at once.
const noted = 1<<Other | 1<<Connection | 1<<TransferEncoding | 1<<Upgrade | 1<<ContentLength | 1<<Host

func (s *section) note(f *Field) rule {
	switch f.Known {
	case Other:
		return s.noteUnderscore(f)
	case Connection:
		return s.noteConnection(f.Value)
	case TransferEncoding:
		return s.noteCoding(f.Value)
	case Upgrade:
		s.protocol = f.Value
		if s.has(Upgrade) {
			s.protocol = nil
		}
	case ContentLength:
		return s.noteLength(f)
	case Host:
		if s.has(Host) {
			return hostDuplicate
		}
	}
	return none
}

func (s *section) noteUnderscore(f *Field) rule {
	if s.underscores == UnderscoresKeep || bytes.IndexByte(f.Name, '_') < 0 {
		return none
	}
	if s.underscores == UnderscoresReject {
		return fieldUnderscore
	}
	f.Hop = true
	return none
}

// noteConnection: RFC 9110 §7.6.1, with empty elements allowed as in any list.
func (s *section) noteConnection(v []byte) rule {
	for len(v) > 0 {
		var option []byte
		option, v = nextElement(v)
		switch {
		case len(option) == 0:
		case foldEqual(option, "close"):
			s.options |= optionClose
		case foldEqual(option, "keep-alive"):
			s.options |= optionKeepAlive
		case foldEqual(option, "upgrade"):
			s.options |= optionUpgrade
		case !isToken(option):
			return badConnection
		case lookup(option) == Other:
			if s.nominated++; s.nominated > maxNominated {
				return manyNominated
			}
		}
	}
	return none
}

// nextElement cuts the first element off a comma-separated list.
func nextElement(v []byte) (element, rest []byte) {
	if i := bytes.IndexByte(v, ','); i >= 0 {
		return trim(v[:i]), v[i+1:]
	}
	return trim(v), nil
}

// noteCoding: RFC 9112 §6.1. A coding that this proxy can't undo hides where
// the body ends; chunked twice, or with an empty element before it, is read
// differently by different servers.
func (s *section) noteCoding(v []byte) rule {
	switch {
	case s.minor == 0:
		return codingHTTP10
	case s.has(ContentLength):
		return lengthAndCoding
	case s.has(TransferEncoding):
		return codingDuplicate
	case !foldEqual(v, "chunked"):
		return otherCoding
	}
	return none
}

// noteLength: RFC 9112 §6.3. Leading zeros are cut off what is forwarded:
// some read the number as octal then.
func (s *section) noteLength(f *Field) rule {
	switch {
	case s.has(TransferEncoding):
		return lengthAndCoding
	case s.has(ContentLength):
		return lengthDuplicate
	}
	for len(f.Value) > 1 && f.Value[0] == '0' {
		f.Value = f.Value[1:]
	}
	var ok bool
	if s.length, ok = parseDecimal(f.Value); !ok {
		return badLength
	}
	return none
}

// parseDecimal reads a number below 2^63 that has no leading zeros.
func parseDecimal(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	var n uint64 // 19 digits stay below 2^64
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return int64(n), n < 1<<63
}

// keepAlive: RFC 9112 §9.3.
func (s *section) keepAlive() bool {
	if s.minor == 0 {
		return s.options&(optionKeepAlive|optionClose) == optionKeepAlive
	}
	return s.options&optionClose == 0
}

// upgrade returns the one protocol that the message names in Upgrade, if
// Connection mentions it too. Never h2c: it would carry requests past every
// rule of this proxy, and RFC 9113 has withdrawn it. In HTTP/1.0 Upgrade is
// to be ignored (RFC 9110 §7.8).
func (s *section) upgrade() []byte {
	if s.protocol == nil || s.minor == 0 || s.options&optionUpgrade == 0 {
		return nil
	}
	name, version, versioned := bytes.Cut(s.protocol, []byte{'/'})
	if !isToken(name) || versioned && !isToken(version) {
		return nil
	}
	if foldEqual(name, "h2c") || foldEqual(name, "h2") || s.has(HTTP2Settings) {
		return nil
	}
	return s.protocol
}

// dropNominated marks the fields that Connection nominates. Known names are
// not subject to it (see Name).
func (s *section) dropNominated() {
	for _, f := range s.fields {
		if f.Known != Connection {
			continue
		}
		for v := f.Value; len(v) > 0; {
			var option []byte
			option, v = nextElement(v)
			s.dropNamed(option)
		}
	}
}

func (s *section) dropNamed(name []byte) {
	for i := range s.fields {
		if f := &s.fields[i]; f.Known == Other && sameName(f.Name, name) {
			f.Hop = true
		}
	}
}

// drop marks the fields of a known name.
func (s *section) drop(n Name) {
	if !s.has(n) {
		return
	}
	for i := range s.fields {
		if s.fields[i].Known == n {
			s.fields[i].Hop = true
		}
	}
}

// concludeTrailer looks at the Trailer fields (RFC 9110 §6.6.2). They are
// about a chunked body, and only a hint: what really comes is judged line by
// line. Framing fields among the names are refused, as by net/http.
func (s *section) concludeTrailer(f Framing) rule {
	if !s.has(Trailer) {
		return none
	}
	if f != FramingChunked {
		s.drop(Trailer)
	}
	if !s.has(TransferEncoding) {
		return none
	}
	for _, f := range s.fields {
		if f.Known == Trailer && namesFraming(f.Value) {
			return trailerNames
		}
	}
	return none
}

// namesFraming reports whether a list of names holds one that decides where a
// body ends.
func namesFraming(v []byte) bool {
	for len(v) > 0 {
		var name []byte
		name, v = nextElement(v)
		switch Lookup(name) {
		case ContentLength, TransferEncoding, Trailer:
			return true
		}
	}
	return false
}
