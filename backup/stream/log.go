package stream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/store"
)

// Log is the history of one database in one repository. Its methods may be called from several goroutines at once.
type Log struct {
	store    store.Store
	keys     *keys
	codec    codec
	database string
}

// Open gives the log of a database in a repository. Nothing is read or written yet. The store must have a place for logs:
// without one, calls fail with store.ErrUnsupported.
func Open(repo *repository.Repository, database string) (*Log, error) {
	return New(repo.Store(), repo.Master().Subkey("stream"), database)
}

// New is Open for a place and a key.
func New(st store.Store, key [32]byte, database string) (*Log, error) {
	if !fs.ValidPath(database) || database == "." || strings.ContainsAny(database, `/\:,`) {
		return nil, fmt.Errorf("log of %q: that is no name of a database", database)
	}
	return &Log{store: st, keys: &keys{key}, codec: newCodec(), database: database}, nil
}

// Databases lists the databases that have a log in a repository.
func Databases(ctx context.Context, repo *repository.Repository) ([]string, error) {
	var names []string
	err := repo.Store().List(ctx, store.Log, "", func(i store.Info) error {
		if name, _, ok := strings.Cut(i.Name, "/"); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}

// Database is the name of the database.
func (l *Log) Database() string { return l.database }

// Identify gives a line the name that it has in this log. Nothing is read or written.
func (l *Log) Identify(line Line) (LineID, error) {
	if err := line.check(); err != nil {
		return "", err
	}
	return l.keys.identify(&line), nil
}

func (l *Log) path(line LineID, name string) string {
	return l.database + "/" + string(line) + "/" + name
}

func (l *Log) handle(line LineID, name string) store.Handle {
	return store.Handle{Kind: store.Log, Name: l.path(line, name)}
}

// lineSum is the hash that each object carries of what its line is.
func (l *Log) lineSum(id LineID) [32]byte { return l.keys.hash("object", []byte(id)) }

// start is the chain before the first record of a line. It is secret, so the hashes in names tell nothing.
func (l *Log) start(id LineID) [32]byte { return l.keys.hash("chain", []byte(id)) }

// found is an object of a line, as a listing has it.
type found struct {
	extent
	bytes int64
}

// list finds the objects of all lines, or of one.
func (l *Log) list(ctx context.Context, only LineID) (objects map[LineID][]found, strange []string, err error) {
	prefix := l.database + "/"
	if only != "" {
		prefix += string(only) + "/"
	}
	objects = map[LineID][]found{}
	err = l.store.List(ctx, store.Log, prefix, func(i store.Info) error {
		word, name, _ := strings.Cut(strings.TrimPrefix(i.Name, l.database+"/"), "/")
		id := LineID(word)
		e, ok := parseExtent(name)
		switch {
		case !validLineID(id):
			strange = append(strange, i.Name)
		case name == "line":
			objects[id] = slices.Grow(objects[id], 1) // a line may have no object yet
		case ok:
			objects[id] = append(objects[id], found{e, i.SizeBytes})
		default:
			strange = append(strange, i.Name)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list the log of %s: %w", l.database, err)
	}
	return objects, strange, nil
}

// load reads an object.
func (l *Log) load(ctx context.Context, line LineID, f *found) (*decoder, error) {
	return l.loadPart(ctx, line, f, -1)
}

// loadIndex reads an object's header and index.
func (l *Log) loadIndex(ctx context.Context, line LineID, f *found) (*decoder, error) {
	const guess = 16 << 10 // most indexes are smaller
	if f.bytes <= guess {
		return l.load(ctx, line, f)
	}
	d, err := l.loadPart(ctx, line, f, guess)
	if !errors.Is(err, errIndexLonger) {
		return d, err
	}
	return l.loadPart(ctx, line, f, min(f.bytes, int64(preludeBytes)+int64(d.header.indexBytes)))
}

var errIndexLonger = errors.New("the index is longer")

// loadPart reads the first n bytes of an object, or all of it, and opens header and index.
func (l *Log) loadPart(ctx context.Context, line LineID, f *found, n int64) (d *decoder, err error) {
	h := l.handle(line, f.name())
	if f.bytes > maxObjectBytes {
		return nil, fmt.Errorf("%v: %w: %d bytes", h, ErrDamaged, f.bytes)
	}
	size := f.bytes
	if n >= 0 {
		size = n
	}
	sealed := make([]byte, size)
	if err := store.ReadAt(ctx, l.store, h, sealed, 0); err != nil {
		return nil, err
	}
	if d, err = openObject(&l.codec, l.keys, l.lineSum(line), h.Name, f.extent, sealed); err != nil {
		return nil, fmt.Errorf("%v: %w", h, err)
	}
	if n >= 0 && n < f.bytes && len(d.rest) < int(d.header.indexBytes) {
		return d, errIndexLonger
	}
	if err := d.readIndex(); err != nil {
		return nil, fmt.Errorf("%v: %w", h, err)
	}
	return d, nil
}
