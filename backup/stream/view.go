package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

// View is a log as one listing found it.
type View struct {
	log   *Log
	lines []*lineView
	// Strange are names below the log's folder that are none of its own.
	Strange []string
}

// lineView is one line of a View.
type lineView struct {
	line    Line
	objects []found // those to read, in order, each once
	spare   []found // whose records are in others, too
	gaps    []Gap
	forks   []Fork
}

// Span is a part of a line without a gap.
type Span struct {
	From, To Position
	// First and Last are the earliest and the latest commit in it; zero if there is none. Through is the time up to which
	// the source had nothing more.
	First, Last, Through time.Time
	Objects              int
	Bytes                int64 // as stored
}

// Gap is what is missing of a line between two positions.
type Gap struct {
	Line     LineID
	From, To Position
	// Records is how many records are gone that were written; 0 if nobody wrote what is missing.
	Records uint64
	// Since and Until are the times between which the missing part lies.
	Since, Until time.Time
}

// Error is the gap for people.
func (g *Gap) Error() string {
	why := "was never written"
	if g.Records > 0 {
		why = fmt.Sprintf("is gone: %d records", g.Records)
	}
	return fmt.Sprintf("the log of line %s from position %d to %d (%s to %s) %s",
		g.Line, g.From, g.To, clock(g.Since), clock(g.Until), why)
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "?"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// Fork is two that wrote the same line.
type Fork struct {
	Line LineID
	At   Position
	// Objects are the names of two that contradict each other.
	Objects [2]string
}

// Error is the fork for people.
func (f *Fork) Error() string {
	return fmt.Sprintf("two wrote line %s: at position %d the objects %s and %s contradict each other", f.Line, f.At, f.Objects[0], f.Objects[1])
}

// LineStatus is what is there of a line.
type LineStatus struct {
	Line
	Spans []Span
	Gaps  []Gap
	Forks []Fork
	// Spare is how many objects hold only what others hold, too: a compaction was cut off.
	Spare int
}

// View lists the log. A gap is looked at twice, because objects may move while they are listed.
func (l *Log) View(ctx context.Context) (*View, error) {
	var v *View
	var err error
	for range 3 {
		if v, err = l.look(ctx); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(v.lines, func(lv *lineView) bool { return len(lv.gaps) > 0 }) {
			break
		}
	}
	return v, nil
}

func (l *Log) look(ctx context.Context) (*View, error) {
	objects, strange, err := l.list(ctx, "")
	if err != nil {
		return nil, err
	}
	v := &View{log: l, Strange: strange}
	for id, list := range objects {
		line, err := l.loadLine(ctx, id)
		if errors.Is(err, store.ErrNotExist) && len(list) > 0 {
			return nil, fmt.Errorf("line %s of %s: its description is gone: %w", id, l.database, err)
		}
		if err != nil {
			return nil, err
		}
		v.lines = append(v.lines, arrange(line, list))
	}
	slices.SortFunc(v.lines, func(a, b *lineView) int {
		return cmp.Or(a.line.Began.Compare(b.line.Began), cmp.Compare(a.line.id, b.line.id))
	})
	return v, nil
}

// arrange finds which objects to read, and what is wrong with them.
func arrange(line Line, list []found) *lineView {
	lv := &lineView{line: line}
	slices.SortFunc(list, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.seq, b.seq), -cmp.Compare(a.end, b.end), -cmp.Compare(a.level, b.level))
	})
	lv.findForks(list)
	for _, f := range list {
		if n := len(lv.objects); n > 0 {
			last := &lv.objects[n-1]
			if last.covers(&f.extent) {
				lv.spare = append(lv.spare, f)
				continue
			}
			lv.findGap(&last.extent, &f.extent)
		}
		lv.objects = append(lv.objects, f)
	}
	return lv
}

func (lv *lineView) findGap(a, b *extent) {
	if b.seq <= a.end && b.from == a.to {
		return
	}
	g := Gap{Line: lv.line.id, From: a.to, To: b.from, Since: nanos(a.through), Until: nanos(cmp.Or(b.first, b.through))}
	if b.seq > a.end {
		g.Records = b.seq - a.end
	}
	lv.gaps = append(lv.gaps, g)
}

// findForks compares what objects say of the chain where they meet. Objects of one level never overlap, and one that
// overlaps another holds all of it.
func (lv *lineView) findForks(list []found) {
	chain := make(map[uint64]*extent, len(list))
	fork := func(at Position, a, b *extent) {
		lv.forks = append(lv.forks, Fork{lv.line.id, at, [2]string{a.name(), b.name()}})
	}
	sumAt := func(e *extent, seq uint64) uint64 {
		if e.seq == seq {
			return e.before
		}
		return e.after
	}
	var widest *extent
	for i := range list {
		e := &list[i].extent
		for _, seq := range [2]uint64{e.seq, e.end} {
			other, known := chain[seq]
			if known && sumAt(other, seq) != sumAt(e, seq) {
				fork(e.from, other, e)
			} else if !known {
				chain[seq] = e
			}
		}
		if widest != nil && e.seq < widest.end && (e.level == widest.level || !widest.covers(e)) {
			fork(e.from, widest, e)
		}
		if widest == nil || e.end > widest.end {
			widest = e
		}
	}
}

// Lines tells what is there, the oldest line first.
func (v *View) Lines() []LineStatus {
	out := make([]LineStatus, len(v.lines))
	for i, lv := range v.lines {
		out[i] = LineStatus{Line: lv.line, Spans: lv.spans(), Gaps: lv.gaps, Forks: lv.forks, Spare: len(lv.spare)}
	}
	return out
}

func (lv *lineView) spans() []Span {
	var spans []Span
	var before *extent
	for i := range lv.objects {
		o := &lv.objects[i]
		if before == nil || o.seq > before.end || o.from != before.to {
			spans = append(spans, Span{From: o.from})
		}
		s := &spans[len(spans)-1]
		s.To, s.Through = o.to, nanos(o.through)
		if o.first != 0 && (s.First.IsZero() || nanos(o.first).Before(s.First)) {
			s.First = nanos(o.first)
		}
		if o.last != 0 && nanos(o.last).After(s.Last) {
			s.Last = nanos(o.last)
		}
		s.Objects++
		s.Bytes += o.bytes
		before = &o.extent
	}
	return spans
}

// Line finds a line; the error is store.ErrNotExist if there is none of that name.
func (v *View) Line(id LineID) (LineStatus, error) {
	for i, lv := range v.lines {
		if lv.line.id == id {
			return v.Lines()[i], nil
		}
	}
	return LineStatus{}, fmt.Errorf("line %s of %s: %w", id, v.log.database, store.ErrNotExist)
}

func (v *View) find(id LineID) (*lineView, error) {
	for _, lv := range v.lines {
		if lv.line.id == id {
			return lv, nil
		}
	}
	return nil, fmt.Errorf("line %s of %s: %w", id, v.log.database, store.ErrNotExist)
}

// Problems lists all gaps and forks.
func (v *View) Problems() []error {
	var out []error
	for _, lv := range v.lines {
		for i := range lv.forks {
			out = append(out, &lv.forks[i])
		}
		for i := range lv.gaps {
			out = append(out, &lv.gaps[i])
		}
	}
	return out
}
