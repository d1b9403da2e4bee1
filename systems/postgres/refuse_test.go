package postgres

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/backup/stream"
)

func TestRefusesBeforeAnythingIsTouched(t *testing.T) {
	b := newBench(t)
	plan := func(r Recovery) error {
		r.Repository, r.Name = b.repo, "orders"
		if r.Directory == "" {
			r.Directory = filepath.Join(t.TempDir(), "new", "data")
		}
		_, err := r.Plan(t.Context())
		return err
	}
	if err := plan(Recovery{Log: b.log()}); !errors.Is(err, ErrNoBase) {
		t.Errorf("without a base: %v", err)
	}
	s := b.stream(StreamConfig{})
	b.SQL(t, "create table t (n int)")
	b.settle(s)
	early := time.Now()
	b.save(Config{NoWAL: true})
	b.SQL(t, "insert into t values (1)")
	b.settle(s)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		r    Recovery
		want error
	}{
		{"a target with something in it", Recovery{Log: b.log(), Directory: full}, ErrNotEmpty},
		{"a running server", Recovery{Log: b.log(), Directory: b.Data()}, ErrRunning},
		{"a time before the base", Recovery{Log: b.log(), Target: stream.At(early.Add(-time.Hour))}, ErrNoBase},
		{"a time that has not come", Recovery{Log: b.log(), Target: stream.At(early.Add(time.Hour))}, stream.ErrBeyond},
		{"a transaction that never was", Recovery{Log: b.log(), Target: stream.AtCommit(4_000_000_000)}, stream.ErrNoCommit},
		{"a base without its log", Recovery{}, ErrNoBase},
		{"another engine", Recovery{Log: b.log(), Programs: t.TempDir()}, ErrWrongVersion},
	} {
		if err := plan(c.r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := plan(Recovery{Log: b.log()}); err != nil {
		t.Errorf("the plain recovery: %v", err)
	}
	entries, err := os.ReadDir(full)
	if err != nil || len(entries) != 1 {
		t.Errorf("the target has %v (%v)", entries, err)
	}
}

func TestDamagedPagesAreSavedAndReported(t *testing.T) {
	b := newBench(t)
	b.Checksum(t)
	b.SQL(t, "create table t as select n from generate_series(1, 10000) n")
	b.SQL(t, "checkpoint")
	file := filepath.Join(b.Data(), b.SQL(t, "select pg_relation_filepath('t')"))
	b.Stop(t)
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("damage"), 2*8192+1000)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	b.Start(t)
	base := b.save(Config{})
	if base.Damaged == 0 || len(b.problems) == 0 {
		t.Errorf("%d damaged, problems %v", base.Damaged, b.problems)
	}
}

func TestASynchronousStreamLosesNothing(t *testing.T) {
	b := newBench(t)
	s := b.stream(StreamConfig{Synchronous: true, Writer: stream.Options{Flush: time.Hour}}) // only what commits wait for is stored
	b.SQL(t, "create table t (n int)")
	b.save(Config{NoWAL: true})
	b.SQL(t, "alter system set synchronous_standby_names = 'trivet'")
	b.SQL(t, "select pg_reload_conf()")
	b.Await(t, "select sync_state from pg_stat_replication where application_name = 'trivet'", "sync")
	b.SQL(t, "insert into t values (1)")
	xid := b.SQL(t, "insert into t values (2) returning xmin") // acknowledged: so it is durable, without any waiting
	view, err := b.log().View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	target, err := stream.ParseTarget("transaction " + xid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := view.Find(t.Context(), view.Lines()[0].ID(), view.Lines()[0].Spans[0].From, target); err != nil {
		t.Errorf("an acknowledged transaction is not in the log: %v", err)
	}
	s.stop()
}

func TestASlotThatHoldsTooMuchIsGivenUpAndTheGapIsSaid(t *testing.T) {
	b := newBench(t)
	b.SQL(t, "alter system set max_slot_wal_keep_size = '16MB'")
	b.SQL(t, "select pg_reload_conf()")
	s := b.stream(StreamConfig{})
	if s.reported(ErrNoLimit) {
		t.Error("it says that there is no limit, and there is one")
	}
	b.SQL(t, "create table t (s text)")
	b.settle(s)
	s.stop()
	for range 12 { // the server throws away what nobody fetches
		b.SQL(t, "insert into t select repeat('x', 900) from generate_series(1, 10000)")
		b.SQL(t, "select pg_switch_wal()")
		b.SQL(t, "checkpoint")
	}
	b.Await(t, "select wal_status from pg_replication_slots", "lost")
	s = b.stream(StreamConfig{})
	b.SQL(t, "insert into t values ('after')")
	b.settle(s)
	view, err := b.log().View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gaps := slices.ContainsFunc(view.Problems(), func(err error) bool { var g *stream.Gap; return errors.As(err, &g) })
	s.mu.Lock()
	defer s.mu.Unlock()
	said := slices.ContainsFunc(s.reports, func(err error) bool { var g *stream.Gap; return errors.As(err, &g) })
	if !gaps || !said {
		t.Errorf("problems %v, reports %v", view.Problems(), s.reports)
	}
}

func TestAStreamBeginsWhereItsSlotDoes(t *testing.T) {
	b := newBench(t)
	b.SQL(t, "select pg_create_physical_replication_slot('trivet_orders', true)")
	b.SQL(t, "create table t (n int)")
	b.save(Config{NoWAL: true})
	b.SQL(t, "insert into t values (1)")
	b.SQL(t, "select pg_switch_wal()")
	b.SQL(t, "insert into t values (2)")
	b.settle(b.stream(StreamConfig{}))
	server, done := b.recover(Recovery{})
	if got := server.sql(t, "select count(*) from t"); got != "2" {
		t.Errorf("t has %s rows; %v", got, done)
	}
}
