package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/trivet-ha/trivet/backup/store"
)

// Unpacked files are all but packs and keys: JSON, sealed. In version 2 the first plain byte says how the
// rest is kept: '{' or '[' is the JSON itself, 2 is zstd. restic design, "Unpacked Data Format".
const zstdMarker = 2

// maxUnpackedBytes bounds what a file may expand to.
const maxUnpackedBytes = 1 << 30

// ErrDamaged means that a file's bytes do not fit its name, or do not parse.
var ErrDamaged = errors.New("damaged")

// saveUnpacked seals data, stores it under its hash and returns that.
func (r *Repository) saveUnpacked(ctx context.Context, kind store.Kind, data []byte) (ID, error) {
	name := ""
	sealed := r.sealUnpacked(kind, data)
	id := Hash(sealed)
	if kind != store.Config {
		name = id.String()
	}
	return id, r.store.Save(ctx, store.Handle{Kind: kind, Name: name}, sealed)
}

func (r *Repository) sealUnpacked(kind store.Kind, data []byte) []byte {
	if kind == store.Config || r.config.Version < 2 {
		return r.sealer.seal(data)
	}
	buf := make([]byte, ivBytes+1, ivBytes+1+len(data)/2+macBytes+64)
	buf[ivBytes] = zstdMarker
	buf = r.codecs.encodeSmall(data, buf)
	buf = append(buf, make([]byte, macBytes)...)
	r.sealer.sealInPlace(buf)
	return buf
}

func (r *Repository) saveJSON(ctx context.Context, kind store.Kind, v any) (ID, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return ID{}, err
	}
	return r.saveUnpacked(ctx, kind, data)
}

// loadUnpacked reads, checks and opens a file. The kinds that are worth it come from the local cache.
func (r *Repository) loadUnpacked(ctx context.Context, kind store.Kind, id ID) ([]byte, error) {
	h := store.Handle{Kind: kind, Name: id.String()}
	sealed, cached := r.cache.load(kind, id)
	if !cached {
		var err error
		if sealed, err = store.ReadAll(ctx, r.store, h); err != nil {
			return nil, err
		}
		if Hash(sealed) != id {
			return nil, fmt.Errorf("load %v: %w: the content does not fit the name", h, ErrDamaged)
		}
		r.cache.save(kind, id, sealed)
	}
	data, err := r.openUnpacked(sealed)
	if err != nil {
		return nil, fmt.Errorf("load %v: %w", h, err)
	}
	return data, nil
}

func (r *Repository) openUnpacked(sealed []byte) ([]byte, error) {
	plain, err := r.sealer.open(sealed)
	if err != nil {
		return nil, err
	}
	if len(plain) == 0 {
		return nil, fmt.Errorf("%w: empty", ErrDamaged)
	}
	switch plain[0] {
	case '{', '[':
		return plain, nil
	case zstdMarker:
		data, err := r.codecs.decodeFile(plain[1:])
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return data, nil
	}
	return nil, fmt.Errorf("%w: unknown encoding %d", ErrDamaged, plain[0])
}

func (r *Repository) loadJSON(ctx context.Context, kind store.Kind, id ID, v any) error {
	data, err := r.loadUnpacked(ctx, kind, id)
	if err != nil {
		return err
	}
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(v); err != nil {
		return fmt.Errorf("load %v %s: %w: %w", kind, id.Short(), ErrDamaged, err)
	}
	return nil
}

// listIDs lists the files of a kind; names that are no IDs are not restic's and are passed over.
func (r *Repository) listIDs(ctx context.Context, kind store.Kind, fn func(id ID, sizeBytes int64) error) error {
	return r.store.List(ctx, kind, "", func(i store.Info) error {
		id, err := ParseID(i.Name)
		if err != nil {
			return nil
		}
		return fn(id, i.SizeBytes)
	})
}
