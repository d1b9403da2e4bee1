package http1

// Response is the head of a response. The zero value is ready for Parse. All
// slices are parts of the parsed buffer.
type Response struct {
	Minor   int // 1 for HTTP/1.1, 0 for HTTP/1.0
	Status  int
	Reason  []byte // may be empty
	Fields  []Field
	Framing Framing
	Length  int64 // with FramingLength; else 0

	KeepAlive bool   // the server will keep the connection after the body
	Upgrade   []byte // with status 101: the protocol that the connection switches to

	seen uint64
}

// Has reports whether there is a field with the known name, without looking
// at Fields.
func (r *Response) Has(n Name) bool { return r.seen&n.bit() != 0 }

// HasBody reports whether body bytes may follow the head.
func (r *Response) HasBody() bool {
	return r.Framing == FramingChunked || r.Framing == FramingClose || r.Length > 0
}

// Interim reports whether a further response to the same request follows
// (RFC 9110 §15.2). After 101 the connection speaks another protocol.
func (r *Response) Interim() bool { return r.Status < 200 && r.Status != 101 }

// Parse reads a response's head from the beginning of buf and returns its
// length in bytes, or 0 and no error when it is not complete. to is the method
// of the request that is answered: it decides whether there is a body. Every
// error is an *Error with status 502; the connection can't be used any
// further. A nil lim gives the defaults; lim.Body and lim.Underscores are
// about requests.
func (r *Response) Parse(buf []byte, to Method, lim *Limits) (n int, err error) {
	lim = lim.orDefault()
	view := buf
	if limit := lim.head(); len(view) > limit {
		view = view[:limit]
	}
	n, broken := r.parse(view, to, lim)
	if broken == more && len(view) == lim.head() {
		broken = headSize
	}
	if broken > more {
		return 0, &responseErrors[broken]
	}
	return n, nil
}

func (r *Response) parse(b []byte, to Method, lim *Limits) (int, rule) {
	i, broken := r.parseLine(b, lim.line())
	if broken != none {
		return 0, broken
	}
	s := section{fields: r.Fields[:0], minor: r.Minor, underscores: UnderscoresKeep}
	i, broken = s.parse(b, i, lim.fields())
	r.Fields, r.seen = s.fields, s.seen
	if broken != none {
		return 0, broken
	}
	return i, r.conclude(&s, to)
}

// parseLine reads the status line (RFC 9112 §4). The space before an empty
// reason may be missing, as from many servers.
func (r *Response) parseLine(b []byte, limit int) (int, rule) {
	cut := len(b) >= limit
	if cut {
		b = b[:limit]
	}
	i, broken := r.parseStatus(b)
	if broken == none {
		start := i
		i = skipValue(b, i)
		r.Reason = b[start:i:i]
		if i+1 < len(b) && b[i] == '\r' && b[i+1] == '\n' {
			return i + 2, none
		}
		broken = lineRule(b, i, reasonChar)
	}
	if broken == more && cut {
		return 0, lineLength
	}
	return 0, broken
}

// parseStatus reads up to and with the space after the status.
func (r *Response) parseStatus(b []byte) (int, rule) {
	const sample = "HTTP/1.0 000" // 0 stands for any digit
	for i := range len(sample) {
		switch {
		case i == len(b):
			return 0, more
		case sample[i] == b[i], sample[i] == '0' && isDigit(b[i]):
		default:
			return 0, statusLine
		}
	}
	r.Minor = int(b[7] - '0')
	r.Status = int(b[9]-'0')*100 + int(b[10]-'0')*10 + int(b[11]-'0')
	switch {
	case r.Minor > 1:
		return 0, statusLine
	case r.Status < 100 || r.Status > 599:
		return 0, statusCode
	case len(sample) == len(b):
		return 0, more
	case b[len(sample)] == ' ':
		return len(sample) + 1, none
	case b[len(sample)] == '\r' || b[len(sample)] == '\n':
		return len(sample), none
	}
	return 0, statusLine
}

// conclude checks what can only be known at the head's end, and fills in the
// facts that depend on more than one field.
func (r *Response) conclude(s *section, to Method) rule {
	r.KeepAlive = s.keepAlive()
	r.Upgrade = nil
	if r.Status == 101 {
		if r.Upgrade = s.upgrade(); r.Upgrade == nil {
			return upgradeMissing
		}
	}
	r.concludeFraming(s, to)
	if s.nominated > 0 {
		s.dropNominated()
	}
	return s.concludeTrailer(r.Framing)
}

// concludeFraming: RFC 9112 §6.3.
func (r *Response) concludeFraming(s *section, to Method) {
	r.Framing, r.Length = FramingNone, 0
	switch {
	case r.Status < 200 || r.Status == 204:
		// RFC 9110 §8.6 and RFC 9112 §6.1 forbid both fields here. A server
		// that sends them may also send the body, so it must not answer
		// another request on this connection.
		if s.has(TransferEncoding) || s.has(ContentLength) && s.length > 0 {
			r.KeepAlive = false
		}
		s.drop(ContentLength)
	case to == HEAD || r.Status == 304:
	case s.has(TransferEncoding):
		r.Framing = FramingChunked
	case s.has(ContentLength):
		r.Framing, r.Length = FramingLength, s.length
	default:
		r.Framing, r.KeepAlive = FramingClose, false
	}
}
