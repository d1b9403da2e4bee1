package sftp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/limit"
	"github.com/trivet-ha/trivet/backup/store/retry"
	"github.com/trivet-ha/trivet/backup/store/storetest"
	"github.com/trivet-ha/trivet/internal/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(srv *testserver.SSHD, dir string) Config {
	return Config{
		User: srv.User, Host: srv.Host, Port: srv.Port, Path: filepath.Join(dir, "repository"),
		KeyFiles: []string{srv.KeyFile}, KnownHosts: []string{srv.KnownHosts}, NoAgent: true,
	}
}

func open(t *testing.T, c Config) *Store {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func created(t *testing.T, c Config) Config {
	t.Helper()
	if err := open(t, c).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAListingOfNoRepositoryIsAnError(t *testing.T) {
	srv := testserver.StartSSHD(t)
	err := open(t, config(srv, t.TempDir())).List(t.Context(), store.Pack, "", func(store.Info) error { return nil })
	if !errors.Is(err, store.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist: an empty listing would be a lie", err)
	}
}

func TestOnOpenSSH(t *testing.T) {
	srv := testserver.StartSSHD(t)
	storetest.Run(t, storetest.Options{}, func(t *testing.T) storetest.Opener {
		c := created(t, config(srv, t.TempDir()))
		return func() store.Store { return open(t, c) }
	})
}

func TestThroughAProgram(t *testing.T) {
	storetest.Run(t, storetest.Options{LargeBytes: 4 << 20, Files: 100}, func(t *testing.T) storetest.Opener {
		c := created(t, Config{Path: filepath.Join(t.TempDir(), "repository"), Command: []string{"/usr/lib/openssh/sftp-server"}})
		return func() store.Store { return open(t, c) }
	})
}

func TestOverALineThatIsCutAgainAndAgain(t *testing.T) {
	srv := testserver.StartSSHD(t)
	direct := net.JoinHostPort(srv.Host, srv.Port)
	opts := storetest.Options{LargeBytes: 3 << 20, Files: 150}
	storetest.Run(t, opts, func(t *testing.T) storetest.Opener {
		c := created(t, config(srv, t.TempDir()))
		address := testserver.StartCutter(t, direct, 3<<20, 2)
		c.Host, c.Port, _ = net.SplitHostPort(address)
		c.KnownHosts = []string{rename(t, srv.KnownHosts, direct, address)}
		return func() store.Store {
			return retry.New(open(t, c), retry.Config{Attempts: 50, First: time.Millisecond, Longest: 10 * time.Millisecond})
		}
	})
}

func TestWhatWasReadStaysReadWhenTheLineBreaks(t *testing.T) {
	s := open(t, created(t, config(testserver.StartSSHD(t), t.TempDir())))
	data := storetest.Bytes(10_000, 1)
	h := storetest.HandleOf(store.Pack, data)
	if err := s.Save(t.Context(), h, data); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), h, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("close after the line has broken: %v", err)
	}
}

// rename writes a known_hosts file in which the host has another address.
func rename(t *testing.T, file, from, to string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "known_hosts")
	changed := strings.ReplaceAll(string(text), knownhosts.Normalize(from), knownhosts.Normalize(to))
	if err := os.WriteFile(out, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

func stat(t *testing.T, c Config) error {
	t.Helper()
	_, err := open(t, c).Stat(t.Context(), store.Handle{Kind: store.Config})
	return err
}

func TestAHostWhoseKeyIsNotKnownIsRefused(t *testing.T) {
	srv := testserver.StartSSHD(t)
	c := config(srv, t.TempDir())
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.KnownHosts = []string{empty}
	err := stat(t, c)
	if err == nil || !retry.IsPermanent(err) || !strings.Contains(err.Error(), "SHA256:") || !strings.Contains(err.Error(), "ssh-keyscan") {
		t.Errorf("got %v", err)
	}
	c.KnownHosts = []string{}
	if _, err := New(c); err == nil {
		t.Error("without any known_hosts file: no error")
	}
}

func TestAHostWithAnotherKeyIsRefused(t *testing.T) {
	srv, other := testserver.StartSSHD(t), testserver.StartSSHD(t)
	c := config(srv, t.TempDir())
	c.KnownHosts = []string{rename(t, other.KnownHosts, net.JoinHostPort(other.Host, other.Port), net.JoinHostPort(srv.Host, srv.Port))}
	if err := stat(t, c); err == nil || !retry.IsPermanent(err) || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("got %v", err)
	}
}

func TestAKeyThatIsNotAuthorizedIsDenied(t *testing.T) {
	srv := testserver.StartSSHD(t)
	c := config(srv, t.TempDir())
	c.KeyFiles = []string{filepath.Join(t.TempDir(), "key")}
	testserver.WriteSSHKey(t, c.KeyFiles[0], nil)
	if err := stat(t, c); !errors.Is(err, store.ErrDenied) {
		t.Errorf("got %v, want ErrDenied", err)
	}
}

func TestSealedKeysAreOpenedByTheirPassphrase(t *testing.T) {
	srv := testserver.StartSSHD(t)
	c := config(srv, t.TempDir())
	sealed := filepath.Join(t.TempDir(), "sealed")
	testserver.WriteSSHKey(t, sealed, []byte("open"))
	c.KeyFiles = append(c.KeyFiles, sealed)
	if err := stat(t, c); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("a sealed key without a passphrase is passed over: got %v", err)
	}
	asked := ""
	c.Passphrase = func(file string) ([]byte, error) { asked = file; return []byte("open"), nil }
	if err := stat(t, c); !errors.Is(err, store.ErrNotExist) || asked != sealed {
		t.Errorf("got %v, asked for %q", err, asked)
	}
	c.Passphrase = func(string) ([]byte, error) { return []byte("wrong"), nil }
	if _, err := New(c); err == nil {
		t.Error("a wrong passphrase: no error")
	}
}

func TestAbandonedPartsAreNotListed(t *testing.T) {
	srv := testserver.StartSSHD(t)
	c := config(srv, t.TempDir())
	s := open(t, c)
	data := []byte("x")
	h := storetest.HandleOf(store.Record, data)
	if err := s.Save(t.Context(), h, data); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Path, h.Path()+partial+"ABC"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := s.List(t.Context(), store.Record, "", func(store.Info) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%d files listed, %v", n, err)
	}
}

func TestAnUnreadableDirectoryIsAnError(t *testing.T) {
	srv := testserver.StartSSHD(t)
	c := config(srv, t.TempDir())
	s := open(t, c)
	if err := s.Save(t.Context(), storetest.HandleOf(store.Pack, []byte("x")), []byte("x")); err != nil {
		t.Fatal(err)
	}
	// A file where a directory belongs cannot be read as one, not even by root.
	if err := os.RemoveAll(filepath.Join(c.Path, "data")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Path, "data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.List(t.Context(), store.Pack, "", func(store.Info) error { return nil }); err == nil {
		t.Error("no error")
	}
}

func TestTheBandwidthIsKept(t *testing.T) {
	srv := testserver.StartSSHD(t)
	c := config(srv, t.TempDir())
	c.Limits = limit.New(2<<20, 0)
	s := open(t, c)
	data := storetest.Bytes(1<<20, 1)
	begin := time.Now()
	if err := s.Save(t.Context(), storetest.HandleOf(store.Pack, data), data); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d < 300*time.Millisecond {
		t.Errorf("1 MiB at 2 MiB/s took only %v", d)
	}
}
