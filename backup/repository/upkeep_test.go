package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

func firstOf(m *memStore, kind store.Kind) store.Handle {
	var all []store.Handle
	for h := range m.files {
		if h.Kind == kind {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b store.Handle) int { return strings.Compare(a.Name, b.Name) })
	return all[0]
}

func TestCheckFindsEveryKindOfDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, base := newMemRepo(t)
		if _, err := saveFiles(r, someFiles(1, 12, 30_000)); err != nil {
			t.Fatal(err)
		}
		flip := func(kind store.Kind, at func(n int) int) func(m *memStore) {
			return func(m *memStore) {
				h := firstOf(m, kind)
				data := bytes.Clone(m.files[h])
				data[at(len(data))] ^= 1
				m.files[h] = data
			}
		}
		first := func(int) int { return 0 }
		middle := func(n int) int { return n / 2 }
		last := func(n int) int { return n - 1 }
		nearEnd := func(n int) int { return n - 10 }
		cut := func(kind store.Kind) func(m *memStore) {
			return func(m *memStore) { h := firstOf(m, kind); m.files[h] = m.files[h][:len(m.files[h])-1] }
		}
		remove := func(kind store.Kind) func(m *memStore) {
			return func(m *memStore) { delete(m.files, firstOf(m, kind)) }
		}
		for name, c := range map[string]struct {
			harm func(*memStore)
			want ProblemKind
		}{
			"a bit of a blob":         {flip(store.Pack, middle), DataDamaged},
			"the first bit of a pack": {flip(store.Pack, first), DataDamaged},
			"a bit of a header":       {flip(store.Pack, nearEnd), DataDamaged},
			"the length of a header":  {flip(store.Pack, last), DataDamaged},
			"a pack cut short":        {cut(store.Pack), PackSize},
			"a pack gone":             {remove(store.Pack), PackMissing},
			"a bit of an index":       {flip(store.Index, middle), IndexDamaged},
			"an index gone":           {remove(store.Index), BlobMissing},
			"a bit of a snapshot":     {flip(store.Snapshot, middle), SnapshotDamaged},
			"a pack that nobody knows": {func(m *memStore) {
				m.files[store.Handle{Kind: store.Pack, Name: ID{7}.String()}] = []byte("x")
			}, PackUnindexed},
		} {
			m := base.clone()
			c.harm(m)
			var found []ProblemKind
			stats, err := memRepo(t, m, r.master).Check(context.Background(), CheckOptions{Data: AllData()}, func(p Problem) {
				found = append(found, p.Kind)
				if p.Error() == "" {
					t.Error("a problem says nothing")
				}
			})
			if err != nil || !slices.Contains(found, c.want) || (stats.Problems == 0) != (c.want == PackUnindexed) {
				t.Errorf("%s: found %v, %+v, %v", name, found, stats, err)
			}
		}
		if _, problems, err := verifyAll(memRepo(t, base, r.master)); err != nil || len(problems) > 0 {
			t.Errorf("undamaged: %v, %v", problems, err)
		}
	})
}

func TestPruneRefusesToWorkOnADamagedRepository(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, base, _ := prunable(t)
		for _, kind := range []store.Kind{store.Index, store.Snapshot} {
			m := base.clone()
			h := firstOf(m, kind)
			m.files[h] = m.files[h][:40]
			before := maps.Clone(m.files)
			if res, err := memRepo(t, m, r.master).Prune(context.Background(), thorough); err == nil || res.DeletedPacks != 0 {
				t.Errorf("with a damaged %v: %+v, %v", kind, res, err)
			}
			for h := range before {
				if _, ok := m.files[h]; !ok {
					t.Errorf("with a damaged %v: %v was deleted", kind, h)
				}
			}
		}
		m := base.clone()
		m.files = maps.Clone(m.files)
		maps.DeleteFunc(m.files, func(h store.Handle, _ []byte) bool { return h.Kind == store.Index })
		if _, err := memRepo(t, m, r.master).Prune(context.Background(), thorough); !errors.Is(err, ErrNoBlob) {
			t.Errorf("without any index: %v", err)
		}
	})
}

func TestSharesOfDataCoverEveryPackOnce(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		var pack ID
		pack[0] = byte(random.Uint32())
		of := uint(1 + random.IntN(256))
		n := 0
		for part := uint(1); part <= of; part++ {
			if (Share{Part: part, Of: of}).selects(pack) {
				n++
			}
		}
		if n != 1 {
			t.Fatalf("pack %x is in %d of %d parts", pack[0], n, of)
		}
	}
	for _, s := range []string{"1/1", "7/7", "5%", "0.5%", "all"} {
		if _, err := ParseShare(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"", "0/3", "4/3", "1/257", "0%", "101%", "x", "-1/3", "NaN%"} {
		if share, err := ParseShare(s); err == nil {
			t.Errorf("%q is %+v", s, share)
		}
	}
}

func TestRepairBringsBackALostIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, base := newMemRepo(t)
		if _, err := saveFiles(r, someFiles(1, 12, 30_000)); err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		for name, c := range map[string]struct {
			harm func(m *memStore)
			o    RepairOptions
		}{
			"index gone":      {func(m *memStore) { delete(m.files, firstOf(m, store.Index)) }, RepairOptions{}},
			"index torn":      {func(m *memStore) { h := firstOf(m, store.Index); m.files[h] = m.files[h][:50] }, RepairOptions{}},
			"read everything": {func(m *memStore) {}, RepairOptions{ReadAllPacks: true}},
			"a broken pack beside": {func(m *memStore) {
				m.files[store.Handle{Kind: store.Pack, Name: ID{7}.String()}] = make([]byte, 1000)
			}, RepairOptions{}},
		} {
			m := base.clone()
			c.harm(m)
			broken := 0
			own := memRepo(t, m, r.master)
			stats, err := own.RepairIndex(ctx, c.o, func(ID, error) { broken++ })
			if err != nil || stats.Packs == 0 || broken != stats.BrokenPacks {
				t.Fatalf("%s: %+v, %v", name, stats, err)
			}
			if _, problems, err := verifyAll(memRepo(t, m, r.master)); err != nil {
				t.Errorf("%s: %v", name, err)
			} else {
				expect(t, name, problems, false)
			}
		}
	})
}

func TestADamagedCopyIsReplacedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newMemRepo(t)
		ctx := context.Background()
		data := noise(rand.New(rand.NewPCG(1, 1)), 20_000)
		var packs []store.Handle
		for range 2 {
			w, err := r.NewWriter(ctx, WriterOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Session().store(BlobHandle{Hash(data), DataBlob}, data); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(ctx); err != nil {
				t.Fatal(err)
			}
			w.Close()
		}
		for h := range m.files {
			if h.Kind == store.Pack {
				packs = append(packs, h)
			}
		}
		h := BlobHandle{Hash(data), DataBlob}
		for _, bad := range packs {
			c := m.clone()
			harmed := bytes.Clone(c.files[bad])
			harmed[100] ^= 1
			c.files[bad] = harmed
			own := memRepo(t, c, r.master)
			if got, err := own.LoadBlob(ctx, h, nil); err != nil || !bytes.Equal(got, data) {
				t.Errorf("LoadBlob: %v", err)
			}
			reads, err := own.PlanRead(ctx, []BlobHandle{h, h})
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, p := range reads {
				if err := own.ReadPack(ctx, p, func(b PlannedBlob, got []byte) error {
					n++
					if !bytes.Equal(got, data) {
						return errors.New("other bytes")
					}
					return nil
				}); err != nil {
					t.Errorf("ReadPack: %v", err)
				}
			}
			if n != 2 {
				t.Errorf("%d blobs read", n)
			}
			for _, p := range packs {
				delete(c.files, p)
			}
			if _, err := memRepo(t, c, r.master).LoadBlob(ctx, h, nil); !errors.Is(err, store.ErrNotExist) {
				t.Errorf("without packs: %v", err)
			}
		}
	})
}

func TestPruneKeepsOneCopyOfABlob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newMemRepo(t)
		ctx := context.Background()
		files := someFiles(1, 20, 12_000)
		if _, err := saveFiles(r, files); err != nil {
			t.Fatal(err)
		}
		// As a second writer does that began before the first had written its index.
		w, err := r.NewWriter(ctx, WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s := w.Session()
		for _, f := range files[5:15] {
			if err := s.store(BlobHandle{Hash(f.data), DataBlob}, f.data); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if res, err := memRepo(t, m, r.master).Prune(ctx, thorough); err != nil || res.UnneededBlobs != 10 || res.NeededBlobs != 21 {
			t.Fatalf("%+v, %v", res, err)
		}
		own := memRepo(t, m, r.master)
		if all, problems, err := verifyAll(own); err != nil || len(all) != 1 || len(problems) != 0 {
			t.Fatalf("%d snapshots, %v, %v", len(all), problems, err)
		}
		if stats, err := own.IndexStats(ctx); err != nil || stats.Blobs != 21 {
			t.Errorf("%+v, %v", stats, err)
		}
	})
}

func TestPlannedReadsGiveEachWantedBlobItsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newMemRepo(t)
		ctx := context.Background()
		random := rand.New(rand.NewPCG(3, 1))
		w, err := r.NewWriter(ctx, WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s := w.Session()
		var blobs [][]byte
		for range 200 {
			b := noise(random, random.IntN(5000))
			if random.IntN(2) == 0 {
				b = bytes.Repeat([]byte{byte(random.Uint32())}, random.IntN(90_000))
			}
			blobs = append(blobs, b)
			if _, _, err := s.SaveBlob(DataBlob, b); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		w.Close()
		own := memRepo(t, m, r.master)
		for range 30 {
			var want []BlobHandle
			var data [][]byte
			for range random.IntN(300) {
				b := blobs[random.IntN(len(blobs))]
				want, data = append(want, BlobHandle{Hash(b), DataBlob}), append(data, b)
			}
			reads, err := own.PlanRead(ctx, want)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]int, len(want))
			packs := make(map[ID]bool)
			for _, p := range reads {
				if packs[p.Pack] {
					t.Fatal("a pack is read twice")
				}
				packs[p.Pack] = true
				before := uint32(0)
				if err := own.ReadPack(ctx, p, func(b PlannedBlob, d []byte) error {
					got[b.Index]++
					if b.Offset < before || !bytes.Equal(d, data[b.Index]) || int(b.PlainBytes) != len(d) {
						return fmt.Errorf("blob %d is wrong", b.Index)
					}
					before = b.Offset
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			for i, n := range got {
				if n != 1 {
					t.Fatalf("blob %d came %d times", i, n)
				}
			}
		}
		if _, err := own.PlanRead(ctx, []BlobHandle{{ID{1}, DataBlob}}); !errors.Is(err, ErrNoBlob) {
			t.Errorf("unknown blob: %v", err)
		}
	})
}

func TestFilesAreReadAtAnyOffset(t *testing.T) {
	r, _ := newRepo(t)
	ctx := context.Background()
	data := noise(rand.New(rand.NewPCG(5, 1)), 3<<20+17)
	w, err := r.NewWriter(ctx, WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ids, n, err := w.Session().SaveFixed(bytes.NewReader(data), 64<<10, nil)
	if err != nil || n != int64(len(data)) || len(ids) != 49 {
		t.Fatalf("%d blobs of %d bytes, %v", len(ids), n, err)
	}
	if err := w.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	f, err := r.OpenFile(ctx, &Node{Content: ids})
	if err != nil || f.Size() != int64(len(data)) {
		t.Fatalf("size %d, %v", f.Size(), err)
	}
	random := rand.New(rand.NewPCG(6, 1))
	for range 200 {
		at, size := random.IntN(len(data)), random.IntN(200_000)
		p := make([]byte, size)
		n, err := f.ReadAt(p, int64(at))
		want := data[at:min(at+size, len(data))]
		if !bytes.Equal(p[:n], want) || (err == io.EOF) != (n < size) {
			t.Fatalf("ReadAt(%d, %d) = %d, %v", at, size, n, err)
		}
	}
	var out bytes.Buffer
	if n, err := f.WriteTo(&out); err != nil || n != int64(len(data)) || !bytes.Equal(out.Bytes(), data) {
		t.Errorf("WriteTo: %d, %v", n, err)
	}
	if empty, err := r.OpenFile(ctx, &Node{}); err != nil || empty.Size() != 0 {
		t.Errorf("the empty file: %v", err)
	}
}

func TestDiffAndFind(t *testing.T) {
	r, _ := newRepo(t)
	ctx := context.Background()
	src := t.TempDir()
	makeFiles(t, src, 7, 1<<20)
	a := backup(t, r, src)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.RemoveAll(filepath.Join(src, "d1")))
	must(os.WriteFile(filepath.Join(src, "text"), []byte("changed"), 0o640))
	must(os.Chmod(filepath.Join(src, "zeros"), 0o600))
	must(os.Mkdir(filepath.Join(src, "new"), 0o755))
	must(os.WriteFile(filepath.Join(src, "new", "file.go"), []byte("package x"), 0o644))
	must(os.Remove(filepath.Join(src, "empty")))
	must(os.Mkdir(filepath.Join(src, "empty"), 0o755))
	b := backup(t, r, src)
	x, err := r.LoadSnapshot(ctx, a)
	must(err)
	y, err := r.LoadSnapshot(ctx, b)
	must(err)
	changes := make(map[string]ChangeKind)
	must(r.Diff(ctx, *x.Tree, *y.Tree, func(c Change) error {
		changes[c.Path] = c.Kind
		return nil
	}))
	for path, want := range map[string]ChangeKind{"/text": Modified, "/zeros": MetaChanged, "/new": Added, "/new/file.go": Added, "/empty": TypeChanged, "/d1": Removed, "/d1/sub1": Removed} {
		if changes[path] != want {
			t.Errorf("%s: %q, want %q", path, changes[path], want)
		}
	}
	if _, ok := changes["/large"]; ok {
		t.Error("/large did not change")
	}
	must(r.Diff(ctx, *x.Tree, *x.Tree, func(c Change) error { return errors.New("a tree differs from itself") }))

	find := func(o FindOptions) (paths []string) {
		t.Helper()
		must(r.Find(ctx, []*Snapshot{x, y}, o, func(f Found) error {
			paths = append(paths, f.Snapshot.ID().Short()[:1]+f.Path)
			return nil
		}))
		return paths
	}
	if got := find(FindOptions{Patterns: []string{"FILE.*"}, IgnoreCase: true}); !slices.Equal(got, []string{b.Short()[:1] + "/new/file.go"}) {
		t.Errorf("by name: %v", got)
	}
	if got := find(FindOptions{Patterns: []string{"/new/*"}}); len(got) != 1 {
		t.Errorf("by path: %v", got)
	}
	if got := find(FindOptions{MinBytes: 5 << 20}); len(got) != 2 {
		t.Errorf("by size: %v", got)
	}
	if got := find(FindOptions{Types: []NodeType{TypeSymlink}}); len(got) != 2 {
		t.Errorf("by type: %v", got)
	}
	if got := find(FindOptions{Blobs: []ID{Hash([]byte("changed"))}}); len(got) != 1 {
		t.Errorf("by blob: %v", got)
	}
	if got := find(FindOptions{Newer: time.Now().Add(time.Hour)}); len(got) != 0 {
		t.Errorf("from the future: %v", got)
	}
	if err := r.Find(ctx, nil, FindOptions{Patterns: []string{"["}}, nil); err == nil {
		t.Error("accepted a broken pattern")
	}
	if _, err := r.Lookup(ctx, *y.Tree, "/text/below"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("below a file: %v", err)
	}
	if n, err := r.Lookup(ctx, *y.Tree, "new/file.go"); err != nil || n.Name != "file.go" {
		t.Errorf("look up: %+v, %v", n, err)
	}
}

func TestTheChainShowsWhatWasTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newMemRepo(t)
		ctx := context.Background()
		var ids []ID
		for i := range 6 {
			id, err := saveFiles(r, someFiles(uint64(i), 1, 2000))
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
			time.Sleep(time.Second)
		}
		verify := func(m *memStore, known ChainHead) ([]ChainGap, ChainHead) {
			t.Helper()
			gaps, head, err := memRepo(t, m, r.master).VerifyChain(ctx, known)
			if err != nil {
				t.Fatal(err)
			}
			return gaps, head
		}
		gaps, head := verify(m, ChainHead{})
		if len(gaps) != 0 || head != (ChainHead{6, ids[5]}) {
			t.Fatalf("whole: %v, %+v", gaps, head)
		}
		// Removed by us: no gap, whether in the middle, at the start, or two in a row.
		for _, i := range []int{2, 3, 0} {
			s, err := r.LoadSnapshot(ctx, ids[i])
			if err != nil {
				t.Fatal(err)
			}
			if err := r.RemoveSnapshots(ctx, []*Snapshot{s}); err != nil {
				t.Fatal(err)
			}
		}
		s, err := r.LoadSnapshot(ctx, ids[1])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.RewriteSnapshot(ctx, s, func(s *Snapshot) { s.Tags = append(s.Tags, "x") }); err != nil {
			t.Fatal(err)
		}
		if gaps, _ := verify(m, head); len(gaps) != 0 {
			t.Errorf("after forgetting and tagging: %v", gaps)
		}
		// Taken away behind our back.
		stolen := m.clone()
		delete(stolen.files, store.Handle{Kind: store.Snapshot, Name: ids[4].String()})
		if gaps, _ := verify(stolen, head); len(gaps) != 1 || !strings.HasPrefix(ids[4].String(), gaps[0].Missing) || gaps[0].By != ids[5] || gaps[0].Error() == "" {
			t.Errorf("one stolen: %v", gaps)
		}
		// The end of the chain is missed only by who remembers it.
		cut := m.clone()
		delete(cut.files, store.Handle{Kind: store.Snapshot, Name: ids[5].String()})
		if gaps, _ := verify(cut, ChainHead{}); len(gaps) != 0 {
			t.Errorf("the end stolen, nothing known: %v", gaps)
		}
		if gaps, _ := verify(cut, head); len(gaps) != 1 || gaps[0].Number != 6 {
			t.Errorf("the end stolen: %v", gaps)
		}
		// A record that is not sealed with the key proves nothing.
		stolen.files[store.Handle{Kind: store.Record, Name: removedDir + "x"}] = []byte(`{"removed":[{"id":"` + ids[4].String() + `"}]}`)
		if gaps, _ := verify(stolen, head); len(gaps) != 1 {
			t.Errorf("with a forged record: %v", gaps)
		}
	})
}

func TestTheCacheServesAndIsNotTrusted(t *testing.T) {
	r, _ := newRepo(t)
	ctx := context.Background()
	src := t.TempDir()
	makeFiles(t, src, 8, 1<<20)
	id := backup(t, r, src)
	cacheDir := t.TempDir()
	open := func() *Repository {
		n, err := OpenMaster(ctx, r.store, r.master, Options{CacheDir: cacheDir})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	walk := func(r *Repository) {
		t.Helper()
		s, err := r.LoadSnapshot(ctx, id)
		if err == nil {
			err = r.Walk(ctx, *s.Tree, func(string, *Node) error { return nil })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	walk(open())
	var cached []string
	if err := filepath.WalkDir(cacheDir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			cached = append(cached, path)
		}
		return err
	}); err != nil || len(cached) < 3 {
		t.Fatalf("cached: %v, %v", cached, err)
	}
	for _, path := range cached { // damaged files are fetched again
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	walk(open())
	if p := open().CachePath("state"); !strings.HasPrefix(p, cacheDir) || r.CachePath("state") != "" {
		t.Errorf("cache path %q", p)
	}
}
