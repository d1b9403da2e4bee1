package trivet

import (
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/retention"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/systems/files"
	"github.com/trivet-ha/trivet/systems/files/pattern"
)

// backupPlans is what a file says about backups, ready to be put in force.
type backupPlans struct {
	file   *config.Config
	vaults map[config.Name]*vault
	jobs   []backup.Job

	databases map[config.Name]*database
}

// plan makes the jobs of a file. It connects to no repository.
func (b *Backups) plan(file *config.Config) (*backupPlans, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &backupPlans{file: file, vaults: map[config.Name]*vault{}, databases: map[config.Name]*database{}}
	for i := range file.Repositories {
		r := &file.Repositories[i]
		p.vaults[r.Name] = newVault(r, b.vaults[r.Name], b.log)
	}
	for i := range file.Backups {
		if err := b.planBackup(p, &file.Backups[i]); err != nil {
			return nil, fmt.Errorf("backup %s: %w", file.Backups[i].Name, err)
		}
	}
	for i := range file.Databases {
		if err := b.planDatabase(p, &file.Databases[i]); err != nil {
			return nil, fmt.Errorf("database %s: %w", file.Databases[i].Name, err)
		}
	}
	for i := range file.Drills {
		if err := b.planDrill(p, &file.Drills[i]); err != nil {
			return nil, fmt.Errorf("drill %s: %w", file.Drills[i].Name, err)
		}
	}
	for i := range file.Repositories {
		if err := planUpkeep(p, &file.Repositories[i]); err != nil {
			return nil, fmt.Errorf("repository %s: %w", file.Repositories[i].Name, err)
		}
	}
	return p, backup.CheckJobs(p.jobs)
}

// planBackup adds the jobs of a backup, one for each repository.
func (b *Backups) planBackup(p *backupPlans, spec *config.Backup) error {
	when, err := scheduleOf(spec.Every, spec.Schedule, spec.Jitter)
	if err != nil {
		return err
	}
	for _, name := range spec.Repository {
		source := &fileSource{spec: spec, backups: b}
		if _, err := source.build(); err != nil {
			return err
		}
		plan := backup.Plan{
			Name: string(spec.Name), Source: source.build, When: when, SkipMissed: spec.Missed == config.MissedSkip,
			Before: backup.Hook{Argv: spec.Before, Timeout: spec.HookTimeout}, After: backup.Hook{Argv: spec.After, Timeout: spec.HookTimeout},
			Options: b.saveOptions(spec), Keep: spec.Keep.Policy(),
		}
		plan.Options.Report = source.report
		v := p.vaults[name]
		if v.spec.AppendOnly {
			plan.Keep = retention.Policy{}
		}
		p.jobs = append(p.jobs, plan.Job(string(name), v.open))
	}
	return nil
}

func (b *Backups) saveOptions(spec *config.Backup) backup.Options {
	o := backup.Options{
		Host: spec.Host, Tags: spec.Tags, Excludes: spec.Exclude, Program: "trivet " + b.version, SkipUnchanged: spec.SkipUnchanged,
		Writer: repository.WriterOptions{Reopen: spec.Reopen.Fraction()},
		Canary: backup.Canary{
			Off: spec.Canary.Off, Shrink: spec.Canary.Shrink.Fraction(), Grow: spec.Canary.Grow, Rewrite: spec.Canary.Rewrite.Fraction(),
			Files: uint64(spec.Canary.MinFiles), Bytes: uint64(spec.Canary.MinBytes),
		},
	}
	if spec.Reopen == 0 {
		o.Writer.Reopen = -1
	}
	return o
}

// planUpkeep adds the jobs that look after a repository.
func planUpkeep(p *backupPlans, spec *config.Repository) error {
	upkeep := func(every time.Duration, schedule config.Cron, jitter time.Duration, missed config.Missed) (backup.Upkeep, error) {
		when, err := scheduleOf(every, schedule, jitter)
		return backup.Upkeep{Repository: string(spec.Name), Open: p.vaults[spec.Name].open, When: when, SkipMissed: missed == config.MissedSkip}, err
	}
	if s := spec.Prune; s != nil {
		u, err := upkeep(s.Every, s.Schedule, s.Jitter, s.Missed)
		if err != nil {
			return err
		}
		o := repository.PruneOptions{MaxUnusedPercent: float64(s.MaxUnused), MaxRepackBytes: int64(s.MaxRepack)}
		if s.MaxUnused == 0 {
			o.MaxUnusedPercent = -1
		}
		p.jobs = append(p.jobs, backup.PruneJob(u, o))
	}
	if s := spec.Verify; s != nil {
		u, err := upkeep(s.Every, s.Schedule, s.Jitter, s.Missed)
		if err != nil {
			return err
		}
		p.jobs = append(p.jobs, backup.VerifyJob(u, uint(s.Parts)))
	}
	return nil
}

func scheduleOf(every time.Duration, schedule config.Cron, jitter time.Duration) (backup.Schedule, error) {
	if every > 0 {
		return backup.Every(every).WithJitter(jitter), nil
	}
	s, err := backup.ParseSchedule(string(schedule))
	return s.WithJitter(jitter), err
}

// fileSource builds the source of a backup of files, and tells what could not be saved.
type fileSource struct {
	spec    *config.Backup
	backups *Backups
	told    atomic.Int32 // in this run
}

// problemsTold is how many things that could not be saved the log names for each run; the event tells how many there are.
const problemsTold = 20

func (s *fileSource) build() (backup.Source, error) {
	s.told.Store(0)
	skip, err := skipOf(s.spec)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, f := range s.spec.Files {
		paths = append(paths, string(f))
	}
	return files.New(files.Config{
		Paths: paths, Skip: skip, NoXattrs: s.spec.NoXattrs, IgnoreInode: s.spec.IgnoreInode, IgnoreCtime: s.spec.IgnoreInode, Workers: s.spec.Workers,
	})
}

func (s *fileSource) report(p backup.Problem) {
	if p.Severity != backup.Missing || s.told.Add(1) > problemsTold {
		return
	}
	s.backups.log.Warn("not in the backup", "backup", s.spec.Name, "path", p.Path, "error", p.Err)
}

// skipOf is what a backup leaves out.
func skipOf(spec *config.Backup) (files.Skip, error) {
	skip := files.Skip{IgnoreFiles: spec.IgnoreFile, LargerThan: int64(spec.ExcludeLargerThan), OneFileSystem: spec.OneFileSystem}
	lines := slices.Clone(spec.Exclude)
	for _, file := range spec.ExcludeFile {
		text, err := os.ReadFile(string(file))
		if err != nil {
			return skip, fmt.Errorf("read patterns: %w", err)
		}
		lines = append(lines, pattern.Lines(text, pattern.Restic)...)
	}
	if len(lines) > 0 {
		list, err := pattern.Compile(lines, pattern.Options{Dialect: pattern.Restic})
		if err != nil {
			return skip, err
		}
		skip.Patterns, skip.Key = []*pattern.List{list}, fmt.Sprintf("%q", lines)
	}
	if spec.ExcludeCaches {
		skip.Tagged = append(skip.Tagged, files.CacheDirTag())
	}
	for _, name := range spec.ExcludeIfPresent {
		skip.Tagged = append(skip.Tagged, files.Tag{Name: name})
	}
	return skip, nil
}
