package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files/scan"
	"github.com/trivet-ha/trivet/systems/files/state"
)

// job is one Save.
type job struct {
	source *Source
	config Config
	target backup.Target
	ctx    context.Context
	cancel context.CancelCauseFunc
	state  *state.File
	stack  *stack
	root   *directory
	parent repository.ID // what is compared with; zero for nothing
	counts counts

	mu   sync.Mutex
	open map[*directory]struct{} // with an open file, to be closed when the job fails

	stateOnce sync.Once
}

// task is a piece of work for one worker.
type task struct {
	dir      *directory
	kind     taskKind
	from, to int32 // positions in dir.toRead
	big      *bigFile
}

type taskKind uint8

const (
	visitDirectory taskKind = iota
	readFiles
	readBig
)

// counts is the summary in the making.
type counts struct {
	filesNew, filesChanged, filesUnmodified atomic.Uint64
	dirsNew, dirsChanged, dirsUnmodified    atomic.Uint64
	files, bytes                            atomic.Uint64
}

func (s *Source) newJob(ctx context.Context, t backup.Target) (*job, error) {
	if !slices.ContainsFunc(s.config.Paths, exists) {
		return nil, fmt.Errorf("files: none of the paths exists: %s", strings.Join(s.config.Paths, ", "))
	}
	root, err := newPlaces(s.config.Paths)
	if err != nil {
		return nil, err
	}
	j := &job{source: s, config: s.config, target: t, stack: newStack(), open: make(map[*directory]struct{})}
	id := s.identity(t.Repository)
	j.state, err = state.Open(s.statePath(t.Repository, id), id)
	if err != nil {
		j.report(backup.Note, "", fmt.Errorf("nothing is kept for the next backup: %w", err))
	}
	j.root = &directory{place: root, fd: -1}
	if err := j.chooseKnown(ctx); err != nil {
		return nil, errors.Join(err, j.state.Close())
	}
	j.ctx, j.cancel = context.WithCancelCause(ctx)
	return j, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// chooseKnown decides what the present state is compared with: the state file, if the snapshot that it is of is still there,
// or else the trees of the parent.
func (j *job) chooseKnown(ctx context.Context) error {
	if j.target.Fresh {
		j.state.Forget()
		return nil
	}
	if j.state.Root() != 0 {
		there, err := j.target.Repository.HasSnapshot(ctx, repository.ID(j.state.Snapshot()))
		if err != nil {
			return fmt.Errorf("look for the last snapshot: %w", err)
		}
		if there {
			j.root.known = before{ref: j.state.Root()}
			j.parent = repository.ID(j.state.Snapshot())
			return nil
		}
	}
	if j.target.Parent == nil {
		j.state.Forget()
		return nil
	}
	parent, err := j.target.Parent(ctx)
	if err != nil {
		return fmt.Errorf("look for the last snapshot: %w", err)
	}
	if parent == nil || parent.Tree == nil {
		j.state.Forget()
		return nil
	}
	j.parent = parent.ID()
	if j.state.Root() != 0 && *parent.Tree == repository.ID(j.state.Tree()) {
		j.root.known = before{ref: j.state.Root()} // the same tree under another name: the snapshot was given tags
		return nil
	}
	j.state.Forget()
	j.root.known = before{tree: *parent.Tree}
	return nil
}

// run walks and saves, and returns when all goroutines have ended.
func (j *job) run() (backup.Saved, error) {
	stop := context.AfterFunc(j.ctx, j.stack.end)
	defer stop()
	j.root.pending.Store(1)
	j.stack.push(task{dir: j.root, kind: visitDirectory})
	var wg sync.WaitGroup
	for range j.config.Workers {
		wg.Go(newWorker(j).run)
	}
	wg.Wait()
	if err := context.Cause(j.ctx); err != nil {
		j.closeAll()
		return backup.Saved{}, err
	}
	if j.root.tree.IsZero() {
		return backup.Saved{}, errors.New("files: none of the paths could be saved")
	}
	return backup.Saved{Tree: j.root.tree, Parent: j.parent, Summary: j.counts.summary()}, nil
}

// fail ends the job.
func (j *job) fail(err error) { j.cancel(err) }

func (j *job) close() {
	if j.cancel != nil {
		j.cancel(errors.New("files: the job is over"))
	}
	_ = j.state.Close() // what was to be kept was kept by Commit
}

func (j *job) opened(d *directory) {
	j.mu.Lock()
	j.open[d] = struct{}{}
	j.mu.Unlock()
}

// release drops one use of the directory's file.
func (j *job) release(d *directory) {
	if d.users.Add(-1) != 0 || d.fd < 0 {
		return
	}
	unix.Close(d.fd)
	d.fd = -1
	j.mu.Lock()
	delete(j.open, d)
	j.mu.Unlock()
}

// closeAll closes what a failed job has left open. No worker runs any more.
func (j *job) closeAll() {
	for d := range j.open {
		unix.Close(d.fd)
	}
	clear(j.open)
	for _, t := range j.stack.tasks {
		if t.kind == readBig {
			unix.Close(t.big.fd)
		}
	}
}

func (j *job) report(s backup.Severity, path string, err error) {
	if s == backup.Missing {
		j.target.Progress.Problem()
	}
	if j.target.Report != nil {
		j.target.Report(backup.Problem{Severity: s, Path: path, Err: err})
	}
}

// stateFailed reports, once, that the state cannot be written: the next backup will be slower, no more.
func (j *job) stateFailed(err error) {
	j.stateOnce.Do(func() { j.report(backup.Note, "", fmt.Errorf("not all is kept for the next backup: %w", err)) })
}

func (c *counts) file(seen, same bool, bytes int64) {
	switch {
	case same:
		c.filesUnmodified.Add(1)
	case seen:
		c.filesChanged.Add(1)
	default:
		c.filesNew.Add(1)
	}
	c.files.Add(1)
	c.bytes.Add(uint64(bytes))
}

func (c *counts) summary() repository.Summary {
	return repository.Summary{
		FilesNew: uint(c.filesNew.Load()), FilesChanged: uint(c.filesChanged.Load()), FilesUnmodified: uint(c.filesUnmodified.Load()),
		DirsNew: uint(c.dirsNew.Load()), DirsChanged: uint(c.dirsChanged.Load()), DirsUnmodified: uint(c.dirsUnmodified.Load()),
		TotalFilesProcessed: uint(c.files.Load()), TotalBytesProcessed: c.bytes.Load(),
	}
}

// worker is one goroutine of a job, with all that it uses again and again.
type worker struct {
	j       *job
	session *repository.Session
	scan    scan.Reader
	xattrs  xattrReader
	names   *names
	tree    *repository.TreeBuilder
	record  state.Builder
	known   state.Dir
	loaded  *directory // whose record is in known
	buf     []byte     // of readBufferBytes, from the first file on
	shown   time.Time
}

func newWorker(j *job) *worker {
	return &worker{j: j, session: j.target.Writer.Session(), names: newNames(), tree: repository.NewTreeBuilder()}
}

func (w *worker) run() {
	for {
		t, ok := w.j.stack.pop()
		if !ok {
			return
		}
		if err := w.do(t); err != nil {
			w.j.fail(err)
		}
		w.j.stack.done()
	}
}

func (w *worker) do(t task) error {
	switch t.kind {
	case readFiles:
		return w.readFiles(t)
	case readBig:
		return w.readBig(t.big)
	}
	return w.visit(t.dir)
}
