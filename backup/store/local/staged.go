package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup/store"
)

// bounceBytes is the size of the aligned buffer through which unaligned writes go.
const bounceBytes = 64 << 10

// staged is a file without a name. With O_TMPFILE it has none in the file system either, and vanishes
// with the process; otherwise it lies in tempDir.
type staged struct {
	s        *Store
	f        *os.File
	kind     store.Kind
	tempPath string // "" with O_TMPFILE
	direct   bool
	written  int64  // bytes in the file, a multiple of store.AlignBytes while direct
	size     int64  // bytes given to Write
	tail     []byte // bytes not written yet; aligned, less than its capacity
	err      error
	done     bool
}

// Stage implements store.Stager.
func (s *Store) Stage(ctx context.Context, kind store.Kind, sizeBytes int64) (store.Staged, error) {
	f, err := s.stage(ctx, kind, sizeBytes)
	if err != nil {
		return nil, fmt.Errorf("stage %v: %w", kind, err)
	}
	return f, nil
}

func (s *Store) stage(ctx context.Context, kind store.Kind, sizeBytes int64) (*staged, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	direct := sizeBytes >= directMinBytes
	f, tempPath, direct, err := s.createTemp(direct)
	if err != nil {
		return nil, err
	}
	if direct {
		// One allocation for the whole file, and a full disk is noticed before the work.
		if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, sizeBytes); errors.Is(err, unix.ENOSPC) {
			_ = f.Close()
			if tempPath != "" {
				_ = os.Remove(tempPath)
			}
			return nil, err
		}
	}
	return &staged{s: s, f: f, kind: kind, tempPath: tempPath, direct: direct}, nil
}

// createTemp opens a nameless file, or a named one in tempDir where the file system has no nameless
// ones, past the page cache if wanted and possible.
func (s *Store) createTemp(direct bool) (f *os.File, tempPath string, isDirect bool, err error) {
	s.mu.Lock()
	named := s.named
	s.mu.Unlock()
	flags := unix.O_RDWR | unix.O_CLOEXEC
	if direct {
		flags |= unix.O_DIRECT
	}
	if !named {
		fd, err := retryEINTR(func() (int, error) {
			return unix.Open(s.root, flags|unix.O_TMPFILE, fileMode)
		})
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), "nameless"), "", direct, nil
		case direct && errors.Is(err, unix.EINVAL):
			return s.createTemp(false)
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOENT):
			if _, serr := os.Stat(s.root); serr != nil {
				return nil, "", false, serr
			}
			s.mu.Lock()
			s.named = true
			s.mu.Unlock()
		default:
			return nil, "", false, &os.PathError{Op: "open", Path: s.root, Err: err}
		}
	}
	dir := filepath.Join(s.root, tempDir)
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, "", false, err
	}
	tempPath = filepath.Join(dir, rand.Text())
	fd, err := retryEINTR(func() (int, error) {
		return unix.Open(tempPath, flags|unix.O_CREAT|unix.O_EXCL, fileMode)
	})
	if direct && errors.Is(err, unix.EINVAL) {
		_ = os.Remove(tempPath) // some file systems create the file before they refuse
		return s.createTemp(false)
	}
	if err != nil {
		return nil, "", false, &os.PathError{Op: "open", Path: tempPath, Err: err}
	}
	return os.NewFile(uintptr(fd), tempPath), tempPath, direct, nil
}

func retryEINTR(fn func() (int, error)) (int, error) {
	for {
		n, err := fn()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// Write implements store.Staged.
func (f *staged) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n := len(p)
	if !f.direct {
		f.writeAt(p)
	} else {
		f.writeDirect(p)
	}
	if f.err != nil {
		return 0, f.err
	}
	f.size += int64(n)
	return n, nil
}

func (f *staged) writeDirect(p []byte) {
	for len(p) > 0 && f.err == nil {
		if len(f.tail) == 0 && len(p) >= store.AlignBytes && aligned(p) {
			whole := len(p) &^ (store.AlignBytes - 1)
			f.writeAt(p[:whole])
			p = p[whole:]
			continue
		}
		if f.tail == nil {
			f.tail = alignedBuffer(bounceBytes)[:0]
		}
		n := min(len(p), cap(f.tail)-len(f.tail))
		f.tail = append(f.tail, p[:n]...)
		p = p[n:]
		if whole := len(f.tail) &^ (store.AlignBytes - 1); whole == cap(f.tail) || (whole > 0 && len(p) >= store.AlignBytes) {
			f.writeAt(f.tail[:whole])
			f.tail = f.tail[:copy(f.tail, f.tail[whole:])]
		}
	}
}

// writeAt appends to the file itself. A file system that accepted O_DIRECT at open may still refuse
// a write: then the file goes on through the page cache.
func (f *staged) writeAt(p []byte) {
	for len(p) > 0 {
		n, err := f.f.WriteAt(p, f.written)
		f.written += int64(n)
		p = p[n:]
		if err == nil {
			continue
		}
		if f.direct && errors.Is(err, unix.EINVAL) {
			if err := f.leaveDirect(); err == nil {
				continue
			}
		}
		f.err = err
		return
	}
}

func (f *staged) leaveDirect() error {
	flags, err := unix.FcntlInt(f.f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	if flags&unix.O_DIRECT == 0 {
		return unix.EINVAL
	}
	_, err = unix.FcntlInt(f.f.Fd(), unix.F_SETFL, flags&^unix.O_DIRECT)
	return err
}

// Commit implements store.Staged.
func (f *staged) Commit(ctx context.Context, name string) error {
	h := store.Handle{Kind: f.kind, Name: name}
	if err := h.Valid(); err != nil {
		return err
	}
	dir, err := f.commit(ctx, h)
	if err != nil {
		return fmt.Errorf("commit %v: %w", h, err)
	}
	f.s.markDirty(map[string]struct{}{dir: {}})
	return nil
}

// commit syncs the content and gives it its name in dir.
func (f *staged) commit(ctx context.Context, h store.Handle) (dir string, err error) {
	if f.done {
		return "", fs.ErrClosed
	}
	if f.err != nil {
		return "", f.err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := f.finishContent(); err != nil {
		f.err = err
		return "", err
	}
	path := f.s.path(h)
	dir = filepath.Dir(path)
	err = f.link(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = f.s.makeDir(dir); err == nil {
			err = f.link(path)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		if fi, serr := os.Stat(path); serr == nil && fi.Size() == f.size {
			err = nil
		}
	}
	if err != nil {
		f.err = err
		return "", err
	}
	f.done = true
	if f.tempPath != "" {
		_ = os.Remove(f.tempPath)
	}
	// The content is synced and named: an error of close can't take that back.
	_ = f.f.Close()
	return dir, nil
}

// finishContent writes the tail, cuts the padding and syncs.
func (f *staged) finishContent() error {
	if n := len(f.tail); n > 0 {
		padded := f.tail[:(n+store.AlignBytes-1)&^(store.AlignBytes-1)]
		clear(padded[n:])
		f.writeAt(padded)
		if f.err != nil {
			return f.err
		}
	}
	if f.direct {
		// Also gives back what fallocate took beyond the end.
		if err := f.f.Truncate(f.size); err != nil {
			return err
		}
	}
	return f.f.Sync()
}

func (f *staged) link(path string) error {
	if f.tempPath != "" {
		return os.Link(f.tempPath, path)
	}
	// linkat(2): the way to name an O_TMPFILE without CAP_DAC_READ_SEARCH.
	proc := "/proc/self/fd/" + strconv.Itoa(int(f.f.Fd()))
	if err := unix.Linkat(unix.AT_FDCWD, proc, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "linkat", Old: proc, New: path, Err: err}
	}
	return nil
}

// makeDir makes dir and its parents below the root durable.
func (s *Store) makeDir(dir string) error {
	if err := s.rootExists(); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	for d := dir; d != s.root; {
		d = filepath.Dir(d)
		if err := syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// Discard implements store.Staged.
func (f *staged) Discard() error {
	if f.done {
		return nil
	}
	f.done = true
	if f.err == nil {
		f.err = fs.ErrClosed
	}
	err := f.f.Close()
	if f.tempPath != "" {
		err = errors.Join(err, os.Remove(f.tempPath))
	}
	return err
}

func aligned(p []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%store.AlignBytes == 0
}

// alignedBuffer allocates n bytes (a multiple of store.AlignBytes) at an aligned address.
func alignedBuffer(n int) []byte {
	raw := make([]byte, n+store.AlignBytes)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(raw))) % store.AlignBytes)
	return raw[skip : skip+n : skip+n]
}
