package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

// Recovery says what is brought back, and where to. Repository, Name and Directory are needed.
type Recovery struct {
	Repository *repository.Repository
	// Name is the cluster's, as its Source had it.
	Name string
	// Log is what its Streamer wrote. Without one, a base backup is all there is, and Target must be the zero value.
	Log *stream.Log
	// Target is what to go back to: the end of the log if zero.
	Target stream.Target
	// RestorePoint is a name given by pg_create_restore_point, instead of a Target. Of several, the newest counts.
	RestorePoint string
	// Timeline chooses a history that ends on this timeline: the newest if 0.
	Timeline wal.Timeline
	// Directory becomes the data directory. It must be empty, or not there.
	Directory string
	// Tablespaces says where each goes, by its OID; Directory with "-tablespaces/<oid>" behind it if it does not.
	Tablespaces map[uint32]string
	// Programs is the folder of the engine that will run on it. If set, its version is checked.
	Programs string
	// RestoreCommand, if set, becomes PostgreSQL's restore_command, and must fetch the log that is needed, as Fetch does.
	// Otherwise the log is put in place.
	RestoreCommand string
	// Workers is the number of goroutines; one per core if 0.
	Workers  int
	Progress *backup.Progress
	// Report hears of what could not be restored as it was.
	Report func(backup.Problem)
}

// Errors of Plan: each says what to do about it, and nothing was touched.
var (
	// ErrNotEmpty: there is something in the target.
	ErrNotEmpty = errors.New("the target is not empty")
	// ErrRunning: a server runs on the target.
	ErrRunning = errors.New("a server runs on the target: stop it first")
	// ErrNoBase: no base backup leads to the target.
	ErrNoBase = errors.New("no base backup leads there")
	// ErrNoSpace: the target's disk is too small.
	ErrNoSpace = errors.New("the disk of the target is too small")
	// ErrWrongVersion: the engine cannot run what is brought back.
	ErrWrongVersion = errors.New("the engine has another major version")
)

// Plan is a Recovery that can be done.
type Plan struct {
	Base *Base
	// Position is where replay ends: the end of the last record that is replayed.
	Position wal.Position
	Timeline wal.Timeline
	// Last is the last transaction that will be there, Next the first that will not; each zero if the log has none, or
	// there is no log. Through is the time up to which the cluster is known to have had nothing else.
	Last, Next stream.Commit
	Through    time.Time
	// LogBytes is how much of the log is replayed.
	LogBytes int64

	recovery Recovery
	view     *stream.View
	older    []leg // before the base's
	legs     []leg // from the base's to the target's, which ends at Position
	ownLog   bool  // the base brings its part of the log
}

// Plan finds what to do, and whether it can be done. It changes nothing.
func (r Recovery) Plan(ctx context.Context) (*Plan, error) {
	p, err := r.plan(ctx)
	if err != nil {
		return nil, fmt.Errorf("recover %s: %w", r.Name, err)
	}
	return p, nil
}

func (r Recovery) plan(ctx context.Context) (*Plan, error) {
	if r.Repository == nil || r.Name == "" || r.Directory == "" {
		return nil, errors.New("a repository, a name and a directory are needed")
	}
	if r.Report == nil {
		r.Report = func(backup.Problem) {}
	}
	if err := emptyTarget(r.Directory); err != nil {
		return nil, err
	}
	bases, err := Bases(ctx, r.Repository, r.Name)
	if len(bases) == 0 {
		return nil, errors.Join(fmt.Errorf("%w: there is none at all", ErrNoBase), err)
	}
	p := &Plan{recovery: r}
	if r.Log == nil {
		err = p.withoutLog(bases)
	} else {
		err = p.find(ctx, bases)
	}
	if err != nil {
		return nil, err
	}
	return p, p.check()
}

// withoutLog takes the newest base that needs none.
func (p *Plan) withoutLog(bases []*Base) error {
	r := &p.recovery
	if r.RestorePoint != "" || r.Target != stream.Latest() {
		return errors.New("there is no log to go to a point in time with")
	}
	for i := len(bases) - 1; i >= 0; i-- {
		if b := bases[i]; b.WithWAL {
			p.Base, p.Position, p.Timeline, p.ownLog, p.Through = b, b.End, b.Timeline, true, b.Began
			p.LogBytes = int64(b.End - b.Start)
			return nil
		}
	}
	return fmt.Errorf("%w: each needs a log, and there is none", ErrNoBase)
}

// check looks at the target.
func (p *Plan) check() error {
	r := &p.recovery
	if r.Programs != "" {
		if n := programsMajor(r.Programs); n != p.Base.Major() {
			return fmt.Errorf("%w: %s has %d, the backup is of %d", ErrWrongVersion, r.Programs, n, p.Base.Major())
		}
	}
	for _, t := range p.Base.Tablespaces {
		if err := emptyTarget(p.tablespace(t.OID)); err != nil {
			return fmt.Errorf("tablespace %d: %w", t.OID, err)
		}
	}
	need := p.Base.Bytes + p.LogBytes + 2*int64(p.Base.Segments)
	if r.RestoreCommand != "" {
		need -= p.LogBytes
	}
	free, err := freeBytes(r.Directory)
	if err != nil {
		return err
	}
	if need > free {
		return fmt.Errorf("%w: %d MiB are needed, %d are free at %s", ErrNoSpace, need>>20, free>>20, r.Directory)
	}
	return nil
}

// tablespace is where a tablespace goes.
func (p *Plan) tablespace(oid uint32) string {
	if dir := p.recovery.Tablespaces[oid]; dir != "" {
		return dir
	}
	return filepath.Join(filepath.Clean(p.recovery.Directory)+"-tablespaces", fmt.Sprint(oid))
}

// emptyTarget makes sure that nothing is overwritten.
func emptyTarget(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return nil
	}
	if text, err := os.ReadFile(filepath.Join(dir, "postmaster.pid")); err == nil {
		pid, _, _ := strings.Cut(string(text), "\n")
		if _, err := os.Stat("/proc/" + strings.TrimSpace(pid)); err == nil {
			return fmt.Errorf("%s: %w (process %s)", dir, ErrRunning, strings.TrimSpace(pid))
		}
	}
	return fmt.Errorf("%s: %w: name another, or move what is there out of the way", dir, ErrNotEmpty)
}

// freeBytes is what an ordinary user may still write at a path that need not be there.
func freeBytes(path string) (int64, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return 0, err
	}
	for {
		var st syscall.Statfs_t
		err := syscall.Statfs(path, &st)
		if err == nil {
			return int64(st.Bavail) * st.Bsize, nil
		}
		if !errors.Is(err, os.ErrNotExist) || path == "/" {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		path = filepath.Dir(path)
	}
}

// String is the plan for people, several lines.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "base      %s of %s, %d MiB, PostgreSQL %d, timeline %d\n", p.Base.Snapshot.ID().Short(),
		p.Base.Ended.Local().Format(time.DateTime), p.Base.Bytes>>20, p.Base.Major(), p.Base.Timeline)
	fmt.Fprintf(&b, "log       %d MiB, from %v to %v on timeline %d\n", p.LogBytes>>20, p.Base.Start, p.Position, p.Timeline)
	fmt.Fprintf(&b, "last      %s\n", commitText(p.Last))
	if !p.Next.IsZero() {
		fmt.Fprintf(&b, "left out  %s, and all after it\n", commitText(p.Next))
	}
	fmt.Fprintf(&b, "target    %s\n", p.recovery.Directory)
	for _, t := range p.Base.Tablespaces {
		fmt.Fprintf(&b, "          tablespace %d (was %s): %s\n", t.OID, t.Location, p.tablespace(t.OID))
	}
	return b.String()
}

func commitText(c stream.Commit) string {
	if c.IsZero() {
		return "the transactions of the base backup"
	}
	return fmt.Sprintf("transaction %d, committed %s", c.ID, c.Time.Local().Format("2006-01-02 15:04:05.000000 MST"))
}
