package s3

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/exact"
)

// Open asks for a range of the object, and reads just that.
func (s *Store) Open(ctx context.Context, h store.Handle, offset, length int64) (io.ReadCloser, error) {
	key, err := s.key(h)
	if err != nil {
		return nil, err
	}
	if length == 0 {
		return s.openNothing(ctx, h, offset)
	}
	var opts minio.GetObjectOptions
	switch {
	case length > 0:
		err = opts.SetRange(offset, offset+length-1)
	case offset > 0:
		err = opts.SetRange(offset, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open %v: %w", h, err)
	}
	body, info, _, err := s.core.GetObject(ctx, s.config.Bucket, key, opts)
	if resp := minio.ToErrorResponse(err); resp.StatusCode == http.StatusRequestedRangeNotSatisfiable || resp.Code == minio.InvalidRange {
		return s.openPastEnd(ctx, h, offset, length)
	}
	if err != nil {
		return nil, s.wrap(ctx, "open "+h.String(), err)
	}
	if length < 0 {
		length = info.Size
	}
	return exact.Reader(ctx, body, length), nil
}

// openNothing answers for an empty range, which HTTP cannot ask for.
func (s *Store) openNothing(ctx context.Context, h store.Handle, offset int64) (io.ReadCloser, error) {
	info, err := s.Stat(ctx, h)
	if err != nil {
		return nil, err
	}
	if offset > info.SizeBytes {
		return nil, fmt.Errorf("open %v at %d: %w", h, offset, io.ErrUnexpectedEOF)
	}
	return http.NoBody, nil
}

// openPastEnd answers for a range that begins at or after the end.
func (s *Store) openPastEnd(ctx context.Context, h store.Handle, offset, length int64) (io.ReadCloser, error) {
	if length > 0 {
		return nil, fmt.Errorf("open %v at %d: %w", h, offset, io.ErrUnexpectedEOF)
	}
	return s.openNothing(ctx, h, offset)
}
