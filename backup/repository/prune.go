package repository

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
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
	r      *Repository // of its own, with an index that nobody else adds to
	o      PruneOptions
	lock   *Lock
	swap   *Lock // while the index is exchanged
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
	p := &pruner{r: r.apart(), o: o, lock: lock}
	err = lock.Settled()
	if err == nil {
		err = p.run(lock.Context())
		r.index.outdate()
	}
	if err = errors.Join(err, lock.Unlock()); err != nil {
		return p.result, fmt.Errorf("prune: %w", err)
	}
	return p.result, nil
}

// apart is the same repository with an index of its own.
func (r *Repository) apart() *Repository {
	own := newRepository(r.store, r.options, r.config, r.master, r.keyID)
	own.cache, own.blobs = r.cache, r.blobs
	return own
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
	if err := p.r.index.whole(); err != nil {
		return err
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
