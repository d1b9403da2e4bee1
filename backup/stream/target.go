package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Target is what to go back to.
type Target struct {
	kind     targetKind
	time     time.Time
	position Position
	id       uint64
	before   bool
}

type targetKind uint8

const (
	latest targetKind = iota
	atTime
	atPosition
	atCommit
)

// Latest is the end of the log.
func Latest() Target { return Target{} }

// At is the state at a time: replay ends before the first transaction that committed later.
func At(t time.Time) Target { return Target{kind: atTime, time: t} }

// AtPosition is the state after the last transaction that is whole at a position.
func AtPosition(p Position) Target { return Target{kind: atPosition, position: p} }

// AtCommit is the state just after a transaction.
func AtCommit(id uint64) Target { return Target{kind: atCommit, id: id} }

// BeforeCommit is the state just before a transaction.
func BeforeCommit(id uint64) Target { return Target{kind: atCommit, id: id, before: true} }

// Time is the target's time; zero if it is none.
func (t Target) Time() time.Time { return t.time }

// String is the target for messages; ParseTarget reads it.
func (t Target) String() string {
	switch t.kind {
	case atTime:
		return t.time.Local().Format("2006-01-02 15:04:05.999999999")
	case atPosition:
		return fmt.Sprintf("position %d", t.position)
	case atCommit:
		if t.before {
			return fmt.Sprintf("before %d", t.id)
		}
		return fmt.Sprintf("transaction %d", t.id)
	}
	return "latest"
}

// ParseTarget reads "latest", a time of the local zone ("2026-11-23 10:31:59", with a fraction if wanted) or of RFC 3339,
// "transaction N", "before N" and "position N".
func ParseTarget(text string) (Target, error) {
	text = strings.TrimSpace(text)
	if text == "" || text == "latest" {
		return Latest(), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 -0700"} {
		if t, err := time.Parse(layout, text); err == nil {
			return At(t), nil
		}
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return At(t), nil
		}
	}
	word, number, _ := strings.Cut(text, " ")
	n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 64)
	switch {
	case err != nil:
	case word == "transaction":
		return AtCommit(n), nil
	case word == "before":
		return BeforeCommit(n), nil
	case word == "position":
		return AtPosition(Position(n)), nil
	}
	return Target{}, fmt.Errorf(`%q is no time to go back to: write "2026-11-23 10:31:59", latest, "transaction 1234" or "before 1234"`, text)
}

// Point is where a Target lies in a line.
type Point struct {
	Line LineID
	// Position is where replay ends.
	Position Position
	// Last is the last transaction before it, and Next the first left out; each zero if the log has none. Last may lie before
	// the position where the search began only if nothing came after.
	Last, Next Commit
	// Through is the time up to which the source is known to have had nothing but what the log has.
	Through time.Time
}

// Errors of Find.
var (
	// ErrNoCommit: the log has no such transaction.
	ErrNoCommit = errors.New("the log has no such transaction")
	// ErrBeyond: the target is later than the log.
	ErrBeyond = errors.New("the log ends before that")
)

// Find looks for a target in what follows a position of a line, which is a base's. The error is a *Gap if the log does not
// lead there without one, ErrNoCommit, or ErrBeyond; with that the point is the end of the log.
func (v *View) Find(ctx context.Context, id LineID, from Position, t Target) (Point, error) {
	lv, err := v.find(id)
	if err != nil {
		return Point{}, err
	}
	f := finder{view: v, lv: lv, from: from, target: t, point: Point{Line: id, Position: from}}
	if err := f.run(ctx); err != nil {
		return f.point, fmt.Errorf("find %v in the log of %s: %w", t, v.log.database, err)
	}
	return f.point, nil
}

// finder is one search.
type finder struct {
	view   *View
	lv     *lineView
	from   Position
	target Target
	point  Point
	found  bool
	last   *found // the last object with a commit before the point, not read yet
}

func (f *finder) run(ctx context.Context) error {
	end := f.from
	for i := range f.lv.objects {
		o := &f.lv.objects[i]
		if o.to <= f.from && o.from < f.from {
			if o.to == f.from {
				f.point.Through = nanos(o.through)
			}
			continue
		}
		if o.from > end {
			if f.within(end) {
				break
			}
			return f.lv.gapBetween(end, o.from)
		}
		end = max(end, o.to)
		f.point.Through = nanos(o.through)
		if err := f.object(ctx, o); err != nil {
			return err
		}
		if f.found {
			return f.readLast(ctx)
		}
	}
	if err := f.readLast(ctx); err != nil {
		return err
	}
	return f.atEnd(end)
}

// within reports whether the target lies before a position that the search has come to.
func (f *finder) within(end Position) bool {
	switch f.target.kind {
	case atTime:
		return !f.target.time.After(f.point.Through) || !f.target.time.After(f.point.Last.Time)
	case atPosition:
		return f.target.position <= end
	}
	return false
}

// atEnd decides when nothing in the log is later than the target.
func (f *finder) atEnd(end Position) error {
	switch {
	case f.target.kind == latest:
		f.point.Position = end
	case f.target.kind == atCommit && !f.target.before && f.reached():
	case f.target.kind == atCommit:
		return ErrNoCommit
	case !f.within(end):
		f.point.Position = end
		return fmt.Errorf("%w: it is known up to %s, position %d", ErrBeyond, clock(f.point.Through), end)
	}
	return nil
}

// reached reports whether the last transaction is the one that is looked for.
func (f *finder) reached() bool { return !f.point.Last.IsZero() && f.point.Last.ID == f.target.id }

// object looks into one, if what its name says is not enough.
func (f *finder) object(ctx context.Context, o *found) error {
	if o.first == 0 {
		return nil
	}
	switch {
	case f.target.kind == latest,
		f.target.kind == atTime && o.last <= f.target.time.UnixNano() && o.from >= f.from,
		f.target.kind == atPosition && o.to <= f.target.position && o.from >= f.from:
		f.last = o
		return nil
	}
	if err := f.readLast(ctx); err != nil {
		return err
	}
	_, err := f.view.commits(ctx, f.lv.line.id, o, func(c Commit) bool {
		if c.Position <= f.from {
			return true
		}
		return f.step(c)
	})
	return err
}

// step takes the next commit; false when the search is over.
func (f *finder) step(c Commit) bool {
	over := false
	switch f.target.kind {
	case atTime:
		over = c.Time.After(f.target.time)
	case atPosition:
		over = c.Position > f.target.position
	case atCommit:
		over = f.reached() && !f.target.before || f.target.before && c.ID == f.target.id
	}
	if over {
		f.found, f.point.Next = true, c
		return false
	}
	f.point.Last, f.point.Position = c, c.Position
	return true
}

// readLast finds the last commit of the object that was passed over.
func (f *finder) readLast(ctx context.Context) error {
	o := f.last
	f.last = nil
	if o == nil {
		return nil
	}
	_, err := f.view.commits(ctx, f.lv.line.id, o, func(c Commit) bool {
		if c.Position > f.from {
			f.point.Last, f.point.Position = c, c.Position
		}
		return true
	})
	return err
}
