package trivet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/drill"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/systems/sqlite"
)

// DatabaseRestore is a recovery of a database of the file that was planned and not carried out. Close it.
type DatabaseRestore struct {
	// Plan says from which base, and up to where.
	Plan *stream.Recovery
	// Expected is how long it will take, after what the last drills took; 0 if none has measured it.
	Expected time.Duration

	repo    *repository.Repository
	closeIt func()
	lock    *repository.Lock
}

// PlanDatabaseRestore plans to bring a database of the file back as it was. Nothing is changed, and no node is needed.
func PlanDatabaseRestore(ctx context.Context, cfg Config, name string, to stream.Target) (*DatabaseRestore, error) {
	spec := cfg.File.Database(config.Name(name))
	if spec == nil {
		var names []string
		for _, d := range cfg.File.Databases {
			names = append(names, string(d.Name))
		}
		return nil, fmt.Errorf("there is no database %q in the file; there are: %s", name, strings.Join(names, ", "))
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	repo, closeIt, err := newVault(cfg.File.Repository(spec.Repository), nil, cfg.Log).open(ctx)
	if err != nil {
		return nil, err
	}
	r := &DatabaseRestore{repo: repo, closeIt: closeIt}
	log, err := stream.Open(repo, name)
	if err == nil {
		r.lock, err = repo.Lock(ctx, repository.Shared)
	}
	if err == nil {
		r.Plan, err = log.PlanRecovery(ctx, repo, to)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.Expected = expectedTime(ctx, cfg.File, name, r.Plan.BaseBytes+r.Plan.LogBytes)
	return r, nil
}

// CheckTarget says why the database cannot be restored to a file.
func (r *DatabaseRestore) CheckTarget(target string) error {
	return sqlite.CheckTarget(target, r.Plan.BaseBytes)
}

// Restore carries the plan out: the file appears whole and found sound, or not at all.
func (r *DatabaseRestore) Restore(ctx context.Context, target string, p *backup.Progress) (sqlite.Restored, error) {
	p.Expect(1, r.Plan.BaseBytes+r.Plan.LogBytes)
	restored, err := sqlite.Restore(r.lock.Context(), r.repo, r.Plan, target, p)
	if err == nil {
		p.Done(1, 0)
	}
	return restored, errors.Join(err, context.Cause(ctx))
}

// Close lets the repository go.
func (r *DatabaseRestore) Close() error {
	var err error
	if r.lock != nil {
		err = r.lock.Unlock()
	}
	r.closeIt()
	return err
}

// expectedTime is how long so many bytes take, after the newest drill of a database that has passed.
func expectedTime(ctx context.Context, file *config.Config, database string, bytes int64) time.Duration {
	path, _ := file.State.File()
	if _, err := os.Stat(path); path == "" || err != nil {
		return 0
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: "mode=ro"}).String())
	if err != nil {
		return 0
	}
	defer db.Close()
	results, err := drill.ReadHistory(db).List(ctx, "", time.Time{})
	if err != nil {
		return 0 // no drill has ever run
	}
	var expected time.Duration
	for _, r := range results {
		if r.Of == database && r.Passed() && r.Bytes > 0 {
			expected = time.Duration(float64(r.RecoveryTime) * float64(bytes) / float64(r.Bytes))
		}
	}
	return expected
}
