package sqlite

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/superfly/ltx"

	"github.com/trivet-ha/trivet/backup/stream"
)

// firstPosition is that of a new line: LTX keeps transaction 1 for whole databases.
const firstPosition stream.Position = 1

// resume finds out what became of the database since the log ends, and opens the log for writing.
func (t *Tracker) resume(ctx context.Context) error {
	v, err := t.log.View(ctx)
	if err != nil {
		return err
	}
	lines := v.Lines()
	var known *state
	var last stream.LineStatus
	if n := len(lines); n > 0 {
		last = lines[n-1]
		if known, err = endState(ctx, v, last); err != nil {
			return err
		}
	}
	since, err := t.survey(ctx, known)
	if err != nil {
		return err
	}
	if known != nil {
		if went, err := t.goOn(ctx, last, known, since); err != nil || went {
			return err
		}
	}
	return t.begin(ctx, lines)
}

// goOn continues a line, if nothing is missing.
func (t *Tracker) goOn(ctx context.Context, line stream.LineStatus, known *state, since *transaction) (bool, error) {
	same := known.sum == t.at.sum && known.pages == t.at.pages && known.pageBytes == t.at.pageBytes
	if !same && (since == nil || since.count == 0) {
		return false, nil
	}
	end := line.Spans[len(line.Spans)-1].To
	w, err := t.log.Writer(ctx, line.Line, end, t.options.Stream)
	if errors.Is(err, stream.ErrCutOff) {
		t.options.Log.Error("the end of the log is gone from the store; a new line begins", "database", t.path, "error", err)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	t.writer, t.position, t.lastStamp = w, end, w.Durable().Last.Time
	if same {
		return true, t.writer.Append(ctx, t.note())
	}
	t.owed = &debt{known.sum, since} // given when the writer runs: it may be more than fits into its memory
	return true, nil
}

// endState is the state at the end of a line; nil if that cannot be continued.
func endState(ctx context.Context, v *stream.View, line stream.LineStatus) (*state, error) {
	if line.Engine != Engine || len(line.Spans) == 0 || len(line.Forks)+len(line.Gaps) > 0 {
		return nil, nil
	}
	known, ok, err := lastState(ctx, v, line.ID(), line.Spans[len(line.Spans)-1])
	if err != nil || !ok {
		return nil, err
	}
	return &known, nil
}

// lastState is the state at the end of a line.
func lastState(ctx context.Context, v *stream.View, id stream.LineID, span stream.Span) (known state, ok bool, err error) {
	for r, err := range v.Records(ctx, id, max(span.From, span.To-1), stream.End) {
		if err != nil {
			return known, false, err
		}
		s, has, err := stateOf(r.Data)
		if err != nil {
			return known, false, err
		}
		if has {
			known, ok = s, true
		}
	}
	return known, ok, nil
}

// debt is what was committed while nobody watched.
type debt struct {
	before ltx.Checksum // of the database where the log ends
	since  *transaction
}

// catchUp gives the debt to the log, as one transaction: when each was committed, nobody knows. The database has stood still for us
// since it was read, so its pages are what they were. t.mu is held.
func (t *Tracker) catchUp(ctx context.Context) error {
	count := stream.Position(t.owed.since.count)
	commit := stream.Commit{Position: t.position + count, Time: t.stamp(), ID: uint64(t.position + count), Origin: blind}
	p := newParts(t.position, func(r stream.Record) error { return t.writer.Append(ctx, r) })
	if err := t.encode(p, t.owed.since, commit, t.owed.before, t.image().page); err != nil {
		return err
	}
	if t.sums.checksum() != t.at.sum {
		return errors.New("the write-ahead log does not lead to the database")
	}
	if err := p.finish(&t.at, commit); err != nil {
		return err
	}
	t.position, t.owed = commit.Position, nil
	return nil
}

// begin makes a new line.
func (t *Tracker) begin(ctx context.Context, lines []stream.LineStatus) error {
	line := stream.Line{Engine: Engine, System: t.log.Database(), Timeline: 1}
	if n := len(lines); n > 0 {
		last := lines[n-1]
		line.Timeline = last.Timeline + 1
		line.Branch.Parent = last.ID()
		if k := len(last.Spans); k > 0 {
			line.Branch.At = last.Spans[k-1].To
		}
	}
	random := make([]byte, 16)
	rand.Read(random)
	line.History = sha256.Sum256(fmt.Appendf(random, "%s %d", line.Branch.Parent, line.Branch.At))
	o := t.options.Stream
	o.Known = stream.Mark{}
	w, err := t.log.Writer(ctx, line, firstPosition, o)
	if err != nil {
		return err
	}
	t.writer, t.position, t.fresh = w, firstPosition, true
	return t.writer.Append(ctx, t.note())
}

// note is a record of the state alone.
func (t *Tracker) note() stream.Record {
	return stream.Record{From: t.position, To: t.position, Data: t.at.appendTo([]byte{kindNote})}
}
