// Package s3 keeps a repository in a bucket of Amazon S3 or of a server that speaks its protocol, in the layout that
// restic uses there.
//
// A file is written under the condition that its name is free, so that two writers never overwrite each other;
// servers without conditional writes are asked first. With object lock configured, every file but a lock is
// held back from deletion for a time that is counted from its writing and can be extended. The package never
// repeats a request (package retry does), and never lets a secret into an error.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/retry"
)

// singlePutBytes is the largest file sent in one request: a part of that size is what a repetition costs.
const singlePutBytes = 64 << 20

// Store is a repository in a bucket.
type Store struct {
	client *minio.Client
	core   minio.Core
	config Config
	// plain is set once the server turned out not to know conditional writes.
	plain atomic.Bool
}

var _ store.Store = (*Store)(nil)

// New checks the configuration. It does not connect.
func New(c Config) (*Store, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	transport, err := c.transport()
	if err != nil {
		return nil, err
	}
	client, err := minio.New(c.Endpoint, &minio.Options{
		Creds:        c.credentials(transport),
		Secure:       !c.PlainHTTP,
		Transport:    transport,
		Region:       c.Region,
		BucketLookup: c.lookup(),
		MaxRetries:   1,
	})
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	return &Store{client: client, core: minio.Core{Client: client}, config: c}, nil
}

// String is the place, without secrets.
func (s *Store) String() string {
	scheme := "https"
	if s.config.PlainHTTP {
		scheme = "http"
	}
	return strings.TrimSuffix(fmt.Sprintf("s3:%s://%s/%s/%s", scheme, s.config.Endpoint, s.config.Bucket, s.config.Prefix), "/")
}

// Create makes the bucket if it is not there, able to lock objects if that is configured.
func (s *Store) Create(ctx context.Context) error {
	err := s.client.MakeBucket(ctx, s.config.Bucket, minio.MakeBucketOptions{
		Region: s.config.Region, ObjectLocking: s.config.Lock.Mode != "",
	})
	switch minio.ToErrorResponse(err).Code {
	case minio.BucketAlreadyOwnedByYou, minio.BucketAlreadyExists:
		return nil
	}
	return s.wrap(ctx, "create bucket "+s.config.Bucket, err)
}

func (s *Store) key(h store.Handle) (string, error) {
	if err := h.Valid(); err != nil {
		return "", retry.Permanent(err)
	}
	return s.config.keyPrefix() + h.Path(), nil
}

// Save writes under the condition that the name is free.
func (s *Store) Save(ctx context.Context, h store.Handle, data []byte) error {
	key, err := s.key(h)
	if err != nil {
		return err
	}
	err = s.put(ctx, h, key, data)
	if minio.ToErrorResponse(err).Code == minio.NoSuchBucket && (h.Kind == store.Config || h.Kind == store.Key) {
		// These two kinds begin a repository.
		if err = s.Create(ctx); err == nil {
			err = s.put(ctx, h, key, data)
		}
	}
	if broken(err) && ctx.Err() == nil {
		// A server that refuses may close before it has read the body; its answer is lost with the connection then.
		// Whether the object is there tells what it was.
		if _, stat := s.Stat(ctx, h); stat == nil {
			return s.compare(ctx, h, data)
		}
		err = s.put(ctx, h, key, data)
	}
	if taken(err) {
		return s.compare(ctx, h, data)
	}
	return s.wrap(ctx, "save "+h.String(), err)
}

// broken reports whether the connection ended while the request was sent.
func broken(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

func (s *Store) put(ctx context.Context, h store.Handle, key string, data []byte) error {
	opts := minio.PutObjectOptions{
		ContentType:  "application/octet-stream",
		StorageClass: s.config.storageClass(h.Kind),
		PartSize:     singlePutBytes,
		NumThreads:   4,
	}
	if s.config.locks(h.Kind) {
		opts.Mode = minio.RetentionMode(s.config.Lock.Mode)
		opts.RetainUntilDate = time.Now().Add(s.config.Lock.Keep).UTC()
		opts.SendContentMd5 = true // S3 asks for it beside a retention
	}
	if !s.plain.Load() {
		opts.SetMatchETagExcept("*")
		_, err := s.client.PutObject(ctx, s.config.Bucket, key, bytes.NewReader(data), int64(len(data)), opts)
		if resp := minio.ToErrorResponse(err); resp.StatusCode != http.StatusNotImplemented && resp.Code != minio.NotImplemented {
			return err
		}
		s.plain.Store(true)
	}
	return s.putPlain(ctx, h, key, data, opts)
}

// putPlain is for servers that know no conditions: it asks before it writes.
func (s *Store) putPlain(ctx context.Context, h store.Handle, key string, data []byte, opts minio.PutObjectOptions) error {
	_, err := s.Stat(ctx, h)
	if err == nil {
		return minio.ErrorResponse{StatusCode: http.StatusPreconditionFailed, Code: minio.PreconditionFailed}
	}
	if !errors.Is(err, store.ErrNotExist) {
		return err
	}
	bare := minio.PutObjectOptions{
		ContentType: opts.ContentType, StorageClass: opts.StorageClass, PartSize: opts.PartSize, NumThreads: opts.NumThreads,
		Mode: opts.Mode, RetainUntilDate: opts.RetainUntilDate, SendContentMd5: opts.SendContentMd5,
	}
	_, err = s.client.PutObject(ctx, s.config.Bucket, key, bytes.NewReader(data), int64(len(data)), bare)
	return err
}

// taken reports whether the name was not free, or another writer of it was in flight.
func taken(err error) bool {
	resp := minio.ToErrorResponse(err)
	return resp.Code == minio.PreconditionFailed || resp.StatusCode == http.StatusPreconditionFailed
}

// compare decides what it means that the name is taken.
func (s *Store) compare(ctx context.Context, h store.Handle, data []byte) error {
	info, err := s.Stat(ctx, h)
	if err != nil {
		return err
	}
	if info.SizeBytes != int64(len(data)) {
		return fmt.Errorf("save %v: %w with %d bytes, not %d", h, store.ErrExist, info.SizeBytes, len(data))
	}
	return nil
}

// Stat asks for the size.
func (s *Store) Stat(ctx context.Context, h store.Handle) (store.Info, error) {
	key, err := s.key(h)
	if err != nil {
		return store.Info{}, err
	}
	obj, err := s.client.StatObject(ctx, s.config.Bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return store.Info{}, s.wrap(ctx, "stat "+h.String(), err)
	}
	return store.Info{Name: h.Name, SizeBytes: obj.Size}, nil
}

// List reports pages of up to a thousand objects as they come.
func (s *Store) List(ctx context.Context, kind store.Kind, prefix string, fn func(store.Info) error) error {
	if kind == store.Config {
		return s.listConfig(ctx, fn)
	}
	dir := s.config.keyPrefix() + kind.Dir() + "/"
	opts := minio.ListObjectsOptions{Prefix: dir + prefix, Recursive: true}
	if kind == store.Pack && len(prefix) >= 2 {
		opts.Prefix = dir + prefix[:2] + "/" + prefix
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the requests when fn does not want more
	for obj := range s.client.ListObjectsIter(ctx, s.config.Bucket, opts) {
		if obj.Err != nil {
			return s.wrap(ctx, "list "+kind.String(), obj.Err)
		}
		name, ok := s.name(kind, strings.TrimPrefix(obj.Key, dir))
		if !ok || !strings.HasPrefix(name, prefix) {
			continue
		}
		if err := fn(store.Info{Name: name, SizeBytes: obj.Size}); err != nil {
			return err
		}
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("list %v: %w", kind, err) // a cancelled listing may have just stopped
	}
	return nil
}

// name undoes Handle.Path below the kind's directory. What cannot be ours is left out.
func (s *Store) name(kind store.Kind, rest string) (string, bool) {
	if kind == store.Pack {
		_, rest, _ = strings.Cut(rest, "/")
	}
	h := store.Handle{Kind: kind, Name: rest}
	return rest, h.Valid() == nil
}

func (s *Store) listConfig(ctx context.Context, fn func(store.Info) error) error {
	info, err := s.Stat(ctx, store.Handle{Kind: store.Config})
	if errors.Is(err, store.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return fn(info)
}

// Remove deletes the object. In a bucket with versions, older ones stay until the bucket's own rules end them.
func (s *Store) Remove(ctx context.Context, h store.Handle) error {
	key, err := s.key(h)
	if err != nil {
		return err
	}
	err = s.client.RemoveObject(ctx, s.config.Bucket, key, minio.RemoveObjectOptions{})
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return nil
	}
	return s.wrap(ctx, "remove "+h.String(), err)
}

// Retain extends the retention of a file: until then nobody can delete it, the owner of the bucket included
// in mode COMPLIANCE. A retention can be made longer, never shorter.
func (s *Store) Retain(ctx context.Context, h store.Handle, until time.Time) error {
	key, err := s.key(h)
	if err != nil {
		return err
	}
	if s.config.Lock.Mode == "" {
		return fmt.Errorf("retain %v: object lock is not configured: %w", h, store.ErrUnsupported)
	}
	mode := minio.RetentionMode(s.config.Lock.Mode)
	until = until.UTC()
	err = s.client.PutObjectRetention(ctx, s.config.Bucket, key, minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &until})
	return s.wrap(ctx, "retain "+h.String(), err)
}

// Close gives idle connections back.
func (s *Store) Close() error {
	s.config.closeIdle()
	return nil
}
