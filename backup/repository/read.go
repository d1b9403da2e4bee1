package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/trivet-ha/trivet/backup/store"
)

// ErrNoBlob means that no index knows the blob.
var ErrNoBlob = errors.New("blob is not in the index")

// LoadBlob reads a blob into buf[:0] (grown if needed) and checks it against its ID. Small blobs come from memory if they were used
// lately. If a pack is damaged and another holds the blob, too, that one is read.
func (r *Repository) LoadBlob(ctx context.Context, h BlobHandle, buf []byte) ([]byte, error) {
	if data, ok := r.blobs.get(h); ok {
		return append(buf[:0], data...), nil
	}
	if err := r.index.ensure(ctx); err != nil {
		return nil, err
	}
	data, err := r.readBlob(ctx, h, buf)
	if err != nil {
		return nil, err
	}
	return data, nil
}

// BlobSize returns the size of a blob in bytes, and whether the repository has it.
func (r *Repository) BlobSize(ctx context.Context, h BlobHandle) (uint32, bool, error) {
	if err := r.index.ensure(ctx); err != nil {
		return 0, false, err
	}
	x := r.index
	x.mu.RLock()
	defer x.mu.RUnlock()
	e, _ := x.table.find(&h, 0)
	if e == nil {
		return 0, false, nil
	}
	return e.packEntry().plainBytes(), true, nil
}

// scratch holds a sealed blob on its way.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// readBlob reads a blob from the store.
func (r *Repository) readBlob(ctx context.Context, h BlobHandle, buf []byte) ([]byte, error) {
	var some [4]place
	places := r.index.places(h, some[:0])
	if len(places) == 0 {
		return nil, fmt.Errorf("load %v: %w", h, ErrNoBlob)
	}
	sealed := scratch.Get().(*[]byte)
	defer scratch.Put(sealed)
	var failed error
	for _, p := range places {
		*sealed = slices.Grow((*sealed)[:0], int(p.length))[:p.length]
		data, err := r.readPlace(ctx, p, buf, *sealed)
		if err != nil && r.cache.dropPack(p.pack) {
			data, err = r.readPlace(ctx, p, buf, *sealed) // this time from the store
		}
		if err == nil {
			return data, nil
		}
		failed = errors.Join(failed, fmt.Errorf("load %v from pack %s: %w", h, p.pack.Short(), err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

func (r *Repository) readPlace(ctx context.Context, p place, buf, sealed []byte) ([]byte, error) {
	if err := r.readSealed(ctx, p, sealed); err != nil {
		return nil, err
	}
	return r.openBlob(buf, sealed, p.packEntry)
}

// readSealed fills p with the sealed bytes of a blob. Packs of trees are kept by the local cache as a whole: whoever reads
// one directory soon reads the others.
func (r *Repository) readSealed(ctx context.Context, at place, p []byte) error {
	if r.cache == nil || at.kind != TreeBlob {
		return store.ReadAt(ctx, r.store, store.Handle{Kind: store.Pack, Name: at.pack.String()}, p, int64(at.offset))
	}
	if r.cache.packRange(at.pack, p, int64(at.offset)) {
		return nil
	}
	whole, err := store.ReadAll(ctx, r.store, store.Handle{Kind: store.Pack, Name: at.pack.String()})
	if err != nil {
		return err
	}
	if Hash(whole) == at.pack {
		r.cache.savePack(at.pack, whole)
	}
	if int64(len(whole)) < int64(at.offset)+int64(at.length) {
		return fmt.Errorf("%w: it is cut short", ErrDamaged)
	}
	copy(p, whole[at.offset:])
	return nil
}

// openBlob opens sealed, over itself, expands it into buf[:0] and checks the hash.
func (r *Repository) openBlob(buf, sealed []byte, e packEntry) ([]byte, error) {
	data, err := r.viewBlob(&buf, sealed, e)
	if err != nil {
		return nil, err
	}
	if e.plain == 0 {
		data = append(buf[:0], data...)
	}
	return data, nil
}

// viewBlob is openBlob without the copy: the result is a part of sealed or of *buf.
func (r *Repository) viewBlob(buf *[]byte, sealed []byte, e packEntry) ([]byte, error) {
	data, err := r.sealer.open(sealed)
	if err != nil {
		return nil, err
	}
	if e.plain > 0 {
		if e.plain > maxBlobBytes {
			return nil, fmt.Errorf("%w: blob of %d bytes", ErrDamaged, e.plain)
		}
		if data, err = r.codecs.decodeBlob(*buf, data, int(e.plain)); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		*buf = data
	}
	if Hash(data) != e.id {
		return nil, fmt.Errorf("%w: blob %s has another content", ErrDamaged, e.id.Short())
	}
	return data, nil
}

// LoadTree reads a directory.
func (r *Repository) LoadTree(ctx context.Context, id ID) (*Tree, error) {
	if err := r.index.ensure(ctx); err != nil {
		return nil, err
	}
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	data, err := r.readBlob(ctx, BlobHandle{id, TreeBlob}, *buf)
	if err != nil {
		return nil, err
	}
	*buf = data
	t, err := ParseTree(data)
	if err != nil {
		return nil, fmt.Errorf("tree %s: %w: %w", id.Short(), ErrDamaged, err)
	}
	return t, nil
}
