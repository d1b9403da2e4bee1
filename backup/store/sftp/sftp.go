// Package sftp keeps a repository on another machine that offers SFTP, in the layout that restic uses there.
//
// It speaks SSH itself and runs no shell on either side. The host's key must be known: a key that is not in the
// known_hosts files, or differs, ends the attempt. A connection that breaks is opened anew by the next call;
// nothing is repeated (package retry does that).
package sftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/pkg/sftp"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/exact"
	"github.com/trivet-ha/trivet/backup/store/retry"
)

// partial ends the names of files that are being written. Such names are never listed.
const partial = ".partial-"

// Store is a repository on an SFTP server.
type Store struct {
	config Config
	line   *line
}

var _ store.Store = (*Store)(nil)

// New checks the configuration and reads the keys. It does not connect.
func New(c Config) (*Store, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	l, err := newLine(c)
	if err != nil {
		return nil, err
	}
	return &Store{config: c, line: l}, nil
}

// String is the place, without secrets.
func (s *Store) String() string {
	return fmt.Sprintf("sftp:%s@%s:%s", s.config.User, s.config.address(), s.config.Path)
}

// Close ends the connection.
func (s *Store) Close() error { return s.line.close() }

// do calls f with a connected client, and gives its error a meaning.
func (s *Store) do(ctx context.Context, what string, f func(*sftp.Client) error) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	c, err := s.line.client(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := f(c); err != nil {
		s.line.judge(c, err)
		return fmt.Errorf("%s: %w", what, meaning(err))
	}
	return nil
}

// meaning maps the answers of SFTP that are final. "Failure" is what a server says for anything else, a full
// disk included: it may pass.
func meaning(err error) error {
	var status *sftp.StatusError
	if errors.As(err, &status) {
		switch status.FxCode() {
		case sftp.ErrSSHFxNoSuchFile:
			return fmt.Errorf("%w (%w)", store.ErrNotExist, err)
		case sftp.ErrSSHFxPermissionDenied:
			return fmt.Errorf("%w (%w)", store.ErrDenied, err)
		case sftp.ErrSSHFxOpUnsupported:
			return retry.Permanent(err)
		}
	}
	return err
}

// Create makes the repository's directory.
func (s *Store) Create(ctx context.Context) error {
	return s.do(ctx, "create "+s.config.Path, func(c *sftp.Client) error { return makeDirectories(c, s.config.Path) })
}

func (s *Store) path(h store.Handle) (string, error) {
	if err := h.Valid(); err != nil {
		return "", retry.Permanent(err)
	}
	return path.Join(s.config.Path, h.Path()), nil
}

// Save writes under another name, makes the bytes durable, and renames: on an SFTP server a rename never
// replaces a file (draft-ietf-secsh-filexfer-02 §6.5).
func (s *Store) Save(ctx context.Context, h store.Handle, data []byte) error {
	name, err := s.path(h)
	if err != nil {
		return err
	}
	return s.do(ctx, "save "+h.String(), func(c *sftp.Client) error {
		if present, err := s.present(c, name, data); present || err != nil {
			return err
		}
		temp := name + partial + randomName()
		if err := s.write(ctx, c, temp, data); err != nil {
			_ = c.Remove(temp)
			return err
		}
		if err := c.Rename(temp, name); err != nil {
			_ = c.Remove(temp)
			if present, perr := s.present(c, name, data); present || errors.Is(perr, store.ErrExist) {
				return perr // another writer was faster
			}
			return err
		}
		syncDirectory(c, path.Dir(name))
		return nil
	})
}

// present reports whether the file is there as it should be; one of another size is store.ErrExist.
func (s *Store) present(c *sftp.Client, name string, data []byte) (bool, error) {
	info, err := c.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.Size() != int64(len(data)):
		return false, fmt.Errorf("%w with %d bytes, not %d", store.ErrExist, info.Size(), len(data))
	}
	return true, nil
}

// write makes a file, durable if the server can. Missing directories are made.
func (s *Store) write(ctx context.Context, c *sftp.Client, name string, data []byte) error {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	f, err := c.OpenFile(name, flags)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDirectories(c, path.Dir(name)); err != nil {
			return err
		}
		f, err = c.OpenFile(name, flags)
	}
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	_, err = f.ReadFromWithConcurrency(bytes.NewReader(data), s.config.Window)
	if err == nil {
		err = syncFile(c, f)
	}
	if !stop() {
		return context.Cause(ctx)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// makeDirectories is MkdirAll for several writers at once, and private.
func makeDirectories(c *sftp.Client, dir string) error {
	if info, err := c.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if parent := path.Dir(dir); parent != dir {
		if err := makeDirectories(c, parent); err != nil {
			return err
		}
	}
	err := c.Mkdir(dir)
	if err == nil {
		_ = c.Chmod(dir, 0o700)
		syncDirectory(c, path.Dir(dir))
		return nil
	}
	if info, serr := c.Stat(dir); serr == nil && info.IsDir() {
		return nil
	}
	return fmt.Errorf("make directory %s: %w", dir, err)
}

// syncFile makes a file durable. A server without fsync@openssh.com is taken at its word.
func syncFile(c *sftp.Client, f *sftp.File) error {
	if _, ok := c.HasExtension("fsync@openssh.com"); !ok {
		return nil
	}
	return f.Sync()
}

// syncDirectory makes names durable where the server lets a directory be opened, as OpenSSH's does.
func syncDirectory(c *sftp.Client, dir string) {
	d, err := c.Open(dir)
	if err != nil {
		return
	}
	_ = syncFile(c, d)
	_ = d.Close()
}

// Open reads from the offset on. A large read is asked for in many pieces at once.
func (s *Store) Open(ctx context.Context, h store.Handle, offset, length int64) (r io.ReadCloser, err error) {
	name, err := s.path(h)
	if err != nil {
		return nil, err
	}
	err = s.do(ctx, "open "+h.String(), func(c *sftp.Client) error {
		f, err := c.Open(name)
		if err != nil {
			return err
		}
		r, err = s.ranged(ctx, c, f, offset, length)
		if err != nil {
			f.Close()
		}
		return err
	})
	return r, err
}

func (s *Store) ranged(ctx context.Context, c *sftp.Client, f *sftp.File, offset, length int64) (io.ReadCloser, error) {
	if length < 0 {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		if length = info.Size() - offset; length < 0 {
			return nil, io.ErrUnexpectedEOF
		}
	}
	return exact.Reader(ctx, &reader{s: s, c: c, f: f, offset: offset, end: offset + length}, length), nil
}

// Stat asks for the size.
func (s *Store) Stat(ctx context.Context, h store.Handle) (info store.Info, err error) {
	name, err := s.path(h)
	if err != nil {
		return store.Info{}, err
	}
	err = s.do(ctx, "stat "+h.String(), func(c *sftp.Client) error {
		fi, err := c.Stat(name)
		if err == nil {
			info = store.Info{Name: h.Name, SizeBytes: fi.Size()}
		}
		return err
	})
	return info, err
}

// Remove deletes the file and makes that durable.
func (s *Store) Remove(ctx context.Context, h store.Handle) error {
	name, err := s.path(h)
	if err != nil {
		return err
	}
	err = s.do(ctx, "remove "+h.String(), func(c *sftp.Client) error {
		if err := c.Remove(name); err != nil {
			return err
		}
		syncDirectory(c, path.Dir(name))
		return nil
	})
	if errors.Is(err, store.ErrNotExist) {
		return nil
	}
	return err
}

// List walks the kind's directory.
func (s *Store) List(ctx context.Context, kind store.Kind, prefix string, fn func(store.Info) error) error {
	if kind == store.Config {
		info, err := s.Stat(ctx, store.Handle{Kind: store.Config})
		if errors.Is(err, store.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return fn(info)
	}
	var called error
	err := s.do(ctx, "list "+kind.String(), func(c *sftp.Client) error {
		w := walk{ctx: ctx, c: c, kind: kind, prefix: prefix, fn: fn, root: path.Join(s.config.Path, kind.Dir())}
		err := w.dir("")
		called = w.called
		return err
	})
	if called != nil {
		return called
	}
	return err
}

// walk is one listing.
type walk struct {
	ctx    context.Context
	c      *sftp.Client
	kind   store.Kind
	prefix string
	fn     func(store.Info) error
	root   string
	called error // the error of fn
}

func (w *walk) dir(rel string) error {
	entries, err := w.c.ReadDirContext(w.ctx, path.Join(w.root, rel))
	if errors.Is(err, fs.ErrNotExist) {
		return w.missing(rel, err)
	}
	if cause := context.Cause(w.ctx); cause != nil {
		return cause
	}
	if err != nil {
		return fmt.Errorf("read directory %s: %w", path.Join(w.root, rel), err)
	}
	for _, e := range entries {
		if err := w.entry(path.Join(rel, e.Name()), e); err != nil {
			return err
		}
	}
	return nil
}

// missing decides what a directory means that is not there: nothing, if the one above it is. Otherwise the
// repository itself is gone (a disk that is not mounted), and an empty listing would be a lie.
func (w *walk) missing(rel string, cause error) error {
	if info, err := w.c.Stat(path.Join(w.root, rel)); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is no directory", path.Join(w.root, rel))
		}
		return w.dir(rel) // it was made meanwhile
	}
	info, err := w.c.Stat(path.Dir(path.Join(w.root, rel)))
	if err != nil || !info.IsDir() {
		return cause
	}
	return nil
}

func (w *walk) entry(rel string, e fs.FileInfo) error {
	if e.IsDir() {
		if w.mayHold(rel) {
			return w.dir(rel)
		}
		return nil
	}
	name := rel
	if w.kind == store.Pack {
		name = path.Base(rel)
	}
	h := store.Handle{Kind: w.kind, Name: name}
	if !e.Mode().IsRegular() || h.Valid() != nil || strings.Contains(name, partial) || !strings.HasPrefix(name, w.prefix) {
		return nil
	}
	w.called = w.fn(store.Info{Name: name, SizeBytes: e.Size()})
	return w.called
}

// mayHold reports whether the directory can hold names with the prefix.
func (w *walk) mayHold(rel string) bool {
	switch w.kind {
	case store.Pack:
		return strings.HasPrefix(w.prefix, rel) || strings.HasPrefix(rel, w.prefix)
	case store.Log, store.Record:
		return strings.HasPrefix(w.prefix, rel+"/") || strings.HasPrefix(rel+"/", w.prefix)
	}
	return false
}
