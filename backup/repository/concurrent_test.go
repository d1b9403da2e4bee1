package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

func TestIdenticalBlobsFromManySessionsAreStoredOnce(t *testing.T) {
	r, dir := newRepo(t)
	ctx := context.Background()
	w, err := r.NewWriter(ctx, WriterOptions{Reopen: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	random := rand.New(rand.NewPCG(4, 4))
	blobs := make([][]byte, 50)
	for i := range blobs {
		blobs[i] = noise(random, 1000+random.IntN(30_000))
	}
	var wg sync.WaitGroup
	for k := range 6 {
		s := w.Session()
		wg.Go(func() {
			for i := range blobs {
				if _, _, err := s.SaveBlob(DataBlob, blobs[(i+k*7)%len(blobs)]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := w.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	stats := w.Stats()
	if stats.NewBlobs[DataBlob] != 50 || stats.KnownBlobs[DataBlob] != 250 || stats.ReopenedBlobs != 50 {
		t.Errorf("stats %+v", stats)
	}
	if stats.Packs[DataBlob] != 1 {
		t.Errorf("a small backup by six sessions wrote %d packs", stats.Packs[DataBlob])
	}
	index, err := reopen(t, r).IndexStats(ctx)
	if err != nil || index.Blobs != 50 || index.Packs != 1 || index.Files != 1 {
		t.Errorf("index %+v, %v in %s", index, err, dir)
	}
	if _, known, err := w.Session().SaveBlob(DataBlob, blobs[0]); err != nil || !known {
		t.Errorf("after the flush: known %v, %v", known, err)
	}
}

// removeAll forgets every snapshot.
func removeAll(t *testing.T, r *Repository) {
	t.Helper()
	all, err := r.Snapshots(context.Background())
	if err == nil {
		err = r.RemoveSnapshots(context.Background(), all)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// condemnedUnder begins a backup that builds on a snapshot, then removes that snapshot and prunes.
func condemnedUnder(t *testing.T) (r *Repository, m *memStore, w *Writer, files []file, parent *Snapshot) {
	t.Helper()
	r, m = newMemRepo(t)
	files = someFiles(5, 6, 36_000)
	id, err := saveFiles(r, files)
	if err != nil {
		t.Fatal(err)
	}
	if parent, err = r.LoadSnapshot(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	writer := memRepo(t, m, r.master)
	if w, err = writer.NewWriter(context.Background(), WriterOptions{}); err != nil {
		t.Fatal(err)
	}
	if has, err := writer.HasSnapshot(context.Background(), id); err != nil || !has {
		t.Fatal("no parent", err)
	}
	return r, m, w, files, parent
}

func pruneExpecting(t *testing.T, r *Repository, waiting int) PruneResult {
	t.Helper()
	res, err := r.Prune(context.Background(), thorough)
	if err != nil {
		t.Fatal(err)
	}
	if res.WaitingFor != waiting || res.CondemnedPacks == 0 || (waiting > 0) != (res.DeletedPacks == 0) {
		t.Fatalf("prune: %+v", res)
	}
	return res
}

func TestPruneUnderARunningBackupThatCountsOnBlobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m, w, files, _ := condemnedUnder(t)
		if _, err := saveTree(w, files); err != nil { // finds every blob known
			t.Fatal(err)
		}
		if n := w.Stats().NewBlobs; n != [2]uint64{} {
			t.Fatalf("new blobs: %v", n)
		}
		removeAll(t, r)
		pruneExpecting(t, r, 1)
		if _, err := saveFilesWith(w, files); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		all, problems, err := verifyAll(memRepo(t, m, r.master))
		if err != nil || len(all) != 1 || len(problems) != 0 {
			t.Fatalf("%d snapshots, %v, %v", len(all), problems, err)
		}
		res, err := memRepo(t, m, r.master).Prune(context.Background(), thorough)
		if err != nil || res.DeletedPacks != 0 {
			t.Fatalf("the next prune: %+v, %v", res, err)
		}
		all, problems, err = verifyAll(memRepo(t, m, r.master))
		if err != nil || len(all) != 1 || len(problems) != 0 {
			t.Fatalf("at the end: %d snapshots, %v, %v", len(all), problems, err)
		}
	})
}

func TestPruneUnderABackupThatReusesItsParentsTreesUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m, w, _, parent := condemnedUnder(t)
		removeAll(t, r)
		pruneExpecting(t, r, 1)
		// Nothing changed: the backup names its parent's root and has never looked into the index.
		if w.r.index.loaded {
			t.Fatal("the index was loaded")
		}
		if _, err := w.SaveSnapshot(context.Background(), snapshotOf(*parent.Tree, "/made/up")); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if all, problems, err := verifyAll(memRepo(t, m, r.master)); err != nil || len(all) != 1 || len(problems) != 0 {
			t.Fatalf("%d snapshots, %v, %v", len(all), problems, err)
		}
	})
}

func TestASweptParentFailsTheBackupAndNotTheRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m, w, _, parent := condemnedUnder(t)
		removeAll(t, r)
		// The writer is believed dead: somebody removed its lock.
		if n, err := r.Unlock(context.Background(), UnlockAll); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		pruneExpecting(t, r, 0)
		if _, err := w.SaveSnapshot(context.Background(), snapshotOf(*parent.Tree, "/x")); !errors.Is(err, ErrLockLost) {
			t.Errorf("announced a snapshot: %v", err)
		}
		w.Close()
		if all, problems, err := verifyAll(memRepo(t, m, r.master)); err != nil || len(all) != 0 || len(problems) != 0 {
			t.Fatalf("%d snapshots, %v, %v", len(all), problems, err)
		}
	})
}

func TestCondemnedPacksGoWhenTheBackupHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m, w, _, _ := condemnedUnder(t)
		removeAll(t, r)
		pruneExpecting(t, r, 1)
		w.Close()
		res, err := memRepo(t, m, r.master).Prune(context.Background(), thorough)
		if err != nil || res.DeletedPacks == 0 {
			t.Fatalf("%+v, %v", res, err)
		}
		for h := range m.files {
			if h.Kind == store.Pack || h.Kind == store.Index || h.Kind == store.Lock {
				t.Errorf("%v is left", h)
			}
		}
	})
}

// A blob in two condemned packs: one that only a session before ours could count on, and our own, indexed and not named by a snapshot yet.
func TestABackupBringsBackOnlyPacksThatWaitForIt(t *testing.T) {
	for range 8 { // maps have no order
		synctest.Test(t, func(t *testing.T) {
			r, m, before, files, _ := condemnedUnder(t)
			ctx := context.Background()
			removeAll(t, r)
			pruneExpecting(t, r, 1)
			w, err := memRepo(t, m, r.master).NewWriter(ctx, WriterOptions{})
			if err != nil {
				t.Fatal(err)
			}
			root, err := saveTree(w, files)
			if err == nil {
				err = w.Flush(ctx)
			}
			if err != nil || w.Stats().NewBlobs[TreeBlob] != 1 {
				t.Fatal(w.Stats(), err)
			}
			before.Close()
			// The prune is killed when it begins to delete: the old packs are there, and nobody may count on them.
			old := m.clone()
			res, err := memRepo(t, m, r.master).Prune(ctx, thorough)
			if err != nil || res.DeletedPacks == 0 || res.WaitingFor != 1 {
				t.Fatalf("%+v, %v", res, err)
			}
			for h, data := range old.files {
				if h.Kind == store.Pack || h.Kind == store.Index {
					if f, err := r.openUnpacked(bytes.Clone(data)); h.Kind == store.Pack || err == nil && bytes.Contains(f, []byte("packs_to_delete")) {
						m.files[h] = data
					}
				}
			}
			if _, err := w.SaveSnapshot(ctx, snapshotOf(root, "/made/up")); err != nil {
				t.Fatal(err)
			}
			w.Close()
			if res, err = memRepo(t, m, r.master).Prune(ctx, thorough); err != nil || res.DeletedPacks == 0 {
				t.Fatalf("%+v, %v", res, err)
			}
			if all, problems, err := verifyAll(memRepo(t, m, r.master)); err != nil || len(all) != 1 || len(problems) != 0 {
				t.Fatalf("%d snapshots, %v, %v", len(all), problems, err)
			}
		})
	}
}

// A pack that was brought back and condemned again is in two marks, of which the older waits for nobody any more.
func TestAnOlderMarkDoesNotDeleteWhatANewerOneKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m, w, files, _ := condemnedUnder(t)
		ctx := context.Background()
		reader, err := memRepo(t, m, r.master).Lock(ctx, Shared)
		if err != nil {
			t.Fatal(err)
		}
		root, err := saveTree(w, files) // all of it is known
		if err != nil {
			t.Fatal(err)
		}
		removeAll(t, r)
		pruneExpecting(t, r, 2)
		if _, err = w.SaveSnapshot(ctx, snapshotOf(root, "/made/up")); err != nil { // brings it back
			t.Fatal(err)
		}
		w.Close()
		late, err := memRepo(t, m, r.master).NewWriter(ctx, WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		root, err = saveTree(late, files)
		if err != nil || late.Stats().NewBlobs != [2]uint64{} {
			t.Fatal(late.Stats(), err)
		}
		removeAll(t, r)
		if res, err := memRepo(t, m, r.master).Prune(ctx, thorough); err != nil || res.WaitingFor != 2 {
			t.Fatalf("%+v, %v", res, err)
		}
		if err := reader.Unlock(); err != nil {
			t.Fatal(err)
		}
		if _, err := memRepo(t, m, r.master).Prune(ctx, thorough); err != nil {
			t.Fatal(err)
		}
		if _, err := late.SaveSnapshot(ctx, snapshotOf(root, "/made/up")); err != nil {
			t.Fatal(err)
		}
		late.Close()
		if all, problems, err := verifyAll(memRepo(t, m, r.master)); err != nil || len(all) != 1 || len(problems) != 0 {
			t.Fatalf("%d snapshots, %v, %v", len(all), problems, err)
		}
		finishPrune(t, "at the end", memRepo(t, m, r.master), 1)
	})
}

func TestALockReplacedWhileLocksAreReadIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newMemRepo(t)
		l, err := r.Lock(context.Background(), Shared)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Unlock()
		replaced := false
		m.onListed = func(kind store.Kind) {
			if kind == store.Lock && !replaced {
				replaced = true
				if err := l.refresh(); err != nil {
					t.Error(err)
				}
			}
		}
		locks, err := memRepo(t, m, r.master).Locks(context.Background())
		if err != nil || !replaced || len(locks) != 1 || locks[0].Session != l.session {
			t.Errorf("%v, %v", locks, err)
		}
	})
}

// hookOnce runs fn before the first file is saved that is chosen.
func hookOnce(m *memStore, chosen func(store.Handle, []byte) bool, fn func()) {
	done := false
	m.onSave = func(h store.Handle, data []byte) {
		if !done && chosen(h, data) {
			done = true
			fn()
		}
	}
}

func TestASnapshotMadeBetweenPlanAndExchangeKeepsItsPacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m, w, files, _ := condemnedUnder(t)
		root, err := saveTree(w, files)
		if err != nil {
			t.Fatal(err)
		}
		removeAll(t, r)
		swapLock := func(h store.Handle, data []byte) bool { return isSwapLock(r, h, data) }
		hooked := false
		hookOnce(m, swapLock, func() {
			hooked = true
			if _, err := w.SaveSnapshot(context.Background(), snapshotOf(root, "/made/up")); err != nil {
				t.Error(err)
			}
			w.Close()
		})
		res, err := r.Prune(context.Background(), thorough)
		if err != nil || !hooked || res.DeletedPacks != 0 {
			t.Fatalf("%+v, %v, hooked %v", res, err, hooked)
		}
		if all, problems, err := verifyAll(memRepo(t, m, r.master)); err != nil || len(all) != 1 || len(problems) != 0 {
			t.Fatalf("%d snapshots, %v, %v", len(all), problems, err)
		}
	})
}

func TestTheIndexIsNotExchangedDuringACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m, w, files, _ := condemnedUnder(t)
		root, err := saveTree(w, files)
		if err != nil {
			t.Fatal(err)
		}
		removeAll(t, r)
		var res PruneResult
		hookOnce(m, func(h store.Handle, _ []byte) bool { return h.Kind == store.Snapshot }, func() {
			var err error
			if res, err = memRepo(t, m, r.master).Prune(context.Background(), thorough); err != nil {
				t.Error(err)
			}
		})
		if _, err := w.SaveSnapshot(context.Background(), snapshotOf(root, "/made/up")); err != nil {
			t.Fatal(err)
		}
		if res.Postponed == nil || res.Postponed.purpose != forCommit {
			t.Errorf("prune: %+v", res)
		}
		if all, problems, err := verifyAll(memRepo(t, m, r.master)); err != nil || len(all) != 1 || len(problems) != 0 {
			t.Fatalf("%d snapshots, %v, %v", len(all), problems, err)
		}
		w.Close()
	})
}

// foreignLock is a lock as stock restic writes it.
func foreignLock(t *testing.T, r *Repository, exclusive bool, at time.Time) store.Handle {
	t.Helper()
	id, err := r.saveJSON(context.Background(), store.Lock, lockFile{Time: at, Exclusive: exclusive, Hostname: "elsewhere", Username: "u", PID: 1})
	if err != nil {
		t.Fatal(err)
	}
	return store.Handle{Kind: store.Lock, Name: id.String()}
}

func TestPruneIsPostponedWhileStockResticIsAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m, keep := prunable(t)
		ctx := context.Background()
		h := foreignLock(t, r, false, time.Now())
		res, err := r.Prune(ctx, thorough)
		if err != nil || res.Postponed == nil || res.Postponed.Hostname != "elsewhere" || res.DeletedPacks != 0 {
			t.Fatalf("%+v, %v", res, err)
		}
		if all, problems, err := verifyAll(memRepo(t, m, r.master)); err != nil || len(all) != len(keep) {
			t.Fatalf("%d snapshots, %v, %v", len(all), problems, err)
		}
		if err := m.Remove(ctx, h); err != nil {
			t.Fatal(err)
		}
		if res, err = r.Prune(ctx, thorough); err != nil || res.DeletedPacks == 0 {
			t.Fatalf("afterwards: %+v, %v", res, err)
		}
		finishPrune(t, "afterwards", memRepo(t, m, r.master), len(keep))
	})
}

func TestALockOfStockResticIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newMemRepo(t)
		ctx := context.Background()
		h := foreignLock(t, r, true, time.Now())
		var locked *LockedError
		if _, err := r.NewWriter(ctx, WriterOptions{}); !errors.As(err, &locked) || locked.Holder.Hostname != "elsewhere" {
			t.Errorf("writer beside an exclusive lock: %v", err)
		}
		// Waiting for it works.
		r.options.LockWait = time.Minute
		time.AfterFunc(20*time.Second, func() { m.Remove(ctx, h) })
		w, err := r.NewWriter(ctx, WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r.options.LockWait = 0
		if _, err := r.Lock(ctx, Exclusive); !errors.As(err, &locked) || locked.Holder.Session == "" {
			t.Errorf("exclusive beside a writer: %v", err)
		}
		w.Close()
		stale := foreignLock(t, r, true, time.Now().Add(-lockStale-time.Second))
		l, err := r.Lock(ctx, Exclusive)
		if err != nil {
			t.Fatalf("beside a stale lock: %v", err)
		}
		if err := l.Unlock(); err != nil {
			t.Fatal(err)
		}
		if n, err := r.Unlock(ctx, UnlockStale); err != nil || n != 1 {
			t.Errorf("unlock removed %d, %v", n, err)
		}
		if _, ok := m.files[stale]; ok {
			t.Error("the stale lock is there")
		}
	})
}

func TestAnUnreadableLockCountsAsExclusive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newMemRepo(t)
		h := store.Handle{Kind: store.Lock, Name: ID{1}.String()}
		m.files[h] = []byte("torn")
		var locked *LockedError
		if _, err := r.Lock(context.Background(), Shared); !errors.As(err, &locked) || locked.Holder.Err == nil {
			t.Errorf("locked beside it: %v", err)
		}
		if n, err := r.Unlock(context.Background(), UnlockAll); err != nil || n != 1 {
			t.Errorf("removed %d, %v", n, err)
		}
	})
}

func TestALockIsRefreshedAndItsLossIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newMemRepo(t)
		ctx := context.Background()
		l, err := r.Lock(ctx, Shared)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Settled(); err != nil {
			t.Fatal(err)
		}
		l.mu.Lock()
		first := l.id
		l.mu.Unlock()
		time.Sleep(2 * time.Hour)
		locks, err := r.Locks(ctx)
		if err != nil || len(locks) != 1 || locks[0].ID == first || time.Since(locks[0].Time) > lockRefresh {
			t.Fatalf("locks after two hours: %v, %v", locks, err)
		}
		if err := l.Context().Err(); err != nil {
			t.Fatalf("lost: %v", context.Cause(l.Context()))
		}
		if _, err := r.Unlock(ctx, UnlockAll); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lockRefresh + time.Second)
		if !errors.Is(context.Cause(l.Context()), ErrLockLost) {
			t.Errorf("removed by somebody: %v", context.Cause(l.Context()))
		}
		l.Unlock()

		// A store that can't be reached for too long ends the work before others may take the lock for stale.
		if l, err = r.Lock(ctx, Shared); err != nil {
			t.Fatal(err)
		}
		if err := l.Settled(); err != nil {
			t.Fatal(err)
		}
		m.mu.Lock()
		m.dead = true
		m.mu.Unlock()
		time.Sleep(lockAbort - lockRefresh)
		if l.Context().Err() != nil {
			t.Error("gave up too early")
		}
		time.Sleep(lockStale - lockAbort + lockRefresh)
		if !errors.Is(context.Cause(l.Context()), ErrLockLost) {
			t.Errorf("still at work: %v", context.Cause(l.Context()))
		}
		l.Unlock()
	})
}

func TestOfTwoExclusiveLocksAtMostOneIsGiven(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r, _ := newMemRepo(t)
			random := rand.New(rand.NewPCG(seed, 2))
			var mu sync.Mutex
			held, most := 0, 0
			var wg sync.WaitGroup
			for range 4 {
				pause := time.Duration(random.IntN(300)) * time.Millisecond
				wg.Go(func() {
					time.Sleep(pause)
					l, err := r.Lock(context.Background(), Exclusive)
					if err != nil {
						return
					}
					mu.Lock()
					held++
					most = max(most, held)
					mu.Unlock()
					time.Sleep(time.Second)
					mu.Lock()
					held--
					mu.Unlock()
					l.Unlock()
				})
			}
			wg.Wait()
			if most > 1 {
				t.Errorf("%d exclusive locks at once", most)
			}
		})
	}
}

// Backups, removals, new tags and prunes at random, side by side. Each has its own Repository, as processes would; some backups end
// without a snapshot. At any moment, and at the end, every snapshot that is there is whole, for stock restic, too; and at the
// end every announced one that nobody removed is there. TRIVET_ROUNDS sets the number of seeds, TRIVET_SEED the first.
func TestManyAtOnceLoseNothing(t *testing.T) {
	rounds, first := uint64(30), uint64(0)
	if testing.Short() {
		rounds = 5
	}
	if n, err := strconv.ParseUint(os.Getenv("TRIVET_ROUNDS"), 10, 32); err == nil {
		rounds = n
	}
	if n, err := strconv.ParseUint(os.Getenv("TRIVET_SEED"), 10, 32); err == nil {
		first = n
	}
	for seed := first; seed < first+rounds && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) { newCrowd(t, seed).run() })
	}
}

// crowd is many processes at work on one repository.
type crowd struct {
	t      *testing.T
	seed   uint64
	m      *memStore
	master MasterKey

	mu        sync.Mutex
	announced map[ID]bool
	condemned int
	deleted   int
	revived   int
	retagged  int
}

func newCrowd(t *testing.T, seed uint64) *crowd {
	r, m := newMemRepo(t)
	return &crowd{t: t, seed: seed, m: m, master: r.master, announced: make(map[ID]bool)}
}

func (c *crowd) run() {
	var wg sync.WaitGroup
	for k := range uint64(3) {
		wg.Go(func() { c.backups(rand.New(rand.NewPCG(c.seed, k))) })
	}
	for k := range uint64(2) {
		wg.Go(func() { c.prunes(rand.New(rand.NewPCG(c.seed, 100+k))) })
	}
	wg.Go(func() { c.tags(rand.New(rand.NewPCG(c.seed, 200))) })
	wg.Go(func() { c.watch(rand.New(rand.NewPCG(c.seed, 300))) })
	wg.Wait()
	there := make(map[ID]bool)
	for _, s := range c.image("at the end") {
		there[s.id] = true
	}
	for id := range c.announced {
		if !there[id] {
			c.t.Errorf("seed %d: %s was announced and is gone", c.seed, id.Short())
		}
	}
	c.t.Logf("seed %d: %d snapshots at the end, %d packs condemned, %d deleted, %d revived, %d new tags",
		c.seed, len(there), c.condemned, c.deleted, c.revived, c.retagged)
}

// image looks at the files as they are at this instant.
func (c *crowd) image(when string) []*Snapshot {
	all, problems, err := verifyAll(memRepo(c.t, c.m.withoutLocks(), c.master))
	if err != nil {
		c.t.Errorf("seed %d, %s: %v", c.seed, when, err)
	}
	expect(c.t, fmt.Sprintf("seed %d, %s", c.seed, when), problems, false)
	return all
}

func (c *crowd) watch(random *rand.Rand) {
	for range 8 {
		sleepSome(random, 1500)
		c.image("meanwhile")
	}
}

func sleepSome(random *rand.Rand, atMost int) {
	time.Sleep(time.Duration(random.IntN(atMost)) * time.Millisecond)
}

func (c *crowd) backups(random *rand.Rand) {
	own := memRepo(c.t, c.m, c.master)
	for range 6 {
		// Few different files: what one removes another needs again.
		var files []file
		for range 3 {
			files = append(files, someFiles(random.Uint64N(5), 1, 16_000)[0])
		}
		files = slices.CompactFunc(slices.SortedFunc(slices.Values(files), func(a, b file) int { return strings.Compare(a.name, b.name) }),
			func(a, b file) bool { return a.name == b.name })
		id, err := slowBackup(own, files, random)
		switch {
		case isLocked(err):
			continue
		case err != nil:
			c.t.Errorf("seed %d: backup: %v", c.seed, err)
			return
		case !id.IsZero():
			c.mu.Lock()
			c.announced[id] = true
			c.mu.Unlock()
		}
		sleepSome(random, 1500)
	}
}

// take returns an announced snapshot that nobody is to miss any more.
func (c *crowd) take(random *rand.Rand) (id ID, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := slices.SortedFunc(maps.Keys(c.announced), func(a, b ID) int { return slices.Compare(a[:], b[:]) })
	if len(ids) == 0 {
		return ID{}, false
	}
	id = ids[random.IntN(len(ids))]
	delete(c.announced, id)
	return id, true
}

func (c *crowd) prunes(random *rand.Rand) {
	own := memRepo(c.t, c.m, c.master)
	ctx := context.Background()
	for range 8 {
		sleepSome(random, 1200)
		for range random.IntN(3) {
			id, ok := c.take(random)
			if !ok {
				break
			}
			s, err := own.LoadSnapshot(ctx, id)
			if err == nil {
				err = own.RemoveSnapshots(ctx, []*Snapshot{s})
			}
			if err != nil && !isLocked(err) {
				c.t.Errorf("seed %d: remove: %v", c.seed, err)
			}
		}
		res, err := own.Prune(ctx, thorough)
		if err != nil && !isLocked(err) {
			c.t.Errorf("seed %d: prune: %v", c.seed, err)
			return
		}
		c.mu.Lock()
		c.deleted += res.DeletedPacks
		c.condemned += res.CondemnedPacks
		c.revived += res.RevivedPacks
		c.mu.Unlock()
	}
}

func (c *crowd) tags(random *rand.Rand) {
	own := memRepo(c.t, c.m, c.master)
	for i := range 6 {
		sleepSome(random, 1500)
		id, ok := c.take(random)
		if !ok {
			continue
		}
		s, err := own.LoadSnapshot(context.Background(), id)
		if err == nil {
			id, err = own.RewriteSnapshot(context.Background(), s, func(s *Snapshot) { s.Tags = append(s.Tags, strconv.Itoa(i)) })
		}
		if err != nil && !isLocked(err) {
			c.t.Errorf("seed %d: tag: %v", c.seed, err)
			return
		}
		c.mu.Lock()
		c.announced[id] = true
		if err == nil {
			c.retagged++
		}
		c.mu.Unlock()
	}
}

func isLocked(err error) bool {
	var locked *LockedError
	return errors.As(err, &locked)
}

// slowBackup takes its time between the steps, so that others come in between. Now and then it ends without a snapshot.
func slowBackup(r *Repository, files []file, random *rand.Rand) (id ID, err error) {
	w, err := r.NewWriter(context.Background(), WriterOptions{})
	if err != nil {
		return ID{}, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	sleepSome(random, 1500)
	root, err := saveTree(w, files)
	if err != nil {
		return ID{}, err
	}
	sleepSome(random, 1500)
	if random.IntN(3) == 0 {
		if err := w.Flush(context.Background()); err != nil {
			return ID{}, err
		}
		sleepSome(random, 1500)
		if random.IntN(3) == 0 {
			return ID{}, nil
		}
	}
	return w.SaveSnapshot(context.Background(), snapshotOf(root, "/made/up"))
}
