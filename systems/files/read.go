package files

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files/scan"
	"github.com/trivet-ha/trivet/systems/files/state"
)

const (
	// readBufferBytes is a worker's buffer. Larger files are read by all workers in turns.
	readBufferBytes = 4 << 20
	// readAttempts is how often a file is read that changes meanwhile. retryBytes bounds what a
	// repetition may cost: a huge file that is always written to is read once.
	readAttempts = 3
	retryBytes   = 64 << 20
	// clockStep is the coarsest step of the clock that local file systems take their times from (100 Hz), with room. A file
	// changed less than that before it was read may change again without showing it.
	clockStep = 100 * time.Millisecond
	// coarseStep is the same for file systems that keep whole seconds only, or pairs of them (FAT).
	coarseStep = 2 * time.Second
)

var errChanging = errors.New("changed while it was read; the snapshot has it as it was read")

// opened is a file of a batch.
type openFile struct {
	e    *entry
	fd   int
	stat scan.Stat
}

// readFiles reads a batch. All files are opened first, and announced to the kernel: a disk can then fetch them together.
func (w *worker) readFiles(t task) error {
	d := t.dir
	var batch [batchFiles]openFile
	n := 0
	for _, i := range d.toRead[t.from:t.to] {
		f, ok := w.openFile(d, &d.entries[i])
		if !ok {
			continue
		}
		batch[n] = f
		n++
	}
	w.j.release(d)
	for k := range batch[:n] {
		f := &batch[k]
		if err := w.readOpen(d, f); err != nil {
			for _, rest := range batch[k:n] {
				if rest.fd >= 0 {
					unix.Close(rest.fd)
				}
			}
			return err
		}
	}
	return w.settle(d)
}

// openFile opens a file and stats it. A file that cannot be opened is left out.
func (w *worker) openFile(d *directory, e *entry) (openFile, bool) {
	dir, name := d.at(e.name)
	// A pipe that took the file's place since it was listed must not block us.
	fd, err := openQuietly(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if err != nil {
		w.lost(d, e, fmt.Errorf("open: %w", err))
		return openFile{}, false
	}
	f := openFile{e: e, fd: fd}
	err = scan.FD(fd, &f.stat)
	if err == nil && !f.stat.IsRegular() {
		err = errors.New("is no regular file any more")
	}
	if err != nil {
		unix.Close(fd)
		w.lost(d, e, err)
		return openFile{}, false
	}
	if f.stat.Size > 0 {
		_ = unix.Fadvise(fd, 0, min(f.stat.Size, readBufferBytes), unix.FADV_WILLNEED)
	}
	return f, true
}

// lost leaves a file out. That it vanished is no problem, unless it was asked for by its own name.
func (w *worker) lost(d *directory, e *entry, err error) {
	e.gone = true
	if !errors.Is(err, fs.ErrNotExist) || d.place != nil {
		w.j.missing(d, e.name, err)
	}
}

// readOpen reads a file that is open, and closes it, unless it hands it on as a big one: then its fd is -1.
func (w *worker) readOpen(d *directory, f *openFile) error {
	e := f.e
	w.showProgress(d, e.name)
	e.extra = &state.Extra{}
	if !w.j.config.NoXattrs {
		xattrs, err := w.xattrs.read(xattrSource{fd: f.fd})
		if err != nil {
			w.j.missing(d, e.name, err)
		}
		e.extra.Xattrs = xattrs
	}
	if f.stat.Size > readBufferBytes {
		w.j.startBig(d, f)
		f.fd = -1
		return nil
	}
	err := w.readSmall(d, f)
	if f.fd >= 0 {
		unix.Close(f.fd)
		f.fd = -1
	}
	return err
}

// readSmall reads a file that fits into the buffer, again if it changes meanwhile.
func (w *worker) readSmall(d *directory, f *openFile) error {
	if w.buf == nil {
		w.buf = make([]byte, readBufferBytes)
	}
	e := f.e
	for attempt := 1; ; attempt++ {
		began := w.j.source.now()
		n, more, err := readWhole(f.fd, w.buf, f.stat.Size)
		if err != nil {
			w.lost(d, e, fmt.Errorf("read: %w", err))
			return nil
		}
		if more { // it has grown beyond the buffer
			w.j.startBig(d, f)
			f.fd = -1
			return nil
		}
		var after scan.Stat
		if err := scan.FD(f.fd, &after); err != nil {
			w.lost(d, e, err)
			return nil
		}
		steady := after.Mtime == f.stat.Mtime && after.Ctime == f.stat.Ctime && after.Size == f.stat.Size && int64(n) == after.Size
		if !steady && attempt < readAttempts {
			f.stat = after
			continue
		}
		e.stat = f.stat
		if err := w.saveSmall(d, e, w.buf[:n]); err != nil {
			return err
		}
		w.conclude(d, e, int64(n), steady, began)
		return nil
	}
}

// readWhole reads a file from its beginning. more is set if buf is full and the file goes on.
func readWhole(fd int, buf []byte, expect int64) (n int, more bool, err error) {
	for n < len(buf) {
		m, err := pread(fd, buf[n:], int64(n))
		if err != nil {
			return n, false, err
		}
		n += m
		// At the end of a regular file the kernel gives less than was asked for: no second call for small ones.
		if m == 0 || int64(n) >= expect && n < len(buf) && m < len(buf) {
			return n, false, nil
		}
	}
	var one [1]byte
	m, err := pread(fd, one[:], int64(n))
	return n, m > 0, err
}

func pread(fd int, p []byte, offset int64) (int, error) {
	for {
		n, err := unix.Pread(fd, p, offset)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// saveSmall cuts and stores the content.
func (w *worker) saveSmall(d *directory, e *entry, data []byte) error {
	e.extra.Content = e.extra.Content[:0]
	for len(data) > 0 {
		n := w.j.target.Writer.Cut(data)
		id, _, err := w.session.SaveBlob(repository.DataBlob, data[:n])
		if err != nil {
			return fmt.Errorf("save %s: %w", d.childPath(e.name), err)
		}
		e.extra.Content = append(e.extra.Content, id)
		data = data[n:]
	}
	return nil
}

// conclude takes note of what was read. began is when reading did.
func (w *worker) conclude(d *directory, e *entry, size int64, steady bool, began time.Time) {
	e.stat.Size = size // the node tells the size of what is in the snapshot
	step := clockStep
	if e.stat.Ctime.Nsec == 0 {
		step = coarseStep
	}
	if !steady || e.stat.Ctime.Time().After(began.Add(-step)) {
		e.flags |= state.Uncertain
	}
	if !steady {
		w.j.report(backup.Note, d.childPath(e.name), errChanging)
	}
	w.j.counts.file(e.flags&wasSeen != 0, false, size)
	w.j.target.Progress.Done(1, size)
}

// showEvery is how often a worker says which file it is at.
const showEvery = 100 * time.Millisecond

func (w *worker) showProgress(d *directory, name string) {
	if now := w.j.source.now(); now.Sub(w.shown) >= showEvery {
		w.shown = now
		path := d.childPath(name)
		w.j.target.Progress.At(&path)
	}
}

// atime adds the time of access, which nothing else here depends on.
func (w *worker) atime(d *directory, e *entry, node *repository.Node) {
	var raw unix.Stat_t
	if err := unix.Lstat(d.childPath(e.name), &raw); err == nil {
		node.AccessTime = time.Unix(raw.Atim.Sec, raw.Atim.Nsec)
	}
}
