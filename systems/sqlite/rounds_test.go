package sqlite

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/repository/repotest"
	"github.com/trivet-ha/trivet/backup/stream"
)

// base makes a base of a tracked database.
func base(ctx context.Context, tr *Tracker, repo *repository.Repository) error {
	b, err := tr.Base(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	_, err = backup.Save(ctx, repo, b, backup.Options{Tags: []string{b.Tag().String()}})
	return err
}

func rounds(t *testing.T) int {
	if text := os.Getenv("TRIVET_SQLITE_ROUNDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return 1
}

// Each round: writers with a ledger of acknowledged orders, a process that streams, both killed at random, and restores to random
// times. What was acknowledged before a time is there, what was begun after it is not, and the database is sound.
func TestRestoredDatabasesEqualTheLedgerWhateverIsKilled(t *testing.T) {
	for round := range rounds(t) {
		seed := uint64(round) + 1
		if os.Getenv("TRIVET_SQLITE_ROUNDS") != "" {
			seed = rand.Uint64()
		}
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { oneRound(t, seed) })
	}
}

func oneRound(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 7))
	dir, repo := repotest.New(t)
	log, err := stream.Open(repo, "shop")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "shop.db")
	writerRole := role{Writer: true, Path: path, Seed: seed}
	streamRole := role{Path: path, Store: dir, Key: repo.Master().Subkey("stream"), Database: "shop"}

	writer := start(t, writerRole)
	writer.await("orders", func() bool { return len(writer.orders) > 20 })
	var orders []order
	var times []covered
	for n := 0; n < 3 || len(times) == 0; n++ {
		if n == 20 {
			t.Fatal("no streamer of twenty went on where the base had ended")
		}
		// A base first: the writer goes on meanwhile. Whether the line goes on is for the tracker to find out.
		tr, err := Open(t.Context(), path, log, Options{})
		if err != nil {
			t.Fatal(err)
		}
		baseWhileRunning(t, tr, repo)
		streamer := start(t, streamRole)
		streamer.await("coverage", func() bool { return len(streamer.covered) > 5 })
		for range 2 {
			<-time.After(time.Duration(random.IntN(400)) * time.Millisecond)
			if random.IntN(2) == 0 {
				writer.kill()
				orders = append(orders, writer.orders...)
				writerRole.Seed++
				writer = start(t, writerRole)
			}
		}
		seen := streamer.coverage()
		streamer.await("more coverage", func() bool { return len(streamer.covered) > seen+3 })
		if random.IntN(2) == 0 {
			streamer.kill()
		} else {
			streamer.stop()
		}
		if len(streamer.other) > 0 {
			t.Errorf("the streamer told: %v", streamer.other)
		}
		// A streamer that began a new line has no base before its end: its times are restored only if it went on.
		if len(streamer.opens) == 1 && streamer.opens[0] == "false" {
			times = append(times, streamer.covered...)
		}
	}
	writer.kill()
	orders = append(orders, writer.orders...)
	verified, err := log.Verify(t.Context(), func(err error) { t.Error(err) })
	if err != nil || !verified.Sound() {
		t.Errorf("%+v, %v", verified, err)
	}
	for i := range 5 {
		v := times[random.IntN(len(times))]
		if i == 0 {
			v = times[len(times)-1]
		}
		compareAt(t, repo, log, v, orders)
	}
}

// baseWhileRunning makes a base as the daemon does.
func baseWhileRunning(t *testing.T, tr *Tracker, repo *repository.Repository) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	err := base(ctx, tr, repo)
	cancel()
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	tr.Close()
}

// compareAt restores to a time and compares with the ledger.
func compareAt(t *testing.T, repo *repository.Repository, log *stream.Log, v covered, orders []order) {
	t.Helper()
	plan, err := log.PlanRecovery(t.Context(), repo, stream.At(time.Unix(0, v.at)))
	if err != nil {
		t.Fatalf("to %v: %v", time.Unix(0, v.at), err)
	}
	target := filepath.Join(t.TempDir(), "restored.db")
	restored, err := Restore(t.Context(), repo, plan, target, &backup.Progress{})
	if err != nil {
		t.Fatalf("to %v: %v", time.Unix(0, v.at), err)
	}
	db, err := OpenReadOnly(target)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT id FROM orders")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	there := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		there[id] = true
	}
	want := 0
	for _, o := range orders {
		switch {
		case o.end < v.before && !there[o.id]:
			t.Errorf("order %d was acknowledged %v before, and is not there (%d records applied)", o.id, time.Duration(v.at-o.end), restored.Applied)
		case o.begin > v.at && there[o.id]:
			t.Errorf("order %d was begun %v after, and is there", o.id, time.Duration(o.begin-v.at))
		}
		if o.end < v.before {
			want++
		}
	}
	if want == 0 {
		t.Errorf("no order was acknowledged before %v", time.Unix(0, v.before))
	}
}
