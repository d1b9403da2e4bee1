package repository

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/trivet-ha/trivet/backup/store"
)

var failures = map[string]failure{"clean": failClean, "after": failAfter, "torn": failTorn, "killed": failDead}

func someFiles(seed uint64, n, size int) []file {
	random := rand.New(rand.NewPCG(seed, 9))
	var out []file
	for i := range n {
		out = append(out, file{fmt.Sprintf("f%d-%03d", seed, i), noise(random, size/2+random.IntN(size))})
	}
	return out
}

// expect fails unless exactly the losses allowed were found. Torn files that nothing refers to are harmless:
// unindexed packs, index files that list only such.
func expect(t *testing.T, at string, problems []Problem, allowTorn bool) {
	t.Helper()
	for _, p := range problems {
		if p.Harmless() || (allowTorn && p.Kind == IndexDamaged) {
			continue
		}
		t.Errorf("%s: %v", at, p)
	}
}

func TestABackupThatFailsAtAnyCallLosesNothing(t *testing.T) {
	for name, how := range failures {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, base := newMemRepo(t)
				common := someFiles(1, 3, 12_000)
				first, err := saveFiles(r, common)
				if err != nil {
					t.Fatal(err)
				}
				second := append(slices.Clone(common[:2]), someFiles(2, 8, 36_000)...)
				for n := 1; ; n++ {
					m := base.clone()
					m.failAt, m.how = n, how
					at := fmt.Sprintf("call %d", n)
					broken, openErr := tryMemRepo(m, r.master)
					var id ID
					err := openErr
					if err == nil {
						id, err = saveFiles(broken, second)
					}
					if err == nil && m.calls < n {
						if n < 15 {
							t.Errorf("a backup took %d calls only", m.calls)
						}
						return
					}
					after := memRepo(t, m.withoutLocks(), r.master)
					all, problems, verr := verifyAll(after)
					if verr != nil {
						t.Fatalf("%s: %v", at, verr)
					}
					expect(t, at, problems, how == failTorn)
					if !slices.ContainsFunc(all, func(s *Snapshot) bool { return s.id == first }) {
						t.Fatalf("%s: the first snapshot is gone", at)
					}
					if err == nil && !slices.ContainsFunc(all, func(s *Snapshot) bool { return s.id == id }) {
						t.Fatalf("%s: the snapshot announced is not there", at)
					}
					// The next run works, and what was indexed is not stored again.
					again, err := saveFiles(after, second)
					if err != nil {
						t.Fatalf("%s: next run: %v", at, err)
					}
					all, problems, verr = verifyAll(memRepo(t, after.store.(*memStore), r.master))
					if verr != nil || !slices.ContainsFunc(all, func(s *Snapshot) bool { return s.id == again }) {
						t.Fatalf("%s: after the next run: %v", at, verr)
					}
					expect(t, at, problems, how == failTorn)
				}
			})
		})
	}
}

// prunable makes a repository whose snapshot was forgotten, so that packs go, packs are copied and packs stay.
func prunable(t testing.TB) (*Repository, *memStore, []ID) {
	r, m := newMemRepo(t)
	shared := someFiles(1, 8, 28_000)
	var keep []ID
	for i := range 3 {
		files := append(slices.Clone(shared), someFiles(uint64(10+i), 9, 36_000)...)
		id, err := saveFiles(r, files)
		if err != nil {
			t.Fatal(err)
		}
		keep = append(keep, id)
	}
	s, err := r.LoadSnapshot(context.Background(), keep[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveSnapshots(context.Background(), []*Snapshot{s}); err != nil {
		t.Fatal(err)
	}
	return r, m, keep[1:]
}

var thorough = PruneOptions{MaxUnusedPercent: -1}

func TestAPruneThatFailsAtAnyCallLosesNothing(t *testing.T) {
	for name, how := range failures {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, base, keep := prunable(t)
				for n := 1; ; n++ {
					m := base.clone()
					m.failAt, m.how = n, how
					at := fmt.Sprintf("call %d", n)
					broken, err := tryMemRepo(m, r.master)
					if err == nil {
						_, err = broken.Prune(context.Background(), thorough)
					}
					if err == nil && m.calls < n {
						if n < 30 {
							t.Errorf("a prune took %d calls only", m.calls)
						}
						return
					}
					after := memRepo(t, m.withoutLocks(), r.master)
					all, problems, verr := verifyAll(after)
					if verr != nil || len(all) != len(keep) {
						t.Fatalf("%s: %d snapshots, %v", at, len(all), verr)
					}
					expect(t, at, problems, how == failTorn)
					finishPrune(t, at, after, len(keep))
				}
			})
		})
	}
}

// finishPrune runs prune to its end and looks that nothing is left to do.
func finishPrune(t *testing.T, at string, r *Repository, snapshots int) {
	t.Helper()
	ctx := context.Background()
	if _, err := r.RepairIndex(ctx, RepairOptions{}, nil); err != nil { // a torn index file stops prune
		t.Fatalf("%s: repair: %v", at, err)
	}
	for range 2 { // a torn pack becomes unindexed by the repair
		if _, err := r.Prune(ctx, thorough); err != nil {
			t.Fatalf("%s: next prune: %v", at, err)
		}
	}
	all, problems, err := verifyAll(memRepo(t, r.store.(*memStore), r.master))
	if err != nil || len(all) != snapshots || len(problems) != 0 {
		t.Fatalf("%s: after the next prune: %d snapshots, %v, %v", at, len(all), problems, err)
	}
	p, err := r.Prune(ctx, PruneOptions{MaxUnusedPercent: -1, DryRun: true})
	if err != nil || p.UnneededBlobs != 0 || p.CondemnedPacks != 0 || p.UnindexedPacks != 0 {
		t.Fatalf("%s: prune left work: %+v, %v", at, p, err)
	}
}

func TestStockResticIsCleanAfterEveryPrefixOfPrune(t *testing.T) {
	needRestic(t)
	if testing.Short() {
		t.Skip("runs stock restic once per operation")
	}
	var base *memStore
	var log []storeOp
	synctest.Test(t, func(t *testing.T) {
		r, m, _ := prunable(t)
		base = m.withoutLocks()
		m.log = nil
		if _, err := memRepo(t, m, r.master).Prune(context.Background(), thorough); err != nil {
			t.Fatal(err)
		}
		log = m.log
	})
	kinds := make(map[store.Kind]int)
	for n := range len(log) + 1 {
		if n > 0 {
			op := log[n-1]
			if op.remove {
				delete(base.files, op.h)
			} else {
				base.files[op.h] = op.data
			}
			if op.h.Kind == store.Lock {
				continue // says nothing about data
			}
			kinds[op.h.Kind]++
		}
		dir := filepath.Join(t.TempDir(), "repo")
		base.withoutLocks().toDisk(t, dir)
		out := restic(t, dir, "check", "--read-data")
		if want := "no errors were found"; !slices.Contains(splitLines(out), want) {
			t.Errorf("after operation %d (%v):\n%s", n, log[max(n, 1)-1].h, out)
		}
	}
	if kinds[store.Index] < 2 || kinds[store.Pack] < 3 {
		t.Errorf("the prune did too little to prove anything: %v", kinds)
	}
}

func TestALyingListingDelaysDeletionAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m, _ := prunable(t)
		ctx := context.Background()
		// The newest snapshot does not show yet when prune looks.
		late, err := saveFiles(r, someFiles(77, 4, 32_000))
		if err != nil {
			t.Fatal(err)
		}
		m.hide = func(h store.Handle) bool { return h.Kind == store.Snapshot && h.Name == late.String() }
		careful := PruneOptions{MaxUnusedPercent: -1, KeepCondemned: 24 * 3600e9}
		blind := memRepo(t, m, r.master)
		if res, err := blind.Prune(ctx, careful); err != nil || res.CondemnedPacks == 0 || res.DeletedPacks != 0 {
			t.Fatalf("%+v, %v", res, err)
		}
		m.hide = nil
		res, err := memRepo(t, m, r.master).Prune(ctx, careful)
		if err != nil || res.RevivedPacks == 0 {
			t.Fatalf("%+v, %v", res, err)
		}
		if all, problems, err := verifyAll(memRepo(t, m, r.master)); err != nil || len(all) != 3 || len(problems) != 0 {
			t.Errorf("%d snapshots, %v, %v", len(all), problems, err)
		}
	})
}
