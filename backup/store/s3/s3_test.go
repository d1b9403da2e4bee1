package s3

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/retry"
	"github.com/trivet-ha/trivet/backup/store/storetest"
	"github.com/trivet-ha/trivet/internal/testserver"
)

var buckets atomic.Int64

// config is for a bucket of the server that does not exist yet.
func config(srv *testserver.S3) Config {
	return Config{
		Endpoint: srv.Endpoint, PlainHTTP: true, Region: "us-east-1", Bucket: fmt.Sprintf("test-%d", buckets.Add(1)), Prefix: "some/prefix",
		AccessKey: srv.AccessKey, SecretKey: srv.SecretKey,
	}
}

func open(t *testing.T, c Config) *Store {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func place(t *testing.T, c Config) storetest.Opener {
	if err := open(t, c).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return func() store.Store { return open(t, c) }
}

func TestOnARealServer(t *testing.T) {
	srv := testserver.StartS3(t)
	storetest.Run(t, storetest.Options{LargeBytes: singlePutBytes + 5<<20}, func(t *testing.T) storetest.Opener {
		return place(t, config(srv))
	})
}

func TestOverALineThatIsCutAgainAndAgain(t *testing.T) {
	srv := testserver.StartS3(t)
	direct := srv.Endpoint
	opts := storetest.Options{LargeBytes: 3 << 20, Files: 150}
	storetest.Run(t, opts, func(t *testing.T) storetest.Opener {
		c := config(srv)
		if err := open(t, c).Create(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Endpoint = testserver.StartCutter(t, direct, 3<<20, 1)
		return func() store.Store {
			return retry.New(open(t, c), retry.Config{Attempts: 50, First: time.Millisecond, Longest: 10 * time.Millisecond})
		}
	})
}

// A server that answers 501 to a conditional write.
func TestWithoutConditionalWrites(t *testing.T) {
	srv := testserver.StartS3(t)
	target := &url.URL{Scheme: "http", Host: srv.Endpoint}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // the signature covers it
	}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotImplemented)
			fmt.Fprint(w, `<?xml version="1.0"?><Error><Code>NotImplemented</Code><Message>no conditions here</Message></Error>`)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	opts := storetest.Options{LargeBytes: 1 << 20, Files: 50, LastWriterWins: true}
	storetest.Run(t, opts, func(t *testing.T) storetest.Opener {
		c := config(srv)
		c.Endpoint = strings.TrimPrefix(front.URL, "http://")
		return place(t, c)
	})
}

func TestTheFirstFileCreatesTheBucket(t *testing.T) {
	srv := testserver.StartS3(t)
	s := open(t, config(srv))
	err := s.Save(t.Context(), storetest.HandleOf(store.Pack, []byte("x")), []byte("x"))
	if err == nil || errors.Is(err, store.ErrNotExist) || !retry.IsPermanent(err) || !strings.Contains(err.Error(), "repo init") {
		t.Errorf("a pack without a bucket: got %v", err)
	}
	if err := s.List(t.Context(), store.Pack, "", func(store.Info) error { return nil }); err == nil {
		t.Error("a listing of a bucket that is not there must not be empty, but an error")
	}
	if err := s.Save(t.Context(), storetest.HandleOf(store.Key, []byte("x")), []byte("x")); err != nil {
		t.Errorf("a key begins a repository: %v", err)
	}
}

func TestLockedFilesCannotBeDeletedAndLocksCan(t *testing.T) {
	srv := testserver.StartS3(t)
	c := config(srv)
	c.Lock = Lock{Mode: "compliance", Keep: 24 * time.Hour}
	s := open(t, c)
	if err := s.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	pack, lock := storetest.HandleOf(store.Pack, []byte("pack")), storetest.HandleOf(store.Lock, []byte("lock"))
	for _, h := range []store.Handle{pack, lock} {
		if err := s.Save(t.Context(), h, []byte("data")); err != nil {
			t.Fatal(err)
		}
	}
	until := retainedUntil(t, s, pack)
	if left := time.Until(until); left < 23*time.Hour || left > 25*time.Hour {
		t.Errorf("the pack is held back for %v, want a day", left)
	}
	if until := retainedUntil(t, s, lock); !until.IsZero() {
		t.Error("a lock file must not be held back")
	}
	if err := s.Retain(t.Context(), pack, time.Now().Add(48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(retainedUntil(t, s, pack)); left < 47*time.Hour {
		t.Errorf("after the extension the pack is held back for %v, want two days", left)
	}
	versions := 0
	for obj := range s.client.ListObjectsIter(t.Context(), c.Bucket, minio.ListObjectsOptions{Prefix: mustKey(t, s, pack), WithVersions: true}) {
		versions++
		err := s.client.RemoveObject(t.Context(), c.Bucket, obj.Key, minio.RemoveObjectOptions{VersionID: obj.VersionID})
		if err == nil || !errors.Is(s.classify(err), store.ErrDenied) {
			t.Errorf("deleting a locked version: got %v, want ErrDenied", err)
		}
	}
	if versions == 0 {
		t.Error("no version listed")
	}
	if err := s.Remove(t.Context(), lock); err != nil {
		t.Errorf("remove a lock file: %v", err)
	}
}

func mustKey(t *testing.T, s *Store, h store.Handle) string {
	t.Helper()
	key, err := s.key(h)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// retainedUntil is zero for a file that is not held back.
func retainedUntil(t *testing.T, s *Store, h store.Handle) time.Time {
	t.Helper()
	info, err := s.client.StatObject(t.Context(), s.config.Bucket, mustKey(t, s, h), minio.StatObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if info.Metadata.Get("X-Amz-Object-Lock-Mode") == "" {
		return time.Time{}
	}
	until, err := time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	if mode := info.Metadata.Get("X-Amz-Object-Lock-Mode"); err != nil || mode != "COMPLIANCE" {
		t.Fatalf("mode %q, %v", mode, err)
	}
	return until
}

func TestWrongCredentialsAreFinalAndStaySecret(t *testing.T) {
	srv := testserver.StartS3(t)
	c := config(srv)
	c.SecretKey = "another-secret-key"
	s := open(t, c)
	_, err := store.ReadAll(t.Context(), s, store.Handle{Kind: store.Config})
	if !errors.Is(err, store.ErrDenied) {
		t.Errorf("got %v, want ErrDenied", err)
	}
	for _, text := range []string{err.Error(), s.String()} {
		if strings.Contains(text, c.SecretKey) || strings.Contains(text, "Signature=") {
			t.Errorf("a secret in %q", text)
		}
	}
}

func TestAnUnreachableServerMayComeBack(t *testing.T) {
	s := open(t, Config{Endpoint: "127.0.0.1:1", PlainHTTP: true, Bucket: "bucket", Region: "r", AccessKey: "a", SecretKey: "hunter2hunter2"})
	_, err := s.Stat(t.Context(), store.Handle{Kind: store.Config})
	if err == nil || retry.IsPermanent(err) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	for _, c := range []Config{
		{}, {Bucket: "b", Lock: Lock{Mode: "x", Keep: 48 * time.Hour}}, {Bucket: "b", Lock: Lock{Mode: "GOVERNANCE"}},
		{Bucket: "b", AccessKey: "a"}, {Bucket: "b", PathStyle: "x"}, {Bucket: "b", CAFile: "/does/not/exist"},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}
