package repository

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
)

func TestResticReadsWhatWeWrite(t *testing.T) {
	needRestic(t)
	r, dir := newRepo(t)
	src := t.TempDir()
	makeFiles(t, src, 1, 30<<20)
	id := backup(t, r, src)

	out := restic(t, dir, "check", "--read-data")
	if !strings.Contains(out, "no errors were found") || strings.Contains(out, "not referenced") || strings.Contains(out, "duplicate") {
		t.Fatalf("restic check:\n%s", out)
	}
	if out := restic(t, dir, "snapshots"); !strings.Contains(out, id.Short()) {
		t.Errorf("restic snapshots does not show %s:\n%s", id.Short(), out)
	}
	target := t.TempDir()
	restic(t, dir, "restore", "latest", "--target", target)
	if err := sameFiles(src, target); err != nil {
		t.Error(err)
	}
	if out := restic(t, dir, "ls", "latest", "/odd"); !strings.Contains(out, "/odd/link") {
		t.Errorf("restic ls:\n%s", out)
	}
	if out := restic(t, dir, "dump", "latest", "/text"); len(out) != 600_000 {
		t.Errorf("restic dump gave %d bytes", len(out))
	}
	restic(t, dir, "key", "list")
}

func TestWeReadWhatWeWrite(t *testing.T) {
	r, _ := newRepo(t)
	src := t.TempDir()
	makeFiles(t, src, 2, 9<<20)
	id := backup(t, r, src)
	r = reopen(t, r)
	sn, err := r.FindSnapshot(context.Background(), "latest", SnapshotFilter{Hosts: []string{"here"}})
	if err != nil || sn.ID() != id {
		t.Fatalf("found %v, %v", sn, err)
	}
	target := filepath.Join(t.TempDir(), "out")
	if err := restoreDir(r, *sn.Tree, target); err != nil {
		t.Fatal(err)
	}
	if err := sameFiles(src, target); err != nil {
		t.Error(err)
	}
}
