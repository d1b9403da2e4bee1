package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/postgres/replication"
	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

// Names in a snapshot.
const (
	baseFile       = "base.json"
	dataDir        = "data"
	tablespacesDir = "tablespaces"
	manifestFile   = "backup_manifest"
)

// Base says what a base backup is. It is the file base.json in its snapshot.
type Base struct {
	System   string       `json:"system"`  // the cluster's system identifier
	Version  int          `json:"version"` // server_version_num
	Timeline wal.Timeline `json:"timeline"`
	// Start is where replay begins; End is where it must come to at least.
	Start wal.Position `json:"start"`
	End   wal.Position `json:"end"`
	// History is the history file of Timeline; empty for the first.
	History string `json:"history,omitempty"`
	// Segments is the size of the files of the log, in bytes.
	Segments  wal.Segments `json:"wal_segment_bytes"`
	PageBytes int          `json:"wal_page_bytes"`
	// WithWAL: the snapshot has the log from Start to End, and needs no other.
	WithWAL     bool                     `json:"with_wal"`
	Tablespaces []replication.Tablespace `json:"tablespaces,omitempty"`
	// Bytes is the size of all files.
	Bytes int64 `json:"bytes"`
	// Began and Ended are by the clock of the machine that took it.
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	// Damaged counts files with pages whose checksums were wrong.
	Damaged int `json:"damaged,omitempty"`

	// Snapshot is where it is; nil for one that is not read from a repository.
	Snapshot *repository.Snapshot `json:"-"`
}

// Major is the server's major version.
func (b *Base) Major() int { return b.Version / 10000 }

// snapshotPath is the path that snapshots of a cluster list.
func snapshotPath(name string) string { return "/postgres/" + name }

// Bases lists the base backups of a cluster, the oldest first. Snapshots that have the path and are none are left out; the
// error joins those that could not be read.
func Bases(ctx context.Context, repo *repository.Repository, name string) ([]*Base, error) {
	snapshots, err := repo.Snapshots(ctx)
	if err != nil && len(snapshots) == 0 {
		return nil, err
	}
	var bases []*Base
	failed := err
	for _, s := range snapshots {
		if !slices.Contains(s.Paths, snapshotPath(name)) {
			continue
		}
		b, err := LoadBase(ctx, repo, s)
		switch {
		case err == nil:
			bases = append(bases, b)
		case !errors.Is(err, fs.ErrNotExist):
			failed = errors.Join(failed, err)
		}
	}
	slices.SortStableFunc(bases, func(a, b *Base) int { return cmp.Compare(a.Ended.UnixNano(), b.Ended.UnixNano()) })
	return bases, failed
}

// LoadBase reads what a snapshot says of itself. The error is fs.ErrNotExist if it is no base backup.
func LoadBase(ctx context.Context, repo *repository.Repository, s *repository.Snapshot) (*Base, error) {
	if len(s.Paths) != 1 {
		return nil, fmt.Errorf("snapshot %s: %w", s.ID().Short(), fs.ErrNotExist)
	}
	node, err := repo.Lookup(ctx, *s.Tree, path.Join(s.Paths[0], baseFile))
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", s.ID().Short(), err)
	}
	text, err := readFile(ctx, repo, node)
	b := &Base{Snapshot: s}
	if err == nil {
		err = json.Unmarshal(text, b)
	}
	if err == nil && (!b.Segments.Valid() || b.Timeline == 0 || b.Start == 0 || b.End < b.Start || b.PageBytes <= 0) {
		err = errors.New("it makes no sense")
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %s: %w", s.ID().Short(), baseFile, err)
	}
	return b, nil
}

// noteBytes bounds what is read into memory of files that should be small.
const noteBytes = 64 << 20

func readFile(ctx context.Context, repo *repository.Repository, n *repository.Node) ([]byte, error) {
	f, err := repo.OpenFile(ctx, n)
	if err != nil {
		return nil, err
	}
	if f.Size() > noteBytes {
		return nil, fmt.Errorf("%d bytes are too many", f.Size())
	}
	text := make([]byte, f.Size())
	if _, err := f.ReadAt(text, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return text, nil
}
