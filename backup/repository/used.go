package repository

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/trivet-ha/trivet/backup/store"
)

// usedMarker walks the trees of snapshots, on all cores, and marks every blob that they need. A tree is read once,
// however many snapshots share it: the memory is one bit per blob, and the trees still to be read.
type usedMarker struct {
	r     *Repository
	table *blobTable
	used  bitset // positions of the first entry of each needed blob

	// lost is told, one at a time, of what is wrong: a blob that no index knows, a tree that can't be read. It
	// returns whether to go on.
	lost func(h BlobHandle, err error) error
	// tree, if not nil, is called for every tree read, from several goroutines.
	tree func(id ID, t *Tree)

	mu      sync.Mutex
	more    sync.Cond
	queue   []ID
	running int
	missing map[BlobHandle]struct{}
	err     error
}

// newUsedMarker marks against the index as loaded now.
func (r *Repository) newUsedMarker(lost func(BlobHandle, error) error) *usedMarker {
	r.index.mu.RLock()
	table := r.index.table
	n := table.n
	r.index.mu.RUnlock()
	m := &usedMarker{r: r, table: table, used: newBitset(n), lost: lost, missing: make(map[BlobHandle]struct{})}
	m.more.L = &m.mu
	return m
}

// run marks everything below the roots.
func (m *usedMarker) run(ctx context.Context, roots []ID) error {
	stop := context.AfterFunc(ctx, func() { m.fail(context.Cause(ctx)) })
	defer stop()
	for _, id := range roots {
		m.need(BlobHandle{id, TreeBlob})
	}
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() { m.work(ctx) })
	}
	wg.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func (m *usedMarker) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = err
	}
	m.more.Broadcast()
}

func (m *usedMarker) work(ctx context.Context) {
	for {
		id, ok := m.next()
		if !ok {
			return
		}
		t, err := m.r.LoadTree(ctx, id)
		if err != nil {
			m.report(BlobHandle{id, TreeBlob}, err)
		} else {
			m.markTree(id, t)
		}
		m.mu.Lock()
		m.running--
		if m.running == 0 && len(m.queue) == 0 {
			m.more.Broadcast()
		}
		m.mu.Unlock()
	}
}

func (m *usedMarker) next() (ID, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.queue) == 0 && m.running > 0 && m.err == nil {
		m.more.Wait()
	}
	if m.err != nil || len(m.queue) == 0 {
		return ID{}, false
	}
	id := m.queue[len(m.queue)-1]
	m.queue = m.queue[:len(m.queue)-1]
	m.running++
	return id, true
}

func (m *usedMarker) markTree(id ID, t *Tree) {
	if m.tree != nil {
		m.tree(id, t)
	}
	for _, n := range t.Nodes {
		for _, c := range n.Content {
			m.need(BlobHandle{c, DataBlob})
		}
		switch {
		case n.Subtree != nil:
			m.need(BlobHandle{*n.Subtree, TreeBlob})
		case n.Type == TypeDir:
			m.report(BlobHandle{id, TreeBlob}, fmt.Errorf("%w: directory %q has no tree", ErrDamaged, n.Name))
		}
	}
}

// need marks a blob, and queues it if it is a tree seen for the first time.
func (m *usedMarker) need(h BlobHandle) {
	m.r.index.mu.RLock()
	pos, ok := m.table.position(&h)
	m.r.index.mu.RUnlock()
	if ok && int(pos/64) < len(m.used) {
		if m.used.set(pos) && h.Kind == TreeBlob {
			m.enqueue(h.ID)
		}
		return
	}
	m.mu.Lock()
	_, known := m.missing[h]
	m.missing[h] = struct{}{}
	m.mu.Unlock()
	if known {
		return
	}
	if len(m.r.index.places(h, nil)) > 0 { // in a condemned pack, or added since
		m.report(h, errCondemned)
		if h.Kind == TreeBlob {
			m.enqueue(h.ID)
		}
		return
	}
	m.report(h, ErrNoBlob)
}

func (m *usedMarker) enqueue(id ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue = append(m.queue, id)
	m.more.Signal()
}

// report passes on what is wrong, one at a time.
func (m *usedMarker) report(h BlobHandle, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return
	}
	if err := m.lost(h, err); err != nil {
		m.err = err
		m.more.Broadcast()
	}
}

// roots returns the trees of all snapshots. A snapshot that can't be read is an error: what it needs is unknown.
func (r *Repository) roots(ctx context.Context) (map[ID]ID, error) {
	all, damaged, err := r.allSnapshots(ctx)
	if err != nil {
		return nil, err
	}
	for id, err := range damaged {
		return nil, fmt.Errorf("snapshot %s: %w", id.Short(), err)
	}
	roots := make(map[ID]ID, len(all))
	for _, s := range all {
		roots[s.id] = *s.Tree
	}
	return roots, nil
}

// packSizes lists the packs in the store.
func (r *Repository) packSizes(ctx context.Context) (map[ID]int64, error) {
	sizes := make(map[ID]int64)
	err := r.listIDs(ctx, store.Pack, func(id ID, n int64) error {
		sizes[id] = n
		return nil
	})
	return sizes, err
}
