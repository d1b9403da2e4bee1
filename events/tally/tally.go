// Package tally keeps what was counted, for thirteen months, in the state file: by the minute for two days, by the hour for
// five weeks, by the day after that. It also keeps the faults that are over, each with what it cost clients.
//
// It counts nothing by itself: rows are written, and read as they are asked for.
package tally

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver's only way in

	"github.com/trivet-ha/trivet/avail/report"
)

// step is how fine rows are, and until what age.
type step struct {
	long, keep time.Duration
}

// steps, the finest first. Thirteen months let a month be compared with the same one of the year before.
var steps = []step{
	{time.Minute, 48 * time.Hour},
	{time.Hour, 35 * 24 * time.Hour},
	{24 * time.Hour, 395 * 24 * time.Hour},
}

// Keep is how long things are kept at most.
const Keep = 395 * 24 * time.Hour

// Kind is what is counted.
type Kind string

// The kinds.
const (
	Whole Kind = "whole" // all requests; it has no name
	Route Kind = "route" // listener/route
	Pool  Kind = "pool"
)

// Row is what was counted of something.
type Row struct {
	Kind Kind
	Name string
	report.Counts
}

// Store is an open file. Its methods may be called by any goroutine.
type Store struct{ db *sql.DB }

// The version is of this part of the file alone.
const schema = `
create table if not exists trivet_schema (part text primary key, version integer not null);
create table if not exists tally (
	kind text    not null,
	name text    not null,
	step integer not null, -- seconds
	at   integer not null, -- seconds since 1970, of its beginning
	body text    not null, -- counts as JSON
	primary key (kind, name, step, at)
) without rowid;
create index if not exists tally_at on tally (step, at);
create table if not exists fault (
	id    integer primary key, -- of the incident
	ended integer not null,    -- seconds since 1970
	body  text    not null
);
create index if not exists fault_ended on fault (ended);
insert into trivet_schema values ('tally', 1) on conflict do nothing;`

const schemaVersion = 1

// Open opens or creates the file at path; "" keeps everything in memory. A file that a later version has written is an
// error.
func Open(ctx context.Context, path string) (*Store, error) {
	source := url.URL{Scheme: "file", Opaque: ":memory:"}
	if path != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("open state file: %w", err)
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would create it readable by all
		if err != nil {
			return nil, fmt.Errorf("open state file: %w", err)
		}
		f.Close()
		source.Opaque = (&url.URL{Path: path}).EscapedPath()
	}
	// While an upgrade is under way two processes write: a transaction that reads and then writes must have the lock from
	// its beginning.
	source.RawQuery = url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(NORMAL)", "busy_timeout(5000)"}, "_txlock": {"immediate"}}.Encode()
	db, err := sql.Open("sqlite", source.String())
	if err != nil {
		return nil, fmt.Errorf("open state file %s: %w", path, err)
	}
	db.SetMaxOpenConns(1) // a memory is one connection's
	s := &Store{db: db}
	if err := s.prepare(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("open state file %s: %w", path, err)
	}
	return s, nil
}

func (s *Store) prepare(ctx context.Context) error {
	if _, err := s.db.ExecContext(ctx, schema); err != nil {
		return err
	}
	version := 0
	if err := s.db.QueryRowContext(ctx, `select version from trivet_schema where part = 'tally'`).Scan(&version); err != nil {
		return err
	}
	if version > schemaVersion {
		return fmt.Errorf("its counts are of version %d, written by a later Trivet; this one knows version %d", version, schemaVersion)
	}
	return nil
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// Write adds what was counted in a minute, or a part of it, to what is there.
func (s *Store) Write(ctx context.Context, at time.Time, rows []Row) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		for _, r := range rows {
			if err := add(ctx, tx, r, steps[0].long, at); err != nil {
				return err
			}
		}
		return nil
	})
}

// write runs f in a transaction.
func (s *Store) write(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// add adds a row to the one of a step that a moment falls in.
func add(ctx context.Context, tx *sql.Tx, r Row, long time.Duration, at time.Time) error {
	seconds := int64(long / time.Second)
	begin := at.Unix() / seconds * seconds
	var body []byte
	var sum report.Counts
	err := tx.QueryRowContext(ctx, `select body from tally where kind = ? and name = ? and step = ? and at = ?`, string(r.Kind), r.Name, seconds, begin).Scan(&body)
	switch {
	case err == nil:
		if err := json.Unmarshal(body, &sum); err != nil {
			return err
		}
	case err != sql.ErrNoRows:
		return err
	}
	sum.Add(r.Counts)
	if body, err = json.Marshal(sum); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `insert or replace into tally values (?, ?, ?, ?, ?)`, string(r.Kind), r.Name, seconds, begin, string(body))
	return err
}

// Roll adds rows that have become old into those of the next step, and deletes what is older than all.
func (s *Store) Roll(ctx context.Context, now time.Time) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		for i, from := range steps {
			seconds := int64(from.long / time.Second)
			old := now.Add(-from.keep).Unix()
			if i+1 < len(steps) {
				next := int64(steps[i+1].long / time.Second)
				old = old / next * next // whole ones only, so that no time is in two
				if err := roll(ctx, tx, seconds, old, steps[i+1].long); err != nil {
					return err
				}
			}
			if _, err := tx.ExecContext(ctx, `delete from tally where step = ? and at < ?`, seconds, old); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `delete from fault where ended < ?`, now.Add(-Keep).Unix())
		return err
	})
}

// roll adds the rows of a step before a moment to a longer one.
func roll(ctx context.Context, tx *sql.Tx, seconds, before int64, into time.Duration) error {
	rows, err := tx.QueryContext(ctx, `select kind, name, at, body from tally where step = ? and at < ?`, seconds, before)
	if err != nil {
		return err
	}
	defer rows.Close()
	type key struct {
		kind Kind
		name string
		at   int64
	}
	sums := map[key]*report.Counts{}
	long := int64(into / time.Second)
	for rows.Next() {
		var k key
		var body []byte
		var c report.Counts
		if err := rows.Scan(&k.kind, &k.name, &k.at, &body); err != nil {
			return err
		}
		if err := json.Unmarshal(body, &c); err != nil {
			return err
		}
		k.at = k.at / long * long
		if sums[k] == nil {
			sums[k] = &report.Counts{}
		}
		sums[k].Add(c)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	rows.Close()
	for k, c := range sums {
		if err := add(ctx, tx, Row{Kind: k.kind, Name: k.name, Counts: *c}, into, time.Unix(k.at, 0)); err != nil {
			return err
		}
	}
	return nil
}

// Read returns what was counted of things of a kind in a time, by name, in order.
func (s *Store) Read(ctx context.Context, kind Kind, from, to time.Time) (map[string][]report.Point, error) {
	// A longer step that began before the time still has a part of it.
	rows, err := s.db.QueryContext(ctx, `select name, at, body from tally where kind = ? and at + step > ? and at < ? order by name, at`, string(kind), from.Unix(), to.Unix())
	if err != nil {
		return nil, fmt.Errorf("read counts: %w", err)
	}
	defer rows.Close()
	all := map[string][]report.Point{}
	for rows.Next() {
		var name string
		var body []byte
		var p report.Point
		if err := rows.Scan(&name, &p.At, &body); err != nil {
			return nil, fmt.Errorf("read counts: %w", err)
		}
		if err := json.Unmarshal(body, &p.Counts); err != nil {
			return nil, fmt.Errorf("read counts: %w", err)
		}
		all[name] = append(all[name], p)
	}
	return all, rows.Err()
}

// WriteFault keeps a fault that is over. One that is there already stays as it is.
func (s *Store) WriteFault(ctx context.Context, f report.Fault, ended time.Time) error {
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, `insert into fault values (?, ?, ?) on conflict do nothing`, f.ID, ended.Unix(), string(body))
	return err
}

// Faults returns those that were over in a time, in order.
func (s *Store) Faults(ctx context.Context, from, to time.Time) ([]report.Fault, error) {
	rows, err := s.db.QueryContext(ctx, `select body from fault where ended >= ? and ended <= ? order by id`, from.Unix(), to.Unix())
	if err != nil {
		return nil, fmt.Errorf("read faults: %w", err)
	}
	defer rows.Close()
	all := []report.Fault{}
	for rows.Next() {
		var body []byte
		var f report.Fault
		if err := rows.Scan(&body); err != nil {
			return nil, fmt.Errorf("read faults: %w", err)
		}
		if err := json.Unmarshal(body, &f); err != nil {
			return nil, fmt.Errorf("read faults: %w", err)
		}
		all = append(all, f)
	}
	return all, rows.Err()
}
