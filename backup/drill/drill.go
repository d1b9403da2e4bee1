package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// Subject is what is restored.
type Subject interface {
	// Plan finds a recovery to a time, or to the newest point if the time is zero. Nothing is written.
	Plan(ctx context.Context, at time.Time) (Recovery, error)
	// Range is what can be gone back to: from the oldest base to the newest point.
	Range(ctx context.Context) (from, to time.Time, err error)
}

// Recovery is a plan that can be carried out.
type Recovery interface {
	// Bytes is how much space it needs.
	Bytes() int64
	// Restore restores into an empty folder, opens what is there and has the engine check that it is sound.
	Restore(ctx context.Context, dir string) (Opened, error)
}

// Opened is what was restored.
type Opened interface {
	// Facts are what is known of the point that was recovered.
	Facts() Facts
	// Ask runs a query and returns the first column of its first row; ok is whether that counts as true.
	Ask(ctx context.Context, query string) (answer string, ok bool, err error)
	Close() error
}

// Facts are what is known of a recovered point.
type Facts struct {
	Last    string    `json:"last"`             // the last transaction, by its name
	LastAt  time.Time `json:"last_at,omitzero"` // when it was captured
	Through time.Time `json:"through,omitzero"` // up to when nothing is missing
	Bytes   int64     `json:"bytes"`
	Applied int       `json:"applied"` // transactions that were replayed on the base
}

// Config says what a drill does.
type Config struct {
	Name    string
	Subject Subject
	Of      string // the name of the subject
	// Random goes back to a random point instead of the newest.
	Random bool
	// Checks are queries whose answers must be true.
	Checks []string
	// Scratch is a folder; that of the system for temporary files if empty.
	Scratch string
	// MaxBytes is how much may be restored; 0 is no limit.
	MaxBytes int64
	// Timeout bounds it all; an hour if 0.
	Timeout time.Duration
	// RecoveryTime and RecoveryPoint are what is promised; 0 is nothing.
	RecoveryTime, RecoveryPoint time.Duration
}

// Check is an answer.
type Check struct {
	Query  string `json:"query"`
	Answer string `json:"answer"`
	OK     bool   `json:"ok"`
}

// Result is what came of a drill.
type Result struct {
	Drill string    `json:"drill"`
	Of    string    `json:"of"`
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	// Target is the time that it went back to; zero for the newest.
	Target time.Time `json:"target,omitzero"`
	Facts
	// RecoveryTime is how long it took until the database was open and found sound.
	RecoveryTime time.Duration `json:"recovery_time_ns"`
	// RecoveryPoint is how much time would have been lost, had the service been lost when the drill began; only of the newest.
	RecoveryPoint time.Duration `json:"recovery_point_ns"`
	Checks        []Check       `json:"checks,omitempty"`
	// Error is why it failed; empty if it passed.
	Error string `json:"error,omitempty"`
}

// Passed reports whether all went as promised.
func (r *Result) Passed() bool { return r.Error == "" }

// Text is the result for people.
func (r *Result) Text() string {
	if !r.Passed() {
		return r.Error
	}
	text := fmt.Sprintf("recovered in %v", r.RecoveryTime.Round(time.Millisecond))
	if r.Target.IsZero() {
		text += fmt.Sprintf(", %v would have been lost", r.RecoveryPoint.Round(time.Millisecond))
	}
	return text + fmt.Sprintf("; %d bytes, %d transactions replayed, the last is %s; %d checks passed", r.Bytes, r.Applied, r.Last, len(r.Checks))
}

// Run does a drill. What it finds is in the result, and so is that it could not be done.
func Run(ctx context.Context, c Config) Result {
	r := Result{Drill: c.Name, Of: c.Of, Began: time.Now().Round(0)}
	if c.Timeout <= 0 {
		c.Timeout = time.Hour
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("it has taken longer than %v", c.Timeout))
	defer cancel()
	if err := c.run(ctx, &r); err != nil {
		if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
			err = cause
		}
		r.Error = err.Error()
	}
	r.Ended = time.Now().Round(0)
	return r
}

func (c *Config) run(ctx context.Context, r *Result) (err error) {
	recovery, err := c.plan(ctx, r)
	if err != nil {
		return err
	}
	if n := recovery.Bytes(); c.MaxBytes > 0 && n > c.MaxBytes {
		return fmt.Errorf("it needs %d bytes, and %d are allowed", n, c.MaxBytes)
	}
	dir, err := os.MkdirTemp(c.Scratch, "trivet-drill-")
	if err != nil {
		return fmt.Errorf("make a scratch folder: %w", err)
	}
	defer func() {
		if rerr := os.RemoveAll(dir); rerr != nil {
			err = errors.Join(err, fmt.Errorf("throw the scratch away: %w", rerr))
		}
	}()
	opened, err := recovery.Restore(ctx, filepath.Clean(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	r.RecoveryTime = time.Since(r.Began)
	r.Facts = opened.Facts()
	if r.Target.IsZero() {
		r.RecoveryPoint = max(0, r.Began.Sub(r.Through))
	}
	if err := c.ask(ctx, opened, r); err != nil {
		return err
	}
	return c.compare(r)
}

// randomTries is how many random times are tried that lie in gaps of the log.
const randomTries = 20

func (c *Config) plan(ctx context.Context, r *Result) (Recovery, error) {
	if !c.Random {
		return c.Subject.Plan(ctx, time.Time{})
	}
	from, to, err := c.Subject.Range(ctx)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		r.Target = from
		if span := to.Sub(from); span > 0 {
			r.Target = from.Add(rand.N(span))
		}
		recovery, err := c.Subject.Plan(ctx, r.Target)
		if err == nil || try == randomTries {
			return recovery, err
		}
	}
}

// ask asks all questions, and fails at the end if an answer was wrong.
func (c *Config) ask(ctx context.Context, o Opened, r *Result) error {
	var wrong error
	for _, q := range c.Checks {
		answer, ok, err := o.Ask(ctx, q)
		if err != nil {
			answer, ok = err.Error(), false
		}
		r.Checks = append(r.Checks, Check{Query: q, Answer: answer, OK: ok})
		if !ok && wrong == nil {
			wrong = fmt.Errorf("check %q: the answer is %s", q, answer)
		}
	}
	return wrong
}

// compare compares what was measured with what is promised.
func (c *Config) compare(r *Result) error {
	switch {
	case c.RecoveryTime > 0 && r.RecoveryTime > c.RecoveryTime:
		return fmt.Errorf("the recovery took %v, and %v is promised", r.RecoveryTime.Round(time.Millisecond), c.RecoveryTime)
	case c.RecoveryPoint > 0 && r.Target.IsZero() && r.RecoveryPoint > c.RecoveryPoint:
		return fmt.Errorf("%v would have been lost, and %v is promised", r.RecoveryPoint.Round(time.Millisecond), c.RecoveryPoint)
	}
	return nil
}
