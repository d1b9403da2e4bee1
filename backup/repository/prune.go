package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

// Prune deletes in two phases, so that it need not stop writers. See docs/decisions for the proof.
//
//  1. Condemn: what is still needed of the packs that go is copied to new packs; then the index files that list
//     them are replaced by ones that don't. That exchange happens under an exclusive lock held for moments, and
//     only if no program but ours is at work: stock restic does not look at the index again before it saves a
//     snapshot, our own writers do (commit.go), and they can bring a condemned pack back.
//  2. Sweep: a condemned pack is deleted when every session that was alive at the exchange has ended, and if it is still in
//     no index and no snapshot needs it.
//
// With nobody else at work both phases happen in one run.

var errCondemned = errors.New("the blob is in a condemned pack only")

const (
	defaultMaxUnused = 5.0 // percent, as restic
	// smallPacks: from that many packs below a quarter of the pack size on they are merged.
	smallPacks = 8
)

// PruneOptions say how thorough to be.
type PruneOptions struct {
	// MaxUnusedPercent is how much of the repository may stay unused, to save copying: 5 if 0, none if
	// negative. Packs without any needed blob always go.
	MaxUnusedPercent   float64
	MaxRepackBytes     int64 // bounds what is copied in one run; no bound if 0
	RepackUncompressed bool  // also copies, compressed, what was stored before the format knew compression
	// KeepCondemned is the least age of a condemned pack before it is deleted, beyond the end of the
	// sessions. 0 is right for stores whose listings are complete.
	KeepCondemned time.Duration
	DryRun        bool
}

// PruneResult says what was done, or, for a dry run, would be.
type PruneResult struct {
	NeededBlobs, UnneededBlobs int
	NeededBytes, UnneededBytes int64 // as stored
	Packs                      int
	UnindexedPacks             int // left by killed writers

	RepackedPacks  int
	RepackedBytes  int64
	CondemnedPacks int
	CondemnedBytes int64
	RevivedPacks   int // condemned before, and needed after all
	DeletedPacks   int
	DeletedBytes   int64

	// WaitingFor is the number of sessions that must end before the condemned packs can be deleted: a later
	// prune does it.
	WaitingFor int
	// Postponed is the lock that kept the index from being exchanged. Nothing was lost but time; the
	// next run goes on from there.
	Postponed *LockInfo
}

type pruner struct {
	r      *Repository
	o      PruneOptions
	lock   *Lock
	result PruneResult

	ripe    map[ID]*indexFile // marks whose sessions had ended before this run looked at anything else
	forlorn []condemnedPack   // packs of those marks that nothing has brought back
	planned map[ID]ID         // snapshots that the plan knows, with their trees
	table   *blobTable
	keep    bitset // entries that are needed at their place
	sizes   map[ID]int64
	remove  map[ID]struct{} // indexed packs that go
	repack  []packToRead    // with the entries that must be copied
	orphans map[ID]struct{} // packs in no index
}

// Prune removes what no snapshot needs. It runs beside backups. It fails, and deletes nothing, if anything that a snapshot needs
// is missing or can't be read: repair that first.
func (r *Repository) Prune(ctx context.Context, o PruneOptions) (PruneResult, error) {
	if o.MaxUnusedPercent == 0 {
		o.MaxUnusedPercent = defaultMaxUnused
	}
	lock, err := r.lock(ctx, Shared, forPruning)
	if err != nil {
		return PruneResult{}, fmt.Errorf("prune: %w", err)
	}
	p := &pruner{r: r, o: o, lock: lock}
	err = lock.Settled()
	if err == nil {
		err = p.run(lock.Context())
	}
	if err = errors.Join(err, lock.Unlock()); err != nil {
		return p.result, fmt.Errorf("prune: %w", err)
	}
	return p.result, nil
}

func (p *pruner) run(ctx context.Context) error {
	// The order matters. Sessions first: what one that has ended brought back is seen by all that follows. Then
	// snapshots, then the index: everything a snapshot needs was indexed before it.
	live, err := p.r.liveLocks(ctx)
	if err != nil {
		return err
	}
	if p.planned, err = p.r.roots(ctx); err != nil {
		return err
	}
	if err := p.r.ReloadIndex(ctx); err != nil {
		return err
	}
	p.ripe = p.ripeMarks(live)
	for id, err := range p.r.index.damaged {
		return fmt.Errorf("index %s can't be read (repair the index first): %w", id.Short(), err)
	}
	if err := p.mark(ctx); err != nil {
		return err
	}
	p.findForlorn()
	if p.sizes, err = p.r.packSizes(ctx); err != nil {
		return err
	}
	if err := p.plan(); err != nil {
		return err
	}
	if p.o.DryRun {
		return nil
	}
	if err := p.copyNeeded(ctx); err != nil {
		return err
	}
	condemned, err := p.condemn(ctx)
	if err != nil {
		return err
	}
	return p.sweep(ctx, condemned)
}

// mark finds the needed blobs. Those that are only in condemned packs bring their packs back.
func (p *pruner) mark(ctx context.Context) error {
	for range 2 {
		var lost []BlobHandle
		m := p.r.newUsedMarker(func(h BlobHandle, err error) error {
			if errors.Is(err, errCondemned) {
				lost = append(lost, h)
				return nil
			}
			return fmt.Errorf("%v: %w", h, err)
		})
		if err := m.run(ctx, values(p.planned)); err != nil {
			return err
		}
		if len(lost) == 0 {
			p.table, p.keep = m.table, m.used
			return nil
		}
		if p.o.DryRun {
			return fmt.Errorf("%d blobs are in condemned packs only: a real run brings them back first", len(lost))
		}
		before := len(p.r.index.files)
		if err := p.r.reviveBlobs(ctx, lost, ""); err != nil {
			return err
		}
		p.result.RevivedPacks += len(p.r.index.files) - before
	}
	return errors.New("condemned packs could not be brought back")
}

func values[K comparable, V any](m map[K]V) []V {
	out := make([]V, 0, len(m))
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// packUse is what the plan weighs of a pack.
type packUse struct {
	id                ID
	entries           []packEntry
	needed            []packEntry
	neededBytes, size int64
	mixed, old        bool
}

// plan chooses, for each blob that is stored several times, the copy to keep; then the packs that go.
func (p *pruner) plan() error {
	order := p.table.byPack()
	p.chooseCopies(order)
	p.remove, p.orphans = make(map[ID]struct{}), make(map[ID]struct{})
	var partly []packUse
	var small [2][]packUse
	var missing error
	var total int64
	indexed := make(map[ID]struct{})
	i := 0
	forEachPack(p.table, order, func(pack ID, entries []packEntry) {
		u := p.use(pack, entries, order[i:i+len(entries)])
		i += len(entries)
		indexed[pack] = struct{}{}
		p.count(u)
		total += u.size
		_, there := p.sizes[pack]
		switch {
		case !there && len(u.needed) > 0:
			missing = errors.Join(missing, Problem{Kind: PackMissing, Pack: pack})
		case len(u.needed) == 0:
			p.condemnPack(pack)
		case len(u.needed) < len(u.entries), u.mixed, u.old && p.o.RepackUncompressed:
			u.entries = nil
			partly = append(partly, u)
		case u.size < int64(p.r.options.PackBytes)/4:
			u.entries = nil
			small[u.needed[0].kind] = append(small[u.needed[0].kind], u)
		}
	})
	if missing != nil {
		return missing
	}
	p.chooseRepack(partly, total)
	for _, s := range small {
		if len(s) >= smallPacks {
			for _, u := range s {
				p.addRepack(u)
			}
		}
	}
	for pack := range p.sizes {
		_, known := indexed[pack]
		_, condemned := p.r.index.condemned[pack]
		if !known && !condemned {
			p.orphans[pack] = struct{}{}
		}
	}
	p.result.UnindexedPacks = len(p.orphans)
	p.result.Packs = len(indexed)
	return nil
}

func (p *pruner) condemnPack(pack ID) {
	p.remove[pack] = struct{}{}
	p.result.CondemnedPacks++
	p.result.CondemnedBytes += p.sizes[pack]
}

// chooseCopies moves the mark of each needed blob to the copy in the pack that is needed most.
func (p *pruner) chooseCopies(order []uint32) {
	needed := make([]int64, len(p.table.packs)) // bytes per pack, all copies counted
	copies := false
	for _, pos := range order {
		e := p.table.at(pos)
		h := BlobHandle{e.id, e.kind()}
		first, _ := p.table.position(&h)
		if p.keep.has(first) {
			needed[e.packPos()] += int64(e.length)
		}
		copies = copies || first != pos
	}
	if !copies {
		return
	}
	chosen := newBitset(p.table.n)
	for _, pos := range order {
		e := p.table.at(pos)
		h := BlobHandle{e.id, e.kind()}
		if first, _ := p.table.position(&h); first != pos || !p.keep.has(first) {
			continue
		}
		best := pos
		for other, step, ok := p.table.probe(&h, 0); ok; other, step, ok = p.table.probe(&h, step) {
			if p.betterCopy(other, best, needed) {
				best = other
			}
		}
		chosen.set(best)
	}
	p.keep = chosen
}

// betterCopy reports whether the copy at a is the one to keep rather than that at b: its pack is there, and more of it is needed.
func (p *pruner) betterCopy(a, b uint32, needed []int64) bool {
	x, y := p.table.at(a).packPos(), p.table.at(b).packPos()
	_, hasX := p.sizes[p.table.packs[x]]
	_, hasY := p.sizes[p.table.packs[y]]
	if hasX != hasY {
		return hasX
	}
	return needed[x] > needed[y]
}

func (p *pruner) use(pack ID, entries []packEntry, positions []uint32) packUse {
	u := packUse{id: pack, entries: entries, size: int64(headerBytes(entries))}
	for k, e := range entries {
		u.size += int64(e.length)
		u.mixed = u.mixed || e.kind != entries[0].kind
		u.old = u.old || (e.plain == 0 && p.r.config.Version >= 2 && e.length > sealedOverhead)
		if p.keep.has(positions[k]) {
			u.needed = append(u.needed, e)
			u.neededBytes += int64(e.length)
		}
	}
	return u
}

func (p *pruner) count(u packUse) {
	p.result.NeededBlobs += len(u.needed)
	p.result.UnneededBlobs += len(u.entries) - len(u.needed)
	p.result.NeededBytes += u.neededBytes
	p.result.UnneededBytes += u.size - u.neededBytes - int64(headerBytes(u.entries))
}

// chooseRepack copies from the packs with the most waste until what stays unused is within the bound.
func (p *pruner) chooseRepack(partly []packUse, total int64) {
	waste := func(u packUse) int64 { return u.size - u.neededBytes }
	slices.SortFunc(partly, func(a, b packUse) int {
		return cmp.Compare(float64(waste(b))/float64(b.size), float64(waste(a))/float64(a.size))
	})
	var unused int64
	for _, u := range partly {
		unused += waste(u)
	}
	allowed := int64(max(p.o.MaxUnusedPercent, 0) / 100 * float64(total))
	for _, u := range partly {
		if unused <= allowed && !u.mixed && !(u.old && p.o.RepackUncompressed) {
			continue
		}
		if p.addRepack(u) {
			unused -= waste(u)
		}
	}
}

func (p *pruner) addRepack(u packUse) bool {
	if p.o.MaxRepackBytes > 0 && p.result.RepackedBytes+u.neededBytes > p.o.MaxRepackBytes {
		return false
	}
	p.repack = append(p.repack, packToRead{u.id, u.needed})
	p.result.RepackedPacks++
	p.result.RepackedBytes += u.neededBytes
	p.condemnPack(u.id)
	return true
}

// copyNeeded copies the needed blobs of the packs that go into new, indexed packs.
func (p *pruner) copyNeeded(ctx context.Context) error {
	if len(p.repack) == 0 {
		return nil
	}
	w, err := p.r.writerUnder(p.lock, WriterOptions{Reopen: -1})
	if err != nil {
		return err
	}
	defer w.Close()
	sessions := sync.Pool{New: func() any { return w.Session() }}
	err = eachParallel(ctx, p.repack, func(ctx context.Context, pack packToRead) error {
		s := sessions.Get().(*Session)
		defer sessions.Put(s)
		return p.copyPack(ctx, s, pack)
	})
	if err != nil {
		return err
	}
	return w.Flush(ctx)
}

func (p *pruner) copyPack(ctx context.Context, s *Session, pack packToRead) error {
	read := PackRead{Pack: pack.id}
	for i, e := range pack.entries {
		read.Blobs = append(read.Blobs, PlannedBlob{e.handle(), i, e.offset, e.length, e.plainBytes(), e.plain})
	}
	return p.r.ReadPack(ctx, read, func(b PlannedBlob, data []byte) error {
		return s.store(b.Handle, data)
	})
}

// condemn exchanges the index files that list packs which go. It returns the packs that may be deleted at once.
func (p *pruner) condemn(ctx context.Context) ([]condemnedPack, error) {
	if len(p.remove) == 0 && len(p.orphans) == 0 {
		return nil, nil
	}
	swap, err := p.r.lockForSwap(ctx)
	var locked *LockedError
	if errors.As(err, &locked) {
		p.result.Postponed = &locked.Holder
		p.result.CondemnedPacks, p.result.CondemnedBytes = 0, 0
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	condemned, err := p.swap(swap.Context())
	return condemned, errors.Join(err, swap.Unlock())
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

// swap runs under the exclusive lock: no commit is under way, and none begins.
func (p *pruner) swap(ctx context.Context) ([]condemnedPack, error) {
	if err := p.spareNew(ctx); err != nil {
		return nil, err
	}
	sessions, err := p.otherSessions(ctx)
	if err != nil {
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
	x.mu.RLock()
	defer x.mu.RUnlock()
	for pos := range uint32(x.table.n) {
		e := x.table.at(pos)
		delete(p.orphans, x.table.packs[e.packPos()])
		if m.used.has(pos) {
			p.spareBlob(x.table, &BlobHandle{e.id, e.kind()})
		}
	}
	return nil
}

// spareBlob keeps one pack of a blob, unless one stays anyway.
func (p *pruner) spareBlob(t *blobTable, h *BlobHandle) {
	var last ID
	for e, step := t.find(h, 0); e != nil; e, step = t.find(h, step) {
		last = t.packs[e.packPos()]
		if _, goes := p.remove[last]; !goes {
			return
		}
	}
	delete(p.remove, last)
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
	x.mu.RLock()
	replaced, kept := p.indexesToReplace()
	packs := x.packsAt(kept)
	x.mu.RUnlock()
	if len(replaced) == 0 {
		return nil
	}
	if err := p.r.saveIndex(ctx, packs); err != nil {
		return err
	}
	for _, id := range replaced {
		if err := p.r.store.Remove(ctx, store.Handle{Kind: store.Index, Name: id.String()}); err != nil {
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

// ripeMarks returns the marks whose condemned packs nobody can rely on any more.
func (p *pruner) ripeMarks(live []LockInfo) map[ID]*indexFile {
	x := p.r.index
	x.mu.RLock()
	defer x.mu.RUnlock()
	ripe := make(map[ID]*indexFile)
	for id, mark := range x.marks {
		waits := slices.ContainsFunc(live, func(l LockInfo) bool { return slices.Contains(mark.waitingFor, l.Session) })
		young := slices.ContainsFunc(mark.condemned, func(c condemnedPack) bool { return time.Since(c.since) < p.o.KeepCondemned })
		if !waits && !young && len(mark.packs) == 0 { // one with packs is another program's, with its own rules
			ripe[id] = mark
		}
	}
	return ripe
}

// findForlorn lists the packs that can be deleted whatever else happens in this run. A pack that was brought back is not
// among them: if it goes again, then by a new mark, which waits for the sessions of today.
func (p *pruner) findForlorn() {
	x := p.r.index
	unripe := make(map[ID]struct{})
	for id, mark := range x.marks {
		if _, ok := p.ripe[id]; ok {
			continue
		}
		for _, c := range mark.condemned {
			unripe[c.id] = struct{}{}
		}
	}
	for _, mark := range p.ripe {
		for _, c := range mark.condemned {
			if _, waits := unripe[c.id]; !waits && !x.hasPack(c.id) {
				p.forlorn = append(p.forlorn, c)
			}
		}
	}
}

// sweep deletes the packs that were condemned just now and that nobody can rely on, and those of ripe marks.
func (p *pruner) sweep(ctx context.Context, condemned []condemnedPack) error {
	for _, c := range condemned {
		if err := p.deletePack(ctx, c.id, c.bytes); err != nil {
			return err
		}
	}
	for _, c := range p.forlorn {
		if err := p.deletePack(ctx, c.id, c.bytes); err != nil {
			return err
		}
	}
	for id := range p.ripe {
		if err := p.r.store.Remove(ctx, store.Handle{Kind: store.Index, Name: id.String()}); err != nil {
			return err
		}
		p.r.index.forgetMark(id)
	}
	return nil
}

func (p *pruner) deletePack(ctx context.Context, id ID, bytes int64) error {
	if err := p.r.store.Remove(ctx, store.Handle{Kind: store.Pack, Name: id.String()}); err != nil {
		return err
	}
	if _, there := p.sizes[id]; there {
		p.result.DeletedPacks++
		p.result.DeletedBytes += bytes
	}
	return nil
}

func (x *masterIndex) hasPack(id ID) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, ok := x.table.names[id]
	return ok
}

func (x *masterIndex) forgetMark(id ID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range x.marks[id].condemned {
		delete(x.condemned, c.id)
	}
	delete(x.marks, id)
	delete(x.files, id)
}
