package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

// entry is one transaction as its client saw it.
type ledgerEntry struct {
	client, n   int
	sent, acked time.Time    // acked is zero if the client never heard
	before      wal.Position // the end of the log before it was sent
	after       wal.Position // and after it was acknowledged
}

// ledger is what clients know of their transactions.
type ledger struct {
	mu      sync.Mutex
	entries []ledgerEntry
}

func (l *ledger) add(e ledgerEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
}

func (l *ledger) acknowledged() []ledgerEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []ledgerEntry
	for _, e := range l.entries {
		if !e.acked.IsZero() {
			out = append(out, e)
		}
	}
	return out
}

// write has one client write transactions until ctx ends, over all faults of the server.
func (l *ledger) write(ctx context.Context, conninfo string, client int) {
	for n := 0; ctx.Err() == nil; {
		conn, err := pgconn.Connect(ctx, conninfo)
		if err != nil {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		for ctx.Err() == nil {
			n++
			e := ledgerEntry{client: client, n: n, sent: time.Now()}
			var ok bool
			if e.before, ok = position(ctx, conn); !ok {
				break
			}
			_, err := conn.Exec(ctx, fmt.Sprintf("insert into ledger values (%d, %d)", client, n)).ReadAll()
			if err == nil {
				e.acked = time.Now()
				if e.after, ok = position(ctx, conn); !ok {
					e.after = ^wal.Position(0)
				}
			}
			l.add(e)
			if err != nil {
				break
			}
		}
		conn.Close(context.Background())
	}
}

func position(ctx context.Context, conn *pgconn.PgConn) (wal.Position, bool) {
	results, err := conn.Exec(ctx, "select pg_current_wal_insert_lsn()").ReadAll()
	if err != nil || len(results) != 1 || len(results[0].Rows) != 1 {
		return 0, false
	}
	p, err := wal.ParsePosition(string(results[0].Rows[0][0]))
	return p, err == nil
}

// compare checks what a copy has: all that must be there, and nothing that must not.
func (l *ledger) compare(t testing.TB, s copyServer, must, mustNot func(ledgerEntry) bool) (there int) {
	t.Helper()
	have := map[[2]int]bool{}
	for line := range strings.SplitSeq(s.sql(t, "select client, n from ledger"), "\n") {
		client, n, ok := strings.Cut(line, "|")
		if !ok {
			continue
		}
		c, _ := strconv.Atoi(client)
		m, _ := strconv.Atoi(n)
		have[[2]int{c, m}] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known := map[[2]int]bool{}
	bad := 0
	for _, e := range l.entries {
		key := [2]int{e.client, e.n}
		known[key] = true
		switch {
		case !have[key] && must(e):
			bad++
			t.Errorf("%d/%d is missing: sent %v, acknowledged %v, %v to %v", e.client, e.n, e.sent, e.acked, e.before, e.after)
		case have[key] && mustNot(e):
			bad++
			t.Errorf("%d/%d should not be there: sent %v, acknowledged %v, %v to %v", e.client, e.n, e.sent, e.acked, e.before, e.after)
		}
		if bad > 5 {
			t.Fatal("and so on")
		}
	}
	for key := range have {
		if !known[key] {
			t.Errorf("%v was never written", key)
		}
	}
	return len(have)
}

// child starts this test's program as a streamer, which can be killed.
func (b *bench) child(synchronous bool) *exec.Cmd {
	b.t.Helper()
	cmd := exec.Command(os.Args[0])
	order, err := json.Marshal(childOrder{Dir: b.dir, Conninfo: b.Conninfo(), Master: b.repo.Master(), Synchronous: synchronous})
	if err != nil {
		b.t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "TRIVET_TEST_AS=streamer", "TRIVET_TEST_ORDER="+string(order))
	if testing.Verbose() {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { kill(cmd) })
	return cmd
}

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// rounds is how often the ledger is compared: a few times, or often enough to believe in.
func rounds() int {
	if os.Getenv("TRIVET_TEST_LONG") != "" {
		return 25
	}
	return 3
}

// load is pgbench beside the ledger's clients.
func (b *bench) load(ctx context.Context, l *ledger, wg *sync.WaitGroup) {
	b.Run(b.t, "pgbench", "--initialize", "--scale=2", "--quiet")
	b.SQL(b.t, "create table ledger (client int, n int)")
	b.SQL(b.t, "create extension if not exists amcheck")
	for client := range 3 {
		wg.Go(func() { l.write(ctx, b.Conninfo(), client) })
	}
	wg.Go(func() {
		for ctx.Err() == nil { // it ends when the server is killed
			_, _ = b.Try("pgbench", "--client=2", "--time=2", "--no-vacuum")
		}
	})
}

// sound checks what must hold in every state that pgbench leaves, and that indexes agree with tables.
func sound(t testing.TB, s copyServer) {
	t.Helper()
	got := s.sql(t, `select (select sum(abalance) from pgbench_accounts) = (select coalesce(sum(delta), 0) from pgbench_history),
		(select sum(tbalance) from pgbench_tellers) = (select coalesce(sum(delta), 0) from pgbench_history),
		(select sum(bbalance) from pgbench_branches) = (select coalesce(sum(delta), 0) from pgbench_history),
		(select count(*) from pgbench_accounts)`)
	if got != "t|t|t|200000" {
		t.Errorf("the sums of pgbench: %s", got)
	}
	s.sql(t, "select bt_index_check(c.oid, true) from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am a on a.oid = c.relam where a.amname = 'btree' and c.relpersistence = 'p'")
	if got := s.sql(t, "select count(*) from pg_class r, lateral verify_heapam(r.oid) where r.relkind = 'r' and r.relname like 'pgbench%'"); got != "0" {
		t.Errorf("verify_heapam finds %s faults", got)
	}
}

func TestEveryRoundOfKillsRecoversToTheLedger(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	l := &ledger{}
	streamer := b.child(false)
	b.load(ctx, l, &wg)
	b.eventually("the streamer makes its slot", func() bool { return b.SQL(t, "select count(*) from pg_replication_slots where active") == "1" })
	var firstEnd time.Time
	chance := rand.New(rand.NewPCG(rand.Uint64(), 1))
	for round := range rounds() {
		if round%5 == 0 {
			base := b.save(Config{NoWAL: true})
			if firstEnd.IsZero() {
				firstEnd = base.Ended
			}
		}
		had := len(l.acknowledged())
		b.eventually("transactions come", func() bool { return len(l.acknowledged()) > had+300 })
		switch chance.IntN(3) {
		case 0:
			kill(streamer)
			b.eventually("transactions come", func() bool { return len(l.acknowledged()) > had+500 })
			streamer = b.child(false)
		case 1:
			b.Kill()
			b.Start(t)
		default:
			kill(streamer)
			b.Kill()
			b.Start(t)
			streamer = b.child(false)
		}
		had = len(l.acknowledged())
		b.eventually("transactions come", func() bool { return len(l.acknowledged()) > had+100 })
		b.round(t, l, chance, firstEnd)
	}
}

// round recovers to a random acknowledged transaction and compares.
func (b *bench) round(t *testing.T, l *ledger, chance *rand.Rand, since time.Time) {
	t.Helper()
	all := l.acknowledged()
	var e ledgerEntry
	for e = all[chance.IntN(len(all))]; !e.sent.After(since) || e.after == ^wal.Position(0); {
		e = all[chance.IntN(len(all))]
	}
	kind := chance.IntN(3)
	target := stream.At(e.acked)
	must := func(x ledgerEntry) bool { return !x.acked.IsZero() && x.acked.Before(e.acked) }
	mustNot := func(x ledgerEntry) bool { return x.sent.After(e.acked) }
	switch kind {
	case 1:
		target = stream.AtPosition(stream.Position(e.after))
		must = func(x ledgerEntry) bool { return !x.acked.IsZero() && x.after <= e.after }
		mustNot = func(x ledgerEntry) bool { return x.before > e.after }
	case 2: // up to what the log has now
		target = stream.Latest()
		must = func(x ledgerEntry) bool { return !x.acked.IsZero() && x.after <= e.after }
		mustNot = func(ledgerEntry) bool { return false }
	}
	r := Recovery{Target: target, Repository: b.repo, Name: "orders", Log: b.log()}
	b.eventually("the log has the target", func() bool {
		view, err := b.log().View(t.Context())
		if err != nil || len(view.Lines()) != 1 || len(view.Problems()) > 0 {
			return false
		}
		spans := view.Lines()[0].Spans
		last := spans[len(spans)-1]
		return wal.Position(last.To) >= e.after && last.Through.After(e.acked)
	})
	s, done := b.recover(r)
	there := l.compare(t, s, must, mustNot)
	sound(t, s)
	t.Logf("target %v: %d of %d transactions; %v", target, there, len(all), done)
	if err := s.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	_ = os.RemoveAll(done.recovery.Directory)
}
