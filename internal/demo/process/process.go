// Package process starts child processes that can not outlive this one: the kernel kills each when its parent ends, and
// closing the nursery kills what is left, with all that it started. It signals nothing that it has not started.
package process

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

// A Nursery starts child processes that can not outlive this process: the kernel kills each when the thread that started it
// ends (PR_SET_PDEATHSIG), and that thread is the nursery's own, so it ends with the process and not before.
type Nursery struct {
	starts chan func()
	done   chan struct{}

	mu       sync.Mutex
	children []*Child
}

// Run serves starts until Close. It must run on a goroutine of its own.
func (n *Nursery) Run() {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	defer close(n.done)
	for start := range n.starts {
		start()
	}
}

// NewNursery returns a nursery; its Run must be started before the first child is.
func NewNursery() *Nursery {
	return &Nursery{starts: make(chan func()), done: make(chan struct{})}
}

// Close kills every child that is left, with all of its process group, and waits for them.
func (n *Nursery) Close() {
	n.mu.Lock()
	children := n.children
	n.mu.Unlock()
	for _, c := range children {
		c.Kill()
	}
	for _, c := range children {
		<-c.exited
	}
	close(n.starts)
	<-n.done
}

// Start runs a program in a process group of its own.
func (n *Nursery) Start(name, program string, args ...string) (*Child, error) {
	c := &Child{name: name, exited: make(chan struct{})}
	c.cmd = exec.Command(program, args...)
	c.cmd.Stdout, c.cmd.Stderr = &c.output, &c.output
	c.cmd.WaitDelay = 2 * time.Second // for a grandchild that left the group and holds the output open
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

// A Child is a process that was started here.
type Child struct {
	name   string
	cmd    *exec.Cmd
	output tail
	exited chan struct{}
	err    error // valid once exited is closed
}

// Name returns the name the child was started under.
func (c *Child) Name() string { return c.name }

// PID returns the process id, which is the id of its process group too.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Signal reaches the whole process group, so that nothing a child started is left behind.
func (c *Child) Signal(s syscall.Signal) error {
	if err := syscall.Kill(-c.PID(), s); err != nil {
		return fmt.Errorf("signal %s (pid %d): %v", c.name, c.PID(), err)
	}
	return nil
}

// Kill ends the child, and all it started, at once. It does nothing when the child had ended already.
func (c *Child) Kill() {
	if c.Running() {
		_ = c.Signal(syscall.SIGKILL)
	}
}

// Stop asks the child to end and kills it when it has not within the grace.
func (c *Child) Stop(grace time.Duration) {
	if c.Running() {
		_ = c.Signal(syscall.SIGTERM)
		_ = c.Signal(syscall.SIGCONT) // a frozen child must wake up to hear it
	}
	select {
	case <-c.exited:
	case <-time.After(grace):
	}
	c.Kill()
	<-c.exited
}

// Exited is closed once the child has ended; Err then says how.
func (c *Child) Exited() <-chan struct{} { return c.exited }

// Err returns how the child ended. It must not be called before Exited is closed.
func (c *Child) Err() error { return c.err }

// Running reports whether the child has not ended.
func (c *Child) Running() bool {
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}

// LastWords returns the end of what the child printed, for an error message.
func (c *Child) LastWords() string { return strings.TrimSpace(c.output.String()) }

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
