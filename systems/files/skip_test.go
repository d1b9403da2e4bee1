package files

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files/pattern"
)

func sortStrings(s []string) { slices.Sort(s) }

// names lists the paths in a tree.
func (b *bench) names(root repository.ID) string {
	b.t.Helper()
	var names []string
	err := b.repo.Walk(b.t.Context(), root, func(path string, _ *repository.Node) error {
		names = append(names, path)
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.Join(names, " ")
}

// files makes files; a name that ends in a slash is a directory, and text may follow an equals sign.
func files(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		name, text, _ := strings.Cut(n, "=")
		dir := filepath.Dir(name)
		if strings.HasSuffix(name, "/") {
			dir = name
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir == name {
			continue
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func patterns(t *testing.T, lines ...string) []*pattern.List {
	t.Helper()
	l, err := pattern.Compile(lines, pattern.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return []*pattern.List{l}
}

func TestWhatIsSkipped(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	files(t, "d/a.txt=12345", "d/b.tmp", "d/cache/CACHEDIR.TAG=Signature: 8a477f597d28d172789f06886806bc55\n", "d/cache/x",
		"d/fake/CACHEDIR.TAG=other", "d/fake/x", "d/nobackup/.nobackup", "d/nobackup/x", "d/g/.gitignore=*.o\n/top\n!keep.o\n", "d/g/x.o", "d/g/keep.o", "d/g/top", "d/g/s/top", "d/g/s/y.o")
	all := "/d /d/a.txt /d/b.tmp /d/cache /d/cache/CACHEDIR.TAG /d/cache/x /d/fake /d/fake/CACHEDIR.TAG /d/fake/x /d/g /d/g/.gitignore /d/g/keep.o /d/g/s /d/g/s/top /d/g/s/y.o /d/g/top /d/g/x.o /d/nobackup /d/nobackup/.nobackup /d/nobackup/x"
	without := func(gone ...string) string {
		return strings.Join(slices.DeleteFunc(strings.Fields(all), func(n string) bool { return slices.Contains(gone, n) }), " ")
	}
	b := newBench(t)
	for what, c := range map[string]struct {
		skip Skip
		want string
	}{
		"nothing":           {Skip{}, all},
		"a pattern":         {Skip{Patterns: patterns(t, "*.tmp")}, without("/d/b.tmp")},
		"an absolute path":  {Skip{Patterns: patterns(t, dir+"/d/g")}, without("/d/g", "/d/g/.gitignore", "/d/g/keep.o", "/d/g/s", "/d/g/s/top", "/d/g/s/y.o", "/d/g/top", "/d/g/x.o")},
		"a pattern negated": {Skip{Patterns: patterns(t, "*.o", "!keep.o")}, without("/d/g/x.o", "/d/g/s/y.o")},
		"caches":            {Skip{Tagged: []Tag{CacheDirTag()}}, without("/d/cache/x")},
		"a tag by its name": {Skip{Tagged: []Tag{{Name: ".nobackup"}}}, without("/d/nobackup/x")},
		"large files":       {Skip{LargerThan: 4}, without("/d/a.txt", "/d/cache/CACHEDIR.TAG", "/d/fake/CACHEDIR.TAG", "/d/g/.gitignore")},
		"ignore files":      {Skip{IgnoreFiles: []string{".gitignore"}}, without("/d/g/x.o", "/d/g/top", "/d/g/s/y.o")},
	} {
		c.skip.Key = what
		if got := b.names(b.save(Config{Paths: []string{"d"}, Skip: c.skip}).Tree); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", what, got, c.want)
		}
	}
}

func TestAnotherSkipHasAnotherState(t *testing.T) {
	t.Chdir(t.TempDir())
	files(t, "d/a", "d/b.tmp")
	b := newBench(t)
	b.save(Config{Paths: []string{"d"}})
	r := b.save(Config{Paths: []string{"d"}, Skip: Skip{Patterns: patterns(t, "*.tmp"), Key: "tmp"}})
	if got := b.names(r.Tree); got != "/d /d/a" {
		t.Errorf("got %s", got)
	}
	if got := b.names(b.save(Config{Paths: []string{"d"}}).Tree); got != "/d /d/a /d/b.tmp" {
		t.Errorf("got %s", got)
	}
}

func TestOneFileSystemSavesMountPointsEmpty(t *testing.T) {
	needRoot(t)
	t.Chdir(t.TempDir())
	files(t, "d/a", "d/mnt/", "d/z")
	if err := unix.Mount("tmpfs", "d/mnt", "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount("d/mnt", unix.MNT_DETACH)
	files(t, "d/mnt/inside")
	b := newBench(t)
	if got := b.names(b.save(Config{Paths: []string{"d"}, Skip: Skip{OneFileSystem: true}}).Tree); got != "/d /d/a /d/mnt /d/z" {
		t.Errorf("got %s", got)
	}
	if got := b.names(b.save(Config{Paths: []string{"d"}}).Tree); got != "/d /d/a /d/mnt /d/mnt/inside /d/z" {
		t.Errorf("got %s", got)
	}
}

// What a set of paths looks like in a snapshot is what restic makes of it.
func TestPathsLieWhereResticPutsThem(t *testing.T) {
	base := t.TempDir()
	t.Chdir(base)
	files(t, "a/x=1", "a/sub/y=2", "b/a/z=3", "file=4", "empty/")
	if err := os.Symlink("a", "link"); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(base, "b"))
	b := newBench(t)
	for _, paths := range [][]string{
		{"."}, {".."}, {"a"}, {"../a"}, {"../a", "a"}, {"../a/sub", "../file"}, {base + "/a"}, {base + "/a", base + "/a/sub"}, {base + "/a/sub/y"},
		{base + "/empty", base + "/file"}, {base + "/link"}, {"../link", "./a"}, {"a", base + "/file"}, {"../b/a/z"},
	} {
		ours := b.save(Config{Paths: paths})
		b.restic(append([]string{"backup", "--force"}, paths...)...)
		if err := b.repo.ReloadIndex(t.Context()); err != nil {
			t.Fatal(err)
		}
		theirs, err := b.repo.FindSnapshot(t.Context(), "latest", repository.SnapshotFilter{})
		if err != nil {
			t.Fatal(err)
		}
		got, want := b.names(ours.Tree), b.names(*theirs.Tree)
		if got != want {
			t.Errorf("%q:\n got %s\nwant %s", paths, got, want)
		}
		slices.Sort(theirs.Paths)
		if !slices.Equal(ours.Snapshot.Paths, theirs.Paths) {
			t.Errorf("%q: the snapshot lists %q, restic's %q", paths, ours.Snapshot.Paths, theirs.Paths)
		}
		changes := 0
		err = b.repo.Diff(t.Context(), *theirs.Tree, ours.Tree, func(c repository.Change) error {
			if c.Kind != repository.MetaChanged || !strings.HasPrefix(base+"/", c.Path+"/") && c.Path != "" {
				t.Logf("%q: %c %s\n%+v\n%+v", paths, c.Kind, c.Path, c.Old, c.New)
				changes++
			}
			return nil
		})
		if err != nil || changes > 0 {
			t.Errorf("%q: %d differences to restic's tree, %v", paths, changes, err)
		}
	}
}

func TestMissingPaths(t *testing.T) {
	t.Chdir(t.TempDir())
	files(t, "there")
	b := newBench(t)
	r := b.saveWith(Config{Paths: []string{"there", "not-there"}}, backup.Options{})
	if r.Missing != 1 || b.names(r.Tree) != "/there" {
		t.Errorf("%d missing, %s", r.Missing, b.names(r.Tree))
	}
	s, err := New(Config{Paths: []string{"not-there"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Save(t.Context(), b.repo, s, backup.Options{}); err == nil {
		t.Error("nothing to save: no error")
	}
	for _, bad := range [][]string{nil, {""}} {
		if _, err := New(Config{Paths: bad}); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestSocketsAreNoted(t *testing.T) {
	t.Chdir(t.TempDir())
	files(t, "d/a")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "d/socket"}); err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	noted := false
	r := b.saveWith(Config{Paths: []string{"d"}}, backup.Options{Report: func(p backup.Problem) {
		noted = noted || errors.Is(p, ErrSocket) && p.Severity == backup.Note
	}})
	if !noted || r.Missing != 0 || b.names(r.Tree) != "/d /d/a" {
		t.Errorf("noted: %t, %d missing, %s", noted, r.Missing, b.names(r.Tree))
	}
}
