package trivet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/systems/sqlite"
)

const oneDatabase = `
repositories: {vault: {store: DIR/vault, password_file: DIR/pw}}
databases: {shop: {sqlite: DIR/shop.db, repository: vault, flush: 50ms, keep: {last: 2}}}
drills:
  good: {restore: shop, check: ["select count(*) > 0 from orders"], recovery_time: 1h, recovery_point: 1h}
  bad: {restore: shop, point: random, check: ["select count(*) < 0 from orders"]}
`

// shopDatabase makes the database, and returns it as the application has it.
func shopDatabase(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "shop.db")+"?_pragma=journal_mode(wal)&_pragma=busy_timeout(20000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	order(t, db, "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
	return db
}

func order(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
}

// stream is how a database stands.
func (r *running) stream(name string) (d api.Database) {
	for _, one := range r.Status().Databases {
		if one.Name == name {
			d = one
		}
	}
	return d
}

// durable waits until all up to now is durable, and returns a time after it.
func (r *running) durable(name string) time.Time {
	r.t.Helper()
	at := time.Now()
	eventually(r.t, "all is durable", func() bool { return r.stream(name).Durable.After(at) })
	return r.stream(name).Durable
}

// bringBack restores the database to a time and counts its orders; -1 if there is no such table.
func bringBack(t *testing.T, yaml string, to stream.Target) (orders int, err error) {
	t.Helper()
	file, err := config.Parse("trivet.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	r, err := PlanDatabaseRestore(t.Context(), Config{File: file}, "shop", to)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	target := filepath.Join(t.TempDir(), "back.db")
	if err := r.CheckTarget(target); err != nil {
		return 0, err
	}
	if _, err := r.Restore(t.Context(), target, &backup.Progress{}); err != nil {
		return 0, err
	}
	db, err := sqlite.OpenReadOnly(target)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	if err := db.QueryRow("SELECT count(*) FROM orders").Scan(&orders); err != nil {
		if strings.Contains(err.Error(), "no such table") {
			return -1, nil
		}
		return 0, err
	}
	return orders, nil
}

func TestANodeStreamsADatabaseAndBringsItBack(t *testing.T) {
	dir, yaml := backupFiles(t, oneDatabase)
	db := shopDatabase(t, dir)
	r := start(t, yaml)
	r.done("shop@vault", 1)
	for range 5 {
		order(t, db, "INSERT INTO orders (item) VALUES ('trivet')")
	}
	before := r.durable("shop")
	order(t, db, "DROP TABLE orders")
	after := r.durable("shop")
	yaml = strings.ReplaceAll(yaml, "SOCKET", filepath.Join(dir, "s"))
	if n, err := bringBack(t, yaml, stream.At(before)); n != 5 || err != nil {
		t.Errorf("before: %d orders, %v", n, err)
	}
	if n, err := bringBack(t, yaml, stream.At(after)); n != -1 || err != nil {
		t.Errorf("after: %d orders, %v", n, err)
	}
	if _, err := bringBack(t, yaml, stream.At(time.Now().Add(time.Hour))); !errors.Is(err, stream.ErrBeyond) {
		t.Errorf("in an hour: %v", err)
	}
	if _, err := bringBack(t, yaml, stream.At(time.Now().Add(-time.Hour))); !errors.Is(err, stream.ErrNoBase) {
		t.Errorf("an hour ago: %v", err)
	}
	eventually(t, "it is told", func() bool {
		return slices.Contains(r.told(events.Filter{Backup: "shop", Repository: "vault"}), "database.streaming")
	})
	if got := r.told(events.Filter{Backup: "shop", Repository: "vault"}); !slices.Contains(got, "database.streaming") || !slices.Contains(got, "database.line") {
		t.Errorf("events %v", got)
	}
	if d := r.stream("shop"); d.State != "streaming" || d.Error != "" || d.Position < 6 || d.Line == "" {
		t.Errorf("%+v", d)
	}
	for _, want := range []string{`trivet_database_streaming{database="shop",repository="vault"} 1`, "trivet_database_stream_lag_seconds", "trivet_database_durable_position"} {
		if !strings.Contains(r.metrics(), want) {
			t.Errorf("no metric %s", want)
		}
	}
}

func TestAStreamEndsAndBeginsWithTheFile(t *testing.T) {
	dir, yaml := backupFiles(t, oneDatabase)
	db := shopDatabase(t, dir)
	r := start(t, yaml)
	r.done("shop@vault", 1)
	line := r.stream("shop").Line
	r.write(yaml[:strings.Index(yaml, "databases:")] + "\nadmin: {socket: SOCKET}\nstate: " + dir + "/state.db\n")
	if err := r.ReloadFile(context.Background()); err != nil {
		t.Fatal(err)
	}
	if s := r.Status(); len(s.Databases) != 0 {
		t.Errorf("%+v", s.Databases)
	}
	order(t, db, "INSERT INTO orders (item) VALUES ('unwatched')")
	r.write(yaml)
	if err := r.ReloadFile(context.Background()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it streams again", func() bool { return r.stream("shop").State == "streaming" })
	if got := r.stream("shop").Line; got != line {
		t.Errorf("line %s goes on as %s", line, got)
	}
	r.durable("shop")
	if n, err := bringBack(t, strings.ReplaceAll(yaml, "SOCKET", filepath.Join(dir, "s")), stream.Latest()); n != 1 || err != nil {
		t.Errorf("%d orders, %v", n, err)
	}
}

func TestADatabaseThatCannotBeStreamedIsAnIncident(t *testing.T) {
	dir, yaml := backupFiles(t, oneDatabase)
	r := start(t, yaml)
	eventually(t, "it is stalled", func() bool { return r.stream("shop").State == "stalled" })
	if d := r.stream("shop"); !strings.Contains(d.Error, "no such file") || d.Failures == 0 {
		t.Errorf("%+v", d)
	}
	shopDatabase(t, dir)
	eventually(t, "it streams", func() bool { return r.stream("shop").State == "streaming" })
	eventually(t, "both are told", func() bool {
		got := r.told(events.Filter{Backup: "shop", Repository: "vault"})
		i := slices.Index(got, "database.stalled")
		return i >= 0 && slices.Contains(got[i:], "database.streaming")
	})
}

func TestDrillsTellWhetherARecoveryWorks(t *testing.T) {
	dir, yaml := backupFiles(t, oneDatabase)
	db := shopDatabase(t, dir)
	r := start(t, yaml)
	r.done("shop@vault", 1)
	order(t, db, "INSERT INTO orders (item) VALUES ('trivet')")
	r.durable("shop")
	for _, name := range []string{"drill:good", "drill:bad"} {
		if _, err := r.StartBackup(name, ""); err != nil {
			t.Fatal(err)
		}
	}
	if b := r.done("drill:good", 1); b.Error != "" || !strings.Contains(b.Outcome.Text, "1 checks passed") || b.Kind != "drill" {
		t.Errorf("%+v", b)
	}
	if b := r.done("drill:bad", 1); !strings.Contains(b.Error, "check ") {
		t.Errorf("%+v", b)
	}
	results, err := r.backups.Drills(t.Context(), "", time.Time{})
	if err != nil || len(results) != 2 {
		t.Fatalf("%+v, %v", results, err)
	}
	for _, want := range []string{`trivet_drill_last_passed{database="shop",drill="good"} 1`, `trivet_drill_last_passed{database="shop",drill="bad"} 0`,
		`trivet_drill_runs_total{database="shop",drill="bad",result="failed"} 1`} {
		if !strings.Contains(r.metrics(), want) {
			t.Errorf("no metric %s", want)
		}
	}
	var kinds []string
	all, err := r.Events(t.Context(), events.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Drill != "" {
			kinds = append(kinds, fmt.Sprint(e.Drill, " ", e.Kind))
		}
	}
	if !slices.Contains(kinds, "good drill.passed") || !slices.Contains(kinds, "bad drill.failed") {
		t.Errorf("events %v", kinds)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "trivet-drill-*")); len(left) > 0 {
		t.Logf("scratch of somebody: %v", left)
	}
}

func TestBasesBeyondThoseKeptGoWithTheirLog(t *testing.T) {
	dir, yaml := backupFiles(t, oneDatabase)
	db := shopDatabase(t, dir)
	r := start(t, yaml)
	r.done("shop@vault", 1)
	first := r.durable("shop")
	for range 3 {
		order(t, db, "INSERT INTO orders (item) VALUES ('trivet')")
		r.durable("shop")
		run, err := r.StartBackup("shop", "")
		if err != nil {
			t.Fatal(err)
		}
		if b := r.done("shop@vault", run[0].Run); b.Error != "" {
			t.Fatal(b.Error)
		}
	}
	yaml = strings.ReplaceAll(yaml, "SOCKET", filepath.Join(dir, "s"))
	if n := len(snapshots(t, filepath.Join(dir, "vault"))); n != 2 {
		t.Errorf("%d bases", n)
	}
	if _, err := bringBack(t, yaml, stream.At(first)); !errors.Is(err, stream.ErrNoBase) {
		t.Errorf("before the oldest base: %v", err)
	}
	if n, err := bringBack(t, yaml, stream.Latest()); n != 3 || err != nil {
		t.Errorf("%d orders, %v", n, err)
	}
}
