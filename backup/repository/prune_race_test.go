package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/trivet-ha/trivet/backup/store"
)

// What can come between a backup and a prune, driven step by step. The random test beside it (TestManyAtOnceLoseNothing) finds such
// things by luck; these say what it found.

// whole fails unless everything is indexed and readable, and the number of snapshots is right.
func wholeRepo(t *testing.T, m *memStore, master MasterKey, snapshots int) {
	t.Helper()
	all, problems, err := verifyAll(memRepo(t, m, master))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "at the end", problems, false)
	if len(all) != snapshots {
		t.Fatalf("%d snapshots, want %d", len(all), snapshots)
	}
}

func beginBackup(t *testing.T, m *memStore, master MasterKey) *Writer {
	t.Helper()
	w, err := memRepo(t, m, master).NewWriter(context.Background(), WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// announce ends a backup with a snapshot of root.
func announce(t *testing.T, w *Writer, root ID) {
	t.Helper()
	if _, err := w.SaveSnapshot(context.Background(), snapshotOf(root, "/made/up")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func mustTree(t *testing.T, w *Writer, files []file) ID {
	t.Helper()
	root, err := saveTree(w, files)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// The packs were flushed, and condemned before the snapshot that needs them: the index file that listed them came and went between
// the backup's two listings.
func TestABackupWhoseOwnFlushedPacksWereCondemnedListsThemAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newMemRepo(t)
		w := beginBackup(t, m, r.master)
		root := mustTree(t, w, someFiles(3, 4, 30_000))
		if err := w.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		pruneExpecting(t, memRepo(t, m, r.master), 1)
		announce(t, w, root)
		wholeRepo(t, m, r.master, 1)
	})
}

// A backup finds blobs that another one stored after it had begun, and which that one never announced.
func TestABackupThatCountsOnBlobsStoredAfterItBeganListsThemAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newMemRepo(t)
		if _, err := saveFiles(r, someFiles(1, 2, 9_000)); err != nil { // its index file stays as it is
			t.Fatal(err)
		}
		w := beginBackup(t, m, r.master)
		files := someFiles(3, 4, 30_000)
		other := beginBackup(t, m, r.master)
		mustTree(t, other, files)
		if err := errors.Join(other.Flush(context.Background()), other.Close()); err != nil {
			t.Fatal(err)
		}
		root := mustTree(t, w, files)
		if n := w.Stats().NewBlobs; n != [2]uint64{} {
			t.Fatalf("new blobs: %v", n)
		}
		pruneExpecting(t, memRepo(t, m, r.master), 1)
		announce(t, w, root)
		wholeRepo(t, m, r.master, 2)
	})
}

// A backup reuses, unseen, the tree of a parent that was made after it had begun, and that was removed since.
func TestABackupWhoseParentIsYoungerThanItselfListsItsTreesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newMemRepo(t)
		ctx := context.Background()
		w := beginBackup(t, m, r.master)
		id, err := saveFiles(memRepo(t, m, r.master), someFiles(3, 4, 30_000))
		if err != nil {
			t.Fatal(err)
		}
		parent, err := w.r.LoadSnapshot(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if has, err := w.r.HasSnapshot(ctx, id); err != nil || !has {
			t.Fatal(has, err)
		}
		removeAll(t, r)
		pruneExpecting(t, memRepo(t, m, r.master), 1)
		announce(t, w, *parent.Tree)
		wholeRepo(t, m, r.master, 1)
	})
}

// isSwapLock recognizes the lock under which prune exchanges the index.
func isSwapLock(r *Repository, h store.Handle, data []byte) bool {
	var f lockFile
	if h.Kind != store.Lock {
		return false
	}
	plain, err := r.openUnpacked(bytes.Clone(data))
	return err == nil && json.Unmarshal(plain, &f) == nil && f.Trivet != nil && f.Trivet.Purpose == forSwap
}

// A backup indexes a pack, and ends without a snapshot, while prune counts that pack among those that no index lists: before prune looks
// for sessions and at the index for the last time, or in between. The session is not there any more to be waited for.
func TestAPackIndexedDuringTheExchangeIsNotDeleted(t *testing.T) {
	for moment, last := range map[string]store.Kind{"before the looks": store.Lock, "after the looks": store.Index} {
		t.Run(moment, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { packIndexedAfter(t, last) })
		})
	}
}

// packIndexedAfter ends the backup after prune, under its exclusive lock, has listed the files of a kind for the first time.
func packIndexedAfter(t *testing.T, last store.Kind) {
	r, m := newMemRepo(t)
	ctx := context.Background()
	files := someFiles(3, 8, 60_000)
	w := beginBackup(t, m, r.master)
	root := mustTree(t, w, files)
	synctest.Wait() // the full packs are stored, in no index
	swapping, done := false, false
	m.onSave = func(h store.Handle, data []byte) { swapping = swapping || isSwapLock(r, h, data) }
	m.onListed = func(kind store.Kind) {
		if swapping && !done && kind == last {
			done = true
			if err := errors.Join(w.Flush(ctx), w.Close()); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := memRepo(t, m, r.master).Prune(ctx, thorough); err != nil || !done {
		t.Fatal(err, done)
	}
	m.onSave, m.onListed = nil, nil
	next := beginBackup(t, m, r.master)
	if again := mustTree(t, next, files); again != root {
		t.Fatal("another tree")
	}
	announce(t, next, root)
	wholeRepo(t, m, r.master, 1)
	finishPrune(t, "at the end", memRepo(t, m, r.master), 1)
}

// Somebody removes a snapshot, and prunes, while somebody else gives it another tag.
func TestASnapshotRemovedWhileItIsTaggedStaysRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newMemRepo(t)
		ctx := context.Background()
		id, err := saveFiles(r, someFiles(3, 4, 30_000))
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.LoadSnapshot(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		remover := memRepo(t, m, r.master)
		hookOnce(m, func(h store.Handle, _ []byte) bool { return h.Kind == store.Lock }, func() {
			removeAll(t, remover)
			if _, err := remover.Prune(ctx, thorough); err != nil {
				t.Error(err)
			}
		})
		if _, err := r.RewriteSnapshot(ctx, s, func(s *Snapshot) { s.Tags = []string{"new"} }); !errors.Is(err, ErrNoSnapshot) {
			t.Errorf("tagged a snapshot that is gone: %v", err)
		}
		wholeRepo(t, m, r.master, 0)
	})
}

// Prune exchanges the index while a snapshot gets another tag, after its removal was noticed and before it is done.
func TestTheIndexIsNotExchangedWhileASnapshotIsTagged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newMemRepo(t)
		ctx := context.Background()
		id, err := saveFiles(r, someFiles(3, 4, 30_000))
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.LoadSnapshot(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		remover := memRepo(t, m, r.master)
		var res PruneResult
		hookOnce(m, func(h store.Handle, _ []byte) bool { return h.Kind == store.Snapshot }, func() {
			removeAll(t, remover)
			var err error
			if res, err = remover.Prune(ctx, thorough); err != nil {
				t.Error(err)
			}
		})
		if _, err := r.RewriteSnapshot(ctx, s, func(s *Snapshot) { s.Tags = []string{"new"} }); err != nil {
			t.Fatal(err)
		}
		if res.Postponed == nil || res.Postponed.purpose != forCommit {
			t.Errorf("prune: %+v", res)
		}
		wholeRepo(t, m, r.master, 1)
	})
}

// A writer slept until others ignored its lock: its packs are gone, and it must not put them into the index.
func TestAWriterBelievedDeadIndexesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newMemRepo(t)
		ctx := context.Background()
		files := someFiles(3, 8, 60_000)
		w := beginBackup(t, m, r.master)
		mustTree(t, w, files)
		synctest.Wait()
		if _, err := r.Unlock(ctx, UnlockAll); err != nil {
			t.Fatal(err)
		}
		if res, err := memRepo(t, m, r.master).Prune(ctx, thorough); err != nil || res.DeletedPacks == 0 {
			t.Fatalf("%+v, %v", res, err)
		}
		if err := w.Flush(ctx); !errors.Is(err, ErrLockLost) {
			t.Errorf("flushed: %v", err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		next := beginBackup(t, m, r.master)
		announce(t, next, mustTree(t, next, files))
		wholeRepo(t, m, r.master, 1)
	})
}

// An index is exchanged while another process is loading it: what it has read by then is of no use.
func TestAnIndexLoadedDuringAnExchangeKnowsNothingOfTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m, _ := prunable(t)
		ctx := context.Background()
		loader := memRepo(t, m, r.master)
		done := false
		m.onListed = func(kind store.Kind) {
			if kind == store.Index && !done {
				done = true
				if _, err := r.Prune(ctx, thorough); err != nil {
					t.Error(err)
				}
			}
		}
		if err := loader.LoadIndex(ctx); err != nil {
			t.Fatal(err)
		}
		m.onListed = nil
		listed, err := loader.listSet(ctx, store.Index)
		if err != nil || !done {
			t.Fatal(err, done)
		}
		if !subset(loader.index.files, listed) {
			t.Error("it knows index files that are gone")
		}
		for _, pack := range loader.index.table.packs {
			if _, ok := m.files[store.Handle{Kind: store.Pack, Name: pack.String()}]; !ok {
				t.Errorf("it knows pack %s, which is gone", pack.Short())
			}
		}
	})
}

// A backup and a prune share one Repository, as in a daemon.
func TestABackupGoesOnWhileTheSameRepositoryIsPruned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m, keep := prunable(t)
		w, err := r.NewWriter(context.Background(), WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		files := someFiles(10, 9, 36_000) // of the snapshot that was removed: known, and to go
		root := mustTree(t, w, files)
		if w.Stats().KnownBlobs[DataBlob] == 0 {
			t.Fatal("nothing was known")
		}
		pruneExpecting(t, r, 1)
		more := mustTree(t, w, append(files, someFiles(99, 2, 30_000)...))
		if _, err := w.SaveSnapshot(context.Background(), snapshotOf(root, "/made/up")); err != nil {
			t.Fatal(err)
		}
		announce(t, w, more)
		wholeRepo(t, m, r.master, len(keep)+2)
	})
}
