package mountfs

import (
	"context"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/trivet-ha/trivet/backup/repository"
)

// list is a directory of our own making. Its entries may differ from time to time.
type list struct {
	fs.Inode
	s       *system
	entries func() []entry
}

var (
	_ fs.NodeLookuper  = (*list)(nil)
	_ fs.NodeReaddirer = (*list)(nil)
	_ fs.NodeGetattrer = (*list)(nil)
)

// Lookup finds an entry.
func (l *list) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	for _, e := range l.entries() {
		if e.name == name {
			out.Mode = e.mode | 0o555
			if g, ok := e.node.(fs.NodeGetattrer); ok {
				var a fuse.AttrOut
				g.Getattr(ctx, nil, &a)
				out.Attr = a.Attr
			}
			return l.NewInode(ctx, e.node, fs.StableAttr{Mode: e.mode}), 0
		}
	}
	return nil, syscall.ENOENT
}

// Readdir lists the entries.
func (l *list) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	var out []fuse.DirEntry
	for _, e := range l.entries() {
		out = append(out, fuse.DirEntry{Name: e.name, Mode: e.mode})
	}
	return fs.NewListDirStream(out), 0
}

// Getattr says that all may look.
func (l *list) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode = fuse.S_IFDIR | 0o555
	return 0
}

// linkTo is a symbolic link of our own making.
type linkTo struct {
	fs.Inode
	target string
}

var _ fs.NodeReadlinker = (*linkTo)(nil)

// Readlink gives the target.
func (l *linkTo) Readlink(context.Context) ([]byte, syscall.Errno) { return []byte(l.target), 0 }

// node is anything that a snapshot holds.
type node struct {
	fs.Inode
	s *system
	n *repository.Node
}

var (
	_ fs.NodeGetattrer   = (*node)(nil)
	_ fs.NodeGetxattrer  = (*node)(nil)
	_ fs.NodeListxattrer = (*node)(nil)
)

// Getattr gives the metadata that the snapshot has.
func (x *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n := x.n
	out.Mode = fuseMode(n)
	out.Size = n.Size
	if n.Type == repository.TypeSymlink {
		out.Size = uint64(len(n.LinkTarget))
	}
	out.Blocks = (out.Size + 511) / 512
	out.Uid, out.Gid = n.UID, n.GID
	out.Nlink = uint32(max(n.Links, 1))
	out.Rdev = uint32(n.Device)
	setTime(&out.Mtime, &out.Mtimensec, n.ModTime)
	setTime(&out.Atime, &out.Atimensec, n.AccessTime)
	setTime(&out.Ctime, &out.Ctimensec, n.ChangeTime)
	out.SetTimeout(refresh)
	return 0
}

func setTime(sec *uint64, nsec *uint32, t time.Time) {
	*sec, *nsec = uint64(t.Unix()), uint32(t.Nanosecond())
}

// fuseMode is the mode in the bits of stat(2).
func fuseMode(n *repository.Node) uint32 {
	mode := uint32(n.Mode.Perm())
	for _, b := range []struct{ has, is uint32 }{
		{uint32(n.Mode) >> 23 & 1, syscall.S_ISUID}, {uint32(n.Mode) >> 22 & 1, syscall.S_ISGID}, {uint32(n.Mode) >> 20 & 1, syscall.S_ISVTX},
	} {
		mode |= b.has * b.is
	}
	return mode | typeBits(n.Type)
}

func typeBits(t repository.NodeType) uint32 {
	switch t {
	case repository.TypeDir:
		return syscall.S_IFDIR
	case repository.TypeSymlink:
		return syscall.S_IFLNK
	case repository.TypeDev:
		return syscall.S_IFBLK
	case repository.TypeCharDev:
		return syscall.S_IFCHR
	case repository.TypeFifo:
		return syscall.S_IFIFO
	case repository.TypeSocket:
		return syscall.S_IFSOCK
	}
	return syscall.S_IFREG
}

// Getxattr gives an extended attribute.
func (x *node) Getxattr(_ context.Context, attr string, dest []byte) (uint32, syscall.Errno) {
	for _, a := range x.n.Xattrs {
		if a.Name == attr {
			return fill(dest, a.Value)
		}
	}
	return 0, syscall.ENODATA
}

// Listxattr lists the extended attributes.
func (x *node) Listxattr(_ context.Context, dest []byte) (uint32, syscall.Errno) {
	var names []byte
	for _, a := range x.n.Xattrs {
		names = append(append(names, a.Name...), 0)
	}
	return fill(dest, names)
}

// fill copies a value into a buffer, or tells its size if the buffer is too small.
func fill(dest, value []byte) (uint32, syscall.Errno) {
	if len(dest) < len(value) {
		return uint32(len(value)), syscall.ERANGE
	}
	return uint32(copy(dest, value)), 0
}

// directory is a directory of a snapshot. Its tree is loaded when it is first looked into.
type directory struct {
	node
	once sync.Once
	tree *repository.Tree
	err  error
}

var (
	_ fs.NodeLookuper  = (*directory)(nil)
	_ fs.NodeReaddirer = (*directory)(nil)
)

func (d *directory) load() (*repository.Tree, syscall.Errno) {
	d.once.Do(func() {
		if d.n.Subtree == nil {
			d.tree = &repository.Tree{}
			return
		}
		d.tree, d.err = d.s.repo.LoadTree(d.s.ctx, *d.n.Subtree)
	})
	if d.err != nil {
		return nil, d.s.failed(d.err)
	}
	return d.tree, 0
}

// Lookup finds an entry.
func (d *directory) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	tree, errno := d.load()
	if errno != 0 {
		return nil, errno
	}
	n := tree.Find(name)
	if n == nil {
		return nil, syscall.ENOENT
	}
	child := d.s.child(n)
	var a fuse.AttrOut
	child.(fs.NodeGetattrer).Getattr(ctx, nil, &a)
	out.Attr = a.Attr
	out.SetAttrTimeout(refresh)
	out.SetEntryTimeout(refresh)
	return d.NewInode(ctx, child, fs.StableAttr{Mode: typeBits(n.Type)}), 0
}

// Readdir lists the entries.
func (d *directory) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	tree, errno := d.load()
	if errno != 0 {
		return nil, errno
	}
	out := make([]fuse.DirEntry, len(tree.Nodes))
	for i, n := range tree.Nodes {
		out[i] = fuse.DirEntry{Name: n.Name, Mode: typeBits(n.Type)}
	}
	return fs.NewListDirStream(out), 0
}

func (s *system) child(n *repository.Node) fs.InodeEmbedder {
	switch n.Type {
	case repository.TypeDir:
		return &directory{node: node{s: s, n: n}}
	case repository.TypeSymlink:
		return &symlink{node: node{s: s, n: n}}
	case repository.TypeFile:
		return &file{node: node{s: s, n: n}}
	}
	return &other{node: node{s: s, n: n}}
}

// other is a device or a pipe: it has metadata only.
type other struct{ node }

type symlink struct{ node }

var _ fs.NodeReadlinker = (*symlink)(nil)

// Readlink gives the target.
func (l *symlink) Readlink(context.Context) ([]byte, syscall.Errno) {
	return []byte(l.n.LinkTarget), 0
}

type file struct{ node }

var _ fs.NodeOpener = (*file)(nil)

// Open prepares reading. The content never changes: the kernel may keep it.
func (f *file) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&(syscall.O_WRONLY|syscall.O_RDWR) != 0 {
		return nil, 0, syscall.EROFS
	}
	r, err := f.s.repo.OpenFile(f.s.ctx, f.n)
	if err != nil {
		return nil, 0, f.s.failed(err)
	}
	return &handle{s: f.s, file: r}, fuse.FOPEN_KEEP_CACHE, 0
}

type handle struct {
	s    *system
	file *repository.File
}

var _ fs.FileReader = (*handle)(nil)

// Read reads at an offset.
func (h *handle) Read(_ context.Context, dest []byte, offset int64) (fuse.ReadResult, syscall.Errno) {
	n, err := h.file.ReadAt(dest, offset)
	if err != nil && err != io.EOF {
		return nil, h.s.failed(err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}
