// Package rclone keeps a repository wherever rclone reaches: it runs "rclone serve restic --stdio" and speaks
// restic's REST protocol with it, over HTTP/2 on the process's standard input and output.
//
// It never runs a shell, and opens no port. A process that ended is started anew by the next call.
package rclone

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/limit"
	"github.com/trivet-ha/trivet/backup/store/rest"
	"github.com/trivet-ha/trivet/backup/store/retry"
)

// Config says which place, and how rclone is called.
type Config struct {
	// Remote is rclone's name of the place: "remote:path".
	Remote string
	// Program is the path of rclone; it is looked for in PATH when empty.
	Program string
	// Args stand between the program and the remote; when nil "serve restic --stdio --b2-hard-delete", as
	// restic calls it, and "--cache-objects=false": what rclone keeps of a listing is the size of a file while it
	// was still being written, and it then serves that, empty, to whoever reads it later.
	Args []string
	// Env is added to this process's environment.
	Env []string
	// Limits holds the bandwidth.
	Limits limit.Limits
	// Log hears what rclone says on its standard error; nobody when nil.
	Log *slog.Logger
}

// Store is a repository behind rclone. Close ends the process.
type Store struct {
	*rest.Store
	transport *http.Transport
	runner    *runner
	remote    string
}

var _ store.Store = (*Store)(nil)

// New checks the configuration and finds rclone. The process starts with the first call.
func New(c Config) (*Store, error) {
	if c.Remote == "" {
		return nil, errors.New("rclone: no remote is named (rclone:remote:path)")
	}
	if strings.HasPrefix(c.Remote, "-") {
		return nil, fmt.Errorf("rclone: %q would be taken as an option", c.Remote)
	}
	if c.Program == "" {
		c.Program = "rclone"
	}
	program, err := exec.LookPath(c.Program)
	if err != nil {
		return nil, fmt.Errorf("rclone: %w (install rclone, or name its path)", err)
	}
	if c.Args == nil {
		c.Args = []string{"serve", "restic", "--stdio", "--b2-hard-delete", "--cache-objects=false"}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	r := &runner{program: program, args: append(append([]string{}, c.Args...), c.Remote), config: c}
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true) // the "connection" is a pair of pipes
	transport := &http.Transport{
		Protocols:       protocols,
		DialContext:     r.dial,
		MaxConnsPerHost: 1,
		HTTP2:           &http.HTTP2Config{SendPingTimeout: time.Minute},
	}
	// The host is never looked up: every connection is a process.
	s, err := rest.New(rest.Config{URL: "http://rclone/", Transport: transport})
	if err != nil {
		return nil, err
	}
	return &Store{Store: s, transport: transport, runner: r, remote: c.Remote}, nil
}

// String is the place.
func (s *Store) String() string { return "rclone:" + s.remote }

// Close ends the process and waits for it.
func (s *Store) Close() error {
	s.transport.CloseIdleConnections()
	return s.runner.close()
}

// runner starts processes, one at a time unless the last one is broken.
type runner struct {
	program string
	args    []string
	config  Config

	mu     sync.Mutex
	closed bool
	live   []*process
}

func (r *runner) dial(context.Context, string, string) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, retry.Permanent(net.ErrClosed)
	}
	p, err := r.start()
	if err != nil {
		return nil, err
	}
	r.live = append(r.live, p)
	return r.config.Limits.Conn(p), nil
}

func (r *runner) start() (*process, error) {
	cmd := exec.Command(r.program, r.args...)
	cmd.Env = append(cmd.Environ(), r.config.Env...)
	detach(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, retry.Permanent(fmt.Errorf("start rclone: %w", err))
	}
	p := &process{cmd: cmd, in: stdin, out: stdout, ended: make(chan struct{}), said: make(chan struct{})}
	go func() { // ends with the process, which close waits for
		defer close(p.ended)
		p.listen(stderr, r.config.Log)
		close(p.said)
		_ = cmd.Wait()
	}()
	return p, nil
}

// close ends all processes.
func (r *runner) close() error {
	r.mu.Lock()
	r.closed = true
	live := r.live
	r.live = nil
	r.mu.Unlock()
	for _, p := range live {
		_ = p.Close()
		select {
		case <-p.ended:
		case <-time.After(5 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.ended
		}
	}
	return nil
}

// process is a net.Conn over a running rclone.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   io.ReadCloser
	ended chan struct{}
	said  chan struct{} // closed after its last words

	mu       sync.Mutex
	lastLine string
}

// listen passes on what rclone says; its last words explain why it ended.
func (p *process) listen(stderr io.Reader, log *slog.Logger) {
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		log.Info("rclone says", "line", lines.Text())
		p.mu.Lock()
		p.lastLine = lines.Text()
		p.mu.Unlock()
	}
}

// Read reads the process's output. At its end the error has its last words.
func (p *process) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	if err == nil || n > 0 {
		return n, nil
	}
	select {
	case <-p.said:
	case <-time.After(time.Second): // its output is closed, but it lives on
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lastLine != "" {
		return 0, fmt.Errorf("rclone ended: %s", p.lastLine)
	}
	return 0, fmt.Errorf("rclone ended: %w", io.ErrUnexpectedEOF)
}

func (p *process) Write(b []byte) (int, error) { return p.in.Write(b) }

// Close ends rclone by closing its input.
func (p *process) Close() error {
	err := p.in.Close()
	_ = p.out.Close()
	return err
}

type address struct{}

func (address) Network() string { return "stdio" }
func (address) String() string  { return "rclone" }

func (p *process) LocalAddr() net.Addr              { return address{} }
func (p *process) RemoteAddr() net.Addr             { return address{} }
func (p *process) SetDeadline(time.Time) error      { return nil }
func (p *process) SetReadDeadline(time.Time) error  { return nil }
func (p *process) SetWriteDeadline(time.Time) error { return nil }

var _ net.Conn = (*process)(nil)
