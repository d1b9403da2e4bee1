package wire

// Section is a part of a message behind the question.
type Section uint8

// The sections.
const (
	Answer Section = iota + 1
	Authority
	Additional
)

// Data is the data of a record: Names stand between Head and Tail and may be compressed. Types whose names must not be
// (RFC 3597 §4) have them in Head.
type Data struct {
	Head  []byte
	Names []Name
	Tail  []byte
}

// Question stands for the name that was asked for, as the owner of a record.
const Question Name = ""

// pointersMax bounds the places that names may point to. A message that has more is a little longer, not wrong.
const pointersMax = 48

// Message is an answer in the making.
type Message struct {
	buf    []byte
	limit  int // that buf may grow to
	body   int // where the records begin
	full   bool
	counts [4]uint16
	question,
	known bool // whether the question's labels are among the pointers yet
	pointers [pointersMax]uint16 // where labels stand that names may end with
	n        int
}

// Begin starts the answer to q in buf, which is emptied. Its length will be limit at most, of which reserve bytes are kept
// for the OPT record. buf must have room for limit.
func (m *Message) Begin(buf []byte, q *Query, limit, reserve int) {
	m.buf = append(buf[:0], byte(q.ID>>8), byte(q.ID), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	m.buf = append(m.buf, q.Question...)
	m.counts = [4]uint16{}
	m.question = len(q.Question) > 0
	if m.question {
		m.counts[0] = 1
	}
	m.limit, m.body = limit-reserve, len(m.buf)
	m.full, m.known, m.n = false, false, 0
}

// AddPacked appends records of the answer section that are bytes already.
func (m *Message) AddPacked(records []byte, count int) bool {
	if m.full || len(m.buf)+len(records) > m.limit {
		m.full = true
		return false
	}
	m.buf = append(m.buf, records...)
	m.counts[Answer] += uint16(count)
	return true
}

// Add appends a record. It returns false, and Finish will say that the message is truncated, when there is no room.
func (m *Message) Add(s Section, owner Name, t Type, ttl uint32, d *Data) bool {
	if m.full {
		return false
	}
	begin := len(m.buf)
	if owner == Question {
		m.buf = append16(m.buf, 0xC000|HeaderLen)
	} else {
		m.name(owner)
	}
	m.buf = append16(m.buf, uint16(t))
	m.buf = append16(m.buf, ClassIN)
	m.buf = append32(m.buf, ttl)
	length := len(m.buf)
	m.buf = append16(m.buf, 0)
	m.buf = append(m.buf, d.Head...)
	for _, n := range d.Names {
		m.name(n)
	}
	m.buf = append(m.buf, d.Tail...)
	put16(m.buf[length:], uint16(len(m.buf)-length-2))
	if len(m.buf) > m.limit {
		m.buf, m.full = m.buf[:begin], true
		return false
	}
	m.counts[s]++
	return true
}

// Pointer returns the two bytes that stand for a name which the message already has.
func (m *Message) Pointer(n Name) (p [2]byte, ok bool) {
	if n == Question {
		return [2]byte{0xC0, HeaderLen}, true
	}
	at := m.find(n)
	put16(p[:], 0xC000|at)
	return p, at > 0
}

// name appends a name, or as much of it as the message does not have yet.
func (m *Message) name(n Name) {
	if m.question && !m.known {
		m.known = true
		m.learn(HeaderLen, len(m.buf))
	}
	begin := len(m.buf)
	for n != Root {
		if at := m.find(n); at > 0 {
			m.buf = append16(m.buf, 0xC000|at)
			m.learn(begin, len(m.buf)-2)
			return
		}
		size := 1 + int(n[0])
		m.buf = append(m.buf, n[:size]...)
		n = n[size:]
	}
	m.buf = append(m.buf, 0)
	m.learn(begin, len(m.buf)-1)
}

// learn remembers the labels from begin to end, or to the root, as what later names may end with.
func (m *Message) learn(begin, end int) {
	for at := begin; at < end && at < 0x4000 && m.buf[at] != 0 && m.n < pointersMax; at += 1 + int(m.buf[at]) {
		m.pointers[m.n] = uint16(at)
		m.n++
	}
}

// find returns where n stands in the message, or 0.
func (m *Message) find(n Name) uint16 {
	for _, at := range m.pointers[:m.n] {
		if m.stands(n, int(at)) {
			return at
		}
	}
	return 0
}

// stands reports whether the name at an offset is n, but for case.
func (m *Message) stands(n Name, at int) bool {
	for {
		c := m.buf[at]
		if c >= 0xC0 {
			at = int(get16(m.buf[at:]) & 0x3FFF)
			continue
		}
		if c != n[0] {
			return false
		}
		if c == 0 {
			return true
		}
		for i := 1; i <= int(c); i++ {
			if lower[m.buf[at+i]] != n[i] {
				return false
			}
		}
		at += 1 + int(c)
		n = n[1+int(c):]
	}
}

// Room returns how many more bytes fit.
func (m *Message) Room() int { return m.limit - len(m.buf) }

// Full reports whether something did not fit.
func (m *Message) Full() bool { return m.full }

// Clear takes all records back.
func (m *Message) Clear() {
	m.buf = m.buf[:m.body]
	m.counts[Answer], m.counts[Authority], m.counts[Additional] = 0, 0, 0
	m.full, m.known, m.n = false, false, 0
}

// Truncate takes all records back and has the client ask again over TCP. A set of which a part is missing is worse than
// none (RFC 2181 §9).
func (m *Message) Truncate() {
	m.Clear()
	m.full = true
}

// Finish completes the message: authoritative or not, with an rcode and the OPT record of o.
func (m *Message) Finish(q *Query, authoritative bool, rcode Rcode, o *Options) []byte {
	if m.full {
		m.Truncate()
	}
	flags := flagQR | uint16(q.Opcode)<<opcodeShift | uint16(rcode)&0xF
	if authoritative {
		flags |= flagAA
	}
	if m.full {
		flags |= flagTC
	}
	if q.recursion {
		flags |= flagRD
	}
	if o.n > 0 {
		o.buf[5] = byte(rcode >> 4)
		m.buf = append(m.buf, o.buf[:o.n]...)
		m.counts[Additional]++
	}
	put16(m.buf[2:], flags)
	for i, count := range m.counts {
		put16(m.buf[4+2*i:], count)
	}
	return m.buf
}

// Records returns the records so far, as bytes. They hold pointers to places in the message.
func (m *Message) Records() []byte { return m.buf[m.body:] }
