// Package rest keeps a repository on a server that speaks restic's REST protocol: rest-server, "rclone serve
// restic", and others. Both versions of its listing are understood.
//
// It never repeats a request by itself (package retry does), never follows a redirect to another host, and never
// lets a password into an error or a log line. The protocol has no place for store.Log and store.Record.
package rest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/limit"
	"github.com/trivet-ha/trivet/backup/store/retry"
)

const (
	// listV2 asks for a listing with sizes.
	listV2 = "application/vnd.x.restic.rest.v2"
	// maxErrorBytes of an error page are read for its message.
	maxErrorBytes = 512
	// answerTimeout bounds the wait for the head of an answer; rest-server hashes an upload before it answers.
	answerTimeout = 2 * time.Minute
)

// Config says which server, and how to reach it.
type Config struct {
	// URL is http:// or https://, without "rest:" in front. A user and password in it are used.
	URL string
	// User and Password are sent by basic authentication, unless the URL has its own.
	User, Password string
	// CAFile holds certificates, in PEM, that are trusted instead of the system's.
	CAFile string
	// ClientCertFile holds a certificate and its key, in PEM, that are shown to the server.
	ClientCertFile string
	// Insecure accepts any certificate of the server. For tests of a network, not for backups.
	Insecure bool
	// Connections is how many requests may run at once; 8 when zero.
	Connections int
	// Limits holds the bandwidth.
	Limits limit.Limits
	// Transport replaces the HTTP client's transport; the fields from CAFile on are then not used.
	Transport http.RoundTripper
}

// Store is a repository on a REST server.
type Store struct {
	base           *url.URL // without user and password; its path ends in a slash
	user, password string
	client         *http.Client
}

var _ store.Store = (*Store)(nil)

// New checks the configuration. It does not connect.
func New(c Config) (*Store, error) {
	base, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("rest: the URL cannot be parsed") // the text of err would repeat a password
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("rest: %q is not an http or https URL", base.Redacted())
	}
	s := &Store{base: base, user: c.User, password: c.Password}
	if base.User != nil {
		s.user = base.User.Username()
		s.password, _ = base.User.Password()
		base.User = nil
	}
	if !strings.HasSuffix(base.Path, "/") {
		base.Path += "/"
	}
	transport := c.Transport
	if transport == nil {
		if transport, err = newTransport(c); err != nil {
			return nil, err
		}
	}
	s.client = &http.Client{Transport: transport, CheckRedirect: sameHost}
	return s, nil
}

// sameHost lets a server send us elsewhere on itself only: our password is for it alone.
func sameHost(req *http.Request, via []*http.Request) error {
	if len(via) >= 5 {
		return errors.New("more than 5 redirects")
	}
	if req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
		return fmt.Errorf("the server redirects to another place, %s", req.URL.Host)
	}
	return nil
}

func newTransport(c Config) (http.RoundTripper, error) {
	config := &tls.Config{InsecureSkipVerify: c.Insecure}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("rest: read CA certificates: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("rest: %s holds no PEM certificate", c.CAFile)
		}
	}
	if c.ClientCertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.ClientCertFile, c.ClientCertFile)
		if err != nil {
			return nil, fmt.Errorf("rest: read client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	connections := c.Connections
	if connections <= 0 {
		connections = 8
	}
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           c.Limits.Dial(dialer.DialContext),
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   30 * time.Second,
		MaxConnsPerHost:       connections,
		MaxIdleConnsPerHost:   connections,
		IdleConnTimeout:       90 * time.Second,
		ResponseHeaderTimeout: answerTimeout,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // what is stored is encrypted
		ForceAttemptHTTP2:     true,
	}, nil
}

// Close gives idle connections back.
func (s *Store) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// String is the place, without secrets.
func (s *Store) String() string { return "rest:" + s.base.String() }

// path is the place of a file on the server. All packs lie in one directory.
func (s *Store) path(h store.Handle) (string, error) {
	if err := h.Valid(); err != nil {
		return "", retry.Permanent(err)
	}
	switch h.Kind {
	case store.Config:
		return "config", nil
	case store.Log, store.Record:
		return "", fmt.Errorf("rest: %v: %w", h, store.ErrUnsupported)
	}
	return h.Kind.Dir() + "/" + h.Name, nil
}

// do sends one request and returns its answer if the status is one of ok; any other becomes an error.
func (s *Store) do(ctx context.Context, method, path string, header http.Header, body []byte, ok ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.base.String()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header
	}
	if body == nil {
		req.Body, req.GetBody, req.ContentLength = nil, nil, 0
	}
	req.Header.Set("Accept", listV2)
	if body != nil {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	if s.user != "" || s.password != "" {
		req.SetBasicAuth(s.user, s.password)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, s.transportError(ctx, err)
	}
	for _, status := range ok {
		if resp.StatusCode == status {
			return resp, nil
		}
	}
	defer resp.Body.Close()
	return nil, statusError(resp)
}

// transportError keeps the cause, without the URL that http puts around it.
func (s *Store) transportError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	if errors.As(err, &unknown) || errors.As(err, &host) {
		return retry.Permanent(fmt.Errorf("%w (trust another authority with its certificate file: --cacert)", err))
	}
	return err
}

// errStatus are the answers that mean the same however often they are asked for.
func statusError(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes))
	message := strings.TrimSpace(strings.ToValidUTF8(string(text), "?"))
	if message == "" || strings.HasPrefix(message, "<") {
		message = http.StatusText(resp.StatusCode)
	}
	err := fmt.Errorf("server answers %d: %s", resp.StatusCode, message)
	switch code := resp.StatusCode; {
	case code == http.StatusNotFound:
		return fmt.Errorf("%w (%w)", store.ErrNotExist, err)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return fmt.Errorf("%w (%w)", store.ErrDenied, err)
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests:
		return err
	case code >= 400 && code < 500, code == http.StatusInsufficientStorage:
		return retry.Permanent(err)
	}
	return err
}

// Save asks first whether the file is there: servers differ in what they do then.
func (s *Store) Save(ctx context.Context, h store.Handle, data []byte) error {
	path, err := s.path(h)
	if err != nil {
		return err
	}
	if present, err := s.present(ctx, h, data); present || err != nil {
		return err
	}
	err = s.post(ctx, path, data)
	if errors.Is(err, store.ErrNotExist) && (h.Kind == store.Config || h.Kind == store.Key) {
		// The repository itself is not there: these two kinds begin one.
		if err = s.create(ctx); err == nil {
			err = s.post(ctx, path, data)
		}
	}
	if errors.Is(err, store.ErrDenied) {
		// rest-server forbids to overwrite: another writer may have been faster.
		if present, perr := s.present(ctx, h, data); present || errors.Is(perr, store.ErrExist) {
			return perr
		}
	}
	if err != nil {
		return fmt.Errorf("save %v: %w", h, err)
	}
	return nil
}

// present reports whether the file is there as it should be; one of another size is store.ErrExist.
func (s *Store) present(ctx context.Context, h store.Handle, data []byte) (bool, error) {
	info, err := s.Stat(ctx, h)
	switch {
	case errors.Is(err, store.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.SizeBytes != int64(len(data)):
		return false, fmt.Errorf("save %v: %w with %d bytes, not %d", h, store.ErrExist, info.SizeBytes, len(data))
	}
	return true, nil
}

func (s *Store) post(ctx context.Context, path string, data []byte) error {
	if data == nil {
		data = []byte{}
	}
	resp, err := s.do(ctx, http.MethodPost, path, nil, data, http.StatusOK, http.StatusCreated, http.StatusNoContent)
	if err != nil {
		return err
	}
	return drain(resp)
}

// create makes the repository's directories on the server.
func (s *Store) create(ctx context.Context) error {
	resp, err := s.do(ctx, http.MethodPost, "?create=true", nil, nil, http.StatusOK, http.StatusCreated)
	if err != nil {
		return fmt.Errorf("create repository: %w", err)
	}
	return drain(resp)
}

// drain reads the little that is left, so that the connection can be used again.
func drain(resp *http.Response) error {
	_, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	return err
}

// Stat asks for the size.
func (s *Store) Stat(ctx context.Context, h store.Handle) (store.Info, error) {
	path, err := s.path(h)
	if err != nil {
		return store.Info{}, err
	}
	resp, err := s.do(ctx, http.MethodHead, path, nil, nil, http.StatusOK)
	if err != nil {
		return store.Info{}, fmt.Errorf("stat %v: %w", h, err)
	}
	if err := drain(resp); err != nil {
		return store.Info{}, fmt.Errorf("stat %v: %w", h, err)
	}
	if resp.ContentLength < 0 {
		return store.Info{}, retry.Permanent(fmt.Errorf("stat %v: the server does not tell the size", h))
	}
	return store.Info{Name: h.Name, SizeBytes: resp.ContentLength}, nil
}

// Remove deletes the file.
func (s *Store) Remove(ctx context.Context, h store.Handle) error {
	path, err := s.path(h)
	if err != nil {
		return err
	}
	resp, err := s.do(ctx, http.MethodDelete, path, nil, nil, http.StatusOK, http.StatusNoContent, http.StatusNotFound)
	if err != nil {
		return fmt.Errorf("remove %v: %w", h, err)
	}
	return drain(resp)
}

// List reads the whole listing before it calls fn: a body that ends early is no valid JSON, and so an error.
func (s *Store) List(ctx context.Context, kind store.Kind, prefix string, fn func(store.Info) error) error {
	switch kind {
	case store.Log, store.Record:
		return fmt.Errorf("rest: list %v: %w", kind, store.ErrUnsupported)
	case store.Config:
		return s.listConfig(ctx, fn)
	}
	resp, err := s.do(ctx, http.MethodGet, kind.Dir()+"/", nil, nil, http.StatusOK)
	if errors.Is(err, store.ErrNotExist) {
		return s.mustExist(ctx, kind, err)
	}
	if err != nil {
		return fmt.Errorf("list %v: %w", kind, err)
	}
	defer resp.Body.Close()
	files, err := s.decode(ctx, kind, prefix, resp)
	if err != nil {
		return fmt.Errorf("list %v: %w", kind, err)
	}
	for _, f := range files {
		if err := fn(f); err != nil {
			return err
		}
	}
	return nil
}

// mustExist decides what a missing directory means. "rclone serve restic" has none before its first file: if
// the repository is there, nothing of this kind is.
func (s *Store) mustExist(ctx context.Context, kind store.Kind, cause error) error {
	if _, err := s.Stat(ctx, store.Handle{Kind: store.Config}); err != nil {
		return fmt.Errorf("list %v: %w", kind, cause)
	}
	return nil
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

// decode reads a listing of either version. Names that cannot be ours are left out.
func (s *Store) decode(ctx context.Context, kind store.Kind, prefix string, resp *http.Response) ([]store.Info, error) {
	mine := func(name string) bool {
		return strings.HasPrefix(name, prefix) && store.Handle{Kind: kind, Name: name}.Valid() == nil
	}
	var files []store.Info
	if resp.Header.Get("Content-Type") == listV2 {
		var entries []struct {
			Name string `json:"name"`
			Size int64  `json:"size"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&entries); err != nil {
			return nil, broken(ctx, err)
		}
		for _, e := range entries {
			if mine(e.Name) {
				files = append(files, store.Info{Name: e.Name, SizeBytes: e.Size})
			}
		}
		return files, nil
	}
	var names []string
	if err := json.NewDecoder(resp.Body).Decode(&names); err != nil {
		return nil, broken(ctx, err)
	}
	for _, name := range names {
		if !mine(name) {
			continue
		}
		info, err := s.Stat(ctx, store.Handle{Kind: kind, Name: name})
		if errors.Is(err, store.ErrNotExist) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, err
		}
		files = append(files, info)
	}
	return files, nil
}

// broken explains a listing that cannot be read.
func broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("the listing is broken: %w", err)
}
