package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// KeeperConfig is what a Keeper is made of. The zero KeeperConfig works.
type KeeperConfig struct {
	// Memory keeps what is known over restarts; nil does not.
	Memory Memory
	// Tell hears of what happens, from several goroutines; nobody when nil.
	Tell func(Event)
	// Log hears what Memory failed to do; nobody when nil.
	Log *slog.Logger
}

// Keeper runs jobs when they are due, each by itself, and never two that use the same thing. Jobs come, change and go
// while it runs. Each job has one goroutine, which decides when the next run begins; whoever begins a run holds the
// job's state other than Idle until it has ended.
type Keeper struct {
	memory Memory
	tell   func(Event)
	log    *slog.Logger
	turns  turns

	mu   sync.Mutex
	jobs []*keptJob
	ctx  context.Context // of Run; nil before and after
	wg   sync.WaitGroup

	ready chan struct{} // closed when Run has begun
}

// keptJob is a job with what is known of it.
type keptJob struct {
	name string
	wake chan struct{} // something has changed; holds one
	gone context.Context
	drop context.CancelFunc

	mu       sync.Mutex
	job      Job
	since    time.Time // when the keeper began to know it
	state    State
	run      uint64
	done     uint64
	record   Record
	progress *Progress
	cancel   context.CancelCauseFunc // of the run under way
}

// NewKeeper makes a keeper without jobs.
func NewKeeper(c KeeperConfig) *Keeper {
	k := &Keeper{memory: c.Memory, tell: c.Tell, log: c.Log, ready: make(chan struct{})}
	if k.tell == nil {
		k.tell = func(Event) {}
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	return k
}

// CheckJobs reports what Change would not take.
func CheckJobs(jobs []Job) error {
	names := map[string]bool{}
	for _, j := range jobs {
		if j.Name == "" || j.Do == nil {
			return errors.New("keeper: a job lacks its name, or what it does")
		}
		if names[j.Name] {
			return fmt.Errorf("keeper: two jobs are named %q", j.Name)
		}
		names[j.Name] = true
	}
	return nil
}

// Change puts other jobs in force. A job that keeps its name keeps what is known of it, and a run of it that is under
// way goes on as it began. A run of one that is gone is stopped. The error is that of CheckJobs; nothing has
// changed then.
func (k *Keeper) Change(jobs []Job) error {
	if err := CheckJobs(jobs); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var next []*keptJob
	for _, j := range jobs {
		i := slices.IndexFunc(k.jobs, func(old *keptJob) bool { return old.name == j.Name })
		if i < 0 {
			next = append(next, k.adopt(j))
			continue
		}
		next = append(next, k.jobs[i])
		k.jobs[i].change(j)
	}
	for _, old := range k.jobs {
		if !slices.Contains(next, old) {
			old.drop()
			old.stop(errRemoved)
		}
	}
	k.jobs = next
	return nil
}

// adopt takes a new job, and begins to keep it if the keeper runs. k.mu is held.
func (k *Keeper) adopt(j Job) *keptJob {
	kept := &keptJob{name: j.Name, job: j, state: Idle, wake: make(chan struct{}, 1)}
	kept.gone, kept.drop = context.WithCancel(context.Background())
	if k.ctx != nil {
		k.start(kept)
	}
	return kept
}

func (j *keptJob) change(to Job) {
	j.mu.Lock()
	j.job = to
	j.mu.Unlock()
	j.nudge()
}

func (j *keptJob) nudge() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Ready is closed when jobs can be started.
func (k *Keeper) Ready() <-chan struct{} { return k.ready }

// Run runs jobs until ctx has ended and the runs that were under way have stopped. It may be called once.
func (k *Keeper) Run(ctx context.Context) error {
	k.mu.Lock()
	k.ctx = ctx
	for _, j := range k.jobs {
		k.start(j)
	}
	k.mu.Unlock()
	close(k.ready)
	<-ctx.Done()
	k.mu.Lock()
	k.ctx = nil
	k.mu.Unlock()
	k.wg.Wait()
	return context.Cause(ctx)
}

// start recalls a job and begins to keep it. k.mu is held.
func (k *Keeper) start(j *keptJob) {
	j.mu.Lock()
	j.since = time.Now()
	j.mu.Unlock()
	known := k.recall(k.ctx, j)
	ctx := k.ctx
	k.wg.Go(func() { k.keep(ctx, j, known) })
}

// recall takes over what is remembered of a job, and reports whether anything is.
func (k *Keeper) recall(ctx context.Context, j *keptJob) bool {
	if k.memory == nil {
		return false
	}
	r, known, err := k.memory.Load(ctx, j.name)
	if err != nil {
		k.log.Error("what was known of a backup job is not read", "job", j.name, "error", err)
	}
	if !known || err != nil {
		return false
	}
	j.mu.Lock()
	lost := j.record.load(r)
	now := j.record
	j.mu.Unlock()
	if lost {
		k.remember(ctx, j.name, now)
		k.tell(Event{Job: j.name, What: JobLost, State: now, Err: errCutOff})
	}
	return true
}

// remember keeps a record. It does so at the end of a process, too.
func (k *Keeper) remember(ctx context.Context, name string, r Record) {
	if k.memory == nil {
		return
	}
	if err := k.memory.Store(context.WithoutCancel(ctx), name, r); err != nil {
		k.log.Error("what is known of a backup job is not written", "job", name, "error", err)
	}
}

// longestSleep is how often the clock is looked at: it may be set, and a machine may have slept.
const longestSleep = time.Minute

// keep runs one job whenever it is due.
func (k *Keeper) keep(ctx context.Context, j *keptJob, known bool) {
	if !known {
		j.ask(ctx)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := j.next(time.Now())
		wait := longestSleep
		if !next.IsZero() {
			// Round takes the monotonic reading away, so that this is the time of the day.
			wait = min(wait, time.Until(next.Round(0)))
		}
		timer.Reset(max(wait, 0))
		select {
		case <-timer.C:
			if now := time.Now().Round(0); !next.IsZero() && !now.Before(next) {
				if _, run := j.begin(ctx); run != nil {
					k.run(run, j)
				}
			}
		case <-j.wake:
		case <-j.gone.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// ask asks the job itself when it was done last.
func (j *keptJob) ask(ctx context.Context) {
	j.mu.Lock()
	last := j.job.Last
	j.mu.Unlock()
	if last == nil {
		return
	}
	at, err := last(ctx)
	if err != nil {
		return // the next run will say what is wrong
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.record.Began.IsZero() {
		j.record.Succeeded, j.record.Settled = at, at
	}
}

// next is when the job runs next; zero for never, and while it runs.
func (j *keptJob) next(now time.Time) time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state != Idle {
		return time.Time{}
	}
	return j.record.due(&j.job, j.since, now)
}

// begin makes the job run, unless it does. It returns the number of the run under way, and what ends it.
func (j *keptJob) begin(parent context.Context) (run uint64, ctx context.Context) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state != Idle {
		return j.run, nil
	}
	ctx, j.cancel = context.WithCancelCause(parent)
	if j.gone.Err() != nil {
		j.cancel(errRemoved)
	}
	j.state, j.progress = Waiting, &Progress{}
	j.run++
	return j.run, ctx
}

// over ends what begin has begun.
func (j *keptJob) over() {
	j.mu.Lock()
	j.cancel(nil)
	j.state, j.cancel = Idle, nil
	j.mu.Unlock()
	j.nudge()
}

// run does what begin has begun.
func (k *Keeper) run(ctx context.Context, j *keptJob) {
	defer j.over()
	j.mu.Lock()
	job, progress, before := j.job, j.progress, j.record.Outcome
	j.mu.Unlock()
	give, err := k.turns.take(ctx, job.Uses)
	if err != nil {
		return
	}
	defer give()
	began := k.began(ctx, j)
	k.tell(Event{Job: job.Name, What: JobBegan, State: began})
	progress.Expect(before.Files, before.Bytes)
	outcome, err := job.Do(ctx, progress)
	k.ended(ctx, j, &job, outcome, err)
}

// began writes down that a run begins, so that one that does not end is noticed.
func (k *Keeper) began(ctx context.Context, j *keptJob) Record {
	j.mu.Lock()
	j.state = Running
	j.record.Began, j.record.Ended = time.Now().Round(0), time.Time{}
	r := j.record
	j.mu.Unlock()
	k.remember(ctx, j.name, r)
	return r
}

func (k *Keeper) ended(ctx context.Context, j *keptJob, job *Job, o Outcome, err error) {
	now := time.Now().Round(0)
	e := Event{Job: job.Name, What: JobSucceeded, Err: err}
	cause := context.Cause(ctx)
	j.mu.Lock()
	r := &j.record
	r.Ended = now
	switch {
	case err == nil:
		r.succeed(o)
	case errors.Is(cause, errStopped):
		e.What, e.Err = JobStopped, cause
		r.absolve()
		r.Error, r.Settled = cause.Error(), now
	case cause != nil:
		e.What = JobStopped
		r.Stopped = true
	default:
		e.What = JobFailed
		r.fail(err)
		e.NowOverdue = r.overdue(job, now)
	}
	e.State = *r
	j.mu.Unlock()
	k.remember(ctx, job.Name, e.State)
	k.tell(e)
	j.mu.Lock()
	j.done = j.run
	j.mu.Unlock()
}

// Start runs a job once, now or as soon as what it uses is free, and does not wait for it. It returns the number of the
// run: that of the one under way, if there is one (joined). The error is ErrNoJob or ErrNotKept.
func (k *Keeper) Start(name string) (run uint64, joined bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	j, err := k.find(name)
	if err != nil {
		return 0, false, err
	}
	ctx := k.ctx
	if ctx == nil {
		return 0, false, ErrNotKept
	}
	number, own := j.begin(ctx)
	if own == nil {
		return number, true, nil
	}
	k.wg.Go(func() { k.run(own, j) })
	return number, false, nil
}

// Stop stops the run of a job that is under way, and reports whether one is. It does not wait for its end. The job runs again
// at its next regular time. The error is ErrNoJob.
func (k *Keeper) Stop(name string) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	j, err := k.find(name)
	if err != nil {
		return false, err
	}
	return j.stop(errStopped), nil
}

func (j *keptJob) stop(why error) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cancel == nil {
		return false
	}
	j.cancel(why)
	return true
}

// find is the job of that name. k.mu is held.
func (k *Keeper) find(name string) (*keptJob, error) {
	var names []string
	for _, j := range k.jobs {
		if j.name == name {
			return j, nil
		}
		names = append(names, j.name)
	}
	return nil, fmt.Errorf("%w: %q; there are %s", ErrNoJob, name, strings.Join(names, ", "))
}

// Status tells about all jobs, in the order in which they were given.
func (k *Keeper) Status() []JobStatus {
	k.mu.Lock()
	jobs, kept := k.jobs, k.ctx != nil
	k.mu.Unlock()
	now := time.Now()
	out := make([]JobStatus, len(jobs))
	for i, j := range jobs {
		out[i] = j.status(now, kept)
	}
	return out
}

func (j *keptJob) status(now time.Time, kept bool) JobStatus {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := JobStatus{Name: j.name, When: j.job.When.String(), State: j.state, Run: j.run, Done: j.done, Record: j.record}
	switch {
	case j.state != Idle:
		s.Progress = j.progress.Look()
	case kept:
		s.Next = j.record.due(&j.job, j.since, now)
	}
	return s
}
