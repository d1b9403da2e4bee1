package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files"
	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

// Recovered is what Plan.Run did.
type Recovered struct {
	*Plan
	Bytes    int64 // of the files of the base
	LogFiles int   // that were put in place
	Took     time.Duration
}

// Run restores the base and gets ready what PostgreSQL replays: started on Directory, it recovers up to the plan's position,
// and begins a timeline of its own there. Nothing is started. If Run fails, what it made is left for inspection; it is no
// database that a server would start on.
func (p *Plan) Run(ctx context.Context) (Recovered, error) {
	began := time.Now()
	out := Recovered{Plan: p}
	err := p.run(ctx, &out)
	out.Took = time.Since(began)
	if err != nil {
		return out, fmt.Errorf("recover %s: %w", p.recovery.Name, err)
	}
	return out, nil
}

func (p *Plan) run(ctx context.Context, out *Recovered) error {
	if err := emptyTarget(p.recovery.Directory); err != nil {
		return err // it may have filled since the plan was made
	}
	own, err := p.restore(ctx, out)
	if err != nil {
		return err
	}
	if err := p.linkTablespaces(own); err != nil {
		return err
	}
	if err := p.placeLog(ctx, own, out); err != nil {
		return err
	}
	if err := p.settings(own); err != nil {
		return err
	}
	return syncAll(p.recovery.Directory)
}

// owner is who a file belongs to.
type owner struct{ uid, gid int }

// restore brings back the base. Without the log, which comes later, a server does not start on it.
func (p *Plan) restore(ctx context.Context, out *Recovered) (owner, error) {
	repo, root := p.recovery.Repository, snapshotPath(p.recovery.Name)
	node, err := repo.Lookup(ctx, *p.Base.Snapshot.Tree, path.Join(root, dataDir))
	if err != nil {
		return owner{}, err
	}
	if err := p.restoreTree(ctx, node, p.recovery.Directory, out); err != nil {
		return owner{}, err
	}
	own := owner{int(node.UID), int(node.GID)}
	if os.Geteuid() != 0 {
		own = owner{os.Geteuid(), os.Getegid()}
	}
	for _, t := range p.Base.Tablespaces {
		node, err := repo.Lookup(ctx, *p.Base.Snapshot.Tree, path.Join(root, tablespacesDir, strconv.FormatUint(uint64(t.OID), 10)))
		if err != nil {
			return own, err
		}
		if err := p.restoreTree(ctx, node, p.tablespace(t.OID), out); err != nil {
			return own, err
		}
		if err := own.take(p.tablespace(t.OID), 0o700); err != nil {
			return own, err
		}
	}
	return own, own.take(p.recovery.Directory, node.Mode.Perm())
}

func (o owner) take(name string, mode os.FileMode) error {
	if err := os.Chmod(name, mode); err != nil {
		return err
	}
	return os.Lchown(name, o.uid, o.gid)
}

func (p *Plan) restoreTree(ctx context.Context, n *repository.Node, dir string, out *Recovered) error {
	missing := error(nil)
	result, err := files.Restore(ctx, p.recovery.Repository, *n.Subtree, files.RestoreOptions{
		Target: dir, Workers: p.recovery.Workers, Progress: p.recovery.Progress,
		Report: func(problem backup.Problem) {
			p.recovery.Report(problem)
			if problem.Severity == backup.Missing && missing == nil {
				missing = problem
			}
		},
	})
	out.Bytes += result.Bytes
	if err == nil {
		err = missing // a database with a file less is none
	}
	return err
}

// linkTablespaces points the links to where the tablespaces are now.
func (p *Plan) linkTablespaces(own owner) error {
	for _, t := range p.Base.Tablespaces {
		link := filepath.Join(p.recovery.Directory, "pg_tblspc", strconv.FormatUint(uint64(t.OID), 10))
		target, err := filepath.Abs(p.tablespace(t.OID))
		if err == nil {
			err = os.Remove(link)
		}
		if err == nil {
			err = os.Symlink(target, link)
		}
		if err == nil {
			err = os.Lchown(link, own.uid, own.gid)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// placeLog puts the log where PostgreSQL looks for it when there is no archive.
func (p *Plan) placeLog(ctx context.Context, own owner, out *Recovered) error {
	dir := filepath.Join(p.recovery.Directory, "pg_wal")
	if err := os.MkdirAll(filepath.Join(dir, "archive_status"), 0o700); err != nil {
		return err
	}
	if p.view == nil {
		return nil // the base brings its own
	}
	from := p.Base.Segments.Begin(p.Base.Start)
	if p.ownLog {
		from = p.Base.Segments.Begin(p.Base.End-1) + wal.Position(p.Base.Segments)
	} else if err := removeSegments(dir); err != nil { // it may go further than the target
		return err
	}
	if text := historyText(p.Base.History, p.legs); len(text) > 0 {
		name := filepath.Join(dir, wal.HistoryName(p.Timeline))
		if err := own.write(name, text, os.O_CREATE|os.O_TRUNC); err != nil {
			return err
		}
	}
	if p.recovery.RestoreCommand != "" {
		return nil
	}
	list := segmentFiles(p.path(), p.Base.Segments, from, p.Position)
	out.LogFiles = len(list)
	return p.writeSegments(ctx, dir, own, list)
}

func removeSegments(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// runSegments is how many files in a row one goroutine writes: objects of the log that lie across the border of two runs are
// read twice.
const runSegments = 16

func (p *Plan) writeSegments(ctx context.Context, dir string, own owner, list []segmentFile) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := p.recovery.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	runs := make(chan []segmentFile)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for run := range runs {
				if err := p.writeRun(ctx, dir, own, run); err != nil {
					cancel(err)
				}
			}
		})
	}
	for len(list) > 0 && ctx.Err() == nil {
		n := min(runSegments, len(list))
		runs <- list[:n]
		list = list[n:]
	}
	close(runs)
	wg.Wait()
	return context.Cause(ctx)
}

// writeRun writes files that follow one another.
func (p *Plan) writeRun(ctx context.Context, dir string, own owner, run []segmentFile) (err error) {
	var f *os.File
	finish := func(s segmentFile) error {
		err := f.Truncate(int64(p.Base.Segments))
		if err == nil {
			err = f.Chown(own.uid, own.gid)
		}
		return errors.Join(err, f.Close())
	}
	i := 0
	err = copyLog(ctx, p.view, p.path(), run[0].begin, run[len(run)-1].end, func(at wal.Position, data []byte) error {
		for len(data) > 0 {
			s := run[i]
			if f == nil {
				if f, err = os.OpenFile(filepath.Join(dir, s.name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
					return err
				}
			}
			n := min(len(data), int(s.end-at))
			if _, err := f.WriteAt(data[:n], int64(at-s.begin)); err != nil {
				return err
			}
			at, data = at+wal.Position(n), data[n:]
			if at == s.end {
				if err := finish(s); err != nil {
					return err
				}
				f, i = nil, i+1
			}
		}
		return nil
	})
	if f != nil {
		err = errors.Join(err, f.Close())
	}
	return err
}

// settings tell PostgreSQL to recover, and how far. The last line of a name counts.
func (p *Plan) settings(own owner) error {
	r := &p.recovery
	command := r.RestoreCommand
	target := ""
	if command == "" {
		command = "false" // there is nothing anywhere else: what is needed is in pg_wal, and ends where recovery should
	} else if !p.Next.IsZero() || p.recovery.RestorePoint != "" {
		target = p.Position.String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n# Recovery by Trivet, %s. The server begins a new timeline when it has come to the end.\n", time.Now().Format(time.RFC3339))
	set := func(name, value string) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''"))
	}
	set("restore_command", command)
	for _, name := range []string{"recovery_target", "recovery_target_name", "recovery_target_time", "recovery_target_xid", "recovery_target_lsn"} {
		set(name, "")
	}
	if target != "" {
		set("recovery_target_lsn", target)
	}
	set("recovery_target_inclusive", "off")
	set("recovery_target_timeline", strconv.FormatUint(uint64(p.Timeline), 10))
	set("recovery_target_action", "promote")
	set("primary_conninfo", "")
	set("primary_slot_name", "")
	dir := r.Directory
	if err := own.write(filepath.Join(dir, "postgresql.auto.conf"), []byte(b.String()), os.O_CREATE|os.O_APPEND); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, "standby.signal")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return own.write(filepath.Join(dir, "recovery.signal"), nil, os.O_CREATE|os.O_TRUNC)
}

func (o owner) write(name string, text []byte, flags int) error {
	f, err := os.OpenFile(name, flags|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chown(o.uid, o.gid)
	}
	return errors.Join(err, f.Close())
}

// syncAll makes the file system of a directory durable.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// String says what was recovered, for people.
func (r Recovered) String() string {
	text := fmt.Sprintf("%d MiB and %d files of the log in %v. Replay ends at %v, with %s.", r.Bytes>>20, r.LogFiles, r.Took.Round(time.Millisecond), r.Position, commitText(r.Last))
	if !r.Next.IsZero() {
		text += fmt.Sprintf(" Left out: %s, and all after it.", commitText(r.Next))
	}
	return text
}
