package repository

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/trivet-ha/trivet/backup/store"
)

// golden loads a repository made by stock restic (see testdata/README.md).
func golden(t *testing.T, name string) *memStore {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	m := newMemStore()
	dirs := map[string]store.Kind{"keys": store.Key, "snapshots": store.Snapshot, "index": store.Index}
	for archive := tar.NewReader(z); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return m
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		dir, base := path.Split(strings.TrimPrefix(h.Name, "./"))
		handle := store.Handle{Kind: store.Pack, Name: base}
		if kind, ok := dirs[strings.TrimSuffix(dir, "/")]; ok {
			handle.Kind = kind
		} else if base == "config" {
			handle = store.Handle{Kind: store.Config}
		}
		m.files[handle] = data
	}
}

func TestGoldenRepositoriesOfRestic(t *testing.T) {
	for version, name := range map[uint]string{1: "restic-0.14-v1.tar.gz", 2: "restic-0.14-v2.tar.gz"} {
		ctx := context.Background()
		m := golden(t, name)
		if _, err := Open(ctx, m, "wrong", Options{}); !errors.Is(err, ErrWrongPassword) {
			t.Errorf("%s: the wrong password: %v", name, err)
		}
		r, err := Open(ctx, m, "geheim", Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Config().Version != version {
			t.Errorf("%s: version %d", name, r.Config().Version)
		}
		sn := latest(t, r)
		if sn.Hostname != "golden" || !sn.HasTag("one") {
			t.Errorf("%s: snapshot %+v", name, sn)
		}
		contents := map[string]string{"/hello": "hello\n", "/empty": "", "/dir/zeros": string(make([]byte, 3000)), "/dir/od\xffd": "x"}
		found := 0
		if err := r.Walk(ctx, *sn.Tree, func(p string, n *Node) error {
			switch n.Type {
			case TypeSymlink:
				if n.LinkTarget != "../hello" {
					t.Errorf("%s: %s points to %q", name, p, n.LinkTarget)
				}
			case TypeFile:
				found++
				f, err := r.OpenFile(ctx, n)
				if err != nil {
					return err
				}
				var b strings.Builder
				if _, err := f.WriteTo(&b); err != nil {
					return err
				}
				if want, ok := contents[p]; !ok || b.String() != want {
					t.Errorf("%s: %q holds %q", name, p, b.String())
				}
			}
			return nil
		}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if found != len(contents) {
			t.Errorf("%s: %d files", name, found)
		}
		if stats := cleanByUs(t, r); stats.Blobs != 5 || stats.UnusedBlobs != 0 {
			t.Errorf("%s: %+v", name, stats)
		}
	}
}
