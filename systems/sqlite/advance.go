package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// restBytes is how much may be left in the WAL to capture when writers are stopped.
	restBytes = 1 << 20
	// stopMost is how long writers are stopped at most, but for the checkpoint itself.
	stopMost = time.Second
	// retryAfter is when the WAL is tried again after an attempt, in vain or not.
	retryAfter = time.Second
)

// advance brings a WAL that is long enough into the database, so that it can begin anew. What cannot be done now is done later:
// the WAL grows meanwhile, and nothing is lost.
func (t *Tracker) advance(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at.frame == 0 || t.header.offset(t.at.frame+1) < t.options.WALBytes {
		return nil
	}
	if t.mayReset || t.bases > 0 || time.Since(t.tried) < retryAfter {
		return nil
	}
	err := t.moveOn(ctx)
	t.tried = time.Now()
	if err != nil {
		return fmt.Errorf("move the write-ahead log of %s on: %w", t.path, err)
	}
	return nil
}

// moveOn stores what is captured, so that little is left to do with the writers' lock. t.mu is held.
func (t *Tracker) moveOn(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := t.writer.Flush(bounded); err != nil {
		return t.later(ctx, "the store is slow", err)
	}
	if err := t.capture(ctx); err != nil {
		return err
	}
	if err := t.files.stopWriters(ctx, 1); err != nil {
		return t.later(ctx, "writers do not pause", err)
	}
	err := t.moveAlone(ctx)
	return errors.Join(err, t.files.letWriters())
}

// moveAlone has the writers' lock: the WAL ends where it ends. Its end is captured, stored and brought into the database, and
// the read transaction begins behind it. The next writer begins the WAL anew.
func (t *Tracker) moveAlone(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, stopMost)
	defer cancel()
	x, err := t.files.lookIndex(bounded)
	if err != nil {
		return err
	}
	if x.salt == t.at.salt && int64(x.frames-min(x.frames, t.at.frame))*int64(t.header.pageBytes) > restBytes {
		return t.later(ctx, "writers are fast", nil)
	}
	if err := t.capture(bounded); err != nil {
		if bounded.Err() != nil {
			return t.later(ctx, "the store is slow", err)
		}
		return err
	}
	if err := t.writer.Flush(bounded); err != nil {
		return t.later(ctx, "the store is slow", err)
	}
	if err := end(t.files.reader); err != nil {
		return err
	}
	checked := t.files.checkpoint(ctx)
	// Whatever became of it: without the read transaction nothing is safe.
	if err := begin(ctx, t.files.reader); err != nil {
		return err
	}
	if x, err = t.files.lookIndex(ctx); err != nil {
		return err
	}
	t.mayReset = true
	if x.inFile == x.frames {
		clear(t.index)
	}
	if checked != nil {
		return t.later(ctx, "no checkpoint", checked)
	}
	return nil
}

// later leaves the write-ahead log as it is until the next look. Why is told; the error is no fault of the database.
func (t *Tracker) later(ctx context.Context, why string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.options.Log.Debug("the write-ahead log stays as it is for now", "database", t.path, "why", why, "error", err)
	return nil
}
