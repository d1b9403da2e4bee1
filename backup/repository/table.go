package repository

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync/atomic"
)

// blobTable maps blobs to their places in packs. Ten million blobs take at most 60 bytes each: an entry of 48
// bytes without pointers, a slot of 4 and a mark of 1, at a load of 0.57 to 0.8.
//
// A blob may be in it several times, once for each pack that holds it. It is not safe for concurrent use.
type blobTable struct {
	slabs [][]tableEntry // of slabEntries each; entries never move
	n     int
	marks []uint8  // one per slot: 0 free, else a few more bits of the hash
	slots []uint32 // position of an entry
	packs []ID
	names map[ID]uint32 // position in packs
}

const (
	slabEntries  = 1 << 13
	treeBit      = 1 << 31
	minSlots     = 1 << 10
	growPermille = 800 // the load at which the table grows
)

type tableEntry struct {
	id                    ID
	pack                  uint32 // position in packs; treeBit for a tree
	offset, length, plain uint32
}

func newBlobTable() *blobTable { return &blobTable{names: make(map[ID]uint32)} }

func (e *tableEntry) kind() BlobKind { return BlobKind(e.pack >> 31) }

func (e *tableEntry) packPos() uint32 { return e.pack &^ treeBit }

func (e *tableEntry) packEntry() packEntry {
	return packEntry{id: e.id, kind: e.kind(), offset: e.offset, length: e.length, plain: e.plain}
}

// at returns the entry at a position below t.n.
func (t *blobTable) at(pos uint32) *tableEntry {
	return &t.slabs[pos/slabEntries][pos%slabEntries]
}

// IDs are hashes already. The kind is not part of it: the same bytes seldom are a tree and a file.
func hashOf(id *ID) (hash uint64, mark uint8) {
	return binary.LittleEndian.Uint64(id[:]), max(id[31], 1)
}

func (t *blobTable) home(hash uint64) int {
	hi, _ := bits.Mul64(hash, uint64(len(t.slots)))
	return int(hi)
}

// probe returns the position of the first entry of a blob at or after the probe step given, and the step to go on
// from. The first of all is the one added first.
func (t *blobTable) probe(h *BlobHandle, step int) (pos uint32, next int, ok bool) {
	if len(t.slots) == 0 {
		return 0, 0, false
	}
	hash, mark := hashOf(&h.ID)
	slot := t.home(hash) + step
	if slot >= len(t.slots) {
		slot -= len(t.slots)
	}
	for {
		m := t.marks[slot]
		if m == 0 {
			return 0, 0, false
		}
		step++
		if m == mark {
			if e := t.at(t.slots[slot]); e.id == h.ID && e.kind() == h.Kind {
				return t.slots[slot], step, true
			}
		}
		if slot++; slot == len(t.slots) {
			slot = 0
		}
	}
}

// find is probe with the entry itself, or nil.
func (t *blobTable) find(h *BlobHandle, step int) (*tableEntry, int) {
	pos, next, ok := t.probe(h, step)
	if !ok {
		return nil, 0
	}
	return t.at(pos), next
}

// position is where the first entry of a blob stands; it is the same for the life of the table.
func (t *blobTable) position(h *BlobHandle) (uint32, bool) {
	pos, _, ok := t.probe(h, 0)
	return pos, ok
}

// packPosition returns the position of a pack, which it adds if needed.
func (t *blobTable) packPosition(pack ID) (pos uint32, known bool) {
	if pos, known = t.names[pack]; !known {
		pos = uint32(len(t.packs))
		t.packs = append(t.packs, pack)
		t.names[pack] = pos
	}
	return pos, known
}

// addPack adds the blobs of a pack and returns the pack's position. Blobs that are in the table at that very place are
// passed over.
func (t *blobTable) addPack(pack ID, entries []packEntry) uint32 {
	pos, known := t.packPosition(pack)
	for i := range entries {
		e := &entries[i]
		if known && t.hasPlace(e, pos) {
			continue
		}
		t.add(tableEntry{e.id, pos | uint32(e.kind)<<31, e.offset, e.length, e.plain})
	}
	return pos
}

func (t *blobTable) hasPlace(e *packEntry, pack uint32) bool {
	h := e.handle()
	for found, step := t.find(&h, 0); found != nil; found, step = t.find(&h, step) {
		if found.packPos() == pack && found.offset == e.offset {
			return true
		}
	}
	return false
}

func (t *blobTable) add(e tableEntry) *tableEntry {
	if (t.n+1)*1000 > len(t.slots)*growPermille {
		t.grow(max(minSlots, len(t.slots)*7/5))
	}
	if t.n == len(t.slabs)*slabEntries {
		t.slabs = append(t.slabs, make([]tableEntry, slabEntries))
	}
	pos := uint32(t.n)
	t.n++
	*t.at(pos) = e
	t.place(&e.id, pos)
	return t.at(pos)
}

func (t *blobTable) place(id *ID, pos uint32) {
	hash, mark := hashOf(id)
	slot := t.home(hash)
	for t.marks[slot] != 0 {
		if slot++; slot == len(t.slots) {
			slot = 0
		}
	}
	t.marks[slot], t.slots[slot] = mark, pos
}

// grow makes room for the number of slots given.
func (t *blobTable) grow(slots int) {
	t.marks, t.slots = make([]uint8, slots), make([]uint32, slots)
	for pos := range uint32(t.n) {
		t.place(&t.at(pos).id, pos)
	}
}

// reserve makes room for n entries at once.
func (t *blobTable) reserve(n int) {
	if slots := n*1000/growPermille + 1; slots > len(t.slots) {
		t.grow(slots)
	}
}

// byPack returns the positions of all entries, ordered by pack and offset.
func (t *blobTable) byPack() []uint32 {
	order := make([]uint32, t.n)
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		x, y := t.at(a), t.at(b)
		if d := int64(x.packPos()) - int64(y.packPos()); d != 0 {
			return int(d)
		}
		return int(int64(x.offset) - int64(y.offset))
	})
	return order
}

// sizeBytes is the memory that the table holds.
func (t *blobTable) sizeBytes() int {
	return len(t.slabs)*slabEntries*48 + len(t.slots)*5 + cap(t.packs)*32 + len(t.names)*48
}

// bitset is a set of positions. It is safe for concurrent use.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func (b bitset) has(i uint32) bool { return atomic.LoadUint64(&b[i/64])&(1<<(i%64)) != 0 }

// set adds i and reports whether it was new.
func (b bitset) set(i uint32) bool {
	bit := uint64(1) << (i % 64)
	return atomic.OrUint64(&b[i/64], bit)&bit == 0
}
