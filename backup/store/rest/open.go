package rest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/exact"
)

// Open asks for a range of the file (RFC 9110 §14.2), and reads just that.
func (s *Store) Open(ctx context.Context, h store.Handle, offset, length int64) (io.ReadCloser, error) {
	path, err := s.path(h)
	if err != nil {
		return nil, err
	}
	if length == 0 {
		return s.openNothing(ctx, h, offset)
	}
	header := http.Header{}
	switch {
	case length > 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	ranged := header.Get("Range") != ""
	resp, err := s.do(ctx, http.MethodGet, path, header, nil,
		http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
	if err != nil {
		return nil, fmt.Errorf("open %v: %w", h, err)
	}
	switch {
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		resp.Body.Close()
		return s.openPastEnd(ctx, h, offset, length)
	case ranged && resp.StatusCode == http.StatusOK:
		// The server ignores ranges: step over what was not asked for.
		if n, err := io.CopyN(io.Discard, resp.Body, offset); err != nil {
			resp.Body.Close()
			if err == io.EOF && n < offset {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("open %v: %w", h, err)
		}
		if resp.ContentLength >= 0 {
			resp.ContentLength -= offset
		}
	}
	left := length
	if left < 0 {
		left = resp.ContentLength // -1 if the server does not tell
	}
	return exact.Reader(ctx, resp.Body, left), nil
}

// openNothing answers for an empty range, which HTTP cannot ask for.
func (s *Store) openNothing(ctx context.Context, h store.Handle, offset int64) (io.ReadCloser, error) {
	info, err := s.Stat(ctx, h)
	if err != nil {
		return nil, err
	}
	if offset > info.SizeBytes {
		return nil, fmt.Errorf("open %v at %s: %w", h, strconv.FormatInt(offset, 10), io.ErrUnexpectedEOF)
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
