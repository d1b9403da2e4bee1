// Package exact gives a store's readers their promise: as many bytes as were asked for, or an error.
package exact

import (
	"context"
	"io"
)

// Reader yields length bytes of r and then io.EOF; io.ErrUnexpectedEOF if r ends before. A negative length means all
// that r has. When ctx has ended, a failed Read says so. Close closes r.
func Reader(ctx context.Context, r io.ReadCloser, length int64) io.ReadCloser {
	return &reader{ReadCloser: r, ctx: ctx, left: length}
}

type reader struct {
	io.ReadCloser
	ctx  context.Context
	left int64 // negative if not known
}

func (r *reader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	if r.left > 0 && int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.ReadCloser.Read(p)
	if r.left > 0 {
		r.left -= int64(n)
	}
	switch {
	case err == nil:
	case err == io.EOF && r.left > 0:
		err = io.ErrUnexpectedEOF
	case err != io.EOF && r.ctx.Err() != nil:
		err = context.Cause(r.ctx)
	}
	return n, err
}
