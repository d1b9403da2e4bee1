// Package records keeps what is known of backup jobs in an SQLite file that others use too, so that runs that were missed
// are made up after a restart. It decides nothing, and never opens or closes the file.
package records

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/trivet-ha/trivet/backup"
)

const schema = `
create table if not exists trivet_schema (part text primary key, version integer not null);
create table if not exists backup_job (
	name text primary key,
	body text not null -- the record as JSON
);
insert into trivet_schema values ('backup_job', 1) on conflict do nothing;`

const schemaVersion = 1

// Records are the records of jobs, one each. It implements backup.Memory.
type Records struct{ db *sql.DB }

var _ backup.Memory = (*Records)(nil)

// Open prepares the tables in db. Tables that a later version has written are an error.
func Open(ctx context.Context, db *sql.DB) (*Records, error) {
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("open records of backups: %w", err)
	}
	version := 0
	if err := db.QueryRowContext(ctx, `select version from trivet_schema where part = 'backup_job'`).Scan(&version); err != nil {
		return nil, fmt.Errorf("open records of backups: %w", err)
	}
	if version > schemaVersion {
		return nil, fmt.Errorf("open records of backups: they are of version %d, written by a later Trivet; this one knows version %d", version, schemaVersion)
	}
	return &Records{db: db}, nil
}

// Load implements backup.Memory.
func (r *Records) Load(ctx context.Context, job string) (record backup.Record, known bool, err error) {
	var body []byte
	err = r.db.QueryRowContext(ctx, `select body from backup_job where name = ?`, job).Scan(&body)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return record, false, nil
	case err == nil:
		err = json.Unmarshal(body, &record)
	}
	if err != nil {
		return backup.Record{}, false, fmt.Errorf("read the record of %s: %w", job, err)
	}
	return record, true, nil
}

// Store implements backup.Memory.
func (r *Records) Store(ctx context.Context, job string, record backup.Record) error {
	body, err := json.Marshal(record)
	if err == nil {
		_, err = r.db.ExecContext(ctx, `insert or replace into backup_job values (?, ?)`, job, string(body))
	}
	if err != nil {
		return fmt.Errorf("write the record of %s: %w", job, err)
	}
	return nil
}
