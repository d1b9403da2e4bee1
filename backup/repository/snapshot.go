package repository

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

// Snapshot is the state of some paths at one time. Its JSON is restic's.
type Snapshot struct {
	Time     time.Time `json:"time"`
	Parent   *ID       `json:"parent,omitempty"`
	Tree     *ID       `json:"tree"`
	Paths    []string  `json:"paths"`
	Hostname string    `json:"hostname,omitempty"`
	Username string    `json:"username,omitempty"`
	UID      uint32    `json:"uid,omitempty"`
	GID      uint32    `json:"gid,omitempty"`
	Excludes []string  `json:"excludes,omitempty"`
	Tags     []string  `json:"tags,omitempty"`
	// Original is the snapshot that this one was changed from (by a new tag, by a copy).
	Original       *ID      `json:"original,omitempty"`
	ProgramVersion string   `json:"program_version,omitempty"`
	Summary        *Summary `json:"summary,omitempty"`

	id ID
}

// Summary says how the backup went. Older versions of restic drop it when they rewrite a snapshot.
type Summary struct {
	BackupStart         time.Time `json:"backup_start"`
	BackupEnd           time.Time `json:"backup_end"`
	FilesNew            uint      `json:"files_new"`
	FilesChanged        uint      `json:"files_changed"`
	FilesUnmodified     uint      `json:"files_unmodified"`
	DirsNew             uint      `json:"dirs_new"`
	DirsChanged         uint      `json:"dirs_changed"`
	DirsUnmodified      uint      `json:"dirs_unmodified"`
	DataBlobs           int       `json:"data_blobs"`
	TreeBlobs           int       `json:"tree_blobs"`
	DataAdded           uint64    `json:"data_added"`        // bytes before compression
	DataAddedPacked     uint64    `json:"data_added_packed"` // bytes as stored
	TotalFilesProcessed uint      `json:"total_files_processed"`
	TotalBytesProcessed uint64    `json:"total_bytes_processed"`
}

// Errors of finding a snapshot.
var (
	ErrNoSnapshot = errors.New("no such snapshot")
	ErrAmbiguous  = errors.New("several snapshots begin like this")
)

// ID is the snapshot's name in the repository; zero for one that was not saved or loaded.
func (s *Snapshot) ID() ID { return s.id }

// HasTag reports whether the snapshot carries the tag.
func (s *Snapshot) HasTag(tag string) bool { return slices.Contains(s.Tags, tag) }

func (s *Snapshot) clone() *Snapshot {
	c := *s
	c.Paths, c.Excludes, c.Tags = slices.Clone(s.Paths), slices.Clone(s.Excludes), slices.Clone(s.Tags)
	return &c
}

func parseSnapshot(data []byte) (*Snapshot, error) {
	s := new(Snapshot)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("parse snapshot: %w: %w", ErrDamaged, err)
	}
	if s.Tree == nil || s.Tree.IsZero() {
		return nil, fmt.Errorf("parse snapshot: %w: it has no tree", ErrDamaged)
	}
	return s, nil
}

// SnapshotFilter selects snapshots. An empty field selects all.
type SnapshotFilter struct {
	Hosts []string   // any of them
	Paths []string   // all of them are among the snapshot's paths
	Tags  [][]string // all tags of any of the lists
}

// Match reports whether the filter selects s.
func (f SnapshotFilter) Match(s *Snapshot) bool {
	if len(f.Hosts) > 0 && !slices.Contains(f.Hosts, s.Hostname) {
		return false
	}
	for _, p := range f.Paths {
		if !slices.Contains(s.Paths, p) {
			return false
		}
	}
	if len(f.Tags) == 0 {
		return true
	}
	return slices.ContainsFunc(f.Tags, func(all []string) bool {
		return !slices.ContainsFunc(all, func(tag string) bool { return !s.HasTag(tag) })
	})
}

// snapshotCache keeps parsed snapshots, which never change, so that listing them again costs a listing only.
type snapshotCache struct {
	mu     sync.Mutex
	parsed map[ID]*Snapshot
}

func (c *snapshotCache) get(id ID) *Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.parsed[id]; s != nil {
		return s.clone()
	}
	return nil
}

func (c *snapshotCache) put(s *Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parsed == nil {
		c.parsed = make(map[ID]*Snapshot)
	}
	c.parsed[s.id] = s.clone()
}

func (c *snapshotCache) retain(listed func(ID) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.parsed {
		if !listed(id) {
			delete(c.parsed, id)
		}
	}
}

// Snapshots lists all snapshots, the oldest first. If some can't be read, it returns the others and an error.
func (r *Repository) Snapshots(ctx context.Context) ([]*Snapshot, error) {
	all, damaged, err := r.allSnapshots(ctx)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	for _, d := range damaged {
		err = errors.Join(err, d)
	}
	if err != nil {
		return all, fmt.Errorf("list snapshots: %w", err)
	}
	return all, nil
}

// allSnapshots also returns, by ID, why snapshots can't be read.
func (r *Repository) allSnapshots(ctx context.Context) ([]*Snapshot, map[ID]error, error) {
	for {
		all, damaged, moved, err := r.listSnapshots(ctx)
		if err != nil || !moved {
			return all, damaged, err
		}
	}
}

// listSnapshots reports moved if a snapshot vanished between the listing and its reading: it may have been replaced by one
// that this listing does not show.
func (r *Repository) listSnapshots(ctx context.Context) (all []*Snapshot, damaged map[ID]error, moved bool, err error) {
	ids, err := r.listSet(ctx, store.Snapshot)
	if err != nil {
		return nil, nil, false, err
	}
	listed := func(id ID) bool { _, ok := ids[id]; return ok }
	r.snapshots.retain(listed)
	r.cache.retain(store.Snapshot, listed)
	var mu sync.Mutex
	damaged = make(map[ID]error)
	err = eachParallelN(ctx, 8, keys(ids), func(ctx context.Context, id ID) error {
		s, err := r.LoadSnapshot(ctx, id)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			all = append(all, s)
		case errors.Is(err, store.ErrNotExist):
			moved = true
		case isDamage(err):
			damaged[id] = err
		default:
			return err
		}
		return nil
	})
	slices.SortFunc(all, func(a, b *Snapshot) int {
		return cmp.Or(a.Time.Compare(b.Time), slices.Compare(a.id[:], b.id[:]))
	})
	return all, damaged, moved, err
}

// LoadSnapshot reads one snapshot. The error is store.ErrNotExist if there is none of that ID.
func (r *Repository) LoadSnapshot(ctx context.Context, id ID) (*Snapshot, error) {
	if s := r.snapshots.get(id); s != nil {
		return s, nil
	}
	data, err := r.loadUnpacked(ctx, store.Snapshot, id)
	if err != nil {
		return nil, err
	}
	s, err := parseSnapshot(data)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", id.Short(), err)
	}
	s.id = id
	r.snapshots.put(s)
	return s, nil
}

// FindSnapshot returns the snapshot of that name: "latest" (of those that the filter selects and that can be read), or the
// first digits of its ID (whatever the filter says). The error is ErrNoSnapshot or ErrAmbiguous where that is the reason.
func (r *Repository) FindSnapshot(ctx context.Context, name string, f SnapshotFilter) (*Snapshot, error) {
	if name == "latest" {
		all, _, err := r.allSnapshots(ctx)
		if err != nil {
			return nil, fmt.Errorf("find snapshot %s: %w", name, err)
		}
		for _, s := range slices.Backward(all) {
			if f.Match(s) {
				return s, nil
			}
		}
		return nil, fmt.Errorf("find snapshot %s: %w", name, ErrNoSnapshot)
	}
	var found []ID
	err := r.listIDs(ctx, store.Snapshot, func(id ID, _ int64) error {
		if strings.HasPrefix(id.String(), name) {
			found = append(found, id)
		}
		return nil
	})
	switch {
	case err != nil:
	case len(found) == 0 || name == "":
		err = ErrNoSnapshot
	case len(found) > 1:
		err = ErrAmbiguous
	default:
		return r.LoadSnapshot(ctx, found[0])
	}
	return nil, fmt.Errorf("find snapshot %q: %w", name, err)
}

// HasSnapshot reports whether the snapshot is in the repository. As long as it is, all that it refers to is, too: a
// backup may reuse the trees of such a snapshot without looking anything up.
func (r *Repository) HasSnapshot(ctx context.Context, id ID) (bool, error) {
	_, err := r.store.Stat(ctx, store.Handle{Kind: store.Snapshot, Name: id.String()})
	if errors.Is(err, store.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// RemoveSnapshots forgets snapshots. Their data stays until Prune. The removal is written down first,
// so that VerifyChain can tell it from a theft.
func (r *Repository) RemoveSnapshots(ctx context.Context, snapshots []*Snapshot) error {
	if len(snapshots) == 0 {
		return nil
	}
	lock, err := r.Lock(ctx, Shared)
	if err != nil {
		return fmt.Errorf("remove snapshots: %w", err)
	}
	err = r.removeSnapshots(lock.Context(), snapshots)
	if err = errors.Join(err, lock.Unlock()); err != nil {
		return fmt.Errorf("remove snapshots: %w", err)
	}
	return nil
}

func (r *Repository) removeSnapshots(ctx context.Context, snapshots []*Snapshot) error {
	if err := r.recordRemoval(ctx, snapshots); err != nil {
		return err
	}
	for _, s := range snapshots {
		if err := r.store.Remove(ctx, store.Handle{Kind: store.Snapshot, Name: s.id.String()}); err != nil {
			return err
		}
	}
	return nil
}

// RewriteSnapshot replaces a snapshot by a changed one (other tags, say) and returns the new ID. The old one is
// removed once the new one is durable. The error is ErrNoSnapshot if somebody else has removed it meanwhile.
func (r *Repository) RewriteSnapshot(ctx context.Context, s *Snapshot, change func(*Snapshot)) (ID, error) {
	lock, err := r.lock(ctx, Shared, forWriting)
	if err != nil {
		return ID{}, fmt.Errorf("rewrite snapshot: %w", err)
	}
	id, err := r.rewriteSnapshot(lock, s, change)
	if err = errors.Join(err, lock.Unlock()); err != nil {
		return ID{}, fmt.Errorf("rewrite snapshot %s: %w", s.id.Short(), err)
	}
	return id, nil
}

func (r *Repository) rewriteSnapshot(lock *Lock, s *Snapshot, change func(*Snapshot)) (ID, error) {
	ctx := lock.Context()
	n := s.clone()
	change(n)
	if n.Tree == nil || *n.Tree != *s.Tree {
		return ID{}, errors.New("a rewritten snapshot keeps its tree")
	}
	if n.Original == nil {
		n.Original = &s.id
	}
	// While the old one is there, what it needs is, and stays indexed until the commit is over.
	if err := lock.enterCommit(ctx); err != nil {
		return ID{}, err
	}
	if there, err := r.HasSnapshot(ctx, s.id); err != nil || !there {
		return ID{}, errors.Join(err, fmt.Errorf("%w: it was removed", ErrNoSnapshot))
	}
	if err := r.writeSnapshot(ctx, n); err != nil {
		return ID{}, err
	}
	return n.id, r.removeSnapshots(ctx, []*Snapshot{s})
}

// writeSnapshot stores s, sets its ID and reads it back.
func (r *Repository) writeSnapshot(ctx context.Context, s *Snapshot) error {
	id, err := r.saveJSON(ctx, store.Snapshot, s)
	if err != nil {
		return err
	}
	sealed, err := store.ReadAll(ctx, r.store, store.Handle{Kind: store.Snapshot, Name: id.String()})
	if err != nil {
		return fmt.Errorf("read snapshot back: %w", err)
	}
	if Hash(sealed) != id {
		return fmt.Errorf("read snapshot back: %w: the content does not fit the name", ErrDamaged)
	}
	data, err := r.openUnpacked(sealed)
	if err != nil {
		return fmt.Errorf("read snapshot back: %w", err)
	}
	back, err := parseSnapshot(data)
	if err != nil {
		return fmt.Errorf("read snapshot back: %w", err)
	}
	if *back.Tree != *s.Tree {
		return fmt.Errorf("read snapshot back: %w: it has another tree", ErrDamaged)
	}
	s.id = id
	return nil
}
