package files

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
)

func (b *bench) restore(root repository.ID, o RestoreOptions) RestoreResult {
	b.t.Helper()
	o.Report = func(p backup.Problem) { b.t.Log(p) }
	r, err := Restore(b.t.Context(), b.repo, root, o)
	if err != nil {
		b.t.Fatal(err)
	}
	if r.Missing > 0 {
		b.t.Fatalf("%d things are missing", r.Missing)
	}
	return r
}

func TestWeRestoreWhatWeSaved(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	makeTree(t, src, 4)
	b := newBench(t)
	saved := b.save(Config{Paths: []string{src}})
	target := filepath.Join(t.TempDir(), "new", "target")
	r := b.restore(saved.Tree, RestoreOptions{Target: target, Verify: true})
	same(t, "restore", filepath.Join(target, src), src)
	if r.Verified == 0 || r.Files == 0 || r.Written >= r.Bytes {
		t.Errorf("%+v", r)
	}
	again := b.restore(saved.Tree, RestoreOptions{Target: target})
	same(t, "restore over itself", filepath.Join(target, src), src)
	t.Logf("%+v", again)
}

func TestWeRestoreWhatResticSaved(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	makeTree(t, src, 5)
	// restic 0.14 keeps no link target that is not UTF-8, and no attributes of links.
	for _, name := range []string{"link", "dangling"} {
		if err := os.Remove(filepath.Join(src, name)); err != nil {
			t.Fatal(err)
		}
	}
	b := newBench(t)
	b.restic("backup", src)
	s, err := b.repo.FindSnapshot(t.Context(), "latest", repository.SnapshotFilter{})
	if err != nil {
		t.Fatal(err)
	}
	target := t.TempDir()
	b.restore(*s.Tree, RestoreOptions{Target: target, Verify: true})
	same(t, "our restore of restic's", filepath.Join(target, src), src)
}
