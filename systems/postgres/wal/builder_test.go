package wal

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

const (
	testSegments = Segments(1 << 20)
	testPage     = 8192
	testMagic    = 0xD110
)

// builder writes a log as PostgreSQL would.
type builder struct {
	begin Position
	data  []byte
	want  []Event
}

func newBuilder(begin Position) *builder { return &builder{begin: begin} }

func (b *builder) at() Position { return b.begin + Position(len(b.data)) }

// page begins a page if one is due. rest is what is to come of a record.
func (b *builder) page(rest int, flags uint16) {
	at := b.at()
	if at%testPage != 0 {
		return
	}
	head := make([]byte, shortHeader)
	if at%Position(testSegments) == 0 {
		head = make([]byte, longHeader)
		flags |= hasLongHeader
		binary.LittleEndian.PutUint32(head[32:], uint32(testSegments))
		binary.LittleEndian.PutUint32(head[36:], testPage)
	}
	if rest > 0 {
		flags |= firstIsContinued
		binary.LittleEndian.PutUint32(head[16:], uint32(rest))
	}
	binary.LittleEndian.PutUint16(head[0:], testMagic)
	binary.LittleEndian.PutUint16(head[2:], flags)
	binary.LittleEndian.PutUint32(head[4:], 1)
	binary.LittleEndian.PutUint64(head[8:], uint64(at))
	b.data = append(b.data, head...)
}

// record appends one and returns where it begins and ends.
func (b *builder) record(manager, info uint8, xid uint32, body []byte) (begin, end Position) {
	rec := make([]byte, recordHeader, recordHeader+len(body))
	binary.LittleEndian.PutUint32(rec[0:], uint32(recordHeader+len(body)))
	binary.LittleEndian.PutUint32(rec[4:], xid)
	rec[16], rec[17] = info, manager
	sum := crc32.Update(0, castagnoli, body)
	sum = crc32.Update(sum, castagnoli, rec[:20])
	binary.LittleEndian.PutUint32(rec[20:], sum)
	rec = append(rec, body...)
	b.page(0, 0)
	begin = b.at()
	for len(rec) > 0 {
		b.page(len(rec), 0)
		n := min(len(rec), int(testPage-b.at()%testPage))
		b.data = append(b.data, rec[:n]...)
		rec = rec[n:]
	}
	for b.at()%8 != 0 {
		b.data = append(b.data, 0)
	}
	return begin, b.at()
}

// part is the main data of a record with the header that its length needs.
func part(data []byte) []byte {
	if len(data) < 256 {
		return append([]byte{partShort, byte(len(data))}, data...)
	}
	head := binary.LittleEndian.AppendUint32([]byte{partLong}, uint32(len(data)))
	return append(head, data...)
}

func stamp(t time.Time) []byte {
	return binary.LittleEndian.AppendUint64(nil, uint64(t.UnixMicro()-epoch))
}

// commit appends a commit whose record is padded to about size bytes.
func (b *builder) commit(xid uint32, t time.Time, size int) {
	data := append(stamp(t), make([]byte, size)...)
	begin, end := b.record(managerXact, xactCommit|xactHasInfo, xid, append([]byte{partOrigin, 1, 0, partTopLevel, 0, 0, 0, 0}, part(data)...))
	b.want = append(b.want, Event{Kind: Commit, Begin: begin, End: end, Xid: xid, Time: t})
}

// filler appends a record that means nothing here.
func (b *builder) filler(size int) { b.record(10, 0, 7, make([]byte, size)) }
