package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

// ErrPruned means that blobs that the snapshot builds on were deleted while it was made, because its parent was
// removed. Nothing was announced; the backup has to be run again, without the parent.
var ErrPruned = errors.New("the repository was pruned of blobs that this backup builds on; run it again")

// swapPatience bounds how long a commit waits for prune to exchange index files.
const swapPatience = 2 * time.Minute

// SaveSnapshot flushes, makes sure that all that the snapshot refers to is in the index as it is now, stores the
// snapshot and reads it and its root back. It returns the ID only after that: a snapshot announced is one that
// restores. Time is set if it is zero.
func (w *Writer) SaveSnapshot(ctx context.Context, s *Snapshot) (ID, error) {
	if s.Tree == nil {
		return ID{}, errors.New("save snapshot: it has no tree")
	}
	if err := w.Flush(ctx); err != nil {
		return ID{}, fmt.Errorf("save snapshot: %w", err)
	}
	id, err := w.commit(s)
	if err != nil {
		w.fail(err)
		return ID{}, fmt.Errorf("save snapshot: %w", w.err())
	}
	return id, nil
}

// commit is the meeting point with prune (see prune.go). Each announces itself by a lock before it looks for the
// other: prune never exchanges the index between our look at it and the snapshot.
func (w *Writer) commit(s *Snapshot) (ID, error) {
	ctx := w.ctx
	if err := w.lock.Settled(); err != nil {
		return ID{}, err
	}
	if !w.committed {
		if err := w.lock.enterCommit(ctx); err != nil {
			return ID{}, err
		}
		w.committed = true
	} else if err := w.lock.alive(ctx); err != nil {
		return ID{}, err
	}
	if err := w.confirmIndex(ctx, *s.Tree); err != nil {
		return ID{}, err
	}
	if s.Time.IsZero() {
		s.Time = time.Now()
	}
	if !w.noChain {
		if err := w.r.chain(ctx, s); err != nil {
			return ID{}, err
		}
	}
	if err := w.r.writeSnapshot(ctx, s); err != nil {
		return ID{}, err
	}
	if err := w.r.readRootBack(ctx, *s.Tree); err != nil {
		return ID{}, err
	}
	return s.id, nil
}

// enterCommit says in the lock that a commit is under way. If prune was first, it waits until that is done. From here to the
// end of the lock no index file is exchanged.
func (l *Lock) enterCommit(ctx context.Context) error {
	deadline := time.Now().Add(swapPatience)
	for {
		if err := l.change(ctx, forCommit); err != nil {
			return err
		}
		locks, err := l.r.liveLocks(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(locks, func(other LockInfo) bool { return other.Exclusive })
		if i < 0 {
			return nil
		}
		if err := l.change(ctx, forWriting); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return &LockedError{locks[i]}
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// confirmIndex makes sure that the index as it is now knows every blob below root. If no index was exchanged since the
// writer began, that follows from how the blobs came about. Otherwise it walks the trees, and brings condemned
// packs that it needs back into the index.
func (w *Writer) confirmIndex(ctx context.Context, root ID) error {
	now, err := w.r.listSet(ctx, store.Index)
	if err != nil {
		return err
	}
	if exchanged, err := w.exchanged(ctx, now); err != nil || !exchanged {
		return err
	}
	if err := w.r.ReloadIndex(ctx); err != nil {
		return err
	}
	missing, err := w.r.missingBelow(ctx, root)
	if err == nil && len(missing) > 0 {
		err = w.r.reviveBlobs(ctx, missing, w.lock.session)
	}
	if err != nil {
		return err
	}
	w.base = now
	return nil
}

// exchanged reports whether index files were exchanged since the writer began. Every exchange leaves a mark that names the
// sessions alive, and such a mark outlives them. What has vanished is no measure: a file that another writer made, that
// this one has looked blobs up in, and that is gone again, is in neither of the two listings.
func (w *Writer) exchanged(ctx context.Context, now map[ID]struct{}) (bool, error) {
	if !subset(w.base, now) {
		return true, nil // of an exchange under way when the listing was made, or by another program
	}
	for id := range now {
		if _, old := w.base[id]; old {
			continue
		}
		waiting, err := w.r.waitingFor(ctx, id)
		if isDamage(err) || errors.Is(err, store.ErrNotExist) {
			return true, nil // it may have been a mark
		}
		if err != nil {
			return false, err
		}
		if slices.Contains(waiting, w.lock.session) {
			return true, nil
		}
	}
	return false, nil
}

// waitingFor returns the sessions that an index file waits for: none, unless it is a mark.
func (r *Repository) waitingFor(ctx context.Context, index ID) ([]string, error) {
	x := r.index
	x.mu.RLock()
	_, known := x.files[index]
	mark := x.marks[index]
	x.mu.RUnlock()
	if !known {
		var err error
		if mark, err = r.loadIndexFile(ctx, index); err != nil {
			return nil, err
		}
	}
	if mark == nil {
		return nil, nil
	}
	return mark.waitingFor, nil
}

// missingBelow walks the trees below root and returns the blobs that the index does not know. Trees in
// condemned packs can still be read.
func (r *Repository) missingBelow(ctx context.Context, root ID) ([]BlobHandle, error) {
	var missing []BlobHandle
	seen := make(map[ID]struct{})
	lacks := make(map[BlobHandle]struct{})
	lack := func(h BlobHandle) {
		if _, ok := lacks[h]; !ok && !r.index.has(h) {
			lacks[h] = struct{}{}
			missing = append(missing, h)
		}
	}
	stack := []ID{root}
	for len(stack) > 0 {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if _, ok := seen[id]; ok {
			continue
		}
		seen[id] = struct{}{}
		lack(BlobHandle{id, TreeBlob})
		t, err := r.LoadTree(ctx, id)
		if errors.Is(err, ErrNoBlob) {
			return nil, fmt.Errorf("%w: %w", ErrPruned, err)
		}
		if err != nil {
			return nil, err
		}
		for _, n := range t.Nodes {
			for _, c := range n.Content {
				lack(BlobHandle{c, DataBlob})
			}
			if n.Subtree != nil {
				stack = append(stack, *n.Subtree)
			}
		}
	}
	return missing, nil
}

// reviveBlobs lists again, in a new index file, condemned packs that hold the blobs. A session may only count on packs of
// marks that wait for it: others may be deleted at any moment. Session "" is the prune, which is the one that deletes.
func (r *Repository) reviveBlobs(ctx context.Context, blobs []BlobHandle, session string) error {
	wanted := make(map[BlobHandle]struct{}, len(blobs))
	for _, h := range blobs {
		wanted[h] = struct{}{}
	}
	var revived []indexPack
	for _, c := range r.index.revivable(session) {
		if !slices.ContainsFunc(c.entries, func(e packEntry) bool { _, ok := wanted[e.handle()]; return ok }) {
			continue
		}
		_, err := r.store.Stat(ctx, store.Handle{Kind: store.Pack, Name: c.id.String()})
		if errors.Is(err, store.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		revived = append(revived, c.indexPack)
		for _, e := range c.entries {
			delete(wanted, e.handle())
		}
	}
	for h := range wanted {
		return fmt.Errorf("%w: %v is gone", ErrPruned, h)
	}
	return r.saveIndex(ctx, revived)
}

// revivable returns the condemned packs that a session can bring back.
func (x *masterIndex) revivable(session string) (packs []condemnedPack) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, mark := range x.marks {
		if session == "" || slices.Contains(mark.waitingFor, session) {
			packs = append(packs, mark.condemned...)
		}
	}
	return packs
}

// readRootBack reads the root tree from the store, not from memory.
func (r *Repository) readRootBack(ctx context.Context, root ID) error {
	if err := r.index.ensure(ctx); err != nil {
		return err
	}
	data, err := r.readBlob(ctx, BlobHandle{root, TreeBlob}, nil)
	if err != nil {
		return fmt.Errorf("read root back: %w", err)
	}
	if _, err := ParseTree(data); err != nil {
		return fmt.Errorf("read root back: %w", err)
	}
	return nil
}
