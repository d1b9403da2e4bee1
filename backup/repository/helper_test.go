package repository

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/local"
	"github.com/trivet-ha/trivet/internal/testserver"
)

const testPassword = "correct horse"

// testMaster saves the key derivation in tests that are not about it.
func newRepo(t testing.TB) (*Repository, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	st, err := local.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	return initIn(t, st), dir
}

func initIn(t testing.TB, st store.Store) *Repository {
	t.Helper()
	r, err := Init(context.Background(), st, testPassword, InitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// reopen opens the same repository anew, without what the first knows in memory.
func reopen(t testing.TB, r *Repository) *Repository {
	t.Helper()
	n, err := OpenMaster(context.Background(), r.store, r.master, r.options)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// restic runs stock restic on a repository directory and returns its output.
func restic(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := tryRestic(dir, args...)
	if err != nil {
		t.Fatalf("restic %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func tryRestic(dir string, args ...string) (string, error) {
	cmd := exec.Command("restic", append([]string{"--no-cache", "-r", dir}, args...)...)
	cmd.Env = append(os.Environ(), "RESTIC_PASSWORD="+testPassword, "RESTIC_PROGRESS_FPS=0", "RESTIC_PASSWORD2="+testPassword)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func needRestic(t testing.TB) {
	t.Helper()
	testserver.Program(t, "restic")
}

// makeFiles fills dir with files of all sizes, the same for the same seed.
func makeFiles(t testing.TB, dir string, seed uint64, large int) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	write := func(name string, data []byte) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	write("empty", nil)
	for i := range 40 {
		write(fmt.Sprintf("d%d/sub%d/small-%02d", i%3, i%5, i), noise(random, random.IntN(20_000)))
	}
	write("text", bytes.Repeat([]byte("the same line again and again\n"), 20_000))
	write("zeros", make([]byte, 5<<20))
	write("odd/na\\me \"q\" <&> \xff\xfe ü", noise(random, 1000))
	write("large", noise(random, large))
	if err := os.Symlink("../large", filepath.Join(dir, "odd", "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "hollow"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func noise(random *rand.Rand, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return data
}

// saveDir stores a directory the simple way: it is the test's own walker.
func saveDir(t testing.TB, s *Session, dir string) (ID, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ID{}, err
	}
	b := NewTreeBuilder()
	var nodes []*Node
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			return ID{}, err
		}
		n := nodeOf(fi)
		path := filepath.Join(dir, e.Name())
		switch n.Type {
		case TypeDir:
			id, err := saveDir(t, s, path)
			if err != nil {
				return ID{}, err
			}
			n.Subtree = &id
		case TypeSymlink:
			if n.LinkTarget, err = os.Readlink(path); err != nil {
				return ID{}, err
			}
		case TypeFile:
			f, err := os.Open(path)
			if err != nil {
				return ID{}, err
			}
			n.Content, _, err = s.SaveReader(f, []ID{})
			f.Close()
			if err != nil {
				return ID{}, err
			}
		}
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		if err := b.Add(n); err != nil {
			return ID{}, err
		}
	}
	return s.SaveTree(b)
}

func nodeOf(fi fs.FileInfo) *Node {
	st := fi.Sys().(*syscall.Stat_t)
	n := &Node{
		Name: fi.Name(), Mode: fi.Mode(), ModTime: fi.ModTime(), AccessTime: time.Unix(st.Atim.Unix()), ChangeTime: time.Unix(st.Ctim.Unix()),
		UID: st.Uid, GID: st.Gid, User: "root", Group: "root", Inode: st.Ino, Links: uint64(st.Nlink),
	}
	switch {
	case fi.Mode().IsRegular():
		n.Type, n.Size = TypeFile, uint64(fi.Size())
	case fi.IsDir():
		n.Type = TypeDir
	case fi.Mode()&fs.ModeSymlink != 0:
		n.Type = TypeSymlink
	}
	return n
}

// backup saves dir as a snapshot.
func backup(t testing.TB, r *Repository, dir string) ID {
	t.Helper()
	id, err := tryBackup(t, r, dir)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func tryBackup(t testing.TB, r *Repository, dir string) (id ID, err error) {
	w, err := r.NewWriter(context.Background(), WriterOptions{Reopen: 1})
	if err != nil {
		return ID{}, err
	}
	defer func() {
		if cerr := w.Close(); err == nil {
			err = cerr
		}
	}()
	root, err := saveDir(t, w.Session(), dir)
	if err != nil {
		return ID{}, err
	}
	return w.SaveSnapshot(context.Background(), snapshotOf(root, dir))
}

func snapshotOf(root ID, dir string) *Snapshot {
	return &Snapshot{Tree: &root, Paths: []string{dir}, Hostname: "here", Username: "me", ProgramVersion: "trivet test"}
}

// restoreDir writes files and directories below a tree into dir.
func restoreDir(r *Repository, root ID, dir string) error {
	ctx := context.Background()
	return r.Walk(ctx, root, func(path string, n *Node) error {
		full := filepath.Join(dir, filepath.FromSlash(path))
		switch n.Type {
		case TypeDir:
			return os.MkdirAll(full, 0o755)
		case TypeSymlink:
			return os.Symlink(n.LinkTarget, full)
		}
		var data []byte
		for _, id := range n.Content {
			blob, err := r.LoadBlob(ctx, BlobHandle{id, DataBlob}, nil)
			if err != nil {
				return err
			}
			data = append(data, blob...)
		}
		return os.WriteFile(full, data, 0o644)
	})
}

// sameFiles compares names and contents of two directories.
func sameFiles(a, b string) error {
	x, err := describe(a)
	if err != nil {
		return err
	}
	y, err := describe(b)
	if err != nil {
		return err
	}
	if !slices.Equal(x, y) {
		return fmt.Errorf("%s and %s differ: %d and %d entries", a, b, len(x), len(y))
	}
	return nil
}

func describe(dir string) (lines []string, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		what := ""
		switch {
		case e.Type().IsRegular():
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			data, err := io.ReadAll(f)
			if err != nil {
				return err
			}
			what = Hash(data).String()
		case e.Type()&fs.ModeSymlink != 0:
			what, _ = os.Readlink(path)
		}
		lines = append(lines, rel+" "+e.Type().String()+" "+what)
		return nil
	})
	return lines, err
}

var errEOF = io.EOF

func sampleNode() *Node {
	return &Node{
		Name: "file", Type: TypeFile, Mode: 0o644, ModTime: time.Unix(1700000000, 123456789).UTC(), AccessTime: time.Unix(1700000001, 0).UTC(),
		ChangeTime: time.Unix(1700000002, 5).UTC(), UID: 1000, GID: 1000, User: "user", Group: "group", Inode: 123456, Size: 4711, Links: 1,
		Content: []ID{Hash([]byte("a"))},
	}
}

func splitLines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }
