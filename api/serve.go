package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Serve answers on l until ctx ends, and then until the requests in progress are answered, for a few seconds at most. It
// closes l.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	const patience = 3 * time.Second // commands take milliseconds; whoever streams may ask again
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := s.Shutdown(late); err != nil {
		_ = s.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ListenSocket opens the Unix socket at path, for its owner only. It makes the folder if there is none, and takes the place
// of a socket that nobody answers at. When another process does answer, that is an error.
func ListenSocket(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("listen on %s: another process answers there; give each its own admin.socket", path)
	}
	return TakeOverSocket(path)
}

// TakeOverSocket opens the Unix socket at path like ListenSocket, but in place of one that answers: whoever connects from now
// on reaches this process, without a gap. It is for a process that replaces another.
func TakeOverSocket(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("listen on %s: there is something that is no socket", path)
	}
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	_ = os.Remove(fresh) // left by a process of the same number that was killed
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	// Nobody knows the fresh name yet, so nobody connects before the mode is set.
	err = errors.Join(os.Chmod(fresh, 0o600), os.Rename(fresh, path))
	var own os.FileInfo
	if err == nil {
		own, err = os.Lstat(path)
	}
	if err != nil {
		_ = l.Close()
		_ = os.Remove(fresh)
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return &socket{UnixListener: l, path: path, own: own}, nil
}

// socket removes its file when it is closed, unless another process has put its own there.
type socket struct {
	*net.UnixListener
	path string
	own  os.FileInfo
}

func (s *socket) Close() error {
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.own) {
		_ = os.Remove(s.path)
	}
	if err := s.UnixListener.Close(); !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// Addr is the path that clients know.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }
