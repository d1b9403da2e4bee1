package files

import (
	"container/list"
	"errors"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files/pattern"
)

// restoreDir is a directory of the snapshot that may be restored. It is made when the first thing in it is.
type restoreDir struct {
	parent *restoreDir // nil for the target
	name   string
	node   *repository.Node // nil for the target
	made   bool             // only used by the walk
	fresh  bool             // was not there before
	taken  bool             // an include pattern chose it, and so all below it

	include, exclude []pattern.Place
}

// path is the path of the directory in what is restored: "/" for the target.
func (d *restoreDir) path() string { return d.join("") }

// join is the path of an entry.
func (d *restoreDir) join(name string) string {
	var names []string
	if name != "" {
		names = append(names, name)
	}
	for ; d.parent != nil; d = d.parent {
		names = append(names, d.name)
	}
	slices.Reverse(names)
	return "/" + strings.Join(names, "/")
}

// maxOpenDirs bounds the directories kept open.
const maxOpenDirs = 256

// dirCache keeps directories open. Each is opened from its parent's open file by its one name, not following a link, so
// that no path can lead out of the target.
type dirCache struct {
	target int

	mu    sync.Mutex
	open  map[*restoreDir]*openDir
	order *list.List // of *openDir without users, the latest used first
}

type openDir struct {
	dir   *restoreDir
	fd    int
	users int
	idle  *list.Element
}

func newDirCache(target int) *dirCache {
	return &dirCache{target: target, open: make(map[*restoreDir]*openDir), order: list.New()}
}

// acquire opens a directory that exists. Each acquire needs a release.
func (c *dirCache) acquire(d *restoreDir) (int, error) {
	if d.parent == nil {
		return c.target, nil
	}
	c.mu.Lock()
	if o := c.use(d); o != nil {
		c.mu.Unlock()
		return o.fd, nil
	}
	c.mu.Unlock()
	parent, err := c.acquire(d.parent)
	if err != nil {
		return -1, err
	}
	fd, err := openBeneath(parent, d.name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	c.release(d.parent)
	if err != nil {
		return -1, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.use(d); o != nil { // another goroutine was faster
		unix.Close(fd)
		return o.fd, nil
	}
	c.open[d] = &openDir{dir: d, fd: fd, users: 1}
	for len(c.open) > maxOpenDirs && c.order.Len() > 0 {
		old := c.order.Remove(c.order.Back()).(*openDir)
		delete(c.open, old.dir)
		unix.Close(old.fd)
	}
	return fd, nil
}

// use counts another user of an open directory. c.mu is held.
func (c *dirCache) use(d *restoreDir) *openDir {
	o, ok := c.open[d]
	if !ok {
		return nil
	}
	if o.idle != nil {
		c.order.Remove(o.idle)
		o.idle = nil
	}
	o.users++
	return o
}

func (c *dirCache) release(d *restoreDir) {
	if d.parent == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.open[d]
	if o.users--; o.users == 0 {
		o.idle = c.order.PushFront(o)
	}
}

func (c *dirCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.open {
		unix.Close(o.fd)
	}
	clear(c.open)
	if c.target >= 0 {
		unix.Close(c.target)
	}
}

// openBeneath opens one name in a directory, never following a link.
func openBeneath(dir int, name string, flags int, mode uint32) (int, error) {
	how := unix.OpenHow{
		Flags: uint64(flags | unix.O_NOFOLLOW | unix.O_CLOEXEC), Mode: uint64(mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(dir, name, &how)
		switch {
		case err == unix.EINTR, err == unix.EAGAIN:
			continue
		case err == unix.ENOSYS, err == unix.EPERM && flags&unix.O_CREAT == 0:
			// A kernel before 5.6, or a sandbox. The name is a single one: O_NOFOLLOW says it all.
			return unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		}
		return fd, err
	}
}

// validName reports whether a name from a snapshot names an entry of its directory and nothing else.
func validName(name string) bool {
	if name == "" || name == "." || name == ".." {
		return false
	}
	for i := range len(name) {
		if name[i] == '/' || name[i] == 0 {
			return false
		}
	}
	return true
}

var errBadName = errors.New("its name would lead out of its directory; it is not restored")

// ensure makes a directory, and those above it.
func (r *restore) ensure(d *restoreDir) error {
	if d.made || d.parent == nil {
		return nil
	}
	if err := r.ensure(d.parent); err != nil {
		return err
	}
	parent, err := r.dirs.acquire(d.parent)
	if err != nil {
		return err
	}
	defer r.dirs.release(d.parent)
	err = unix.Mkdirat(parent, d.name, 0o700)
	if errors.Is(err, unix.EEXIST) {
		err = r.makeWay(parent, d)
	} else if err == nil {
		d.fresh = true
	}
	if err != nil {
		return err
	}
	d.made = true
	r.made = append(r.made, d)
	r.counts.directories.Add(1)
	return nil
}

// makeWay handles what is there already: a directory that we can work in is good; anything else is replaced.
func (r *restore) makeWay(parent int, d *restoreDir) error {
	var st unix.Stat_t
	if err := fstatat(parent, d.name, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if !r.isRoot && st.Mode&0o700 != 0o700 {
			return unix.Fchmodat(parent, d.name, st.Mode&0o7777|0o700, 0)
		}
		return nil
	}
	if r.o.Overwrite == OverwriteNever {
		return unix.ENOTDIR
	}
	if err := unix.Unlinkat(parent, d.name, 0); err != nil {
		return err
	}
	d.fresh = true
	return unix.Mkdirat(parent, d.name, 0o700)
}

func fstatat(dir int, name string, st *unix.Stat_t) error {
	return unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW)
}

// finishDirectories sets the metadata of directories, children before parents: what is made in a directory changes its times.
func (r *restore) finishDirectories() {
	for i := len(r.made) - 1; i >= 0 && r.ctx.Err() == nil; i-- {
		d := r.made[i]
		fd, err := r.dirs.acquire(d)
		if err == nil {
			err = r.describeOpen(fd, d.node)
			r.dirs.release(d)
		}
		if err != nil {
			r.missing(d.path(), err)
		}
	}
}
