package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Hook is a program that runs before or after a backup: to take a snapshot of a volume, to stop a writer. It is
// started by its arguments, never by a shell.
type Hook struct {
	// Argv is the program and its arguments. An empty Hook does nothing.
	Argv []string
	// Timeout ends the program; an hour when zero.
	Timeout time.Duration
}

// hookSays bounds what is kept of a program's output for its error.
const hookSays = 2000

// Run runs the program with env added to the environment, and waits for it. Its output is in the error, if it fails.
func (h Hook) Run(ctx context.Context, env ...string) error {
	if len(h.Argv) == 0 {
		return nil
	}
	if h.Timeout <= 0 {
		h.Timeout = time.Hour
	}
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.Argv[0], h.Argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	text := strings.TrimSpace(strings.ToValidUTF8(said.String(), "?"))
	if over := len(text) - hookSays; over > 0 {
		text = "…" + text[over:]
	}
	if text != "" {
		return fmt.Errorf("hook %s: %w: %s", h.Argv[0], err, text)
	}
	return fmt.Errorf("hook %s: %w", h.Argv[0], err)
}

// Between runs do between two hooks. If the first fails, do is not called. The second runs in any case once the first
// succeeded, also when ctx has ended, and learns by TRIVET_RESULT (ok, partial or failed) and TRIVET_SNAPSHOT what came of it.
func Between(ctx context.Context, before, after Hook, do func(context.Context) (Result, error)) (Result, error) {
	if err := before.Run(ctx); err != nil {
		return Result{}, fmt.Errorf("before the backup: %w", err)
	}
	r, err := do(ctx)
	outcome, snapshot := "ok", ""
	switch {
	case err != nil:
		outcome = "failed"
	case r.Missing > 0:
		outcome = "partial"
	}
	if r.Snapshot != nil {
		snapshot = r.Snapshot.ID().String()
	}
	if herr := after.Run(context.WithoutCancel(ctx), "TRIVET_RESULT="+outcome, "TRIVET_SNAPSHOT="+snapshot); herr != nil {
		err = errors.Join(err, fmt.Errorf("after the backup: %w", herr))
	}
	return r, err
}
