package demo

import (
	"bytes"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A nursery starts child processes that cannot outlive the demo: the kernel kills each when the thread that started it
// ends (PR_SET_PDEATHSIG), and that thread is the nursery's own, so it ends with the process and not before.
type nursery struct {
	starts chan func()
	done   chan struct{}

	mu       sync.Mutex
	children []*child
}

// run serves starts until close. It must run on a goroutine of its own.
func (n *nursery) run() {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	defer close(n.done)
	for start := range n.starts {
		start()
	}
}

func newNursery() *nursery {
	return &nursery{starts: make(chan func()), done: make(chan struct{})}
}

// close kills every child that is left, with all of its process group, and waits for them.
func (n *nursery) close() {
	n.mu.Lock()
	children := n.children
	n.mu.Unlock()
	for _, c := range children {
		c.kill()
	}
	for _, c := range children {
		<-c.exited
	}
	close(n.starts)
	<-n.done
}

// start runs a program in a process group of its own.
func (n *nursery) start(name, program string, args ...string) (*child, error) {
	c := &child{name: name, exited: make(chan struct{})}
	c.cmd = exec.Command(program, args...)
	c.cmd.Stdout, c.cmd.Stderr = &c.output, &c.output
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	failed := make(chan error)
	n.starts <- func() { failed <- c.cmd.Start() }
	if err := <-failed; err != nil {
		return nil, fmt.Errorf("start %s: %v", name, err)
	}
	n.mu.Lock()
	n.children = append(n.children, c)
	n.mu.Unlock()
	go func() { // waited for through exited
		c.err = c.cmd.Wait()
		close(c.exited)
	}()
	return c, nil
}

// A child is a process that the demo started.
type child struct {
	name   string
	cmd    *exec.Cmd
	output tail
	exited chan struct{}
	err    error // valid once exited is closed
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// signal reaches the whole process group, so that nothing a child started is left behind.
func (c *child) signal(s syscall.Signal) error {
	if err := syscall.Kill(-c.pid(), s); err != nil {
		return fmt.Errorf("signal %s (pid %d): %v", c.name, c.pid(), err)
	}
	return nil
}

// kill ends the child at once and does not care whether it had ended already.
func (c *child) kill() { _ = c.signal(syscall.SIGKILL) }

// stop asks the child to end and kills it when it has not within the grace.
func (c *child) stop(grace time.Duration) {
	_ = c.signal(syscall.SIGCONT)
	_ = c.signal(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-time.After(grace):
	}
	c.kill()
	<-c.exited
}

// running reports whether the child has not ended.
func (c *child) running() bool {
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}

// lastWords returns the end of what the child printed, for an error message.
func (c *child) lastWords() string { return strings.TrimSpace(c.output.String()) }

// tailBytesMax is how much of a child's output is kept.
const tailBytesMax = 8 << 10

// A tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// Write implements io.Writer and never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailBytesMax; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.ToValidUTF8(t.buf, []byte("?")))
}
