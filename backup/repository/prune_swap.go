package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

// condemn exchanges the index files that list packs which go. It returns the packs that may be deleted at once.
func (p *pruner) condemn(ctx context.Context) ([]condemnedPack, error) {
	if len(p.remove) == 0 && len(p.orphans) == 0 {
		return nil, nil
	}
	var err error
	p.swap, err = p.r.lockForSwap(ctx)
	var locked *LockedError
	if errors.As(err, &locked) {
		p.result.Postponed = &locked.Holder
		p.result.CondemnedPacks, p.result.CondemnedBytes = 0, 0
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	condemned, err := p.exchange(p.swap.Context())
	err = errors.Join(err, p.swap.Unlock())
	p.swap = nil
	return condemned, err
}

// stillHeld is asked before each change that the locks must cover: the machine may have slept since.
func (p *pruner) stillHeld() error {
	if p.swap != nil {
		if err := p.swap.fresh(); err != nil {
			return err
		}
	}
	return p.lock.fresh()
}

func (p *pruner) removeFile(ctx context.Context, kind store.Kind, id ID) error {
	if err := p.stillHeld(); err != nil {
		return err
	}
	return p.r.store.Remove(ctx, store.Handle{Kind: kind, Name: id.String()})
}

// lockForSwap waits a while for commits to end, and for other programs not at all: a backup of stock restic may take hours.
func (r *Repository) lockForSwap(ctx context.Context) (*Lock, error) {
	deadline := time.Now().Add(swapPatience)
	for {
		l, err := r.tryLock(ctx, Exclusive, forSwap)
		var locked *LockedError
		if !errors.As(err, &locked) || locked.Holder.purpose != forCommit || time.Now().After(deadline) {
			return l, err
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// exchange runs under the exclusive lock: no commit is under way, and no session begins. Sessions come first, as in run: what
// a session that has ended put into the index is seen, and one that ends later is waited for.
func (p *pruner) exchange(ctx context.Context) ([]condemnedPack, error) {
	sessions, err := p.otherSessions(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.spareNew(ctx); err != nil {
		return nil, err
	}
	condemned := p.condemnedPacks()
	p.result.CondemnedPacks, p.result.CondemnedBytes = len(condemned), 0
	for _, c := range condemned {
		p.result.CondemnedBytes += c.bytes
	}
	p.result.WaitingFor = len(sessions)
	// The mark comes first: from here on the packs can be found again whatever happens.
	if len(sessions) > 0 || p.o.KeepCondemned > 0 {
		mark := &indexFile{condemned: condemned, waitingFor: sessions}
		if err := p.stillHeld(); err != nil {
			return nil, err
		}
		id, err := p.r.saveUnpacked(ctx, store.Index, appendIndexJSON(nil, mark))
		if err != nil {
			return nil, fmt.Errorf("write mark: %w", err)
		}
		p.r.index.add(id, mark)
		condemned = nil
	}
	if err := p.replaceIndexes(ctx); err != nil {
		return nil, err
	}
	return condemned, nil
}

// spareNew looks at what has changed since the plan: snapshots that need a pack which was to go keep it, and packs
// that were indexed meanwhile are no orphans any more.
func (p *pruner) spareNew(ctx context.Context) error {
	now, err := p.r.roots(ctx)
	if err != nil {
		return err
	}
	if _, err := p.r.index.follow(ctx); err != nil {
		return err
	}
	if err := p.r.index.ensure(ctx); err != nil {
		return err
	}
	if err := p.r.index.whole(); err != nil {
		return err
	}
	var roots []ID
	for id, root := range now {
		if _, known := p.planned[id]; !known {
			roots = append(roots, root)
		}
	}
	x := p.r.index
	m := p.r.newUsedMarker(func(h BlobHandle, err error) error { return fmt.Errorf("%v: %w", h, err) })
	if err := m.run(ctx, roots); err != nil {
		return err
	}
	for pos := range uint32(x.table.n) {
		e := x.table.at(pos)
		delete(p.orphans, x.table.packs[e.packPos()])
		if m.used.has(pos) {
			p.spareBlob(x.table, &BlobHandle{e.id, e.kind()})
		}
	}
	for _, mark := range x.marks {
		for _, pack := range mark.packs { // of another program: that file stays as it is
			delete(p.remove, pack.id)
		}
	}
	return nil
}

// spareBlob keeps one pack of a blob, unless one stays anyway. One that is there is better than one that is only listed.
func (p *pruner) spareBlob(t *blobTable, h *BlobHandle) {
	var best ID
	for e, step := t.find(h, 0); e != nil; e, step = t.find(h, step) {
		pack := t.packs[e.packPos()]
		if _, goes := p.remove[pack]; !goes {
			return
		}
		if _, there := p.sizes[pack]; there || best.IsZero() {
			best = pack
		}
	}
	delete(p.remove, best)
}

// otherSessions lists the sessions of ours that may know the index as it was. It looks twice: a directory is not read in
// one instant, and a lock that is just being refreshed has another name before and after.
func (p *pruner) otherSessions(ctx context.Context) ([]string, error) {
	var sessions []string
	for range 2 {
		locks, err := p.r.liveLocks(ctx)
		if err != nil {
			return nil, err
		}
		for _, l := range locks {
			if l.Session != "" && l.Session != p.lock.session && l.purpose != forSwap && !slices.Contains(sessions, l.Session) {
				sessions = append(sessions, l.Session)
			}
		}
	}
	return sessions, nil
}

func (p *pruner) condemnedPacks() []condemnedPack {
	now := time.Now()
	byID := make(map[ID][]packEntry)
	t := p.r.index.table
	forEachPack(t, t.byPack(), func(pack ID, entries []packEntry) {
		if _, goes := p.remove[pack]; goes {
			byID[pack] = slices.Clone(entries)
		}
	})
	var out []condemnedPack
	for _, set := range []map[ID]struct{}{p.remove, p.orphans} {
		for pack := range set {
			out = append(out, condemnedPack{indexPack{pack, byID[pack]}, now, p.sizes[pack]})
		}
	}
	return out
}

// replaceIndexes writes what stays of the index files that list packs which go, and then removes those files. It
// also puts small index files together.
func (p *pruner) replaceIndexes(ctx context.Context) error {
	x := p.r.index
	replaced, kept := p.indexesToReplace()
	packs := x.packsAt(kept)
	if len(replaced) == 0 {
		return nil
	}
	if err := p.stillHeld(); err != nil {
		return err
	}
	if err := p.r.saveIndex(ctx, packs); err != nil {
		return err
	}
	for _, id := range replaced {
		if err := p.removeFile(ctx, store.Index, id); err != nil {
			return err
		}
	}
	return p.r.ReloadIndex(ctx)
}

// indexesToReplace returns index files, and the positions of the packs in them that stay.
func (p *pruner) indexesToReplace() (files []ID, kept map[uint32]struct{}) {
	x := p.r.index
	kept = make(map[uint32]struct{})
	var small []ID
	take := func(id ID) {
		files = append(files, id)
		for _, pack := range x.files[id] {
			if _, goes := p.remove[x.table.packs[pack]]; !goes {
				kept[pack] = struct{}{}
			}
		}
	}
	for id, packs := range x.files {
		if _, mark := x.marks[id]; mark {
			continue
		}
		goes := slices.ContainsFunc(packs, func(pack uint32) bool {
			_, goes := p.remove[x.table.packs[pack]]
			return goes
		})
		switch {
		case goes || len(packs) == 0:
			take(id)
		case len(packs) < smallIndexPacks:
			small = append(small, id)
		}
	}
	if len(small) >= smallPacks {
		for _, id := range small {
			take(id)
		}
	}
	return files, kept
}

// smallIndexPacks: index files with fewer packs are put together when there are many.
const smallIndexPacks = 64

// packsAt returns packs with their entries.
func (x *masterIndex) packsAt(positions map[uint32]struct{}) []indexPack {
	var packs []indexPack
	forEachPack(x.table, x.table.byPack(), func(pack ID, entries []packEntry) {
		if _, ok := positions[x.table.names[pack]]; ok {
			packs = append(packs, indexPack{pack, slices.Clone(entries)})
		}
	})
	return packs
}
