package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files/pattern"
)

// Overwrite says what happens to files that are there already.
type Overwrite uint8

const (
	// OverwriteAlways makes each file what the snapshot has: its chunks are compared with those on the disk, and only
	// what differs is fetched and written.
	OverwriteAlways Overwrite = iota
	// OverwriteIfChanged takes a file of the same size and time of change as equal, without reading it.
	OverwriteIfChanged
	// OverwriteIfNewer leaves files alone that were changed after the snapshot's.
	OverwriteIfNewer
	// OverwriteNever leaves all files alone that are there.
	OverwriteNever
)

// ParseOverwrite reads restic's names: always, if-changed, if-newer, never.
func ParseOverwrite(s string) (Overwrite, error) {
	for i, name := range []string{"always", "if-changed", "if-newer", "never"} {
		if s == name {
			return Overwrite(i), nil
		}
	}
	return 0, fmt.Errorf("overwrite %q: want always, if-changed, if-newer or never", s)
}

// RestoreOptions say what is restored, and how. Only Target is needed.
type RestoreOptions struct {
	// Target is the directory that the tree is restored into. It is made if need be. Nothing outside of it is
	// changed, whatever names and links the snapshot or the directory hold.
	Target string
	// Include selects entries, with all below them; everything when empty. Exclude takes entries out.
	Include, Exclude []*pattern.List
	Overwrite        Overwrite
	// Delete removes what is in a restored directory and not in the snapshot, unless Exclude matches it.
	Delete bool
	// NoHoles writes zeros where files could have holes.
	NoHoles bool
	// NoOwner leaves everything to the current user. It is implied for all but root.
	NoOwner bool
	// Verify reads every restored file again and compares its chunks with the snapshot's.
	Verify bool
	// Sync makes everything durable before Restore returns.
	Sync bool
	// DryRun changes nothing and tells what would be done.
	DryRun bool
	// Workers is the number of goroutines; one per core when zero.
	Workers int
	// Plan hears of each entry that is, or would be, restored, maybe from several goroutines.
	Plan func(path string, a Action, bytes int64)
	// Progress counts what is done; nobody looks when nil.
	Progress *backup.Progress
	// Report hears of each problem, one at a time.
	Report func(backup.Problem)
}

// Action is what Restore does to one entry.
type Action string

// The actions.
const (
	Created   Action = "created"
	Updated   Action = "updated"   // in place, where it differs
	Unchanged Action = "unchanged" // only its metadata may have been set
	Kept      Action = "kept"      // left alone by the rule of Overwrite
	Deleted   Action = "deleted"
)

// RestoreResult is what Restore did, or, for a dry run, would do.
type RestoreResult struct {
	Files, Directories, Others int64 // restored, those unchanged included
	Unchanged, Kept, Deleted   int64
	Bytes                      int64 // of the content of all restored files
	Written                    int64 // bytes of them that were written
	Verified                   int64 // files
	Missing                    int   // things that could not be restored, or did not verify
}

type restoreCounts struct {
	files, directories, others, unchanged, kept, deleted, bytes, written, verified, missing atomic.Int64
}

// errForeignOwner says, once, what a restore without root's rights lacks.
var errForeignOwner = errors.New("owners are not restored: that takes root")

// restore is one Restore.
type restore struct {
	o      RestoreOptions
	repo   *repository.Repository
	ctx    context.Context
	cancel context.CancelCauseFunc
	isRoot bool
	dirs   *dirCache
	counts restoreCounts

	made  []*restoreDir // in the order of their making: parents before children
	links []link
	first map[inode]*restoreFile // of entries with several links: the one that is restored

	mu      sync.Mutex // of Report
	ownerMu sync.Once
	openNow atomic.Int64 // files open for writing
}

// inode identifies a file with several links within a snapshot.
type inode struct{ ino, dev uint64 }

// Restore restores the tree root into a directory. What cannot be restored is reported and left out; an error ends
// the whole.
func Restore(ctx context.Context, repo *repository.Repository, root repository.ID, o RestoreOptions) (RestoreResult, error) {
	if o.Target == "" {
		return RestoreResult{}, errors.New("restore: no target directory is named")
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = &backup.Progress{}
	}
	r := &restore{o: o, repo: repo, isRoot: os.Geteuid() == 0 && !o.NoOwner, first: make(map[inode]*restoreFile)}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	defer r.cancel(nil)
	err := r.run(root)
	if cause := context.Cause(r.ctx); cause != nil {
		err = cause
	}
	return r.result(), err
}

func (r *restore) result() RestoreResult {
	c := &r.counts
	return RestoreResult{
		Files: c.files.Load(), Directories: c.directories.Load(), Others: c.others.Load(), Unchanged: c.unchanged.Load(), Kept: c.kept.Load(),
		Deleted: c.deleted.Load(), Bytes: c.bytes.Load(), Written: c.written.Load(), Verified: c.verified.Load(), Missing: int(c.missing.Load()),
	}
}

func (r *restore) run(root repository.ID) error {
	target, err := r.openTarget()
	if err != nil {
		return err
	}
	r.dirs = newDirCache(target)
	defer r.dirs.close()
	if err := r.repo.LoadIndex(r.ctx); err != nil {
		return err
	}
	if err := r.walkAndFill(root); err != nil {
		return err
	}
	if r.o.DryRun {
		return nil
	}
	r.makeLinks()
	r.finishDirectories()
	if err := context.Cause(r.ctx); err != nil {
		return err
	}
	if r.o.Verify {
		if err := r.verify(root); err != nil {
			return err
		}
	}
	if r.o.Sync && target >= 0 {
		if err := unix.Syncfs(target); err != nil {
			return fmt.Errorf("make %s durable: %w", r.o.Target, err)
		}
	}
	return nil
}

// openTarget opens the target directory, made if need be; -1 if it is not there in a dry run. Links on the way to it are
// followed: it is the caller's own path.
func (r *restore) openTarget() (int, error) {
	if !r.o.DryRun {
		if err := os.MkdirAll(r.o.Target, 0o700); err != nil {
			return -1, fmt.Errorf("restore: %w", err)
		}
	}
	fd, err := unix.Open(r.o.Target, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if r.o.DryRun && errors.Is(err, unix.ENOENT) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("restore: open target %s: %w", r.o.Target, err)
	}
	return fd, nil
}

func (r *restore) report(s backup.Severity, path string, err error) {
	if s == backup.Missing {
		r.counts.missing.Add(1)
		r.o.Progress.Problem()
	}
	if r.o.Report != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.o.Report(backup.Problem{Severity: s, Path: path, Err: err})
	}
}

// missing reports what could not be restored. Errors that would meet every file end the whole.
func (r *restore) missing(path string, err error) {
	for _, hopeless := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS} {
		if errors.Is(err, hopeless) {
			r.cancel(fmt.Errorf("restore %s: %w", path, err))
		}
	}
	if r.ctx.Err() == nil {
		r.report(backup.Missing, path, err)
	}
}

// planFile is plan for a file; its path is built only if somebody wants to hear it.
func (r *restore) planFile(f *restoreFile, a Action, bytes int64) {
	if r.o.Plan != nil {
		r.plan(f.path(), a, bytes)
		return
	}
	r.plan("", a, bytes)
}

func (r *restore) plan(path string, a Action, bytes int64) {
	switch a {
	case Unchanged:
		r.counts.unchanged.Add(1)
	case Kept:
		r.counts.kept.Add(1)
	case Deleted:
		r.counts.deleted.Add(1)
	}
	if r.o.Plan != nil {
		r.o.Plan(path, a, bytes)
	}
}
