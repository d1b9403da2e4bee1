package http1

// The limits that apply where [Limits] says zero. They are those of the
// widespread servers: nginx and Apache httpd take an 8 KiB request line,
// Apache httpd and HAProxy about 100 fields.
const (
	DefaultLine   = 8 << 10  // bytes of a request or status line
	DefaultHead   = 64 << 10 // bytes of a whole head
	DefaultFields = 100      // field lines of a head
)

// Bounds that no message worth forwarding comes near. They keep the work for
// one message proportional to its size.
const (
	maxEmptyLines   = 2        // before a request line; RFC 9112 §2.2 asks for at least one
	maxMethod       = 32       // bytes; the longest registered method has 17
	maxNominated    = 16       // names in Connection that are not known to this package
	maxHost         = 255      // bytes of a host name; RFC 1035 §2.3.4
	maxChunkDigits  = 16       // hexadecimal digits of a chunk size: 64 bits
	maxChunkLine    = 1 << 10  // bytes of one chunk's extensions
	maxChunkWaste   = 16 << 10 // bytes of extensions that the data does not outweigh
	maxTrailers     = 32       // trailer field lines of a body
	maxTrailerBytes = 8 << 10  // bytes of a trailer section
)

// Limits bounds what a peer may send. The zero value gives the defaults.
type Limits struct {
	Line   int   // bytes of the request line or status line, with its CRLF; 0: DefaultLine
	Head   int   // bytes of the head, with empty lines before and the one after; 0: DefaultHead
	Fields int   // field lines of the head; 0: DefaultFields
	Body   int64 // declared bytes of a request's body; 0: no limit (see also Body.Limit)

	// Underscores says what happens to a request field whose name holds an
	// underscore. CGI and its heirs (WSGI, PHP, Rack) read X_User and X-User
	// as the same variable, so the one that a proxy does not know about can
	// stand in for the one that it guards.
	Underscores Underscores
}

// Underscores is a policy for request fields with an underscore in the name.
type Underscores uint8

// The policies.
const (
	UnderscoresDrop   Underscores = iota // do not forward the field (Field.Hop is set)
	UnderscoresReject                    // refuse the request
	UnderscoresKeep                      // forward the field
)

// defaults stand for a nil *Limits.
var defaults = Limits{Line: DefaultLine, Head: DefaultHead, Fields: DefaultFields}

func (l *Limits) orDefault() *Limits {
	if l == nil {
		return &defaults
	}
	return l
}

func (l *Limits) line() int {
	if l.Line > 0 {
		return l.Line
	}
	return DefaultLine
}

func (l *Limits) head() int {
	if l.Head > 0 {
		return l.Head
	}
	return DefaultHead
}

func (l *Limits) fields() int {
	if l.Fields > 0 {
		return l.Fields
	}
	return DefaultFields
}
