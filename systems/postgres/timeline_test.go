package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/trivet-ha/trivet/backup/repository/repotest"
	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

func TestFollowsAPromotionAndRecoversOnBothSidesOfIt(t *testing.T) {
	b := newBench(t)
	s := b.stream(StreamConfig{})
	b.SQL(t, "create table t (n int)")
	b.save(Config{})
	b.SQL(t, "insert into t values (1)")
	before := b.SQL(t, "insert into t values (2) returning xmin")
	standby := b.Standby(t)
	at := b.SQL(t, "select pg_current_wal_flush_lsn()")
	standby.Await(t, "select pg_last_wal_replay_lsn() >= '"+at+"'", "t")
	b.settle(s)
	s.stop()
	b.Kill()
	standby.Promote(t)
	s = b.stream(StreamConfig{Conninfo: standby.Conninfo()})
	after := standby.SQL(t, "insert into t values (3) returning xmin")
	standby.SQL(t, "insert into t values (4)")
	if standby.SQL(t, "select pg_walfile_name(pg_current_wal_lsn())")[:8] != "00000002" {
		t.Fatal("the standby is not on timeline 2")
	}
	end, err := wal.ParsePosition(standby.SQL(t, "select pg_current_wal_flush_lsn()"))
	if err != nil {
		t.Fatal(err)
	}
	b.eventually("the log is as far as the new primary", func() bool { return s.State().Durable >= end && s.State().Timeline == 2 })
	view, err := b.log().View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if problems := view.Problems(); len(problems) > 0 || len(view.Lines()) != 2 {
		t.Fatalf("the log has %d lines, and problems %v", len(view.Lines()), problems)
	}
	for target, want := range map[string]string{
		"latest": "1,2,3,4", "transaction " + before: "1,2", "transaction " + after: "1,2,3", "before " + after: "1,2",
	} {
		to, err := stream.ParseTarget(target)
		if err != nil {
			t.Fatal(err)
		}
		server, done := b.recover(Recovery{Target: to})
		if got := server.sql(t, "select string_agg(n::text, ',' order by n) from t"); got != want {
			t.Errorf("%s: t has %s, want %s; %v\n%s", target, got, want, done, server.Log())
		}
		// The copy must not begin a timeline that the cluster has.
		if got := server.sql(t, "select timeline_id from pg_control_checkpoint()"); got == "1" || (want != "1,2" && got != "3") {
			t.Errorf("%s: the copy is on timeline %s", target, got)
		}
	}
}

func TestABaseOfTheNewTimelineIsRecoveredToo(t *testing.T) {
	b := newBench(t)
	b.SQL(t, "create table t (n int)")
	standby := b.Standby(t)
	b.Kill()
	standby.Promote(t)
	s := b.stream(StreamConfig{Conninfo: standby.Conninfo()})
	base := b.save(Config{Conninfo: standby.Conninfo(), NoWAL: true})
	if base.Timeline != 2 || !strings.Contains(base.History, "1\t") {
		t.Errorf("base = %+v", base)
	}
	standby.SQL(t, "insert into t values (1)")
	end, err := wal.ParsePosition(standby.SQL(t, "select pg_current_wal_flush_lsn()"))
	if err != nil {
		t.Fatal(err)
	}
	b.eventually("the log is as far as the server", func() bool { return s.State().Durable >= end })
	server, _ := b.recover(Recovery{})
	if got := server.sql(t, "select count(*), (select timeline_id from pg_control_checkpoint()) from t"); got != "1|3" {
		t.Errorf("rows and timeline: %s", got)
	}
}

func TestWhatAStandbyNeverHadIsAbandonedAndSaid(t *testing.T) {
	b := newBench(t)
	s := b.stream(StreamConfig{})
	b.SQL(t, "create table t (n int)")
	b.save(Config{})
	standby := b.Standby(t)
	b.SQL(t, "insert into t values (1)")
	at := b.SQL(t, "select pg_current_wal_flush_lsn()")
	standby.Await(t, "select pg_last_wal_replay_lsn() >= '"+at+"'", "t")
	standby.Freeze()
	b.SQL(t, "set synchronous_commit = local; insert into t values (2)") // the log has it, the standby has not
	b.settle(s)
	s.stop()
	b.Kill()
	standby.Thaw()
	standby.Promote(t)
	s = b.stream(StreamConfig{Conninfo: standby.Conninfo()})
	standby.SQL(t, "insert into t values (3)")
	end, err := wal.ParsePosition(standby.SQL(t, "select pg_current_wal_flush_lsn()"))
	if err != nil {
		t.Fatal(err)
	}
	b.eventually("the log is as far as the new primary", func() bool { return s.State().Durable >= end && s.State().Timeline == 2 })
	s.mu.Lock()
	var lost *Abandoned
	for _, err := range s.reports {
		errors.As(err, &lost)
	}
	s.mu.Unlock()
	if standby.SQL(t, "select string_agg(n::text, ',' order by n) from t") == "1,3" {
		if lost == nil || lost.Timeline != 1 || lost.To <= lost.From || lost.Last.IsZero() {
			t.Errorf("reported %v", s.reports)
		}
	}
	server, _ := b.recover(Recovery{})
	if got, want := server.sql(t, "select string_agg(n::text, ',' order by n) from t"), standby.SQL(t, "select string_agg(n::text, ',' order by n) from t"); got != want {
		t.Errorf("the copy has %s, the new primary %s", got, want)
	}
	old, _ := b.recover(Recovery{Timeline: 1})
	if got := old.sql(t, "select string_agg(n::text, ',' order by n) from t"); got != "1,2" {
		t.Errorf("on timeline 1 t has %s, want 1,2", got)
	}
}

func TestAnotherServerOfTheSameTimelineIsNotMixedIn(t *testing.T) {
	b := newBench(t)
	s := b.stream(StreamConfig{})
	one, two := b.Standby(t), b.Standby(t)
	at := b.SQL(t, "select pg_current_wal_flush_lsn()")
	one.Await(t, "select pg_last_wal_replay_lsn() >= '"+at+"'", "t")
	two.Await(t, "select pg_last_wal_replay_lsn() >= '"+at+"'", "t")
	b.settle(s)
	s.stop()
	b.Kill()
	one.Promote(t)
	two.Promote(t) // at the same place, to the same number
	s = b.stream(StreamConfig{Conninfo: one.Conninfo()})
	one.SQL(t, "create table one (n int)")
	end, err := wal.ParsePosition(one.SQL(t, "select pg_current_wal_flush_lsn()"))
	if err != nil {
		t.Fatal(err)
	}
	b.eventually("the log is as far as the new primary", func() bool { return s.State().Durable >= end })
	s.stop()
	two.SQL(t, "create table two (n int)")
	two.SQL(t, "insert into two select generate_series(1, 10000)")
	bad, err := NewStreamer(StreamConfig{Conninfo: two.Conninfo(), Log: b.log()})
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan error, 100)
	bad.config.Report = func(err error) { heard <- err }
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = bad.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	for err := range heard {
		if errors.Is(err, ErrDiverged) {
			break
		}
		t.Log(err)
	}
	cancel()
	wg.Wait()
	if now := bad.State().Durable; now > end+64<<10 {
		t.Errorf("%v was written of another server", now)
	}
}

func TestOnlyWhatTheLogDoesNotHaveIsTheEndForPostgres(t *testing.T) {
	_, repo := repotest.New(t)
	log, err := stream.Open(repo, "orders")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "RECOVERYXLOG")
	for _, name := range []string{"000000010000000000000001", "00000002.history", "000000010000000000000001.partial"} {
		if code := FetchExitCode(Fetch(t.Context(), log, wal.DefaultSegments, name, path)); code != 1 {
			t.Errorf("%s: exit code %d, want 1", name, code)
		}
	}
	if code := FetchExitCode(os.ErrPermission); code <= 125 {
		t.Errorf("a log that cannot be read: exit code %d, want more than 125", code)
	}
	if code := FetchExitCode(nil); code != 0 {
		t.Errorf("success: exit code %d", code)
	}
}

func TestPostgresFetchesByRestoreCommand(t *testing.T) {
	b := newBench(t)
	s := b.stream(StreamConfig{})
	b.SQL(t, "create table t as select generate_series(1, 100) n")
	b.save(Config{NoWAL: true})
	b.SQL(t, "insert into t select generate_series(1, 400000)") // more than a segment
	b.SQL(t, "delete from t where n > 50")
	b.settle(s)
	s.stop() // what it still wrote, the server's user might not read
	order, err := json.Marshal(childOrder{Dir: b.dir, Master: b.repo.Master()})
	if err != nil {
		t.Fatal(err)
	}
	// The server's user may not read the test's own directories.
	program := filepath.Join(b.Folder(t, "program"), "fetch")
	text, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(program, text, 0o755)
	}
	if err == nil {
		err = os.WriteFile(program+".env", order, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.open(t, b.dir)
	command := "TRIVET_TEST_AS=fetch TRIVET_TEST_ORDER=$(cat " + program + ".env) " + program + " %f %p"
	server, done := b.recover(Recovery{RestoreCommand: command})
	if got := server.sql(t, "select count(*) from t"); got != "100" {
		t.Errorf("t has %s rows; %v\n%s", got, done, server.Log())
	}
	if done.LogFiles != 0 {
		t.Errorf("%d files were put in place besides", done.LogFiles)
	}
}
