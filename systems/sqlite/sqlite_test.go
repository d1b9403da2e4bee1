package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/repository/repotest"
	"github.com/trivet-ha/trivet/backup/stream"
)

// shop is an application with a database, and a log for it.
type shop struct {
	*testing.T
	path string
	db   *sql.DB
	repo *repository.Repository
	log  *stream.Log
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{T: t, path: filepath.Join(t.TempDir(), "shop.db")}
	var err error
	if s.db, err = openApp(s.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.db.Close() })
	s.exec("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
	_, s.repo = repotest.New(t)
	if s.log, err = stream.Open(s.repo, "shop"); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shop) exec(query string, args ...any) {
	s.Helper()
	if _, err := s.db.Exec(query, args...); err != nil {
		s.Fatalf("%s: %v", query, err)
	}
}

func (s *shop) open(o Options) *Tracker {
	s.Helper()
	if o.Stream.Flush == 0 {
		o.Stream.Flush, o.Stream.Idle = 50*time.Millisecond, 50*time.Millisecond
	}
	tr, err := Open(s.Context(), s.path, s.log, o)
	if err != nil {
		s.Fatal(err)
	}
	return tr
}

// track runs a tracker while fn runs.
func (s *shop) track(o Options, fn func(*Tracker)) {
	s.Helper()
	tr := s.open(o)
	defer tr.Close()
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	fn(tr)
	cancel()
	if err := <-done; err != nil {
		s.Error(err)
	}
}

// now captures all there is, makes it durable, and returns a time to go back to.
func (s *shop) now(tr *Tracker) time.Time {
	s.Helper()
	if err := tr.Capture(s.Context()); err != nil {
		s.Fatal(err)
	}
	if err := tr.writer.Flush(s.Context()); err != nil {
		s.Fatal(err)
	}
	at := time.Now()
	for deadline := at.Add(time.Minute); !tr.Durable().Through.After(at); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatal("it is not durable in a minute")
		}
	}
	return at
}

func (s *shop) base(tr *Tracker) {
	s.Helper()
	if err := base(s.Context(), tr, s.repo); err != nil {
		s.Fatal(err)
	}
}

// restore goes back and returns the restored database's file.
func (s *shop) restore(t stream.Target) (string, Restored) {
	s.Helper()
	plan, err := s.log.PlanRecovery(s.Context(), s.repo, t)
	if err != nil {
		s.Fatal(err)
	}
	target := filepath.Join(s.TempDir(), "back.db")
	r, err := Restore(s.Context(), s.repo, plan, target, &backup.Progress{})
	if err != nil {
		s.Fatal(err)
	}
	return target, r
}

// live runs a query as the application does.
func (s *shop) live(query string) (n int) {
	s.Helper()
	if err := s.db.QueryRow(query).Scan(&n); err != nil {
		s.Fatalf("%s: %v", query, err)
	}
	return n
}

// ask runs a query on a file that nobody else uses.
func (s *shop) ask(path, query string) (n int) {
	s.Helper()
	db, err := OpenReadOnly(path)
	if err != nil {
		s.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		s.Fatalf("%s: %v", query, err)
	}
	return n
}

func TestADroppedTableComesBack(t *testing.T) {
	s := newShop(t)
	s.track(Options{}, func(tr *Tracker) {
		s.base(tr)
		for range 10 {
			s.exec("INSERT INTO orders (item) VALUES ('trivet')")
		}
		before := s.now(tr)
		s.exec("DROP TABLE orders")
		after := s.now(tr)
		path, r := s.restore(stream.At(before))
		if n := s.ask(path, "SELECT count(*) FROM orders"); n != 10 || r.Last.ID != 11 {
			t.Errorf("%d orders; the last transaction is %d", n, r.Last.ID)
		}
		path, _ = s.restore(stream.At(after))
		if n := s.ask(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'orders'"); n != 0 {
			t.Error("the table is there after it was dropped")
		}
		path, _ = s.restore(stream.BeforeCommit(12))
		if n := s.ask(path, "SELECT count(*) FROM orders"); n != 10 {
			t.Errorf("%d orders before the transaction", n)
		}
		path, _ = s.restore(stream.AtCommit(6))
		if n := s.ask(path, "SELECT count(*) FROM orders"); n != 5 {
			t.Errorf("%d orders at transaction 6", n)
		}
	})
}

func TestCheckpointsVacuumAndLargeTransactionsAreFollowed(t *testing.T) {
	s := newShop(t)
	var times []time.Time
	s.track(Options{WALBytes: 64 << 10}, func(tr *Tracker) {
		s.base(tr)
		for i := range 8 {
			s.exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) INSERT INTO orders (item) SELECT hex(randomblob(400)) FROM n")
			switch i % 4 {
			case 0:
				s.exec("PRAGMA wal_checkpoint(TRUNCATE)")
			case 1:
				s.exec("DELETE FROM orders WHERE id % 2 = 0")
				s.exec("VACUUM")
			case 2:
				s.exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) INSERT INTO orders (item) SELECT hex(randomblob(600)) FROM n")
				s.exec("DELETE FROM orders WHERE length(item) = 1200")
			}
			times = append(times, s.now(tr))
			if i == 5 {
				s.base(tr)
			}
		}
		if info, err := os.Stat(s.path + "-wal"); err != nil || tr.at.frame == 0 {
			t.Errorf("%v, %v", info, err)
		}
	})
	want := s.live("SELECT count(*) FROM orders")
	path, r := s.restore(stream.At(times[len(times)-1]))
	if n := s.ask(path, "SELECT count(*) FROM orders"); n != want {
		t.Errorf("%d orders of %d; %+v", n, want, r)
	}
	for _, at := range times {
		s.restore(stream.At(at)) // verifies the checksum of every page, and SQLite's own
	}
}

func TestTheWALIsKeptShort(t *testing.T) {
	s := newShop(t)
	s.track(Options{WALBytes: 256 << 10, Poll: time.Millisecond}, func(tr *Tracker) {
		s.base(tr)
		began := 0
		last := generation{}
		for deadline := time.Now().Add(time.Minute); began < 3 && time.Now().Before(deadline); {
			s.exec("INSERT INTO orders (item) VALUES (hex(randomblob(20000)))")
			tr.mu.Lock()
			if tr.at.salt != last {
				last = tr.at.salt
				began++
			}
			tr.mu.Unlock()
		}
		if began < 3 {
			t.Errorf("the write-ahead log began anew %d times", began)
		}
	})
	if n := len(s.lines()); n != 1 {
		t.Errorf("%d lines", n)
	}
}

func (s *shop) lines() []stream.LineStatus {
	s.Helper()
	v, err := s.log.View(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return v.Lines()
}

func TestALineGoesOnAfterARestart(t *testing.T) {
	for name, meanwhile := range map[string]func(*shop){
		"nothing happened":            func(*shop) {},
		"everything was checkpointed": func(s *shop) { s.exec("PRAGMA wal_checkpoint(TRUNCATE)") },
		"transactions were committed": func(s *shop) {
			s.exec("INSERT INTO orders (item) VALUES ('a'), ('b')")
			s.exec("DELETE FROM orders WHERE item = 'a'")
		},
		"a table was made and dropped": func(s *shop) { s.exec("CREATE TABLE x (y)"); s.exec("DROP TABLE x") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			s.track(Options{}, func(tr *Tracker) {
				s.base(tr)
				s.exec("INSERT INTO orders (item) VALUES ('trivet')")
				s.now(tr)
			})
			meanwhile(s)
			var at time.Time
			s.track(Options{}, func(tr *Tracker) {
				if tr.Fresh() {
					t.Error("a new line began")
				}
				s.exec("INSERT INTO orders (item) VALUES ('kettle')")
				at = s.now(tr)
			})
			path, _ := s.restore(stream.At(at))
			if got, want := s.ask(path, "SELECT count(*) FROM orders"), s.live("SELECT count(*) FROM orders"); got != want {
				t.Errorf("%d orders, want %d", got, want)
			}
		})
	}
}

func TestANewLineBeginsWhereSomethingIsMissing(t *testing.T) {
	s := newShop(t)
	s.track(Options{}, func(tr *Tracker) {
		s.base(tr)
		s.now(tr)
	})
	s.exec("INSERT INTO orders (item) VALUES ('unseen')")
	s.exec("PRAGMA wal_checkpoint(TRUNCATE)")
	s.exec("INSERT INTO orders (item) VALUES ('seen')")
	asked := make(chan struct{})
	s.track(Options{NeedBase: func() { close(asked) }}, func(tr *Tracker) {
		<-asked
		if !tr.Fresh() {
			t.Error("the line went on")
		}
		early := s.now(tr)
		if _, err := s.log.PlanRecovery(t.Context(), s.repo, stream.At(early)); !errors.Is(err, stream.ErrBeyond) {
			t.Errorf("a plan without a base: %v", err)
		}
		s.base(tr)
		path, _ := s.restore(stream.At(s.now(tr)))
		if n := s.ask(path, "SELECT count(*) FROM orders"); n != 2 {
			t.Errorf("%d orders", n)
		}
	})
	lines := s.lines()
	if len(lines) != 2 || lines[1].Branch.Parent != lines[0].ID() || lines[1].Timeline != 2 {
		t.Errorf("%+v", lines)
	}
}

func TestOneTrackerADatabase(t *testing.T) {
	s := newShop(t)
	tr := s.open(Options{})
	if _, err := Open(t.Context(), s.path, s.log, Options{}); !errors.Is(err, ErrTracked) {
		t.Errorf("a second one: %v", err)
	}
	tr.Close()
	s.open(Options{}).Close()
}

func TestADatabaseWithoutAWALIsRefused(t *testing.T) {
	s := newShop(t)
	s.exec("PRAGMA journal_mode = delete")
	if _, err := Open(t.Context(), s.path, s.log, Options{}); !errors.Is(err, ErrNotWAL) || !strings.Contains(err.Error(), "journal_mode = wal") {
		t.Errorf("%v", err)
	}
	if _, err := Open(t.Context(), s.path+"x", s.log, Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestRestoreRefusesBeforeItTouchesAnything(t *testing.T) {
	s := newShop(t)
	s.track(Options{}, func(tr *Tracker) {
		s.base(tr)
		s.now(tr)
	})
	plan, err := s.log.PlanRecovery(t.Context(), s.repo, stream.Latest())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, c := range []struct {
		target string
		want   error
	}{{s.path, ErrThere}, {filepath.Join(dir, "no", "such"), os.ErrNotExist}} {
		if _, err := Restore(t.Context(), s.repo, plan, c.target, &backup.Progress{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.target, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a.db-wal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), s.repo, plan, filepath.Join(dir, "a.db"), &backup.Progress{}); !errors.Is(err, ErrThere) {
		t.Errorf("beside a write-ahead log: %v", err)
	}
	plan.BaseBytes = 1 << 60
	if _, err := Restore(t.Context(), s.repo, plan, filepath.Join(dir, "b.db"), &backup.Progress{}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("without space: %v", err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}

func TestStockToolsOpenABase(t *testing.T) {
	s := newShop(t)
	s.track(Options{}, func(tr *Tracker) {
		s.exec("INSERT INTO orders (item) VALUES ('trivet')")
		s.base(tr)
	})
	bases, err := stream.Anchors(t.Context(), s.repo, "shop", stream.Base)
	if err != nil || len(bases) != 1 {
		t.Fatalf("%v, %v", bases, err)
	}
	node, err := s.repo.Lookup(t.Context(), *bases[0].Snapshot.Tree, s.path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := s.repo.OpenFile(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "plain.db")
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := CheckFile(t.Context(), out); err != nil {
		t.Error(err)
	}
	if n := s.ask(out, "SELECT count(*) FROM orders"); n != 1 {
		t.Errorf("%d orders", n)
	}
}

func FuzzWAL(f *testing.F) {
	f.Add(make([]byte, 32), make([]byte, 24+512), make([]byte, walIndexBytes))
	f.Fuzz(func(t *testing.T, head, frames, index []byte) {
		parseWALIndex(index)
		h, err := parseWALHeader(head)
		if err != nil {
			h = walHeader{pageBytes: 512, order: nativeOrder()}
		}
		sum := h.sum
		for size := frameHeaderBytes + h.pageBytes; len(frames) >= size; frames = frames[size:] {
			fr, err := h.parseFrame(frames[:size], sum)
			if err != nil {
				return
			}
			if fr.page == 0 {
				t.Fatal("page 0")
			}
			sum = fr.sum
		}
	})
}

func FuzzRecord(f *testing.F) {
	s := state{pageBytes: 4096, pages: 3}
	f.Add(s.appendTo([]byte{kindWhole}), s.appendTo([]byte{kindNote}))
	f.Add([]byte{kindFirst, 'L'}, s.appendTo([]byte{kindLast}))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		file, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		a := applier{file: file, position: 1}
		for i, data := range [][]byte{one, two} {
			_, _, _ = stateOf(data)
			from := stream.Position(1 + i)
			if a.take(&stream.Record{From: from, To: from + 1, Data: data}) != nil {
				return
			}
		}
	})
}
