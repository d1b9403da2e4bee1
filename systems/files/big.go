package files

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files/scan"
)

// bigFile is a file that workers read in turns. Whoever has its task reads a buffer full, cuts it, puts the task back, and
// then does the rest of the work on its chunks while another worker reads on. Reading and cutting are a small part of the
// work: one file keeps all cores busy, and its chunks are those that a single reader would have cut.
type bigFile struct {
	d      *directory
	e      *entry
	fd     int
	stat   scan.Stat // at the last beginning
	began  time.Time
	offset int64 // where the next turn begins: always a cut

	attempt int
	pending atomic.Int32 // turns that are not done; one more until the end is reached
	failed  atomic.Bool  // it cannot be read

	mu    sync.Mutex
	parts [][]repository.ID // by turn
	bytes int64
}

func (j *job) startBig(d *directory, f *openFile) {
	b := &bigFile{d: d, e: f.e, fd: f.fd, attempt: 1}
	d.pending.Add(1)
	b.begin(f.stat, j.source.now())
	_ = unix.Fadvise(f.fd, 0, 0, unix.FADV_SEQUENTIAL)
	j.stack.push(task{dir: d, kind: readBig, big: b})
}

func (b *bigFile) begin(s scan.Stat, now time.Time) {
	b.stat, b.began, b.offset, b.parts, b.bytes = s, now, 0, nil, 0
	b.pending.Store(1)
}

// readBig takes a turn.
func (w *worker) readBig(b *bigFile) error {
	if w.buf == nil {
		w.buf = make([]byte, readBufferBytes)
	}
	turn := len(b.parts)
	b.mu.Lock()
	b.parts = append(b.parts, nil)
	b.mu.Unlock()
	var ids []repository.ID
	hole, err := w.skipHole(b)
	ids = append(ids, hole...)
	n, end := 0, false
	if err == nil {
		n, err = w.fillBuffer(b)
		end = n < len(w.buf)
	}
	if err != nil {
		if errors.Is(err, errRepository) {
			unix.Close(b.fd)
			return err
		}
		w.lost(b.d, b.e, fmt.Errorf("read: %w", err))
		b.failed.Store(true)
		return w.turnDone(b, 1)
	}
	cuts := w.cut(w.buf[:n], end)
	b.pending.Add(1)
	if end {
		b.offset += int64(n)
	} else {
		b.offset += int64(sum(cuts))
		w.j.stack.push(task{dir: b.d, kind: readBig, big: b})
	}
	return w.saveTurn(b, turn, ids, cuts, end)
}

// errRepository marks what went wrong in storing, not in reading.
var errRepository = errors.New("store")

func sum(lengths []int) (n int) {
	for _, l := range lengths {
		n += l
	}
	return n
}

func (w *worker) fillBuffer(b *bigFile) (n int, err error) {
	for n < len(w.buf) {
		m, err := pread(b.fd, w.buf[n:], b.offset+int64(n))
		if err != nil {
			return n, err
		}
		if m == 0 {
			break
		}
		n += m
	}
	return n, nil
}

// cut returns the lengths of the chunks. Unless data is the last of the file, what is behind the last sure cut is left for the
// next turn.
func (w *worker) cut(data []byte, end bool) (lengths []int) {
	for len(data) > 0 {
		n := w.j.target.Writer.Cut(data)
		if n == len(data) && n < repository.MaxChunkBytes && !end {
			break
		}
		lengths = append(lengths, n)
		data = data[n:]
	}
	return lengths
}

// saveTurn stores the chunks of a turn. The worker that has done the last turn concludes the file.
func (w *worker) saveTurn(b *bigFile, turn int, ids []repository.ID, cuts []int, end bool) error {
	start := 0
	for _, n := range cuts {
		id, _, err := w.session.SaveBlob(repository.DataBlob, w.buf[start:start+n])
		if err != nil {
			return fmt.Errorf("save %s: %w", b.d.childPath(b.e.name), err)
		}
		ids = append(ids, id)
		start += n
		w.j.target.Progress.Done(0, int64(n))
	}
	b.mu.Lock()
	b.parts[turn] = ids
	b.mu.Unlock()
	if end {
		return w.turnDone(b, 2)
	}
	return w.turnDone(b, 1)
}

// turnDone takes n from what is pending.
func (w *worker) turnDone(b *bigFile, n int32) error {
	if b.pending.Add(-n) > 0 {
		return nil
	}
	if b.failed.Load() {
		unix.Close(b.fd)
		return w.settle(b.d)
	}
	return w.concludeBig(b)
}

// concludeBig is called when all of the file is stored: it is done, or, if it changed meanwhile, begun again.
func (w *worker) concludeBig(b *bigFile) error {
	var after scan.Stat
	err := scan.FD(b.fd, &after)
	if err != nil {
		unix.Close(b.fd)
		w.lost(b.d, b.e, err)
		return w.settle(b.d)
	}
	steady := after.Mtime == b.stat.Mtime && after.Ctime == b.stat.Ctime && after.Size == b.stat.Size && b.offset == after.Size
	if !steady && b.attempt < readAttempts && b.offset*int64(b.attempt) <= retryBytes {
		b.attempt++
		w.j.target.Progress.Done(0, -b.offset)
		b.begin(after, w.j.source.now())
		w.j.stack.push(task{dir: b.d, kind: readBig, big: b})
		return nil
	}
	unix.Close(b.fd)
	e := b.e
	e.stat = b.stat
	content := e.extra.Content[:0]
	for _, part := range b.parts {
		for _, id := range part {
			content = append(content, id)
		}
	}
	e.extra.Content = content
	w.j.target.Progress.Done(0, -b.offset) // conclude counts them all
	w.conclude(b.d, e, b.offset, steady, b.began)
	return w.settle(b.d)
}

// skipHole returns the chunks of a hole at the offset, without reading it.
func (w *worker) skipHole(b *bigFile) ([]repository.ID, error) {
	if b.stat.Blocks*512 >= b.stat.Size {
		return nil, nil
	}
	data, err := unix.Seek(b.fd, b.offset, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		data, err = b.stat.Size, nil // a hole up to the end
	}
	if err != nil || data-b.offset < repository.MaxChunkBytes {
		return nil, nil // a file system that knows no holes, or none worth the trouble
	}
	zero, size, err := w.zeroChunk()
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", errRepository, b.d.childPath(b.e.name), err)
	}
	var ids []repository.ID
	for ; b.offset+repository.MaxChunkBytes <= data && len(ids) < holeChunks; b.offset += size {
		ids = append(ids, zero)
		w.j.target.Progress.Done(0, size)
	}
	return ids, nil
}

// holeChunks bounds what one turn takes of a hole.
const holeChunks = 4096

// zeroChunk is the chunk that zeros are cut into, and its size.
func (w *worker) zeroChunk() (repository.ID, int64, error) {
	clear(w.buf[:repository.MaxChunkBytes])
	n := w.j.target.Writer.Cut(w.buf[:repository.MaxChunkBytes])
	id, _, err := w.session.SaveBlob(repository.DataBlob, w.buf[:n])
	return id, int64(n), err
}
