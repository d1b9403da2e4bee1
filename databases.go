package trivet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/retention"
	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/systems/sqlite"
)

// database is one of the file: its stream, which runs as long as a node streams it, and its bases.
type database struct {
	spec    config.Database
	vault   *vault
	log     *slog.Logger
	publish func(events.Kind, string)
	base    func() // has a base made soon

	mu       sync.Mutex
	ended    chan struct{} // of the run; nil while there is none
	stop     context.CancelFunc
	tracker  *sqlite.Tracker
	opened   chan struct{} // closed, and replaced, when tracker or problem changes
	problem  error         // why it does not stream, or the store takes nothing
	since    time.Time     // it streams, or does not
	failures uint64
}

// planDatabase makes what a file says about a database ready: the old one, if nothing has changed.
func (b *Backups) planDatabase(p *backupPlans, spec *config.Database) error {
	v := p.vaults[spec.Repository]
	job := string(spec.Name) + "@" + string(spec.Repository)
	d := b.databases[spec.Name]
	if d == nil || d.vault != v || d.spec.SQLite != spec.SQLite || d.spec.Flush != spec.Flush || d.spec.Stream != spec.Stream {
		where := events.Where{Backup: string(spec.Name), Repository: string(spec.Repository)}
		d = &database{
			spec: *spec, vault: v, log: b.log, opened: make(chan struct{}),
			publish: func(k events.Kind, evidence string) {
				b.publish(events.Event{Kind: k, Where: where, Evidence: shorten(evidence)})
			},
			base: func() {
				if _, _, err := b.keeper.Start(job); err != nil {
					b.log.Warn("a base is needed and cannot be made", "database", spec.Name, "error", err)
				}
			},
		}
	}
	p.databases[spec.Name] = d
	when, err := scheduleOf(spec.BaseEvery(), spec.Schedule, spec.Jitter)
	if err != nil {
		return err
	}
	plan := backup.Plan{
		Name: string(spec.Name), When: when, Keep: spec.Keep.Policy(),
		Source:  func() (backup.Source, error) { return &databaseSource{database: d}, nil },
		Options: backup.Options{Program: "trivet " + b.version, Canary: backup.Canary{Off: true}},
	}
	if v.spec.AppendOnly {
		plan.Keep = retention.Policy{}
	}
	one := plan.Job(string(spec.Repository), v.open)
	if !plan.Keep.Empty() {
		do := one.Do
		one.Do = func(ctx context.Context, progress *backup.Progress) (backup.Outcome, error) {
			o, err := do(ctx, progress)
			if err == nil {
				err = d.trim(ctx)
			}
			return o, err
		}
	}
	p.jobs = append(p.jobs, one)
	return nil
}

// changeDatabases ends the streams that the file does not name any more, and begins those that are new. b.mu is not held.
func (b *Backups) changeDatabases(now map[config.Name]*database) {
	b.streaming.Lock()
	defer b.streaming.Unlock()
	b.mu.Lock()
	old, ctx := b.databases, b.streams
	b.databases = now
	b.mu.Unlock()
	for name, d := range old {
		if now[name] != d {
			d.end()
		}
	}
	if ctx == nil {
		return
	}
	for _, d := range now {
		d.begin(ctx)
	}
}

// streamDatabases streams until ctx ends.
func (b *Backups) streamDatabases(ctx context.Context) {
	b.mu.Lock()
	b.streams = ctx
	now := b.databases
	b.mu.Unlock()
	b.changeDatabases(now)
	<-ctx.Done()
	b.streaming.Lock()
	defer b.streaming.Unlock()
	b.mu.Lock()
	b.streams = nil
	now = b.databases
	b.mu.Unlock()
	for _, d := range now {
		d.end()
	}
}

func (d *database) begin(ctx context.Context) {
	if !d.spec.Stream {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended != nil {
		return
	}
	ctx, d.stop = context.WithCancel(ctx)
	ended := make(chan struct{})
	d.ended = ended
	go func() { // end waits
		defer close(ended)
		d.run(ctx)
	}()
}

// end waits until the stream has ended and its locks are gone.
func (d *database) end() {
	d.mu.Lock()
	ended, stop := d.ended, d.stop
	d.mu.Unlock()
	if ended == nil {
		return
	}
	stop()
	<-ended
	d.mu.Lock()
	d.ended = nil
	d.mu.Unlock()
}

// Waits before a stream is begun again.
const (
	firstStreamWait   = time.Second
	longestStreamWait = 30 * time.Second
)

// run streams, and begins again whenever that fails, until ctx ends.
func (d *database) run(ctx context.Context) {
	for wait := firstStreamWait; ; wait = min(2*wait, longestStreamWait) {
		began := time.Now()
		err := d.stream(ctx)
		if ctx.Err() != nil {
			d.set(nil, nil)
			return
		}
		if err == nil {
			err = errors.New("it has ended by itself")
		}
		if time.Since(began) > time.Minute {
			wait = firstStreamWait
		}
		d.fail(err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// stream opens the database and the log, and streams until ctx ends or something is wrong.
func (d *database) stream(ctx context.Context) error {
	repo, closeIt, err := d.vault.open(ctx)
	if err != nil {
		return err
	}
	defer closeIt()
	t, err := d.open(ctx, repo)
	if err != nil {
		return err
	}
	defer t.Close()
	d.set(t, nil)
	defer d.set(nil, nil)
	if t.Fresh() {
		d.publish(events.DatabaseLine, "what the log has does not lead to the database as it is: a new line begins, and needs a base")
	}
	d.publish(events.DatabaseStreaming, fmt.Sprintf("from position %d of line %s on", t.Durable().Position, t.Line().ID()))
	return t.Run(ctx)
}

func (d *database) open(ctx context.Context, repo *repository.Repository) (*sqlite.Tracker, error) {
	log, err := stream.Open(repo, string(d.spec.Name))
	if err != nil {
		return nil, err
	}
	return sqlite.Open(ctx, string(d.spec.SQLite), log, sqlite.Options{
		Stream:   stream.Options{Flush: d.spec.Flush, Failed: d.stalled, Trouble: d.trouble},
		NeedBase: d.base, Log: d.log,
	})
}

// set takes note that the stream runs, or does not.
func (d *database) set(t *sqlite.Tracker, problem error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t != d.tracker {
		d.since = time.Now()
	}
	d.tracker, d.problem = t, problem
	close(d.opened)
	d.opened = make(chan struct{})
}

// fail takes note of what keeps it from streaming, and tells it once.
func (d *database) fail(err error) {
	d.mu.Lock()
	again := d.problem != nil && d.problem.Error() == err.Error()
	d.failures++
	d.mu.Unlock()
	d.set(nil, err)
	if !again {
		d.publish(events.DatabaseStalled, err.Error())
	}
}

// stalled hears of each attempt of the store that fails, and nil when it works again.
func (d *database) stalled(err error) {
	d.mu.Lock()
	first := d.problem == nil
	d.problem = err
	if err != nil {
		d.failures++
	}
	d.mu.Unlock()
	switch {
	case err == nil:
		d.publish(events.DatabaseStreaming, "the store takes what is streamed again")
	case first:
		d.publish(events.DatabaseStalled, err.Error())
	}
}

// trouble hears of what is wrong with what is stored.
func (d *database) trouble(err error) {
	d.mu.Lock()
	d.failures++
	d.mu.Unlock()
	d.publish(events.DatabaseDamaged, err.Error())
}

// use calls fn with the stream that runs, or with one that runs for this alone.
func (d *database) use(ctx context.Context, repo *repository.Repository, fn func(*sqlite.Tracker) error) error {
	for {
		d.mu.Lock()
		t, running, opened, problem := d.tracker, d.ended != nil, d.opened, d.problem
		d.mu.Unlock()
		switch {
		case t != nil:
			return fn(t)
		case running && problem != nil:
			return fmt.Errorf("the stream does not run: %w", problem)
		case running:
			select { // it opens
			case <-opened:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return d.useAlone(ctx, repo, fn)
	}
}

func (d *database) useAlone(ctx context.Context, repo *repository.Repository, fn func(*sqlite.Tracker) error) error {
	t, err := d.open(ctx, repo)
	if err != nil {
		return err
	}
	defer t.Close()
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- t.Run(running) }()
	err = fn(t)
	stop()
	return errors.Join(err, <-done)
}

// databaseSource is a base of a database.
type databaseSource struct {
	database *database
	tag      string
}

// Paths implements backup.Source.
func (s *databaseSource) Paths() []string { return []string{string(s.database.spec.SQLite)} }

// Tags ties the snapshot to the log.
func (s *databaseSource) Tags() []string { return []string{s.tag} }

// Save implements backup.Source.
func (s *databaseSource) Save(ctx context.Context, t backup.Target) (saved backup.Saved, err error) {
	err = s.database.use(ctx, t.Repository, func(tr *sqlite.Tracker) error {
		base, err := tr.Base(ctx)
		if err != nil {
			return err
		}
		defer base.Close()
		s.tag = base.Tag().String()
		saved, err = base.Save(ctx, t)
		return err
	})
	return saved, err
}

// trim removes what no base needs any more from the log.
func (d *database) trim(ctx context.Context) error {
	repo, closeIt, err := d.vault.open(ctx)
	if err != nil {
		return err
	}
	defer closeIt()
	log, err := stream.Open(repo, string(d.spec.Name))
	if err != nil {
		return err
	}
	return trimLog(ctx, repo, log)
}

// trimLog keeps each line from its oldest base on; one without a base stays only if it is the newest.
func trimLog(ctx context.Context, repo *repository.Repository, log *stream.Log) error {
	bases, err := stream.Anchors(ctx, repo, log.Database(), stream.Base)
	if err != nil {
		return err
	}
	v, err := log.View(ctx)
	if err != nil {
		return err
	}
	lines := v.Lines()
	for i := range lines {
		id := lines[i].ID()
		at := slices.IndexFunc(bases, func(a stream.Anchor) bool { return a.Line == id })
		switch {
		case at >= 0:
			_, _, err = log.Trim(ctx, id, bases[at].From)
		case i < len(lines)-1:
			_, _, err = log.Forget(ctx, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// streams tells how databases stand.
func (b *Backups) streamStatus() []api.Database {
	b.mu.Lock()
	specs, databases := b.file.Databases, b.databases
	b.mu.Unlock()
	out := make([]api.Database, 0, len(specs))
	for i := range specs {
		if d := databases[specs[i].Name]; d != nil {
			out = append(out, d.status())
		}
	}
	return out
}

func (d *database) status() api.Database {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := api.Database{
		Name: string(d.spec.Name), Engine: sqlite.Engine, Source: string(d.spec.SQLite), Repository: string(d.spec.Repository),
		State: "stopped", Since: d.since, Failures: d.failures,
	}
	switch {
	case !d.spec.Stream:
		s.State = "bases only"
	case d.problem != nil:
		s.State, s.Error = "stalled", d.problem.Error()
	case d.tracker != nil:
		s.State = "streaming"
	}
	if d.tracker != nil {
		m := d.tracker.Durable()
		s.Line, s.Position, s.Durable, s.LastCommit = string(d.tracker.Line().ID()), uint64(m.Position), m.Through, m.Last.Time
		s.Lag = millis(max(0, d.tracker.Lag(time.Now())))
	}
	return s
}
