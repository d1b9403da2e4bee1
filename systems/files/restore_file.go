package files

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup/repository"
)

// maxOpenFiles bounds the files that stay open between two of their blobs.
const maxOpenFiles = 512

// holeBytes is the unit in which zeros become holes: the block of the usual file systems, times a few.
const holeBytes = 64 << 10

// restoreFile is a file being restored. Its blobs come in the order of the packs, from several goroutines.
type restoreFile struct {
	dir  *restoreDir
	node *repository.Node

	there   bool // it was there before, and is changed in place
	alike   bool // it had the same size and time
	left    atomic.Int32
	written atomic.Int64
	broken  atomic.Bool

	mu    sync.Mutex
	fd    int // -1 while it is not open
	users int
	made  bool
}

func (f *restoreFile) path() string { return f.dir.join(f.node.Name) }

// open opens the file for writing; the first time it is made. f.mu is held.
func (r *restore) open(f *restoreFile) error {
	dir, err := r.dirs.acquire(f.dir)
	if err != nil {
		return err
	}
	defer r.dirs.release(f.dir)
	if f.made || f.there {
		f.fd, err = openBeneath(dir, f.node.Name, unix.O_RDWR, 0)
	} else {
		f.fd, err = r.create(dir, f)
	}
	if err == nil {
		r.openNow.Add(1)
	}
	return err
}

// create makes a new file, in the place of anything that is there.
func (r *restore) create(dir int, f *restoreFile) (int, error) {
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_EXCL
	fd, err := openBeneath(dir, f.node.Name, flags, 0o600)
	if errors.Is(err, unix.EEXIST) {
		if err := removeAll(dir, f.node.Name); err != nil {
			return -1, err
		}
		fd, err = openBeneath(dir, f.node.Name, flags, 0o600)
	}
	if err != nil {
		return -1, err
	}
	f.made = true
	if !r.o.NoHoles && len(f.node.Content) > 1 {
		if err := unix.Ftruncate(fd, int64(f.node.Size)); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

// put writes a blob into the file. After the last one the file gets its metadata and is closed.
func (r *restore) put(f *restoreFile, at int64, data []byte) {
	if !f.broken.Load() {
		if err := r.write(f, at, data); err != nil {
			r.breakFile(f, err)
		}
	}
	if f.left.Add(-1) == 0 {
		r.conclude(f)
	}
}

// breakFile reports, once, that a file cannot be restored.
func (r *restore) breakFile(f *restoreFile, err error) {
	if !f.broken.Swap(true) {
		r.missing(f.path(), err)
	}
}

func (r *restore) write(f *restoreFile, at int64, data []byte) error {
	f.mu.Lock()
	if f.fd < 0 {
		if err := r.open(f); err != nil {
			f.mu.Unlock()
			return err
		}
	}
	f.users++
	fd := f.fd
	f.mu.Unlock()

	err := r.writeData(f, fd, at, data)

	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users--; f.users == 0 && r.openNow.Load() > maxOpenFiles && f.left.Load() > 1 {
		r.shut(f)
	}
	return err
}

// shut closes the file for now. f.mu is held.
func (r *restore) shut(f *restoreFile) {
	if f.fd >= 0 {
		unix.Close(f.fd)
		f.fd = -1
		r.openNow.Add(-1)
	}
}

// writeData writes data, and leaves holes where a new file has zeros.
func (r *restore) writeData(f *restoreFile, fd int, at int64, data []byte) error {
	if r.o.NoHoles || f.there || len(f.node.Content) == 1 {
		return r.pwrite(f, fd, at, data)
	}
	for len(data) > 0 {
		n := min(len(data), holeBytes)
		zero := isZero(data[:n])
		for n < len(data) && isZero(data[n:min(len(data), n+holeBytes)]) == zero {
			n = min(len(data), n+holeBytes)
		}
		if !zero {
			if err := r.pwrite(f, fd, at, data[:n]); err != nil {
				return err
			}
		}
		data, at = data[n:], at+int64(n)
	}
	return nil
}

// isZero reports whether p, which is not empty, is all zeros: each byte is like the one before it.
func isZero(p []byte) bool { return p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1]) }

func (r *restore) pwrite(f *restoreFile, fd int, at int64, p []byte) error {
	r.counts.written.Add(int64(len(p)))
	f.written.Add(int64(len(p)))
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, at)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		p, at = p[n:], at+int64(n)
	}
	return nil
}

// conclude gives a whole file its metadata.
func (r *restore) conclude(f *restoreFile) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.broken.Load() && f.fd < 0 {
		if err := r.open(f); err != nil {
			r.breakFile(f, err)
		}
	}
	if !f.broken.Load() {
		if err := r.describeOpen(f.fd, f.node); err != nil {
			r.missing(f.path(), err)
		}
	}
	r.shut(f)
	if f.broken.Load() {
		return
	}
	r.counts.files.Add(1)
	r.counts.bytes.Add(int64(f.node.Size))
	r.o.Progress.Done(1, int64(f.node.Size))
	switch written := f.written.Load(); {
	case f.there && written == 0:
		r.planFile(f, Unchanged, 0)
	case f.there:
		r.planFile(f, Updated, written)
	default:
		r.planFile(f, Created, written)
	}
}
