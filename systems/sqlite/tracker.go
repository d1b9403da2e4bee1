package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/backup/stream"
)

// Engine is how lines of SQLite databases are called in their logs.
const Engine = "sqlite"

// ErrLost says that the write-ahead log began anew before it was captured, or the database was replaced.
var ErrLost = errors.New("the write-ahead log went on without us")

// Options say how a Tracker works. The zero value is right for most.
type Options struct {
	Stream stream.Options
	// Poll is how often the write-ahead log is looked at; 20ms if 0. It bounds how exactly the times of transactions are known.
	Poll time.Duration
	// WALBytes is the size at which the write-ahead log is brought into the database; 4 MiB if 0. It grows beyond that
	// while the store is not there, or while others read.
	WALBytes int64
	// NeedBase is called when a new line has begun: without a base, nothing can be restored from it.
	NeedBase func()
	Log      *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Poll <= 0 {
		o.Poll = 20 * time.Millisecond
	}
	if o.WALBytes <= 0 {
		o.WALBytes = 4 << 20
	}
	if o.NeedBase == nil {
		o.NeedBase = func() {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Tracker captures one database. Open starts nothing but takes locks: from then on, the write-ahead log is held. Close ends
// that.
type Tracker struct {
	path    string
	log     *stream.Log
	options Options
	files   *files
	writer  *stream.Writer
	fresh   bool // its line has no base

	mu     sync.Mutex // held while the WAL is read or moved on
	header walHeader  // of the generation, once its first frame is there
	at     state      // what is captured
	index  map[uint32]uint32
	sums   *sums
	// mayReset: nothing was captured since the read transaction began. Only then the WAL may have begun anew: SQLite begins it
	// anew before it appends to it, or not at all while we read.
	mayReset  bool
	owed      *debt
	bases     int // that are being read: the WAL must not begin anew
	position  stream.Position
	tried     time.Time // the last attempt to move the WAL on
	lastStamp time.Time
}

// Open opens a database and finds where its log ends. If nothing is missing in between, it goes on; otherwise it begins a new
// line, which needs a base. The error is ErrTracked or ErrNotWAL where that is the reason.
func Open(ctx context.Context, path string, log *stream.Log, o Options) (*Tracker, error) {
	t := &Tracker{path: path, log: log, options: o.withDefaults(), index: map[uint32]uint32{}}
	var err error
	if t.files, err = openFiles(ctx, path); err != nil {
		return nil, err
	}
	if err := t.resume(ctx); err != nil {
		t.files.close()
		return nil, fmt.Errorf("stream %s: %w", path, err)
	}
	return t, nil
}

// Close gives up the locks. Run must have ended.
func (t *Tracker) Close() { t.files.close() }

// Path is the database's file.
func (t *Tracker) Path() string { return t.path }

// Line is the line that is written.
func (t *Tracker) Line() stream.Line { return t.writer.Line() }

// Durable tells how far the database is in the store.
func (t *Tracker) Durable() stream.Mark { return t.writer.Durable() }

// Fresh reports whether the line is new: it needs a base.
func (t *Tracker) Fresh() bool { return t.fresh }

// survey reads the whole database as it is now. known is where its log ends, if it has one.
func (t *Tracker) survey(ctx context.Context, known *state) (since *transaction, err error) {
	if err := t.files.stopWriters(ctx, 15); err != nil {
		return nil, err
	}
	since, err = t.scanAll(ctx, known)
	if err := errors.Join(err, t.files.letWriters()); err != nil {
		return nil, err
	}
	if t.sums, err = sumImage(ctx, t.image()); err != nil {
		return nil, err
	}
	t.at.sum = t.sums.checksum()
	return since, nil
}

// scanAll reads the WAL from its beginning to its end, while writers are stopped. It returns what changed since a known state,
// as one; nil if the WAL does not say.
func (t *Tracker) scanAll(ctx context.Context, known *state) (since *transaction, err error) {
	if err := t.files.hold(ctx); err != nil {
		return nil, err
	}
	if err := t.files.checker.QueryRowContext(ctx, "PRAGMA page_size").Scan(&t.at.pageBytes); err != nil {
		return nil, err
	}
	if err := t.files.checker.QueryRowContext(ctx, "PRAGMA page_count").Scan(&t.at.pages); err != nil {
		return nil, err
	}
	x, err := t.files.lookIndex(ctx)
	if err != nil {
		return nil, err
	}
	t.at.salt, t.mayReset = x.salt, true
	if x.frames == 0 {
		return nil, nil
	}
	s := scanner{files: t.files, from: t.at}
	if err := s.begin(); err != nil {
		return nil, err
	}
	t.header = s.header
	if known != nil && known.salt == x.salt && known.frame == 0 {
		since = &transaction{first: 1, pages: map[uint32]uint32{}}
	}
	for {
		tx, err := s.next(x.frames)
		if err != nil {
			return nil, err
		}
		if tx == nil {
			break
		}
		if since != nil {
			since.join(tx)
		}
		t.take(tx)
		if known != nil && known.salt == x.salt && known.frame == tx.last && known.frameSum == tx.sum {
			since = &transaction{first: tx.last + 1, pages: map[uint32]uint32{}}
		}
	}
	if x.inFile == x.frames {
		clear(t.index)
	}
	return since, nil
}

// take moves the state to the end of a transaction, but for the checksum.
func (t *Tracker) take(tx *transaction) {
	for page, frame := range tx.pages {
		t.index[page] = frame
	}
	t.at.frame, t.at.frameSum, t.at.pages = tx.last, tx.sum, tx.commit
}

func (t *Tracker) image() *image {
	return &image{files: t.files, header: t.header, index: maps.Clone(t.index), bytes: int(t.at.pageBytes), pages: t.at.pages}
}

// Run captures until ctx ends, and then what is left. Its error is ErrLost when something was missed: then the database is to be
// opened again, which begins a new line. It is called once.
func (t *Tracker) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() {
		err := t.writer.Run(writing)
		if err != nil {
			cancel(err)
		}
		done <- err
	}()
	if t.fresh {
		t.options.NeedBase()
	}
	err := t.watch(ctx)
	stop()
	return errors.Join(err, <-done)
}

// lookAfter is how often the file is looked for under its name.
const lookAfter = time.Second

func (t *Tracker) watch(ctx context.Context) error {
	tick := time.NewTicker(t.options.Poll)
	defer tick.Stop()
	for looked := time.Now(); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			err := t.Capture(last)
			if errors.Is(err, stream.ErrStopped) || errors.Is(err, context.DeadlineExceeded) {
				return nil
			}
			return err
		}
		if time.Since(looked) > lookAfter {
			looked = time.Now()
			if other, err := t.files.replaced(); err != nil || other {
				return errors.Join(err, fmt.Errorf("%w: %s is another file now", ErrLost, t.path))
			}
		}
		if err := t.Capture(ctx); err != nil {
			if ctx.Err() != nil {
				continue
			}
			return err
		}
		if err := t.advance(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// Capture reads what was committed since the last time, and gives it to the log. It waits while the store takes nothing.
func (t *Tracker) Capture(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.capture(ctx); err != nil {
		return fmt.Errorf("capture %s: %w", t.path, err)
	}
	return nil
}

// Lag is how long ago the oldest transaction was captured that is not durable yet; 0 if all are.
func (t *Tracker) Lag(now time.Time) time.Duration { return t.writer.Lag(now) }
