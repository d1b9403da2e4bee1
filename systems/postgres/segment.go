package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

// segmentFile is a file of the log that recovery needs.
type segmentFile struct {
	name  string
	begin wal.Position
	end   wal.Position // of what is known of it; zeros follow
}

// segmentFiles are the files from one position to another along legs. Each has the name of the newest timeline that wrote in
// it, as that is the one that PostgreSQL asks for first.
func segmentFiles(legs []leg, size wal.Segments, from, to wal.Position) []segmentFile {
	var files []segmentFile
	for begin := size.Begin(from); begin < to; begin += wal.Position(size) {
		f := segmentFile{begin: begin, end: min(to, begin+wal.Position(size))}
		timeline := wal.Timeline(0)
		for _, l := range legs {
			if l.begin < f.end && l.end > begin {
				timeline = l.timeline
			}
		}
		f.name = size.Name(timeline, begin)
		files = append(files, f)
	}
	return files
}

// pieces are the legs' parts between two positions, in order.
func pieces(legs []leg, from, to wal.Position) []leg {
	var out []leg
	for _, l := range legs {
		if l.begin, l.end = max(l.begin, from), min(l.end, to); l.begin < l.end {
			out = append(out, l)
		}
	}
	return out
}

// copyLog calls write with all bytes of the log between two positions, in order.
func copyLog(ctx context.Context, view *stream.View, legs []leg, from, to wal.Position, write func(at wal.Position, data []byte) error) error {
	at := from
	for _, l := range pieces(legs, from, to) {
		for r, err := range view.Records(ctx, l.id, stream.Position(l.begin), stream.Position(l.end)) {
			if err != nil {
				return err
			}
			begin, data := wal.Position(r.From), r.Data
			if begin < at {
				data = data[min(len(data), int(at-begin)):]
				begin = at
			}
			data = data[:min(len(data), int(l.end-min(l.end, begin)))]
			if begin != at {
				return &stream.Gap{Line: l.id, From: stream.Position(at), To: stream.Position(begin)}
			}
			if len(data) == 0 {
				continue
			}
			if err := write(at, data); err != nil {
				return err
			}
			at += wal.Position(len(data))
		}
	}
	if at != to {
		return &stream.Gap{From: stream.Position(at), To: stream.Position(to)}
	}
	return nil
}

// Fetch brings one file of the log for PostgreSQL's restore_command: a segment or the history of a timeline. It is written
// to path under another name first. What the log does not have is fs.ErrNotExist: for PostgreSQL that is the end of the
// log, or a timeline that nobody began; any other error should stop it. The end of the log is given with zeros behind it.
func Fetch(ctx context.Context, log *stream.Log, size wal.Segments, name, path string) error {
	err := fetch(ctx, log, size, name, path)
	if err != nil {
		return fmt.Errorf("fetch %s of %s: %w", name, log.Database(), err)
	}
	return nil
}

// FetchExitCode is what a restore_command must exit with after Fetch: 0, 1 for what the log does not have, and 200 for all
// else. From 126 on PostgreSQL gives up; anything less it takes for the end of the log, and would open the database
// without the rest of it.
func FetchExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, fs.ErrNotExist):
		return 1
	}
	return 200
}

func fetch(ctx context.Context, log *stream.Log, size wal.Segments, name, path string) error {
	view, err := log.View(ctx)
	if err != nil {
		return err
	}
	if t, ok := wal.ParseHistoryName(name); ok {
		legs, err := newestOf(view, t)
		if err != nil {
			return err
		}
		text := historyText("", legs)
		if len(text) == 0 {
			return fs.ErrNotExist
		}
		return writeWhole(path, func(w io.WriterAt) error {
			_, err := w.WriteAt(text, 0)
			return err
		}, 0)
	}
	t, begin, err := size.Parse(name)
	if err != nil {
		return fs.ErrNotExist // a backup's history, a partial segment: nobody has that here
	}
	legs, err := newestOf(view, t)
	if err != nil {
		return err
	}
	own := &legs[len(legs)-1]
	span, ok := lastSpan(view, own.id)
	for _, s := range spansOf(view, own.id) {
		if s.From <= stream.Position(begin+wal.Position(size)) && s.To > stream.Position(begin) {
			span = s
		}
	}
	own.end = wal.Position(span.To)
	end := min(own.end, begin+wal.Position(size))
	if !ok || end <= begin || own.begin >= end {
		return fs.ErrNotExist
	}
	return writeWhole(path, func(w io.WriterAt) error {
		return copyLog(ctx, view, legs, begin, end, func(at wal.Position, data []byte) error {
			_, err := w.WriteAt(data, int64(at-begin))
			return err
		})
	}, int64(size))
}

func spansOf(view *stream.View, id stream.LineID) []stream.Span {
	status, err := view.Line(id)
	if err != nil {
		return nil
	}
	return status.Spans
}

// newestOf are the legs that end on the newest line of a timeline. Of two lines of one number, the one that began later is
// meant; both are kept.
func newestOf(view *stream.View, t wal.Timeline) ([]leg, error) {
	var leaf stream.LineID
	for _, l := range view.Lines() {
		if l.Engine == engine && l.Timeline == uint64(t) {
			leaf = l.ID()
		}
	}
	if leaf == "" {
		return nil, fs.ErrNotExist
	}
	return legsOf(view, leaf)
}

// writeWhole makes a file of a size that is there as a whole or not at all.
func writeWhole(path string, fill func(io.WriterAt) error, size int64) (err error) {
	f, err := os.OpenFile(path+".trivet", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(filepath.Clean(path)+".trivet"))
		}
	}()
	err = fill(f)
	if err == nil && size > 0 {
		err = f.Truncate(size)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(path+".trivet", path)
	}
	return err
}
