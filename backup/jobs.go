package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/retention"
)

// Opener opens a repository for one job, and closes it.
type Opener func(context.Context) (repo *repository.Repository, closeIt func(), err error)

// Plan is a backup that is made again and again.
type Plan struct {
	Name   string
	Source Source
	When   Schedule
	// Before and After run around the backup.
	Before, After Hook
	Options       Options
	// Keep says which of this plan's snapshots stay after each backup; all when empty.
	Keep retention.Policy
}

// Job is the plan for one repository. The plan's name becomes a tag of its snapshots.
func (p Plan) Job(repositoryName string, open Opener) Job {
	tag := "plan:" + p.Name
	p.Options.Tags = append(slices.Clone(p.Options.Tags), tag)
	return Job{
		Name: p.Name + "@" + repositoryName, Repository: repositoryName, When: p.When,
		Last: func(ctx context.Context) (last time.Time, err error) {
			err = with(ctx, open, func(repo *repository.Repository) error {
				s, err := repo.FindSnapshot(ctx, "latest", repository.SnapshotFilter{Tags: [][]string{{tag}}})
				if errors.Is(err, repository.ErrNoSnapshot) {
					return nil
				}
				if err == nil {
					last = s.Time
				}
				return err
			})
			return last, err
		},
		Do: func(ctx context.Context) (o Outcome, err error) {
			err = with(ctx, open, func(repo *repository.Repository) error {
				o, err = p.run(ctx, repo, tag)
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

func (p Plan) run(ctx context.Context, repo *repository.Repository, tag string) (Outcome, error) {
	r, err := Between(ctx, p.Before, p.After, func(ctx context.Context) (Result, error) {
		return Save(ctx, repo, p.Source, p.Options)
	})
	if err != nil {
		return Outcome{}, err
	}
	o := Outcome{Partial: r.Missing > 0, Text: "nothing changed"}
	if r.Snapshot != nil {
		s := r.Snapshot.Summary
		o.Text = fmt.Sprintf("snapshot %s: %d files, %d bytes, %d new", r.Snapshot.ID().Short(), s.TotalFilesProcessed, s.TotalBytesProcessed, s.DataAdded)
	}
	if r.Missing > 0 {
		o.Text += fmt.Sprintf("; %d things could not be saved", r.Missing)
	}
	for _, n := range r.Notices {
		o.Text += fmt.Sprintf("; unusual (%s): %s", n.Kind, n.Text)
	}
	if p.Keep.Empty() || r.Snapshot == nil {
		return o, nil
	}
	removed, err := Forget(ctx, repo, repository.SnapshotFilter{Hosts: []string{r.Snapshot.Hostname}, Tags: [][]string{{tag}}}, p.Keep, time.Now())
	if err != nil {
		return o, fmt.Errorf("forget old snapshots: %w", err)
	}
	if len(removed) > 0 {
		o.Text += fmt.Sprintf("; %d old snapshots forgotten", len(removed))
	}
	return o, nil
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

// PruneJob removes what no snapshot needs.
func PruneJob(repositoryName string, open Opener, when Schedule, options repository.PruneOptions) Job {
	return upkeep("prune", repositoryName, open, when, func(ctx context.Context, repo *repository.Repository) (Outcome, error) {
		r, err := repo.Prune(ctx, options)
		return Outcome{Text: fmt.Sprintf("%d packs copied, %d condemned, %d deleted (%d bytes)", r.RepackedPacks, r.CondemnedPacks, r.DeletedPacks, r.DeletedBytes)}, err
	})
}

// ScrubJob checks the structure, and reads another part of the data each time: all of it in so many runs.
func ScrubJob(repositoryName string, open Opener, when Schedule, parts uint) Job {
	return upkeep("scrub", repositoryName, open, when, func(ctx context.Context, repo *repository.Repository) (Outcome, error) {
		var turn struct{ Part, Of uint }
		memory := rememberedIn(repo, "scrub-turn")
		memory.load(&turn)
		turn.Part = turn.Part%max(parts, 1) + 1
		if turn.Of != parts {
			turn.Part, turn.Of = 1, parts
		}
		options := repository.CheckOptions{}
		if parts > 0 {
			options.Data = repository.Share{Part: turn.Part, Of: parts}
		}
		var first error
		s, err := repo.Check(ctx, options, func(p repository.Problem) {
			if first == nil && !p.Harmless() {
				first = p
			}
		})
		if err == nil && s.Problems > 0 {
			err = fmt.Errorf("%d problems found; the first: %w", s.Problems, first)
		}
		if err == nil {
			memory.save(turn)
		}
		return Outcome{Text: fmt.Sprintf("%d snapshots, %d packs checked, %d read (%d bytes)", s.Snapshots, s.Packs, s.PacksRead, s.BytesRead)}, err
	})
}

// upkeep is a job whose last time is remembered beside the repository's cache.
func upkeep(what, repositoryName string, open Opener, when Schedule, do func(context.Context, *repository.Repository) (Outcome, error)) Job {
	return Job{
		Name: what + "@" + repositoryName, Repository: repositoryName, When: when,
		Last: func(ctx context.Context) (last time.Time, err error) {
			err = with(ctx, open, func(repo *repository.Repository) error {
				rememberedIn(repo, what+"-last").load(&last)
				return nil
			})
			return last, err
		},
		Do: func(ctx context.Context) (o Outcome, err error) {
			err = with(ctx, open, func(repo *repository.Repository) error {
				began := time.Now()
				if o, err = do(ctx, repo); err == nil {
					rememberedIn(repo, what+"-last").save(began)
				}
				return err
			})
			return o, err
		},
	}
}

// memory is a small file beside the cache of a repository. To lose it costs an early run, no more: errors are not reported.
type memory string

func rememberedIn(repo *repository.Repository, name string) memory {
	return memory(repo.CachePath(filepath.Join("jobs", name)))
}

func (m memory) load(into any) {
	if text, err := os.ReadFile(string(m)); err == nil {
		_ = json.Unmarshal(text, into)
	}
}

func (m memory) save(v any) {
	text, err := json.Marshal(v)
	if err != nil || m == "" || os.MkdirAll(filepath.Dir(string(m)), 0o700) != nil {
		return
	}
	_ = os.WriteFile(string(m), text, 0o600)
}
