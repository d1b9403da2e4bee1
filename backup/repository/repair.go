package repository

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/trivet-ha/trivet/backup/store"
)

// RepairOptions say how far RepairIndex goes.
type RepairOptions struct {
	// ReadAllPacks takes nothing from the old index: the header of every pack is read.
	ReadAllPacks bool
}

// RepairStats counts what RepairIndex did.
type RepairStats struct {
	Packs        int // in the new index
	AddedPacks   int // that no readable index knew
	DroppedPacks int // that an index knew and that are gone, or have another size
	BrokenPacks  int // whose header can't be read; they are left where they are
	IndexFiles   int // that were replaced
	Unreadable   int // among those
}

// RepairIndex makes the index fit the packs that are there. It needs the repository for itself (an exclusive lock).
// broken is called for packs whose header can't be read.
func (r *Repository) RepairIndex(ctx context.Context, o RepairOptions, broken func(pack ID, err error)) (RepairStats, error) {
	lock, err := r.Lock(ctx, Exclusive)
	if err != nil {
		return RepairStats{}, fmt.Errorf("repair index: %w", err)
	}
	p := &indexRepair{r: r, broken: broken}
	err = p.run(lock.Context(), o)
	if err = errors.Join(err, lock.Unlock()); err != nil {
		return p.stats, fmt.Errorf("repair index: %w", err)
	}
	return p.stats, nil
}

type indexRepair struct {
	r      *Repository
	broken func(ID, error)
	mu     sync.Mutex
	stats  RepairStats
	known  map[ID][]packEntry
}

func (p *indexRepair) run(ctx context.Context, o RepairOptions) error {
	old, err := p.r.listSet(ctx, store.Index)
	if err != nil {
		return err
	}
	if err := p.loadOld(ctx, keys(old), o); err != nil {
		return err
	}
	sizes, err := p.r.packSizes(ctx)
	if err != nil {
		return err
	}
	for pack, entries := range p.known {
		if size, ok := sizes[pack]; !ok || size != packBytes(entries) {
			p.stats.DroppedPacks++
			delete(p.known, pack)
		}
	}
	var unknown []ID
	for pack := range sizes {
		if _, ok := p.known[pack]; !ok {
			unknown = append(unknown, pack)
		}
	}
	if err := p.readHeaders(ctx, unknown, sizes); err != nil {
		return err
	}
	var packs []indexPack
	for pack, entries := range p.known {
		packs = append(packs, indexPack{pack, entries})
	}
	p.stats.Packs, p.stats.IndexFiles = len(packs), len(old)
	if err := p.r.saveIndex(ctx, packs); err != nil {
		return err
	}
	for id := range old {
		if err := p.r.store.Remove(ctx, store.Handle{Kind: store.Index, Name: id.String()}); err != nil {
			return err
		}
	}
	return p.r.ReloadIndex(ctx)
}

// packBytes is the size of a pack with these entries, or -1 if they leave gaps.
func packBytes(entries []packEntry) int64 {
	var end int64
	for _, e := range entries {
		if int64(e.offset) != end {
			return -1
		}
		end += int64(e.length)
	}
	return end + int64(headerBytes(entries))
}

func (p *indexRepair) loadOld(ctx context.Context, ids []ID, o RepairOptions) error {
	p.known = make(map[ID][]packEntry)
	if o.ReadAllPacks {
		return nil
	}
	t := newBlobTable()
	err := eachParallel(ctx, ids, func(ctx context.Context, id ID) error {
		f, err := p.r.loadIndexFile(ctx, id)
		p.mu.Lock()
		defer p.mu.Unlock()
		if isDamage(err) {
			p.stats.Unreadable++
			return nil
		}
		if err != nil {
			return err
		}
		for _, pack := range f.packs {
			t.addPack(pack.id, pack.entries)
		}
		return nil
	})
	if err != nil {
		return err
	}
	forEachPack(t, t.byPack(), func(pack ID, entries []packEntry) {
		p.known[pack] = append([]packEntry(nil), entries...)
	})
	return nil
}

func (p *indexRepair) readHeaders(ctx context.Context, packs []ID, sizes map[ID]int64) error {
	return eachParallelN(ctx, 8, packs, func(ctx context.Context, pack ID) error {
		entries, err := p.r.readHeader(ctx, pack, sizes[pack])
		p.mu.Lock()
		defer p.mu.Unlock()
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			p.stats.BrokenPacks++
			if p.broken != nil {
				p.broken(pack, err)
			}
			return nil
		}
		p.stats.AddedPacks++
		p.known[pack] = entries
		return nil
	})
}

// readHeader reads what a pack says of itself.
func (r *Repository) readHeader(ctx context.Context, pack ID, size int64) ([]packEntry, error) {
	guess := min(size, 4<<10) // about a hundred blobs
	for {
		tail := make([]byte, guess)
		if err := store.ReadAt(ctx, r.store, store.Handle{Kind: store.Pack, Name: pack.String()}, tail, size-guess); err != nil {
			return nil, err
		}
		entries, need, err := openTail(r.sealer, tail, size)
		if err != nil {
			return nil, err
		}
		if int64(need) <= guess {
			return entries, nil
		}
		guess = int64(need)
	}
}
