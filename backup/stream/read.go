package stream

import (
	"context"
	"errors"
	"iter"
	"math"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

// ahead is how many objects are fetched while another is read.
const ahead = 2

// End is the position after all others: Records up to End reads what there is, with the parts of what is not whole yet.
const End = Position(math.MaxUint64)

// Records reads those of a line that lead from one position to another: each that begins before to and ends after from,
// whole, and the parts (From and To alike) between. The error is a *Gap where something is missing in between, or at
// the beginning or the end.
func (v *View) Records(ctx context.Context, id LineID, from, to Position) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		lv, err := v.find(id)
		if err != nil {
			yield(Record{}, err)
			return
		}
		objects, err := lv.between(from, to)
		if err != nil {
			yield(Record{}, err)
			return
		}
		r := reading{view: v, lv: lv, from: from, to: to, yield: yield}
		if err := r.run(ctx, objects); err != nil {
			yield(Record{}, err)
		}
	}
}

// between are the objects that lead from one position to another without a gap.
func (lv *lineView) between(from, to Position) ([]found, error) {
	var out []found
	for i := range lv.objects {
		o := &lv.objects[i]
		if o.to < from || o.from > to || o.from == to && o.to > to {
			continue
		}
		if n := len(out); n > 0 {
			if last := &out[n-1]; o.seq > last.end || o.from != last.to {
				return nil, lv.gapBetween(last.to, o.from)
			}
		}
		out = append(out, *o)
	}
	switch {
	case from >= to, to == End && len(out) > 0 && out[0].from <= from:
		return out, nil
	case len(out) == 0:
		return nil, &Gap{Line: lv.line.id, From: from, To: to}
	case out[0].from > from:
		return nil, &Gap{Line: lv.line.id, From: from, To: out[0].from, Until: nanos(out[0].first)}
	case out[len(out)-1].to < to:
		last := &out[len(out)-1]
		return nil, &Gap{Line: lv.line.id, From: last.to, To: to, Since: nanos(last.through)}
	}
	return out, nil
}

func (lv *lineView) gapBetween(from, to Position) error {
	for i := range lv.gaps {
		if g := &lv.gaps[i]; g.From == from && g.To == to {
			return g
		}
	}
	return &Gap{Line: lv.line.id, From: from, To: to}
}

// reading is one pass of Records.
type reading struct {
	view     *View
	lv       *lineView
	from, to Position
	yield    func(Record, error) bool
	seq      uint64 // the number of the next record
	stopped  bool
}

type fetched struct {
	d   *decoder
	err error
}

// run reads the objects in order, some ahead. An object that is gone was compacted meanwhile: the line is listed
// again, and what is left is read from where its records are now.
func (r *reading) run(ctx context.Context, objects []found) error {
	for attempt := 0; ; attempt++ {
		err := r.pass(ctx, objects)
		if !errors.Is(err, store.ErrNotExist) || attempt == 3 || r.stopped {
			return err
		}
		fresh, err := r.view.log.View(ctx)
		if err != nil {
			return err
		}
		if r.lv, err = fresh.find(r.lv.line.id); err != nil {
			return err
		}
		if objects, err = r.lv.between(r.from, r.to); err != nil {
			return err
		}
	}
}

func (r *reading) pass(ctx context.Context, objects []found) error {
	ctx, cancel := context.WithCancel(ctx)
	queue := make(chan chan fetched, ahead)
	done := make(chan struct{})
	go func() { // ends with cancel
		defer close(done)
		defer close(queue)
		for i := range objects {
			one := make(chan fetched, 1)
			select {
			case queue <- one:
			case <-ctx.Done():
				return
			}
			d, err := r.view.log.load(ctx, r.lv.line.id, &objects[i])
			one <- fetched{d, err}
		}
	}()
	defer func() { cancel(); <-done }()
	for one := range queue {
		f := <-one
		if f.err != nil {
			return f.err
		}
		if err := r.object(f.d); err != nil || r.stopped {
			return err
		}
	}
	return context.Cause(ctx)
}

func (r *reading) object(d *decoder) error {
	var rec Record
	for {
		seq := d.seq
		more, err := d.next(&rec)
		if err != nil || !more {
			return err
		}
		if seq < r.seq || rec.To < r.from || rec.To == r.from && rec.From < rec.To || rec.From > r.to || rec.From == r.to {
			continue
		}
		r.seq = seq + 1
		if !r.yield(rec, nil) {
			r.stopped = true
			return nil
		}
	}
}

// Commits reads the transactions of a line after from and up to to, in their order, without reading the records.
func (v *View) Commits(ctx context.Context, id LineID, from, to Position) iter.Seq2[Commit, error] {
	return func(yield func(Commit, error) bool) {
		lv, err := v.find(id)
		if err != nil {
			yield(Commit{}, err)
			return
		}
		for i := range lv.objects {
			o := &lv.objects[i]
			if o.first == 0 || o.to <= from || o.from >= to {
				continue
			}
			more, err := v.commits(ctx, id, o, func(c Commit) bool {
				return c.Position <= from || c.Position <= to && yield(c, nil)
			})
			if err != nil {
				yield(Commit{}, err)
			}
			if err != nil || !more {
				return
			}
		}
	}
}

// commits calls fn for those of one object, until it says false.
func (v *View) commits(ctx context.Context, id LineID, o *found, fn func(Commit) bool) (more bool, err error) {
	d, err := v.log.loadIndex(ctx, id, o)
	if errors.Is(err, store.ErrNotExist) { // compacted meanwhile
		return v.commitsElsewhere(ctx, id, o, fn)
	}
	if err != nil {
		return false, err
	}
	for {
		c, ok, err := d.nextCommit()
		if err != nil || !ok {
			return err == nil, err
		}
		if !fn(c) {
			return false, nil
		}
	}
}

func (v *View) commitsElsewhere(ctx context.Context, id LineID, gone *found, fn func(Commit) bool) (bool, error) {
	fresh, err := v.log.View(ctx)
	if err != nil {
		return false, err
	}
	lv, err := fresh.find(id)
	if err != nil {
		return false, err
	}
	for i := range lv.objects {
		o := &lv.objects[i]
		if !o.covers(&gone.extent) {
			continue
		}
		d, err := v.log.loadIndex(ctx, id, o)
		if err != nil {
			return false, err
		}
		for {
			c, ok, err := d.nextCommit()
			if err != nil || !ok {
				return err == nil, err
			}
			if c.Position > gone.from && c.Position <= gone.to && !fn(c) {
				return false, nil
			}
		}
	}
	return false, &Gap{Line: id, From: gone.from, To: gone.to, Since: nanos(gone.first), Until: time.Time{}}
}
