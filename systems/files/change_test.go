package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
)

// mutate changes something in the tree, at random, and says what.
func (g *grower) mutate(dir string) string {
	g.t.Helper()
	var files, dirs []string
	g.must(filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			dirs = append(dirs, p)
		case d.Type().IsRegular():
			files = append(files, p)
		}
		return nil
	}))
	some := func(list []string) string { return list[g.src.IntN(len(list))] }
	g.n++
	switch g.src.IntN(12) {
	case 0, 1:
		p := filepath.Join(some(dirs), fmt.Sprintf("new-%d", g.n))
		g.must(os.WriteFile(p, g.bytes(g.src.IntN(300_000)), 0o644))
		return "wrote " + p
	case 2:
		p := some(files)
		f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0)
		g.must(err)
		_, err = f.Write(g.bytes(100))
		g.must(errors.Join(err, f.Close()))
		return "appended to " + p
	case 3: // content of the same size, with the time put back
		p := some(files)
		info, err := os.Stat(p)
		g.must(err)
		g.must(os.WriteFile(p, g.bytes(int(info.Size())), 0o644))
		g.must(os.Chtimes(p, info.ModTime(), info.ModTime()))
		return "changed secretly " + p
	case 4:
		p := some(files)
		g.must(os.Remove(p))
		return "removed " + p
	case 5:
		p := some(files)
		to := filepath.Join(some(dirs), fmt.Sprintf("moved-%d", g.n))
		g.must(os.Rename(p, to))
		return "moved " + p + " to " + to
	case 6:
		p := filepath.Join(some(dirs), fmt.Sprintf("dir-%d", g.n))
		g.must(os.Mkdir(p, 0o755))
		return "made " + p
	case 7:
		p := some(files)
		g.must(os.Chmod(p, fs.FileMode(g.src.IntN(0o1000))|0o600))
		return "chmod " + p
	case 8: // another type of the same name
		p := some(files)
		g.must(os.Remove(p))
		if g.src.IntN(2) == 0 {
			g.must(os.Symlink("to", p))
		} else {
			g.must(os.Mkdir(p, 0o700))
		}
		return "retyped " + p
	case 9:
		p := some(dirs)
		if p == dir {
			return "nothing"
		}
		g.must(os.RemoveAll(p))
		return "removed directory " + p
	case 10:
		p := some(files)
		g.must(unix.Setxattr(p, "user.n", fmt.Append(nil, g.n), 0))
		return "set an attribute of " + p
	default:
		p := some(files)
		to := filepath.Join(some(dirs), fmt.Sprintf("link-%d", g.n))
		g.must(os.Link(p, to))
		return "linked " + p + " to " + to
	}
}

func TestEveryChangeIsSeen(t *testing.T) {
	seeds, rounds := uint64(1), 6
	if os.Getenv("TRIVET_TEST_LONG") != "" {
		seeds, rounds = 8, 25
	}
	for seed := range seeds {
		t.Chdir(t.TempDir())
		g := &grower{t: t, src: rand.New(rand.NewPCG(seed, 9))}
		g.must(os.Mkdir("src", 0o755))
		g.fill("src", 2)
		b := newBench(t)
		b.save(Config{Paths: []string{"src"}})
		var did []string
		for round := range rounds {
			for range 1 + g.src.IntN(4) {
				did = append(did, g.mutate("src"))
			}
			c := Config{Paths: []string{"src"}, NoState: round%4 == 3}
			r := b.save(c)
			target := t.TempDir()
			b.restore(r.Tree, RestoreOptions{Target: target, Verify: true})
			same(t, "restore", filepath.Join(target, "src"), "src", ignoreHoles)
			fresh := b.saveWith(Config{Paths: []string{"src"}, NoState: true}, backup.Options{Fresh: true})
			if fresh.Tree != r.Tree {
				b.diff(r.Tree, fresh.Tree)
				t.Errorf("seed %d, round %d: a backup from nothing has another tree", seed, round)
			}
			if t.Failed() {
				t.Fatalf("seed %d, round %d, after:\n%s", seed, round, strings.Join(did, "\n"))
			}
		}
		b.restic("check", "--read-data")
	}
}

// With ctime ignored, only the mark in the state can tell that the file may have changed again in the same tick.
func TestAFileChangedJustBeforeItWasReadIsReadAgain(t *testing.T) {
	t.Chdir(t.TempDir())
	when := time.Unix(1e9, 0)
	write := func(text string) {
		if err := os.WriteFile("file", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes("file", when, when); err != nil {
			t.Fatal(err)
		}
	}
	b := newBench(t)
	c := Config{Paths: []string{"file"}, IgnoreCtime: true}
	write("one")
	first := b.save(c)
	write("two")
	second := b.save(c)
	if first.Tree == second.Tree {
		t.Error("the second content is not seen")
	}
	waitUntil(t, "file", clockStep)
	b.save(c)
	write("six")
	last := b.save(c)
	if last.Snapshot.Summary.FilesUnmodified != 1 {
		t.Error("a file that is known for sure must not be read again, as long as its times say so")
	}
}

// waitUntil waits until the file's ctime is so old.
func waitUntil(t *testing.T, path string, age time.Duration) {
	t.Helper()
	for {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		if time.Since(time.Unix(st.Ctim.Sec, st.Ctim.Nsec)) > age {
			return
		}
	}
}

func TestFilesThatChangeWhileTheyAreReadAreReported(t *testing.T) {
	t.Chdir(t.TempDir())
	line := bytes.Repeat([]byte("0123456789abcde\n"), 4096)
	for _, name := range []string{"small", "big"} {
		data := line
		if name == "big" {
			data = bytes.Repeat(line, 200)
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b := newBench(t)
	source, err := New(Config{Paths: []string{"small", "big"}})
	if err != nil {
		t.Fatal(err)
	}
	// The clock is read between the first look at a file and its reading: a good moment to change it.
	source.now = func() time.Time {
		for _, name := range []string{"small", "big"} {
			f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Error(err)
				continue
			}
			if _, err := f.Write(line[:16]); err != nil {
				t.Error(err)
			}
			f.Close()
		}
		return time.Now()
	}
	reported := map[string]bool{}
	r, err := backup.Save(t.Context(), b.repo, source, backup.Options{Report: func(p backup.Problem) {
		if errors.Is(p, errChanging) && p.Severity == backup.Note {
			reported[p.Path] = true
		}
	}})
	if err != nil || r.Missing != 0 || !reported["small"] || !reported["big"] {
		t.Errorf("%v, %d missing, reported %v", err, r.Missing, reported)
	}
	target := t.TempDir()
	b.restore(r.Tree, RestoreOptions{Target: target})
	for _, name := range []string{"small", "big"} {
		got, err := os.ReadFile(filepath.Join(target, name))
		want, werr := os.ReadFile(name)
		if err != nil || werr != nil || len(got) < len(line) || !bytes.HasPrefix(want, got) {
			t.Errorf("%s: %d bytes that are no beginning of the file: %v %v", name, len(got), err, werr)
		}
	}
	if again := b.save(Config{Paths: []string{"small", "big"}}); again.Snapshot.Summary.FilesUnmodified != 0 {
		t.Error("a file that was being changed must be read again")
	}
}

func TestBigFilesAreCutAsByASingleReader(t *testing.T) {
	t.Chdir(t.TempDir())
	g := &grower{t: t, src: rand.New(rand.NewPCG(5, 5))}
	b := newBench(t)
	for _, size := range []int{readBufferBytes, readBufferBytes + 1, 3*readBufferBytes + 12345} {
		data := g.bytes(size)
		clear(data[size/2 : size/2+size/8]) // zeros, which are cut only at the greatest length
		g.must(os.WriteFile("file", data, 0o644))
		r := b.saveWith(Config{Paths: []string{"file"}, Workers: 4}, backup.Options{Fresh: true})
		n, err := b.repo.Lookup(t.Context(), r.Tree, "/file")
		g.must(err)
		w, err := b.repo.NewWriter(t.Context(), repository.WriterOptions{})
		g.must(err)
		want, total, err := w.Session().SaveReader(bytes.NewReader(data), nil)
		g.must(err)
		if total != int64(size) || !slices.Equal(n.Content, want) {
			t.Errorf("%d bytes: %d chunks, a single reader cuts %d", size, len(n.Content), len(want))
		}
		g.must(w.Close())
	}
}

func TestHolesAreNotReadAndCutTheSame(t *testing.T) {
	t.Chdir(t.TempDir())
	const size = 60 << 20
	f, err := os.Create("sparse")
	if err != nil {
		t.Fatal(err)
	}
	for at, text := range map[int64]string{10 << 20: "some", 33<<20 + 17: "data", size - 4: "last"} {
		if _, err := f.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	b := newBench(t)
	r := b.save(Config{Paths: []string{"sparse"}})
	n, err := b.repo.Lookup(t.Context(), r.Tree, "/sparse")
	if err != nil || n.Size != size {
		t.Fatalf("size %d, %v", n.Size, err)
	}
	w, err := b.repo.NewWriter(t.Context(), repository.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	in, err := os.Open("sparse")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	want, _, err := w.Session().SaveReader(in, nil)
	if err != nil || !slices.Equal(n.Content, want) {
		t.Errorf("%d chunks, read from end to end %d, %v", len(n.Content), len(want), err)
	}
	target := t.TempDir()
	res := b.restore(r.Tree, RestoreOptions{Target: target, Verify: true})
	if res.Written > 1<<20 {
		t.Errorf("%d bytes were written for a file that is nearly all hole", res.Written)
	}
	same(t, "sparse", filepath.Join(target, "sparse"), "sparse")
}

func TestACancelledBackupLeavesNothingOpen(t *testing.T) {
	t.Chdir(t.TempDir())
	makeTree(t, "src", 11)
	b := newBench(t)
	b.save(Config{Paths: []string{"src"}})
	before := openFiles(t)
	for i := range 8 {
		s, err := New(Config{Paths: []string{"src"}, ReadAll: true, NoState: i%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Duration(i)*500*time.Microsecond, cancel)
		if _, err := backup.Save(ctx, b.repo, s, backup.Options{}); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		cancel()
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d files are open, %d before", after, before)
	}
	b.save(Config{Paths: []string{"src"}})
	b.restic("check")
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestADamagedStateIsForgotten(t *testing.T) {
	t.Chdir(t.TempDir())
	files(t, "src/a=1", "src/b=2", "src/d/c=3", "src/d/e/f=4", "src/d/e/g=5", "src/z=6")
	b := newBench(t)
	first := b.save(Config{Paths: []string{"src"}})
	s, err := New(Config{Paths: []string{"src"}})
	if err != nil {
		t.Fatal(err)
	}
	path := s.statePath(b.repo, s.identity(b.repo))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(whole); i += 97 + len(whole)/25 {
		bad := bytes.Clone(whole)
		bad[i] ^= 0x40
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := b.save(Config{Paths: []string{"src"}}); r.Tree != first.Tree {
			t.Fatalf("byte %d: another tree", i)
		}
	}
}

func TestAForgottenSnapshotsStateIsNotTrusted(t *testing.T) {
	t.Chdir(t.TempDir())
	makeTree(t, "src", 13)
	b := newBench(t)
	first := b.save(Config{Paths: []string{"src"}})
	if err := b.repo.RemoveSnapshots(t.Context(), []*repository.Snapshot{first.Snapshot}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := b.repo.Prune(t.Context(), repository.PruneOptions{MaxUnusedPercent: -1}); err != nil {
			t.Fatal(err)
		}
	}
	b.restic("prune")
	if err := b.repo.ReloadIndex(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := b.save(Config{Paths: []string{"src"}})
	if second.Snapshot.Parent != nil {
		t.Error("a snapshot that is gone is the parent")
	}
	b.restic("check", "--read-data")
	target := t.TempDir()
	b.restore(second.Tree, RestoreOptions{Target: target})
	same(t, "restore", filepath.Join(target, "src"), "src")
}

func TestAStreamThatFailsMakesNoSnapshot(t *testing.T) {
	b := newBench(t)
	s, err := NewStream("x", io.MultiReader(strings.NewReader("half of it"), failing{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Save(t.Context(), b.repo, s, backup.Options{}); !errors.Is(err, errTest) {
		t.Errorf("got %v", err)
	}
	list, err := b.repo.Snapshots(t.Context())
	if err != nil || len(list) != 0 {
		t.Errorf("%d snapshots, %v", len(list), err)
	}
}

var errTest = errors.New("test")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errTest }
