package repository

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/trivet-ha/trivet/backup/store"
)

// volatileStore is a Stager as the local store is one: a committed file is there at once, and its name is lost with the power
// unless a Barrier came after it. The order in which names reach the disk by themselves is anybody's guess.
type volatileStore struct {
	*memStore
	mu       sync.Mutex
	volatile map[store.Handle]struct{}
	// images is what a loss of power would leave after each change.
	images []*memStore
}

func newVolatileStore(m *memStore) *volatileStore {
	return &volatileStore{memStore: m, volatile: make(map[store.Handle]struct{})}
}

// remember keeps what would be left if the power failed now.
func (v *volatileStore) remember() {
	v.mu.Lock()
	defer v.mu.Unlock()
	image := v.memStore.withoutLocks()
	for h := range v.volatile {
		delete(image.files, h)
	}
	v.images = append(v.images, image)
}

func (v *volatileStore) Save(ctx context.Context, h store.Handle, data []byte) error {
	err := v.memStore.Save(ctx, h, data)
	v.remember()
	return err
}

func (v *volatileStore) Remove(ctx context.Context, h store.Handle) error {
	err := v.memStore.Remove(ctx, h)
	v.remember()
	return err
}

func (v *volatileStore) Stage(_ context.Context, kind store.Kind, _ int64) (store.Staged, error) {
	return &volatileFile{v: v, kind: kind}, nil
}

func (v *volatileStore) Barrier(context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.volatile)
	return nil
}

type volatileFile struct {
	v    *volatileStore
	kind store.Kind
	data []byte
}

func (f *volatileFile) Write(p []byte) (int, error) {
	f.data = append(f.data, p...)
	return len(p), nil
}

func (f *volatileFile) Commit(ctx context.Context, name string) error {
	h := store.Handle{Kind: f.kind, Name: name}
	f.v.mu.Lock()
	f.v.volatile[h] = struct{}{}
	f.v.mu.Unlock()
	if err := f.v.memStore.Save(ctx, h, f.data); err != nil {
		return err
	}
	f.v.remember()
	return nil
}

func (f *volatileFile) Discard() error { return nil }

// A backup, then a prune that copies, lose power at every moment. No index may name a pack whose name was not durable: a later backup
// would count on it.
func TestALossOfPowerAtAnyMomentLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, base, keep := prunable(t)
		mixed := someFiles(200, 20, 9_000)
		goes, err := saveFiles(r, mixed)
		if err != nil {
			t.Fatal(err)
		}
		half, err := saveFiles(r, mixed[:10])
		if err != nil {
			t.Fatal(err)
		}
		keep = append(keep, half)
		if err := r.RemoveSnapshots(context.Background(), []*Snapshot{{id: goes}}); err != nil {
			t.Fatal(err)
		}
		v := newVolatileStore(base)
		open := func() *Repository {
			own, err := OpenMaster(context.Background(), v, r.master, Options{})
			if err != nil {
				t.Fatal(err)
			}
			own.options.PackBytes = smallPack
			return own
		}
		files := append(someFiles(1, 8, 28_000), someFiles(50, 9, 36_000)...)
		id, err := saveFiles(open(), files)
		if err != nil {
			t.Fatal(err)
		}
		announced := len(v.images)
		if res, err := open().Prune(context.Background(), thorough); err != nil || res.RepackedPacks == 0 || res.DeletedPacks == 0 {
			t.Fatalf("%+v, %v", res, err)
		}
		if len(v.images) < 20 {
			t.Errorf("%d changes prove little", len(v.images))
		}
		for i, image := range v.images {
			at := fmt.Sprintf("after change %d of %d", i+1, len(v.images))
			all, problems, err := verifyAll(memRepo(t, image, r.master))
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			expect(t, at, problems, false)
			for _, want := range keep {
				if !slices.ContainsFunc(all, func(s *Snapshot) bool { return s.id == want }) {
					t.Errorf("%s: a snapshot is gone", at)
				}
			}
			if i >= announced && !slices.ContainsFunc(all, func(s *Snapshot) bool { return s.id == id }) {
				t.Errorf("%s: the snapshot announced is gone", at)
			}
		}
	})
}
