package files

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/systems/files/scan"
)

// makeTree fills dir with everything that a file system can hold, the same for the same seed.
func makeTree(t testing.TB, dir string, seed uint64) {
	t.Helper()
	g := &grower{t: t, src: rand.New(rand.NewPCG(seed, 1))}
	g.must(os.MkdirAll(dir, 0o755))
	g.fill(dir, 3)
	g.oddities(dir)
}

type grower struct {
	t   testing.TB
	src *rand.Rand
	n   int
}

func (g *grower) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *grower) bytes(n int) []byte {
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], g.src.Uint64())
	}
	if g.src.IntN(2) == 0 {
		copy(b, bytes.Repeat([]byte("the same words again and again; "), n/64))
	}
	return b
}

func (g *grower) when() time.Time {
	return time.Unix(g.src.Int64N(4e9)-1e9, g.src.Int64N(1e9))
}

func (g *grower) fill(dir string, depth int) {
	for range 2 + g.src.IntN(5) {
		g.n++
		sizes := []int{0, 1, 100, 4096, 70_000, 200_000, 500_000}
		name := filepath.Join(dir, fmt.Sprintf("file-%d", g.n))
		g.must(os.WriteFile(name, g.bytes(sizes[g.src.IntN(len(sizes))]), 0o600))
		g.must(os.Chmod(name, fs.FileMode(g.src.IntN(0o1000))|0o400))
		w := g.when()
		g.must(os.Chtimes(name, w, w))
	}
	if depth == 0 {
		return
	}
	for range 1 + g.src.IntN(3) {
		g.n++
		sub := filepath.Join(dir, fmt.Sprintf("dir-%d", g.n))
		g.must(os.Mkdir(sub, 0o700))
		g.fill(sub, depth-1)
		g.must(os.Chmod(sub, fs.FileMode(g.src.IntN(0o1000))|0o700))
		w := g.when()
		g.must(os.Chtimes(sub, w, w))
	}
}

func (g *grower) oddities(dir string) {
	path := func(name string) string { return filepath.Join(dir, name) }
	g.must(os.WriteFile(path("big"), g.bytes(9<<20+12345), 0o644))
	g.must(os.WriteFile(path("non-utf8-\xff\xfe\x80"), []byte("odd"), 0o644))
	g.must(os.WriteFile(path("new\nline \"quoted\" \\back <html>&"), []byte("odd"), 0o644))
	g.must(os.WriteFile(path(strings.Repeat("ü", 127)), []byte("long"), 0o644))
	g.must(os.WriteFile(path("setuid"), []byte("s"), 0o755))
	g.must(os.Chmod(path("setuid"), 0o755|fs.ModeSetuid|fs.ModeSetgid))
	g.must(os.Mkdir(path("sticky"), 0o755))
	g.must(os.Chmod(path("sticky"), 0o777|fs.ModeSticky))
	g.must(os.Mkdir(path("empty"), 0o555))
	g.must(os.Symlink("big", path("link")))
	g.must(os.Symlink("/does/not/exist/\xff\xfe", path("dangling")))
	g.must(os.Symlink(strings.Repeat("x/", 600), path("long link")))
	g.must(os.Link(path("big"), path("hard-1")))
	g.must(os.Link(path("big"), path("empty-sibling")))
	g.must(os.Mkdir(path("sub"), 0o700))
	g.must(os.Link(path("setuid"), path("sub/hard-2")))
	g.must(unix.Mkfifo(path("fifo"), 0o640))
	g.sparse(path("sparse"))
	w := time.Unix(1<<33+5, 7) // beyond 2038 and 2106
	g.must(os.WriteFile(path("future"), nil, 0o644))
	g.must(os.Chtimes(path("future"), w, w))
	g.must(unix.Setxattr(path("big"), "user.comment", []byte("a \x00 value"), 0))
	g.must(unix.Setxattr(path("sub"), "user.empty", nil, 0))
	g.must(unix.Setxattr(path("sub"), "user.large", bytes.Repeat([]byte("v"), 2000), 0))
	if os.Getuid() != 0 {
		return
	}
	g.must(unix.Mknod(path("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	g.must(unix.Mknod(path("loop"), unix.S_IFBLK|0o660, int(unix.Mkdev(7, 300))))
	g.must(os.Lchown(path("link"), 1234, 5678))
	g.must(os.Chown(path("file-1"), 1234, 5678))
	g.must(unix.Lsetxattr(path("link"), "trusted.on-a-link", []byte("t"), 0))
	// An ACL: user 1234 may read, the mask is r--.
	acl := aclBytes(aclEntry{1, 6, noID}, aclEntry{2, 4, 1234}, aclEntry{4, 4, noID}, aclEntry{16, 4, noID}, aclEntry{32, 4, noID})
	g.must(os.WriteFile(path("acl"), []byte("acl"), 0o644))
	g.must(unix.Setxattr(path("acl"), "system.posix_acl_access", acl, 0))
	g.must(unix.Setxattr(path("sub"), "system.posix_acl_default", acl, 0))
	// A capability: cap_net_bind_service, effective and permitted (revision 2).
	caps := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	g.must(os.WriteFile(path("capable"), []byte("caps"), 0o755))
	g.must(os.Chown(path("capable"), 1, 1))
	g.must(unix.Setxattr(path("capable"), "security.capability", caps, 0))
}

const noID = 0xffffffff

type aclEntry struct {
	tag, perm uint16
	id        uint32
}

// aclBytes is the form of system.posix_acl_access (acl(5), linux/posix_acl_xattr.h).
func aclBytes(entries ...aclEntry) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// sparse makes a file of 40 MiB with little in it.
func (g *grower) sparse(path string) {
	f, err := os.Create(path)
	g.must(err)
	defer f.Close()
	g.must(f.Truncate(40 << 20))
	for _, at := range []int64{0, 17<<20 + 123, 40<<20 - 10} {
		_, err := f.WriteAt([]byte("data here"), at)
		g.must(err)
	}
}

// seen is all that is compared of one entry.
type seen struct {
	mode         uint32
	uid, gid     uint32
	mtime        scan.Time
	size         int64
	rdev         uint64
	content      string
	target       string
	xattrs       string
	links        string // the first name of the same inode
	allocatedKiB int64
}

// view describes all that is below dir, by its path.
func view(t testing.TB, dir string) map[string]seen {
	t.Helper()
	out := map[string]seen{}
	first := map[uint64]string{}
	var paths []string
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		paths = append(paths, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(paths)
	var r xattrReader
	for _, p := range paths {
		rel := strings.TrimPrefix(p, dir)
		var s scan.Stat
		if err := scan.Path(p, false, &s); err != nil {
			t.Fatal(err)
		}
		e := seen{mode: s.Mode, uid: s.UID, gid: s.GID, mtime: s.Mtime, rdev: s.Rdev}
		if !s.IsDir() {
			e.size = s.Size
			if _, ok := first[s.Ino]; !ok {
				first[s.Ino] = rel
			}
			e.links = first[s.Ino]
		}
		if s.IsRegular() {
			data, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			e.content = fmt.Sprintf("%x", hash(data))
			e.allocatedKiB = s.Blocks / 2
		}
		if s.IsSymlink() {
			if e.target, err = os.Readlink(p); err != nil {
				t.Fatal(err)
			}
		}
		xattrs, err := r.read(xattrSource{path: p})
		if err != nil {
			t.Fatal(err)
		}
		e.xattrs = fmt.Sprintf("%q", xattrs)
		out[rel] = e
	}
	return out
}

// ignoreHoles is an option of same.
const ignoreHoles = "ignore holes"

// same compares two trees, with everything that is kept of them.
func same(t testing.TB, what, got, want string, options ...string) {
	t.Helper()
	g, w := view(t, got), view(t, want)
	for p, e := range w {
		r, ok := g[p]
		if !ok {
			t.Errorf("%s: %q is missing", what, p)
			continue
		}
		if e.allocatedKiB+512 < r.allocatedKiB && !slices.Contains(options, ignoreHoles) {
			t.Errorf("%s: %q takes %d KiB, the original %d", what, p, r.allocatedKiB, e.allocatedKiB)
		}
		r.allocatedKiB = e.allocatedKiB
		if r != e {
			t.Errorf("%s: %q differs:\n got %+v\nwant %+v", what, p, r, e)
		}
	}
	for p := range g {
		if _, ok := w[p]; !ok {
			t.Errorf("%s: %q is there, and should not be", what, p)
		}
	}
}
