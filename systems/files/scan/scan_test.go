package scan

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func open(t testing.TB, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestListsWhatTheStandardLibraryLists(t *testing.T) {
	dir := t.TempDir()
	for i := range 3000 {
		name := fmt.Sprintf("%d-%s", i, strings.Repeat("x", i%240))
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, odd := range []string{"\xff\xfe", "new\nline", "...", " ", "ü"} {
		if err := os.Mkdir(filepath.Join(dir, odd), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		want = append(want, e.Name())
	}
	slices.Sort(want)
	var r Reader
	for range 2 { // the buffers are used again
		fd := open(t, dir)
		got, err := r.Names(fd)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%d names, want %d; %v", len(got), len(want), err)
		}
	}
}

func TestStatsWhatTheStandardLibraryStats(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(path("file"), []byte("hello"), 0o640))
	must(os.Chmod(path("file"), 0o755|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
	must(os.Chtimes(path("file"), time.Unix(1, 2), time.Unix(1234567890, 123456789)))
	must(os.Mkdir(path("dir"), 0o700))
	must(os.Symlink("file", path("link")))
	must(unix.Mkfifo(path("fifo"), 0o600))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(err)
	defer unix.Close(fd)
	must(unix.Bind(fd, &unix.SockaddrUnix{Name: path("socket")}))
	names := []string{"file", "dir", "link", "fifo", "socket"}
	if os.Getuid() == 0 {
		must(unix.Mknod(path("char"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		must(unix.Mknod(path("block"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 300))))
		names = append(names, "char", "block")
	}
	var r Reader
	dirfd := open(t, dir)
	for _, name := range names {
		want, err := os.Lstat(path(name))
		must(err)
		var got Stat
		must(r.At(dirfd, name, &got))
		if got.FileMode() != want.Mode() || !got.Mtime.Time().Equal(want.ModTime()) || got.Size != want.Size() {
			t.Errorf("%s: %+v (%v), want %v %v", name, got, got.FileMode(), want.Mode(), want.ModTime())
		}
		if got.IsDir() != want.IsDir() || got.IsRegular() != want.Mode().IsRegular() || got.IsSymlink() != (want.Mode()&fs.ModeSymlink != 0) {
			t.Errorf("%s: wrong type", name)
		}
	}
	var s Stat
	if err := r.At(dirfd, "none", &s); err != unix.ENOENT {
		t.Errorf("got %v, want ENOENT", err)
	}
	if err := r.At(dirfd, strings.Repeat("n", 300), &s); err != unix.ENAMETOOLONG {
		t.Errorf("got %v, want ENAMETOOLONG", err)
	}
	var link, file Stat
	must(Path(path("link"), false, &link))
	must(Path(path("link"), true, &file))
	if !link.IsSymlink() || !file.IsRegular() {
		t.Error("a link that is followed, and one that is not")
	}
	must(FD(dirfd, &s))
	if !s.IsDir() {
		t.Error("the directory itself")
	}
}

func FuzzDirents(f *testing.F) {
	f.Add([]byte("aaaaaaaabbbbbbbb\x18\x00\x04name\x00"))
	f.Fuzz(func(t *testing.T, block []byte) {
		var r Reader
		_ = r.take(block)
	})
}

func BenchmarkNames(b *testing.B) {
	dir := b.TempDir()
	for i := range 100 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	fd := open(b, dir)
	var r Reader
	b.ReportAllocs()
	for b.Loop() {
		if _, err := unix.Seek(fd, 0, 0); err != nil {
			b.Fatal(err)
		}
		if names, err := r.Names(fd); err != nil || len(names) != 100 {
			b.Fatal(err)
		}
	}
}

func BenchmarkAt(b *testing.B) {
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		b.Fatal(err)
	}
	fd := open(b, dir)
	var r Reader
	var s Stat
	b.ReportAllocs()
	for b.Loop() {
		if err := r.At(fd, "x", &s); err != nil {
			b.Fatal(err)
		}
	}
}
