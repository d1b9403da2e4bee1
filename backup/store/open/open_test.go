package open

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/internal/testserver"
)

func roundTrip(t *testing.T, location string, o Options) {
	t.Helper()
	o.Create = true
	s, err := Store(t.Context(), location, o)
	if err != nil {
		t.Fatalf("%s: %v", location, err)
	}
	h := store.Handle{Kind: store.Config}
	if err := s.Save(t.Context(), h, []byte("hello")); err != nil {
		t.Fatalf("%s: %v", location, err)
	}
	o.Create = false
	again, err := Store(t.Context(), location, o)
	if err != nil {
		t.Fatalf("%s: %v", location, err)
	}
	got, err := store.ReadAll(t.Context(), again, h)
	if err != nil || string(got) != "hello" {
		t.Errorf("%s: read %q, %v", location, got, err)
	}
	for _, s := range []store.Store{s, again} {
		if c, ok := s.(io.Closer); ok {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestEveryKindOfStoreIsOpened(t *testing.T) {
	bucket, ssh, rest := testserver.StartS3(t), testserver.StartSSHD(t), testserver.StartREST(t, t.TempDir())
	env := map[string]string{
		"AWS_ACCESS_KEY_ID": bucket.AccessKey, "AWS_SECRET_ACCESS_KEY": bucket.SecretKey, "AWS_REGION": "us-east-1",
		"AWS_ENDPOINT_URL": "http://" + bucket.Endpoint,
	}
	o := Options{
		Getenv:   func(name string) string { return env[name] },
		Extended: map[string]string{"sftp.known-hosts": ssh.KnownHosts, "sftp.key": ssh.KeyFile, "connections": "3"},
	}
	roundTrip(t, filepath.Join(t.TempDir(), "new"), o)
	roundTrip(t, "s3:http://"+bucket.Endpoint+"/bucket-a/p", o)
	roundTrip(t, "s3://bucket-b", o)
	roundTrip(t, "sftp://"+ssh.User+"@"+ssh.Host+":"+ssh.Port+"/"+filepath.Join(t.TempDir(), "new"), o)
	roundTrip(t, "rest:"+rest, o)
	roundTrip(t, "rclone:"+t.TempDir(), o)
}

func TestWhatIsMissingOrWrongIsSaid(t *testing.T) {
	_, err := Store(t.Context(), filepath.Join(t.TempDir(), "none"), Options{})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "repo init") {
		t.Errorf("got %v", err)
	}
	for _, extended := range []map[string]string{{"s3.regoin": "x"}, {"connections": "0"}, {"connections": "many"}} {
		if _, err := Store(t.Context(), t.TempDir(), Options{Extended: extended}); err == nil {
			t.Errorf("%v: no error", extended)
		}
	}
}
