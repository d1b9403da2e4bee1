package repository

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

const (
	// maxBlobBytes bounds a blob. restic reads blobs of any size below the pack's 4 GiB; a tree of two
	// million entries is of this order.
	maxBlobBytes = 1 << 30
	// indexBlobs and indexEvery: when to write an index file during a backup. What is indexed is not
	// uploaded again by the run after a crash.
	indexBlobs = 50_000
	indexEvery = 2 * time.Minute
	// defaultReopen is the share of blobs that is opened again after sealing.
	defaultReopen = 0.05
)

// WriterOptions say how to write.
type WriterOptions struct {
	// Reopen is the share of new blobs (0 to 1) that is opened again right after sealing, to catch bad
	// memory and faulty encoders: 5 % if 0, none if negative. All of them cost a fifth more CPU time.
	Reopen float64
	// NoChain leaves out the tag that chains snapshots (see VerifyChain).
	NoChain bool
}

// Writer adds blobs and snapshots to a repository. Its Sessions do the work, one per goroutine.
//
// Order is what makes it safe: packs are durable before an index names them, the index before a
// snapshot, and a snapshot is read back before it is announced. Until then a crash leaves only
// bytes that nothing refers to. An identical blob from two sessions is stored once.
//
// A failure is final: every further call returns it.
type Writer struct {
	r       *Repository
	lock    *Lock
	unlock  bool // Close gives the lock up
	ctx     context.Context
	cancel  context.CancelCauseFunc
	gear    *gearTable
	reopen  float64
	noChain bool

	base      map[ID]struct{} // index files when the writer began, or when it last looked at all of them
	committed bool            // the lock says forCommit

	uploads chan struct{}
	sending sync.WaitGroup // uploads
	disks   sync.WaitGroup // all goroutines

	mu       sync.Mutex
	fresh    *blobTable // blobs claimed by this writer; only their names count
	sessions []*Session

	indexing  sync.Mutex // held while an index file is written
	doneMu    sync.Mutex
	done      []indexPack // durable, not in an index yet
	doneBlobs int
	indexed   time.Time

	stats writerStats
}

// NewWriter takes a shared lock and starts a writer. It must be closed.
func (r *Repository) NewWriter(ctx context.Context, o WriterOptions) (*Writer, error) {
	lock, err := r.lock(ctx, Shared, forWriting)
	if err != nil {
		return nil, err
	}
	w, err := r.writerUnder(lock, o)
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	w.unlock = true
	return w, nil
}

// writerUnder makes a writer that works under a lock that stays the caller's.
func (r *Repository) writerUnder(lock *Lock, o WriterOptions) (*Writer, error) {
	if o.Reopen == 0 {
		o.Reopen = defaultReopen
	}
	base, err := r.index.follow(lock.Context())
	if err != nil {
		return nil, err
	}
	w := &Writer{
		r: r, lock: lock, reopen: o.Reopen, noChain: o.NoChain, base: base,
		gear:    newGearTable(r.master.Subkey("chunker gear table, version 1")),
		uploads: make(chan struct{}, r.options.Uploads),
		fresh:   newBlobTable(), indexed: time.Now(),
	}
	w.ctx, w.cancel = context.WithCancelCause(lock.Context())
	return w, nil
}

// fail records the first error and stops everything.
func (w *Writer) fail(err error) { w.cancel(err) }

func (w *Writer) err() error { return context.Cause(w.ctx) }

// claim reports whether a blob is in the repository or taken care of by another session; if not, the caller
// must store it.
func (w *Writer) claim(h BlobHandle) (known bool, err error) {
	if err := w.ctx.Err(); err != nil {
		return false, w.err()
	}
	if err := w.r.index.ensure(w.ctx); err != nil {
		w.fail(err)
		return false, err
	}
	if w.r.index.has(h) {
		return true, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if e, _ := w.fresh.find(&h, 0); e != nil {
		return true, nil
	}
	w.fresh.add(tableEntry{id: h.ID, pack: uint32(h.Kind) << 31})
	return false, nil
}

// Has reports whether a blob is in the repository, or has been given to this writer. It loads the index.
func (w *Writer) Has(h BlobHandle) (bool, error) {
	if err := w.r.index.ensure(w.ctx); err != nil {
		return false, err
	}
	if w.r.index.has(h) {
		return true, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e, _ := w.fresh.find(&h, 0)
	return e != nil, nil
}

// packStored takes note of a pack that is in the store, and writes an index when enough have come together.
func (w *Writer) packStored(ctx context.Context, f *finishedPack) error {
	w.stats.packStored(f)
	w.doneMu.Lock()
	w.done = append(w.done, f.indexPack)
	w.doneBlobs += len(f.entries)
	due := w.doneBlobs >= indexBlobs || time.Since(w.indexed) >= indexEvery
	w.doneMu.Unlock()
	if !due {
		return nil
	}
	return w.writeIndex(ctx)
}

// writeIndex makes the names of the stored packs durable, then lists them in an index file.
func (w *Writer) writeIndex(ctx context.Context) error {
	w.indexing.Lock()
	defer w.indexing.Unlock()
	w.doneMu.Lock()
	packs := w.done
	w.done, w.doneBlobs, w.indexed = nil, 0, time.Now()
	w.doneMu.Unlock()
	if len(packs) == 0 {
		return nil
	}
	// Packs of a writer that is believed dead are deleted: they must not be indexed any more.
	if err := w.lock.alive(ctx); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	if st, ok := w.r.store.(store.Stager); ok {
		if err := st.Barrier(ctx); err != nil {
			return fmt.Errorf("write index: %w", err)
		}
	}
	return w.r.saveIndex(ctx, packs)
}

// saveIndex writes index files for packs that are durable, and takes them into the index in memory.
func (r *Repository) saveIndex(ctx context.Context, packs []indexPack) error {
	for len(packs) > 0 {
		n, blobs := 0, 0
		for n < len(packs) && (n == 0 || blobs+len(packs[n].entries) <= indexBlobs) {
			blobs += len(packs[n].entries)
			n++
		}
		f := &indexFile{packs: packs[:n]}
		packs = packs[n:]
		id, err := r.saveUnpacked(ctx, store.Index, appendIndexJSON(nil, f))
		if err != nil {
			return fmt.Errorf("write index: %w", err)
		}
		r.index.add(id, f)
	}
	return nil
}

// Flush makes everything saved so far durable and findable: open packs are closed and stored, then their
// index is. Sessions may go on afterwards.
func (w *Writer) Flush(ctx context.Context) error {
	if err := w.flush(ctx); err != nil {
		w.fail(err)
		return fmt.Errorf("flush: %w", w.err())
	}
	return nil
}

func (w *Writer) flush(ctx context.Context) error {
	if w.ctx.Err() != nil {
		return w.err()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w.mu.Lock()
	sessions := w.sessions
	w.mu.Unlock()
	for _, s := range sessions {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	for _, kind := range []BlobKind{DataBlob, TreeBlob} {
		var packers []*packer
		for _, s := range sessions {
			if p := s.packers[kind]; p != nil {
				packers = append(packers, p)
			}
		}
		if err := finishTogether(packers); err != nil {
			return err
		}
	}
	w.sending.Wait()
	if w.ctx.Err() != nil {
		return w.err()
	}
	return w.writeIndex(w.ctx)
}

// finishTogether closes the open packs of several sessions. Those that are still in memory as a whole become one,
// so that a small backup writes one small pack and not one per core.
func finishTogether(packers []*packer) error {
	var first *packer
	for _, p := range packers {
		switch {
		case p.handed || len(p.entries) == 0:
		case first == nil:
			first = p
		default:
			if err := first.absorb(p); err != nil {
				return err
			}
			if len(first.entries) == 0 || first.handed {
				first = nil
			}
		}
	}
	for _, p := range packers {
		if err := p.finish(); err != nil {
			return err
		}
	}
	for _, p := range packers {
		if err := p.wait(); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the writer: what was not flushed is dropped, and the lock released. It waits for its goroutines.
// After an error it returns only what went wrong in closing.
func (w *Writer) Close() error {
	w.cancel(errors.New("the writer is closed"))
	w.mu.Lock()
	sessions := w.sessions
	w.sessions = nil
	w.mu.Unlock()
	for _, s := range sessions {
		s.mu.Lock()
		for _, p := range s.packers {
			if p != nil {
				close(p.jobs)
			}
		}
		s.packers = [2]*packer{}
		s.mu.Unlock()
	}
	w.disks.Wait()
	if !w.unlock {
		return nil
	}
	return w.lock.Unlock()
}

// WriterStats counts what a Writer did, by kind of blob (DataBlob, TreeBlob).
type WriterStats struct {
	NewBlobs, KnownBlobs [2]uint64
	NewBytes, KnownBytes [2]uint64 // before compression
	StoredBytes          [2]uint64 // of whole packs
	Packs                [2]uint64
	ReopenedBlobs        uint64
}

type writerStats struct {
	newBlobs, knownBlobs [2]atomic.Uint64
	newBytes, knownBytes [2]atomic.Uint64
	stored, packs        [2]atomic.Uint64
	reopened             atomic.Uint64
}

func (s *writerStats) known(kind BlobKind, n int) {
	s.knownBlobs[kind].Add(1)
	s.knownBytes[kind].Add(uint64(n))
}

func (s *writerStats) added(kind BlobKind, n int) {
	s.newBlobs[kind].Add(1)
	s.newBytes[kind].Add(uint64(n))
}

func (s *writerStats) packStored(f *finishedPack) {
	kind := f.entries[0].kind
	s.packs[kind].Add(1)
	s.stored[kind].Add(uint64(f.bytes))
}

// Stats is what was done so far. It may be called at any time.
func (w *Writer) Stats() WriterStats {
	var out WriterStats
	for k := range 2 {
		out.NewBlobs[k], out.KnownBlobs[k] = w.stats.newBlobs[k].Load(), w.stats.knownBlobs[k].Load()
		out.NewBytes[k], out.KnownBytes[k] = w.stats.newBytes[k].Load(), w.stats.knownBytes[k].Load()
		out.StoredBytes[k], out.Packs[k] = w.stats.stored[k].Load(), w.stats.packs[k].Load()
	}
	out.ReopenedBlobs = w.stats.reopened.Load()
	return out
}
