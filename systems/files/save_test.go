package files

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/repository/repotest"
)

func hash(b []byte) [32]byte { return sha256.Sum256(b) }

// bench is a repository on the local disk.
type bench struct {
	t    testing.TB
	dir  string
	repo *repository.Repository
}

func newBench(t testing.TB) *bench {
	t.Helper()
	return benchIn(t, filepath.Join(t.TempDir(), "repository"))
}

func benchIn(t testing.TB, dir string) *bench {
	t.Helper()
	repotest.Create(t, dir)
	return &bench{t: t, dir: dir, repo: repotest.Open(t, dir, repository.Options{CacheDir: t.TempDir()})}
}

func (b *bench) save(c Config) backup.Result {
	b.t.Helper()
	r := b.saveWith(c, backup.Options{})
	if r.Missing > 0 {
		b.t.Fatalf("%d things could not be saved", r.Missing)
	}
	return r
}

func (b *bench) saveWith(c Config, o backup.Options) backup.Result {
	b.t.Helper()
	s, err := New(c)
	if err != nil {
		b.t.Fatal(err)
	}
	report := o.Report
	o.Report = func(p backup.Problem) {
		b.t.Log(p)
		if report != nil {
			report(p)
		}
	}
	r, err := backup.Save(b.t.Context(), b.repo, s, o)
	if err != nil {
		b.t.Fatal(err)
	}
	if r.Kept != nil {
		b.t.Error(r.Kept)
	}
	return r
}

// diff logs how two trees differ.
func (b *bench) diff(old, new repository.ID) {
	err := b.repo.Diff(b.t.Context(), old, new, func(c repository.Change) error {
		b.t.Logf("%c %s\n%+v\n%+v", c.Kind, c.Path, c.Old, c.New)
		return nil
	})
	if err != nil {
		b.t.Error(err)
	}
}

// restic runs the installed restic on the repository.
func (b *bench) restic(args ...string) string {
	b.t.Helper()
	return repotest.Restic(b.t, b.dir, args...)
}

func TestResticRestoresWhatWeSaved(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	makeTree(t, src, 1)
	// What restic 0.14 does not restore: a link's own attributes (it sets them on the link's target), and a
	// link's target that is not UTF-8.
	for _, name := range []string{"link", "dangling"} {
		if err := os.Remove(filepath.Join(src, name)); err != nil {
			t.Fatal(err)
		}
	}
	b := newBench(t)
	r := b.save(Config{Paths: []string{src}})
	b.restic("check", "--read-data")
	target := t.TempDir()
	b.restic("restore", r.Snapshot.ID().String(), "--target", target)
	same(t, "restic's restore", filepath.Join(target, src), src, ignoreHoles)
}

func TestAnUnchangedTreeReusesTheState(t *testing.T) {
	src := "src"
	t.Chdir(t.TempDir()) // a relative path: the directories above it change for reasons of their own
	makeTree(t, src, 2)
	b := newBench(t)
	first := b.save(Config{Paths: []string{src}})
	second := b.save(Config{Paths: []string{src}})
	third := b.save(Config{Paths: []string{src}})
	for _, r := range []backup.Result{second, third} {
		if r.Tree != first.Tree {
			t.Error("another tree")
			b.diff(first.Tree, r.Tree)
		}
		if *r.Snapshot.Parent == first.Snapshot.ID() && r.Snapshot == third.Snapshot {
			t.Error("the parent is not the last snapshot")
		}
	}
	if s := third.Snapshot.Summary; s.FilesNew+s.FilesChanged+s.DirsNew+s.DirsChanged != 0 || s.DataBlobs != 0 || s.TreeBlobs != 0 {
		t.Errorf("an unchanged tree: %+v", s)
	}
	if s := third.Stats; s.KnownBlobs[repository.DataBlob] != 0 || s.KnownBlobs[repository.TreeBlob] != 0 {
		t.Errorf("blobs were looked up: %+v", s)
	}
	if a, z := first.Snapshot.Summary, third.Snapshot.Summary; a.TotalFilesProcessed != z.TotalFilesProcessed || a.TotalBytesProcessed != z.TotalBytesProcessed {
		t.Errorf("totals: %+v, %+v", a, z)
	}
}

func TestWithoutStateTheParentsTreesAreUsed(t *testing.T) {
	src := "src"
	t.Chdir(t.TempDir()) // a relative path: the directories above it change for reasons of their own
	makeTree(t, src, 3)
	b := newBench(t)
	first := b.save(Config{Paths: []string{src}})
	second := b.save(Config{Paths: []string{src}, NoState: true})
	if second.Tree != first.Tree {
		t.Error("another tree")
		b.diff(first.Tree, second.Tree)
	}
	if s := second.Snapshot.Summary; s.FilesNew+s.FilesChanged != 0 {
		t.Errorf("%+v", s)
	}
	if n := second.Stats.KnownBytes[repository.DataBlob]; n != 0 {
		t.Errorf("%d bytes were read again", n)
	}
}
