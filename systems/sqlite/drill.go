package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/drill"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/stream"
)

// Subject is a database for drills: what is in a repository and its log, without the database itself.
type Subject struct {
	Repository *repository.Repository
	Log        *stream.Log
}

var _ drill.Subject = Subject{}

// Plan implements drill.Subject.
func (s Subject) Plan(ctx context.Context, at time.Time) (drill.Recovery, error) {
	target := stream.Latest()
	if !at.IsZero() {
		target = stream.At(at)
	}
	plan, err := s.Log.PlanRecovery(ctx, s.Repository, target)
	if err != nil {
		return nil, err
	}
	return &rehearsal{s, plan}, nil
}

// Range implements drill.Subject.
func (s Subject) Range(ctx context.Context) (from, to time.Time, err error) {
	bases, err := stream.Anchors(ctx, s.Repository, s.Log.Database(), stream.Base)
	if err != nil {
		return from, to, err
	}
	if len(bases) == 0 {
		return from, to, fmt.Errorf("%w: there is none at all", stream.ErrNoBase)
	}
	newest, err := s.Log.PlanRecovery(ctx, s.Repository, stream.Latest())
	if err != nil {
		return from, to, err
	}
	return bases[0].Time, newest.Point.Through, nil
}

// rehearsal is a plan.
type rehearsal struct {
	subject Subject
	plan    *stream.Recovery
}

func (r *rehearsal) Bytes() int64 { return r.plan.BaseBytes }

// Restore implements drill.Recovery.
func (r *rehearsal) Restore(ctx context.Context, dir string) (drill.Opened, error) {
	path := filepath.Join(dir, "database")
	restored, err := Restore(ctx, r.subject.Repository, r.plan, path, &backup.Progress{})
	if err != nil {
		return nil, err
	}
	db, err := OpenReadOnly(path)
	if err != nil {
		return nil, err
	}
	return &rehearsed{db: db, facts: drill.Facts{
		Last: strconv.FormatUint(uint64(r.plan.Point.Position), 10), LastAt: restored.Last.Time, Through: r.plan.Point.Through,
		Bytes: restored.Bytes, Applied: restored.Applied,
	}}, nil
}

// rehearsed is an open database.
type rehearsed struct {
	db    *sql.DB
	facts drill.Facts
}

func (r *rehearsed) Facts() drill.Facts { return r.facts }
func (r *rehearsed) Close() error       { return r.db.Close() }

// Ask implements drill.Opened.
func (r *rehearsed) Ask(ctx context.Context, query string) (string, bool, error) {
	rows, err := r.db.QueryContext(ctx, query)
	if err != nil {
		return "", false, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", false, err
	}
	if !rows.Next() {
		return "", false, errors.Join(rows.Err(), errors.New("no row"))
	}
	values := make([]any, len(columns))
	for i := range values {
		values[i] = new(sql.NullString)
	}
	if err := rows.Scan(values...); err != nil {
		return "", false, err
	}
	if len(values) == 0 {
		return "", false, errors.New("no column")
	}
	v := *values[0].(*sql.NullString)
	if !v.Valid {
		return "NULL", false, nil
	}
	n, err := strconv.ParseFloat(v.String, 64)
	return v.String, v.String != "" && v.String != "false" && (err != nil || n != 0), nil
}
