package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Job is something done to a repository, on a schedule or when it is asked for: a backup, forgetting, pruning, a scrub.
type Job struct {
	// Name tells the job apart: "uploads@vault".
	Name string
	// Repository is the name of what it works on. Jobs of one repository never run at the same time.
	Repository string
	When       Schedule
	// Last tells when the job was done last, as far back as anybody remembers, so that a run that was missed while
	// nobody ran is made up; zero for never. Nobody remembers when nil.
	Last func(context.Context) (time.Time, error)
	// Do does it.
	Do func(context.Context) (Outcome, error)
}

// Outcome is what came of a job.
type Outcome struct {
	Text    string // for people
	Partial bool   // done, but something is missing
}

// JobStatus is what is known of a job.
type JobStatus struct {
	Name, Repository string
	When             string
	Running          bool
	LastStart        time.Time
	LastSuccess      time.Time // also if it was done before this process began
	LastDuration     time.Duration
	LastOutcome      Outcome
	LastError        string    // empty if the last run was well
	Failures         int       // in a row
	Next             time.Time // zero for never
}

// Event is told when a job begins, and when it has ended.
type Event struct {
	Job     string
	Began   bool
	Outcome Outcome
	Err     error
}

// Waits after a failure, before it is tried again: longer each time, and never past the next regular time.
const (
	firstRetry   = 5 * time.Minute
	longestRetry = 2 * time.Hour
)

var (
	// ErrNoJob: there is no job of that name.
	ErrNoJob = errors.New("no such job")
	// ErrRunning: the job is running already.
	ErrRunning = errors.New("the job is running already")
)

// Keeper runs jobs when they are due, each by itself, and never two on the same repository.
type Keeper struct {
	jobs []*keptJob
	tell func(Event)
}

// keptJob is a job with what is known of it.
type keptJob struct {
	Job
	turn chan struct{} // of its repository: who has put something in has the turn

	mu     sync.Mutex
	status JobStatus
}

// NewKeeper checks the jobs. tell hears of what happens, from several goroutines; nobody when nil.
func NewKeeper(jobs []Job, tell func(Event)) (*Keeper, error) {
	if tell == nil {
		tell = func(Event) {}
	}
	k := &Keeper{tell: tell}
	turns := map[string]chan struct{}{}
	for _, j := range jobs {
		if j.Name == "" || j.Do == nil {
			return nil, errors.New("keeper: a job lacks its name, or what it does")
		}
		if slices.ContainsFunc(k.jobs, func(o *keptJob) bool { return o.Name == j.Name }) {
			return nil, fmt.Errorf("keeper: two jobs are named %q", j.Name)
		}
		if turns[j.Repository] == nil {
			turns[j.Repository] = make(chan struct{}, 1)
		}
		k.jobs = append(k.jobs, &keptJob{Job: j, turn: turns[j.Repository], status: JobStatus{Name: j.Name, Repository: j.Repository, When: j.When.String()}})
	}
	return k, nil
}

// Run runs jobs until ctx has ended and the running ones have stopped.
func (k *Keeper) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, j := range k.jobs {
		if !j.When.IsZero() {
			wg.Go(func() { k.keep(ctx, j) })
		}
	}
	wg.Wait()
	return context.Cause(ctx)
}

// keep runs one job whenever it is due.
func (k *Keeper) keep(ctx context.Context, j *keptJob) {
	if j.Last != nil {
		if last, err := j.Last(ctx); err == nil {
			j.mu.Lock()
			j.status.LastSuccess = last
			j.mu.Unlock()
		}
	}
	for {
		next := j.plan(time.Now())
		timer := time.NewTimer(time.Until(next))
		select {
		case <-timer.C:
			_, _ = k.run(ctx, j) // the status has it, and tell
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// plan decides when the job runs next.
func (j *keptJob) plan(now time.Time) time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &j.status
	s.Next = j.When.Next(j.Name, s.LastSuccess, now)
	if s.Failures > 0 {
		wait := longestRetry
		if s.Failures < 10 {
			wait = min(wait, firstRetry<<(s.Failures-1))
		}
		again := s.LastStart.Add(s.LastDuration + wait)
		if regular := j.When.Next(j.Name, s.LastStart, now); again.After(regular) && regular.After(now) {
			again = regular
		}
		s.Next = again
	}
	if s.Next.Before(now) {
		s.Next = now
	}
	return s.Next
}

// RunNow runs a job once, now or as soon as its repository is free.
func (k *Keeper) RunNow(ctx context.Context, name string) (Outcome, error) {
	for _, j := range k.jobs {
		if j.Name == name {
			return k.run(ctx, j)
		}
	}
	var names []string
	for _, j := range k.jobs {
		names = append(names, j.Name)
	}
	return Outcome{}, fmt.Errorf("%w: %q; there are %s", ErrNoJob, name, strings.Join(names, ", "))
}

// Named lists the jobs of a backup: the one of that name, or those of all its repositories ("uploads" for "uploads@vault").
func (k *Keeper) Named(name string) (names []string) {
	for _, j := range k.jobs {
		if base, _, _ := strings.Cut(j.Name, "@"); j.Name == name || base == name {
			names = append(names, j.Name)
		}
	}
	return names
}

func (k *Keeper) run(ctx context.Context, j *keptJob) (Outcome, error) {
	j.mu.Lock()
	if j.status.Running {
		j.mu.Unlock()
		return Outcome{}, fmt.Errorf("%s: %w", j.Name, ErrRunning)
	}
	j.status.Running = true
	j.mu.Unlock()

	select {
	case j.turn <- struct{}{}:
		defer func() { <-j.turn }()
	case <-ctx.Done():
		j.mu.Lock()
		j.status.Running = false
		j.mu.Unlock()
		return Outcome{}, context.Cause(ctx)
	}
	began := time.Now()
	j.mu.Lock()
	j.status.LastStart = began
	j.mu.Unlock()
	k.tell(Event{Job: j.Name, Began: true})
	outcome, err := j.Do(ctx)
	k.tell(Event{Job: j.Name, Outcome: outcome, Err: err})
	j.ended(began, outcome, err)
	return outcome, err
}

func (j *keptJob) ended(began time.Time, outcome Outcome, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &j.status
	s.Running = false
	s.LastDuration, s.LastOutcome, s.LastError = time.Since(began), outcome, ""
	if err != nil {
		s.LastError = err.Error()
		s.Failures++
		return
	}
	s.LastSuccess, s.Failures = began, 0
}

// Status tells about all jobs.
func (k *Keeper) Status() []JobStatus {
	out := make([]JobStatus, len(k.jobs))
	for i, j := range k.jobs {
		j.mu.Lock()
		out[i] = j.status
		j.mu.Unlock()
	}
	return out
}
