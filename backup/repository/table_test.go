package repository

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

func TestTableAgreesWithAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := newBlobTable()
		model := make(map[BlobHandle]int)
		ids := make([]ID, rapid.IntRange(1, 50).Draw(t, "ids"))
		for i := range ids {
			// Equal first and last bytes: slots and marks collide.
			ids[i] = ID{0: byte(rapid.IntRange(0, 2).Draw(t, "first")), 16: byte(i), 31: byte(rapid.IntRange(0, 1).Draw(t, "last"))}
		}
		for k := range rapid.IntRange(0, 200).Draw(t, "adds") {
			h := BlobHandle{rapid.SampledFrom(ids).Draw(t, "id"), BlobKind(rapid.IntRange(0, 1).Draw(t, "kind"))}
			table.addPack(ID{1, byte(k)}, []packEntry{{id: h.ID, kind: h.Kind, length: 100}})
			model[h]++
		}
		for _, id := range ids {
			for _, kind := range []BlobKind{DataBlob, TreeBlob} {
				h := BlobHandle{id, kind}
				n := 0
				for e, step := table.find(&h, 0); e != nil; e, step = table.find(&h, step) {
					if e.id != id || e.kind() != kind {
						t.Fatalf("found %v for %v", e, h)
					}
					n++
				}
				if n != model[h] {
					t.Fatalf("%v is found %d times, added %d times", h, n, model[h])
				}
			}
		}
	})
}

func TestAddingAPackTwiceChangesNothing(t *testing.T) {
	table := newBlobTable()
	entries := []packEntry{{id: ID{1}, length: 50}, {id: ID{2}, offset: 50, length: 60, plain: 100, kind: TreeBlob}}
	for range 3 {
		table.addPack(ID{9}, entries)
	}
	table.addPack(ID{9}, []packEntry{{id: ID{3}, offset: 110, length: 40}}) // the rest of it, from another index file
	if table.n != 3 || len(table.packs) != 1 {
		t.Errorf("%d entries, %d packs", table.n, len(table.packs))
	}
}

func TestABlobTakesAtMost60Bytes(t *testing.T) {
	if size := unsafe.Sizeof(tableEntry{}); size != 48 {
		t.Fatalf("an entry has %d bytes", size)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 5 {
		n := 300_000 + random.IntN(200_000)
		table, ids := bigTable(n)
		if per := float64(table.sizeBytes()) / float64(n); per > 60 {
			t.Errorf("%d blobs: %.1f bytes each", n, per)
		}
		for range 1000 {
			i := random.IntN(n)
			h := BlobHandle{ID: ids(i)}
			if e, _ := table.find(&h, 0); e == nil {
				t.Fatalf("blob %d is lost", i)
			}
		}
	}
}

func TestOrderByPackIsComplete(t *testing.T) {
	table, _ := bigTable(1000)
	packs, blobs := 0, 0
	forEachPack(table, table.byPack(), func(_ ID, entries []packEntry) {
		packs++
		for i, e := range entries {
			if e.offset != uint32(i)*1000 {
				t.Fatalf("offset %d at place %d", e.offset, i)
			}
			blobs++
		}
	})
	if packs != 16 || blobs != 1000 {
		t.Errorf("%d packs, %d blobs", packs, blobs)
	}
}
