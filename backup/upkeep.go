package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/backup/repository"
)

// Upkeep is when a repository is looked after.
type Upkeep struct {
	Repository string
	Open       Opener
	When       Schedule
	SkipMissed bool
}

// PruneJob removes what no snapshot needs. Its name is "prune:" and that of the repository.
func PruneJob(u Upkeep, options repository.PruneOptions) Job {
	return u.job("prune", func(ctx context.Context, repo *repository.Repository, _ *Progress) (Outcome, error) {
		r, err := repo.Prune(ctx, options)
		o := Outcome{Text: fmt.Sprintf("%d packs copied, %d condemned, %d deleted (%d bytes)", r.RepackedPacks, r.CondemnedPacks, r.DeletedPacks, r.DeletedBytes)}
		if r.Postponed != nil {
			o.Text += fmt.Sprintf("; the index is in use by %v: the next prune goes on", *r.Postponed)
		}
		return o, err
	})
}

// VerifyJob checks the structure, reads another part of the data each time, all of it in so many runs (none if parts is
// 0), and looks for snapshots that somebody else removed. Its name is "verify:" and that of the repository. That the
// repository is damaged is an Outcome, not an error.
func VerifyJob(u Upkeep, parts uint) Job {
	return u.job("verify", func(ctx context.Context, repo *repository.Repository, progress *Progress) (Outcome, error) {
		v := verification{repo: repo, progress: progress}
		if err := v.check(ctx, parts); err != nil {
			return Outcome{}, err
		}
		return v.outcome, v.checkChain(ctx)
	})
}

// verification is one run of a VerifyJob.
type verification struct {
	repo     *repository.Repository
	progress *Progress
	outcome  Outcome
}

func (v *verification) check(ctx context.Context, parts uint) error {
	var turn struct{ Part, Of uint }
	memory := rememberedIn(v.repo, "jobs/verify-turn")
	memory.load(&turn)
	turn.Part = turn.Part%max(parts, 1) + 1
	if turn.Of != parts {
		turn.Part, turn.Of = 1, parts
	}
	options := repository.CheckOptions{Progress: v.count()}
	if parts > 0 {
		options.Data = repository.Share{Part: turn.Part, Of: parts}
	}
	var first error
	s, err := v.repo.Check(ctx, options, func(p repository.Problem) {
		if first == nil && !p.Harmless() {
			first = p
		}
	})
	if err != nil {
		return err
	}
	memory.save(turn)
	v.outcome.Text = fmt.Sprintf("%d snapshots, %d packs checked, %d read (%d bytes)", s.Snapshots, s.Packs, s.PacksRead, s.BytesRead)
	v.outcome.Bytes = s.BytesRead
	if s.Problems > 0 {
		v.outcome.Damage = fmt.Sprintf("%d problems found; the first: %v", s.Problems, first)
		v.outcome.Text += "; " + v.outcome.Damage
	}
	return nil
}

// count tells the progress what Check has read. Its goroutines may tell their sums in another order than they made them.
func (v *verification) count() func(done, total int, bytes int64) {
	var mu sync.Mutex
	counted := int64(0)
	return func(_, _ int, bytes int64) {
		mu.Lock()
		defer mu.Unlock()
		v.progress.Done(0, max(0, bytes-counted))
		counted = max(counted, bytes)
	}
}

// checkChain looks for removed snapshots, since the first one and since the last look from this machine. What was told
// once is not told again.
func (v *verification) checkChain(ctx context.Context) error {
	var known struct {
		Head repository.ChainHead
		Told []string
	}
	memory := rememberedIn(v.repo, "jobs/verify-chain")
	memory.load(&known)
	gaps, head, err := v.repo.VerifyChain(ctx, known.Head)
	if err != nil {
		return err
	}
	var told []string
	for _, g := range gaps {
		told = append(told, g.Missing)
		if !slices.Contains(known.Told, g.Missing) {
			v.outcome.Notices = append(v.outcome.Notices, Notice{Removed, g.Error()})
		}
	}
	if n := len(v.outcome.Notices); n > 0 {
		v.outcome.Text += fmt.Sprintf("; %d snapshots are gone that Trivet did not remove", n)
	}
	known.Head, known.Told = head, told
	memory.save(known)
	return nil
}

// job is upkeep whose last time is remembered beside the repository's cache, too: for a keeper without a memory.
func (u Upkeep) job(what string, do func(context.Context, *repository.Repository, *Progress) (Outcome, error)) Job {
	note := "jobs/" + what + "-last"
	return Job{
		Name: what + ":" + u.Repository, Uses: []string{RepositoryUse(u.Repository)}, When: u.When, SkipMissed: u.SkipMissed,
		Last: func(ctx context.Context) (last time.Time, err error) {
			err = with(ctx, u.Open, func(repo *repository.Repository) error {
				rememberedIn(repo, note).load(&last)
				return nil
			})
			return last, err
		},
		Do: func(ctx context.Context, progress *Progress) (o Outcome, err error) {
			err = with(ctx, u.Open, func(repo *repository.Repository) error {
				began := time.Now()
				if o, err = do(ctx, repo, progress); err == nil {
					rememberedIn(repo, note).save(began)
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
	return memory(repo.CachePath(name))
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
