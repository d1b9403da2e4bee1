package http1

// Framing says how the end of a body is found.
type Framing uint8

// The framings of RFC 9112 §6.3.
const (
	FramingNone    Framing = iota // there is no body
	FramingLength                 // Content-Length bytes; may be 0
	FramingChunked                // chunks up to one of size 0
	FramingClose                  // up to the end of the connection (responses only)
)

var framingTexts = [...]string{"none", "length", "chunked", "close"}

func (f Framing) String() string { return framingTexts[f&3] }

// Request is the head of a request. The zero value is ready for Parse. All
// slices are parts of the parsed buffer, or of memory that the next Parse
// reuses.
type Request struct {
	Method     Method
	MethodText []byte
	Minor      int // 1 for HTTP/1.1, 0 for HTTP/1.0

	// Target is what to forward: a path with an optional query, or "*". An
	// absolute URL is reduced to that, and its authority stands in Host and
	// in the Host field (RFC 9112 §3.2.2).
	Target []byte
	Path   []byte // of Target
	Query  []byte // of Target, without '?'; nil if it has none
	Host   []byte // host and optional port, checked, as sent; nil in HTTP/1.0 if there is none

	// Fields may hold no Host in HTTP/1.0 (see Has): whoever forwards the
	// request as HTTP/1.1 must add one then.
	Fields []Field

	Framing Framing // never FramingClose
	Length  int64   // with FramingLength; else 0

	KeepAlive bool   // the client wants the connection kept
	Expect    bool   // the client waits for 100 (Continue)
	Upgrade   []byte // the one protocol that the client wants to switch to, if it may: never h2c, and never with a body

	seen    uint64
	scratch []byte // holds Target where it is no part of the buffer
}

// Has reports whether there is a field with the known name, without looking
// at Fields.
func (r *Request) Has(n Name) bool { return r.seen&n.bit() != 0 }

// HasBody reports whether body bytes follow the head.
func (r *Request) HasBody() bool { return r.Framing == FramingChunked || r.Length > 0 }

// Parse reads a request's head from the beginning of buf and returns its
// length in bytes. It returns 0 and no error when buf does not hold the whole
// head yet: call it again with more bytes after it, at the latest when buf has
// lim.Head of them (see HeadEnd for how to wait without parsing again and
// again). Every error is an *Error; the connection can't be used any further.
//
// An empty line or two before the request line are skipped, as RFC 9112 §2.2
// recommends, and counted in n. A nil lim gives the defaults.
func (r *Request) Parse(buf []byte, lim *Limits) (n int, err error) {
	lim = lim.orDefault()
	view := buf
	if limit := lim.head(); len(view) > limit {
		view = view[:limit]
	}
	n, broken := r.parse(view, lim)
	if broken == more && len(view) == lim.head() {
		broken = headSize
	}
	if broken > more {
		return 0, &requestErrors[broken]
	}
	return n, nil
}

func (r *Request) parse(b []byte, lim *Limits) (int, rule) {
	start := afterEmptyLines(b)
	i, broken := r.parseLine(b, start, lim.line())
	if broken != none {
		return 0, broken
	}
	s := section{fields: r.Fields[:0], minor: r.Minor, underscores: lim.Underscores}
	i, broken = s.parse(b, i, lim.fields())
	r.Fields, r.seen = s.fields, s.seen
	if broken != none {
		return 0, broken
	}
	return i, r.conclude(&s, lim)
}

// parseLine reads the request line at b[i:] and returns the index after it.
func (r *Request) parseLine(b []byte, i, limit int) (int, rule) {
	cut := len(b)-i >= limit
	if cut {
		b = b[:i+limit]
	}
	i, broken := r.parseMethod(b, i)
	if broken == none {
		i, broken = r.parseTarget(b, i)
	}
	if broken == none {
		i, broken = r.parseVersion(b, i)
	}
	if broken == more && cut {
		return 0, lineLength
	}
	return i, broken
}

// parseMethod reads the method and the space after it.
func (r *Request) parseMethod(b []byte, i int) (int, rule) {
	if len(b)-i >= 4 && string(b[i:i+4]) == "GET " {
		r.Method, r.MethodText = GET, b[i:i+3:i+3]
		return i + 4, none
	}
	start := i
	for i < len(b) && methodChars[b[i]] {
		i++
	}
	if i-start > maxMethod {
		return 0, longMethod
	}
	if i == len(b) {
		return 0, more
	}
	if b[i] != ' ' || i == start {
		return 0, methodRule(b, start, i)
	}
	r.MethodText = b[start:i:i]
	r.Method = methodOf(r.MethodText)
	switch r.Method {
	case CONNECT:
		return 0, connectMethod
	case TRACE:
		return 0, traceMethod
	case OtherMethod:
		if string(r.MethodText) == "PRI" {
			return 0, http2Preface
		}
	}
	return i + 1, none
}

// methodRule says what is wrong with the method that begins at start and is
// not followed by a space at i.
func methodRule(b []byte, start, i int) rule {
	switch c := b[i]; {
	case i > start:
		return badMethod
	case c == '\r':
		return lineRuleOr(b, i, emptyLines)
	case c == '\n':
		return bareLF
	case c == 0x16: // the first byte of a TLS handshake
		return tlsHello
	}
	return badMethod
}

// parseVersion reads the space, the version and the line's end after the
// target.
func (r *Request) parseVersion(b []byte, i int) (int, rule) {
	const sample = " HTTP/1.1\r\n"
	if len(b)-i >= len(sample) && string(b[i:i+len(sample)]) == sample {
		r.Minor = 1
		return i + len(sample), none
	}
	if i == len(b) {
		return 0, more
	}
	if b[i] != ' ' {
		return 0, targetRule(b, i)
	}
	return versionAfter(b, i+1, &r.Minor, badVersion)
}

// versionAfter reads "HTTP/1.0" or "HTTP/1.1" and a line's end, byte by byte.
func versionAfter(b []byte, i int, minor *int, wrong rule) (int, rule) {
	const sample = "HTTP/0.0" // 0 stands for any digit
	for j := range len(sample) {
		switch {
		case i+j == len(b):
			return 0, more
		case sample[j] == b[i+j], sample[j] == '0' && isDigit(b[i+j]):
		default:
			return 0, wrong
		}
	}
	end := i + len(sample)
	if end+1 >= len(b) || b[end] != '\r' || b[end+1] != '\n' {
		return 0, lineRule(b, end, wrong)
	}
	if b[i+5] != '1' || b[i+7] > '1' {
		return 0, otherVersion
	}
	*minor = int(b[i+7] - '0')
	return end + 2, none
}

// targetRule says what is wrong at b[i], after a target that is not followed
// by a space.
func targetRule(b []byte, i int) rule {
	switch b[i] {
	case '#':
		return targetFragment
	case '\r':
		return lineRuleOr(b, i, versionMissing)
	case '\n':
		return bareLF
	}
	return targetChar
}

// lineRuleOr is lineRule where a proper line end breaks a rule too.
func lineRuleOr(b []byte, i int, ended rule) rule {
	if i+1 < len(b) && b[i+1] == '\n' {
		return ended
	}
	return lineRule(b, i, ended)
}

// conclude checks what can only be known at the head's end, and fills in the
// facts that depend on more than one field.
func (r *Request) conclude(s *section, lim *Limits) rule {
	if broken := r.concludeHost(s); broken != none {
		return broken
	}
	r.Framing, r.Length = FramingNone, 0
	switch {
	case s.has(TransferEncoding):
		r.Framing = FramingChunked
	case s.has(ContentLength):
		r.Framing, r.Length = FramingLength, s.length
		if lim.Body > 0 && s.length > lim.Body {
			return bodySize
		}
	}
	r.KeepAlive = s.keepAlive()
	r.Upgrade = nil
	if s.has(Upgrade) && !r.HasBody() {
		r.Upgrade = s.upgrade()
	}
	if s.nominated > 0 {
		s.dropNominated()
	}
	if broken := r.concludeExpect(s); broken != none {
		return broken
	}
	return s.concludeTrailer(r.Framing)
}

// concludeHost: RFC 9112 §3.2. r.Host is the target's authority until here, if
// it has one. That wins over the Host field, which must be right all the same.
func (r *Request) concludeHost(s *section) rule {
	i := -1
	if s.has(Host) {
		i = Find(s.fields, Host)
	}
	switch {
	case i < 0 && r.Minor > 0:
		return hostMissing
	case i < 0:
		return none
	case !isAuthority(s.fields[i].Value):
		return hostInvalid
	case r.Host == nil:
		r.Host = s.fields[i].Value
	default:
		s.fields[i].Value = r.Host
	}
	return none
}

// concludeExpect: RFC 9110 §10.1.1. The expectation is void without a body and
// in HTTP/1.0.
func (r *Request) concludeExpect(s *section) rule {
	r.Expect = false
	if !s.has(Expect) {
		return none
	}
	for i := range s.fields {
		if f := &s.fields[i]; f.Known == Expect && !foldEqual(f.Value, "100-continue") {
			return badExpect
		}
	}
	if r.Minor == 0 || !r.HasBody() {
		s.drop(Expect)
		return none
	}
	r.Expect = true
	return none
}
