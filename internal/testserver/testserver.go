// Package testserver starts real servers on the loopback address for tests: an S3 server, an SSH daemon, a REST
// server, databases. Each runs as the current user, but for a database whose test runs as root, keeps its files in a
// directory of the test, and ends with the test.
//
// It never skips: a server that cannot be started fails the test, with what the server said.
package testserver

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// output collects what a server says.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// A process is a server that is running, or was.
type process struct {
	name  string
	cmd   *exec.Cmd
	said  output
	ended chan struct{}
}

// start runs argv until the test ends, and waits until it listens on address.
func start(t testing.TB, address string, env []string, argv ...string) *process {
	t.Helper()
	return startAs(t, nil, address, env, argv...)
}

// startAs is start as another user; nil is the current one.
func startAs(t testing.TB, who *syscall.Credential, address string, env []string, argv ...string) *process {
	t.Helper()
	p := &process{name: argv[0], cmd: exec.Command(argv[0], argv[1:]...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: who}
	p.cmd.Dir = "/" // a server of another user may not be let into the test's directory
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", argv[0], err)
	}
	go func() { // ends when the process does, which Cleanup sees to
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(p.kill)
	p.waitListening(t, address)
	return p
}

// signal reaches the process and all that it started.
func (p *process) signal(s syscall.Signal) {
	select {
	case <-p.ended:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, s)
	}
}

// kill ends the process at once.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// waitListening waits for a server on address, host:port or a path.
func (p *process) waitListening(t testing.TB, address string) {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	deadline := time.After(30 * time.Second)
	for {
		c, err := net.DialTimeout(network, address, time.Second)
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-p.ended:
			t.Fatalf("%s ended: %s", p.name, &p.said)
		case <-deadline:
			t.Fatalf("%s does not listen on %s: %s", p.name, address, &p.said)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// freeAddress gives a loopback address that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Program returns the path of a program that `make setup` installs. A test run that is not -short fails without it: what
// was never tried must not look as if it had passed.
func Program(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/usr/lib/openssh/"} {
		if p, err := exec.LookPath(dir + name); err == nil {
			return p
		}
	}
	if testing.Short() {
		t.Skipf("%s is not installed; make setup does that", name)
	}
	t.Fatalf("this test needs %s; make setup installs it", name)
	return ""
}

// Tool returns the path of a program that scripts/testtool builds from its public module, once.
func Tool(t testing.TB, name string) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	script := filepath.Join(filepath.Dir(here), "..", "..", "scripts", "testtool")
	var stderr bytes.Buffer
	cmd := exec.Command(script, name)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("scripts/testtool %s: %v\n%s", name, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// S3 is a running S3 server.
type S3 struct {
	Endpoint  string // host:port, plain HTTP
	AccessKey string
	SecretKey string
	dir       string
}

// StartS3 starts versitygw over a directory of the test, with versioning, as object lock needs it.
func StartS3(t testing.TB) *S3 {
	t.Helper()
	s := &S3{Endpoint: freeAddress(t), AccessKey: "test-access", SecretKey: "test-secret-0123456789", dir: t.TempDir()}
	versions := t.TempDir()
	start(t, s.Endpoint, []string{"ROOT_ACCESS_KEY=" + s.AccessKey, "ROOT_SECRET_KEY=" + s.SecretKey},
		Tool(t, "versitygw"), "--port", s.Endpoint, "--quiet", "posix", "--versioning-dir", versions, s.dir)
	return s
}

// StartREST starts "rclone serve restic" over dir and returns its URL.
func StartREST(t testing.TB, dir string, args ...string) string {
	t.Helper()
	address := freeAddress(t)
	argv := append([]string{Program(t, "rclone"), "--config", "/dev/null", "serve", "restic", "--addr", address}, args...)
	start(t, address, nil, append(argv, dir)...)
	return fmt.Sprintf("http://%s/", address)
}
