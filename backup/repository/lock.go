package repository

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

// Locks are files: many shared ones, or one exclusive one. restic design, "Locks". A lock of ours carries one
// more field, which restic ignores: it tells sessions apart across refreshes, and lets prune know that this writer will
// check the index before it commits.
const (
	lockRefresh = 5 * time.Minute
	// lockStale is the age without refresh from which everybody may ignore a lock.
	lockStale = 30 * time.Minute
	// lockAbort is the age at which its holder must stop.
	lockAbort = lockStale * 3 / 4
	// lockSettle is what restic gives a store to show a new lock to others.
	lockSettle = 200 * time.Millisecond
)

// LockMode says who else may work at the same time.
type LockMode uint8

// The modes of a lock.
const (
	Shared    LockMode = iota // other shared locks
	Exclusive                 // nobody
)

// ErrLockLost means that the lock was removed, or could not be refreshed in time. What was going on under it must stop.
var ErrLockLost = errors.New("the repository lock was lost")

// LockInfo is a lock in the repository.
type LockInfo struct {
	ID        ID
	Time      time.Time // of the last refresh
	Exclusive bool
	Hostname  string
	Username  string
	PID       int
	Session   string // "" for a lock of another program
	Err       error  // why the lock can't be read; it counts as an exclusive one then
	purpose   lockPurpose
	boot      string
}

// String describes the holder for people.
func (l LockInfo) String() string {
	if l.Err != nil {
		return fmt.Sprintf("lock %s can't be read: %v", l.ID.Short(), l.Err)
	}
	mode := "shared"
	if l.Exclusive {
		mode = "exclusive"
	}
	return fmt.Sprintf("%s lock %s of %s on %s (process %d, refreshed %s)",
		mode, l.ID.Short(), l.Username, l.Hostname, l.PID, l.Time.Format(time.RFC3339))
}

// LockedError says who holds the repository.
type LockedError struct{ Holder LockInfo }

func (e *LockedError) Error() string { return "the repository is locked: " + e.Holder.String() }

type lockPurpose string

const (
	forReading lockPurpose = "read"
	forWriting lockPurpose = "write"
	forCommit  lockPurpose = "commit" // between checking the index and having saved the snapshot
	forPruning lockPurpose = "prune"
	forSwap    lockPurpose = "swap" // prune replaces index files: exclusive, for moments
)

type lockFile struct {
	Time      time.Time  `json:"time"`
	Exclusive bool       `json:"exclusive"`
	Hostname  string     `json:"hostname"`
	Username  string     `json:"username"`
	PID       int        `json:"pid"`
	UID       uint32     `json:"uid,omitempty"`
	GID       uint32     `json:"gid,omitempty"`
	Trivet    *lockExtra `json:"trivet,omitempty"`
}

type lockExtra struct {
	Session string      `json:"session"`
	Purpose lockPurpose `json:"purpose"`
	// Boot names the running kernel and the namespace of process numbers: a process number says nothing
	// outside them.
	Boot string `json:"boot,omitempty"`
}

// Lock is a lock held by this process. It refreshes itself until Unlock.
type Lock struct {
	r       *Repository
	session string
	mode    LockMode

	ctx    context.Context
	cancel context.CancelCauseFunc
	done   sync.WaitGroup

	settled    chan struct{} // closed when the second look is over
	settledErr error         // set before settled is closed

	mu        sync.Mutex // held over the replacement of the lock file
	file      lockFile
	id        ID
	refreshed time.Time // wall clock, so that it goes on while the machine sleeps
}

// Lock takes a lock, waiting for others up to Options.LockWait. It returns a *LockedError if it can't have it.
// The returned lock's Context ends when ctx does or when the lock is lost.
func (r *Repository) Lock(ctx context.Context, mode LockMode) (*Lock, error) {
	return r.lock(ctx, mode, forReading)
}

func (r *Repository) lock(ctx context.Context, mode LockMode, purpose lockPurpose) (*Lock, error) {
	deadline := time.Now().Add(r.options.LockWait)
	for pause := 500 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		l, err := r.tryLock(ctx, mode, purpose)
		var locked *LockedError
		if !errors.As(err, &locked) {
			return l, err
		}
		wait := deadline
		if locked.Holder.purpose == forSwap && purpose != forSwap {
			// Prune is exchanging index files: that is over in moments.
			wait = time.Now().Add(time.Minute)
			if wait.Before(deadline) {
				wait = deadline
			}
			deadline = wait
		}
		if time.Now().Add(pause).After(wait) {
			return nil, err
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tryLock is one attempt: look, write the lock, look again. On a store that shows new files at once, the
// first of the second looks decides, and is the last for a shared lock if the store says that it is one (store.Prompt). Elsewhere
// restic looks once more after lockSettle, and so do we, but a shared lock lets the work start meanwhile: commit and
// prune wait for that look.
func (r *Repository) tryLock(ctx context.Context, mode LockMode, purpose lockPurpose) (*Lock, error) {
	l := &Lock{r: r, session: rand.Text(), mode: mode, settled: make(chan struct{})}
	l.file = newLockFile(mode, lockExtra{l.session, purpose, bootID()})
	if err := l.conflict(ctx); err != nil {
		return nil, err
	}
	if err := l.write(ctx); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	err := l.conflict(ctx)
	if err == nil && mode == Exclusive {
		if err = sleep(ctx, lockSettle); err == nil {
			err = l.conflict(ctx)
		}
	}
	if err != nil {
		l.remove(ctx)
		return nil, err
	}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.done.Go(l.settle)
	l.done.Go(l.keep)
	return l, nil
}

func newLockFile(mode LockMode, extra lockExtra) lockFile {
	f := lockFile{
		Exclusive: mode == Exclusive, PID: os.Getpid(), UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Trivet: &extra,
	}
	f.Hostname, _ = os.Hostname()
	if u, err := user.Current(); err == nil {
		f.Username = u.Username
	}
	return f
}

// bootID is "" where it can't be told.
var bootID = sync.OnceValue(func() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + ns
})

// write stores a fresh lock file and then removes the one before. l.mu is held, or l is not shared yet.
func (l *Lock) write(ctx context.Context) error {
	now := time.Now()
	f := l.file
	f.Time = now
	id, err := l.r.saveJSON(ctx, store.Lock, f)
	if err != nil {
		return err
	}
	old := l.id
	l.file, l.id, l.refreshed = f, id, now.Round(0)
	if old.IsZero() {
		return nil
	}
	return l.r.store.Remove(ctx, store.Handle{Kind: store.Lock, Name: old.String()})
}

// conflict reports the lock of somebody else that forbids this one.
func (l *Lock) conflict(ctx context.Context) error {
	locks, err := l.r.liveLocks(ctx)
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	l.mu.Lock()
	mine := l.file.Trivet.Purpose
	l.mu.Unlock()
	for _, other := range locks {
		if other.Session != l.session && l.excludes(mine, other) {
			return &LockedError{other}
		}
	}
	return nil
}

func (l *Lock) excludes(mine lockPurpose, other LockInfo) bool {
	switch {
	case mine == forPruning && other.purpose == forPruning:
		return true // one prune at a time
	case mine == forSwap:
		// Sessions of ours check the index before they commit: they may go on. All others may not, nor a
		// commit that is under way.
		return other.Session == "" || other.Exclusive || other.purpose == forCommit
	}
	return l.mode == Exclusive || other.Exclusive
}

// prompt reports whether the look right after a lock was written is enough.
func (r *Repository) prompt() bool {
	p, ok := r.store.(store.Prompt)
	return ok && p.Prompt()
}

// settle takes the last look.
func (l *Lock) settle() {
	defer close(l.settled)
	if l.mode == Exclusive || l.r.prompt() {
		return
	}
	if err := sleep(l.ctx, lockSettle); err != nil {
		l.settledErr = err
		return
	}
	err := l.conflict(l.ctx)
	var locked *LockedError
	if errors.As(err, &locked) && locked.Holder.purpose == forSwap {
		err = nil // it has seen this lock and knows how to live with it
	}
	if err != nil {
		l.settledErr = err
		l.cancel(err)
	}
}

// Settled waits until the lock is known to hold against a store that shows new files late.
func (l *Lock) Settled() error {
	<-l.settled
	return l.settledErr
}

// keep refreshes the lock until Unlock.
func (l *Lock) keep() {
	ticker := time.NewTicker(lockRefresh)
	defer ticker.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-ticker.C:
		}
		if err := l.refresh(); errors.Is(err, ErrLockLost) {
			l.cancel(err)
			return
		}
	}
}

func (l *Lock) refresh() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.aliveLocked(l.ctx); err != nil {
		return err
	}
	return l.write(l.ctx)
}

// alive tells whether the lock still protects.
func (l *Lock) alive(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.aliveLocked(ctx)
}

// fresh is alive without asking the store: nobody ignores the lock for its age.
func (l *Lock) fresh() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.freshLocked()
}

func (l *Lock) freshLocked() error {
	if age := time.Now().Round(0).Sub(l.refreshed); age > lockAbort || age < -lockAbort {
		return fmt.Errorf("%w: not refreshed for %v", ErrLockLost, age.Round(time.Second))
	}
	return nil
}

// aliveLocked tells whether the lock still protects: it is there, and fresh enough that nobody ignores it.
func (l *Lock) aliveLocked(ctx context.Context) error {
	if err := l.freshLocked(); err != nil {
		return err
	}
	_, err := l.r.store.Stat(ctx, store.Handle{Kind: store.Lock, Name: l.id.String()})
	if errors.Is(err, store.ErrNotExist) {
		return fmt.Errorf("%w: somebody removed it", ErrLockLost)
	}
	return err
}

// change rewrites the lock for another purpose, if it still holds.
func (l *Lock) change(ctx context.Context, purpose lockPurpose) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.aliveLocked(ctx); err != nil {
		return err
	}
	extra := *l.file.Trivet
	extra.Purpose = purpose
	l.file.Trivet = &extra
	return l.write(ctx)
}

// Context ends with the context given to Repository.Lock, or with ErrLockLost as its cause.
func (l *Lock) Context() context.Context { return l.ctx }

// Unlock removes the lock. It works after the lock's context has ended, too.
func (l *Lock) Unlock() error {
	l.cancel(context.Canceled)
	l.done.Wait()
	return l.remove(context.WithoutCancel(l.ctx))
}

func (l *Lock) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := l.r.store.Remove(ctx, store.Handle{Kind: store.Lock, Name: l.id.String()}); err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	return nil
}

// Locks lists all locks, stale ones too.
func (r *Repository) Locks(ctx context.Context) ([]LockInfo, error) {
	for {
		locks, moved, err := r.listLocks(ctx)
		if err != nil || !moved {
			return locks, err
		}
	}
}

// listLocks reports moved if a lock vanished between the listing and its reading: its holder may have replaced it by one that
// this listing does not show.
func (r *Repository) listLocks(ctx context.Context) (locks []LockInfo, moved bool, err error) {
	var ids []ID
	err = r.listIDs(ctx, store.Lock, func(id ID, _ int64) error {
		ids = append(ids, id)
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	for _, id := range ids {
		var f lockFile
		err := r.loadJSON(ctx, store.Lock, id, &f)
		if errors.Is(err, store.ErrNotExist) {
			return nil, true, nil
		}
		if isDamage(err) {
			locks = append(locks, LockInfo{ID: id, Exclusive: true, Err: err})
			continue
		}
		if err != nil {
			return nil, false, err
		}
		info := LockInfo{ID: id, Time: f.Time, Exclusive: f.Exclusive, Hostname: f.Hostname, Username: f.Username, PID: f.PID}
		if f.Trivet != nil {
			info.Session, info.purpose, info.boot = f.Trivet.Session, f.Trivet.Purpose, f.Trivet.Boot
		}
		locks = append(locks, info)
	}
	return locks, false, nil
}

// liveLocks lists the locks whose holders may still be at work. Those of dead processes of ours are removed.
func (r *Repository) liveLocks(ctx context.Context) ([]LockInfo, error) {
	locks, err := r.Locks(ctx)
	if err != nil {
		return nil, err
	}
	live := locks[:0]
	for _, l := range locks {
		switch {
		case l.Dead():
			// Nobody else removes it; if we can't, it does no harm.
			_ = r.store.Remove(ctx, store.Handle{Kind: store.Lock, Name: l.ID.String()})
		case !l.Stale(time.Now()):
			live = append(live, l)
		}
	}
	return live, nil
}

// Stale reports whether the lock was not refreshed for so long that its holder must have stopped.
func (l LockInfo) Stale(now time.Time) bool { return l.Err == nil && now.Sub(l.Time) > lockStale }

// Dead reports whether the holder certainly runs no more: it was a process of this kernel and this namespace, and that
// process is gone.
func (l LockInfo) Dead() bool {
	if l.boot == "" || l.boot != bootID() || l.PID == os.Getpid() {
		return false
	}
	return errors.Is(syscall.Kill(l.PID, 0), syscall.ESRCH)
}

// UnlockWhich selects what Repository.Unlock removes.
type UnlockWhich uint8

// What Unlock removes.
const (
	UnlockStale UnlockWhich = iota // of holders that have stopped
	UnlockAll                      // all: only right when nobody works on the repository
)

// Unlock removes locks left behind and returns how many.
func (r *Repository) Unlock(ctx context.Context, which UnlockWhich) (removed int, err error) {
	locks, err := r.Locks(ctx)
	if err != nil {
		return 0, err
	}
	host, _ := os.Hostname()
	for _, l := range locks {
		gone := l.Hostname == host && l.PID != os.Getpid() && errors.Is(syscall.Kill(l.PID, 0), syscall.ESRCH)
		if which != UnlockAll && !gone && !l.Stale(time.Now()) {
			continue
		}
		if err := r.store.Remove(ctx, store.Handle{Kind: store.Lock, Name: l.ID.String()}); err != nil {
			return removed, fmt.Errorf("remove lock %s: %w", l.ID.Short(), err)
		}
		removed++
	}
	return removed, nil
}
