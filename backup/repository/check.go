package repository

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/trivet-ha/trivet/backup/store"
)

// ProblemKind says what Check found.
type ProblemKind string

// What Check may find. Those up to DataDamaged are losses; the rest is untidy and harms nobody.
const (
	IndexDamaged    ProblemKind = "index damaged"
	SnapshotDamaged ProblemKind = "snapshot damaged"
	TreeDamaged     ProblemKind = "tree damaged"
	BlobMissing     ProblemKind = "blob missing"
	PackMissing     ProblemKind = "pack missing"
	PackSize        ProblemKind = "pack has another size"
	PackLayout      ProblemKind = "index does not cover the pack"
	DataDamaged     ProblemKind = "data damaged"

	PackUnindexed ProblemKind = "pack in no index"
	PackTwice     ProblemKind = "pack in several indexes"
	PackMixed     ProblemKind = "pack of trees and data"
)

// Problem is one finding of Check.
type Problem struct {
	Kind     ProblemKind
	Pack     ID // zero where it is not about a pack
	Blob     BlobHandle
	Snapshot ID
	Err      error
}

// Harmless reports whether nothing is lost: prune or repair of the index will tidy up.
func (p Problem) Harmless() bool {
	return p.Kind == PackUnindexed || p.Kind == PackTwice || p.Kind == PackMixed
}

// Error describes the problem.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(string(p.Kind))
	if !p.Pack.IsZero() {
		b.WriteString(": pack " + p.Pack.Short())
	}
	if !p.Blob.ID.IsZero() {
		b.WriteString(": " + p.Blob.String())
	}
	if !p.Snapshot.IsZero() {
		b.WriteString(": snapshot " + p.Snapshot.Short())
	}
	if p.Err != nil {
		b.WriteString(": " + p.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (p Problem) Unwrap() error { return p.Err }

// Share selects the packs whose data Check reads. The zero value selects none.
type Share struct {
	Part, Of uint    // the Part-th of Of parts (1 to Of): all packs are read once in Of runs
	Percent  float64 // of the packs, chosen at random
}

// AllData is the share of everything.
var allData = Share{Part: 1, Of: 1}

// AllData selects every pack.
func AllData() Share { return allData }

// ParseShare reads "3/7", "5%" or "all".
func ParseShare(s string) (Share, error) {
	if s == "all" {
		return allData, nil
	}
	if p, ok := strings.CutSuffix(s, "%"); ok {
		f, err := strconv.ParseFloat(p, 64)
		if err == nil && f > 0 && f <= 100 {
			return Share{Percent: f}, nil
		}
	} else if a, b, ok := strings.Cut(s, "/"); ok {
		part, err1 := strconv.ParseUint(a, 10, 32)
		of, err2 := strconv.ParseUint(b, 10, 32)
		if err1 == nil && err2 == nil && part >= 1 && part <= of && of <= 256 {
			return Share{Part: uint(part), Of: uint(of)}, nil
		}
	}
	return Share{}, fmt.Errorf("share %q: want n/t with 1 <= n <= t <= 256, a percentage, or all", s)
}

// selects reports whether a pack is in the share.
func (s Share) selects(pack ID) bool {
	if s.Of > 0 {
		return uint(pack[0])%s.Of == s.Part-1
	}
	return s.Percent > 0 && rand.Float64()*100 < s.Percent
}

// CheckOptions say what to check beyond the structure.
type CheckOptions struct {
	// Data is the share of packs that is read as a whole: hash of the pack, its header against the index, and the
	// authentication, decompression and hash of every blob.
	Data Share
	// Progress, if not nil, is told about packs read, from several goroutines.
	Progress func(done, total int, bytes int64)
}

// CheckStats counts what Check saw.
type CheckStats struct {
	Snapshots, Trees, Blobs, Packs int
	UnusedBlobs                    int // for prune to remove
	PacksRead                      int
	BytesRead                      int64
	Problems                       int // harmless ones not counted
}

type checker struct {
	r      *Repository
	o      CheckOptions
	mu     sync.Mutex // of report
	report func(Problem)
	stats  CheckStats
	sizes  map[ID]int64
	table  *blobTable
	order  []uint32 // positions by pack and offset
}

// Check looks at every index file, pack (by size), snapshot and tree, at whether each blob that they need is indexed,
// and at the content of a share of the packs. It calls report for everything it finds, and returns an error only if
// it could not go on. It takes a shared lock: backups may run at the same time.
func (r *Repository) Check(ctx context.Context, o CheckOptions, report func(Problem)) (CheckStats, error) {
	lock, err := r.Lock(ctx, Shared)
	if err != nil {
		return CheckStats{}, fmt.Errorf("check: %w", err)
	}
	c := &checker{r: r, o: o, report: report}
	err = c.run(lock.Context())
	if err = errors.Join(err, lock.Unlock()); err != nil {
		return c.stats, fmt.Errorf("check: %w", err)
	}
	return c.stats, nil
}

func (c *checker) found(p Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !p.Harmless() {
		c.stats.Problems++
	}
	c.report(p)
}

func (c *checker) run(ctx context.Context) error {
	// Snapshots are listed before the index: whatever they need was indexed before them.
	snapshots, damaged, err := c.r.allSnapshots(ctx)
	if err != nil {
		return err
	}
	for id, err := range damaged {
		c.found(Problem{Kind: SnapshotDamaged, Snapshot: id, Err: err})
	}
	c.stats.Snapshots = len(snapshots)
	if err := c.loadIndexes(ctx); err != nil {
		return err
	}
	if c.sizes, err = c.r.packSizes(ctx); err != nil {
		return err
	}
	c.packs()
	if err := c.trees(ctx, snapshots); err != nil {
		return err
	}
	return c.data(ctx)
}

// loadIndexes loads every index file that can be loaded, and reports the others. If prune exchanges files meanwhile, it
// begins again.
func (c *checker) loadIndexes(ctx context.Context) error {
	x := c.r.index
	x.loading.Lock()
	defer x.loading.Unlock()
	var problems []Problem
	err := x.exchange(func(fresh *masterIndex) (err error) {
		const attempts = 3
		for range attempts {
			problems, err = c.tryLoadIndexes(ctx, fresh)
			if !errors.Is(err, store.ErrNotExist) {
				break
			}
			fresh.mu.Lock()
			fresh.reset()
			fresh.mu.Unlock()
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, p := range problems {
		c.found(p)
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	c.table, c.order = x.table, x.table.byPack()
	c.stats.Blobs = x.table.n
	return nil
}

func (c *checker) tryLoadIndexes(ctx context.Context, fresh *masterIndex) ([]Problem, error) {
	ids, err := c.r.listSet(ctx, store.Index)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var problems []Problem
	seen := make(map[ID]ID) // pack to index
	err = eachParallel(ctx, keys(ids), func(ctx context.Context, id ID) error {
		f, err := c.r.loadIndexFile(ctx, id)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case isDamage(err):
			fresh.mu.Lock()
			fresh.damaged[id] = err
			fresh.mu.Unlock()
			problems = append(problems, Problem{Kind: IndexDamaged, Err: fmt.Errorf("index %s: %w", id.Short(), err)})
			return nil
		case err != nil:
			return err
		}
		fresh.add(id, f)
		for _, p := range f.packs {
			if other, ok := seen[p.id]; ok {
				problems = append(problems, Problem{Kind: PackTwice, Pack: p.id, Err: fmt.Errorf("indexes %s and %s", other.Short(), id.Short())})
			}
			seen[p.id] = id
		}
		return nil
	})
	return problems, err
}

func keys[K comparable, V any](m map[K]V) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

// eachPack calls fn with the index entries of every pack.
func (c *checker) eachPack(fn func(pack ID, entries []packEntry)) {
	forEachPack(c.table, c.order, fn)
}

// forEachPack calls fn for the entries of each pack, in the order of their offsets.
func forEachPack(t *blobTable, order []uint32, fn func(pack ID, entries []packEntry)) {
	var entries []packEntry
	for i, pos := range order {
		e := t.at(pos)
		entries = append(entries, e.packEntry())
		if i+1 == len(order) || t.at(order[i+1]).packPos() != e.packPos() {
			fn(t.packs[e.packPos()], entries)
			entries = entries[:0]
		}
	}
}

// packs compares the index with the listing.
func (c *checker) packs() {
	indexed := make(map[ID]struct{}, len(c.table.packs))
	c.eachPack(func(pack ID, entries []packEntry) {
		indexed[pack] = struct{}{}
		size, ok := c.sizes[pack]
		if !ok {
			c.found(Problem{Kind: PackMissing, Pack: pack})
			return
		}
		c.stats.Packs++
		end, mixed := int64(0), false
		for _, e := range entries {
			if int64(e.offset) != end {
				c.found(Problem{Kind: PackLayout, Pack: pack, Err: fmt.Errorf("blob at %d where %d was expected", e.offset, end)})
				return
			}
			end += int64(e.length)
			mixed = mixed || e.kind != entries[0].kind
		}
		if mixed {
			c.found(Problem{Kind: PackMixed, Pack: pack})
		}
		if want := end + int64(headerBytes(entries)); size != want {
			c.found(Problem{Kind: PackSize, Pack: pack, Err: fmt.Errorf("%d bytes, the index says %d", size, want)})
		}
	})
	for pack := range c.sizes {
		_, known := indexed[pack]
		_, condemned := c.r.index.condemned[pack]
		if !known && !condemned {
			c.found(Problem{Kind: PackUnindexed, Pack: pack})
		}
	}
}

func (c *checker) trees(ctx context.Context, snapshots []*Snapshot) error {
	m := c.r.newUsedMarker(func(h BlobHandle, err error) error {
		switch {
		case errors.Is(err, errCondemned):
			return nil // it can be read, and the next prune will list it again
		case errors.Is(err, ErrNoBlob):
			c.found(Problem{Kind: BlobMissing, Blob: h, Err: err})
		case isDamage(err), errors.Is(err, store.ErrNotExist):
			c.found(Problem{Kind: TreeDamaged, Blob: h, Err: err})
		default:
			return err
		}
		return nil
	})
	var trees atomic.Int64
	m.tree = func(id ID, t *Tree) {
		trees.Add(1)
		c.fileSizes(id, t)
	}
	roots := make([]ID, len(snapshots))
	for i, s := range snapshots {
		roots[i] = *s.Tree
	}
	if err := m.run(ctx, roots); err != nil {
		return err
	}
	c.stats.Trees = int(trees.Load())
	for pos := range uint32(len(m.used) * 64) {
		if pos < uint32(m.table.n) && !m.used.has(pos) {
			c.stats.UnusedBlobs++
		}
	}
	return nil
}

// fileSizes compares each file's size with the sum of its blobs.
func (c *checker) fileSizes(id ID, t *Tree) {
	x := c.r.index
	for _, n := range t.Nodes {
		if n.Type != TypeFile {
			continue
		}
		var sum uint64
		complete := true
		x.mu.RLock()
		for _, b := range n.Content {
			e, _ := x.table.find(&BlobHandle{b, DataBlob}, 0)
			if e == nil {
				complete = false // reported as missing
				break
			}
			sum += uint64(e.packEntry().plainBytes())
		}
		x.mu.RUnlock()
		if complete && sum != n.Size {
			c.found(Problem{Kind: TreeDamaged, Blob: BlobHandle{id, TreeBlob},
				Err: fmt.Errorf("file %q has %d bytes, its blobs have %d", n.Name, n.Size, sum)})
		}
	}
}

// packToRead is one pack to be read as a whole.
type packToRead struct {
	id      ID
	entries []packEntry
}

// data reads the chosen packs on all cores.
func (c *checker) data(ctx context.Context) error {
	var packs []packToRead
	c.eachPack(func(pack ID, entries []packEntry) {
		if _, ok := c.sizes[pack]; ok && c.o.Data.selects(pack) {
			packs = append(packs, packToRead{pack, slices.Clone(entries)})
		}
	})
	var done, read atomic.Int64
	pool := sync.Pool{New: func() any { return new(packReader) }}
	err := eachParallel(ctx, packs, func(ctx context.Context, p packToRead) error {
		rd := pool.Get().(*packReader)
		defer pool.Put(rd)
		n, err := rd.check(ctx, c, p)
		read.Add(n)
		if c.o.Progress != nil {
			c.o.Progress(int(done.Add(1)), len(packs), read.Load())
		}
		return err
	})
	c.stats.PacksRead, c.stats.BytesRead = len(packs), read.Load()
	return err
}

// packReader holds the memory of one goroutine that reads packs.
type packReader struct {
	sealed, plain []byte
}

// check reads one pack and reports what is wrong with it. Only errors of the store that are no damage end
// the whole check.
func (rd *packReader) check(ctx context.Context, c *checker, p packToRead) (n int64, err error) {
	wrong := func(h BlobHandle, err error) {
		c.found(Problem{Kind: DataDamaged, Pack: p.id, Blob: h, Err: err})
	}
	f, err := c.r.store.Open(ctx, store.Handle{Kind: store.Pack, Name: p.id.String()}, 0, -1)
	if errors.Is(err, store.ErrNotExist) {
		wrong(BlobHandle{}, err)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	hash := sha256.New()
	src := io.TeeReader(f, hash)
	size := c.sizes[p.id]
	header := headerBytes(p.entries)
	if size < int64(header) {
		wrong(BlobHandle{}, fmt.Errorf("%w: %d bytes", ErrDamaged, size))
		return 0, nil
	}
	for _, e := range p.entries {
		if int64(e.offset) != n {
			return n, nil // reported as PackLayout
		}
		rd.sealed = slices.Grow(rd.sealed[:0], int(e.length))[:e.length]
		m, err := io.ReadFull(src, rd.sealed)
		n += int64(m)
		if err != nil {
			wrong(e.handle(), fmt.Errorf("read at %d: %w", e.offset, err))
			return n, ctx.Err()
		}
		if _, err := c.r.viewBlob(&rd.plain, rd.sealed, e); err != nil {
			wrong(e.handle(), err)
		}
	}
	rest, err := io.ReadAll(io.LimitReader(src, maxHeaderBytes+headerLenBytes+1))
	n += int64(len(rest))
	if err != nil {
		wrong(BlobHandle{}, fmt.Errorf("read header: %w", err))
		return n, ctx.Err()
	}
	c.header(p, rest, size, wrong)
	if sum := hash.Sum(nil); !bytes.Equal(sum, p.id[:]) {
		wrong(BlobHandle{}, fmt.Errorf("%w: the content does not fit the name", ErrDamaged))
	}
	return n, nil
}

// header compares the header of a pack with the index.
func (c *checker) header(p packToRead, tail []byte, size int64, wrong func(BlobHandle, error)) {
	entries, need, err := openTail(c.r.sealer, tail, size)
	switch {
	case err != nil:
		wrong(BlobHandle{}, err)
	case entries == nil && need > 0:
		wrong(BlobHandle{}, fmt.Errorf("%w: the header has %d bytes, the index expects %d", ErrDamaged, need, len(tail)))
	case !slices.Equal(entries, p.entries):
		wrong(BlobHandle{}, fmt.Errorf("%w: the header lists other blobs than the index", ErrDamaged))
	}
}
