package sqlite

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/superfly/ltx"

	"github.com/trivet-ha/trivet/backup/stream"
)

// transaction is what stands in the WAL between two commits, or between several.
type transaction struct {
	pages  map[uint32]uint32 // page to the last frame that has it
	commit uint32            // pages of the database after it
	first  uint32            // frame
	last   uint32
	sum    [2]uint32 // of the last frame
	count  int       // commits
}

// scanner reads transactions out of a WAL.
type scanner struct {
	files  *files
	from   state
	header walHeader
	frame  uint32
	sum    [2]uint32
	buf    []byte // frames that were read and not looked at
	whole  []byte // the space of buf
}

// begin reads the header of the WAL; the error is errWAL if it is another generation.
func (s *scanner) begin() error {
	var b [walHeaderBytes]byte
	if _, err := s.files.wal.ReadAt(b[:], 0); err == io.EOF {
		return errWAL
	} else if err != nil {
		return err
	}
	h, err := parseWALHeader(b[:])
	if err != nil {
		return err
	}
	if h.salt != s.from.salt || h.pageBytes != int(s.from.pageBytes) {
		return fmt.Errorf("%w: of this generation", errWAL)
	}
	s.header, s.frame, s.sum = h, s.from.frame, s.from.frameSum
	if s.frame == 0 {
		s.sum = h.sum
	}
	return nil
}

// next reads a transaction that ends at the frame limit or before; nil if there is none.
func (s *scanner) next(limit uint32) (*transaction, error) {
	if s.frame >= limit {
		return nil, nil
	}
	tx := &transaction{pages: map[uint32]uint32{}, first: s.frame + 1, count: 1}
	size := frameHeaderBytes + s.header.pageBytes
	for s.frame < limit {
		if len(s.buf) == 0 {
			if err := s.fill(limit, size); err != nil {
				return nil, err
			}
		}
		f, err := s.header.parseFrame(s.buf[:size], s.sum)
		if err != nil {
			return nil, fmt.Errorf("frame %d: %w", s.frame+1, err)
		}
		s.buf = s.buf[size:]
		s.frame++
		s.sum = f.sum
		tx.pages[f.page] = s.frame
		if f.commit != 0 {
			tx.commit, tx.last, tx.sum = f.commit, s.frame, f.sum
			tx.trim()
			return tx, nil
		}
	}
	return nil, fmt.Errorf("%w: frame %d is said to end a transaction", errWAL, limit)
}

// join takes in the transaction that follows.
func (tx *transaction) join(next *transaction) {
	maps.Copy(tx.pages, next.pages)
	tx.commit, tx.last, tx.sum = next.commit, next.last, next.sum
	tx.count += next.count
	tx.trim()
}

// trim drops pages that the transaction itself has cut off.
func (tx *transaction) trim() {
	maps.DeleteFunc(tx.pages, func(page, _ uint32) bool { return page > tx.commit })
}

func (s *scanner) fill(limit uint32, size int) error {
	n := min(int(limit-s.frame), max(1, 256<<10/size))
	if len(s.whole) < n*size {
		s.whole = make([]byte, n*size)
	}
	s.buf = s.whole[:n*size]
	if _, err := s.files.wal.ReadAt(s.buf, s.header.offset(s.frame+1)); err == io.EOF {
		return errWAL
	} else if err != nil {
		return err
	}
	return nil
}

// capture is Capture with t.mu held.
func (t *Tracker) capture(ctx context.Context) error {
	if t.owed != nil {
		if err := t.catchUp(ctx); err != nil {
			return err
		}
	}
	looked := time.Now()
	x, err := t.files.lookIndex(ctx)
	if err != nil {
		return err
	}
	if x.salt != t.at.salt {
		if !t.mayReset {
			return fmt.Errorf("%w: it began anew after frame %d", ErrLost, t.at.frame)
		}
		if x.frames > 0 {
			t.at.salt, t.at.frame, t.at.frameSum = x.salt, 0, [2]uint32{}
			clear(t.index)
		}
	}
	if x.frames <= t.at.frame || x.salt != t.at.salt {
		t.writer.IdleAt(looked)
		return nil
	}
	s := scanner{files: t.files, from: t.at}
	if err := s.begin(); err != nil {
		return err
	}
	t.header = s.header
	for {
		tx, err := s.next(x.frames)
		if err != nil {
			return err
		}
		if tx == nil {
			t.writer.IdleAt(looked)
			return nil
		}
		if err := t.append(ctx, tx, stream.Commit{Position: t.position + 1, Time: t.stamp()}); err != nil {
			return err
		}
	}
}

// stamp is the present, and never before the one before.
func (t *Tracker) stamp() time.Time {
	now := time.Now().Round(0)
	if now.Before(t.lastStamp) {
		now = t.lastStamp
	}
	t.lastStamp = now
	return now
}

// append gives a transaction to the log; only then the state moves.
func (t *Tracker) append(ctx context.Context, tx *transaction, commit stream.Commit) error {
	commit.ID = uint64(commit.Position)
	before := t.sums.checksum()
	next := t.at
	next.frame, next.frameSum, next.pages = tx.last, tx.sum, tx.commit
	undo := t.sums.begin(tx)
	p := newParts(t.position, func(r stream.Record) error { return t.writer.Append(ctx, r) })
	err := t.encode(p, tx, commit, before, func(number uint32, page []byte) error {
		_, err := t.files.wal.ReadAt(page, t.header.offset(tx.pages[number])+frameHeaderBytes)
		return err
	})
	if err == nil {
		next.sum = t.sums.checksum()
		err = p.finish(&next, commit)
	}
	if err != nil {
		t.sums.undo(undo)
		return err
	}
	t.take(tx)
	t.at.sum = next.sum
	t.position, t.mayReset = commit.Position, false
	return nil
}

// encode writes the LTX file of a transaction.
func (t *Tracker) encode(p *parts, tx *transaction, commit stream.Commit, before ltx.Checksum, read func(uint32, []byte) error) error {
	enc, err := ltx.NewEncoder(p)
	if err != nil {
		return err
	}
	size := int64(frameHeaderBytes + t.header.pageBytes)
	header := ltx.Header{
		Version: ltx.Version, PageSize: t.at.pageBytes, Commit: tx.commit, MinTXID: ltx.TXID(t.position + 1), MaxTXID: ltx.TXID(commit.Position),
		Timestamp: commit.Time.UnixMilli(), PreApplyChecksum: before,
		WALOffset: t.header.offset(tx.first), WALSize: int64(tx.last-tx.first+1) * size, WALSalt1: t.at.salt[0], WALSalt2: t.at.salt[1],
	}
	if err := enc.EncodeHeader(header); err != nil {
		return err
	}
	page := make([]byte, t.header.pageBytes)
	for _, number := range slices.Sorted(maps.Keys(tx.pages)) {
		if number == ltx.LockPgno(t.at.pageBytes) {
			continue
		}
		if err := read(number, page); err != nil {
			return err
		}
		if err := enc.EncodePage(ltx.PageHeader{Pgno: number}, page); err != nil {
			return err
		}
		t.sums.set(number, page)
	}
	t.sums.cut(tx.commit)
	enc.SetPostApplyChecksum(t.sums.checksum())
	return enc.Close()
}
