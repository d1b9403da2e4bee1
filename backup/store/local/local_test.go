package local

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup/store"
)

func name(c string) string { return strings.Repeat(c, 64) }

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Create(filepath.Join(t.TempDir(), "repo"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bothWays runs a test with nameless and with named temporary files.
func bothWays(t *testing.T, fn func(t *testing.T, s *Store)) {
	for _, named := range []bool{false, true} {
		way := "nameless"
		if named {
			way = "named"
		}
		t.Run(way, func(t *testing.T) {
			s := newStore(t)
			s.named = named
			fn(t, s)
			if entries, err := os.ReadDir(filepath.Join(s.root, tempDir)); err == nil && len(entries) > 0 {
				t.Errorf("%d temporary files left", len(entries))
			}
		})
	}
}

func TestSavedFilesHaveResticsPathsAndPrivateModes(t *testing.T) {
	bothWays(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		for path, h := range map[string]store.Handle{
			"config":                  {Kind: store.Config},
			"data/aa/" + name("a"):    {Kind: store.Pack, Name: name("a")},
			"snapshots/" + name("b"):  {Kind: store.Snapshot, Name: name("b")},
			"pitr/sys/0001/object-01": {Kind: store.Log, Name: "sys/0001/object-01"},
			"trivet/chain/x":          {Kind: store.Record, Name: "chain/x"},
		} {
			if err := s.Save(ctx, h, []byte(path)); err != nil {
				t.Fatal(err)
			}
			full := filepath.Join(s.root, filepath.FromSlash(path))
			got, err := os.ReadFile(full)
			if err != nil || string(got) != path {
				t.Fatalf("%v: read %q, %v", h, got, err)
			}
			if fi, _ := os.Stat(full); fi.Mode().Perm() != 0o600 {
				t.Errorf("%v: mode %v", h, fi.Mode())
			}
			if fi, _ := os.Stat(filepath.Dir(full)); path != "config" && fi.Mode().Perm() != 0o700 {
				t.Errorf("%v: directory mode %v", h, fi.Mode())
			}
		}
	})
}

func TestSaveNeverOverwritesButAcceptsARepeat(t *testing.T) {
	bothWays(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		h := store.Handle{Kind: store.Index, Name: name("c")}
		if err := s.Save(ctx, h, []byte("one")); err != nil {
			t.Fatal(err)
		}
		if err := s.Save(ctx, h, []byte("one")); err != nil {
			t.Errorf("repeated save: %v", err)
		}
		if err := s.Save(ctx, h, []byte("other")); !errors.Is(err, store.ErrExist) {
			t.Errorf("different content: %v", err)
		}
		if got, _ := store.ReadAll(ctx, s, h); string(got) != "one" {
			t.Errorf("content is now %q", got)
		}
	})
}

func TestStagedFilesOfEveryAlignmentComeOutWhole(t *testing.T) {
	bothWays(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		pattern := make([]byte, 3<<20)
		for i := range pattern {
			pattern[i] = byte(i * 31 >> 3)
		}
		buf := alignedBuffer(4 << 20)
		for i, pieces := range [][]int{{0}, {1}, {4096}, {4095, 2}, {1 << 20, 1 << 20, 777}, {1<<20 + 5, 1 << 20, 4096}, {3 << 20}, {70000, 70000, 1}} {
			for _, shift := range []int{0, 1} {
				f, err := s.Stage(ctx, store.Pack, 2<<20)
				if err != nil {
					t.Fatal(err)
				}
				var want []byte
				for _, n := range pieces {
					p := buf[shift : shift+n]
					copy(p, pattern)
					if _, err := f.Write(p); err != nil {
						t.Fatal(err)
					}
					want = append(want, p...)
				}
				h := store.Handle{Kind: store.Pack, Name: strings.Repeat("0", 62) + string("0123456789"[i]) + string("ab"[shift])}
				if err := f.Commit(ctx, h.Name); err != nil {
					t.Fatal(err)
				}
				got, err := store.ReadAll(ctx, s, h)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("pieces %v shift %d: %d bytes, want %d, err %v", pieces, shift, len(got), len(want), err)
				}
			}
		}
		if err := s.Barrier(ctx); err != nil {
			t.Fatal(err)
		}
		if len(s.dirty) != 0 {
			t.Errorf("%d directories dirty after the barrier", len(s.dirty))
		}
	})
}

func TestDiscardedFilesLeaveNothing(t *testing.T) {
	bothWays(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		f, err := s.Stage(ctx, store.Pack, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := f.Discard(); err != nil {
			t.Fatal(err)
		}
		if err := f.Commit(ctx, name("a")); err == nil {
			t.Error("commit after discard worked")
		}
		n := 0
		if err := s.List(ctx, store.Pack, "", func(store.Info) error { n++; return nil }); err != nil || n != 0 {
			t.Errorf("%d packs, %v", n, err)
		}
	})
}

func TestOpenReadsExactRangesAndReportsShortFiles(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	h := store.Handle{Kind: store.Pack, Name: name("d")}
	if err := s.Save(ctx, h, []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		offset, length int64
		want           string
		err            error
	}{
		{0, -1, "0123456789", nil}, {3, 4, "3456", nil}, {10, 0, "", nil}, {10, -1, "", nil},
		{8, 5, "89", io.ErrUnexpectedEOF}, {20, 1, "", io.ErrUnexpectedEOF}, {20, -1, "", io.ErrUnexpectedEOF},
	} {
		var got []byte
		r, err := s.Open(ctx, h, c.offset, c.length)
		if err == nil {
			got, err = io.ReadAll(r)
			r.Close()
		}
		if string(got) != c.want || !errors.Is(err, c.err) || (c.err == nil) != (err == nil) {
			t.Errorf("open(%d, %d) = %q, %v", c.offset, c.length, got, err)
		}
	}
	if _, err := s.Open(ctx, store.Handle{Kind: store.Pack, Name: name("e")}, 0, -1); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestListFailsWhenTheDiskIsGone(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	if err := os.Rename(s.root, s.root+"-away"); err != nil {
		t.Fatal(err)
	}
	for _, k := range store.Kinds() {
		if err := s.List(ctx, k, "", func(store.Info) error { return nil }); err == nil {
			t.Errorf("list of %v succeeded without a directory", k)
		}
		h := store.Handle{Kind: k, Name: name("a")}
		if k == store.Config {
			h.Name = ""
		}
		if err := s.Save(ctx, h, nil); err == nil {
			t.Errorf("save of %v made a repository on the mount point", k)
		}
	}
}

func TestListSkipsForeignNamesAndHonoursThePrefix(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	for _, h := range []store.Handle{
		{Kind: store.Pack, Name: name("a")}, {Kind: store.Pack, Name: name("b")},
		{Kind: store.Log, Name: "one/x"}, {Kind: store.Log, Name: "one/y/z"}, {Kind: store.Log, Name: "two/x"},
	} {
		if err := s.Save(ctx, h, []byte("1234")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.root, "data", "aa", name("a")+"-tmp-123"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	list := func(k store.Kind, prefix string) (names []string) {
		if err := s.List(ctx, k, prefix, func(i store.Info) error {
			if i.SizeBytes != 4 {
				t.Errorf("%s: size %d", i.Name, i.SizeBytes)
			}
			names = append(names, i.Name)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return names
	}
	for _, c := range []struct {
		kind   store.Kind
		prefix string
		want   int
	}{{store.Pack, "", 2}, {store.Pack, "aaa", 1}, {store.Pack, "c", 0}, {store.Log, "", 3}, {store.Log, "one/", 2}, {store.Log, "o", 2}, {store.Log, "none/", 0}, {store.Record, "", 0}} {
		if got := list(c.kind, c.prefix); len(got) != c.want {
			t.Errorf("list(%v, %q) = %v", c.kind, c.prefix, got)
		}
	}
}

func TestRemoveIsIdempotent(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	h := store.Handle{Kind: store.Lock, Name: name("f")}
	if err := s.Save(ctx, h, []byte("x")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Remove(ctx, h); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Stat(ctx, h); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("stat after remove: %v", err)
	}
}

func TestHandlesThatWouldLeaveTheDirectoryAreRefused(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	for _, h := range []store.Handle{{}, {Kind: store.Pack, Name: "../x"}, {Kind: store.Log, Name: "../x"}, {Kind: store.Log, Name: "/x"}, {Kind: store.Log}, {Kind: store.Config, Name: "x"}, {Kind: 99, Name: "x"}} {
		if err := s.Save(ctx, h, nil); err == nil {
			t.Errorf("save %v worked", h)
		}
		if _, err := s.Stat(ctx, h); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat %v: %v", h, err)
		}
		if err := s.Remove(ctx, h); err == nil {
			t.Errorf("remove %v worked", h)
		}
	}
}

func TestOldTemporaryFilesAreSweptAndFreshOnesKept(t *testing.T) {
	s := newStore(t)
	dir := filepath.Join(s.root, tempDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"old", "new"} {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * tempMaxAge)
	if err := os.Chtimes(filepath.Join(dir, "old"), past, past); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.root); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 || entries[0].Name() != "new" {
		t.Errorf("left: %v", entries)
	}
}

func TestAFullDiskLeavesNoFile(t *testing.T) {
	// /dev/shm is a tmpfs: it has a limit, and it may refuse O_DIRECT.
	dir, err := os.MkdirTemp("/dev/shm", "trivet")
	if err != nil {
		t.Skip("no /dev/shm: " + err.Error())
	}
	defer os.RemoveAll(dir)
	s, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	h := store.Handle{Kind: store.Pack, Name: name("a")}
	if err := s.Save(ctx, h, make([]byte, 2<<20)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stage(ctx, store.Pack, 1<<50); err == nil {
		t.Error("staged a petabyte")
	}
	if err := s.Barrier(ctx); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkStagePack16MiB(b *testing.B) {
	s := newStore(b)
	ctx := context.Background()
	buf := alignedBuffer(2 << 20)
	b.SetBytes(16 << 20)
	for i := range b.N {
		f, err := s.Stage(ctx, store.Pack, 16<<20)
		if err != nil {
			b.Fatal(err)
		}
		for range 8 {
			if _, err := f.Write(buf); err != nil {
				b.Fatal(err)
			}
		}
		h := store.Handle{Kind: store.Pack, Name: strings.Repeat("0", 48) + time.Unix(int64(i), 0).UTC().Format("0102150405000000")}
		if err := f.Commit(ctx, h.Name); err != nil {
			b.Fatal(err)
		}
		if err := s.Remove(ctx, h); err != nil {
			b.Fatal(err)
		}
	}
}

func TestOnlyFileSystemsOfThisMachineArePrompt(t *testing.T) {
	s := newStore(t)
	var fs unix.Statfs_t
	if err := unix.Statfs(s.Dir(), &fs); err != nil {
		t.Fatal(err)
	}
	if got, want := s.Prompt(), slices.Contains(promptTypes[:], int64(fs.Type)); got != want {
		t.Errorf("file system %#x: prompt %v, want %v", fs.Type, got, want)
	}
	if elsewhere := (&Store{root: "/proc"}); elsewhere.Prompt() {
		t.Error("/proc is no disk")
	}
	if gone := (&Store{root: "/does/not/exist"}); gone.Prompt() {
		t.Error("nothing is known of a directory that is gone")
	}
}
