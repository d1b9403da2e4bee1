// Package location answers where a repository is: it reads a location as people write it, in restic's spellings, and
// writes it without its secrets. It connects to nothing and looks at no file.
package location

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
)

// Scheme says which kind of store a location is in.
type Scheme string

// The schemes.
const (
	Local  Scheme = "local"
	S3     Scheme = "s3"
	SFTP   Scheme = "sftp"
	REST   Scheme = "rest"
	Rclone Scheme = "rclone"
)

// Location is a parsed location. Its String has no secrets.
type Location struct {
	Scheme Scheme
	// Path is the directory (local, sftp), the prefix in the bucket (s3), or rclone's remote.
	Path string
	// User, Host and Port are sftp's. For s3 Host is the endpoint with its port; empty for the default one.
	User, Host, Port string
	// Bucket is s3's. PlainHTTP is set for s3:http://.
	Bucket    string
	PlainHTTP bool
	// url is rest's, with its password.
	url *url.URL
}

// Parse understands a location as restic spells it:
//
//	/srv/backup  local:/srv/backup
//	s3:https://host:9000/bucket/prefix  s3:host/bucket/prefix  s3://bucket/prefix
//	sftp:user@host:/path  sftp://user@host:2222//path
//	rest:https://user:password@host:8000/path
//	rclone:remote:path
//
// After "s3://" a first part with a dot or a colon is a host, as for restic; without one it is a bucket.
func Parse(location string) (Location, error) {
	scheme, rest, found := strings.Cut(location, ":")
	if !found || strings.ContainsAny(scheme, "/.~") || len(scheme) == 0 {
		return parseLocal(location)
	}
	switch scheme {
	case "local":
		return parseLocal(rest)
	case "s3":
		return parseS3(rest)
	case "sftp":
		return parseSFTP(rest)
	case "rest":
		return parseREST(rest)
	case "rclone":
		if rest == "" {
			return Location{}, fmt.Errorf("location %q names no remote (rclone:remote:path)", location)
		}
		return Location{Scheme: Rclone, Path: rest}, nil
	case "b2", "azure", "gs", "swift":
		return Location{}, fmt.Errorf("%s: is reached through rclone (rclone:remote:path) or its S3 interface", scheme)
	}
	return Location{}, fmt.Errorf("location begins with %q, which is none of local:, s3:, sftp:, rest:, rclone: (a directory of that name is ./%s…)", scheme+":", scheme)
}

func parseLocal(dir string) (Location, error) {
	if dir == "" {
		return Location{}, fmt.Errorf("the location is empty (--repo, or TRIVET_REPOSITORY)")
	}
	return Location{Scheme: Local, Path: filepath.Clean(dir)}, nil
}

func parseS3(rest string) (Location, error) {
	l := Location{Scheme: S3}
	bucketFirst := false
	switch {
	case strings.HasPrefix(rest, "http://"):
		l.PlainHTTP = true
		rest = strings.TrimPrefix(rest, "http://")
	case strings.HasPrefix(rest, "https://"):
		rest = strings.TrimPrefix(rest, "https://")
	case strings.HasPrefix(rest, "//"):
		rest = rest[2:]
		first, _, _ := strings.Cut(rest, "/")
		bucketFirst = !strings.ContainsAny(first, ".:") && first != "localhost"
	}
	if strings.Contains(rest, "@") {
		return Location{}, fmt.Errorf("an s3 location has no user or key in it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	if !bucketFirst {
		l.Host, rest, _ = strings.Cut(rest, "/")
		if l.Host == "" {
			return Location{}, fmt.Errorf("s3 location names no host (s3:https://host/bucket/prefix)")
		}
	}
	var prefix string
	l.Bucket, prefix, _ = strings.Cut(rest, "/")
	l.Path = strings.Trim(prefix, "/")
	if l.Bucket == "" {
		return Location{}, fmt.Errorf("s3 location names no bucket (s3:https://host/bucket/prefix)")
	}
	return l, nil
}

func parseSFTP(rest string) (Location, error) {
	l := Location{Scheme: SFTP}
	if strings.HasPrefix(rest, "//") {
		u, err := url.Parse("sftp:" + rest)
		if err != nil || u.Host == "" {
			return Location{}, fmt.Errorf("sftp location is not sftp://user@host:port//path")
		}
		if _, has := u.User.Password(); has {
			return Location{}, fmt.Errorf("an sftp location has no password in it: use a key")
		}
		l.User, l.Host, l.Port = u.User.Username(), u.Hostname(), u.Port()
		l.Path = strings.TrimPrefix(u.Path, "/") // a second slash makes it absolute
	} else {
		if i := strings.LastIndex(rest[:max(0, strings.Index(rest, ":"))], "@"); i >= 0 {
			l.User, rest = rest[:i], rest[i+1:]
		}
		l.Host, l.Path = cutHost(rest)
	}
	if l.Host == "" || l.Path == "" {
		return Location{}, fmt.Errorf("sftp location names no host or no path (sftp:user@host:/path)")
	}
	return l, nil
}

// cutHost splits host:path; the host may be an IPv6 address in brackets.
func cutHost(s string) (host, path string) {
	if strings.HasPrefix(s, "[") {
		host, path, _ = strings.Cut(s[1:], "]:")
		return host, path
	}
	host, path, _ = strings.Cut(s, ":")
	return host, path
}

func parseREST(rest string) (Location, error) {
	u, err := url.Parse(rest)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return Location{}, fmt.Errorf("rest location is not rest:https://host:port/path")
	}
	return Location{Scheme: REST, url: u}, nil
}

// URL is where a REST server answers, with its password; "" for other schemes.
func (l Location) URL() string {
	if l.url == nil {
		return ""
	}
	return l.url.String()
}

// Settings lists what the stores can be told beyond their location, each as "scheme.setting".
func Settings() []string {
	return []string{
		"connections", "rclone.args", "rclone.program", "s3.bucket-lookup", "s3.region", "s3.storage-class",
		"sftp.command", "sftp.known-hosts", "sftp.key",
	}
}

// String is the location, with "xxxxx" for a password.
func (l Location) String() string {
	switch l.Scheme {
	case S3:
		place := strings.TrimSuffix(l.Bucket+"/"+l.Path, "/")
		switch {
		case l.Host == "":
			return "s3://" + place
		case l.PlainHTTP:
			return "s3:http://" + l.Host + "/" + place
		}
		return "s3:https://" + l.Host + "/" + place
	case SFTP:
		user := ""
		if l.User != "" {
			user = l.User + "@"
		}
		if l.Port != "" {
			return fmt.Sprintf("sftp://%s%s/%s", user, net.JoinHostPort(l.Host, l.Port), l.Path)
		}
		host := l.Host
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return fmt.Sprintf("sftp:%s%s:%s", user, host, l.Path)
	case REST:
		return "rest:" + l.url.Redacted()
	case Rclone:
		return "rclone:" + l.Path
	}
	if strings.Contains(l.Path, ":") && l.Path[0] != '/' {
		return "./" + l.Path
	}
	return l.Path
}
