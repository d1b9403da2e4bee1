package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/local"
)

var errInjected = errors.New("injected failure")

// failure says what happens at the call that fails.
type failure int

const (
	failClean failure = iota // nothing is done, the error is returned
	failAfter                // it is done, and the error is returned all the same
	failTorn                 // half of the file is there (packs, indexes and snapshots only)
	failDead                 // nothing is done, and all later calls fail: the process was killed
)

// memStore keeps files in memory, counts calls, and fails the one it is told to.
type memStore struct {
	mu     sync.Mutex
	files  map[store.Handle][]byte
	calls  int
	failAt int // 0: never
	how    failure
	dead   bool
	log    []storeOp
	// onSave, if not nil, runs before a file is saved.
	onSave func(store.Handle, []byte)
	// onListed, if not nil, runs after a listing was made and before it is reported.
	onListed func(store.Kind)
	// hide, if not nil, keeps files out of listings.
	hide func(store.Handle) bool
}

type storeOp struct {
	h      store.Handle
	data   []byte
	remove bool
}

func newMemStore() *memStore { return &memStore{files: make(map[store.Handle][]byte)} }

// clone is the same files without failures.
func (m *memStore) clone() *memStore {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memStore{files: maps.Clone(m.files)}
}

// withoutLocks is what is there when all locks of the dead have become stale.
func (m *memStore) withoutLocks() *memStore {
	c := m.clone()
	maps.DeleteFunc(c.files, func(h store.Handle, _ []byte) bool { return h.Kind == store.Lock })
	return c
}

// step counts a call. fail means that it must return an error; do that it must take effect.
func (m *memStore) step(ctx context.Context) (do, fail, torn bool) {
	if ctx.Err() != nil {
		return false, true, false
	}
	m.calls++
	if m.dead {
		return false, true, false
	}
	if m.failAt == 0 || m.calls != m.failAt {
		return true, false, false
	}
	switch m.how {
	case failAfter:
		return true, true, false
	case failTorn:
		return false, true, true
	case failDead:
		m.dead = true
	}
	return false, true, false
}

func injected(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return errInjected
}

func (m *memStore) Save(ctx context.Context, h store.Handle, data []byte) error {
	if m.onSave != nil {
		m.onSave(h, data)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := h.Valid(); err != nil {
		return err
	}
	do, fail, torn := m.step(ctx)
	if torn && (h.Kind == store.Pack || h.Kind == store.Index || h.Kind == store.Snapshot) {
		m.files[h] = bytes.Clone(data[:len(data)/2])
	}
	if do {
		if old, ok := m.files[h]; ok && len(old) != len(data) {
			return fmt.Errorf("save %v: %w", h, store.ErrExist)
		}
		m.files[h] = bytes.Clone(data)
		m.log = append(m.log, storeOp{h: h, data: m.files[h]})
	}
	if fail {
		return injected(ctx)
	}
	return nil
}

func (m *memStore) Open(ctx context.Context, h store.Handle, offset, length int64) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, fail, _ := m.step(ctx); fail {
		return nil, injected(ctx)
	}
	data, ok := m.files[h]
	if !ok {
		return nil, fmt.Errorf("open %v: %w", h, store.ErrNotExist)
	}
	if offset > int64(len(data)) {
		return nil, io.ErrUnexpectedEOF
	}
	data = data[offset:]
	if length < 0 {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	if length > int64(len(data)) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(data), errReader{io.ErrUnexpectedEOF})), nil
	}
	return io.NopCloser(bytes.NewReader(data[:length])), nil
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func (m *memStore) Stat(ctx context.Context, h store.Handle) (store.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, fail, _ := m.step(ctx); fail {
		return store.Info{}, injected(ctx)
	}
	data, ok := m.files[h]
	if !ok {
		return store.Info{}, fmt.Errorf("stat %v: %w", h, store.ErrNotExist)
	}
	return store.Info{Name: h.Name, SizeBytes: int64(len(data))}, nil
}

func (m *memStore) List(ctx context.Context, kind store.Kind, prefix string, fn func(store.Info) error) error {
	m.mu.Lock()
	if _, fail, _ := m.step(ctx); fail {
		m.mu.Unlock()
		return injected(ctx)
	}
	var infos []store.Info
	for h, data := range m.files {
		if h.Kind == kind && strings.HasPrefix(h.Name, prefix) && (m.hide == nil || !m.hide(h)) {
			infos = append(infos, store.Info{Name: h.Name, SizeBytes: int64(len(data))})
		}
	}
	m.mu.Unlock()
	if m.onListed != nil {
		m.onListed(kind)
	}
	slices.SortFunc(infos, func(a, b store.Info) int { return strings.Compare(a.Name, b.Name) })
	for _, i := range infos {
		if err := fn(i); err != nil {
			return err
		}
	}
	return nil
}

func (m *memStore) Remove(ctx context.Context, h store.Handle) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	do, fail, _ := m.step(ctx)
	if do {
		delete(m.files, h)
		m.log = append(m.log, storeOp{h: h, remove: true})
	}
	if fail {
		return injected(ctx)
	}
	return nil
}

// toDisk writes the files where stock restic can see them.
func (m *memStore) toDisk(t testing.TB, dir string) {
	t.Helper()
	st, err := local.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for h, data := range m.files {
		if err := st.Save(context.Background(), h, data); err != nil {
			t.Fatal(err)
		}
	}
}

// smallPack makes many packs of little data.
const smallPack = 64 << 10

// memRepo opens a repository on files, which a repository was made in.
func memRepo(t testing.TB, m *memStore, master MasterKey) *Repository {
	t.Helper()
	r, err := tryMemRepo(m, master)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryMemRepo(m *memStore, master MasterKey) (*Repository, error) {
	r, err := OpenMaster(context.Background(), m, master, Options{})
	if err == nil {
		r.options.PackBytes = smallPack
	}
	return r, err
}

// newMemRepo makes a repository. Its key file is testKeyFile: deriving a key takes long, on purpose.
func newMemRepo(t testing.TB) (*Repository, *memStore) {
	t.Helper()
	m := newMemStore()
	config, err := newConfig()
	if err != nil {
		t.Fatal(err)
	}
	key, master := testKeyFile(t)
	options, err := Options{}.check()
	if err != nil {
		t.Fatal(err)
	}
	options.PackBytes = smallPack
	r := newRepository(m, options, config, master, ID{})
	if _, err := saveKey(context.Background(), m, key); err != nil {
		t.Fatal(err)
	}
	if _, err := r.saveJSON(context.Background(), store.Config, config); err != nil {
		t.Fatal(err)
	}
	return r, m
}

var testKey struct {
	sync.Mutex
	file   *keyFile
	master MasterKey
}

func testKeyFile(t testing.TB) (*keyFile, MasterKey) {
	testKey.Lock()
	defer testKey.Unlock()
	if testKey.file == nil {
		testKey.master = newMasterKey()
		var err error
		if testKey.file, err = newKeyFile(testPassword, testKey.master, KeyOptions{}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	return testKey.file, testKey.master
}

// file is a made-up file: name and content.
type file struct {
	name string
	data []byte
}

// saveFiles stores a flat directory as a snapshot.
func saveFiles(r *Repository, files []file) (ID, error) {
	ctx := context.Background()
	w, err := r.NewWriter(ctx, WriterOptions{Reopen: 1})
	if err != nil {
		return ID{}, err
	}
	id, err := saveFilesWith(w, files)
	return id, errors.Join(err, w.Close())
}

func saveFilesWith(w *Writer, files []file) (ID, error) {
	root, err := saveTree(w, files)
	if err != nil {
		return ID{}, err
	}
	return w.SaveSnapshot(context.Background(), snapshotOf(root, "/made/up"))
}

func saveTree(w *Writer, files []file) (ID, error) {
	s := w.Session()
	b := NewTreeBuilder()
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	for _, f := range files {
		n := sampleNode()
		n.Name, n.Size = f.name, uint64(len(f.data))
		var err error
		if n.Content, _, err = s.SaveReader(bytes.NewReader(f.data), []ID{}); err != nil {
			return ID{}, err
		}
		if err := b.Add(n); err != nil {
			return ID{}, err
		}
	}
	return s.SaveTree(b)
}

// verifyAll reads every snapshot back, as restic would, and returns them, and what Check finds.
func verifyAll(r *Repository) ([]*Snapshot, []Problem, error) {
	ctx := context.Background()
	all, damaged, err := r.allSnapshots(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range all {
		err := r.Walk(ctx, *s.Tree, func(path string, n *Node) error {
			var size uint64
			for _, id := range n.Content {
				data, err := r.LoadBlob(ctx, BlobHandle{id, DataBlob}, nil)
				if err != nil {
					return err
				}
				size += uint64(len(data))
			}
			if n.Type == TypeFile && size != n.Size {
				return fmt.Errorf("%s has %d bytes of %d", path, size, n.Size)
			}
			return nil
		})
		if err != nil {
			return nil, nil, fmt.Errorf("snapshot %s: %w", s.id.Short(), err)
		}
		// Stock restic knows nothing of condemned packs.
		missing, err := r.missingBelow(ctx, *s.Tree)
		if err != nil || len(missing) > 0 {
			return nil, nil, fmt.Errorf("snapshot %s: %d blobs are not indexed, %v", s.id.Short(), len(missing), err)
		}
	}
	var problems []Problem
	_, err = r.Check(ctx, CheckOptions{Data: AllData()}, func(p Problem) {
		if _, torn := damaged[p.Snapshot]; !torn {
			problems = append(problems, p)
		}
	})
	return all, problems, err
}
