// Package journal keeps events in an SQLite file, so that they outlive the
// process: written in batches, deleted by age and number.
//
// It decides nothing about events and holds up nobody: it reads them from a
// stream at its own pace. When the disk fails it tries again while the stream
// remembers what is not yet written.
package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver's only way in

	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/events/stream"
)

// Retention says how long events are kept. The zero of a limit is its default.
type Retention struct {
	Age    time.Duration // default 90 days: a quarter, for the reports
	Events int           // default 200 000: some tens of megabytes
}

func (r Retention) withDefaults() Retention {
	if r.Age == 0 {
		r.Age = 90 * 24 * time.Hour
	}
	if r.Events == 0 {
		r.Events = 200_000
	}
	return r
}

const (
	// pruneEvery is how often old events are deleted.
	pruneEvery = 10 * time.Minute
	// retryAfter is how long a batch waits when it could not be written.
	retryAfter = time.Second
	// busyTimeout is how long SQLite waits for a lock: while an upgrade is under
	// way, two processes write to the file.
	busyTimeout = 5 * time.Second
)

// Journal is an open file. Its methods may be called by any goroutine.
type Journal struct {
	db        *sql.DB
	path      string
	log       *slog.Logger
	retention atomic.Pointer[Retention]

	written atomic.Int64 // ID of the last event on disk
	events  atomic.Uint64
	errs    atomic.Uint64
	lost    atomic.Uint64
}

// The statements. The version is of the events' part of the file alone: others
// may keep tables of their own in it.
const schema = `
create table if not exists trivet_schema (part text primary key, version integer not null);
create table if not exists event (
	id       integer primary key,
	at       integer not null, -- microseconds since 1970
	kind     text not null,
	level    text not null,
	pool     text not null,
	endpoint text not null,
	process  text not null,
	listener text not null,
	incident integer not null,
	body     text not null     -- the event as JSON
);
create table if not exists incident (
	id       integer primary key,
	ended    integer not null, -- microseconds since 1970; 0 is not over
	pool     text not null,
	endpoint text not null,
	process  text not null,
	body     text not null     -- the incident as JSON
);
create index if not exists event_endpoint on event (pool, endpoint, id);
create index if not exists event_at on event (at);
insert into trivet_schema values ('event', 1) on conflict do nothing;`

const schemaVersion = 1

// Open opens or creates the file at path, with the folder above it. A file that
// is no database, or that a later version has written, is an error.
func Open(ctx context.Context, path string, keep Retention, log *slog.Logger) (*Journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open state file: %w", err)
	}
	// SQLite would create it readable by all.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open state file: %w", err)
	}
	f.Close()
	// NORMAL: a commit is on its way to the disk. A crash of the process loses
	// nothing; one of the machine may lose the last moments, never the file.
	q := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(NORMAL)", fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("open state file %s: %w", path, err)
	}
	db.SetMaxOpenConns(2) // one writes, one reads
	j := &Journal{db: db, path: path, log: log}
	j.Keep(keep)
	if err := j.prepare(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("open state file %s: %w", path, err)
	}
	return j, nil
}

func (j *Journal) prepare(ctx context.Context) error {
	if _, err := j.db.ExecContext(ctx, schema); err != nil {
		return err
	}
	version := 0
	if err := j.db.QueryRowContext(ctx, `select version from trivet_schema where part = 'event'`).Scan(&version); err != nil {
		return err
	}
	if version > schemaVersion {
		return fmt.Errorf("its events are of version %d, written by a later Trivet; this one knows version %d", version, schemaVersion)
	}
	var last sql.NullInt64
	if err := j.db.QueryRowContext(ctx, `select max(id) from event`).Scan(&last); err != nil {
		return err
	}
	j.written.Store(last.Int64)
	return j.prune(ctx, time.Now())
}

// Keep changes the retention.
func (j *Journal) Keep(r Retention) {
	r = r.withDefaults()
	j.retention.Store(&r)
}

// Database is the open file, for whoever keeps tables of his own in it. It is closed with the journal.
func (j *Journal) Database() *sql.DB { return j.db }

// Path returns the file's path.
func (j *Journal) Path() string { return j.path }

// Close closes the file. Run must have ended.
func (j *Journal) Close() error { return j.db.Close() }

// Run writes what happens from now on until the stream ends, and then returns
// nil; or until ctx ends, and returns its error.
func (j *Journal) Run(ctx context.Context, s *stream.Stream) error {
	pruned, from := time.Now(), s.After(j.Written())
	for {
		batch, lost, err := from.Next(ctx)
		if errors.Is(err, stream.ErrEnded) {
			return nil
		}
		if err != nil {
			return err
		}
		if lost > 0 {
			j.lost.Add(lost)
			j.log.Error("events are not in the state file: the disk was too slow for too long", "events", lost)
		}
		if err := j.persist(ctx, batch, incidentsOf(s, batch)); err != nil {
			return err
		}
		if now := time.Now(); now.Sub(pruned) > pruneEvery {
			pruned = now
			if err := j.prune(ctx, now); err != nil {
				j.failed("old events not deleted", err)
			}
		}
	}
}

// incidentsOf returns the incidents that a batch belongs to, as they stand now.
func incidentsOf(s *stream.Stream, batch []events.Event) []events.Incident {
	var all []events.Incident
	seen := map[int64]bool{}
	for _, e := range batch {
		if e.Incident == 0 || seen[e.Incident] {
			continue
		}
		seen[e.Incident] = true
		if i, ok := s.Incident(e.Incident); ok {
			all = append(all, i)
		}
	}
	return all
}

// persist writes a batch, as often as it takes.
func (j *Journal) persist(ctx context.Context, batch []events.Event, incidents []events.Incident) error {
	for first := true; ; first = false {
		err := j.Append(ctx, batch, incidents)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		j.errs.Add(1)
		if first {
			j.log.Error("events not written; trying again", "file", j.path, "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryAfter):
		}
	}
}

func (j *Journal) failed(what string, err error) {
	j.errs.Add(1)
	j.log.Error(what, "file", j.path, "error", err)
}

// Append writes events, and incidents as they stand, in one transaction. An
// event that is there already is left as it is; an incident is written over.
func (j *Journal) Append(ctx context.Context, batch []events.Event, incidents []events.Incident) error {
	if len(batch) == 0 {
		return nil
	}
	tx, err := j.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	if err := insertEvents(ctx, tx, batch); err != nil {
		return err
	}
	if err := insertIncidents(ctx, tx, incidents); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	j.written.Store(batch[len(batch)-1].ID)
	j.events.Add(uint64(len(batch)))
	return nil
}

func insertEvents(ctx context.Context, tx *sql.Tx, batch []events.Event) error {
	insert, err := tx.PrepareContext(ctx, `insert into event values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing`)
	if err != nil {
		return err
	}
	defer insert.Close()
	for i := range batch {
		e := &batch[i]
		body, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if _, err := insert.ExecContext(ctx, e.ID, e.At.UnixMicro(), string(e.Kind), string(e.Level), e.Pool, e.Endpoint, e.Process,
			e.Listener, e.Incident, string(body)); err != nil {
			return err
		}
	}
	return nil
}

func insertIncidents(ctx context.Context, tx *sql.Tx, incidents []events.Incident) error {
	for _, i := range incidents {
		body, err := json.Marshal(i)
		if err != nil {
			return err
		}
		ended := int64(0)
		if !i.Ended.IsZero() {
			ended = i.Ended.UnixMicro()
		}
		if _, err := tx.ExecContext(ctx, `insert or replace into incident values (?, ?, ?, ?, ?, ?)`, i.ID, ended, i.Pool, i.Endpoint,
			i.Process, string(body)); err != nil {
			return err
		}
	}
	return nil
}

// prune deletes what the retention no longer covers.
func (j *Journal) prune(ctx context.Context, now time.Time) error {
	keep := j.retention.Load()
	oldest := now.Add(-keep.Age).UnixMicro()
	if _, err := j.db.ExecContext(ctx, `delete from event where at < ?`, oldest); err != nil {
		return err
	}
	if _, err := j.db.ExecContext(ctx, `delete from incident where ended > 0 and ended < ?`, oldest); err != nil {
		return err
	}
	_, err := j.db.ExecContext(ctx, `delete from event where id <= (select id from event order by id desc limit 1 offset ?)`, keep.Events)
	return err
}

// Written returns the ID of the last event on disk; 0 is none.
func (j *Journal) Written() int64 { return j.written.Load() }

// Stats are a journal's counters.
type Stats struct {
	Written uint64 // events
	Errors  uint64 // of writing or deleting
	Lost    uint64 // events that could not be written in time
}

// Stats returns the counters since Open.
func (j *Journal) Stats() Stats {
	return Stats{Written: j.events.Load(), Errors: j.errs.Load(), Lost: j.lost.Load()}
}
