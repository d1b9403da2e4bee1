package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/backup/repository"
)

// Options change how a source is saved. The zero Options works.
type Options struct {
	// Host and Username are written into the snapshot; this machine's and this user's when empty.
	Host, Username string
	Tags           []string
	// Excludes are written into the snapshot, for people.
	Excludes []string
	// Program is written into the snapshot: "trivet 1.2.3".
	Program string
	// Time is the snapshot's time; when the backup began, if zero.
	Time time.Time
	// Parent names the snapshot to compare with; the latest of the same host and paths when empty.
	Parent string
	// Fresh compares with nothing: everything is read.
	Fresh bool
	// SkipUnchanged makes no snapshot if its tree would be that of the parent.
	SkipUnchanged bool
	// Writer says how blobs are written.
	Writer repository.WriterOptions
	// Canary looks for what is unusual.
	Canary Canary
	// Progress counts what is done; nobody looks when nil.
	Progress *Progress
	// Report hears of each problem, one at a time.
	Report func(Problem)
}

// Result is what a Save did.
type Result struct {
	// Snapshot is the new snapshot; nil if none was made because nothing changed.
	Snapshot *repository.Snapshot
	// Parent is the snapshot that was compared with; nil if there was none.
	Parent *repository.Snapshot
	Tree   repository.ID
	Stats  repository.WriterStats
	// Files and Bytes are what the source has now, saved in this run or before.
	Files, Bytes int64
	// Missing is the number of things that could not be saved.
	Missing int
	// Notices say what is unusual about this backup, compared with its parent.
	Notices []Notice
	// Kept is an error in keeping what would make the next backup faster. The snapshot is not affected.
	Kept error
}

// Save makes a snapshot of the source's present state. If the repository was pruned meanwhile of what the backup
// builds on, it is made again from nothing.
func Save(ctx context.Context, repo *repository.Repository, source Source, o Options) (Result, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Result{}, err
	}
	result, err := save(ctx, repo, source, o)
	if errors.Is(err, repository.ErrPruned) && !o.Fresh && ctx.Err() == nil {
		o.Fresh = true
		result, err = save(ctx, repo, source, o)
	}
	return result, err
}

func (o Options) withDefaults() (Options, error) {
	if o.Host == "" {
		host, err := os.Hostname()
		if err != nil {
			return o, fmt.Errorf("backup: the name of this machine: %w", err)
		}
		o.Host = host
	}
	if o.Username == "" {
		if me, err := user.Current(); err == nil {
			o.Username = me.Username
		}
	}
	if o.Progress == nil {
		o.Progress = &Progress{}
	}
	return o, nil
}

func save(ctx context.Context, repo *repository.Repository, source Source, o Options) (r Result, err error) {
	begin := time.Now()
	w, err := repo.NewWriter(ctx, o.Writer)
	if err != nil {
		return r, err
	}
	defer func() {
		if cerr := w.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("release the repository: %w", cerr)
		}
	}()
	var mu sync.Mutex
	o.Progress.Begin() // whoever gave it may know how much there is
	saved, err := source.Save(ctx, Target{
		Repository: repo, Writer: w, Fresh: o.Fresh, Progress: o.Progress,
		Parent: func(ctx context.Context) (*repository.Snapshot, error) { return findParent(ctx, repo, source, o) },
		Report: func(p Problem) {
			mu.Lock()
			defer mu.Unlock()
			if p.Severity == Missing {
				r.Missing++
			}
			if o.Report != nil {
				o.Report(p)
			}
		},
	})
	if err != nil {
		return r, err
	}
	r.Tree, r.Files, r.Bytes = saved.Tree, int64(saved.Summary.TotalFilesProcessed), int64(saved.Summary.TotalBytesProcessed)
	if !saved.Parent.IsZero() {
		if r.Parent, err = repo.LoadSnapshot(ctx, saved.Parent); err != nil {
			return r, fmt.Errorf("load the parent: %w", err)
		}
	}
	unchanged := r.Parent != nil && r.Parent.Tree != nil && *r.Parent.Tree == saved.Tree
	if o.SkipUnchanged && unchanged {
		r.Stats = w.Stats()
		return r, nil
	}
	err = announce(ctx, w, source, o, begin, saved, &r)
	return r, err
}

// announce makes the snapshot.
func announce(ctx context.Context, w *repository.Writer, source Source, o Options, begin time.Time, saved Saved, r *Result) error {
	if err := w.Flush(ctx); err != nil {
		return err
	}
	s := &repository.Snapshot{
		Time: o.Time, Tree: &saved.Tree, Paths: source.Paths(), Hostname: o.Host, Username: o.Username,
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Excludes: o.Excludes, Tags: slices.Clone(o.Tags), ProgramVersion: o.Program,
	}
	if t, ok := source.(Tagger); ok {
		s.Tags = append(s.Tags, t.Tags()...)
	}
	if s.Time.IsZero() {
		s.Time = begin
	}
	if r.Parent != nil {
		id := r.Parent.ID()
		s.Parent = &id
	}
	r.Stats = w.Stats()
	summary := saved.Summary
	summary.BackupStart, summary.BackupEnd = begin, time.Now()
	for _, kind := range []repository.BlobKind{repository.DataBlob, repository.TreeBlob} {
		summary.DataAdded += r.Stats.NewBytes[kind]
		summary.DataAddedPacked += r.Stats.StoredBytes[kind]
	}
	summary.DataBlobs, summary.TreeBlobs = int(r.Stats.NewBlobs[repository.DataBlob]), int(r.Stats.NewBlobs[repository.TreeBlob])
	s.Summary = &summary
	if _, err := w.SaveSnapshot(ctx, s); err != nil {
		return err
	}
	r.Snapshot = s
	r.Notices = o.Canary.Compare(s, r.Parent)
	if c, ok := source.(Committer); ok {
		r.Kept = c.Committed(ctx, s)
	}
	return nil
}

// findParent finds the snapshot to compare with.
func findParent(ctx context.Context, repo *repository.Repository, source Source, o Options) (*repository.Snapshot, error) {
	if o.Parent != "" {
		return repo.FindSnapshot(ctx, o.Parent, repository.SnapshotFilter{})
	}
	snapshots, err := repo.Snapshots(ctx)
	if err != nil && len(snapshots) == 0 {
		return nil, err // one that cannot be read is no reason not to save
	}
	paths := source.Paths()
	for _, s := range slices.Backward(snapshots) {
		if s.Hostname == o.Host && slices.Equal(slices.Sorted(slices.Values(s.Paths)), paths) && (o.Time.IsZero() || !s.Time.After(o.Time)) {
			return s, nil
		}
	}
	return nil, nil
}
