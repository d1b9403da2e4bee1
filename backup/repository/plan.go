package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"github.com/trivet-ha/trivet/backup/store"
)

const (
	// readGapBytes is the gap between two wanted blobs that is read rather than skipped by a new request.
	readGapBytes = 256 << 10
	// readPieceBytes is how much of a pack is in memory at once, unless one blob is larger.
	readPieceBytes = 2 << 20
)

// PackRead is what to read from one pack.
type PackRead struct {
	Pack  ID
	Blobs []PlannedBlob // in the order of their offsets
}

// Bytes is the size of the blobs wanted, as stored.
func (p PackRead) Bytes() (n int64) {
	last := int64(-1)
	for _, b := range p.Blobs {
		if int64(b.Offset) != last {
			n += int64(b.Length)
		}
		last = int64(b.Offset)
	}
	return n
}

// PlannedBlob is a wanted blob and its place.
type PlannedBlob struct {
	Handle     BlobHandle
	Index      int // its position in the list given to PlanRead
	Offset     uint32
	Length     uint32 // as stored
	PlainBytes uint32

	plain uint32
}

func (b PlannedBlob) packEntry() packEntry {
	return packEntry{id: b.Handle.ID, kind: b.Handle.Kind, offset: b.Offset, length: b.Length, plain: b.plain}
}

// PlanRead sorts wanted blobs by pack, so that each pack is read once, from front to back. Packs come in the order in which they
// are first wanted. A blob wanted several times is planned several times. The error is ErrNoBlob if the
// repository lacks one.
func (r *Repository) PlanRead(ctx context.Context, blobs []BlobHandle) ([]PackRead, error) {
	if err := r.index.ensure(ctx); err != nil {
		return nil, err
	}
	var reads []PackRead
	byPack := make(map[ID]int)
	for i, h := range blobs {
		p, ok := r.index.firstPlace(h)
		if !ok {
			return nil, fmt.Errorf("plan: %v: %w", h, ErrNoBlob)
		}
		at, ok := byPack[p.pack]
		if !ok {
			at = len(reads)
			byPack[p.pack] = at
			reads = append(reads, PackRead{Pack: p.pack})
		}
		reads[at].Blobs = append(reads[at].Blobs, PlannedBlob{h, i, p.offset, p.length, p.plainBytes(), p.plain})
	}
	for _, p := range reads {
		slices.SortStableFunc(p.Blobs, func(a, b PlannedBlob) int { return cmp.Compare(a.Offset, b.Offset) })
	}
	return reads, nil
}

func (x *masterIndex) firstPlace(h BlobHandle) (place, bool) {
	x.mu.RLock()
	e, _ := x.table.find(&h, 0)
	if e != nil {
		p := place{x.table.packs[e.packPos()], e.packEntry()}
		x.mu.RUnlock()
		return p, true
	}
	x.mu.RUnlock()
	if all := x.places(h, nil); len(all) > 0 {
		return all[0], true
	}
	return place{}, false
}

// ReadPack reads, opens and checks the planned blobs of one pack and calls fn for each. The data is valid until fn
// returns. A blob that is damaged here is read from another pack if there is one. Several packs may
// be read at once by several goroutines; each holds about 4 MiB.
func (r *Repository) ReadPack(ctx context.Context, p PackRead, fn func(b PlannedBlob, data []byte) error) error {
	for rest := p.Blobs; len(rest) > 0; {
		n := contiguous(rest)
		if err := r.readRange(ctx, p.Pack, rest[:n], fn); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// contiguous returns how many of the first blobs are close enough to be read in one go.
func contiguous(blobs []PlannedBlob) int {
	end := int64(blobs[0].Offset) + int64(blobs[0].Length)
	for i, b := range blobs {
		if int64(b.Offset) > end+readGapBytes {
			return i
		}
		end = max(end, int64(b.Offset)+int64(b.Length))
	}
	return len(blobs)
}

func (r *Repository) readRange(ctx context.Context, pack ID, blobs []PlannedBlob, fn func(PlannedBlob, []byte) error) error {
	last := blobs[len(blobs)-1]
	start, end := int64(blobs[0].Offset), int64(last.Offset)+int64(last.Length)
	rd, err := r.store.Open(ctx, store.Handle{Kind: store.Pack, Name: pack.String()}, start, end-start)
	if err != nil {
		return r.readElsewhere(ctx, pack, blobs, err, fn)
	}
	defer rd.Close()
	sealed, plain := scratch.Get().(*[]byte), scratch.Get().(*[]byte)
	defer scratch.Put(sealed)
	defer scratch.Put(plain)
	for len(blobs) > 0 {
		n, size := piece(blobs, start)
		*sealed = slices.Grow((*sealed)[:0], size)[:size]
		if _, err := io.ReadFull(rd, *sealed); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return r.readElsewhere(ctx, pack, blobs, err, fn)
		}
		if err := r.openPiece(ctx, pack, blobs[:n], *sealed, start, plain, fn); err != nil {
			return err
		}
		blobs, start = blobs[n:], start+int64(size)
	}
	return nil
}

// piece returns how many blobs to take at once, and how many bytes from start they span.
func piece(blobs []PlannedBlob, start int64) (n, size int) {
	n = sort.Search(len(blobs), func(i int) bool {
		return int64(blobs[i].Offset)+int64(blobs[i].Length)-start > readPieceBytes
	})
	n = max(n, 1)
	for n < len(blobs) && blobs[n].Offset == blobs[n-1].Offset {
		n++ // the same blob, wanted once more
	}
	return n, int(int64(blobs[n-1].Offset) + int64(blobs[n-1].Length) - start)
}

func (r *Repository) openPiece(ctx context.Context, pack ID, blobs []PlannedBlob, sealed []byte, start int64, plain *[]byte, fn func(PlannedBlob, []byte) error) error {
	var data []byte
	for i, b := range blobs {
		if i == 0 || b.Offset != blobs[i-1].Offset {
			at := int64(b.Offset) - start
			var err error
			if data, err = r.viewBlob(plain, sealed[at:at+int64(b.Length)], b.packEntry()); err != nil {
				if err := r.readElsewhere(ctx, pack, blobs[i:i+1], err, fn); err != nil {
					return err
				}
				data = nil
				continue
			}
		} else if data == nil {
			if err := r.readElsewhere(ctx, pack, blobs[i:i+1], ErrDamaged, fn); err != nil {
				return err
			}
			continue
		}
		if err := fn(b, data); err != nil {
			return err
		}
	}
	return nil
}

// readElsewhere is what is left when a pack can't be read: the other packs that hold the same blobs.
func (r *Repository) readElsewhere(ctx context.Context, pack ID, blobs []PlannedBlob, cause error, fn func(PlannedBlob, []byte) error) error {
	cause = fmt.Errorf("read pack %s: %w", pack.Short(), cause)
	for _, b := range blobs {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if len(r.index.places(b.Handle, nil)) < 2 {
			return fmt.Errorf("%v: %w", b.Handle, cause)
		}
		data, err := r.readBlob(ctx, b.Handle, nil)
		if err != nil {
			return errors.Join(cause, err)
		}
		if err := fn(b, data); err != nil {
			return err
		}
	}
	return nil
}

// File reads the content of a file at any offset. It is safe for concurrent use.
type File struct {
	r    *Repository
	ctx  context.Context
	ids  []ID
	ends []int64 // where each blob ends
}

var _ io.ReaderAt = (*File)(nil)

// OpenFile opens the content of a file node. The context bounds all reads of it.
func (r *Repository) OpenFile(ctx context.Context, n *Node) (*File, error) {
	f := &File{r: r, ctx: ctx, ids: n.Content, ends: make([]int64, len(n.Content))}
	var end int64
	for i, id := range n.Content {
		size, ok, err := r.BlobSize(ctx, BlobHandle{id, DataBlob})
		if err == nil && !ok {
			err = fmt.Errorf("%v: %w", BlobHandle{id, DataBlob}, ErrNoBlob)
		}
		if err != nil {
			return nil, fmt.Errorf("open file %q: %w", n.Name, err)
		}
		end += int64(size)
		f.ends[i] = end
	}
	return f, nil
}

// Size is the length of the content in bytes.
func (f *File) Size() int64 {
	if len(f.ends) == 0 {
		return 0
	}
	return f.ends[len(f.ends)-1]
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 {
		return 0, fmt.Errorf("read at negative offset %d", offset)
	}
	i := sort.Search(len(f.ends), func(i int) bool { return f.ends[i] > offset })
	for ; i < len(f.ids) && n < len(p); i++ {
		data, err := f.r.cachedBlob(f.ctx, BlobHandle{f.ids[i], DataBlob})
		if err != nil {
			return n, err
		}
		begin := f.ends[i] - int64(len(data))
		m := copy(p[n:], data[offset-begin:])
		n += m
		offset += int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteTo writes the whole content to w, without keeping it in the cache.
func (f *File) WriteTo(w io.Writer) (n int64, err error) {
	var buf []byte
	for _, id := range f.ids {
		if buf, err = f.r.LoadBlob(f.ctx, BlobHandle{id, DataBlob}, buf); err != nil {
			return n, err
		}
		m, err := w.Write(buf)
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// cachedBlob returns a blob that must not be changed.
func (r *Repository) cachedBlob(ctx context.Context, h BlobHandle) ([]byte, error) {
	if data, ok := r.blobs.get(h); ok {
		return data, nil
	}
	data, err := r.readBlob(ctx, h, nil)
	if err != nil {
		return nil, err
	}
	r.blobs.put(h, data)
	return data, nil
}
