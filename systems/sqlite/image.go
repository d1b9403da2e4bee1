package sqlite

import (
	"context"
	"fmt"
	"hash/crc64"
	"io"

	"github.com/superfly/ltx"
)

// image is the database as it was after a frame of the WAL: pages that the WAL has are read there, all others in the
// database file. It is true as long as the WAL is held from beginning anew.
type image struct {
	files  *files
	header walHeader
	index  map[uint32]uint32 // page to frame
	bytes  int               // of a page
	pages  uint32
}

// page reads one page into b.
func (m *image) page(number uint32, b []byte) error {
	var err error
	if frame, ok := m.index[number]; ok {
		_, err = m.files.wal.ReadAt(b, m.header.offset(frame)+frameHeaderBytes)
	} else {
		_, err = m.files.db.ReadAt(b, int64(number-1)*int64(m.bytes))
	}
	if err == io.EOF { // pages at the end may never have been written
		clear(b)
		err = nil
	}
	if err != nil {
		return fmt.Errorf("read page %d of %s: %w", number, m.files.path, err)
	}
	return nil
}

// reader yields the whole image.
func (m *image) reader(ctx context.Context) io.Reader { return &imageReader{ctx: ctx, image: m} }

type imageReader struct {
	ctx   context.Context
	image *image
	next  uint32 // pages that were read
	rest  []byte
	buf   []byte
}

func (r *imageReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// fill reads some pages, those beside each other in the database file at once.
func (r *imageReader) fill() error {
	m := r.image
	if err := context.Cause(r.ctx); err != nil {
		return err
	}
	if r.next >= m.pages {
		return io.EOF
	}
	n := min(m.pages-r.next, uint32(max(1, 256<<10/m.bytes)))
	if r.buf == nil {
		r.buf = make([]byte, int(n)*m.bytes)
	}
	buf := r.buf[:int(n)*m.bytes]
	got, err := m.files.db.ReadAt(buf, int64(r.next)*int64(m.bytes))
	if err != nil && err != io.EOF {
		return fmt.Errorf("read %s: %w", m.files.path, err)
	}
	clear(buf[got:])
	for i := range n {
		if _, ok := m.index[r.next+i+1]; !ok {
			continue
		}
		if err := m.page(r.next+i+1, buf[int(i)*m.bytes:int(i+1)*m.bytes]); err != nil {
			return err
		}
	}
	r.next += n
	r.rest = buf
	return nil
}

// sums are the checksums of all pages; those of LTX, without their flag. 8 bytes a page: 2 MiB for a database of 1 GiB.
type sums struct {
	pages []uint64
	total uint64
	bytes int
}

// isoTable is that of LTX.
var isoTable = crc64.MakeTable(crc64.ISO)

func pageSum(number uint32, data []byte) uint64 {
	head := [4]byte{byte(number >> 24), byte(number >> 16), byte(number >> 8), byte(number)}
	return crc64.Update(crc64.Update(0, isoTable, head[:]), isoTable, data) &^ uint64(ltx.ChecksumFlag)
}

// sumImage reads a whole image.
func sumImage(ctx context.Context, m *image) (*sums, error) {
	return sumReader(m.reader(ctx), m.bytes, int(m.pages))
}

func sumReader(r io.Reader, pageBytes, pages int) (*sums, error) {
	s := &sums{bytes: pageBytes, pages: make([]uint64, 0, pages)}
	page := make([]byte, pageBytes)
	for {
		_, err := io.ReadFull(r, page)
		if err == io.EOF {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		s.set(uint32(len(s.pages)+1), page)
	}
}

// set takes the new content of a page.
func (s *sums) set(number uint32, data []byte) {
	if number == ltx.LockPgno(uint32(s.bytes)) { // SQLite locks its bytes, and never stores any there
		s.grow(number)
		return
	}
	s.grow(number)
	sum := pageSum(number, data)
	s.total ^= s.pages[number-1] ^ sum
	s.pages[number-1] = sum
}

func (s *sums) grow(n uint32) {
	for uint32(len(s.pages)) < n {
		s.pages = append(s.pages, 0)
	}
}

// cut takes pages away that are beyond the end.
func (s *sums) cut(pages uint32) {
	for n := len(s.pages); uint32(n) > pages; n-- {
		s.total ^= s.pages[n-1]
		s.pages = s.pages[:n-1]
	}
}

func (s *sums) checksum() ltx.Checksum { return ltx.ChecksumFlag | ltx.Checksum(s.total) }

// past is what undo needs.
type past struct {
	total uint64
	len   int
	pages map[uint32]uint64
	tail  []uint64
}

// begin keeps what a transaction is about to change.
func (s *sums) begin(tx *transaction) past {
	p := past{total: s.total, len: len(s.pages), pages: make(map[uint32]uint64, len(tx.pages))}
	for number := range tx.pages {
		if int(number) <= len(s.pages) {
			p.pages[number] = s.pages[number-1]
		}
	}
	if int(tx.commit) < len(s.pages) {
		p.tail = append(p.tail, s.pages[tx.commit:]...)
	}
	return p
}

// undo brings back what begin has kept.
func (s *sums) undo(p past) {
	s.cut(uint32(p.len))
	if missing := p.len - len(s.pages); missing > 0 {
		s.pages = append(s.pages, p.tail[len(p.tail)-missing:]...)
	}
	for number, sum := range p.pages {
		s.pages[number-1] = sum
	}
	s.total = p.total
}
