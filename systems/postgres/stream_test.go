package postgres

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

// log is the cluster's, in the bench's repository.
func (b *bench) log() *stream.Log {
	b.t.Helper()
	l, err := stream.Open(b.repo, "orders")
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

// streamed is a Streamer that runs until stop is called, or the test ends.
type streamed struct {
	*Streamer
	stop func()

	mu      sync.Mutex
	reports []error
}

func (b *bench) stream(c StreamConfig) *streamed {
	b.t.Helper()
	s := &streamed{}
	if c.Log == nil {
		c.Log = b.log()
	}
	if c.Conninfo == "" {
		c.Conninfo = b.Conninfo()
	}
	if c.Writer.Flush == 0 {
		c.Writer.Flush = 100 * time.Millisecond
	}
	c.Report = func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reports = append(s.reports, err)
	}
	var err error
	if s.Streamer, err = NewStreamer(c); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Run(ctx) })
	s.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	b.t.Cleanup(s.stop)
	b.eventually("the stream begins", func() bool { return s.State().Connected })
	return s
}

// reported reports whether an error of a kind was reported.
func (s *streamed) reported(kind error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, err := range s.reports {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

func (b *bench) eventually(what string, ok func() bool) {
	b.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-deadline:
			b.t.Fatalf("not within a minute: %s", what)
		}
	}
}

// settle waits until all that the server has is durable in the log.
func (b *bench) settle(s *streamed) wal.Position {
	b.t.Helper()
	at, err := wal.ParsePosition(b.SQL(b.t, "select pg_current_wal_flush_lsn()"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.eventually("the log is as far as the server", func() bool { return s.State().Durable >= at })
	return at
}

// recover plans and runs a recovery into a new folder, and starts the engine there.
func (b *bench) recover(r Recovery) (copyServer, Recovered) {
	b.t.Helper()
	done := b.bringBack(r)
	return startAt(b.t, b, done.recovery.Directory), done
}

func (b *bench) bringBack(r Recovery) Recovered {
	b.t.Helper()
	r.Repository, r.Name = b.repo, "orders"
	if r.Log == nil {
		r.Log = b.log()
	}
	if r.Directory == "" {
		r.Directory = filepath.Join(b.Folder(b.t, "recovered-"+time.Now().Format("150405.000000")), "data")
	}
	plan, err := r.Plan(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	done, err := plan.Run(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	b.give(filepath.Dir(r.Directory))
	return done
}

func TestRecoversToEachTarget(t *testing.T) {
	b := newBench(t)
	s := b.stream(StreamConfig{})
	b.SQL(t, "create table t (n int)")
	base := b.save(Config{NoWAL: true})
	b.SQL(t, "insert into t values (1)")
	xid := b.SQL(t, "insert into t values (2) returning xmin")
	b.SQL(t, "select pg_create_restore_point('before three')")
	now := b.SQL(t, "select clock_timestamp()")
	b.SQL(t, "insert into t values (3)")
	end := b.settle(s)
	b.SQL(t, "insert into t values (4)")
	b.settle(s)
	b.eventually("the log knows that nothing more happened", func() bool { return !s.State().Through.IsZero() })
	when, err := time.Parse("2006-01-02 15:04:05.999999-07", now)
	if err != nil {
		t.Fatal(err)
	}
	target := func(text string) stream.Target {
		t.Helper()
		to, err := stream.ParseTarget(text)
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	for _, c := range []struct {
		name string
		r    Recovery
		want string
	}{
		{"latest", Recovery{}, "1,2,3,4"},
		{"a time", Recovery{Target: stream.At(when)}, "1,2"},
		{"a position", Recovery{Target: stream.AtPosition(stream.Position(end))}, "1,2,3"},
		{"a transaction", Recovery{Target: target("transaction " + xid)}, "1,2"},
		{"before a transaction", Recovery{Target: target("before " + xid)}, "1"},
		{"a name", Recovery{RestorePoint: "before three"}, "1,2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := *b
			b.t = t
			server, done := b.recover(c.r)
			if got := server.sql(t, "select string_agg(n::text, ',' order by n) from t"); got != c.want {
				t.Errorf("t has %s, want %s\n%v\n%s", got, c.want, done, server.Log())
			}
			if done.Base.Snapshot.ID() != base.Snapshot.ID() || done.Timeline != 1 {
				t.Errorf("plan = %v", done.Plan)
			}
			if got := server.sql(t, "select timeline_id from pg_control_checkpoint()"); got != "2" {
				t.Errorf("the copy is on timeline %s", got)
			}
		})
	}
}
