package backup

import (
	"context"
	"errors"
	"time"
)

// Job is something done to a repository, on a schedule or when it is asked for: a backup, pruning, a check.
type Job struct {
	// Name tells the job apart: "uploads@vault".
	Name string
	// Uses are the things that no other job may use meanwhile: a repository, the source of a backup.
	Uses []string
	When Schedule
	// SkipMissed leaves a run out that was due while nobody ran. Otherwise it is made up, once.
	SkipMissed bool
	// Last tells when the job was done last, for a keeper that remembers nothing of it; zero for never. Nobody
	// knows when nil.
	Last func(context.Context) (time.Time, error)
	// Do does it, and counts what it does.
	Do func(context.Context, *Progress) (Outcome, error)
}

// Outcome is what came of a job.
type Outcome struct {
	Text    string `json:"text"`              // for people
	Partial bool   `json:"partial,omitempty"` // done, but something is missing

	// Of a backup.
	Snapshot string `json:"snapshot,omitempty"` // its ID; empty if nothing changed and none was made
	Files    int64  `json:"files,omitempty"`    // saved
	Bytes    int64  `json:"bytes,omitempty"`    // of them
	Added    int64  `json:"added,omitempty"`    // bytes that the repository did not have
	Stored   int64  `json:"stored,omitempty"`   // bytes that those came to
	Missing  int    `json:"missing,omitempty"`  // things that could not be saved
	// Notices say what is unusual.
	Notices []Notice `json:"notices,omitempty"`

	// Damage says what is wrong with the repository; empty if nothing is.
	Damage string `json:"damage,omitempty"`
}

// Record is what is remembered of a job over restarts.
type Record struct {
	// Began and Ended are of the last run. One that began and did not end was cut off with its process.
	Began time.Time `json:"began,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
	// Succeeded is when the last successful run began, and Outcome what came of it.
	Succeeded time.Time `json:"succeeded,omitzero"`
	Outcome   Outcome   `json:"outcome,omitzero"`
	// Settled: what was due until then needs no run any more.
	Settled time.Time `json:"settled,omitzero"`
	// Error is why the last run failed; empty if it did not. Failures are those in a row, the first at FailingSince.
	Error        string    `json:"error,omitempty"`
	Failures     int       `json:"failures,omitempty"`
	FailingSince time.Time `json:"failing_since,omitzero"`
	// Stopped: the last run gave way to the end of its process, and is due again.
	Stopped bool `json:"stopped,omitempty"`
	// Overdue: it has failed for so long that two regular times have passed.
	Overdue bool `json:"overdue,omitempty"`
}

// Duration is how long the last run took; zero while it runs.
func (r *Record) Duration() time.Duration { return max(0, r.Ended.Sub(r.Began)) }

// Memory keeps records over restarts.
type Memory interface {
	// Load returns the record of a job; false if there is none.
	Load(ctx context.Context, job string) (Record, bool, error)
	Store(ctx context.Context, job string, r Record) error
}

// State is how a job stands.
type State string

// The states.
const (
	Idle    State = "idle"
	Waiting State = "waiting" // for what it uses
	Running State = "running"
)

// JobStatus is what is known of a job.
type JobStatus struct {
	Name  string
	When  string
	State State
	// Run is the number of the run that is under way, or else of the last, since the process began; 0 is none.
	// Done is the number of the run that the Record is about.
	Run, Done uint64
	Record
	Next     time.Time        // zero for never, and while it runs
	Progress ProgressSnapshot // of the run that is under way
}

// Event is told when a job begins, and when it has ended.
type Event struct {
	Job   string
	What  Happening
	State Record // as it is now
	Err   error  // why it failed
	// NowOverdue: with this failure it has become overdue.
	NowOverdue bool
}

// Happening is what an Event is about.
type Happening string

// What happens to jobs.
const (
	JobBegan     Happening = "began"
	JobSucceeded Happening = "succeeded"
	JobFailed    Happening = "failed"
	// JobStopped: it gave way, to the end of the process or to a command.
	JobStopped Happening = "stopped"
	// JobLost: the process before this one ended in the middle of it.
	JobLost Happening = "lost"
)

// Waits after a failure, before it is tried again: longer each time, and never past the next regular time.
const (
	firstRetry   = 5 * time.Minute
	longestRetry = 2 * time.Hour
)

var (
	// ErrNoJob: there is no job of that name.
	ErrNoJob = errors.New("no such job")
	// ErrNotKept: the keeper does not run, or not any more.
	ErrNotKept = errors.New("jobs are not run now")

	errCutOff  = errors.New("the process ended in the middle of it")
	errStopped = errors.New("stopped by command")
	errRemoved = errors.New("the job is not wanted any more")
)

// load takes over what is remembered, and reports whether the last run was cut off.
func (r *Record) load(from Record) (lost bool) {
	*r = from
	if r.Began.IsZero() || !r.Ended.Before(r.Began) && !r.Ended.IsZero() {
		return false
	}
	r.Ended = r.Began
	r.fail(errCutOff)
	return true
}

func (r *Record) fail(err error) {
	if r.Failures == 0 {
		r.FailingSince = r.Began
	}
	r.Failures++
	r.Error, r.Stopped = err.Error(), false
}

func (r *Record) succeed(o Outcome) {
	r.Succeeded, r.Settled, r.Outcome = r.Began, r.Began, o
	r.absolve()
}

// absolve forgets failures.
func (r *Record) absolve() {
	r.Error, r.Failures, r.FailingSince, r.Stopped, r.Overdue = "", 0, time.Time{}, false, false
}

// due is when a job of that schedule runs next, for a keeper that has known of it since a time; zero for never.
func (r *Record) due(j *Job, since, now time.Time) time.Time {
	if j.When.IsZero() {
		return time.Time{}
	}
	late := j.When.late(j.Name)
	settled := r.Settled
	if j.SkipMissed && settled.Before(since) {
		settled = since
	}
	next := j.When.Next(j.Name, settled, since)
	switch {
	case r.Failures > 0:
		next = r.retry(j, now)
	case r.Stopped:
		next = since
	case next.Before(since): // missed: made up, but not by everybody at once
		next = since.Add(late)
	}
	if next.Before(now) {
		return now
	}
	return next
}

// retry is when a failed run is tried again.
func (r *Record) retry(j *Job, now time.Time) time.Time {
	wait := longestRetry
	if r.Failures < 10 {
		wait = min(wait, firstRetry<<(r.Failures-1))
	}
	again := r.Ended.Add(wait)
	if regular := j.When.Next(j.Name, r.Began, now); again.After(regular) && regular.After(now) {
		return regular
	}
	return again
}

// overdue reports whether a failure makes the job overdue, at the first one that does.
func (r *Record) overdue(j *Job, now time.Time) bool {
	since := r.Succeeded
	if since.IsZero() {
		since = r.FailingSince
	}
	if r.Overdue || j.When.IsZero() {
		return false
	}
	first := j.When.Next(j.Name, since, now)
	r.Overdue = j.When.Next(j.Name, first, now).Before(now)
	return r.Overdue
}
