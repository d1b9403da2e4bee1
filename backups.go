package trivet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/drill"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/events/journal"
)

// Backups runs the backups of a file: when they are due, and when it is told to. A Node has one; OpenBackups makes one that
// stands alone. Its methods may be called by any goroutine.
type Backups struct {
	log     *slog.Logger
	version string
	publish func(events.Event)
	keeper  *backup.Keeper
	journal *journal.Journal // its own, if it stands alone

	mu     sync.Mutex
	vaults map[config.Name]*vault
	file   *config.Config
	counts map[string]*runCount // by job

	databases    map[config.Name]*database
	streams      context.Context // databases are streamed until it ends; nil if they are not
	drills       map[string]*drillCount
	drillHistory *drill.History // nil if nothing is kept

	streaming sync.Mutex // one change of the streams at a time
}

// runCount is what runs of a job came to since the process began.
type runCount struct {
	fine, partial, failed uint64
	stored                uint64 // bytes
}

func newBackups(cfg *Config, memory backup.Memory, publish func(events.Event)) *Backups {
	b := &Backups{
		log: cfg.Log, version: cfg.Version, publish: publish, vaults: map[config.Name]*vault{}, file: &config.Config{}, counts: map[string]*runCount{},
		databases: map[config.Name]*database{}, drills: map[string]*drillCount{},
	}
	b.keeper = backup.NewKeeper(backup.KeeperConfig{Memory: memory, Tell: b.tell, Log: cfg.Log})
	return b
}

// OpenBackups is the backups of a file without a node: none runs by itself, and all can be started once Run runs. What is
// known of them is read and kept in the file's state file, as a node does. Close it after Run.
func OpenBackups(cfg Config) (*Backups, error) {
	if cfg.File == nil {
		return nil, errors.New("open backups: there is no configuration")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	h, err := newHistory(&cfg)
	if err != nil {
		return nil, err
	}
	b := newBackups(&cfg, h.memory(), func(events.Event) {})
	b.drillHistory = h.drills()
	b.journal = h.journal
	plans, err := b.plan(cfg.File)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	for i := range plans.jobs {
		plans.jobs[i].When, plans.jobs[i].Last = backup.Schedule{}, nil
	}
	b.adopt(plans)
	return b, nil
}

// Ready is closed when backups can be started.
func (b *Backups) Ready() <-chan struct{} { return b.keeper.Ready() }

// Run lets backups run until ctx ends, and then until those under way have stopped.
func (b *Backups) Run(ctx context.Context) error { return b.keeper.Run(ctx) }

// Close closes the state file of backups without a node.
func (b *Backups) Close() error {
	if b.journal == nil {
		return nil
	}
	return b.journal.Close()
}

// runBackups runs the backups of the file until this process begins to end. One process at a time does: it waits for the one
// that it took over from.
func (n *Node) runBackups(ctx context.Context) error {
	if !n.predecessorEnds(ctx) {
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		select {
		case <-n.stopping:
			stop()
		case <-ctx.Done():
		}
	})
	wg.Go(func() { n.backups.streamDatabases(ctx) })
	_ = n.backups.Run(ctx) // the error is that of ctx
	return nil
}

// adopt puts what plan made in force.
func (b *Backups) adopt(p *backupPlans) {
	b.mu.Lock()
	b.vaults, b.file = p.vaults, p.file
	b.mu.Unlock()
	b.changeDatabases(p.databases)
	if err := b.keeper.Change(p.jobs); err != nil {
		b.log.Error("backups not changed", "error", err) // plan has looked, so this cannot be
	}
}

// withdrawBackups ends the incidents of backups and repositories that the file does not name any more.
func (n *Node) withdrawBackups() {
	for _, i := range n.history.stream.Incidents() {
		if i.State == events.Open && (i.Backup != "" || i.Repository != "" || i.Drill != "") && !n.backups.knows(i.Where) {
			n.history.publish(events.Event{Kind: goneKind(i.Where), Where: i.Where, Evidence: "the file does not name it any more"})
		}
	}
}

// knows reports whether the file names a backup with its repository, or a repository that is looked after.
func (b *Backups) knows(w events.Where) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.Drill != "" {
		return b.file.Drill(config.Name(w.Drill)) != nil
	}
	if d := b.file.Database(config.Name(w.Backup)); d != nil {
		return string(d.Repository) == w.Repository
	}
	if w.Backup == "" {
		r := b.file.Repository(config.Name(w.Repository))
		return r != nil && (r.Prune != nil || r.Verify != nil)
	}
	plan := b.file.Backup(config.Name(w.Backup))
	return plan != nil && slices.Contains(plan.Repository, config.Name(w.Repository))
}

// Backups tells how backups stand: those of a name, or all of them with the upkeep of repositories.
func (b *Backups) Backups(name string) ([]api.Backup, error) {
	all := b.list()
	if name == "" {
		return all, nil
	}
	own := slices.DeleteFunc(all, func(one api.Backup) bool { return one.Name != name })
	if len(own) == 0 {
		return nil, b.unknown(name)
	}
	return own, nil
}

func (b *Backups) unknown(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if plan := b.file.Backup(config.Name(name)); plan != nil {
		return api.NotFound(fmt.Sprintf("backup %q is not kept there", name), fmt.Sprintf("it is kept in %v", plan.Repository))
	}
	hint := "there are none: write backups: {" + name + ": {files: [...], repository: ...}}"
	var names []string
	for i := range b.file.Backups {
		names = append(names, string(b.file.Backups[i].Name))
	}
	for i := range b.file.Databases {
		names = append(names, string(b.file.Databases[i].Name))
	}
	for i := range b.file.Drills {
		names = append(names, drillJob(b.file.Drills[i].Name))
	}
	if len(names) > 0 {
		hint = "there are " + strings.Join(names, ", ")
	}
	return api.NotFound(fmt.Sprintf("there is no backup %q", name), hint)
}

// StartBackup begins a backup into all of its repositories, or into one, and returns how they stand. One that is under
// way is not begun again, but told as joined.
func (b *Backups) StartBackup(name, repository string) ([]api.Backup, error) {
	return b.each(name, repository, func(one *api.Backup) error {
		run, joined, err := b.keeper.Start(one.Job)
		one.Run, one.Joined = run, joined
		if errors.Is(err, backup.ErrNotKept) {
			return api.Conflict("backups do not run now", "this process ends, or waits for the one before it to end: try again in a moment")
		}
		return err
	})
}

// StopBackup stops the runs of a backup that are under way. What they have stored already is not stored again.
func (b *Backups) StopBackup(name, repository string) ([]api.Backup, error) {
	return b.each(name, repository, func(one *api.Backup) error {
		_, err := b.keeper.Stop(one.Job)
		return err
	})
}

// each does something to the jobs of a backup, and returns how they stand then.
func (b *Backups) each(name, repository string, do func(*api.Backup) error) ([]api.Backup, error) {
	list, err := b.Backups(name)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(one api.Backup) bool { return repository != "" && one.Repository != repository })
	if len(list) == 0 {
		return nil, b.unknown(name)
	}
	for i := range list {
		if err := do(&list[i]); err != nil {
			return nil, err
		}
	}
	for _, now := range b.list() {
		for i := range list {
			if list[i].Job == now.Job {
				now.Joined = list[i].Joined
				now.Run = max(now.Run, list[i].Run)
				list[i] = now
			}
		}
	}
	return list, nil
}

// Backups tells how backups stand; see Backups.Backups.
func (n *Node) Backups(name string) ([]api.Backup, error) { return n.backups.Backups(name) }

// StartBackup begins a backup; see Backups.StartBackup.
func (n *Node) StartBackup(name, repository string) ([]api.Backup, error) {
	return n.backups.StartBackup(name, repository)
}

// StopBackup stops a backup; see Backups.StopBackup.
func (n *Node) StopBackup(name, repository string) ([]api.Backup, error) {
	return n.backups.StopBackup(name, repository)
}

// list tells about all jobs.
func (b *Backups) list() []api.Backup {
	var all []api.Backup
	for _, s := range b.keeper.Status() {
		all = append(all, describeJob(&s))
	}
	return all
}

// describeJob is a job as the control API tells it.
func describeJob(s *backup.JobStatus) api.Backup {
	kind, w := whereOf(s.Name)
	name := w.Backup
	if kind == "drill" {
		name = s.Name
	}
	one := api.Backup{
		Job: s.Name, Kind: kind, Name: name, Repository: w.Repository, Schedule: s.When, State: string(s.State), Run: s.Run, Done: s.Done,
		Began: s.Began, Ended: s.Ended, Succeeded: s.Succeeded, Next: s.Next, Error: s.Error, Failures: s.Failures, Overdue: s.Overdue,
		Outcome: api.BackupOutcome{
			Text: s.Outcome.Text, Partial: s.Outcome.Partial, Snapshot: s.Outcome.Snapshot, Files: s.Outcome.Files, Bytes: s.Outcome.Bytes,
			Added: s.Outcome.Added, Stored: s.Outcome.Stored, Missing: s.Outcome.Missing, Damage: s.Outcome.Damage,
		},
	}
	for _, n := range s.Outcome.Notices {
		one.Outcome.Notices = append(one.Outcome.Notices, api.BackupNotice{Kind: string(n.Kind), Text: n.Text})
	}
	if p := s.Progress; s.State == backup.Running {
		one.Progress = &api.BackupProgress{
			Files: p.Files, Bytes: p.Bytes, TotalFiles: p.TotalFiles, TotalBytes: p.TotalBytes, Problems: p.Problems, Elapsed: millis(p.Elapsed), Current: p.Current,
		}
	}
	return one
}

// whereOf reads the name of a job: NAME@REPOSITORY, drill:NAME, prune:REPOSITORY or verify:REPOSITORY.
func whereOf(job string) (kind string, w events.Where) {
	if name, ok := drillOf(job); ok {
		return "drill", events.Where{Drill: name}
	}
	if kind, repository, upkeep := strings.Cut(job, ":"); upkeep {
		return kind, events.Where{Repository: repository}
	}
	name, repository, _ := strings.Cut(job, "@")
	return "backup", events.Where{Backup: name, Repository: repository}
}
