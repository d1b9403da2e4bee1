package wal

import (
	"encoding/binary"
	"hash/crc32"
)

// Sizes of XLogPageHeaderData, XLogLongPageHeaderData and XLogRecord, padded as PostgreSQL pads them.
const (
	shortHeader  = 24
	longHeader   = 40
	recordHeader = 24
)

// Flags of XLogPageHeaderData.xlp_info.
const (
	firstIsContinued   = 0x0001
	hasLongHeader      = 0x0002
	firstIsOverwritten = 0x0008 // what was begun before is never finished: a crash lies between
	allFlags           = 0x000f
)

const (
	// maxRecord is XLogRecordMaxSize with room to spare: 1020 MiB.
	maxRecord = 1 << 30
	// keptBytes of a record that means something are kept until it is whole. Longer is only what lists thousands of
	// subtransactions, behind what is read here.
	keptBytes = 64 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Scanner finds what matters in the log. It is for one timeline and one goroutine. A new one takes the first page that it is
// fed for the beginning.
type Scanner struct {
	segments Segments
	page     Position // bytes of a page
	emit     func(Event)

	at      Position // of the next byte
	started bool
	lost    bool     // what comes makes no sense up to the next page
	skipTo  Position // what comes before has no meaning
	magic   uint16

	head    [longHeader]byte // of the page, as far as it came
	headLen int

	record   [recordHeader]byte // of the record, as far as it came
	recLen   int
	begin    Position // of the record
	body     uint32   // bytes of its body that are still to come
	skipping bool     // the rest of a record whose beginning was not seen
	sum      uint32   // checksum of its body so far
	keep     bool
	kept     []byte

	end     Position // of the last whole record
	damaged int64
}

// NewScanner makes a Scanner that calls emit for each event, in their order. pageBytes is the server's wal_block_size, 8192
// nearly everywhere.
func NewScanner(segments Segments, pageBytes int, emit func(Event)) *Scanner {
	return &Scanner{segments: segments, page: Position(pageBytes), emit: emit}
}

// End is the end of the last whole record: what is durable up to here can be replayed up to here. Zero if there was none.
func (s *Scanner) End() Position { return s.end }

// At is the end of what was fed.
func (s *Scanner) At() Position { return s.at }

// Damaged counts how often something was no valid log. It should never grow: the server sent it so, or it was changed on
// the way.
func (s *Scanner) Damaged() int64 { return s.damaged }

// Feed takes the next piece, which begins at position at. A piece that does not follow the one before begins anew, with the
// next page. What was fed before is passed over.
func (s *Scanner) Feed(at Position, data []byte) {
	if s.started && at < s.at {
		seen := min(uint64(s.at-at), uint64(len(data)))
		at, data = at+Position(seen), data[seen:]
	}
	if !s.started || at != s.at {
		s.restart(at)
	}
	for len(data) > 0 {
		n := s.step(data)
		s.at += Position(n)
		data = data[n:]
	}
}

func (s *Scanner) restart(at Position) {
	s.started, s.at, s.skipTo = true, at, 0
	s.headLen = 0
	s.forget()
}

// forget drops what is open and waits for the next page.
func (s *Scanner) forget() { s.lost, s.recLen, s.body, s.skipping = true, 0, 0, false }

// lose is forget for what should not be.
func (s *Scanner) lose() {
	s.damaged++
	s.forget()
}

// step takes what can be taken in one go and returns its size, which is not zero.
func (s *Scanner) step(data []byte) int {
	if s.at < s.skipTo {
		return int(min(uint64(len(data)), uint64(s.skipTo-s.at)))
	}
	room := int(s.page - s.at%s.page) // up to the end of the page
	switch {
	case s.headLen > 0 || room == int(s.page):
		return s.pageHeader(data)
	case s.lost:
		return min(room, len(data))
	case s.body > 0:
		return s.takeBody(data[:min(len(data), room)])
	case s.recLen == 0 && s.at&7 != 0:
		return min(int(-s.at&7), len(data))
	case s.recLen == 0:
		s.begin = s.at
	}
	return s.takeHeader(data[:min(len(data), room)])
}

// pageHeader collects the header of a page, and looks at it when it is whole.
func (s *Scanner) pageHeader(data []byte) int {
	n := 0
	if s.headLen < shortHeader {
		n = copy(s.head[s.headLen:shortHeader], data)
		s.headLen += n
	}
	if s.headLen < shortHeader {
		return n
	}
	size := shortHeader
	if binary.LittleEndian.Uint16(s.head[2:])&hasLongHeader != 0 {
		size = longHeader
		m := copy(s.head[s.headLen:], data[n:])
		s.headLen, n = s.headLen+m, n+m
		if s.headLen < longHeader {
			return n
		}
	}
	s.headLen = 0
	s.enterPage(s.at+Position(n-size), size)
	return n
}

// enterPage begins the page at begin, whose header is in s.head.
func (s *Scanner) enterPage(begin Position, size int) {
	magic, info := binary.LittleEndian.Uint16(s.head[0:]), binary.LittleEndian.Uint16(s.head[2:])
	address, rest := Position(binary.LittleEndian.Uint64(s.head[8:])), binary.LittleEndian.Uint32(s.head[16:])
	first := begin%Position(s.segments) == 0
	if versionOf(magic) == 0 || address != begin || info&^allFlags != 0 || first != (size == longHeader) {
		if s.lost && address == 0 && info == 0 {
			return // zeros, behind the end of the log
		}
		s.lose()
		return
	}
	s.magic = magic
	if info&firstIsContinued == 0 {
		rest = 0
	}
	switch {
	case s.lost:
	case info&firstIsOverwritten != 0:
		rest = 0
	case rest == s.missing():
		return // as it should be
	default:
		s.damaged++ // this page may be good, only the last one was not
	}
	s.lost, s.recLen, s.body, s.skipping = false, 0, rest, rest > 0
}

// missing is how much of the open record is still to come.
func (s *Scanner) missing() uint32 {
	if s.recLen > 0 && s.recLen < recordHeader {
		return binary.LittleEndian.Uint32(s.record[0:]) - uint32(s.recLen) // the first field is never cut
	}
	return s.body
}

func (s *Scanner) takeHeader(data []byte) int {
	n := copy(s.record[s.recLen:], data)
	s.recLen += n
	if s.recLen >= 4 {
		switch total := binary.LittleEndian.Uint32(s.record[0:]); {
		case total == 0:
			s.forget() // the end of the log, with zeros behind it
			return n
		case total < recordHeader || total > maxRecord:
			s.lose()
			return n
		}
	}
	if s.recLen == recordHeader {
		s.body = binary.LittleEndian.Uint32(s.record[0:]) - recordHeader
		s.sum, s.kept = 0, s.kept[:0]
		s.keep = matters(s.record[17])
		if s.body == 0 {
			s.finish(s.at + Position(n))
		}
	}
	return n
}

func (s *Scanner) takeBody(data []byte) int {
	n := min(len(data), int(s.body))
	part := data[:n]
	if !s.skipping {
		s.sum = crc32.Update(s.sum, castagnoli, part)
		if s.keep {
			s.kept = append(s.kept, part[:min(n, keptBytes-len(s.kept))]...)
		}
	}
	s.body -= uint32(n)
	if s.body == 0 {
		s.finish(s.at + Position(n))
	}
	return n
}

// finish concludes the record that ends at end.
func (s *Scanner) finish(end Position) {
	skipped := s.skipping
	s.recLen, s.skipping = 0, false
	if skipped {
		return
	}
	// The checksum covers the body, and then the header up to the checksum.
	if crc32.Update(s.sum, castagnoli, s.record[:20]) != binary.LittleEndian.Uint32(s.record[20:]) {
		s.lose()
		return
	}
	s.end = (end + 7) &^ 7
	r := record{
		begin: s.begin, end: s.end, xid: binary.LittleEndian.Uint32(s.record[4:]), info: s.record[16], manager: s.record[17],
		version: versionOf(s.magic), body: s.kept,
	}
	if r.manager == managerXLOG && r.info&0xf0 == infoSwitch {
		s.end = s.segments.Begin(end-1) + Position(s.segments) // the rest is given up, and zero
		r.end, s.skipTo = s.end, s.end
	}
	if s.keep {
		r.tell(s.emit)
	}
}

// versionOf is the major version that a page's magic number belongs to; 0 if it is none that is known.
func versionOf(magic uint16) int {
	switch magic {
	case 0xD106:
		return 13
	case 0xD10D:
		return 14
	case 0xD110:
		return 15
	case 0xD113:
		return 16
	case 0xD116:
		return 17
	case 0xD118:
		return 18
	}
	return 0
}
