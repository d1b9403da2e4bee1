package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/superfly/ltx"

	"github.com/trivet-ha/trivet/backup/stream"
)

// A record's data is one byte that says what it is, and then:
//
//	whole: a state, an LTX file        first: the beginning of an LTX file
//	note:  a state alone               more:  a further part of it
//	                                   last:  a state, the end of it
//
// An LTX file holds the pages that one transaction has changed, https://github.com/superfly/ltx.
const (
	kindWhole = 'w'
	kindFirst = 'f'
	kindMore  = 'm'
	kindLast  = 'l'
	kindNote  = 'n'
)

// blind is the Origin of a commit that stands for all that happened while nobody watched.
const blind = 1

// state is the database after a record: what is needed to go on from there.
type state struct {
	salt      generation
	frame     uint32    // of the WAL, the last one that is captured
	frameSum  [2]uint32 // its checksum
	pageBytes uint32
	pages     uint32
	sum       ltx.Checksum // of all pages
}

const stateBytes = 8 + 4 + 8 + 4 + 4 + 8

func (s *state) appendTo(dst []byte) []byte {
	for _, n := range []uint32{s.salt[0], s.salt[1], s.frame, s.frameSum[0], s.frameSum[1], s.pageBytes, s.pages} {
		dst = binary.BigEndian.AppendUint32(dst, n)
	}
	return binary.BigEndian.AppendUint64(dst, uint64(s.sum))
}

var errRecord = errors.New("a record of the log makes no sense")

func parseState(b []byte) (s state, rest []byte, err error) {
	if len(b) < stateBytes {
		return s, nil, errRecord
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(b[4*i:]) }
	s = state{
		salt: generation{word(0), word(1)}, frame: word(2), frameSum: [2]uint32{word(3), word(4)},
		pageBytes: word(5), pages: word(6), sum: ltx.Checksum(binary.BigEndian.Uint64(b[28:])),
	}
	if !validPageBytes(int(s.pageBytes)) {
		return s, nil, errRecord
	}
	return s, b[stateBytes:], nil
}

// stateOf is the state that a record ends with, if it has one.
func stateOf(data []byte) (s state, ok bool, err error) {
	if len(data) == 0 {
		return s, false, nil // time has passed, no more
	}
	switch data[0] {
	case kindWhole, kindLast, kindNote:
		s, _, err = parseState(data[1:])
		return s, err == nil, err
	case kindFirst, kindMore:
		return s, false, nil
	}
	return s, false, fmt.Errorf("%w: kind %q", errRecord, data[0])
}

// partBytes is how much of an LTX file goes into one record.
const partBytes = 1 << 20

// parts cuts an LTX file into records as it is written.
type parts struct {
	from stream.Position
	emit func(stream.Record) error
	buf  []byte // what is not in a record yet, after room for kind and state
	sent bool
}

func newParts(from stream.Position, emit func(stream.Record) error) *parts {
	p := &parts{from: from, emit: emit}
	p.clear()
	return p
}

const partRoom = 1 + stateBytes

func (p *parts) clear() { p.buf = append(p.buf[:0], make([]byte, partRoom)...) }

// Write takes a part of the LTX file.
func (p *parts) Write(b []byte) (int, error) {
	p.buf = append(p.buf, b...)
	if len(p.buf) < partBytes {
		return len(b), nil
	}
	kind := byte(kindMore)
	if !p.sent {
		kind = kindFirst
	}
	data := p.buf[stateBytes:]
	data[0] = kind
	p.sent = true
	if err := p.emit(stream.Record{From: p.from, To: p.from, Data: data}); err != nil {
		return 0, err
	}
	p.clear()
	return len(b), nil
}

// finish sends the last part.
func (p *parts) finish(s *state, commit stream.Commit) error {
	p.buf[0] = kindWhole
	if p.sent {
		p.buf[0] = kindLast
	}
	s.appendTo(p.buf[1:1])
	return p.emit(stream.Record{From: p.from, To: commit.Position, Commits: []stream.Commit{commit}, Data: p.buf})
}
