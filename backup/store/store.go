// Package store says what the backup side needs of a place that keeps bytes: named files, written
// once, whole or not at all. The layout of names is restic's (data/xx/…, index/, snapshots/, locks/,
// keys/, config) so that stock restic opens the same place.
//
// It never interprets a file's content, and it never hides a doubt: a listing is complete or an error,
// a file that Save acknowledged is durable.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Errors that every Store reports through errors.Is.
var (
	// ErrNotExist: the file is not there.
	ErrNotExist = fs.ErrNotExist
	// ErrExist: a different file of that name is there already.
	ErrExist = fs.ErrExist
	// ErrDenied: the store refuses this operation to these credentials (append-only, object lock).
	ErrDenied = fs.ErrPermission
	// ErrUnsupported: the store has no place for this kind of file (a REST server, for Log and Record).
	ErrUnsupported = errors.ErrUnsupported
)

// Kind is the role of a file. It decides its directory.
type Kind uint8

// The kinds. Config to Pack are restic's; Log and Record are Trivet's own and unknown to restic,
// which leaves their directories alone.
const (
	Config   Kind = iota + 1 // the one file "config"; its Handle has no name
	Key                      // keys/<id>
	Lock                     // locks/<id>
	Snapshot                 // snapshots/<id>
	Index                    // index/<id>
	Pack                     // data/<first two digits>/<id>
	Log                      // pitr/<any/path>: append-only logs of databases
	Record                   // trivet/<any/path>: small facts about the repository itself
)

// Kinds lists every kind, in the order of their values.
func Kinds() []Kind { return []Kind{Config, Key, Lock, Snapshot, Index, Pack, Log, Record} }

// Dir is the directory of a kind, without a slash: "" for Config.
func (k Kind) Dir() string {
	switch k {
	case Key:
		return "keys"
	case Lock:
		return "locks"
	case Snapshot:
		return "snapshots"
	case Index:
		return "index"
	case Pack:
		return "data"
	case Log:
		return "pitr"
	case Record:
		return "trivet"
	}
	return ""
}

// String is the kind's name for messages.
func (k Kind) String() string {
	switch k {
	case Config:
		return "config"
	case Key:
		return "key"
	case Lock:
		return "lock"
	case Snapshot:
		return "snapshot"
	case Index:
		return "index"
	case Pack:
		return "pack"
	case Log:
		return "log"
	case Record:
		return "record"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Handle names one file.
type Handle struct {
	Kind Kind
	// Name is empty for Config, 64 lower-case hexadecimal digits for restic's kinds, and a relative
	// slash-separated path for Log and Record.
	Name string
}

// String is the handle for messages: "pack/0a1b…".
func (h Handle) String() string {
	if h.Kind == Config {
		return "config"
	}
	return h.Kind.String() + "/" + h.Name
}

// Path is the slash-separated path of the file below the root of the store, as restic's default
// layout has it.
func (h Handle) Path() string {
	switch {
	case h.Kind == Config:
		return "config"
	case h.Kind == Pack && len(h.Name) > 2:
		return "data/" + h.Name[:2] + "/" + h.Name
	}
	return h.Kind.Dir() + "/" + h.Name
}

// Valid reports why the handle cannot name a file: an unknown kind, a missing name, or a name that
// would leave its directory. Every Store refuses such a handle.
func (h Handle) Valid() error {
	switch h.Kind {
	case Config:
		if h.Name != "" {
			return fmt.Errorf("store: config has no name, got %q", h.Name)
		}
		return nil
	case Key, Lock, Snapshot, Index, Pack:
		if !isHexID(h.Name) {
			return fmt.Errorf("store: %v name %q is not 64 hexadecimal digits", h.Kind, h.Name)
		}
		return nil
	case Log, Record:
		if !fs.ValidPath(h.Name) || h.Name == "." || strings.ContainsRune(h.Name, '\\') {
			return fmt.Errorf("store: %v name %q is not a clean relative path", h.Kind, h.Name)
		}
		return nil
	}
	return fmt.Errorf("store: unknown %v", h.Kind)
}

func isHexID(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Info is what a store knows of a file without reading it.
type Info struct {
	Name      string // as in Handle.Name
	SizeBytes int64
}

// Store keeps files. All methods may be called from several goroutines at once.
//
// Beyond these five methods, a store may implement Stager, Prompt and io.Closer.
type Store interface {
	// Save stores data under h. When it returns nil the file is complete and durable: it
	// survives a loss of power. When it returns an error, either the whole file or nothing is visible.
	// A file is never changed once it is there: if h exists already with the same size, Save is a
	// success (a repeated attempt); otherwise it fails with ErrExist. Save does not keep data.
	Save(ctx context.Context, h Handle, data []byte) error

	// Open reads length bytes of h from offset; a negative length means up to the end. The reader
	// yields exactly that many bytes, or fails: with io.ErrUnexpectedEOF if the file is shorter.
	// ErrNotExist may come from Open or from the first Read. The caller closes the reader.
	Open(ctx context.Context, h Handle, offset, length int64) (io.ReadCloser, error)

	// Stat reports the size of h, or ErrNotExist.
	Stat(ctx context.Context, h Handle) (Info, error)

	// List calls fn for every file of the kind whose name starts with prefix, in any order, each
	// once. Either every file was reported or List returns an error: a kind without any file is
	// no error, a directory that can't be read is one. Files half written are never listed. An error of fn ends the
	// listing and is returned as it is.
	List(ctx context.Context, kind Kind, prefix string, fn func(Info) error) error

	// Remove deletes h durably. A file that is not there is no error.
	Remove(ctx context.Context, h Handle) error
}

// Stager is implemented by stores that take a file's bytes before its name is known. The name of a
// pack is the hash of its bytes: without a Stager the whole pack waits in memory.
type Stager interface {
	// Stage opens an invisible file for about sizeBytes (a hint; 0 if unknown).
	Stage(ctx context.Context, kind Kind, sizeBytes int64) (Staged, error)
	// Barrier makes durable the names of all files committed before it was called. Their contents were
	// durable when Commit returned.
	Barrier(ctx context.Context) error
}

// Prompt is implemented by stores that may show every change to everybody at once: a listing that begins after Save or Remove has
// returned, in any process, knows of it. A lock in such a store needs no second look.
type Prompt interface {
	Prompt() bool
}

// Staged is a file being written by one goroutine. It ends with exactly one of Commit and Discard;
// Discard after Commit does nothing.
type Staged interface {
	// Write appends p. It does not keep p. An error is final: the file can only be discarded.
	Write(p []byte) (int, error)
	// Commit makes the file visible under its name, with its content durable; the name is durable
	// after the next Barrier.
	Commit(ctx context.Context, name string) error
	// Discard drops the file.
	Discard() error
}

// AlignBytes is the alignment (of address and of length) at which Staged.Write of the local store
// writes without copying, past the page cache.
const AlignBytes = 4096

// ReadAll reads a whole file.
func ReadAll(ctx context.Context, s Store, h Handle) ([]byte, error) {
	r, err := s.Open(ctx, h, 0, -1)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("read %v: %w", h, err)
	}
	return data, nil
}

// ReadAt fills p from offset of h, or fails: with io.ErrUnexpectedEOF if the file is shorter.
func ReadAt(ctx context.Context, s Store, h Handle, p []byte, offset int64) error {
	r, err := s.Open(ctx, h, offset, int64(len(p)))
	if err != nil {
		return err
	}
	_, err = io.ReadFull(r, p)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("read %v: %w", h, err)
	}
	return nil
}
