package s3

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/limit"
)

// Config says which bucket, and how it is reached.
type Config struct {
	// Endpoint is host or host:port; "s3.amazonaws.com" when empty.
	Endpoint string
	// PlainHTTP speaks HTTP without TLS.
	PlainHTTP bool
	// Bucket is the bucket's name, Prefix the directory in it; the whole bucket when empty.
	Bucket, Prefix string
	// Region is the bucket's region; it is asked for when empty.
	Region string
	// AccessKey, SecretKey and SessionToken are the credentials. When empty they come from the environment
	// (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN), the shared credentials file
	// (AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE), or the instance's role, in this order.
	AccessKey, SecretKey, SessionToken string
	// PathStyle puts the bucket into the path ("path") or the host name ("dns"); decided by the endpoint when "auto" or empty.
	PathStyle string
	// StorageClass of packs; all other files stay in the bucket's own class, from which they can be read at once.
	StorageClass string
	// Lock holds files back from deletion.
	Lock Lock
	// CAFile holds certificates, in PEM, that are trusted instead of the system's.
	CAFile string
	// Insecure accepts any certificate of the server. For tests of a network, not for backups.
	Insecure bool
	// Connections is how many requests may run at once; 8 when zero.
	Connections int
	// Limits holds the bandwidth.
	Limits limit.Limits

	shared *http.Transport
}

// Lock is S3 object lock: write once, read many.
type Lock struct {
	// Mode is "COMPLIANCE" (nobody can delete), "GOVERNANCE" (only who has a special right can), or empty
	// for no lock. The bucket must have been made with object lock.
	Mode string
	// Keep is how long from its writing a file is held back.
	Keep time.Duration
}

func (c Config) withDefaults() (Config, error) {
	if c.Endpoint == "" {
		c.Endpoint = "s3.amazonaws.com"
	}
	if c.Bucket == "" {
		return c, errors.New("s3: no bucket is named (s3:https://host/bucket/prefix or s3://bucket/prefix)")
	}
	c.Prefix = strings.Trim(c.Prefix, "/")
	c.Lock.Mode = strings.ToUpper(c.Lock.Mode)
	switch {
	case c.Lock.Mode != "" && c.Lock.Mode != "COMPLIANCE" && c.Lock.Mode != "GOVERNANCE":
		return c, fmt.Errorf("s3: lock mode %q is neither COMPLIANCE nor GOVERNANCE", c.Lock.Mode)
	case c.Lock.Mode != "" && c.Lock.Keep < 24*time.Hour:
		return c, fmt.Errorf("s3: a lock of %v is shorter than a day", c.Lock.Keep)
	case (c.AccessKey == "") != (c.SecretKey == ""):
		return c, errors.New("s3: an access key needs its secret key, and the other way round")
	}
	switch c.PathStyle {
	case "", "auto", "path", "dns":
	default:
		return c, fmt.Errorf("s3: bucket lookup %q is neither auto, path nor dns", c.PathStyle)
	}
	if c.Connections <= 0 {
		c.Connections = 8
	}
	return c, nil
}

func (c Config) keyPrefix() string {
	if c.Prefix == "" {
		return ""
	}
	return c.Prefix + "/"
}

// locks reports whether files of this kind are held back. Restic's locks must be deletable, and the logs of
// databases are: they are sealed into snapshots and then age out.
func (c Config) locks(kind store.Kind) bool {
	return c.Lock.Mode != "" && kind != store.Lock && kind != store.Log
}

func (c Config) storageClass(kind store.Kind) string {
	if kind == store.Pack {
		return c.StorageClass
	}
	return ""
}

func (c Config) lookup() minio.BucketLookupType {
	switch c.PathStyle {
	case "path":
		return minio.BucketLookupPath
	case "dns":
		return minio.BucketLookupDNS
	}
	return minio.BucketLookupAuto
}

func (c Config) credentials(transport http.RoundTripper) *credentials.Credentials {
	if c.AccessKey != "" {
		return credentials.NewStaticV4(c.AccessKey, c.SecretKey, c.SessionToken)
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{},
		&credentials.FileAWSCredentials{},
		&credentials.IAM{Client: &http.Client{Transport: transport, Timeout: 10 * time.Second}},
	})
}

func (c *Config) transport() (*http.Transport, error) {
	t, err := minio.DefaultTransport(!c.PlainHTTP)
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	t.DialContext = c.Limits.Dial(dialer.DialContext)
	t.MaxConnsPerHost = c.Connections
	t.MaxIdleConnsPerHost = c.Connections
	t.ResponseHeaderTimeout = 2 * time.Minute
	t.DisableCompression = true
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.InsecureSkipVerify = c.Insecure
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("s3: read CA certificates: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("s3: %s holds no PEM certificate", c.CAFile)
		}
	}
	c.shared = t
	return t, nil
}

func (c Config) closeIdle() { c.shared.CloseIdleConnections() }
