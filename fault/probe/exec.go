package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Exec is a command of this machine: exit status 0 is well. No shell is
// involved. The command has TRIVET_ENDPOINT, TRIVET_HOST, TRIVET_PORT and
// TRIVET_POOL in its environment, after what this process has. When time is up it
// is killed with all processes of its group.
type Exec struct {
	// Command is the program and its arguments.
	Command []string
	// Pool is the value of TRIVET_POOL.
	Pool string
}

const (
	// maxOutput of a command is kept to be reported.
	maxOutput = 4 << 10
	// outputWait is how long the output is waited for after the command has
	// ended, if a process that it left behind holds it open.
	outputWait = 100 * time.Millisecond
)

// Do implements Check.
func (c *Exec) Do(ctx context.Context, t Target) (detail string, err error) {
	if len(c.Command) == 0 {
		return "", errors.New("exec probe: no command")
	}
	out := &head{}
	cmd := exec.CommandContext(ctx, c.Command[0], c.Command[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), c.environment(t)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = outputWait
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success():
		return "exit status 0" + out.said(), nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: timed out%s", c.Command[0], out.said())
	case errors.As(err, &exit):
		return "", fmt.Errorf("%s%s", exit.ProcessState, out.said())
	}
	return "", err
}

func (c *Exec) environment(t Target) []string {
	_, address := t.dial()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = address, ""
	}
	return []string{
		"TRIVET_ENDPOINT=" + t.Address,
		"TRIVET_HOST=" + host,
		"TRIVET_PORT=" + port,
		"TRIVET_POOL=" + c.Pool,
	}
}

// head keeps the beginning of what is written to it.
type head struct{ text []byte }

func (h *head) Write(b []byte) (int, error) {
	h.text = append(h.text, b[:min(len(b), maxOutput-len(h.text))]...)
	return len(b), nil
}

// said is the first line of the output, to be put behind a reason.
func (h *head) said() string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(h.text), []byte("\n"))
	if len(line) == 0 {
		return ""
	}
	return ": " + quote(line)
}
