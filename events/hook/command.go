package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command delivers notices to a program of this machine: JSON on its standard
// input, the main facts in its environment (TRIVET_EVENT, TRIVET_EVENT_ID,
// TRIVET_LEVEL, TRIVET_POOL, TRIVET_ENDPOINT, TRIVET_PROCESS, TRIVET_LISTENER,
// TRIVET_BACKUP, TRIVET_BACKUP_REPOSITORY, TRIVET_INCIDENT, TRIVET_INCIDENT_STATE, TRIVET_EVIDENCE). No shell is involved.
// Exit status 0 is success. When time is up it is killed with all processes of
// its group.
type Command struct {
	Argv []string
	Dir  string // where it runs; "" is here
	// Timeout is how long it may take; 0 is 30 seconds.
	Timeout time.Duration
}

const (
	// outputKept is how much of a program's complaint is told.
	outputKept = 400
	// outputWait is how long the output is waited for after the program has ended,
	// if a process that it left behind holds it open.
	outputWait = 100 * time.Millisecond
)

// Deliver implements Deliverer.
func (c *Command) Deliver(ctx context.Context, n Notice) error {
	body, err := json.Marshal(n)
	if err != nil {
		return &Refusal{err.Error()}
	}
	timeout := c.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out := &tail{}
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Dir, cmd.Env = c.Dir, append(os.Environ(), environment(n)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(body, '\n')), out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = outputWait
	err = cmd.Run()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("command did not end within %v%s", timeout, out)
	case cmd.ProcessState == nil:
		return &Refusal{"command: " + err.Error()}
	case cmd.ProcessState.Success(): // it did not read all of its input
		return nil
	}
	return fmt.Errorf("command: %w%s", err, out)
}

func environment(n Notice) []string {
	e := &n.Event
	env := []string{
		"TRIVET_EVENT=" + string(e.Kind), "TRIVET_EVENT_ID=" + strconv.FormatInt(e.ID, 10), "TRIVET_LEVEL=" + string(e.Level),
		"TRIVET_POOL=" + e.Pool, "TRIVET_ENDPOINT=" + e.Endpoint, "TRIVET_PROCESS=" + e.Process, "TRIVET_LISTENER=" + e.Listener,
		"TRIVET_BACKUP=" + e.Backup, "TRIVET_BACKUP_REPOSITORY=" + e.Repository, // TRIVET_REPOSITORY is the command line's
		"TRIVET_EVIDENCE=" + strings.ReplaceAll(e.Evidence, "\x00", ""),
	}
	if n.Incident != nil {
		env = append(env, "TRIVET_INCIDENT="+strconv.FormatInt(n.Incident.ID, 10), "TRIVET_INCIDENT_STATE="+string(n.Incident.State))
	}
	return env
}

// tail keeps the end of what a program says.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - outputKept; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

// String is what was said, to be put behind an error.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(string(bytes.ToValidUTF8(t.buf, []byte("?"))))
	if text == "" {
		return ""
	}
	return "; it said: " + text
}
