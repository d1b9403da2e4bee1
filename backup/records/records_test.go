package records

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite" // the driver's only way in

	"github.com/trivet-ha/trivet/backup"
)

func open(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestARecordComesBackAsItWas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	now := time.Date(2030, 5, 1, 12, 0, 0, 123456789, time.UTC)
	want := backup.Record{
		Began: now, Ended: now.Add(time.Minute), Succeeded: now.Add(-time.Hour), Settled: now, Error: "disk full", Failures: 3, FailingSince: now, Overdue: true,
		Outcome: backup.Outcome{Text: "x", Partial: true, Files: 1 << 40, Notices: []backup.Notice{{Kind: backup.Shrunk, Text: "half"}}},
	}
	for range 2 { // writing over, and opening again
		r, err := Open(t.Context(), open(t, path))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Store(t.Context(), "uploads@vault", want); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Open(t.Context(), open(t, path))
	if err != nil {
		t.Fatal(err)
	}
	got, known, err := r.Load(t.Context(), "uploads@vault")
	if err != nil || !known {
		t.Fatal(known, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	if got, known, err := r.Load(t.Context(), "other"); err != nil || known || !got.Began.IsZero() {
		t.Errorf("%+v, %v, %v", got, known, err)
	}
}

func TestWhatALaterVersionWroteIsRefused(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "state.db"))
	if _, err := Open(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`update trivet_schema set version = 2`); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), db); err == nil || !strings.Contains(err.Error(), "later Trivet") {
		t.Errorf("got %v", err)
	}
}
