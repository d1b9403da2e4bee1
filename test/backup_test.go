package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/internal/testserver"
)

// command runs trivet with arguments, and gives what it wrote and its exit code.
func command(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// uploads makes data, and a repository for it. It gives the part of a file that names them.
func uploads(t *testing.T, dir string, mebibytes int, more string) (yaml string) {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	for i := range mebibytes {
		name := filepath.Join(dir, "uploads", fmt.Sprint(i%4), fmt.Sprintf("%d.bin", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		content := make([]byte, 1<<20)
		rand.Read(content)
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "pw"), []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := command(t, "repo", "init", "--repo", filepath.Join(dir, "vault"), "--password-file", filepath.Join(dir, "pw")); code != 0 {
		t.Fatalf("%s%s", out, errs)
	}
	return strings.ReplaceAll(fmt.Sprintf(`
repositories: {vault: {store: DIR/vault, password_file: DIR/pw%s}}
backups: {uploads: {files: [DIR/uploads], repository: vault}}
state: DIR/state.db
admin: {socket: SOCKET}
`, more), "DIR", dir)
}

// restored fails unless the repository holds the uploads as they are, and stock restic finds nothing wrong with it.
func restored(t *testing.T, dir string) {
	t.Helper()
	out := filepath.Join(dir, "out")
	if stdout, errs, code := command(t, "restore", "--repo", filepath.Join(dir, "vault"), "--password-file", filepath.Join(dir, "pw"), "--target", out, "--verify", "latest"); code != 0 {
		t.Fatalf("restore: %s%s", stdout, errs)
	}
	if diff, err := exec.Command("diff", "-r", filepath.Join(dir, "uploads"), filepath.Join(out, dir, "uploads")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	restic := testserver.Program(t, "restic")
	check := exec.Command(restic, "-r", filepath.Join(dir, "vault"), "-p", filepath.Join(dir, "pw"), "--no-cache", "check", "--read-data")
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("restic check: %v\n%s", err, out)
	}
}

func TestABackupSurvivesTheKillOfItsNode(t *testing.T) {
	dir := t.TempDir()
	// So slow that nobody misses it: 64 MiB in half a minute.
	yaml := uploads(t, dir, 64, ", pack_size: 4MiB, bandwidth: {upload: 2MiB/s}")
	d := run(t, yaml)
	if _, err := d.client.StartBackup(t.Context(), "uploads", ""); err != nil {
		t.Fatal(err)
	}
	var b api.Backup
	look := func() bool {
		list, err := d.client.Backups(t.Context(), "uploads")
		if err == nil && len(list) == 1 {
			b = list[0]
		}
		return err == nil
	}
	eventually(t, "something is saved", func() bool { return look() && b.Progress != nil && b.Progress.Bytes > 1<<20 })
	s, err := d.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is gone", func() bool { _, err := d.client.Status(t.Context()); return err != nil })

	d = run(t, strings.Replace(yaml, ", bandwidth: {upload: 2MiB/s}", "", 1))
	eventually(t, "what was cut off is known", func() bool { return look() && b.Failures == 1 })
	if b.State != "idle" || b.Run != 0 || !strings.Contains(b.Error, "in the middle") {
		t.Errorf("%+v", b)
	}
	list, err := d.client.Events(t.Context(), events.Filter{Backup: "uploads"})
	if err != nil || len(list) != 2 || list[0].Kind != events.BackupStarted || list[1].Kind != events.BackupFailed {
		t.Errorf("%+v, %v", list, err)
	}
	out, errs, code := command(t, "backup", "uploads", "--socket", d.socket)
	if code != 0 || !strings.Contains(out, "uploads@vault: snapshot") || !strings.Contains(out, "64 files") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if out, errs, code := command(t, "status", "--socket", d.socket); code != 0 || !strings.Contains(out, "uploads@vault") || !strings.Contains(out, "fine") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	restored(t, dir)
}

func TestABackupByNameNeedsNoNode(t *testing.T) {
	dir := t.TempDir()
	yaml := uploads(t, dir, 4, "")
	file := filepath.Join(dir, "trivet.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(yaml, "SOCKET", filepath.Join(dir, "none.sock"))), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := command(t, "check", file); code != 0 {
		t.Errorf("check: exit %d: %s%s", code, out, errs)
	}
	if out, errs, code := command(t, "backup", "uploads", "--socket", filepath.Join(dir, "none.sock")); code != 1 || !strings.Contains(errs, "--config") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if out, errs, code := command(t, "backup", "upload", "--config", file); code != 1 || !strings.Contains(errs, "there are uploads") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	out, errs, code := command(t, "backup", "uploads", "--config", file, "--json")
	var list []api.Backup
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) != 1 || list[0].Outcome.Files != 4 {
		t.Errorf("exit %d: %s%s, %v", code, out, errs, err)
	}
	restored(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, "vault")); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := command(t, "backup", "uploads", "--config", file); code != 1 || !strings.Contains(errs, "repo init") {
		t.Errorf("without its repository: exit %d: %s%s", code, out, errs)
	}
}

// A backup that is under way when the node is upgraded gives way, and is made again by the new process.
func TestABackupIsMadeUpByTheNextProcess(t *testing.T) {
	dir := t.TempDir()
	yaml := uploads(t, dir, 32, ", pack_size: 4MiB, bandwidth: {upload: 4MiB/s}")
	yaml = strings.Replace(yaml, "repository: vault}", `repository: vault, schedule: "0 2 29 2 *"}`, 1) // leap years
	d := run(t, yaml+"drain_timeout: 2s\n")
	if _, err := d.client.StartBackup(t.Context(), "uploads", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it runs", func() bool {
		list, err := d.client.Backups(t.Context(), "uploads")
		return err == nil && list[0].State == "running"
	})
	if err := d.client.Upgrade(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	d.client.Close()
	eventually(t, "it is made", func() bool {
		list, err := d.client.Backups(t.Context(), "uploads")
		return err == nil && list[0].State == "idle" && list[0].Done == 1 && list[0].Error == "" && list[0].Outcome.Files == 32
	})
}
