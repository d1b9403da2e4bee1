package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/backup/repository"
)

// ErrNoBase says that no base is old enough for the target.
var ErrNoBase = errors.New("there is no base for that")

// Recovery is a plan: which base, and which part of the log.
type Recovery struct {
	Database string
	Target   Target
	Base     Anchor
	Point    Point
	// BaseBytes is the size of the base, and LogBytes that of the log to read, as stored.
	BaseBytes, LogBytes int64

	view *View
}

// Records are those between the base and the point.
func (r *Recovery) Records(ctx context.Context) iter.Seq2[Record, error] {
	return r.view.Records(ctx, r.Point.Line, r.Base.From, r.Point.Position)
}

// LogTime is the time that the log to replay spans.
func (r *Recovery) LogTime() time.Duration {
	if r.Point.Last.IsZero() || r.Base.Time.IsZero() {
		return 0
	}
	return max(0, r.Point.Last.Time.Sub(r.Base.Time))
}

// PlanRecovery finds the newest base from which the log leads to a target without a gap. Nothing is changed. The error is
// ErrNoBase, or that of View.Find for the newest base that is old enough.
func (l *Log) PlanRecovery(ctx context.Context, repo *repository.Repository, t Target) (*Recovery, error) {
	r, err := l.planRecovery(ctx, repo, t)
	if err != nil {
		return nil, fmt.Errorf("plan a recovery of %s to %v: %w", l.database, t, err)
	}
	return r, nil
}

func (l *Log) planRecovery(ctx context.Context, repo *repository.Repository, t Target) (*Recovery, error) {
	bases, err := Anchors(ctx, repo, l.database, Base)
	if err != nil {
		return nil, err
	}
	v, err := l.View(ctx)
	if err != nil {
		return nil, err
	}
	var first error
	for _, base := range slices.Backward(bases) {
		if t.kind == atTime && base.Time.After(t.time) || t.kind == atPosition && base.To > t.position {
			continue
		}
		p, err := v.Find(ctx, base.Line, base.To, t)
		if err != nil {
			if first == nil {
				first = err
			}
			if t.kind == atCommit && errors.Is(err, ErrNoCommit) {
				continue // it may be before this base
			}
			return nil, err
		}
		plan := &Recovery{Database: l.database, Target: t, Base: base, Point: p, view: v}
		plan.count()
		return plan, nil
	}
	switch {
	case first != nil:
		return nil, first
	case len(bases) == 0:
		return nil, fmt.Errorf("%w: there is none at all", ErrNoBase)
	}
	return nil, fmt.Errorf("%w: the oldest is of %s", ErrNoBase, clock(bases[0].Time))
}

func (r *Recovery) count() {
	if s := r.Base.Snapshot.Summary; s != nil {
		r.BaseBytes = int64(s.TotalBytesProcessed)
	}
	lv, err := r.view.find(r.Point.Line)
	if err != nil {
		return
	}
	objects, err := lv.between(r.Base.From, r.Point.Position)
	if err != nil {
		return
	}
	for i := range objects {
		r.LogBytes += objects[i].bytes
	}
}
