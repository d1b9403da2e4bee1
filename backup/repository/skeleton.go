package repository

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

var errTODO = errors.New("not written")

type Compression uint8

const (
	Fastest Compression = iota
	Default
	Better
	Best
	Off
)

type Config struct {
	Version           uint   `json:"version"`
	ID                string `json:"id"`
	ChunkerPolynomial string `json:"chunker_polynomial"`
}
type MasterKey struct {
	Encrypt [32]byte
	K, R    [16]byte
}
type InitOptions struct{ Options }
type Options struct {
	Compression Compression
	PackBytes   int
	CacheDir    string
	Hostname    string
	Username    string
	Version     string
	LockWait    time.Duration
}
type Repository struct{}

func Init(ctx context.Context, st store.Store, password string, o InitOptions) (*Repository, error) {
	return nil, errTODO
}
func Open(ctx context.Context, st store.Store, password string, o Options) (*Repository, error) {
	return nil, errTODO
}
func OpenMaster(ctx context.Context, st store.Store, master MasterKey, o Options) (*Repository, error) {
	return nil, errTODO
}
func (r *Repository) Config() Config                  { return Config{} }
func (r *Repository) ID() string                      { return "" }
func (r *Repository) Master() MasterKey               { return MasterKey{} }
func (r *Repository) Store() store.Store              { return nil }
func (r *Repository) Close() error                    { return nil }
func (r *Repository) CachePath(name string) string    { return "" }
func (r *Repository) StateKey() [32]byte              { return [32]byte{} }
func (r *Repository) LoadIndex(context.Context) error { return errTODO }

type LockMode uint8

const (
	Shared LockMode = iota
	Exclusive
)

type Lock struct{}

func (r *Repository) Lock(ctx context.Context, mode LockMode) (*Lock, error) { return nil, errTODO }
func (l *Lock) Context() context.Context                                     { return nil }
func (l *Lock) Unlock() error                                                { return errTODO }

type WriterOptions struct {
	Reopen  float64
	NoChain bool
}
type Writer struct{}
type Session struct{}
type WriterStats struct {
	NewBlobs, KnownBlobs [2]uint64
	NewBytes, KnownBytes [2]uint64
	StoredBytes          [2]uint64
}
type TreeBuilder struct{}

func NewTreeBuilder() *TreeBuilder       { return nil }
func (b *TreeBuilder) Add(n *Node) error { return errTODO }
func (b *TreeBuilder) Reset()            {}
func (b *TreeBuilder) Len() int          { return 0 }
func (r *Repository) NewWriter(ctx context.Context, o WriterOptions) (*Writer, error) {
	return nil, errTODO
}
func (w *Writer) Session() *Session                                          { return nil }
func (w *Writer) Flush(ctx context.Context) error                            { return errTODO }
func (w *Writer) SaveSnapshot(ctx context.Context, sn *Snapshot) (ID, error) { return ID{}, errTODO }
func (w *Writer) Has(kind BlobKind, id ID) (bool, error)                     { return false, errTODO }
func (w *Writer) Stats() WriterStats                                         { return WriterStats{} }
func (w *Writer) Close() error                                               { return errTODO }
func (s *Session) SaveBlob(kind BlobKind, data []byte) (id ID, known bool, err error) {
	return ID{}, false, errTODO
}
func (s *Session) SaveReader(rd io.Reader, ids []ID) ([]ID, int64, error) { return nil, 0, errTODO }
func (s *Session) SaveFixed(rd io.Reader, blockBytes int, ids []ID) ([]ID, int64, error) {
	return nil, 0, errTODO
}
func (s *Session) SaveTree(b *TreeBuilder) (ID, error) { return ID{}, errTODO }
func (s *Session) Close() error                        { return errTODO }

type SnapshotFilter struct {
	Hosts, Paths []string
	Tags         [][]string
}

func (r *Repository) Snapshots(ctx context.Context) ([]*Snapshot, error) { return nil, errTODO }
func (r *Repository) LoadSnapshot(ctx context.Context, id ID) (*Snapshot, error) {
	return nil, errTODO
}
func (r *Repository) FindSnapshot(ctx context.Context, name string, f SnapshotFilter) (*Snapshot, error) {
	return nil, errTODO
}
func (r *Repository) LoadTree(ctx context.Context, id ID) (*Tree, error) { return nil, errTODO }
func (t *Tree) Find(name string) *Node                                   { return nil }
func (r *Repository) Walk(ctx context.Context, root ID, fn func(path string, n *Node) error) error {
	return errTODO
}
func (r *Repository) Lookup(ctx context.Context, root ID, path string) (*Node, error) {
	return nil, errTODO
}
func (r *Repository) LoadBlob(ctx context.Context, h BlobHandle, buf []byte) ([]byte, error) {
	return nil, errTODO
}
func (r *Repository) BlobSize(ctx context.Context, h BlobHandle) (uint32, bool, error) {
	return 0, false, errTODO
}

type PackRead struct {
	Pack  ID
	Blobs []PlannedBlob
}
type PlannedBlob struct {
	Handle     BlobHandle
	Index      int
	Offset     uint32
	Length     uint32
	PlainBytes uint32
}

func (r *Repository) PlanRead(ctx context.Context, blobs []BlobHandle) ([]PackRead, error) {
	return nil, errTODO
}
func (r *Repository) ReadPack(ctx context.Context, p PackRead, fn func(b PlannedBlob, data []byte) error) error {
	return errTODO
}
