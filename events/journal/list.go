package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/events"
)

// List returns the events that f chooses, the oldest first.
func (j *Journal) List(ctx context.Context, f events.Filter) ([]events.Event, error) {
	where, args := conditions(f)
	query := `select body from event where ` + where + ` order by id desc`
	if f.Limit > 0 {
		query += fmt.Sprintf(" limit %d", f.Limit)
	}
	return read[events.Event](ctx, j, query, args)
}

// Incidents returns the incidents that f chooses, in the order in which they were
// opened.
func (j *Journal) Incidents(ctx context.Context, f events.IncidentFilter) ([]events.Incident, error) {
	where, args := []string{"1"}, []any{}
	add := func(clause string, value any) { where, args = append(where, clause), append(args, value) }
	if !f.Since.IsZero() {
		add("(ended = 0 or ended >= ?)", f.Since.UnixMicro())
	}
	if f.Open {
		where = append(where, "ended = 0")
	}
	for _, equal := range [][2]string{{"pool", f.Pool}, {"endpoint", f.Endpoint}, {"process", f.Process}} {
		if equal[1] != "" {
			add(equal[0]+" = ?", equal[1])
		}
	}
	for _, equal := range [][2]string{{"backup", f.Backup}, {"repository", f.Repository}} {
		if equal[1] != "" {
			add("json_extract(body, '$."+equal[0]+"') = ?", equal[1])
		}
	}
	query := `select body from incident where ` + strings.Join(where, " and ") + ` order by id desc`
	if f.Limit > 0 {
		query += fmt.Sprintf(" limit %d", f.Limit)
	}
	return read[events.Incident](ctx, j, query, args)
}

// Settle withdraws the incidents that the file holds for open and that nobody
// follows any more: those not in open.
func (j *Journal) Settle(ctx context.Context, open []events.Incident, at time.Time) error {
	followed := map[int64]bool{}
	for _, i := range open {
		followed[i.ID] = true
	}
	written, err := j.Incidents(ctx, events.IncidentFilter{Open: true})
	if err != nil {
		return err
	}
	tx, err := j.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	for _, i := range written {
		if followed[i.ID] {
			continue
		}
		i.State, i.Ended = events.Withdrawn, at
		if err := insertIncidents(ctx, tx, []events.Incident{i}); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// read returns what a query finds newest first, as JSON, oldest first.
func read[T any](ctx context.Context, j *Journal, query string, args []any) ([]T, error) {
	rows, err := j.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", j.path, err)
	}
	defer rows.Close()
	var found []T
	for rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return nil, fmt.Errorf("read %s: %w", j.path, err)
		}
		var one T
		if err := json.Unmarshal(body, &one); err != nil {
			return nil, fmt.Errorf("read %s: %w", j.path, err)
		}
		found = append(found, one)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", j.path, err)
	}
	slices.Reverse(found)
	return found, nil
}

// conditions is the filter in SQL; it means the same as Filter.Match.
func conditions(f events.Filter) (where string, args []any) {
	clauses := []string{"id > ?"}
	args = []any{f.After}
	add := func(clause string, values ...any) { clauses, args = append(clauses, clause), append(args, values...) }
	if !f.Since.IsZero() {
		add("at >= ?", f.Since.UnixMicro())
	}
	if !f.Until.IsZero() {
		add("at < ?", f.Until.UnixMicro())
	}
	for _, equal := range [][2]string{{"pool", f.Pool}, {"endpoint", f.Endpoint}, {"process", f.Process}, {"listener", f.Listener}} {
		if equal[1] != "" {
			add(equal[0]+" = ?", equal[1])
		}
	}
	for _, equal := range [][2]string{{"backup", f.Backup}, {"repository", f.Repository}} {
		if equal[1] != "" {
			add("json_extract(body, '$."+equal[0]+"') = ?", equal[1])
		}
	}
	if len(f.Kinds) > 0 {
		var any []string
		for _, pattern := range f.Kinds {
			if prefix, open := strings.CutSuffix(pattern, "*"); open {
				any, args = append(any, "substr(kind, 1, length(?)) = ?"), append(args, prefix, prefix)
			} else {
				any, args = append(any, "kind = ?"), append(args, pattern)
			}
		}
		clauses = append(clauses, "("+strings.Join(any, " or ")+")")
	}
	if f.Incident != 0 {
		add("incident = ?", f.Incident)
	}
	for _, level := range events.Levels() {
		if !level.AtLeast(f.Level) {
			add("level <> ?", string(level))
		}
	}
	return strings.Join(clauses, " and "), args
}
