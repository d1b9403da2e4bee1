package sftp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os/exec"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/trivet-ha/trivet/backup/store/retry"
)

// packetBytes is the payload of one request. OpenSSH takes up to 256 KiB, all servers take 32.
const packetBytes = 32 << 10

// line is the connection, opened when it is needed and dropped when it breaks.
type line struct {
	config  Config
	connect func(context.Context) (*connection, error)

	mu     sync.Mutex
	now    *connection
	closed bool
}

// connection is an SFTP session and what it stands on.
type connection struct {
	*sftp.Client
	under []io.Closer
	ended func() // waits for what close started
}

func (c *connection) close() error {
	err := c.Client.Close()
	if errors.Is(err, fs.ErrClosed) {
		err = nil
	}
	for _, u := range c.under {
		if cerr := u.Close(); err == nil && !errors.Is(cerr, net.ErrClosed) && !errors.Is(cerr, fs.ErrClosed) {
			err = cerr
		}
	}
	if c.ended != nil {
		c.ended()
	}
	return err
}

// client gives the live client; it connects if there is none. Callers that come meanwhile wait.
func (l *line) client(ctx context.Context) (*sftp.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, retry.Permanent(net.ErrClosed)
	}
	if l.now == nil {
		c, err := l.connect(ctx)
		if err != nil {
			return nil, err
		}
		l.now = c
	}
	return l.now.Client, nil
}

// judge drops the connection if err says that it is broken.
func (l *line) judge(c *sftp.Client, err error) {
	var status *sftp.StatusError
	if errors.As(err, &status) && status.FxCode() != sftp.ErrSSHFxConnectionLost && status.FxCode() != sftp.ErrSSHFxNoConnection {
		return // the server answered
	}
	if !errors.Is(err, sftp.ErrSSHFxConnectionLost) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) &&
		!errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
		var network net.Error
		if !errors.As(err, &network) {
			return
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now != nil && l.now.Client == c {
		_ = l.now.close()
		l.now = nil
	}
}

func (l *line) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.now == nil {
		return nil
	}
	err := l.now.close()
	l.now = nil
	return err
}

func (l *line) options() []sftp.ClientOption {
	return []sftp.ClientOption{
		sftp.MaxPacketChecked(packetBytes), sftp.MaxConcurrentRequestsPerFile(l.config.Window),
		sftp.UseConcurrentReads(true), sftp.UseConcurrentWrites(true),
	}
}

// dial connects by our own SSH.
func (l *line) dial(ctx context.Context) (*connection, error) {
	dialer := &net.Dialer{Timeout: l.config.Timeout, KeepAlive: 30 * time.Second}
	conn, err := l.config.Limits.Dial(dialer.DialContext)(ctx, "tcp", l.config.address())
	if err != nil {
		return nil, err
	}
	client, err := l.handshake(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	session, err := sftp.NewClient(client, l.options()...)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("begin sftp: %w", err)
	}
	return &connection{Client: session, under: []io.Closer{client}}, nil
}

func (l *line) handshake(ctx context.Context, conn net.Conn) (*ssh.Client, error) {
	config, closeAgent, err := l.config.clientConfig()
	if err != nil {
		return nil, err
	}
	defer closeAgent() // its keys are needed for the handshake only
	if err := conn.SetDeadline(time.Now().Add(l.config.Timeout)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(conn, l.config.address(), config)
	if err != nil {
		return nil, refused(ctx, err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		c.Close()
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

// spawn connects through a program that speaks SFTP on its standard input and output.
func (l *line) spawn(context.Context) (*connection, error) {
	cmd := exec.Command(l.config.Command[0], l.config.Command[1:]...)
	said := &lastWords{}
	cmd.Stderr = said
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, retry.Permanent(fmt.Errorf("start %s: %w", l.config.Command[0], err))
	}
	session, err := sftp.NewClientPipe(out, in, l.options()...)
	if err != nil {
		in.Close()
		_ = cmd.Wait()
		return nil, fmt.Errorf("begin sftp by %s: %w: %s", l.config.Command[0], err, said)
	}
	return &connection{Client: session, under: []io.Closer{in}, ended: func() { _ = cmd.Wait() }}, nil
}

// lastWords keeps the end of what a program says.
type lastWords struct {
	mu   sync.Mutex
	text []byte
}

func (w *lastWords) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	if over := len(w.text) - 500; over > 0 {
		w.text = w.text[over:]
	}
	return len(p), nil
}

func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text)
}

func randomName() string { return rand.Text()[:12] }
