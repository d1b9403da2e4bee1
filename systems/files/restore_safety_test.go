package files

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files/pattern"
)

// plant saves trees by hand: what no file system could hold.
type plant struct {
	t *testing.T
	w *repository.Writer
	s *repository.Session
}

func (b *bench) plant() *plant {
	b.t.Helper()
	w, err := b.repo.NewWriter(b.t.Context(), repository.WriterOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { w.Close() })
	return &plant{b.t.(*testing.T), w, w.Session()}
}

func (p *plant) file(name, content string) *repository.Node {
	p.t.Helper()
	id, _, err := p.s.SaveBlob(repository.DataBlob, []byte(content))
	if err != nil {
		p.t.Fatal(err)
	}
	return &repository.Node{Name: name, Type: repository.TypeFile, Mode: 0o644, ModTime: time.Unix(1e9, 0), Size: uint64(len(content)), Content: []repository.ID{id}}
}

func (p *plant) dir(name string, nodes ...*repository.Node) *repository.Node {
	id := p.tree(nodes...)
	return &repository.Node{Name: name, Type: repository.TypeDir, Mode: fs.ModeDir | 0o755, ModTime: time.Unix(1e9, 0), Subtree: &id}
}

func (p *plant) tree(nodes ...*repository.Node) repository.ID {
	p.t.Helper()
	b := repository.NewTreeBuilder()
	for _, n := range nodes {
		if err := b.Add(n); err != nil {
			p.t.Fatal(err)
		}
	}
	id, err := p.s.SaveTree(b)
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

func (p *plant) done() {
	p.t.Helper()
	if err := p.w.Flush(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

// try restores and gives the paths of what is missing.
func (b *bench) try(root repository.ID, o RestoreOptions) (RestoreResult, []string) {
	b.t.Helper()
	var missing []string
	o.Report = func(p backup.Problem) {
		b.t.Log(p)
		if p.Severity == backup.Missing {
			missing = append(missing, p.Path)
		}
	}
	r, err := Restore(b.t.Context(), b.repo, root, o)
	if err != nil {
		b.t.Fatal(err)
	}
	return r, missing
}

func TestNamesThatLeadElsewhereAreNotRestored(t *testing.T) {
	b := newBench(t)
	p := b.plant()
	names := []string{"\x00", "..", "../escaped", ".", "/abs", "a\x00b", "good", "sub/below"}
	var nodes []*repository.Node
	for _, name := range names {
		if name == "." {
			continue // sorts between "\x00" and ".."; tried as a directory below
		}
		nodes = append(nodes, p.file(name, "content of "+name))
	}
	up := p.tree(p.dir("..", p.file("escaped-too", "x")))
	root := p.tree(nodes...)
	dot := p.tree(p.dir(".", p.file("dotted", "x")))
	p.done()
	outer := t.TempDir()
	target := filepath.Join(outer, "target")
	for _, tree := range []repository.ID{root, up, dot} {
		if _, missing := b.try(tree, RestoreOptions{Target: target}); len(missing) == 0 {
			t.Error("nothing is reported")
		}
	}
	var found []string
	err := filepath.WalkDir(outer, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, p)
		}
		return err
	})
	if err != nil || len(found) != 1 || found[0] != filepath.Join(target, "good") {
		t.Errorf("restored: %q, %v", found, err)
	}
}

func TestLinksInTheTargetAreNotFollowed(t *testing.T) {
	b := newBench(t)
	p := b.plant()
	root := p.tree(p.dir("dir", p.file("file", "from the snapshot")), p.file("plain", "from the snapshot"))
	p.done()
	target, outside := t.TempDir(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(filepath.Join(outside, "file"), []byte("untouched"), 0o644))
	must(os.WriteFile(filepath.Join(outside, "plain"), []byte("untouched"), 0o644))
	must(os.Symlink(outside, filepath.Join(target, "dir")))
	must(os.Symlink(filepath.Join(outside, "plain"), filepath.Join(target, "plain")))
	b.restore(root, RestoreOptions{Target: target, Delete: true})
	for _, name := range []string{"file", "plain"} {
		if text, err := os.ReadFile(filepath.Join(outside, name)); err != nil || string(text) != "untouched" {
			t.Errorf("outside: %q, %v", text, err)
		}
	}
	for _, name := range []string{"dir/file", "plain"} {
		if text, err := os.ReadFile(filepath.Join(target, name)); err != nil || string(text) != "from the snapshot" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func TestAFileWithOtherNamesOutsideIsReplacedNotChanged(t *testing.T) {
	b := newBench(t)
	p := b.plant()
	root := p.tree(p.file("file", "from the snapshot"))
	p.done()
	target, outside := t.TempDir(), t.TempDir()
	other := filepath.Join(outside, "other name")
	if err := os.WriteFile(other, []byte("from the target!!"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(other, filepath.Join(target, "file")); err != nil {
		t.Fatal(err)
	}
	b.restore(root, RestoreOptions{Target: target})
	if text, err := os.ReadFile(other); err != nil || string(text) != "from the target!!" {
		t.Errorf("outside: %q, %v", text, err)
	}
}

func TestOnlyWhatDiffersIsWritten(t *testing.T) {
	b := newBench(t)
	t.Chdir(t.TempDir())
	g := &grower{t: t, src: rand.New(rand.NewPCG(1, 1))}
	data := g.bytes(20 << 20)
	g.must(os.WriteFile("big", data, 0o644))
	saved := b.save(Config{Paths: []string{"big"}})
	target := t.TempDir()
	file := filepath.Join(target, "big")
	b.restore(saved.Tree, RestoreOptions{Target: target})
	changed := bytes.Clone(data)
	copy(changed[7<<20:], "changed here")
	g.must(os.WriteFile(file, append(changed, "and longer"...), 0o600))
	r := b.restore(saved.Tree, RestoreOptions{Target: target, Verify: true})
	if r.Written == 0 || r.Written > repository.MaxChunkBytes {
		t.Errorf("%d bytes were written for one changed chunk", r.Written)
	}
	same(t, "in place", file, "big")
	if r := b.restore(saved.Tree, RestoreOptions{Target: target}); r.Written != 0 || r.Unchanged != 1 {
		t.Errorf("%+v", r)
	}
}

func TestTheRuleOfOverwriteIsKept(t *testing.T) {
	b := newBench(t)
	p := b.plant()
	root := p.tree(p.file("file", "from the snapshot"))
	p.done()
	snapshotTime := time.Unix(1e9, 0)
	for _, c := range []struct {
		rule   Overwrite
		mtime  time.Time
		text   string
		wanted string
	}{
		{OverwriteAlways, snapshotTime, "other of the size", "from the snapshot"},
		{OverwriteIfChanged, snapshotTime, "other of the size", "other of the size"},
		{OverwriteIfChanged, snapshotTime.Add(1), "other of the size", "from the snapshot"},
		{OverwriteIfChanged, snapshotTime, "another size", "from the snapshot"},
		{OverwriteIfNewer, snapshotTime.Add(time.Second), "newer", "newer"},
		{OverwriteIfNewer, snapshotTime.Add(-time.Second), "older", "from the snapshot"},
		{OverwriteNever, snapshotTime.Add(-time.Second), "mine", "mine"},
	} {
		target := t.TempDir()
		file := filepath.Join(target, "file")
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, c.mtime, c.mtime); err != nil {
			t.Fatal(err)
		}
		b.restore(root, RestoreOptions{Target: target, Overwrite: c.rule})
		if text, err := os.ReadFile(file); err != nil || string(text) != c.wanted {
			t.Errorf("rule %d, %q: %q, %v; want %q", c.rule, c.text, text, err, c.wanted)
		}
	}
	for i, name := range []string{"always", "if-changed", "if-newer", "never"} {
		if o, err := ParseOverwrite(name); err != nil || int(o) != i {
			t.Error(name, o, err)
		}
	}
	if _, err := ParseOverwrite("maybe"); err == nil {
		t.Error("an unknown rule: no error")
	}
}

func TestVerifyFindsWhatDiffers(t *testing.T) {
	b := newBench(t)
	p := b.plant()
	root := p.tree(p.file("file", "from the snapshot"))
	p.done()
	target := t.TempDir()
	file := filepath.Join(target, "file")
	if err := os.WriteFile(file, []byte("other of the size"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	r, missing := b.try(root, RestoreOptions{Target: target, Overwrite: OverwriteIfChanged, Verify: true})
	if len(missing) != 1 || r.Missing != 1 || r.Verified != 0 {
		t.Errorf("%v, %+v", missing, r)
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	b := newBench(t)
	src := filepath.Join(t.TempDir(), "src")
	makeTree(t, src, 21)
	saved := b.save(Config{Paths: []string{src}})
	target := filepath.Join(t.TempDir(), "target")
	plans := 0
	r := b.restore(saved.Tree, RestoreOptions{Target: target, DryRun: true, Delete: true, Plan: func(string, Action, int64) { plans++ }})
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the target was made")
	}
	if plans == 0 || r.Files == 0 || r.Bytes == 0 || r.Written != r.Bytes {
		t.Errorf("%d plans, %+v", plans, r)
	}
}

func TestIncludesAndExcludes(t *testing.T) {
	b := newBench(t)
	p := b.plant()
	root := p.tree(p.dir("a", p.dir("deep", p.file("x.c", "1"), p.file("x.h", "2"))), p.dir("b", p.file("x.c", "3")), p.file("top.c", "4"))
	p.done()
	list := func(lines ...string) []*pattern.List {
		l, err := pattern.Compile(lines, pattern.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return []*pattern.List{l}
	}
	for _, c := range []struct {
		include, exclude []*pattern.List
		want             string
	}{
		{nil, nil, "/a /a/deep /a/deep/x.c /a/deep/x.h /b /b/x.c /top.c"},
		{list("/a"), nil, "/a /a/deep /a/deep/x.c /a/deep/x.h"},
		{list("*.h"), nil, "/a /a/deep /a/deep/x.h"},
		{list("*.c"), list("/a"), "/b /b/x.c /top.c"},
		{nil, list("*.c"), "/a /a/deep /a/deep/x.h /b"},
		{list("/a/deep/x.c"), nil, "/a /a/deep /a/deep/x.c"},
		{list("nothing"), nil, ""},
	} {
		target := t.TempDir()
		b.restore(root, RestoreOptions{Target: target, Include: c.include, Exclude: c.exclude})
		var got []string
		for name := range view(t, target) {
			if name != "" {
				got = append(got, name)
			}
		}
		sortStrings(got)
		if strings.Join(got, " ") != c.want {
			t.Errorf("restored %q, want %q", got, c.want)
		}
	}
}

func TestDeleteStaysWithinWhatIsRestored(t *testing.T) {
	b := newBench(t)
	p := b.plant()
	root := p.tree(p.dir("a", p.file("kept", "1")), p.dir("b", p.file("kept", "2")))
	p.done()
	target := t.TempDir()
	for _, name := range []string{"a/extra/deep/x", "a/extra.log", "b/extra", "other"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(target, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(target, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	include, err := pattern.Compile([]string{"/a"}, pattern.Options{})
	if err != nil {
		t.Fatal(err)
	}
	exclude, err := pattern.Compile([]string{"*.log"}, pattern.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := b.restore(root, RestoreOptions{Target: target, Delete: true, Include: []*pattern.List{include}, Exclude: []*pattern.List{exclude}})
	if r.Deleted != 1 {
		t.Errorf("%d deleted, want the one directory", r.Deleted)
	}
	for name, want := range map[string]bool{"a/kept": true, "a/extra": false, "a/extra.log": true, "b/extra": true, "other": true} {
		if _, err := os.Stat(filepath.Join(target, name)); (err == nil) != want {
			t.Errorf("%s is there: %t", name, err == nil)
		}
	}
}

func TestOneLostPackCostsOnlyItsFiles(t *testing.T) {
	b := newBench(t)
	src := filepath.Join(t.TempDir(), "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		t.Fatal(err)
	}
	for round := range 3 { // each backup makes packs of its own
		if err := os.WriteFile(filepath.Join(src, string(rune('a'+round))), bytes.Repeat([]byte{byte(round)}, 1000), 0o644); err != nil {
			t.Fatal(err)
		}
		b.save(Config{Paths: []string{src}})
	}
	s, err := b.repo.FindSnapshot(t.Context(), "latest", repository.SnapshotFilter{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := b.repo.Lookup(t.Context(), *s.Tree, filepath.Join(src, "b"))
	if err != nil {
		t.Fatal(err)
	}
	reads, err := b.repo.PlanRead(t.Context(), []repository.BlobHandle{{ID: n.Content[0], Kind: repository.DataBlob}})
	if err != nil {
		t.Fatal(err)
	}
	pack := reads[0].Pack.String()
	if err := os.Truncate(filepath.Join(b.dir, "data", pack[:2], pack), 10); err != nil {
		t.Fatal(err)
	}
	target := t.TempDir()
	_, missing := b.try(*s.Tree, RestoreOptions{Target: target})
	if len(missing) != 1 || filepath.Base(missing[0]) != "b" {
		t.Errorf("missing: %q", missing)
	}
	for _, name := range []string{"a", "c"} {
		if _, err := os.Stat(filepath.Join(target, src, name)); err != nil {
			t.Error(err)
		}
	}
}

// needRoot skips a test for which one has to be root.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may mount and change users")
	}
}

// smallDisk mounts a file system of so many bytes.
func smallDisk(t *testing.T, bytes string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+bytes); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestAFullDiskEndsTheRestore(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	src := filepath.Join(t.TempDir(), "src")
	makeTree(t, src, 22)
	saved := b.save(Config{Paths: []string{src}})
	_, err := Restore(t.Context(), b.repo, saved.Tree, RestoreOptions{Target: smallDisk(t, "3m")})
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v, want ENOSPC", err)
	}
}

func TestAFullRepositoryKeepsWhatItHas(t *testing.T) {
	needRoot(t)
	b := benchIn(t, filepath.Join(smallDisk(t, "24m"), "repository"))
	repo := b.repo
	t.Chdir(t.TempDir())
	g := &grower{t: t, src: rand.New(rand.NewPCG(3, 3))}
	g.must(os.Mkdir("src", 0o755))
	g.must(os.WriteFile("src/first", g.bytes(1<<20), 0o644))
	first := b.save(Config{Paths: []string{"src"}})
	for i := range 2 {
		data := make([]byte, 30<<20)
		for j := range data {
			data[j] = byte(g.src.Uint32())
		}
		g.must(os.WriteFile("src/large", data, 0o644))
		s, err := New(Config{Paths: []string{"src"}})
		g.must(err)
		if _, err := backup.Save(context.Background(), repo, s, backup.Options{}); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("attempt %d: got %v, want ENOSPC", i, err)
		}
	}
	list, err := repo.Snapshots(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("%d snapshots, %v", len(list), err)
	}
	target := t.TempDir()
	b.restore(first.Tree, RestoreOptions{Target: target, Verify: true})
	b.restic("check", "--read-data", "--no-lock")
}

// TestAsAnotherUser runs itself again as a user without rights.
func TestAsAnotherUser(t *testing.T) {
	if dir := os.Getenv("TRIVET_TEST_UNPRIVILEGED"); dir != "" {
		asAnotherUser(t, dir)
		return
	}
	needRoot(t)
	dir, err := os.MkdirTemp("/tmp", "unprivileged") // the test's own directory is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	g := &grower{t: t, src: rand.New(rand.NewPCG(7, 7))}
	src := filepath.Join(dir, "src")
	g.must(os.Mkdir(src, 0o755))
	g.fill(src, 1)
	g.must(filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		return errors.Join(err, os.Chmod(p, 0o755))
	}))
	g.must(os.WriteFile(filepath.Join(src, "setuid"), []byte("x"), 0o755))
	g.must(os.Chmod(filepath.Join(src, "setuid"), 0o755|fs.ModeSetuid))
	g.must(os.WriteFile(filepath.Join(src, "closed"), []byte("x"), 0o600))
	g.must(os.Mkdir(filepath.Join(src, "closed-dir"), 0o700))
	g.must(os.Chmod(dir, 0o777))
	exe := filepath.Join(dir, "test")
	self, err := os.ReadFile(os.Args[0])
	g.must(err)
	g.must(os.WriteFile(exe, self, 0o755))
	cmd := exec.Command(exe, "-test.run=^TestAsAnotherUser$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TRIVET_TEST_UNPRIVILEGED="+dir, "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func asAnotherUser(t *testing.T, dir string) {
	b := newBench(t)
	src := filepath.Join(dir, "src")
	var missing []string
	r := b.saveWith(Config{Paths: []string{src}}, backup.Options{Report: func(p backup.Problem) {
		if p.Severity == backup.Missing {
			missing = append(missing, filepath.Base(p.Path))
		}
	}})
	sortStrings(missing)
	if strings.Join(missing, " ") != "closed closed-dir" || r.Missing != 2 {
		t.Errorf("missing: %q", missing)
	}
	target := t.TempDir()
	res := b.restore(r.Tree, RestoreOptions{Target: target, Verify: true})
	if res.Files == 0 {
		t.Error("nothing restored")
	}
	info, err := os.Stat(filepath.Join(target, src, "setuid"))
	if err != nil || info.Mode()&fs.ModeSetuid != 0 {
		t.Errorf("a program of another user came back as setuid of mine: %v, %v", info.Mode(), err)
	}
	// Once more over a directory that forbids writing.
	sub := filepath.Join(target, src)
	if err := os.Chmod(sub, 0o555); err != nil {
		t.Fatal(err)
	}
	b.restore(r.Tree, RestoreOptions{Target: target})
}

func TestDeepTreesAndLongNames(t *testing.T) {
	b := newBench(t)
	base := t.TempDir()
	t.Chdir(base)
	const depth = 600 // with names of 200 bytes: thirty times what a path may have
	name := strings.Repeat("long", 50)
	dig := func(under string) (deepest int) {
		fd, err := unix.Open(under, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		for range depth {
			if err != nil {
				t.Fatal(err)
			}
			_ = unix.Mkdirat(fd, name, 0o755)
			var next int
			next, err = unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			unix.Close(fd)
			fd = next
		}
		return fd
	}
	if err := os.Mkdir("src", 0o755); err != nil {
		t.Fatal(err)
	}
	fd := dig("src")
	f, err := unix.Openat(fd, "at the bottom", unix.O_WRONLY|unix.O_CREAT, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(f, []byte("deep")); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	for st.Ctim.Sec == 0 || time.Since(time.Unix(st.Ctim.Sec, st.Ctim.Nsec)) < clockStep {
		if err := unix.Fstat(f, &st); err != nil {
			t.Fatal(err)
		}
	}
	unix.Close(f)
	unix.Close(fd)
	r := b.save(Config{Paths: []string{"src"}})
	again := b.save(Config{Paths: []string{"src"}})
	if again.Tree != r.Tree || again.Snapshot.Summary.DirsChanged != 0 {
		t.Errorf("%+v", again.Snapshot.Summary)
	}
	target := t.TempDir()
	res := b.restore(r.Tree, RestoreOptions{Target: target, Verify: true})
	if res.Directories != depth+1 || res.Verified != 1 {
		t.Errorf("%+v", res)
	}
	fd = dig(filepath.Join(target, "src"))
	defer unix.Close(fd)
	text, err := readSmall(fd, "at the bottom", 10)
	if err != nil || string(text) != "deep" {
		t.Errorf("%q, %v", text, err)
	}
	for _, dir := range []string{filepath.Join(base, "src"), target} { // the test's own clean-up knows paths only
		dirfd, err := unix.Open(filepath.Dir(dir), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := removeAll(dirfd, filepath.Base(dir)); err != nil {
			t.Error(err)
		}
		unix.Close(dirfd)
	}
}
