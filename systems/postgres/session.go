package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/systems/postgres/replication"
	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

// session is one connection of a Streamer.
type session struct {
	*Streamer
	conn     *replication.Conn
	id       replication.Identity
	segments wal.Segments
	page     int // bytes of a page of the log
}

// session connects and follows the server from timeline to timeline. It returns nil when the server's history has changed,
// and a new session should look at it.
func (s *Streamer) session(ctx context.Context) error {
	conn, err := replication.Connect(ctx, s.config.Conninfo, replication.Options{Name: s.config.Standby})
	if err != nil {
		return err
	}
	defer conn.Close()
	x := &session{Streamer: s, conn: conn}
	if err := x.meet(ctx); err != nil {
		return err
	}
	legs, err := x.lineage(ctx)
	if err != nil {
		return err
	}
	view, err := s.config.Log.View(ctx)
	if err != nil {
		return err
	}
	x.strangers(view)
	first := len(legs) - 1
	for i, l := range slices.Backward(legs) {
		if written(view, l.id) {
			first = i
			break
		}
	}
	for i := first; i < len(legs); i++ {
		from := legs[i].begin
		if i == first {
			from = max(from, x.segments.Begin(x.kept(ctx)))
		}
		err := x.follow(ctx, view, legs[:i+1], from)
		var end *replication.TimelineEnd
		if !errors.As(err, &end) {
			return err
		}
	}
	return nil
}

// meet finds out who the server is, and makes sure of the slot.
func (x *session) meet(ctx context.Context) (err error) {
	if x.id, err = x.conn.Identify(ctx); err != nil {
		return err
	}
	if x.segments, err = x.conn.Segments(ctx); err != nil {
		return err
	}
	page, err := x.conn.Show(ctx, "wal_block_size")
	if err != nil {
		return err
	}
	if x.page, err = strconv.Atoi(page); err != nil || x.page <= 0 {
		return fmt.Errorf("wal_block_size is %q", page)
	}
	x.update(func(st *StreamState) { st.System, st.Server = x.id.System, x.id.Position })
	err = x.conn.CreateSlot(ctx, x.config.Slot)
	if err != nil && !errors.Is(err, replication.ErrSlotExists) {
		return err
	}
	if err == nil { // a new slot: say once what it takes
		if limit, err := x.conn.Show(ctx, "max_slot_wal_keep_size"); err == nil && strings.TrimSuffix(limit, "MB") == "-1" {
			x.config.Report(ErrNoLimit)
		}
	}
	return nil
}

// kept is from where the server has its log for us: a base that was taken since the slot was made needs all of it.
func (x *session) kept(ctx context.Context) wal.Position {
	slot, err := x.conn.Slot(ctx, x.config.Slot)
	if err != nil || slot.Position == 0 || slot.Timeline != x.id.Timeline {
		return x.id.Position // a server before 15 cannot tell
	}
	return min(slot.Position, x.id.Position)
}

// lineage asks the server for its history.
func (x *session) lineage(ctx context.Context) ([]leg, error) {
	text, err := x.conn.History(ctx, x.id.Timeline)
	if err != nil {
		return nil, err
	}
	history, err := wal.ParseHistory(x.id.Timeline, text)
	if err != nil {
		return nil, err
	}
	return lineage(x.config.Log, x.id.System, history)
}

// strangers reports lines of another cluster: the database was made anew, or the wrong server answers.
func (x *session) strangers(view *stream.View) {
	lines := view.Lines()
	same := slices.ContainsFunc(lines, func(l stream.LineStatus) bool { return l.System == x.id.System })
	if len(lines) > 0 && !same {
		x.config.Report(fmt.Errorf("the server is cluster %s; the log of %s is of cluster %s so far", x.id.System, x.config.Log.Database(), lines[len(lines)-1].System))
	}
}

func written(view *stream.View, id stream.LineID) bool {
	status, err := view.Line(id)
	return err == nil && len(status.Spans) > 0
}

// lastSpan is the last part of a line without a gap.
func lastSpan(view *stream.View, id stream.LineID) (stream.Span, bool) {
	status, err := view.Line(id)
	if err != nil || len(status.Spans) == 0 {
		return stream.Span{}, false
	}
	return status.Spans[len(status.Spans)-1], true
}
