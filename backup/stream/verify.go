package stream

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/trivet-ha/trivet/backup/store"
)

// Verified says what Verify has read.
type Verified struct {
	Lines, Objects  int
	Records         uint64
	Commits         uint64
	Bytes           int64 // as stored
	Gaps, Forks     int
	Damaged, Absent int // objects
}

// Sound reports whether nothing is wrong.
func (v *Verified) Sound() bool { return v.Gaps+v.Forks+v.Damaged == 0 }

// Verify reads the whole log and calls report for each *Gap, each *Fork, and each object that is damaged. The error is
// about what kept it from looking.
func (l *Log) Verify(ctx context.Context, report func(error)) (Verified, error) {
	var out Verified
	v, err := l.View(ctx)
	if err != nil {
		return out, err
	}
	for _, lv := range v.lines {
		out.Lines++
		out.Gaps += len(lv.gaps)
		out.Forks += len(lv.forks)
		for _, list := range [][]found{lv.objects, lv.spare} {
			for i := range list {
				if err := l.verifyObject(ctx, lv, &list[i], &out, report); err != nil {
					return out, err
				}
			}
		}
	}
	for _, p := range v.Problems() {
		report(p)
	}
	return out, nil
}

func (l *Log) verifyObject(ctx context.Context, lv *lineView, f *found, out *Verified, report func(error)) error {
	records, commits, err := l.count(ctx, lv.line.id, f)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, store.ErrNotExist): // compacted meanwhile
		out.Absent++
		return nil
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrUnauthenticated):
		out.Damaged++
		report(fmt.Errorf("object %s of line %s, %v: %w", f.name(), lv.line.id, &f.extent, err))
	case err != nil:
		return err
	}
	out.Objects++
	out.Records += records
	out.Commits += commits
	out.Bytes += f.bytes
	return nil
}

func (l *Log) count(ctx context.Context, id LineID, f *found) (records, commits uint64, err error) {
	d, err := l.load(ctx, id, f)
	if err != nil {
		return 0, 0, err
	}
	var rec Record
	for {
		more, err := d.next(&rec)
		if err != nil || !more {
			return records, commits, err
		}
		records++
		commits += uint64(len(rec.Commits))
	}
}

// Trim removes the objects of a line that end before a position: what no base needs any more.
func (l *Log) Trim(ctx context.Context, id LineID, before Position) (removed int, bytes int64, err error) {
	objects, _, err := l.list(ctx, id)
	if err != nil {
		return 0, 0, err
	}
	for i := range objects[id] {
		f := &objects[id][i]
		if f.to >= before && before != math.MaxUint64 {
			continue
		}
		if err := l.store.Remove(ctx, l.handle(id, f.name())); err != nil {
			return removed, bytes, fmt.Errorf("trim the log of %s: %w", l.database, err)
		}
		removed++
		bytes += f.bytes
	}
	return removed, bytes, nil
}

// Forget removes a line: what no base needs any more.
func (l *Log) Forget(ctx context.Context, id LineID) (removed int, bytes int64, err error) {
	if removed, bytes, err = l.Trim(ctx, id, math.MaxUint64); err != nil {
		return removed, bytes, err
	}
	return removed, bytes, l.store.Remove(ctx, l.handle(id, "line"))
}
