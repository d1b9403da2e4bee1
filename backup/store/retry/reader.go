package retry

import (
	"context"
	"errors"
	"io"

	"github.com/trivet-ha/trivet/backup/store"
)

// Open returns a reader that opens the file again, at the place it had come to, when reading breaks off.
func (w *wrapper) Open(ctx context.Context, h store.Handle, offset, length int64) (io.ReadCloser, error) {
	r := &reader{w: w, ctx: ctx, h: h, offset: offset, left: length}
	if err := Do(ctx, w.config, "open "+h.String(), r.open); err != nil {
		return nil, err
	}
	return r, nil
}

type reader struct {
	w   *wrapper
	ctx context.Context
	h   store.Handle
	// offset and left say what is still to be read; left is negative for "up to the end".
	offset, left int64
	current      io.ReadCloser
	err          error // final
}

func (r *reader) open() error {
	current, err := r.w.next.Open(r.ctx, r.h, r.offset, r.left)
	if err == nil {
		r.current = current
	}
	return err
}

// Read reads on; after an error that may pass it opens the rest of the file anew.
func (r *reader) Read(p []byte) (n int, err error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	ended := false
	r.err = Do(r.ctx, r.w.config, "read "+r.h.String(), func() (err error) {
		n, ended, err = r.try(p)
		return err
	})
	if r.err == nil && ended {
		r.err = io.EOF
	}
	return n, r.err
}

// try reads once. An error that came together with bytes is dropped: the next call reads on from there.
func (r *reader) try(p []byte) (n int, ended bool, err error) {
	if r.current == nil {
		if err := r.open(); err != nil {
			return 0, false, err
		}
	}
	n, err = r.current.Read(p)
	r.offset += int64(n)
	if r.left > 0 {
		r.left -= int64(n)
	}
	if err == nil || err == io.EOF {
		return n, err == io.EOF, nil
	}
	r.drop()
	if errors.Is(err, io.ErrUnexpectedEOF) && r.short() {
		return n, false, Permanent(err)
	}
	if n > 0 && !IsPermanent(err) {
		err = nil
	}
	return n, false, err
}

// short reports whether the file really ends before the bytes that were asked for: then nothing is
// gained by opening it again.
func (r *reader) short() bool {
	info, err := r.w.Stat(r.ctx, r.h)
	return err == nil && r.left >= 0 && info.SizeBytes < r.offset+r.left
}

func (r *reader) drop() {
	if r.current != nil {
		_ = r.current.Close() // it failed already
		r.current = nil
	}
}

// Close gives the file back.
func (r *reader) Close() error {
	if r.current == nil {
		return nil
	}
	err := r.current.Close()
	r.current = nil
	return err
}
