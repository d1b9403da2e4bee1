package wire

// Query is what a message from a client asks. Its slices point into the message.
type Query struct {
	ID     uint16
	Opcode uint8
	Type   Type
	Class  uint16

	// Question is the question section as it came, with the letters as the client wrote them; empty if there was none
	// that could be read.
	Question []byte

	EDNS EDNS

	recursion bool
	labels    int
	length    int // of the name
	name      [NameMax]byte
}

// Verdict is what reading a query came to.
type Verdict uint8

// The verdicts. All but Fine and Silence are answered with an error.
const (
	Fine        Verdict = iota
	Silence             // not to be answered: no query, or too short to be one
	Malformed           // FORMERR
	Unknown             // NOTIMP
	BadVersion          // BADVERS
	CookiesOnly         // no question, but a cookie: a client that wants one (RFC 7873 §5.4)
)

// Name returns the name asked for, in lower case.
func (q *Query) Name() []byte { return q.name[:q.length] }

// Labels returns the number of its labels, the root not counted.
func (q *Query) Labels() int { return q.labels }

// Parse reads a message. What it leaves in q is valid as long as msg is not changed.
func (q *Query) Parse(msg []byte) Verdict {
	q.Question, q.labels, q.length, q.Type, q.Class = nil, 0, 0, 0, 0
	q.EDNS = EDNS{}
	if len(msg) < HeaderLen {
		return Silence
	}
	flags := get16(msg[2:])
	if flags&flagQR != 0 {
		return Silence // answering answers would be a loop
	}
	q.ID, q.recursion = get16(msg), flags&flagRD != 0
	q.Opcode = uint8(flags >> opcodeShift & opcodeMask)
	if q.Opcode != 0 {
		return Unknown
	}
	if flags&flagTC != 0 {
		return Malformed
	}
	questions := get16(msg[4:])
	if questions > 1 { // RFC 9619
		return Malformed
	}
	off := HeaderLen
	if questions == 1 {
		if off = q.question(msg); off < 0 {
			return Malformed
		}
	}
	return q.sections(msg, off, questions == 0)
}

// question reads the question and returns where it ends, or a negative number.
func (q *Query) question(msg []byte) int {
	off, n := HeaderLen, 0
	for {
		if off >= len(msg) {
			return -1
		}
		c := msg[off]
		if c > LabelMax || n+1+int(c) > NameMax { // a pointer could only lead into the header
			return -1
		}
		q.name[n] = c
		n++
		off++
		if c == 0 {
			break
		}
		if off+int(c) > len(msg) {
			return -1
		}
		for _, b := range msg[off : off+int(c)] {
			q.name[n] = lower[b]
			n++
		}
		off += int(c)
		q.labels++
	}
	if off+4 > len(msg) {
		return -1
	}
	q.length = n
	q.Type, q.Class = Type(get16(msg[off:])), get16(msg[off+2:])
	q.Question = msg[HeaderLen : off+4]
	return off + 4
}

// sections reads what follows the question, of which only EDNS means anything in a query.
func (q *Query) sections(msg []byte, off int, bare bool) Verdict {
	before := int(get16(msg[6:])) + int(get16(msg[8:]))
	records := before + int(get16(msg[10:]))
	for i := range records {
		owner := off
		if off = skipName(msg, off); off < 0 || off+10 > len(msg) {
			return Malformed
		}
		head := msg[off : off+10]
		data := off + 10
		off = data + int(get16(head[8:]))
		if off > len(msg) {
			return Malformed
		}
		if Type(get16(head)) != TypeOPT {
			continue
		}
		if i < before || q.EDNS.Present || msg[owner] != 0 { // RFC 6891 §6.1.1
			return Malformed
		}
		if !q.EDNS.parse(head, msg[data:off]) {
			return Malformed
		}
	}
	switch {
	case off != len(msg):
		return Malformed
	case q.EDNS.Version != 0:
		return BadVersion
	case bare && len(q.EDNS.Cookie) > 0:
		return CookiesOnly
	case bare:
		return Malformed
	case q.Type == TypeOPT:
		return Malformed
	case q.Type.isMeta():
		return Unknown
	}
	return Fine
}

// skipName returns where the name at off ends, or a negative number. It follows no pointer: one ends a name.
func skipName(msg []byte, off int) int {
	for off < len(msg) {
		switch c := int(msg[off]); {
		case c == 0:
			return off + 1
		case c >= 0xC0:
			if off+2 > len(msg) {
				return -1
			}
			return off + 2
		case c > LabelMax:
			return -1
		default:
			off += 1 + c
		}
	}
	return -1
}
