package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

// errTooNew: the target lies before a base is consistent. An older base may do.
var errTooNew = errors.New("the target is before the end of the base backup")

// find chooses the newest base that leads to the target, and finds the target's place.
func (p *Plan) find(ctx context.Context, bases []*Base) (err error) {
	if p.view, err = p.recovery.Log.View(ctx); err != nil {
		return err
	}
	legs, err := p.history(bases)
	if err != nil {
		return err
	}
	var failed error
	for _, b := range slices.Backward(bases) {
		k, err := p.legOf(b, legs)
		if err == nil {
			p.Base, p.older, p.legs = b, legs[:k], slices.Clone(legs[k:])
			if p.recovery.RestorePoint != "" {
				err = p.findName(ctx)
			} else {
				err = p.findTarget(ctx)
			}
		}
		if err == nil {
			err = p.lead()
		}
		if err == nil {
			return nil
		}
		if errors.Is(err, stream.ErrBeyond) || ctx.Err() != nil {
			return err // an older base leads no further
		}
		if failed == nil || errors.Is(failed, errTooNew) {
			failed = err
		}
	}
	return fmt.Errorf("%w: %w", ErrNoBase, failed)
}

// history finds the legs that end on the newest line, or on that of the timeline asked for, of the newest base's cluster.
func (p *Plan) history(bases []*Base) ([]leg, error) {
	system := bases[len(bases)-1].System
	var leaf stream.LineID
	for _, l := range p.view.Lines() { // the oldest first
		if l.Engine == engine && l.System == system && (p.recovery.Timeline == 0 || l.Timeline == uint64(p.recovery.Timeline)) {
			leaf = l.ID()
		}
	}
	if leaf == "" {
		return nil, fmt.Errorf("the log has nothing of cluster %s on the timeline asked for", system)
	}
	return legsOf(p.view, leaf)
}

// legOf is the leg that a base is on.
func (p *Plan) legOf(b *Base, legs []leg) (int, error) {
	h, err := wal.ParseHistory(b.Timeline, []byte(b.History))
	if err != nil {
		return 0, err
	}
	own, err := lineage(p.recovery.Log, b.System, h)
	if err != nil {
		return 0, err
	}
	for i, l := range legs {
		if l.id == own[len(own)-1].id {
			if b.End > l.end {
				return 0, fmt.Errorf("base %s ends at %v, behind the branch of timeline %d", b.Snapshot.ID().Short(), b.End, legs[i+1].timeline)
			}
			return i, nil
		}
	}
	return 0, fmt.Errorf("base %s is on a timeline %d that does not lead to timeline %d", b.Snapshot.ID().Short(), b.Timeline, legs[len(legs)-1].timeline)
}

// findTarget looks for the target from the newest leg back to the base's.
func (p *Plan) findTarget(ctx context.Context) error {
	p.Last, p.Next = stream.Commit{}, stream.Commit{}
	ended := false // the target is known to be before what was looked at
	for i := len(p.legs) - 1; i >= 0; i-- {
		l := &p.legs[i]
		from := stream.Position(l.begin)
		if i == 0 {
			from = stream.Position(p.Base.End)
		}
		point, err := p.view.Find(ctx, l.id, from, p.recovery.Target)
		none := errors.Is(err, stream.ErrNoCommit)
		if none && i > 0 && !ended {
			continue
		}
		beyond := errors.Is(err, stream.ErrBeyond) || none && ended
		if err != nil && (!beyond || i == len(p.legs)-1) {
			return err
		}
		if end := stream.Position(l.end); point.Position > end || !point.Next.IsZero() && point.Next.Position > end || beyond {
			if err := p.lastBefore(ctx, l.id, from, end, &point); err != nil { // the rest of the line was abandoned
				return err
			}
		}
		if !ended {
			p.Through = point.Through
		}
		if !ended || !point.Next.IsZero() {
			p.Next = point.Next
		}
		p.Position, p.Timeline = wal.Position(point.Position), l.timeline
		p.Last = point.Last
		p.legs[i].end = p.Position
		p.legs = p.legs[:i+1]
		if point.Last.Position > from || point.Position > from || i == 0 {
			return p.reach(ctx)
		}
		ended = true
	}
	return stream.ErrNoCommit
}

// lastBefore makes point the last transaction of a line up to a position.
func (p *Plan) lastBefore(ctx context.Context, line stream.LineID, from, to stream.Position, point *stream.Point) error {
	point.Position, point.Last, point.Next = to, stream.Commit{}, stream.Commit{}
	for c, err := range p.view.Commits(ctx, line, from, to) {
		if err != nil {
			return err
		}
		point.Last, point.Position = c, c.Position
	}
	return nil
}

// reach refuses a target that lies before the base is whole.
func (p *Plan) reach(ctx context.Context) error {
	if at, ok := positionOf(p.recovery.Target); ok && at < p.Base.End {
		return errTooNew
	}
	if p.Last.Position > stream.Position(p.Base.End) {
		return nil
	}
	// Nothing is replayed behind the end of the base: is what is in the base before the target?
	if err := p.lastInBase(ctx); err != nil {
		return err
	}
	newest := p.Last.Time
	if p.Last.IsZero() {
		newest = p.Base.Began
	}
	if t := p.recovery.Target.Time(); !t.IsZero() && newest.After(t) {
		return errTooNew
	}
	return nil
}

// positionOf is the position that a target names, if it does: it is told by its text.
func positionOf(t stream.Target) (wal.Position, bool) {
	number, ok := strings.CutPrefix(t.String(), "position ")
	n, err := strconv.ParseUint(number, 10, 64)
	return wal.Position(n), ok && err == nil
}

// lastInBase finds the last transaction before the end of the base, if the log has it.
func (p *Plan) lastInBase(ctx context.Context) error {
	from, to := stream.Position(p.Base.Start), stream.Position(p.Base.End)
	for c, err := range p.view.Commits(ctx, p.legs[0].id, from, to) {
		if err != nil {
			return err
		}
		p.Last = c
	}
	return nil
}

// findName looks for a named point, which only the log itself has. Of several it is the last.
func (p *Plan) findName(ctx context.Context) error {
	found := -1
	var at leg
	var last stream.Commit
	scanner := wal.NewScanner(p.Base.Segments, p.Base.PageBytes, func(e wal.Event) {
		c := stream.Commit{Position: stream.Position(e.End), Time: e.Time, ID: uint64(e.Xid)}
		switch {
		case e.Kind == wal.Commit:
			last = c
			if found >= 0 && p.Next.IsZero() {
				p.Next = c
			}
		case e.Kind == wal.RestorePoint && e.Name == p.recovery.RestorePoint && e.End >= p.Base.End:
			found = slices.IndexFunc(p.legs, func(l leg) bool { return l.id == at.id })
			p.Position, p.Timeline, p.Last, p.Next, p.Through = e.End, at.timeline, last, stream.Commit{}, e.Time
		}
	})
	for i, l := range p.legs {
		from, to := l.begin, l.end
		if i == 0 {
			from = p.Base.Start &^ wal.Position(p.Base.PageBytes-1)
		}
		if span, ok := lastSpan(p.view, l.id); ok {
			to = min(to, wal.Position(span.To))
		}
		at = l
		for r, err := range p.view.Records(ctx, l.id, stream.Position(from), stream.Position(to)) {
			if err != nil {
				return err
			}
			scanner.Feed(wal.Position(r.From), r.Data[:min(len(r.Data), int(to-min(to, wal.Position(r.From))))])
		}
	}
	if found < 0 {
		return fmt.Errorf("the log has no restore point %q behind base %s", p.recovery.RestorePoint, p.Base.Snapshot.ID().Short())
	}
	p.legs[found].end = p.Position
	p.legs = p.legs[:found+1]
	return nil
}

// lead makes sure that the log leads from the base to the target without a gap.
func (p *Plan) lead() error {
	begin := p.Base.Segments.Begin(p.Base.Start)
	if err := p.covered(begin); err != nil {
		behind := p.Base.Segments.Begin(p.Base.End-1) + wal.Position(p.Base.Segments)
		if !p.Base.WithWAL || p.Position < behind || p.covered(behind) != nil {
			return err
		}
		p.ownLog, begin = true, behind // the base brings its own up to there
	}
	p.LogBytes = int64(p.Position - p.Base.Segments.Begin(p.Base.Start))
	return nil
}

// covered looks whether each leg has its part, without a gap, from a position on.
func (p *Plan) covered(from wal.Position) error {
	for _, l := range p.path() {
		begin, end := max(from, l.begin), l.end
		if begin >= end {
			continue
		}
		status, err := p.view.Line(l.id)
		if err != nil {
			return err
		}
		whole := slices.ContainsFunc(status.Spans, func(s stream.Span) bool {
			return s.From <= stream.Position(begin) && s.To >= stream.Position(end)
		})
		if whole {
			continue
		}
		for _, g := range status.Gaps {
			if g.To > stream.Position(begin) && g.From < stream.Position(end) {
				return &g
			}
		}
		return &stream.Gap{Line: l.id, From: stream.Position(begin), To: stream.Position(end)}
	}
	if path := p.path(); path[0].begin > from {
		return fmt.Errorf("the log begins with timeline %d at %v, behind %v", path[0].timeline, path[0].begin, from)
	}
	return nil
}

// path is every leg that may hold a part of the log that is needed.
func (p *Plan) path() []leg { return append(slices.Clone(p.older), p.legs...) }
