package location

import (
	"strings"
	"testing"
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
