package trivet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/drill"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/systems/sqlite"
)

// drillJob is the name of the job of a drill, and of what the control API starts.
func drillJob(name config.Name) string { return "drill:" + string(name) }

// drillCount is what drills came to, since the process began and before.
type drillCount struct {
	last           drill.Result
	lastPassed     time.Time
	passed, failed uint64 // since the process began
}

// planDrill adds the job of a drill. It reads the repository while others write to it.
func (b *Backups) planDrill(p *backupPlans, spec *config.Drill) error {
	when, err := scheduleOf(spec.Every, spec.Schedule, spec.Jitter)
	if err != nil {
		return err
	}
	d := p.databases[spec.Restore]
	if d == nil {
		return fmt.Errorf("there is no database %s", spec.Restore)
	}
	settings := *spec
	p.jobs = append(p.jobs, backup.Job{
		Name: drillJob(spec.Name), Uses: []string{"drills"}, When: when, SkipMissed: spec.Missed == config.MissedSkip,
		Do: func(ctx context.Context, _ *backup.Progress) (backup.Outcome, error) {
			return b.drill(ctx, &settings, d)
		},
	})
	return nil
}

// drill does a drill and keeps what came of it.
func (b *Backups) drill(ctx context.Context, spec *config.Drill, d *database) (backup.Outcome, error) {
	repo, closeIt, err := d.vault.open(ctx)
	if err != nil {
		return backup.Outcome{}, err
	}
	defer closeIt()
	lock, err := repo.Lock(ctx, repository.Shared)
	if err != nil {
		return backup.Outcome{}, err
	}
	defer func() { _ = lock.Unlock() }()
	ctx = lock.Context()
	log, err := stream.Open(repo, string(d.spec.Name))
	if err != nil {
		return backup.Outcome{}, err
	}
	r := drill.Run(ctx, drill.Config{
		Name: string(spec.Name), Of: string(d.spec.Name), Subject: sqlite.Subject{Repository: repo, Log: log},
		Random: spec.Point == config.DrillRandom, Checks: spec.Check, Scratch: string(spec.Scratch), MaxBytes: int64(spec.MaxSize),
		Timeout: spec.Timeout, RecoveryTime: spec.RecoveryTime, RecoveryPoint: spec.RecoveryPoint,
	})
	if ctx.Err() != nil {
		return backup.Outcome{}, context.Cause(ctx)
	}
	b.keepDrill(ctx, &r)
	o := backup.Outcome{Text: r.Text(), Bytes: r.Bytes}
	if !r.Passed() {
		return o, errors.New(r.Error)
	}
	return o, nil
}

// keepDrill counts a result and keeps it over restarts, if there is a state file.
func (b *Backups) keepDrill(ctx context.Context, r *drill.Result) {
	b.mu.Lock()
	c := b.drills[r.Drill]
	if c == nil {
		c = &drillCount{}
		b.drills[r.Drill] = c
	}
	c.last = *r
	if r.Passed() {
		c.lastPassed = r.Began
		c.passed++
	} else {
		c.failed++
	}
	b.mu.Unlock()
	if b.drillHistory == nil {
		return
	}
	if err := b.drillHistory.Add(context.WithoutCancel(ctx), *r); err != nil {
		b.log.Error("the result of a drill is not kept", "drill", r.Drill, "error", err)
	}
}

// drillStatus is what is known of the drills that have run.
func (b *Backups) drillStatus() (out []drillCount) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.file.Drills {
		if c := b.drills[string(b.file.Drills[i].Name)]; c != nil {
			out = append(out, *c)
		}
	}
	return out
}

// Drills returns what came of a drill, or of all if the name is empty, since a time; the oldest first. Without a state file only the
// last result of each is known.
func (b *Backups) Drills(ctx context.Context, name string, since time.Time) ([]drill.Result, error) {
	if b.drillHistory != nil {
		return b.drillHistory.List(ctx, name, since)
	}
	var out []drill.Result
	for _, c := range b.drillStatus() {
		if (name == "" || c.last.Drill == name) && !c.last.Began.Before(since) {
			out = append(out, c.last)
		}
	}
	return out, nil
}

// tellDrill makes events of what happens to a drill.
func tellDrill(e *backup.Event, publish func(k events.Kind, evidence, action string)) {
	switch e.What {
	case backup.JobSucceeded:
		publish(events.DrillPassed, e.State.Outcome.Text, "")
	case backup.JobFailed, backup.JobLost:
		publish(events.DrillFailed, errorText(e.Err), "is tried again")
		if e.NowOverdue {
			publish(events.DrillOverdue, lastText(&e.State), "")
		}
	}
}

// drillOf is the drill of a job; false if it is of none.
func drillOf(job string) (string, bool) { return strings.CutPrefix(job, "drill:") }
