package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/retention"
)

// Opener opens a repository for one job, and closes it.
type Opener func(context.Context) (repo *repository.Repository, closeIt func(), err error)

// Plan is a backup that is made again and again.
type Plan struct {
	Name string
	// Source builds what is saved, anew for each run: lists of exceptions may have changed.
	Source func() (Source, error)
	When   Schedule
	// SkipMissed is Job's.
	SkipMissed bool
	// Before and After run around the backup.
	Before, After Hook
	Options       Options
	// Keep says which of this plan's snapshots stay after each backup; all when empty. After an unusual backup all
	// stay: a person should look first.
	Keep retention.Policy
}

// PlanTag is the tag of the snapshots of a plan.
func PlanTag(name string) string { return "plan:" + name }

// RepositoryUse is how a job says that it uses a repository.
func RepositoryUse(name string) string { return "repository " + name }

// Job is the plan for one repository. The plan's name becomes a tag of its snapshots. Jobs of one plan never run at the
// same time: their hooks would meet.
func (p Plan) Job(repositoryName string, open Opener) Job {
	p.Options.Tags = append(slices.Clone(p.Options.Tags), PlanTag(p.Name))
	return Job{
		Name: p.Name + "@" + repositoryName, Uses: []string{RepositoryUse(repositoryName), "backup " + p.Name}, When: p.When, SkipMissed: p.SkipMissed,
		Last: func(ctx context.Context) (last time.Time, err error) {
			err = with(ctx, open, func(repo *repository.Repository) error {
				last, err = p.last(ctx, repo)
				return err
			})
			return last, err
		},
		Do: func(ctx context.Context, progress *Progress) (o Outcome, err error) {
			p := p
			p.Options.Progress = progress
			err = with(ctx, open, func(repo *repository.Repository) error {
				o, err = p.run(ctx, repo)
				return err
			})
			return o, err
		},
	}
}

func with(ctx context.Context, open Opener, do func(*repository.Repository) error) error {
	repo, closeIt, err := open(ctx)
	if err != nil {
		return err
	}
	defer closeIt()
	return do(repo)
}

// last is the time of the plan's newest snapshot of this machine.
func (p *Plan) last(ctx context.Context, repo *repository.Repository) (time.Time, error) {
	host := p.Options.Host
	if host == "" {
		var err error
		if host, err = os.Hostname(); err != nil {
			return time.Time{}, err
		}
	}
	s, err := repo.FindSnapshot(ctx, "latest", repository.SnapshotFilter{Hosts: []string{host}, Tags: [][]string{{PlanTag(p.Name)}}})
	switch {
	case errors.Is(err, repository.ErrNoSnapshot):
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, err
	}
	return s.Time, nil
}

func (p *Plan) run(ctx context.Context, repo *repository.Repository) (Outcome, error) {
	source, err := p.Source()
	if err != nil {
		return Outcome{}, err
	}
	r, err := Between(ctx, p.Before, p.After, func(ctx context.Context) (Result, error) {
		return Save(ctx, repo, source, p.Options)
	})
	if err != nil {
		return Outcome{}, err
	}
	o := outcomeOf(&r)
	if p.Keep.Empty() || r.Snapshot == nil || len(r.Notices) > 0 {
		return o, nil
	}
	filter := repository.SnapshotFilter{Hosts: []string{r.Snapshot.Hostname}, Tags: [][]string{{PlanTag(p.Name)}}}
	removed, err := Forget(ctx, repo, filter, p.Keep, time.Now())
	if err != nil {
		return o, fmt.Errorf("snapshot %s is saved, but old ones are not forgotten: %w", r.Snapshot.ID().Short(), err)
	}
	if len(removed) > 0 {
		o.Text += fmt.Sprintf("; %d old snapshots forgotten", len(removed))
	}
	return o, nil
}

func outcomeOf(r *Result) Outcome {
	o := Outcome{Partial: r.Missing > 0, Missing: r.Missing, Notices: r.Notices, Text: "nothing changed", Files: r.Files, Bytes: r.Bytes}
	for kind, n := range r.Stats.NewBytes {
		o.Added += int64(n)
		o.Stored += int64(r.Stats.StoredBytes[kind])
	}
	if r.Snapshot != nil {
		o.Snapshot = r.Snapshot.ID().String()
		o.Text = fmt.Sprintf("snapshot %s: %d files, %d bytes, %d new, %d stored", r.Snapshot.ID().Short(), o.Files, o.Bytes, o.Added, o.Stored)
	}
	if r.Missing > 0 {
		o.Text += fmt.Sprintf("; %d things could not be saved", r.Missing)
	}
	for _, n := range r.Notices {
		o.Text += fmt.Sprintf("; unusual (%s): %s", n.Kind, n.Text)
	}
	return o
}

// Forget removes the snapshots that the filter selects and the policy does not keep, all taken as one group.
func Forget(ctx context.Context, repo *repository.Repository, filter repository.SnapshotFilter, keep retention.Policy, now time.Time) ([]*repository.Snapshot, error) {
	all, err := repo.Snapshots(ctx)
	if err != nil {
		return nil, err // one that cannot be read might be the one to keep
	}
	list := slices.DeleteFunc(all, func(s *repository.Snapshot) bool { return !filter.Match(s) })
	known := make([]retention.Snapshot, len(list))
	for i, s := range list {
		known[i] = retention.Snapshot{Time: s.Time.In(time.Local), Hostname: s.Hostname, Paths: s.Paths, Tags: s.Tags}
	}
	var doomed []*repository.Snapshot
	for i, d := range retention.Apply(keep, known, now) {
		if !d.Keep {
			doomed = append(doomed, list[i])
		}
	}
	if len(doomed) == 0 {
		return nil, nil
	}
	return doomed, repo.RemoveSnapshots(ctx, doomed)
}
