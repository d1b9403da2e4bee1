package repository

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

// Defaults of Options.
const (
	// defaultPackBytes is restic's pack size.
	defaultPackBytes = 16 << 20
	minPackBytes     = 4 << 20
	maxPackOption    = 128 << 20 // restic's limit for its own option
)

// Options say how to work with a repository. The zero value is right for most.
type Options struct {
	Compression Compression
	PackBytes   int // size at which a pack is closed; 16 MiB if 0
	// CacheDir holds local copies of what can be fetched again, sealed as in the repository: index files,
	// snapshots, packs of trees. "" keeps none. A store on the local disk needs none.
	CacheDir string
	// Uploads is how many packs travel at once to a store that is no Stager; 4 if 0. Each holds PackBytes
	// of memory.
	Uploads  int
	LockWait time.Duration // how long to wait for the locks of others
}

func (o Options) check() (Options, error) {
	if o.PackBytes == 0 {
		o.PackBytes = defaultPackBytes
	}
	if o.PackBytes < minPackBytes || o.PackBytes > maxPackOption {
		return o, fmt.Errorf("pack size of %d bytes is not between %d and %d", o.PackBytes, minPackBytes, maxPackOption)
	}
	if o.Uploads == 0 {
		o.Uploads = 4
	}
	if o.Compression > Off || o.Uploads < 0 || o.LockWait < 0 {
		return o, errors.New("an option is out of range")
	}
	return o, nil
}

// InitOptions are the options of a new repository.
type InitOptions struct {
	Options
	Key KeyOptions
	// ChunkerPolynomial is taken over from another repository, so that stock restic's copies between the two
	// share chunks; a random one if "".
	ChunkerPolynomial string
}

// Repository is an open repository. Its methods may be called from several goroutines at once.
type Repository struct {
	store     store.Store
	options   Options
	config    Config
	master    MasterKey
	keyID     ID
	sealer    *sealer
	codecs    *codecs
	cache     *fileCache
	index     *masterIndex
	blobs     *blobCache
	snapshots snapshotCache
}

// Init makes a repository in an empty store and opens it.
func Init(ctx context.Context, st store.Store, password string, o InitOptions) (*Repository, error) {
	r, err := initRepository(ctx, st, password, o)
	if err != nil {
		return nil, fmt.Errorf("init repository: %w", err)
	}
	return r, nil
}

func initRepository(ctx context.Context, st store.Store, password string, o InitOptions) (*Repository, error) {
	options, err := o.check()
	if err != nil {
		return nil, err
	}
	for _, kind := range []store.Kind{store.Config, store.Key} {
		if err := st.List(ctx, kind, "", func(store.Info) error { return store.ErrExist }); errors.Is(err, store.ErrExist) {
			return nil, fmt.Errorf("there is one already: %w", err)
		}
	}
	config, err := newConfig()
	if err != nil {
		return nil, err
	}
	if o.ChunkerPolynomial != "" {
		config.ChunkerPolynomial = o.ChunkerPolynomial
	}
	text, err := json.Marshal(config)
	if err == nil {
		_, err = parseConfig(text)
	}
	if err != nil {
		return nil, err
	}
	master := newMasterKey()
	keyID, err := addKey(ctx, st, password, master, o.Key)
	if err != nil {
		return nil, err
	}
	r := newRepository(st, options, config, master, keyID)
	if _, err := r.saveUnpacked(ctx, store.Config, text); err != nil {
		return nil, err
	}
	return r, nil
}

// Open opens a repository with one of its passwords. The error is ErrNoRepository or ErrWrongPassword where
// that is the reason.
func Open(ctx context.Context, st store.Store, password string, o Options) (*Repository, error) {
	options, err := o.check()
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	master, keyID, err := searchKey(ctx, st, password)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	return openWith(ctx, st, master, keyID, options)
}

// OpenMaster opens a repository without a password: the caller kept Master from before. It saves the key
// derivation, which takes a tenth of a second on purpose.
func OpenMaster(ctx context.Context, st store.Store, master MasterKey, o Options) (*Repository, error) {
	options, err := o.check()
	if err == nil {
		err = master.valid()
	}
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	return openWith(ctx, st, master, ID{}, options)
}

func openWith(ctx context.Context, st store.Store, master MasterKey, keyID ID, o Options) (*Repository, error) {
	sealed, err := store.ReadAll(ctx, st, store.Handle{Kind: store.Config})
	if errors.Is(err, store.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrNoRepository, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	text, err := master.sealer().open(sealed)
	if err != nil {
		return nil, fmt.Errorf("open repository: config: %w", err)
	}
	config, err := parseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	return newRepository(st, o, config, master, keyID), nil
}

func newRepository(st store.Store, o Options, c Config, m MasterKey, keyID ID) *Repository {
	if c.Version < 2 {
		o.Compression = Off
	}
	r := &Repository{
		store: st, options: o, config: c, master: m, keyID: keyID,
		sealer: m.sealer(), codecs: newCodecs(), blobs: newBlobCache(blobCacheBytes),
	}
	r.cache = newFileCache(o.CacheDir, c.ID)
	r.index = newMasterIndex(r)
	return r
}

// Config is the repository's configuration.
func (r *Repository) Config() Config { return r.config }

// ID is the repository's random identity, in hexadecimal.
func (r *Repository) ID() string { return r.config.ID }

// Master is the secret that opens everything in the repository.
func (r *Repository) Master() MasterKey { return r.master }

// Store is where the repository lies.
func (r *Repository) Store() store.Store { return r.store }

// StateKey is a key for local files about this repository: it authenticates and encrypts what other packages keep
// beside the cache.
func (r *Repository) StateKey() [32]byte { return r.master.Subkey("local state") }

// CachePath is the path of a local file about this repository, or "" without a cache directory.
func (r *Repository) CachePath(name string) string {
	if r.options.CacheDir == "" {
		return ""
	}
	return filepath.Join(r.options.CacheDir, r.config.ID, name)
}

// Close forgets what was cached in memory. The store is the caller's.
func (r *Repository) Close() error {
	r.blobs.clear()
	return nil
}

func randomID() (id ID) {
	rand.Read(id[:])
	return id
}
