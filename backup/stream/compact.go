package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

// compactBytes is how large an object becomes by compaction.
const compactBytes = 16 << 20

// compactAlways compacts whenever a stretch of the lowest level is over. It ends with ErrForked, or when ctx ends.
func (w *Writer) compactAlways(ctx context.Context) error {
	tick := time.NewTicker(w.options.Compact[0])
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		err := w.look(ctx)
		switch {
		case errors.Is(err, ErrForked):
			w.options.Trouble(err)
			return err
		case errors.Is(err, store.ErrDenied): // a place where nothing is removed: objects stay as they are
			w.options.Trouble(err)
			return nil
		case err != nil && ctx.Err() == nil:
			w.options.Trouble(err)
		}
	}
}

// look lists the line, says what is wrong with it, and compacts it.
func (w *Writer) look(ctx context.Context) error {
	known := w.Durable()
	objects, _, err := w.log.list(ctx, w.line.id)
	if err != nil {
		return err
	}
	lv := arrange(w.line, objects[w.line.id])
	if err := w.findStranger(lv); err != nil {
		return err
	}
	for _, err := range w.findLosses(lv, known) {
		if text := err.Error(); !w.told[text] {
			w.told[text] = true
			w.options.Trouble(err)
		}
	}
	return w.log.compact(ctx, lv, w.options.Compact, time.Now())
}

// findStranger looks for objects that this writer did not write.
func (w *Writer) findStranger(lv *lineView) error {
	if len(lv.forks) > 0 {
		return fmt.Errorf("%w: %w", ErrForked, &lv.forks[0])
	}
	now := w.Durable() // known later than the listing: what was listed of ours begins before it
	for i := range lv.objects {
		o := &lv.objects[i]
		if o.seq > now.Records || o.end == now.Records && o.after != short(now.Chain) {
			return fmt.Errorf("%w: object %s is not ours", ErrForked, o.name())
		}
	}
	return nil
}

// findLosses says what is gone of what was durable.
func (w *Writer) findLosses(lv *lineView, known Mark) (losses []error) {
	for i := range lv.gaps {
		if g := &lv.gaps[i]; g.Records > 0 {
			losses = append(losses, fmt.Errorf("what was stored is gone: %w", g))
		}
	}
	end := uint64(0)
	if n := len(lv.objects); n > 0 {
		end = lv.objects[n-1].end
	}
	if end < known.Records {
		losses = append(losses, fmt.Errorf("what was stored is gone: %w: %d records of %d are there", ErrCutOff, end, known.Records))
	}
	return losses
}

// Compact replaces the objects of a line whose stretch of time is over by fewer and larger ones with the same records, and
// removes what a compaction that was cut off has left. Spans are Options.Compact. The error is ErrForked where two wrote
// the line, or store.ErrDenied where nothing may be removed.
func (l *Log) Compact(ctx context.Context, id LineID, spans [levels - 1]time.Duration, now time.Time) error {
	v, err := l.look(ctx)
	if err != nil {
		return err
	}
	lv, err := v.find(id)
	if err != nil {
		return err
	}
	if len(lv.forks) > 0 {
		return fmt.Errorf("compact the log of %s: %w: %w", l.database, ErrForked, &lv.forks[0])
	}
	o, err := Options{Compact: spans}.withDefaults()
	if err != nil {
		return fmt.Errorf("compact the log of %s: %w", l.database, err)
	}
	return l.compact(ctx, lv, o.Compact, now)
}

func (l *Log) compact(ctx context.Context, lv *lineView, spans [levels - 1]time.Duration, now time.Time) error {
	if err := l.removeAll(ctx, lv.line.id, lv.spare); err != nil {
		return err
	}
	objects := lv.objects
	for level := 1; level < levels; level++ {
		var next []found
		for _, group := range groups(objects, level, spans[level-1], now) {
			one, err := l.merge(ctx, lv.line.id, level, group)
			if err != nil {
				return fmt.Errorf("compact the log of %s: %w", l.database, err)
			}
			next = append(next, one)
		}
		objects = next
	}
	return nil
}

// groups cuts the objects into those that become one at a level. A group of one stays as it is.
func groups(objects []found, level int, span time.Duration, now time.Time) [][]found {
	var out [][]found
	var bytes int64
	begin := 0
	for i := range objects {
		o := &objects[i]
		if i > begin {
			last := &objects[i-1]
			together := o.level < level && last.level < level && o.seq == last.end && o.from == last.to &&
				o.through/int64(span) == last.through/int64(span) && bytes+o.bytes <= compactBytes
			if !together {
				out = append(out, objects[begin:i])
				begin, bytes = i, 0
			}
		}
		bytes += o.bytes
	}
	if begin < len(objects) {
		out = append(out, objects[begin:])
	}
	for i, group := range out {
		if last := &group[len(group)-1]; last.through/int64(span) >= now.UnixNano()/int64(span) {
			return append(out[:i], single(out[i:])...)
		}
	}
	return out
}

// single takes groups apart.
func single(groups [][]found) (out [][]found) {
	for _, group := range groups {
		for i := range group {
			out = append(out, group[i:i+1])
		}
	}
	return out
}

// merge makes one object of several, reads it back, and removes them.
func (l *Log) merge(ctx context.Context, id LineID, level int, group []found) (found, error) {
	if len(group) == 1 {
		return group[0], nil
	}
	d, through, err := l.gather(ctx, id, level, group)
	if err != nil {
		return found{}, err
	}
	name, sealed := d.finish(l.keys, l.lineSum(id), through, func(e *extent) string { return l.path(id, e.name()) })
	one := found{d.extent, int64(len(sealed))}
	if err := l.store.Save(ctx, store.Handle{Kind: store.Log, Name: name}, sealed); err != nil {
		return found{}, err
	}
	if err := l.readBack(ctx, id, &one); err != nil {
		return found{}, fmt.Errorf("%s does not read back: %w", name, err)
	}
	return one, l.removeAll(ctx, id, group)
}

// gather puts the records of several objects into one.
func (l *Log) gather(ctx context.Context, id LineID, level int, group []found) (d *draft, through int64, err error) {
	var rec Record
	for i := range group {
		in, err := l.load(ctx, id, &group[i])
		if err != nil {
			return nil, 0, err
		}
		if d == nil {
			d = newDraft(&l.codec, level, in.seq, in.at, in.header.before)
		}
		if in.header.before != d.chain.sum {
			return nil, 0, fmt.Errorf("%w: object %s does not follow the one before it", ErrDamaged, group[i].name())
		}
		for {
			more, err := in.next(&rec)
			if err != nil {
				return nil, 0, fmt.Errorf("%s: %w", group[i].name(), err)
			}
			if !more {
				break
			}
			d.add(&rec)
		}
		through = max(through, group[i].through)
	}
	return d, through, nil
}

// readBack reads all of an object.
func (l *Log) readBack(ctx context.Context, id LineID, f *found) error {
	d, err := l.load(ctx, id, f)
	if err != nil {
		return err
	}
	var rec Record
	for more := true; more; {
		if more, err = d.next(&rec); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) removeAll(ctx context.Context, id LineID, list []found) error {
	for i := range list {
		if err := l.store.Remove(ctx, l.handle(id, list[i].name())); err != nil {
			return err
		}
	}
	return nil
}
