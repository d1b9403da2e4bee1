package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/trivet-ha/trivet/backup/store"
)

// masterIndex knows where every blob is. It is loaded when it is first asked, and only then: a backup that
// finds nothing changed never asks.
type masterIndex struct {
	r *Repository

	loading sync.Mutex // one load at a time; not held by look-ups

	mu        sync.RWMutex
	table     *blobTable
	files     map[ID][]uint32 // index files in the table, with the positions of their packs
	condemned map[ID]condemnedPack
	marks     map[ID]*indexFile // those of the files that condemn packs
	damaged   map[ID]error      // files that can't be read: backup and restore go on without, prune does not
	loaded    bool
	outdated  bool         // files that it was loaded from are gone: the next to ask loads it anew
	next      *masterIndex // is being loaded to take this one's place
}

func newMasterIndex(r *Repository) *masterIndex {
	x := &masterIndex{r: r}
	x.reset()
	return x
}

func (x *masterIndex) reset() {
	x.table = newBlobTable()
	x.files = make(map[ID][]uint32)
	x.condemned = make(map[ID]condemnedPack)
	x.marks = make(map[ID]*indexFile)
	x.damaged = make(map[ID]error)
	x.loaded, x.outdated = false, false
}

// LoadIndex loads the index now if it is not loaded. All that reads blobs does it by itself.
func (r *Repository) LoadIndex(ctx context.Context) error { return r.index.ensure(ctx) }

// ReloadIndex forgets the index and loads it anew: to see what others did since.
func (r *Repository) ReloadIndex(ctx context.Context) error {
	r.index.loading.Lock()
	defer r.index.loading.Unlock()
	return r.index.reload(ctx)
}

// reload loads another index, which then takes this one's place: meanwhile look-ups find what they found before. x.loading
// is held.
func (x *masterIndex) reload(ctx context.Context) error {
	return x.exchange(func(fresh *masterIndex) error { return fresh.load(ctx) })
}

// exchange puts what load makes in place of what x knows. x.loading is held.
func (x *masterIndex) exchange(load func(fresh *masterIndex) error) error {
	fresh := newMasterIndex(x.r)
	x.mu.Lock()
	x.next = fresh
	x.mu.Unlock()
	err := load(fresh)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.next = nil
	if err != nil {
		return err
	}
	x.table, x.files, x.condemned, x.marks, x.damaged = fresh.table, fresh.files, fresh.condemned, fresh.marks, fresh.damaged
	x.loaded, x.outdated = true, false
	return nil
}

func (x *masterIndex) ensure(ctx context.Context) error {
	x.mu.RLock()
	loaded := x.loaded
	x.mu.RUnlock()
	if loaded {
		return nil
	}
	x.loading.Lock()
	defer x.loading.Unlock()
	x.mu.RLock()
	loaded, outdated := x.loaded, x.outdated
	x.mu.RUnlock()
	switch {
	case loaded:
		return nil
	case outdated:
		return x.reload(ctx)
	}
	return x.load(ctx)
}

// load adds all index files. If one vanishes meanwhile (prune has replaced it by another) it begins again, from nothing: what
// was read of the files before the exchange may be wrong after it.
func (x *masterIndex) load(ctx context.Context) error {
	const attempts = 5
	for range attempts {
		vanished, err := x.loadListed(ctx)
		if err != nil {
			return fmt.Errorf("load index: %w", err)
		}
		if !vanished {
			x.mu.Lock()
			x.loaded = true
			x.mu.Unlock()
			x.r.cache.retain(store.Pack, x.hasPack)
			return nil
		}
		x.mu.Lock()
		x.reset()
		x.mu.Unlock()
	}
	return errors.New("load index: files vanish as fast as they are listed")
}

func (x *masterIndex) loadListed(ctx context.Context) (vanished bool, err error) {
	var ids []ID
	var bytes int64
	listed := make(map[ID]struct{})
	x.mu.RLock()
	before := keys(x.files)
	x.mu.RUnlock()
	err = x.r.listIDs(ctx, store.Index, func(id ID, sizeBytes int64) error {
		listed[id] = struct{}{}
		x.mu.RLock()
		_, known := x.files[id]
		_, damaged := x.damaged[id]
		x.mu.RUnlock()
		if !known && !damaged {
			ids = append(ids, id)
			bytes += sizeBytes
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	isListed := func(id ID) bool { _, ok := listed[id]; return ok }
	x.r.cache.retain(store.Index, isListed)
	if slices.ContainsFunc(before, func(id ID) bool { return !isListed(id) }) {
		return true, nil
	}

	// An entry takes 50 to 70 bytes of a sealed index file (its ID does not compress).
	x.mu.Lock()
	x.table.reserve(x.table.n + int(bytes/80))
	x.mu.Unlock()

	err = eachParallel(ctx, ids, func(ctx context.Context, id ID) error {
		f, err := x.r.loadIndexFile(ctx, id)
		if errors.Is(err, store.ErrNotExist) {
			x.mu.Lock()
			vanished = true
			x.mu.Unlock()
			return nil
		}
		if isDamage(err) {
			x.mu.Lock()
			x.damaged[id] = err
			x.mu.Unlock()
			return nil
		}
		if err != nil {
			return err
		}
		x.add(id, f)
		return nil
	})
	return vanished, err
}

// whole returns an error if an index file can't be read.
func (x *masterIndex) whole() error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for id, err := range x.damaged {
		return fmt.Errorf("index %s can't be read (repair the index first): %w", id.Short(), err)
	}
	return nil
}

// isDamage tells a file that is not what it was from a store that can't be reached.
func isDamage(err error) bool {
	return errors.Is(err, ErrDamaged) || errors.Is(err, ErrUnauthenticated) || errors.Is(err, io.ErrUnexpectedEOF)
}

func (r *Repository) loadIndexFile(ctx context.Context, id ID) (*indexFile, error) {
	data, err := r.loadUnpacked(ctx, store.Index, id)
	if err != nil {
		return nil, err
	}
	f, err := parseIndex(data)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w: %w", id.Short(), ErrDamaged, err)
	}
	return f, nil
}

// add takes an index file that is in the repository.
func (x *masterIndex) add(id ID, f *indexFile) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.next != nil {
		x.next.add(id, f) // its listing may be older than the file
	}
	packs := make([]uint32, len(f.packs))
	for i := range f.packs {
		packs[i] = x.table.addPack(f.packs[i].id, f.packs[i].entries)
	}
	x.files[id] = packs
	for _, c := range f.condemned {
		x.condemned[c.id] = c
	}
	if len(f.condemned) > 0 {
		x.marks[id] = f
	}
}

// outdate makes the next look-up load the index anew.
func (x *masterIndex) outdate() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.loaded, x.outdated = false, true
}

// follow lists the index files and returns their names. If files that this index was loaded from are gone, the next look-up
// loads it anew, for packs may be gone, too; if there are new ones, the next look-up adds them.
func (x *masterIndex) follow(ctx context.Context) (map[ID]struct{}, error) {
	listed, err := x.r.listSet(ctx, store.Index)
	if err != nil {
		return nil, err
	}
	x.loading.Lock()
	defer x.loading.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.outdated = x.outdated || !subset(x.files, listed) || !subset(x.damaged, listed)
	x.loaded = x.loaded && !x.outdated && len(x.files)+len(x.damaged) == len(listed)
	return listed, nil
}

func (r *Repository) listSet(ctx context.Context, kind store.Kind) (map[ID]struct{}, error) {
	set := make(map[ID]struct{})
	err := r.listIDs(ctx, kind, func(id ID, _ int64) error {
		set[id] = struct{}{}
		return nil
	})
	return set, err
}

func subset[V any](a map[ID]V, b map[ID]struct{}) bool {
	for id := range a {
		if _, ok := b[id]; !ok {
			return false
		}
	}
	return true
}

// has is for a loaded index.
func (x *masterIndex) has(h BlobHandle) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	e, _ := x.table.find(&h, 0)
	return e != nil
}

// place is where a blob can be read.
type place struct {
	pack ID
	packEntry
}

// places appends all places of a blob to dst. Those in condemned packs come last, and only if there are no others.
func (x *masterIndex) places(h BlobHandle, dst []place) []place {
	x.mu.RLock()
	defer x.mu.RUnlock()
	before := len(dst)
	for e, step := x.table.find(&h, 0); e != nil; e, step = x.table.find(&h, step) {
		dst = append(dst, place{x.table.packs[e.packPos()], e.packEntry()})
	}
	if len(dst) > before {
		return dst
	}
	for id, c := range x.condemned {
		for _, e := range c.entries {
			if e.id == h.ID && e.kind == h.Kind {
				dst = append(dst, place{id, e})
			}
		}
	}
	return dst
}

// IndexStats describes a loaded index.
type IndexStats struct {
	Blobs, Packs, Files int
	MemoryBytes         int
}

// IndexStats loads the index and describes it.
func (r *Repository) IndexStats(ctx context.Context) (IndexStats, error) {
	if err := r.index.ensure(ctx); err != nil {
		return IndexStats{}, err
	}
	x := r.index
	x.mu.RLock()
	defer x.mu.RUnlock()
	return IndexStats{x.table.n, len(x.table.packs), len(x.files), x.table.sizeBytes()}, nil
}

// eachParallel calls fn for every item on all cores, until one fails.
func eachParallel[T any](ctx context.Context, items []T, fn func(context.Context, T) error) error {
	return eachParallelN(ctx, runtime.GOMAXPROCS(0), items, fn)
}

func eachParallelN[T any](ctx context.Context, workers int, items []T, fn func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next sync.Mutex
	pos := 0
	var wg sync.WaitGroup
	for range min(workers, len(items)) {
		wg.Go(func() {
			for ctx.Err() == nil {
				next.Lock()
				i := pos
				pos++
				next.Unlock()
				if i >= len(items) {
					return
				}
				if err := fn(ctx, items[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
