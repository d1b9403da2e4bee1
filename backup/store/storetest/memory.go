package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/trivet-ha/trivet/backup/store"
)

// Memory is a store that lives as long as its process: the fake for tests of what stands on a store.
type Memory struct {
	mu    sync.Mutex
	files map[store.Handle][]byte
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{files: map[store.Handle][]byte{}} }

// Save keeps a copy of data.
func (m *Memory) Save(ctx context.Context, h store.Handle, data []byte) error {
	if err := ready(ctx, h); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.files[h]; ok {
		if len(old) == len(data) {
			return nil
		}
		return fmt.Errorf("save %v: %w", h, store.ErrExist)
	}
	m.files[h] = bytes.Clone(data)
	return nil
}

func ready(ctx context.Context, h store.Handle) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return h.Valid()
}

func (m *Memory) get(ctx context.Context, h store.Handle) ([]byte, error) {
	if err := ready(ctx, h); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.files[h]
	if !ok {
		return nil, fmt.Errorf("open %v: %w", h, store.ErrNotExist)
	}
	return data, nil
}

// Open reads from the copy.
func (m *Memory) Open(ctx context.Context, h store.Handle, offset, length int64) (io.ReadCloser, error) {
	data, err := m.get(ctx, h)
	if err != nil {
		return nil, err
	}
	rest := data[min(offset, int64(len(data))):]
	switch {
	case length < 0:
		length = int64(len(rest))
	case length > int64(len(rest)):
		return io.NopCloser(io.MultiReader(bytes.NewReader(rest), shortReader{})), nil
	}
	return io.NopCloser(bytes.NewReader(rest[:length])), nil
}

type shortReader struct{}

func (shortReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Stat reports the size.
func (m *Memory) Stat(ctx context.Context, h store.Handle) (store.Info, error) {
	data, err := m.get(ctx, h)
	return store.Info{Name: h.Name, SizeBytes: int64(len(data))}, err
}

// List calls fn in the order of the names.
func (m *Memory) List(ctx context.Context, kind store.Kind, prefix string, fn func(store.Info) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	handles := slices.SortedFunc(maps.Keys(m.files), func(a, b store.Handle) int { return strings.Compare(a.Name, b.Name) })
	var infos []store.Info
	for _, h := range handles {
		if h.Kind == kind && strings.HasPrefix(h.Name, prefix) {
			infos = append(infos, store.Info{Name: h.Name, SizeBytes: int64(len(m.files[h]))})
		}
	}
	m.mu.Unlock()
	for _, i := range infos {
		if err := fn(i); err != nil {
			return err
		}
	}
	return nil
}

// Remove forgets the file.
func (m *Memory) Remove(ctx context.Context, h store.Handle) error {
	if err := ready(ctx, h); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, h)
	return nil
}
