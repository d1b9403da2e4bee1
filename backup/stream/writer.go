package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

// Options say how a Writer works. The zero value is right for most.
type Options struct {
	// Flush is how long a record waits at most until it is on its way to the store; 1s if 0.
	Flush time.Duration
	// FlushBytes is how much waits at most; 4 MiB if 0. A Writer holds twice as much.
	FlushBytes int
	// Idle is how often a source that has nothing new is recorded to have nothing new, after the first time;
	// 10s if 0. See Writer.Idle.
	Idle time.Duration
	// Compact is how much time an object of each level above 0 covers: 30s, 5m and 1h if zero.
	Compact [levels - 1]time.Duration
	// Known is how far the line was durable when this process, or the one before it, last knew. A log that ends before that was
	// cut off: ErrCutOff.
	Known Mark
	// Failed hears why the store does not take an object, at each attempt, and nil when it does again.
	Failed func(error)
	// Trouble hears of gaps and forks that are found while it runs, and of compactions that fail. Writing goes on.
	Trouble func(error)
}

func (o Options) withDefaults() (Options, error) {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.Flush, time.Second)
	set(&o.Idle, 10*time.Second)
	set(&o.Compact[0], 30*time.Second)
	set(&o.Compact[1], 5*time.Minute)
	set(&o.Compact[2], time.Hour)
	if o.FlushBytes == 0 {
		o.FlushBytes = 4 << 20
	}
	if o.Flush < 0 || o.Idle < 0 || o.FlushBytes < 0 || o.FlushBytes > 16<<20 ||
		o.Compact[0] <= 0 || o.Compact[1] < o.Compact[0] || o.Compact[2] < o.Compact[1] {
		return o, errors.New("an option is out of range")
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	if o.Trouble == nil {
		o.Trouble = func(error) {}
	}
	return o, nil
}

// Errors of writing.
var (
	// ErrCutOff: the end of the log that was known to be durable is not there.
	ErrCutOff = errors.New("the log ends before what was durable")
	// ErrForked: somebody else writes the same line.
	ErrForked = errors.New("somebody else writes the same line")
	// ErrStopped: Run has ended.
	ErrStopped = errors.New("the writer does not run any more")
)

// Writer appends to one line. While Run runs, what was appended becomes durable within Options.Flush and the time that the
// store takes. Append, Idle, Flush and Durable may be called from several goroutines at once.
type Writer struct {
	log     *Log
	line    Line
	lineSum [32]byte
	options Options
	kick    chan struct{}   // there is something to do at once
	told    map[string]bool // losses that were told, by the goroutine that compacts
	sending *parcel         // not stored yet, by the goroutine that flushes

	mu      sync.Mutex
	changed chan struct{} // closed, and replaced, whenever what follows changes
	open    *draft        // takes records
	through time.Time     // up to when the source had no more than was appended
	opened  time.Time     // when it took its first record
	durable Mark
	marked  bool      // the last object says only that time has passed
	waiting time.Time // since when the oldest record waits that is not durable
	stopped error
}

// Writer opens a line for writing: it makes it, if it is new, and finds its end. A new line begins at from; for one that is
// there, from says nothing. The error is ErrForked where two wrote the line, and ErrCutOff. The caller starts Run.
func (l *Log) Writer(ctx context.Context, line Line, from Position, o Options) (*Writer, error) {
	w, err := l.newWriter(ctx, line, from, o)
	if err != nil {
		return nil, fmt.Errorf("write the log of %s: %w", l.database, err)
	}
	return w, nil
}

func (l *Log) newWriter(ctx context.Context, line Line, from Position, o Options) (*Writer, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if line, err = l.saveLine(ctx, line); err != nil {
		return nil, err
	}
	w := &Writer{log: l, line: line, lineSum: l.lineSum(line.id), options: o, kick: make(chan struct{}, 1), changed: make(chan struct{}), told: map[string]bool{}}
	w.durable = Mark{Position: from, Chain: l.start(line.id), Through: line.Began}
	if err := w.resume(ctx); err != nil {
		return nil, err
	}
	if known := o.Known; known.Records > w.durable.Records || known.Records == w.durable.Records && known.Records > 0 && known.Chain != w.durable.Chain {
		return nil, fmt.Errorf("%w: it has %d records, position %d; %d and %d were durable", ErrCutOff,
			w.durable.Records, w.durable.Position, known.Records, known.Position)
	}
	w.open = w.newDraft()
	return w, nil
}

// resume finds the end of the line.
func (w *Writer) resume(ctx context.Context) error {
	objects, _, err := w.log.list(ctx, w.line.id)
	if err != nil {
		return err
	}
	lv := arrange(w.line, objects[w.line.id])
	if len(lv.forks) > 0 {
		return fmt.Errorf("%w: %w", ErrForked, &lv.forks[0])
	}
	if len(lv.objects) == 0 {
		return nil
	}
	end := &lv.objects[len(lv.objects)-1]
	d, err := w.log.loadIndex(ctx, w.line.id, end)
	if err != nil {
		return err
	}
	w.durable = Mark{Position: end.to, Records: end.end, Chain: d.header.after, Through: nanos(end.through)}
	for {
		c, ok, err := d.nextCommit()
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		w.durable.Last = c
	}
}

func (w *Writer) newDraft() *draft {
	end := w.durable
	if d := w.open; d != nil { // the next one begins where it ends
		end = Mark{Position: d.extent.to, Records: d.extent.end, Chain: d.chain.sum}
	}
	return newDraft(&w.log.codec, 0, end.Records, end.Position, end.Chain)
}

// Line is the line that is written.
func (w *Writer) Line() Line { return w.line }

// Next is where the next record must begin.
func (w *Writer) Next() Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open.extent.to
}

// Durable tells how far the line is durable.
func (w *Writer) Durable() Mark {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.durable
}

// Append takes a record. It keeps nothing of it, and waits while as much as Options.FlushBytes waits for the store. The
// error is a *Gap if the record does not begin where the last one ended: then nothing was taken, and Skip would leave
// the gap.
func (w *Writer) Append(ctx context.Context, r Record) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("append to the log of %s: %w", w.log.database, err)
	}
	w.mu.Lock()
	for w.stopped == nil && w.full() {
		w.wake()
		if err := w.wait(ctx); err != nil {
			w.mu.Unlock()
			return err
		}
	}
	defer w.mu.Unlock()
	if w.stopped != nil {
		return w.stopped
	}
	if at := w.open.extent.to; r.From != at {
		return fmt.Errorf("append to the log of %s: %w", w.log.database, &Gap{Line: w.line.id, From: at, To: r.From, Since: w.through})
	}
	now := time.Now()
	if w.open.extent.end == w.durable.Records {
		w.waiting = now
	}
	if w.open.empty() {
		w.opened = now
	}
	w.open.add(&r)
	if w.full() {
		w.wake()
	}
	return nil
}

func (w *Writer) full() bool {
	return w.open.bytes >= w.options.FlushBytes || len(w.open.index) >= maxIndexBytes
}

// Skip leaves a gap: the next record begins at to. For a source that has lost what comes next; a new base should follow.
func (w *Writer) Skip(ctx context.Context, to Position) error {
	if err := w.Flush(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if at := w.open.extent.to; to < at {
		return fmt.Errorf("skip in the log of %s: %d is before %d", w.log.database, to, at)
	}
	if !w.open.empty() {
		return fmt.Errorf("skip in the log of %s: somebody else appends", w.log.database)
	}
	w.open.extent.from, w.open.extent.to, w.open.last = to, to, Commit{Position: to}
	return nil
}

// Idle says that the source has nothing more at this time. From time to time that becomes durable, too: so that one can
// go back to a time at which nothing happened, and know it.
func (w *Writer) Idle() { w.IdleAt(time.Now()) }

// IdleAt is Idle for a time that has just passed: the one before the look that found nothing more.
func (w *Writer) IdleAt(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.After(w.through) {
		w.through = t
	}
}

// Flush waits until all that was appended before is durable.
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	want := w.open.extent.end
	for w.durable.Records < want {
		if w.stopped != nil {
			return w.stopped
		}
		w.wake()
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// wait waits for a change. w.mu is held before and after.
func (w *Writer) wait(ctx context.Context) error {
	changed := w.changed
	w.mu.Unlock()
	defer w.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// change wakes those who wait. w.mu is held.
func (w *Writer) change() {
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *Writer) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// lastWords is how long Run tries to store what is left, after its context has ended.
const lastWords = 5 * time.Second

// Run stores what is appended, and compacts what is stored, until ctx ends; then it stores what is left, if the store
// takes it soon. Its error is ErrForked when somebody else writes the line. It is called once.
func (w *Writer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.compactAlways(ctx); err != nil {
			cancel(err)
		}
	})
	err := w.flushAlways(ctx)
	if err == nil && errors.Is(context.Cause(ctx), ErrForked) {
		err = context.Cause(ctx)
	}
	cancel(nil)
	wg.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = ErrStopped
	if err != nil {
		w.stopped = err
	}
	w.change()
	return err
}

func (w *Writer) flushAlways(ctx context.Context) error {
	tick := time.NewTicker(w.options.Flush)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-w.kick:
		case <-ctx.Done():
			rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			if errors.Is(context.Cause(ctx), ErrForked) {
				return nil
			}
			for range 2 { // what an attempt has left, and what came since
				if err := w.flush(rest); err != nil && rest.Err() == nil {
					return err
				}
			}
			return nil // where it could not, Failed has heard
		}
		if err := w.flush(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// parcel is an object on its way.
type parcel struct {
	draft   *draft
	through time.Time
	handle  store.Handle
	sealed  []byte
}

// flush stores what is open, and tries again until the store takes it or ctx ends. What an attempt has left goes first.
func (w *Writer) flush(ctx context.Context) error {
	if w.sending == nil {
		d, through := w.take()
		if d == nil {
			return nil
		}
		name, sealed := d.finish(w.log.keys, w.lineSum, through.UnixNano(), func(e *extent) string { return w.log.path(w.line.id, e.name()) })
		w.sending = &parcel{d, through, store.Handle{Kind: store.Log, Name: name}, sealed}
	}
	p := w.sending
	if err := w.save(ctx, p.handle, p.sealed); err != nil {
		return fmt.Errorf("write the log of %s: %w", w.log.database, err)
	}
	w.sending = nil
	w.mu.Lock()
	defer w.mu.Unlock()
	w.durable = Mark{Position: p.draft.extent.to, Records: p.draft.extent.end, Chain: p.draft.chain.sum, Through: p.through, Last: w.durable.Last}
	if p.draft.count > 0 {
		w.durable.Last = p.draft.last
	}
	w.waiting = w.opened // what came meanwhile
	w.change()
	return nil
}

// take takes the draft that is open, if it is worth an object.
func (w *Writer) take() (*draft, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	through := w.through
	if through.Before(w.durable.Through) {
		through = w.durable.Through // the clock was set back
	}
	d := w.open
	if last := nanos(d.extent.last); through.Before(last) && !last.After(time.Now()) {
		through = last
	}
	if d.empty() {
		pause := w.options.Idle
		if !w.marked { // what was written last was a change: that nothing follows it is worth knowing soon
			pause = min(pause, w.options.Flush)
		}
		if through.Sub(w.durable.Through) < pause {
			return nil, through
		}
		w.marked = true
		d.add(&Record{From: d.extent.to, To: d.extent.to})
	}
	if d.extent.end-d.extent.seq > 1 || d.extent.from < d.extent.to || d.bytes > 2 {
		w.marked = false
	}
	w.open = w.newDraft()
	w.change()
	return d, through
}

// Waits between attempts to store an object.
const (
	firstWait   = 100 * time.Millisecond
	longestWait = 10 * time.Second
)

// save stores an object. That an attempt failed says nothing about whether it is there: the same bytes go again under the
// same name.
func (w *Writer) save(ctx context.Context, h store.Handle, sealed []byte) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := w.log.store.Save(ctx, h, sealed)
		if err == nil {
			if wait > firstWait {
				w.options.Failed(nil)
			}
			return nil
		}
		w.options.Failed(err)
		if errors.Is(err, store.ErrUnsupported) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Lag is how long ago the oldest record was appended that is not durable yet; 0 if all are.
func (w *Writer) Lag(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open.extent.end == w.durable.Records {
		return 0
	}
	return max(0, now.Sub(w.waiting))
}
