// Package files saves trees of files into a repository and restores them: content, owner, mode, times to the nanosecond,
// extended attributes (and with them ACLs and capabilities), links of both kinds, devices, pipes and holes.
//
// It reads with one goroutine per core, each doing a file from open to sealed pack by itself. Directories that did not
// change since the last snapshot are recognised by a local state file and cost no look into the repository. Restoring
// never leaves its target directory, whatever names a snapshot holds. The package never runs a program, and
// never changes what it saves.
package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files/pattern"
	"github.com/trivet-ha/trivet/systems/files/state"
)

// Config says what is saved. Only Paths is needed.
type Config struct {
	// Paths are files and directories. A relative path is kept relative in the snapshot, as restic does it: the
	// path "." saves what is in the current directory.
	Paths []string
	// Skip says what is left out.
	Skip Skip
	// NoXattrs leaves extended attributes out, and with them ACLs and capabilities.
	NoXattrs bool
	// WithAtime keeps times of access; otherwise that of the last change stands in their place.
	WithAtime bool
	// IgnoreInode and IgnoreCtime take a file as unchanged although its inode number or its ctime differ: for
	// network file systems, and copies that keep mtime.
	IgnoreInode, IgnoreCtime bool
	// ReadAll reads every file, whatever its times say.
	ReadAll bool
	// Workers is the number of goroutines; one per core when zero.
	Workers int
	// NoState keeps no local state file.
	NoState bool
}

// Skip says what is left out.
type Skip struct {
	// Patterns are matched against absolute paths.
	Patterns []*pattern.List
	// IgnoreFiles are names of files in the tree that hold gitignore patterns for their directory: ".gitignore".
	IgnoreFiles []string
	// Tagged leaves out what is in a directory that holds one of these files. The tag itself is saved.
	Tagged []Tag
	// LargerThan leaves out regular files of more bytes; no limit when zero.
	LargerThan int64
	// OneFileSystem stays on the file system of each path. Of a mount point the empty directory is saved.
	OneFileSystem bool
	// key tells two Skips apart: whatever the patterns were compiled from.
	Key string
}

// Tag is a file that marks its directory.
type Tag struct {
	Name   string
	Header string // what it must begin with; anything when empty
}

// CacheDirTag marks caches: https://bford.info/cachedir/
func CacheDirTag() Tag {
	return Tag{Name: "CACHEDIR.TAG", Header: "Signature: 8a477f597d28d172789f06886806bc55"}
}

// Source saves files. It implements backup.Source and backup.Committer.
type Source struct {
	config Config
	paths  []string
	now    func() time.Time

	// last is the job of the last Save, until it is committed.
	last *job
}

var (
	_ backup.Source    = (*Source)(nil)
	_ backup.Committer = (*Source)(nil)
)

// New checks the configuration. Paths must exist when Save is called, not before.
func New(c Config) (*Source, error) {
	if len(c.Paths) == 0 {
		return nil, errors.New("files: no path is named")
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	paths, err := absolutePaths(c.Paths)
	if err != nil {
		return nil, err
	}
	return &Source{config: c, paths: paths, now: time.Now}, nil
}

// Paths are the absolute paths, sorted.
func (s *Source) Paths() []string { return slices.Clone(s.paths) }

// identity is all that decides what the tree of a given file system looks like.
func (s *Source) identity(repo *repository.Repository) state.Identity {
	text, err := json.Marshal([]any{
		s.paths, s.config.Paths, s.config.Skip.Key, s.config.Skip.IgnoreFiles, s.config.Skip.Tagged, s.config.Skip.LargerThan, s.config.Skip.OneFileSystem,
		s.config.NoXattrs, s.config.WithAtime,
	})
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	id := state.Identity{Source: sha256.Sum256(text)}
	raw, err := hex.DecodeString(repo.ID())
	if err == nil {
		copy(id.Repository[:], raw)
	}
	return id
}

// Save implements backup.Source.
func (s *Source) Save(ctx context.Context, t backup.Target) (backup.Saved, error) {
	if s.last != nil {
		s.last.close()
		s.last = nil
	}
	j, err := s.newJob(ctx, t)
	if err != nil {
		return backup.Saved{}, err
	}
	saved, err := j.run()
	if err != nil {
		j.close()
		return backup.Saved{}, err
	}
	s.last = j
	return saved, nil
}

// Committed writes the state file: from now on the next Save trusts it.
func (s *Source) Committed(_ context.Context, snapshot *repository.Snapshot) error {
	j := s.last
	if j == nil {
		return errors.New("files: nothing was saved")
	}
	s.last = nil
	defer j.close()
	if snapshot.Tree == nil || *snapshot.Tree != j.root.tree {
		return errors.New("files: the snapshot is of another tree")
	}
	if err := j.state.Commit(snapshot.ID(), j.root.tree, j.root.ref); err != nil {
		return fmt.Errorf("keep state for the next backup: %w", err)
	}
	return nil
}

// statePath is where the state of this source lives; "" for nowhere.
func (s *Source) statePath(repo *repository.Repository, id state.Identity) string {
	if s.config.NoState {
		return ""
	}
	return repo.CachePath(filepath.Join("files", hex.EncodeToString(id.Source[:16])))
}
