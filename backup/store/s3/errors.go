package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/minio/minio-go/v7"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/retry"
)

// wrap gives an error of the client its meaning for a store. nil stays nil.
func (s *Store) wrap(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%s: %w", what, cause)
	}
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err // the URL holds a signature
	}
	return fmt.Errorf("%s: %w", what, s.classify(err))
}

func (s *Store) classify(err error) error {
	resp := minio.ToErrorResponse(err)
	switch resp.Code {
	case minio.NoSuchKey:
		return fmt.Errorf("%w (%w)", store.ErrNotExist, err)
	case minio.NoSuchBucket:
		return retry.Permanent(fmt.Errorf("bucket %q does not exist (\"trivet repo init\" makes it)", s.config.Bucket))
	case minio.AccessDenied, "InvalidAccessKeyId", "SignatureDoesNotMatch", "ObjectLocked", "AllAccessDisabled", "InvalidObjectState":
		return fmt.Errorf("%w (%w)", store.ErrDenied, err)
	case "RequestTimeTooSkewed":
		return retry.Permanent(fmt.Errorf("%w (is this machine's clock right?)", err))
	case "RequestTimeout", "SlowDown", "RequestTimeoutException", "OperationAborted", "ConditionalRequestConflict":
		return err
	}
	switch {
	case resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%w (%w)", store.ErrDenied, err)
	case resp.StatusCode >= 400 && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests:
		return retry.Permanent(err)
	}
	return err
}
