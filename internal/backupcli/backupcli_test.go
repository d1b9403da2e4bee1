package backupcli

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/internal/testserver"
)

// desk is where a test types.
type desk struct {
	t     *testing.T
	dir   string
	repo  string
	input io.Reader
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	for _, name := range []string{
		"TRIVET_REPOSITORY", "RESTIC_REPOSITORY", "TRIVET_PASSWORD_FILE", "RESTIC_PASSWORD_FILE", "TRIVET_PASSWORD", "RESTIC_PASSWORD", "RESTIC_PASSWORD_COMMAND",
	} {
		t.Setenv(name, "")
	}
	dir := t.TempDir()
	d := &desk{t: t, dir: dir, repo: filepath.Join(dir, "repo")}
	d.write("password", "secret\n")
	t.Setenv("TRIVET_CACHE_DIR", filepath.Join(dir, "cache"))
	t.Setenv("TRIVET_PASSWORD_FILE", filepath.Join(dir, "password"))
	t.Setenv("TRIVET_REPOSITORY", d.repo)
	return d
}

func (d *desk) write(name, text string) string {
	d.t.Helper()
	p := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
	return p
}

// try types a command and gives what it said and its exit code.
func (d *desk) try(args ...string) (out, talk string, code int) {
	d.t.Helper()
	root := &cobra.Command{Use: "trivet", SilenceErrors: true, SilenceUsage: true}
	root.PersistentFlags().Bool("json", false, "")
	root.AddCommand(Commands("test")...)
	var stdout, stderr bytes.Buffer
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	root.SetIn(d.input)
	if d.input == nil {
		root.SetIn(strings.NewReader(""))
	}
	root.SetArgs(args)
	err := root.ExecuteContext(d.t.Context())
	if err != nil {
		code = 1
		var p *Problem
		if errors.As(err, &p) {
			code = p.ExitCode()
			fmt.Fprintln(&stderr, p.Hint())
		}
		fmt.Fprintln(&stderr, err)
	}
	return stdout.String(), stderr.String(), code
}

// run is try for what must succeed.
func (d *desk) run(args ...string) string {
	d.t.Helper()
	out, talk, code := d.try(args...)
	if code != 0 {
		d.t.Fatalf("trivet %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, talk)
	}
	return out
}

// json runs a command and decodes the last line of its output.
func (d *desk) json(into any, args ...string) {
	d.t.Helper()
	out := strings.TrimSpace(d.run(append(args, "--json")...))
	last := out[strings.LastIndexByte(out, '\n')+1:]
	if err := json.Unmarshal([]byte(last), into); err != nil {
		d.t.Fatalf("%v: %q", err, last)
	}
}

func (d *desk) wants(text string, parts ...string) {
	d.t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			d.t.Errorf("%q is not in:\n%s", p, text)
		}
	}
}

// restic runs stock restic on the repository.
func (d *desk) restic(args ...string) string {
	d.t.Helper()
	cmd := exec.Command(testserver.Program(d.t, "restic"), append([]string{"-r", d.repo, "--no-cache", "--password-file", filepath.Join(d.dir, "password")}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("restic %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

type summaryJSON struct {
	SnapshotID      string `json:"snapshot_id"`
	FilesNew        int    `json:"files_new"`
	FilesUnmodified int    `json:"files_unmodified"`
	FilesChanged    int    `json:"files_changed"`
}

func TestAStoryFromInitToPrune(t *testing.T) {
	d := newDesk(t)
	d.write("src/a.txt", "first")
	d.write("src/sub/b.txt", strings.Repeat("second ", 10_000))
	src := filepath.Join(d.dir, "src")
	d.wants(d.run("repo", "init"), "made repository")

	var first, second summaryJSON
	d.json(&first, "backup", src)
	if first.FilesNew != 2 || first.SnapshotID == "" {
		t.Errorf("%+v", first)
	}
	d.write("src/a.txt", "changed now")
	d.write("src/c.txt", "third")
	d.json(&second, "backup", "--tag", "two,x", src)
	if second.FilesChanged != 1 || second.FilesNew != 1 || second.FilesUnmodified != 1 {
		t.Errorf("%+v", second)
	}
	d.wants(d.run("snapshots"), first.SnapshotID[:8], second.SnapshotID[:8], "two,x", "2 snapshots")
	d.wants(d.run("ls", "latest"), "/a.txt", "/sub/b.txt", "/c.txt")
	d.wants(d.run("ls", "-l", "latest", src), "-rw-r--r--", src+"/a.txt")
	d.wants(d.run("find", "*.txt"), "a.txt", first.SnapshotID[:8])
	d.wants(d.run("diff", first.SnapshotID, second.SnapshotID), "M    "+src+"/a.txt", "+    "+src+"/c.txt", "1 new")
	if got := d.run("dump", first.SnapshotID, src+"/a.txt"); got != "first" {
		t.Errorf("dump: %q", got)
	}
	target := filepath.Join(d.dir, "out")
	d.wants(d.run("restore", "--target", target, "--verify", "latest:"+src), "restored 3 files", "3 verified")
	got, err := os.ReadFile(filepath.Join(target, "a.txt"))
	if err != nil || string(got) != "changed now" {
		t.Errorf("%q, %v", got, err)
	}
	d.wants(d.run("verify", "--data", "all"), "no errors found", "2 snapshots")
	d.wants(d.run("repo", "stats"), "2 snapshots", "stored")
	d.run("tag", "--add", "kept", first.SnapshotID)
	d.wants(d.run("snapshots", "--tag", "kept"), "1 snapshot")
	_, talk, code := d.try("forget", "--keep-last", "1")
	if code != 2 {
		t.Errorf("without a terminal and --yes: exit code %d", code)
	}
	d.wants(talk, "keep", "remove", "--yes")
	d.wants(d.run("forget", "--keep-last", "1", "--yes", "--prune"), "removed 1 snapshot")
	d.wants(d.run("snapshots"), "1 snapshot")
	d.run("prune", "--max-unused", "0", "--yes")
	d.wants(d.run("repo", "check", "--read-data"), "no errors found")
	d.restic("check", "--read-data")
	d.wants(d.restic("snapshots"), second.SnapshotID[:8])
}

func TestResticsEnvironmentIsUnderstood(t *testing.T) {
	d := newDesk(t)
	t.Setenv("TRIVET_REPOSITORY", "")
	t.Setenv("TRIVET_PASSWORD_FILE", "")
	t.Setenv("RESTIC_REPOSITORY", d.repo)
	t.Setenv("RESTIC_PASSWORD_COMMAND", `printf '%s\n' "secret"`)
	d.run("repo", "init")
	t.Setenv("RESTIC_PASSWORD_COMMAND", "")
	t.Setenv("RESTIC_PASSWORD", "secret")
	d.wants(d.run("snapshots"), "0 snapshots")
	t.Setenv("RESTIC_PASSWORD", "")
	_, talk, code := d.try("snapshots")
	if code != 2 {
		t.Errorf("without a password: exit code %d", code)
	}
	d.wants(talk, "--password-file")
}

func TestExitCodes(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"backup /etc", 1, "repo init"},
		{"restore latest", 1, "repo init"},
		{"restore", 2, "SNAPSHOT"},
		{"backup --exclude-larger-than x /etc", 2, "size"},
		{"repo nonsense", 2, "nonsense"},
		{"diff a", 2, "SNAPSHOT"},
	} {
		_, talk, code := d.try(strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(talk, c.says) {
			t.Errorf("trivet %s: exit code %d, want %d; %s", c.args, code, c.code, talk)
		}
	}
	d.run("repo", "init")
	if _, talk, code := d.try("forget", "--keep-daily", "many"); code != 2 || !strings.Contains(talk, "many") {
		t.Errorf("exit code %d: %s", code, talk)
	}
	if _, talk, code := d.try("ls", "latest"); code != 1 || !strings.Contains(talk, "trivet snapshots") {
		t.Errorf("exit code %d: %s", code, talk)
	}
	d.write("src/file", "x")
	if _, talk, code := d.try("backup", filepath.Join(d.dir, "src"), filepath.Join(d.dir, "none")); code != 3 {
		t.Errorf("a path that is missing: exit code %d: %s", code, talk)
	}
	t.Setenv("TRIVET_PASSWORD_FILE", d.write("wrong", "wrong"))
	if _, talk, code := d.try("snapshots"); code != 1 || !strings.Contains(talk, "wrong password") {
		t.Errorf("exit code %d: %s", code, talk)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	d := newDesk(t)
	forbids := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer forbids.Close()
	t.Setenv("TRIVET_REPOSITORY", "rest:"+strings.Replace(forbids.URL, "http://", "http://me:hunter2@", 1))
	out, talk, code := d.try("snapshots")
	if code == 0 || strings.Contains(out+talk, "hunter2") || strings.Contains(out+talk, "secret") {
		t.Errorf("exit code %d: %s%s", code, out, talk)
	}
}

func TestKeys(t *testing.T) {
	d := newDesk(t)
	d.run("repo", "init")
	d.write("second", "another")
	d.wants(d.run("repo", "key", "add", "--new-password-file", filepath.Join(d.dir, "second"), "--user", "anna"), "added key")
	list := d.run("repo", "key", "list")
	d.wants(list, "*", "anna")
	t.Setenv("TRIVET_PASSWORD_FILE", filepath.Join(d.dir, "second"))
	d.run("snapshots")
	var keys []struct {
		ID      string `json:"id"`
		Current bool   `json:"current"`
	}
	d.json(&keys, "repo", "key", "list")
	for _, k := range keys {
		_, _, code := d.try("repo", "key", "remove", k.ID[:8])
		if (code == 0) == k.Current {
			t.Errorf("remove a key, current: %t: exit code %d", k.Current, code)
		}
	}
	d.write("third", "third")
	d.run("repo", "key", "passwd", "--new-password-file", filepath.Join(d.dir, "third"))
	t.Setenv("TRIVET_PASSWORD_FILE", filepath.Join(d.dir, "third"))
	d.run("snapshots")
}

func TestCopyIntoAnotherRepository(t *testing.T) {
	d := newDesk(t)
	d.run("repo", "init")
	d.write("src/file", "content")
	d.run("backup", filepath.Join(d.dir, "src"))
	other := filepath.Join(d.dir, "other")
	d.write("pw2", "second")
	pw2 := filepath.Join(d.dir, "pw2")
	d.run("repo", "init", "-r", other, "-p", pw2)
	old := []string{"copy", "--from-repo", d.repo, "--from-password-file", filepath.Join(d.dir, "password"), "-r", other, "-p", pw2}
	d.wants(d.run(old...), "copied 1 snapshot")
	_, talk, _ := d.try(old...)
	d.wants(talk, "there already")
	if got := d.run("dump", "-r", other, "-p", pw2, "latest", filepath.Join(d.dir, "src/file")); got != "content" {
		t.Errorf("%q", got)
	}
}

func TestStreams(t *testing.T) {
	d := newDesk(t)
	d.run("repo", "init")
	d.input = strings.NewReader("from standard input")
	d.run("backup", "--stdin", "--stdin-filename", "dir/dump.sql")
	if got := d.run("dump", "latest", "/dir/dump.sql"); got != "from standard input" {
		t.Errorf("%q", got)
	}
	d.run("backup", "--stdin-from-command", "--stdin-filename", "out", "--", "printf", "%s", "a b")
	if got := d.run("dump", "latest", "/out"); got != "a b" {
		t.Errorf("%q", got)
	}
	_, talk, code := d.try("backup", "--stdin-from-command", "--stdin-filename", "out", "--", "false")
	if code != 1 || !strings.Contains(talk, "false") {
		t.Errorf("a program that fails: exit code %d: %s", code, talk)
	}
	d.wants(d.run("snapshots"), "2 snapshots")
	d.restic("check", "--read-data")
}

func TestDumpOfADirectoryIsATar(t *testing.T) {
	d := newDesk(t)
	d.run("repo", "init")
	d.write("src/sub/a", "aaa")
	d.run("backup", filepath.Join(d.dir, "src"))
	r := tar.NewReader(strings.NewReader(d.run("dump", "latest", filepath.Join(d.dir, "src"))))
	var names []string
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if strings.Join(names, " ") != "sub/ sub/a" {
		t.Errorf("%q", names)
	}
}

func TestHooksRunAround(t *testing.T) {
	d := newDesk(t)
	d.run("repo", "init")
	src := filepath.Dir(d.write("src/a", "a"))
	log := filepath.Join(d.dir, "log")
	script := d.write("hook", "#!/bin/sh\necho \"$1 $TRIVET_RESULT ${TRIVET_SNAPSHOT:+named}\" >> "+log+"\n")
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	d.run("backup", "--before", script+" 'be fore'", "--after", script+" after", src)
	text, err := os.ReadFile(log)
	if err != nil || string(text) != "be fore  \nafter ok named\n" {
		t.Errorf("%q, %v", text, err)
	}
	_, talk, code := d.try("backup", "--before", "false", src)
	if code != 1 || !strings.Contains(talk, "before the backup") {
		t.Errorf("exit code %d: %s", code, talk)
	}
	d.wants(d.run("snapshots"), "1 snapshot")
}

func TestRestoreAsksBeforeItDeletes(t *testing.T) {
	d := newDesk(t)
	d.run("repo", "init")
	d.write("src/a", "a")
	src := filepath.Join(d.dir, "src")
	d.run("backup", src)
	extra := d.write("src/extra", "not in the snapshot")
	_, talk, code := d.try("restore", "latest:"+src, "--target", src, "--delete")
	if code != 2 || !strings.Contains(talk, "delete "+extra) {
		t.Errorf("exit code %d: %s", code, talk)
	}
	if _, err := os.Stat(extra); err != nil {
		t.Error("it was deleted without a yes")
	}
	d.wants(d.run("restore", "latest:"+src, "--target", src, "--delete", "--dry-run"), "deleted", "/extra", "would restore")
	d.wants(d.run("restore", "latest:"+src, "--target", src, "--delete", "--yes"), "1 deleted")
	if _, err := os.Stat(extra); err == nil {
		t.Error("it is still there")
	}
}

func TestOverS3SFTPAndREST(t *testing.T) {
	d := newDesk(t)
	src := filepath.Dir(d.write("src/a", strings.Repeat("over the net ", 100_000)))
	bucket, ssh, rest := testserver.StartS3(t), testserver.StartSSHD(t), testserver.StartREST(t, t.TempDir())
	t.Setenv("AWS_ACCESS_KEY_ID", bucket.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", bucket.SecretKey)
	t.Setenv("AWS_REGION", "us-east-1")
	for _, place := range [][]string{
		{"-r", "s3:http://" + bucket.Endpoint + "/bucket/prefix"},
		{"-r", "sftp://" + ssh.User + "@" + ssh.Host + ":" + ssh.Port + "/" + d.dir + "/sftp", "-o", "sftp.known-hosts=" + ssh.KnownHosts, "-o", "sftp.key=" + ssh.KeyFile},
		{"-r", "rest:" + rest},
		{"-r", "rclone:" + t.TempDir()},
	} {
		with := func(args ...string) []string { return append(args, place...) }
		d.run(with("repo", "init")...)
		d.run(with("backup", src)...)
		d.run(with("backup", src)...)
		target := t.TempDir()
		d.run(with("restore", "latest:"+src, "--target", target, "--verify")...)
		d.wants(d.run(with("verify", "--data", "all")...), "no errors found")
	}
}

func TestMountShowsSnapshots(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Fatal("this test needs FUSE: ", err)
	}
	d := newDesk(t)
	d.run("repo", "init")
	src := filepath.Dir(d.write("src/a.txt", strings.Repeat("mounted ", 100_000)))
	if err := os.Symlink("a.txt", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}
	var s summaryJSON
	d.json(&s, "backup", src)
	dir := t.TempDir()
	done := make(chan string, 1)
	go func() { // ends when it is unmounted, which is awaited below
		_, talk, code := d.try("mount", dir)
		done <- fmt.Sprint(code, talk)
	}()
	file := filepath.Join(dir, "ids", s.SnapshotID[:8], src, "link")
	var got []byte
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && len(got) == 0; {
		got, _ = os.ReadFile(file)
	}
	if string(got) != strings.Repeat("mounted ", 100_000) {
		t.Errorf("%d bytes are read through the mount", len(got))
	}
	if out, err := exec.Command("diff", "-r", src, filepath.Join(dir, "snapshots/latest", src)).CombinedOutput(); err != nil {
		t.Errorf("diff: %v %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "ids", s.SnapshotID[:8], "new"), nil, 0o600); err == nil {
		t.Error("a snapshot can be written to")
	}
	if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
		t.Fatalf("umount: %v %s", err, out)
	}
	if said := <-done; !strings.HasPrefix(said, "0") {
		t.Errorf("mount ended with %s", said)
	}
}

func TestWords(t *testing.T) {
	for line, want := range map[string]string{
		`a b  c`: "a|b|c", `a "b c" d`: "a|b c|d", `a 'b "c' \ d`: `a|b "c| d`, `"" x`: "|x", `a\"b`: `a"b`, ``: "", `'$HOME' *`: "$HOME|*",
	} {
		got, err := splitWords(line)
		if err != nil || strings.Join(got, "|") != want {
			t.Errorf("%q: %q, %v", line, got, err)
		}
	}
	for _, bad := range []string{`"a`, `'a`, `a\`} {
		if _, err := splitWords(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "100": 100, "1K": 1024, "1.5M": 1572864, "2GiB": 2 << 30, "3tb": 3 << 40} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "x", "-1", "1X", "1 M x"} {
		if n, err := parseSize(bad); err == nil {
			t.Errorf("%q: %d", bad, n)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1024: "1.00 KiB", 1536: "1.50 KiB", 34 << 20: "34.0 MiB", 999 << 30: "999 GiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestNamesThatATerminalWouldObey(t *testing.T) {
	for in, want := range map[string]string{"plain ü": "plain ü", "esc\x1b[2J": `esc\x1b[2J`, "bad\xff": `bad\xff`, "a\nb": `a\nb`} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
