package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the driver's only way in
)

// Errors of opening.
var (
	// ErrTracked: another Trivet tracks the database.
	ErrTracked = errors.New("another Trivet streams this database")
	// ErrNotWAL: the database keeps a rollback journal, which tells nobody what has changed.
	ErrNotWAL = errors.New("the database has no write-ahead log")
)

// files are a database that is open twice: through SQLite, whose locks keep the WAL, and as files, which are read.
//
// POSIX takes away all locks that a process has on a file when it closes any descriptor of it. So the files are closed
// last, after all connections, and nothing else in this process may open the database.
type files struct {
	path    string
	db      *os.File
	wal     *os.File
	index   *os.File
	pool    *sql.DB
	reader  *sql.Conn // holds a read transaction
	writer  *sql.Conn // takes the writers' lock
	checker *sql.Conn // makes checkpoints
}

// busy is how long SQLite waits for a lock.
const busy = 2 * time.Second

func openFiles(ctx context.Context, path string) (f *files, err error) {
	f = &files{path: path}
	defer func() {
		if err != nil {
			f.close()
			err = fmt.Errorf("open %s: %w", path, err)
		}
	}()
	if f.db, err = os.Open(path); err != nil {
		return f, err
	}
	if err := unix.Flock(int(f.db.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return f, ErrTracked
		}
		return f, err
	}
	if f.pool, err = openPool(path); err != nil {
		return f, err
	}
	for _, c := range []**sql.Conn{&f.reader, &f.writer, &f.checker} {
		if *c, err = f.pool.Conn(ctx); err != nil {
			return f, err
		}
		if err := keepWAL(*c); err != nil {
			return f, err
		}
	}
	if err := f.checkMode(ctx); err != nil {
		return f, err
	}
	if err := begin(ctx, f.reader); err != nil {
		return f, err
	}
	if f.wal, err = os.Open(path + "-wal"); err != nil {
		return f, err
	}
	f.index, err = os.Open(path + "-shm")
	return f, err
}

func openPool(path string) (*sql.DB, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	q := url.Values{"mode": {"rw"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()), "wal_autocheckpoint(0)", "cache_size(-64)",
	}}
	return sql.Open("sqlite", (&url.URL{Scheme: "file", Path: absolute, RawQuery: q.Encode()}).String())
}

// keepWAL has SQLite leave the WAL where it is when the last connection closes: it deletes by name, and by then the name may be that
// of another database's.
func keepWAL(c *sql.Conn) error {
	return c.Raw(func(driver any) error {
		control, ok := driver.(interface {
			FileControlPersistWAL(dbName string, mode int) (int, error)
		})
		if !ok {
			return errors.New("the driver cannot keep a write-ahead log")
		}
		_, err := control.FileControlPersistWAL("main", 1)
		return err
	})
}

// replaced reports whether the name is another file's by now.
func (f *files) replaced() (bool, error) {
	mine, err := f.db.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return err == nil && !os.SameFile(mine, named), err
}

func (f *files) checkMode(ctx context.Context) error {
	var mode string
	if err := f.checker.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return err
	}
	if !strings.EqualFold(mode, "wal") {
		return fmt.Errorf("%w, but journal mode %s: run once: sqlite3 %s 'PRAGMA journal_mode = wal'", ErrNotWAL, mode, f.path)
	}
	return nil
}

// begin takes a read transaction: it begins with the first read.
func begin(ctx context.Context, c *sql.Conn) error {
	if _, err := c.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	var n int
	return c.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n)
}

// end ends a transaction that has changed nothing, whatever became of it.
func end(c *sql.Conn) error {
	_, err := c.ExecContext(context.Background(), "ROLLBACK")
	if err != nil && strings.Contains(err.Error(), "no transaction is active") {
		return nil
	}
	return err
}

// stopWriters takes the lock that writers need. It tries so often: SQLite gives the lock to whoever comes at the right moment.
func (f *files) stopWriters(ctx context.Context, tries int) error {
	for {
		_, err := f.writer.ExecContext(ctx, "BEGIN IMMEDIATE")
		if err == nil {
			return nil
		}
		err = errors.Join(err, end(f.writer))
		if tries--; tries <= 0 || ctx.Err() != nil {
			return err
		}
	}
}

// letWriters gives it back.
func (f *files) letWriters() error { return end(f.writer) }

// hold moves the read transaction to the present. Writers are stopped.
func (f *files) hold(ctx context.Context) error {
	if err := end(f.reader); err != nil {
		return err
	}
	return begin(ctx, f.reader)
}

// checkpoint copies what it can from the WAL to the database, without waiting for anybody.
func (f *files) checkpoint(ctx context.Context) error {
	var busy, log, done int
	return f.checker.QueryRowContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &log, &done)
}

// lookIndex reads how far the WAL is committed.
func (f *files) lookIndex(ctx context.Context) (walIndex, error) {
	var b [walIndexBytes]byte
	for attempt := range 200 {
		if _, err := f.index.ReadAt(b[:], 0); err != nil {
			return walIndex{}, fmt.Errorf("read the index of the write-ahead log: %w", err)
		}
		if x, ok := parseWALIndex(b[:]); ok {
			return x, nil
		}
		if attempt > 20 {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return walIndex{}, context.Cause(ctx)
			}
		}
	}
	return walIndex{}, errors.New("the index of the write-ahead log never comes to rest")
}

// close closes connections first: see files.
func (f *files) close() {
	for _, c := range []*sql.Conn{f.reader, f.writer, f.checker} {
		if c != nil {
			_ = end(c)
			_ = c.Close()
		}
	}
	if f.pool != nil {
		_ = f.pool.Close()
	}
	for _, file := range []*os.File{f.index, f.wal, f.db} {
		if file != nil {
			_ = file.Close()
		}
	}
}
