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

func TestLocationsAsPeopleWriteThem(t *testing.T) {
	for in, want := range map[string]Location{
		"/srv/x/":                 {Scheme: Local, Path: "/srv/x"},
		"rel/dir":                 {Scheme: Local, Path: "rel/dir"},
		"./odd:name":              {Scheme: Local, Path: "odd:name"},
		"local:/srv/x":            {Scheme: Local, Path: "/srv/x"},
		"s3:https://h:9000/b/p/q": {Scheme: S3, Host: "h:9000", Bucket: "b", Path: "p/q"},
		"s3:http://h/b/":          {Scheme: S3, Host: "h", Bucket: "b", PlainHTTP: true},
		"s3:s3.amazonaws.com/b":   {Scheme: S3, Host: "s3.amazonaws.com", Bucket: "b"},
		"s3:localhost:9000/b":     {Scheme: S3, Host: "localhost:9000", Bucket: "b"},
		"s3://backups/trivet":     {Scheme: S3, Bucket: "backups", Path: "trivet"},
		"s3://s3.example.com/b/p": {Scheme: S3, Host: "s3.example.com", Bucket: "b", Path: "p"},
		"sftp:u@h:/srv/x":         {Scheme: SFTP, User: "u", Host: "h", Path: "/srv/x"},
		"sftp:h:rel/x":            {Scheme: SFTP, Host: "h", Path: "rel/x"},
		"sftp:u@dom@h:/x":         {Scheme: SFTP, User: "u@dom", Host: "h", Path: "/x"},
		"sftp:[::1]:/x":           {Scheme: SFTP, Host: "::1", Path: "/x"},
		"sftp://u@h:2222//srv/x":  {Scheme: SFTP, User: "u", Host: "h", Port: "2222", Path: "/srv/x"},
		"sftp://u@h/rel":          {Scheme: SFTP, User: "u", Host: "h", Path: "rel"},
		"rclone:remote:a/b":       {Scheme: Rclone, Path: "remote:a/b"},
	} {
		got, err := Parse(in)
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v; want %+v", in, got, err, want)
			continue
		}
		again, err := Parse(got.String())
		if err != nil || again != got {
			t.Errorf("%q: its String %q is parsed as %+v, %v", in, got, again, err)
		}
	}
}

func TestLocationsThatNameNothing(t *testing.T) {
	for _, in := range []string{
		"", "local:", "s3:", "s3://", "s3:https://", "s3:https://h", "s3:https://h/", "s3:https://key:hunter2@h/b", "sftp:", "sftp:h", "sftp::/x", "sftp://h", "sftp://u:hunter2@h/x",
		"rest:", "rest:ftp://h", "rest:https://", "rest:https://u:hunter2@h o/", "rclone:", "b2:bucket", "nothing:x",
	} {
		l, err := Parse(in)
		if err == nil {
			t.Errorf("%q: parsed as %+v", in, l)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: a secret in the error %v", in, err)
		}
	}
}

func TestAPasswordIsNotShown(t *testing.T) {
	l, err := Parse("rest:https://me:hunter2@host/x")
	if err != nil || strings.Contains(l.String(), "hunter2") || !strings.Contains(l.String(), "host/x") {
		t.Errorf("%v, %v", l, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"/x", "s3:https://h/b", "sftp:u@h:/x", "rest:http://u:p@h/", "rclone:a:b", "sftp://[::1]:22//x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := Parse(s)
		if err != nil || l.Scheme == REST {
			return
		}
		if l.String() == "" {
			t.Errorf("%q has no String", s)
		}
	})
}

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
