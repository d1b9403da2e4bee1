package repository

import (
	"container/list"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/trivet-ha/trivet/backup/store"
)

// fileCache keeps sealed files of the repository on the local disk, under their names. It never fails: what it
// can't keep is fetched again. A nil *fileCache keeps nothing.
type fileCache struct{ dir string }

func newFileCache(dir, repositoryID string) *fileCache {
	if dir == "" {
		return nil
	}
	return &fileCache{filepath.Join(dir, repositoryID)}
}

func (c *fileCache) path(kind store.Kind, id ID) string {
	return filepath.Join(c.dir, kind.Dir(), id.String())
}

func (c *fileCache) keeps(kind store.Kind) bool {
	return c != nil && (kind == store.Index || kind == store.Snapshot)
}

// load returns a file whose content fits its name.
func (c *fileCache) load(kind store.Kind, id ID) ([]byte, bool) {
	if !c.keeps(kind) {
		return nil, false
	}
	data, err := os.ReadFile(c.path(kind, id))
	if err != nil || Hash(data) != id {
		return nil, false
	}
	return data, true
}

func (c *fileCache) save(kind store.Kind, id ID, sealed []byte) {
	if c.keeps(kind) {
		c.write(c.path(kind, id), sealed)
	}
}

func (c *fileCache) write(path string, data []byte) {
	dir := filepath.Dir(path)
	if os.MkdirAll(dir, 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil || os.Rename(f.Name(), path) != nil {
		os.Remove(f.Name())
	}
}

// retain removes the files of a kind that the repository no longer has.
func (c *fileCache) retain(kind store.Kind, has func(ID) bool) {
	if c == nil {
		return
	}
	entries, err := os.ReadDir(filepath.Join(c.dir, kind.Dir()))
	if err != nil {
		return
	}
	for _, e := range entries {
		if id, err := ParseID(e.Name()); err == nil && !has(id) {
			os.Remove(c.path(kind, id))
		}
	}
}

// packRange reads a part of a pack kept here.
func (c *fileCache) packRange(pack ID, p []byte, offset int64) bool {
	if c == nil {
		return false
	}
	f, err := os.Open(c.path(store.Pack, pack))
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.ReadAt(p, offset)
	return err == nil
}

func (c *fileCache) savePack(pack ID, sealed []byte) {
	if c != nil {
		c.write(c.path(store.Pack, pack), sealed)
	}
}

// dropPack removes a pack that is damaged here, and reports whether it was here.
func (c *fileCache) dropPack(pack ID) bool {
	return c != nil && os.Remove(c.path(store.Pack, pack)) == nil
}

// blobCacheBytes bounds the opened blobs kept in memory for mounts and dumps.
const blobCacheBytes = 32 << 20

// blobCache keeps the blobs used last.
type blobCache struct {
	limit int

	mu    sync.Mutex
	size  int
	order *list.List // of *cachedBlob, the latest used first
	items map[BlobHandle]*list.Element
}

type cachedBlob struct {
	handle BlobHandle
	data   []byte
}

func newBlobCache(limit int) *blobCache {
	return &blobCache{limit: limit, order: list.New(), items: make(map[BlobHandle]*list.Element)}
}

// get returns a blob that must not be changed.
func (c *blobCache) get(h BlobHandle) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[h]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cachedBlob).data, true
}

// put keeps data, which must not be changed any more.
func (c *blobCache) put(h BlobHandle, data []byte) {
	if len(data) > c.limit/4 {
		return
	}
	data = slices.Clip(data)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.items[h]; ok {
		return
	}
	c.items[h] = c.order.PushFront(&cachedBlob{h, data})
	for c.size += len(data); c.size > c.limit; {
		e := c.order.Back()
		old := c.order.Remove(e).(*cachedBlob)
		delete(c.items, old.handle)
		c.size -= len(old.data)
	}
}

func (c *blobCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.order.Init()
	clear(c.items)
	c.size = 0
}
