package sqlite

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/stream"
)

// Errors of restoring.
var (
	// ErrThere: there is something at the place to restore to.
	ErrThere = errors.New("there is something already")
	// ErrCorrupt: what was restored is not a sound database.
	ErrCorrupt = errors.New("the restored database is not sound")
)

// CheckTarget says why a database cannot be restored to a file: it exists, its folder does not, or there is no space.
func CheckTarget(target string, needBytes int64) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if _, err := os.Lstat(target + suffix); err == nil {
			return fmt.Errorf("%s: %w; restore beside it, and put it in its place when nothing uses the old one", target+suffix, ErrThere)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	var s unix.Statfs_t
	dir := filepath.Dir(target)
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	if free := int64(s.Bavail) * s.Bsize; free < needBytes {
		return fmt.Errorf("%s has %d bytes free, and %d are needed: %w", dir, free, needBytes, unix.ENOSPC)
	}
	return nil
}

// Restored says what a restore came to.
type Restored struct {
	Bytes   int64 // of the database
	Applied int   // records of the log
	Last    stream.Commit
}

// Restore makes the database of a recovery plan at target, which must not exist. It is at its place only when it was found
// sound; an error leaves nothing.
func Restore(ctx context.Context, repo *repository.Repository, plan *stream.Recovery, target string, p *backup.Progress) (r Restored, err error) {
	if err := CheckTarget(target, plan.BaseBytes); err != nil {
		return r, fmt.Errorf("restore %s: %w", plan.Database, err)
	}
	random := make([]byte, 6)
	rand.Read(random)
	work := target + ".restoring-" + hex.EncodeToString(random)
	defer func() {
		if err != nil {
			for _, suffix := range []string{"", "-wal", "-shm"} {
				_ = os.Remove(work + suffix)
			}
			err = fmt.Errorf("restore %s: %w", plan.Database, err)
		}
	}()
	if r, err = build(ctx, repo, plan, work, p); err != nil {
		return r, err
	}
	if err := CheckFile(ctx, work); err != nil {
		return r, err
	}
	return r, place(work, target)
}

// place gives the file its name, unless somebody took it meanwhile.
func place(work, target string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, work, unix.AT_FDCWD, target, unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("name it %s: %w", target, err)
	}
	dir, err := os.Open(filepath.Dir(target))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// build writes the base and applies the log.
func build(ctx context.Context, repo *repository.Repository, plan *stream.Recovery, work string, p *backup.Progress) (r Restored, err error) {
	f, err := os.OpenFile(work, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := writeBase(ctx, repo, plan, f, p); err != nil {
		return r, err
	}
	a := applier{file: f, position: plan.Base.To}
	for rec, err := range plan.Records(ctx) {
		if err != nil {
			return r, err
		}
		p.Done(0, int64(len(rec.Data)))
		if err := a.take(&rec); err != nil {
			return r, fmt.Errorf("apply the log from position %d: %w", rec.From, err)
		}
	}
	if a.position != plan.Point.Position {
		return r, fmt.Errorf("the log ends at position %d, not %d", a.position, plan.Point.Position)
	}
	if err := a.verify(); err != nil {
		return r, err
	}
	if err := f.Sync(); err != nil {
		return r, err
	}
	info, err := f.Stat()
	if err != nil {
		return r, err
	}
	return Restored{Bytes: info.Size(), Applied: a.applied, Last: plan.Point.Last}, nil
}

func writeBase(ctx context.Context, repo *repository.Repository, plan *stream.Recovery, w io.Writer, p *backup.Progress) error {
	var node *repository.Node
	err := repo.Walk(ctx, *plan.Base.Snapshot.Tree, func(path string, n *repository.Node) error {
		if n.Type == repository.TypeFile {
			node = n
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the base: %w", err)
	}
	if node == nil {
		return fmt.Errorf("snapshot %s holds no database", plan.Base.Snapshot.ID().Short())
	}
	file, err := repo.OpenFile(ctx, node)
	if err != nil {
		return fmt.Errorf("read the base: %w", err)
	}
	if _, err := file.WriteTo(&countedWriter{w, p}); err != nil {
		return fmt.Errorf("restore the base: %w", err)
	}
	return nil
}

type countedWriter struct {
	w io.Writer
	p *backup.Progress
}

func (c *countedWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.p.Done(0, int64(n))
	return n, err
}

// applier applies records to a database file.
type applier struct {
	file     *os.File
	position stream.Position
	pending  bytes.Buffer // parts of an LTX file
	open     bool         // there are some
	state    state        // after the last record
	applied  int
	page     []byte
}

func (a *applier) take(r *stream.Record) error {
	if len(r.Data) == 0 {
		return nil
	}
	kind, rest := r.Data[0], r.Data[1:]
	switch kind {
	case kindFirst:
		a.pending.Reset()
		a.open = true
		a.pending.Write(rest)
		return nil
	case kindMore:
		if !a.open {
			return errRecord
		}
		a.pending.Write(rest)
		return nil
	}
	s, rest, err := parseState(rest)
	if err != nil {
		return err
	}
	switch kind {
	case kindNote:
		if r.From >= a.position {
			a.state = s
		}
		return nil
	case kindWhole:
		a.pending.Reset()
	case kindLast:
		if !a.open {
			return errRecord
		}
	default:
		return fmt.Errorf("%w: kind %q", errRecord, kind)
	}
	if r.From < a.position { // it is in the base
		a.open = false
		return nil
	}
	a.pending.Write(rest)
	a.open = false
	if err := a.apply(r); err != nil {
		return err
	}
	a.state, a.position = s, r.To
	a.applied++
	return nil
}

// apply writes the pages of an LTX file.
func (a *applier) apply(r *stream.Record) error {
	d := ltx.NewDecoder(&a.pending)
	d.SetRetainPageIndex(false)
	if err := d.DecodeHeader(); err != nil {
		return err
	}
	h := d.Header()
	if stream.Position(h.MinTXID) != r.From+1 || stream.Position(h.MaxTXID) != r.To {
		return fmt.Errorf("%w: transactions %d to %d", errRecord, h.MinTXID, h.MaxTXID)
	}
	if len(a.page) != int(h.PageSize) {
		a.page = make([]byte, h.PageSize)
	}
	for {
		var p ltx.PageHeader
		if err := d.DecodePage(&p, a.page); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if _, err := a.file.WriteAt(a.page, int64(p.Pgno-1)*int64(h.PageSize)); err != nil {
			return err
		}
	}
	if err := d.Close(); err != nil {
		return err
	}
	return a.file.Truncate(int64(h.Commit) * int64(h.PageSize))
}

// verify compares the file with the checksum of the database as it was.
func (a *applier) verify() error {
	if a.state.pageBytes == 0 {
		return nil // no record says: the base is all there is
	}
	if _, err := a.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	s, err := sumReader(a.file, int(a.state.pageBytes), int(a.state.pages))
	if err != nil {
		return err
	}
	if s.checksum() != a.state.sum || len(s.pages) != int(a.state.pages) {
		return fmt.Errorf("%w: the checksum of its %d pages is %v, and was %v", ErrCorrupt, len(s.pages), s.checksum(), a.state.sum)
	}
	return nil
}

// CheckFile has SQLite check a database that nobody else uses.
func CheckFile(ctx context.Context, path string) error {
	db, err := OpenReadOnly(path)
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, "PRAGMA integrity_check(5)")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return err
		}
		found = append(found, line)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if len(found) != 1 || found[0] != "ok" {
		return fmt.Errorf("%w: %s", ErrCorrupt, strings.Join(found, "; "))
	}
	return nil
}

// OpenReadOnly opens a database that nobody else uses or changes; no file appears beside it.
func OpenReadOnly(path string) (*sql.DB, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	q := url.Values{"mode": {"ro"}, "immutable": {"1"}}
	return sql.Open("sqlite", (&url.URL{Scheme: "file", Path: absolute, RawQuery: q.Encode()}).String())
}
