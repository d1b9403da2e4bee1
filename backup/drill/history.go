package drill

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

const schema = `
create table if not exists drill_run (
	id integer primary key,
	drill text not null,
	began integer not null, -- nanoseconds since 1970
	body text not null      -- the result as JSON
);
create index if not exists drill_run_by_drill on drill_run (drill, began);`

// keepRuns is how many results of a drill are kept: a daily one for almost three years.
const keepRuns = 1000

// History keeps results in an SQLite file that others use too. It does not open or close the file.
type History struct{ db *sql.DB }

// OpenHistory prepares the table in db.
func OpenHistory(ctx context.Context, db *sql.DB) (*History, error) {
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("open the history of drills: %w", err)
	}
	return &History{db: db}, nil
}

// Add keeps a result, and forgets the oldest of its drill beyond a thousand.
func (h *History) Add(ctx context.Context, r Result) error {
	body, err := json.Marshal(&r)
	if err == nil {
		_, err = h.db.ExecContext(ctx, `insert into drill_run (drill, began, body) values (?, ?, ?)`, r.Drill, r.Began.UnixNano(), string(body))
	}
	if err == nil {
		_, err = h.db.ExecContext(ctx, `delete from drill_run where drill = ? and id not in
			(select id from drill_run where drill = ? order by began desc limit ?)`, r.Drill, r.Drill, keepRuns)
	}
	if err != nil {
		return fmt.Errorf("keep the result of drill %s: %w", r.Drill, err)
	}
	return nil
}

// List returns the results of a drill since a time, the oldest first; of all drills if the name is empty.
func (h *History) List(ctx context.Context, name string, since time.Time) ([]Result, error) {
	from := int64(0)
	if !since.IsZero() {
		from = since.UnixNano()
	}
	rows, err := h.db.QueryContext(ctx, `select body from drill_run where (drill = ? or ? = '') and began >= ? order by began, id`, name, name, from)
	if err != nil {
		return nil, fmt.Errorf("read the history of drills: %w", err)
	}
	defer rows.Close()
	var out []Result
	for rows.Next() {
		var body []byte
		var r Result
		err := rows.Scan(&body)
		if err == nil {
			err = json.Unmarshal(body, &r)
		}
		if err != nil {
			return nil, fmt.Errorf("read the history of drills: %w", err)
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the history of drills: %w", err)
	}
	return out, nil
}

// Summary is what a history says of one drill.
type Summary struct {
	Drill          string
	Of             string
	Runs, Passed   int
	Last           Result
	LastPassed     time.Time // zero for never: when it was last proven
	RecoveryTimes  []time.Duration
	RecoveryPoints []time.Duration
}

// Summarize sums up results, which are the oldest first: for each drill the newest, when it last passed, and the measured recovery times
// and points of those that passed, sorted, as avail wants them.
func Summarize(results []Result) []Summary {
	var out []Summary
	for _, r := range results {
		i := slices.IndexFunc(out, func(s Summary) bool { return s.Drill == r.Drill })
		if i < 0 {
			i = len(out)
			out = append(out, Summary{Drill: r.Drill})
		}
		s := &out[i]
		s.Of, s.Last = r.Of, r
		s.Runs++
		if !r.Passed() {
			continue
		}
		s.Passed++
		s.LastPassed = r.Began
		s.RecoveryTimes = append(s.RecoveryTimes, r.RecoveryTime)
		if r.Target.IsZero() {
			s.RecoveryPoints = append(s.RecoveryPoints, r.RecoveryPoint)
		}
	}
	for i := range out {
		slices.Sort(out[i].RecoveryTimes)
		slices.Sort(out[i].RecoveryPoints)
	}
	return out
}

// ReadHistory is the history in a file that is only read. Where there is none, List fails.
func ReadHistory(db *sql.DB) *History { return &History{db: db} }
