package testserver

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An account is the user that a database runs as: the current one, or, as databases refuse root, another.
type account struct {
	who *syscall.Credential // nil is the current user
	dir string              // that belongs to it
}

// newAccount finds the first of the users that the machine has, and makes a directory for it.
func newAccount(t testing.TB, users ...string) *account {
	t.Helper()
	// Not in the test's own directory, into which only its owner is let.
	dir, err := os.MkdirTemp("", "trivet-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	a := &account{dir: dir}
	if os.Getuid() != 0 {
		return a
	}
	for _, name := range append(users, "nobody") {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 != nil || err2 != nil || os.Chown(dir, int(uid), int(gid)) != nil {
			continue
		}
		a.who = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return a
	}
	t.Fatal("there is no user for a database to run as")
	return nil
}

func (a *account) path(name string) string { return filepath.Join(a.dir, name) }

// run runs a program as the account's user and returns what it prints.
func (a *account) run(t testing.TB, env []string, argv ...string) string {
	t.Helper()
	out, err := a.try(env, argv...)
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func (a *account) try(env []string, argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = append(os.Environ(), env...), a.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.who}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// eventually repeats try until it succeeds.
func eventually(t testing.TB, what string, try func() (string, bool)) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); ; {
		said, ok := try()
		if ok {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("not within 30 s: %s: %s", what, said)
		case <-tick.C:
		}
	}
}

// take copies a file for the account's user alone.
func (a *account) take(t testing.TB, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err == nil && a.who != nil {
		err = os.Chown(to, int(a.who.Uid), int(a.who.Gid))
	}
	if err != nil {
		t.Fatal(err)
	}
}
