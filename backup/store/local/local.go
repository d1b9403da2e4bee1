// Package local keeps a repository's files in a directory of this machine, in restic's default layout.
//
// A file appears under its name in one step, complete and synced, or not at all; it is never overwritten. Large
// files are written past the page cache (O_DIRECT), which costs less CPU time than their encryption.
// An error of fsync is final for the file: the kernel may have dropped the pages, so nothing is retried on it.
//
// It never deletes anything that it was not told to delete, except its own left-over temporary files.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup/store"
)

const (
	dirMode  = 0o700
	fileMode = 0o600

	// tempDir holds files that have no name yet, on file systems without O_TMPFILE.
	tempDir = "tmp"
	// tempMaxAge is the age at which a file in tempDir has no writer any more. A pack takes seconds.
	tempMaxAge = 24 * time.Hour
	// directMinBytes is the size from which writing past the page cache pays.
	directMinBytes = 1 << 20
)

// Store is a directory. It implements store.Store and store.Stager.
type Store struct {
	root string

	syncing sync.Mutex // one Barrier at a time: the second must not return before the first has synced

	mu    sync.Mutex
	dirty map[string]struct{} // directories with names that are not durable yet
	named bool                // the file system has no O_TMPFILE: temporary files need names
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Stager = (*Store)(nil)
)

// Create makes the directories of a repository in dir, which may exist already, and opens it.
func Create(dir string) (*Store, error) {
	dirs := []string{dir}
	for _, k := range store.Kinds() {
		switch k {
		case store.Config, store.Log, store.Record:
			continue
		}
		dirs = append(dirs, filepath.Join(dir, k.Dir()))
	}
	for i := range 256 {
		dirs = append(dirs, filepath.Join(dir, store.Pack.Dir(), fmt.Sprintf("%02x", i)))
	}
	for _, d := range dirs {
		if err := os.MkdirAll(d, dirMode); err != nil {
			return nil, fmt.Errorf("create repository directory: %w", err)
		}
	}
	for _, d := range []string{filepath.Join(dir, store.Pack.Dir()), dir, filepath.Dir(filepath.Clean(dir))} {
		if err := syncDir(d); err != nil {
			return nil, fmt.Errorf("create repository directory: %w", err)
		}
	}
	return Open(dir)
}

// Open uses the directory dir, which must exist. It does not look whether a repository is in it.
func Open(dir string) (*Store, error) {
	fi, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open repository directory: %w", err)
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("open repository directory: %s is not a directory", dir)
	}
	s := &Store{root: dir, dirty: make(map[string]struct{})}
	s.removeLeftovers(time.Now())
	return s, nil
}

// Dir is the directory that holds the repository.
func (s *Store) Dir() string { return s.root }

// String is the directory, for messages.
func (s *Store) String() string { return s.root }

// removeLeftovers deletes what a killed process left in tempDir. Nothing depends on it.
func (s *Store) removeLeftovers(now time.Time) {
	entries, err := os.ReadDir(filepath.Join(s.root, tempDir))
	if err != nil {
		return
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && fi.Mode().IsRegular() && now.Sub(fi.ModTime()) > tempMaxAge {
			_ = os.Remove(filepath.Join(s.root, tempDir, e.Name()))
		}
	}
}

func (s *Store) path(h store.Handle) string {
	return filepath.Join(s.root, filepath.FromSlash(h.Path()))
}

// Save implements store.Store.
func (s *Store) Save(ctx context.Context, h store.Handle, data []byte) error {
	if err := h.Valid(); err != nil {
		return err
	}
	f, err := s.stage(ctx, h.Kind, int64(len(data)))
	if err != nil {
		return fmt.Errorf("save %v: %w", h, err)
	}
	defer f.Discard()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("save %v: %w", h, err)
	}
	dir, err := f.commit(ctx, h)
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("save %v: %w", h, err)
	}
	return nil
}

// Open implements store.Store.
func (s *Store) Open(ctx context.Context, h store.Handle, offset, length int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := h.Valid(); err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, fmt.Errorf("open %v: negative offset %d", h, offset)
	}
	f, err := os.Open(s.path(h))
	if err != nil {
		return nil, fmt.Errorf("open %v: %w", h, err)
	}
	if length < 0 {
		fi, err := f.Stat()
		if err == nil && fi.Size() < offset {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("open %v: %w", h, err)
		}
		length = fi.Size() - offset
	}
	return &section{f: f, offset: offset, left: length}, nil
}

// section reads an exact range of a file.
type section struct {
	f            *os.File
	offset, left int64
}

func (r *section) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.f.ReadAt(p, r.offset)
	r.offset += int64(n)
	r.left -= int64(n)
	if err == io.EOF {
		err = nil
		if r.left > 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

func (r *section) Close() error { return r.f.Close() }

// Stat implements store.Store.
func (s *Store) Stat(ctx context.Context, h store.Handle) (store.Info, error) {
	if err := ctx.Err(); err != nil {
		return store.Info{}, err
	}
	if err := h.Valid(); err != nil {
		return store.Info{}, err
	}
	fi, err := os.Stat(s.path(h))
	if err != nil {
		return store.Info{}, fmt.Errorf("stat %v: %w", h, err)
	}
	return store.Info{Name: h.Name, SizeBytes: fi.Size()}, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, kind store.Kind, prefix string, fn func(store.Info) error) error {
	report := func(name string, e fs.DirEntry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !strings.HasPrefix(name, prefix) || !e.Type().IsRegular() ||
			(store.Handle{Kind: kind, Name: name}).Valid() != nil {
			return nil
		}
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed since the directory was read
		}
		if err != nil {
			return fmt.Errorf("list %vs: %w", kind, err)
		}
		return fn(store.Info{Name: name, SizeBytes: fi.Size()})
	}
	switch kind {
	case store.Config:
		info, err := s.Stat(ctx, store.Handle{Kind: store.Config})
		if errors.Is(err, fs.ErrNotExist) {
			return s.rootExists()
		}
		if err != nil {
			return err
		}
		return fn(info)
	case store.Pack:
		return s.listPacks(kind, prefix, report)
	case store.Log, store.Record:
		return s.listTree(kind, prefix, report)
	}
	return s.listDir(filepath.Join(s.root, kind.Dir()), kind, report)
}

func (s *Store) listDir(dir string, kind store.Kind, report func(string, fs.DirEntry) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list %vs: %w", kind, err)
	}
	for _, e := range entries {
		if err := report(e.Name(), e); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) listPacks(kind store.Kind, prefix string, report func(string, fs.DirEntry) error) error {
	data := filepath.Join(s.root, kind.Dir())
	subs, err := os.ReadDir(data)
	if err != nil {
		return fmt.Errorf("list %vs: %w", kind, err)
	}
	for _, sub := range subs {
		name := sub.Name()
		if !sub.IsDir() || len(name) != 2 || (len(prefix) >= 2 && prefix[:2] != name) {
			continue
		}
		if err := s.listDir(filepath.Join(data, name), kind, report); err != nil {
			return err
		}
	}
	return nil
}

// listTree walks a kind whose names are paths. Its directory is made with its first file.
func (s *Store) listTree(kind store.Kind, prefix string, report func(string, fs.DirEntry) error) error {
	base := filepath.Join(s.root, kind.Dir())
	start := base
	if i := strings.LastIndexByte(prefix, '/'); i > 0 && fs.ValidPath(prefix[:i]) {
		start = filepath.Join(base, filepath.FromSlash(prefix[:i]))
	}
	err := filepath.WalkDir(start, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if path == start && errors.Is(err, fs.ErrNotExist) {
				return s.rootExists()
			}
			return fmt.Errorf("list %vs: %w", kind, err)
		}
		if e.IsDir() {
			return nil
		}
		rel, err := filepath.Rel(base, path)
		if err != nil {
			return err
		}
		return report(filepath.ToSlash(rel), e)
	})
	return err
}

// rootExists tells an empty kind from a disk that is not mounted.
func (s *Store) rootExists() error {
	if _, err := os.Stat(s.root); err != nil {
		return fmt.Errorf("list: %w", err)
	}
	return nil
}

// Remove implements store.Store.
func (s *Store) Remove(ctx context.Context, h store.Handle) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := h.Valid(); err != nil {
		return err
	}
	path := s.path(h)
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("remove %v: %w", h, err)
	}
	return nil
}

// Barrier implements store.Stager.
func (s *Store) Barrier(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	dirs := s.dirty
	s.dirty = make(map[string]struct{})
	s.mu.Unlock()
	for dir := range dirs {
		if err := syncDir(dir); err != nil {
			s.markDirty(dirs)
			return fmt.Errorf("sync directory: %w", err)
		}
	}
	return nil
}

func (s *Store) markDirty(dirs map[string]struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range dirs {
		s.dirty[d] = struct{}{}
	}
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	// Some network file systems refuse fsync on a directory; they sync names by themselves.
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	return nil
}
