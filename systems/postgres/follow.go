package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/systems/postgres/replication"
	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

// follower streams one timeline.
type follower struct {
	*session
	leg    leg
	before []leg // those that led to it
	view   *stream.View
	writer *stream.Writer
	s      *replication.Stream

	scanner  *wal.Scanner
	commits  []stream.Commit // of the piece at hand
	overlap  []byte          // what is stored already and comes once more, to be compared
	received atomic.Uint64
	server   atomic.Uint64
	damaged  atomic.Int64
	appended chan struct{} // there is something to make durable
}

// overlapBytes of what is stored are scanned again after a break, so that no commit record that lies across it is missed.
const overlapBytes = 64 << 10

// follow streams the last of legs until ctx ends, the connection breaks, or the timeline is over: then the error is
// a *replication.TimelineEnd. A line that is new begins at from.
func (x *session) follow(ctx context.Context, view *stream.View, legs []leg, from wal.Position) error {
	last := len(legs) - 1
	f := &follower{session: x, leg: legs[last], before: legs[:last], view: view, appended: make(chan struct{}, 1)}
	options := x.config.Writer
	options.Known = x.known[f.leg.id]
	var err error
	if f.writer, err = x.config.Log.Writer(ctx, f.leg.line, stream.Position(from), options); err != nil {
		return err
	}
	defer func() { x.known[f.leg.id] = f.writer.Durable() }()
	if end := wal.Position(f.writer.Next()); end >= f.leg.end {
		if end > f.leg.end {
			x.config.Report(&Abandoned{Timeline: f.leg.timeline, From: f.leg.end, To: end, Last: f.writer.Durable().Last})
		}
		return &replication.TimelineEnd{At: f.leg.end}
	}
	if err := f.open(ctx); err != nil {
		return err
	}
	err = f.run(ctx)
	x.removed = errors.Is(err, replication.ErrRemoved)
	return err
}

// run has the writer, the acknowledgements and the watch over the lag beside the stream itself.
func (f *follower) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	var wg, writer sync.WaitGroup
	writer.Go(func() {
		if err := f.writer.Run(writing); err != nil {
			cancel(err)
		}
	})
	wg.Go(func() { f.acknowledge(ctx, cancel) })
	wg.Go(func() { f.watchLag(ctx, cancel) })
	stop := context.AfterFunc(ctx, func() { f.conn.Close() })
	f.update(func(st *StreamState) { st.Connected, st.Timeline, st.Err = true, f.leg.timeline, nil })
	err := f.receive(ctx)
	var end *replication.TimelineEnd
	if errors.As(err, &end) {
		if ferr := f.writer.Flush(ctx); ferr != nil {
			err = ferr
		}
	}
	stop()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(err)
	wg.Wait()
	stopWriting()
	writer.Wait()
	f.note()
	return err
}

// open begins the stream a little before the end of what is stored.
func (f *follower) open(ctx context.Context) error {
	at := wal.Position(f.writer.Next())
	low, err := f.prime(ctx, at)
	if err != nil {
		return err
	}
	if f.removed { // that was said in the middle of the last stream
		return f.leap(ctx, replication.ErrRemoved)
	}
	f.s, err = f.conn.StartStream(ctx, f.config.Slot, f.leg.timeline, low)
	if errors.Is(err, replication.ErrRemoved) {
		return f.leap(ctx, err)
	}
	return err
}

// prime feeds the scanner what is stored before at, and returns from where the server should send once more.
func (f *follower) prime(ctx context.Context, at wal.Position) (wal.Position, error) {
	f.scanner = wal.NewScanner(f.segments, f.page, f.event)
	f.commits, f.overlap = nil, nil
	page := wal.Position(f.page)
	start := (at - min(at, overlapBytes)) &^ (page - 1)
	span, ok := lastSpan(f.view, f.leg.id)
	line, from := f.leg.id, wal.Position(span.From)
	if (!ok || at == f.leg.begin) && len(f.before) > 0 { // a new timeline goes on in the middle of a page of the old one
		parent := f.before[len(f.before)-1]
		if span, ok = lastSpan(f.view, parent.id); !ok {
			return at, nil
		}
		line, from = parent.id, wal.Position(span.From)
	}
	start = max(start, from)
	if !ok || start >= at {
		return at, nil
	}
	view, err := f.config.Log.View(ctx) // the parent may have been written since
	if err != nil {
		return at, err
	}
	var stored []byte
	begin := start
	for r, err := range view.Records(ctx, line, stream.Position(start), stream.Position(at)) {
		if err != nil {
			var gap *stream.Gap
			if errors.As(err, &gap) {
				return at, nil // the end of the parent is not there
			}
			return at, err
		}
		if stored == nil {
			begin = wal.Position(r.From)
		}
		stored = append(stored, r.Data...)
	}
	if begin+wal.Position(len(stored)) < at {
		return at, nil
	}
	stored = stored[:at-begin]
	if begin > start {
		start = begin
	}
	stored = stored[start-begin:]
	f.scanner.Feed(start, stored)
	f.commits = nil
	if line != f.leg.id {
		return at, nil
	}
	low := max(start, f.segments.Begin(at)) // older segments the server may have removed
	f.overlap = stored[low-start:]
	return low, nil
}

// leap leaves a gap where the server has removed what comes next.
func (f *follower) leap(ctx context.Context, cause error) error {
	// An old slot may be void, as well.
	if err := f.conn.DropSlot(ctx, f.config.Slot); err != nil && !errors.Is(err, replication.ErrNoSlot) {
		return errors.Join(cause, err)
	}
	if err := f.conn.CreateSlot(ctx, f.config.Slot); err != nil {
		return errors.Join(cause, err)
	}
	id, err := f.conn.Identify(ctx)
	if err != nil {
		return errors.Join(cause, err)
	}
	at, to := wal.Position(f.writer.Next()), f.segments.Begin(id.Position)
	if id.Timeline != f.leg.timeline {
		to = f.leg.end
	}
	if to <= at {
		return cause
	}
	f.config.Report(fmt.Errorf("a new base is needed: %w: %w",
		&stream.Gap{Line: f.leg.id, From: stream.Position(at), To: stream.Position(to), Since: f.writer.Durable().Through}, cause))
	if id.Timeline != f.leg.timeline {
		return &replication.TimelineEnd{At: f.leg.end}
	}
	if err := f.writer.Skip(ctx, stream.Position(to)); err != nil {
		return err
	}
	f.scanner, f.overlap = wal.NewScanner(f.segments, f.page, f.event), nil
	f.s, err = f.conn.StartStream(ctx, f.config.Slot, f.leg.timeline, to)
	return err
}

// receive takes what the server sends, until the timeline or the connection ends.
func (f *follower) receive(ctx context.Context) error {
	f.received.Store(uint64(f.writer.Next()))
	for {
		p, err := f.s.Next()
		if err != nil {
			return err
		}
		f.server.Store(uint64(p.Server))
		if len(p.Data) > 0 {
			if err := f.take(ctx, p.At, p.Data); err != nil {
				return err
			}
		}
		if uint64(p.Server) <= f.received.Load() {
			f.writer.Idle()
		}
		if p.Reply {
			if err := f.reply(false); err != nil {
				return err
			}
		}
	}
}

// take stores a piece, but for what is stored already: that is compared.
func (f *follower) take(ctx context.Context, at wal.Position, data []byte) error {
	for len(f.overlap) > 0 && len(data) > 0 {
		n := min(len(f.overlap), len(data))
		if !bytes.Equal(f.overlap[:n], data[:n]) {
			return fmt.Errorf("timeline %d, from %v: %w", f.leg.timeline, at, ErrDiverged)
		}
		f.overlap, data, at = f.overlap[n:], data[n:], at+wal.Position(n)
	}
	if len(data) == 0 {
		return nil
	}
	// A server may send a little that it has not replayed itself, and that its next timeline does not have.
	if end := f.leg.end; at+wal.Position(len(data)) > end {
		data = data[:max(0, int64(end-min(at, end)))]
	}
	f.commits = f.commits[:0]
	f.scanner.Feed(at, data)
	to := stream.Position(at) + stream.Position(len(data))
	for i := range f.commits {
		f.commits[i].Position = min(f.commits[i].Position, to)
	}
	if err := f.writer.Append(ctx, stream.Record{From: stream.Position(at), To: to, Commits: f.commits, Data: data}); err != nil {
		return err
	}
	f.received.Store(uint64(to))
	f.damaged.Store(f.scanner.Damaged())
	select {
	case f.appended <- struct{}{}:
	default:
	}
	return nil
}

// event hears of what the scanner finds.
func (f *follower) event(e wal.Event) {
	if e.Kind == wal.Commit {
		f.commits = append(f.commits, stream.Commit{Position: stream.Position(e.End), Time: e.Time, ID: uint64(e.Xid)})
	}
}

// How often the server hears of us, at least, and how soon of what has become durable.
const (
	replyEvery = time.Second
	replySoon  = 200 * time.Millisecond
	lagEvery   = 2 * time.Second // the lag is looked at
)

// acknowledge tells the server what is durable. For a server whose commits wait it makes everything durable at once.
func (f *follower) acknowledge(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(replySoon)
	defer tick.Stop()
	var told wal.Position
	var at time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-f.appended:
			if !f.config.Synchronous {
				continue
			}
			if err := f.writer.Flush(ctx); err != nil {
				cancel(err)
				return
			}
		}
		durable := wal.Position(f.writer.Durable().Position)
		idle := time.Since(at) >= replyEvery
		if durable == told && !idle {
			continue
		}
		if err := f.reply(idle); err != nil {
			cancel(err)
			return
		}
		told, at = durable, time.Now()
		f.note()
	}
}

// reply acknowledges what is durable, and nothing else.
func (f *follower) reply(wantAnswer bool) error {
	durable := wal.Position(f.writer.Durable().Position)
	return f.s.Acknowledge(max(durable, wal.Position(f.received.Load())), durable, wantAnswer)
}

// note writes down how it stands.
func (f *follower) note() {
	mark := f.writer.Durable()
	f.update(func(st *StreamState) {
		st.Received, st.Durable = wal.Position(f.received.Load()), wal.Position(mark.Position)
		st.Server = max(wal.Position(f.server.Load()), st.Received)
		st.Through, st.Last, st.Damaged = mark.Through, mark.Last, f.damaged.Load()
	})
}

// watchLag ends the session when the server has to keep too much.
func (f *follower) watchLag(ctx context.Context, cancel context.CancelCauseFunc) {
	if f.config.MaxLagBytes < 0 {
		return
	}
	tick := time.NewTicker(lagEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		durable := wal.Position(f.writer.Durable().Position)
		end := wal.Position(f.server.Load())
		if durable < wal.Position(f.received.Load()) { // while we do not read, the server cannot say how far it is
			end = max(end, f.serverEnd(ctx))
		}
		if end > durable && int64(end-durable) > f.config.MaxLagBytes {
			cancel(fmt.Errorf("timeline %d: durable up to %v, the server is at %v: %w", f.leg.timeline, durable, end, ErrOverrun))
			return
		}
	}
}

// serverEnd asks by another connection.
func (f *follower) serverEnd(ctx context.Context) wal.Position {
	conn, err := replication.Connect(ctx, f.config.Conninfo, replication.Options{Name: f.config.Standby + " lag"})
	if err != nil {
		return 0
	}
	defer conn.Close()
	id, err := conn.Identify(ctx)
	if err != nil {
		return 0
	}
	return id.Position
}
