package files

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
)

// link is a further name of a file.
type link struct {
	dir  *restoreDir
	name string
	to   *restoreFile
}

// describeOpen gives an open file or directory its owner, attributes, mode and times, in this order: a new owner takes
// away setuid and capabilities, an ACL sets bits of the mode, and every change sets a time.
func (r *restore) describeOpen(fd int, n *repository.Node) error {
	owned, err := r.own(n, func(uid, gid int) error { return unix.Fchown(fd, uid, gid) })
	errs := []error{err, setXattrs(xattrSource{fd: fd}, n.Xattrs, func(attr string, value []byte) error { return unix.Fsetxattr(fd, attr, value, 0) },
		func(attr string) error { return unix.Fremovexattr(fd, attr) })}
	if err := unix.Fchmod(fd, modeBits(n.Mode, owned)); err != nil {
		errs = append(errs, fmt.Errorf("set mode: %w", err))
	}
	if err := setTimes(fd, "", n); err != nil {
		errs = append(errs, fmt.Errorf("set times: %w", err))
	}
	return errors.Join(errs...)
}

// own sets the owner, if we may, and reports whether the file has it now.
func (r *restore) own(n *repository.Node, chown func(uid, gid int) error) (owned bool, err error) {
	if !r.isRoot {
		if int(n.UID) == unix.Geteuid() && int(n.GID) == unix.Getegid() {
			return true, nil
		}
		if !r.o.NoOwner {
			r.ownerMu.Do(func() { r.report(backup.Note, r.o.Target, errForeignOwner) })
		}
		return false, nil
	}
	if err := chown(int(n.UID), int(n.GID)); err != nil {
		return false, fmt.Errorf("set owner: %w", err)
	}
	return true, nil
}

// modeBits are the permissions. Setuid and setgid come back only together with the owner that they speak of.
func modeBits(m fs.FileMode, owned bool) uint32 {
	bits := uint32(m.Perm())
	if m&fs.ModeSticky != 0 {
		bits |= unix.S_ISVTX
	}
	if owned && m&fs.ModeSetuid != 0 {
		bits |= unix.S_ISUID
	}
	if owned && m&fs.ModeSetgid != 0 {
		bits |= unix.S_ISGID
	}
	return bits
}

// setXattrs makes the attributes what the snapshot has. Those that the file system, or the lack of root's rights, forbids are one error.
func setXattrs(s xattrSource, xattrs []repository.Xattr, set func(string, []byte) error, remove func(string) error) error {
	var reader xattrReader
	there, err := reader.read(s)
	if err != nil {
		return err
	}
	for _, x := range there {
		wanted := slices.ContainsFunc(xattrs, func(w repository.Xattr) bool { return w.Name == x.Name })
		if !wanted && ours(x.Name) {
			_ = remove(x.Name) // what was inherited and may not be removed stays
		}
	}
	var failed []string
	for _, x := range xattrs {
		if err = set(x.Name, x.Value); err != nil {
			failed = append(failed, fmt.Sprintf("%s (%v)", x.Name, err))
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("set extended attributes: %s", strings.Join(failed, ", "))
	}
	return nil
}

// ours reports whether an attribute is content that a backup keeps, and not a label that the system put there.
func ours(name string) bool {
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted.") || strings.HasPrefix(name, "system.posix_acl_") || name == "security.capability"
}

// setTimes sets the times of an open file, or of name in the directory fd, not followed.
func setTimes(fd int, name string, n *repository.Node) error {
	times := [2]unix.Timespec{timespec(n.AccessTime), timespec(n.ModTime)}
	if name != "" {
		return unix.UtimesNanoAt(fd, name, times[:], unix.AT_SYMLINK_NOFOLLOW)
	}
	// utimensat(2): without a name it is about the open file itself.
	if _, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// makeOther makes a link, a device or a pipe.
func (r *restore) makeOther(f *restoreFile) {
	keep, err := r.makeNode(f)
	switch {
	case err != nil:
		r.breakFile(f, err)
	case keep:
		r.planFile(f, Kept, 0)
	default:
		r.counts.others.Add(1)
		r.o.Progress.Done(1, 0)
		r.planFile(f, Created, 0)
	}
}

func (r *restore) makeNode(f *restoreFile) (keep bool, err error) {
	n := f.node
	dir, err := r.dirs.acquire(f.dir)
	if err != nil {
		return false, err
	}
	defer r.dirs.release(f.dir)
	var st unix.Stat_t
	if !f.dir.fresh && fstatat(dir, n.Name, &st) == nil {
		if r.keeps(n, time.Unix(st.Mtim.Sec, st.Mtim.Nsec)) {
			return true, nil
		}
		if err := removeAll(dir, n.Name); err != nil {
			return false, err
		}
	}
	switch n.Type {
	case repository.TypeSymlink:
		err = unix.Symlinkat(n.LinkTarget, dir, n.Name)
	case repository.TypeFifo:
		err = unix.Mknodat(dir, n.Name, unix.S_IFIFO|0o600, 0)
	case repository.TypeDev:
		err = unix.Mknodat(dir, n.Name, unix.S_IFBLK|0o600, int(n.Device))
	case repository.TypeCharDev:
		err = unix.Mknodat(dir, n.Name, unix.S_IFCHR|0o600, int(n.Device))
	default:
		err = fmt.Errorf("type %q is not known", n.Type)
	}
	if err != nil {
		return false, err
	}
	return false, r.describeName(dir, f)
}

// describeName is describeOpen for what is not opened.
func (r *restore) describeName(dir int, f *restoreFile) error {
	n := f.node
	owned, err := r.own(n, func(uid, gid int) error {
		return unix.Fchownat(dir, n.Name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	})
	p := path.Join("/proc/self/fd", fmt.Sprint(dir), n.Name)
	errs := []error{err, setXattrs(xattrSource{path: p}, n.Xattrs, func(attr string, value []byte) error { return unix.Lsetxattr(p, attr, value, 0) },
		func(attr string) error { return unix.Lremovexattr(p, attr) })}
	if n.Type != repository.TypeSymlink {
		errs = append(errs, unix.Fchmodat(dir, n.Name, modeBits(n.Mode, owned), 0))
	}
	return errors.Join(append(errs, setTimes(dir, n.Name, n))...)
}

// makeLinks makes the further names of files that are whole.
func (r *restore) makeLinks() {
	for _, l := range r.links {
		if r.ctx.Err() != nil {
			return
		}
		name := l.dir.join(l.name)
		if l.to.broken.Load() {
			r.missing(name, fmt.Errorf("the file that it is another name of, %s, could not be restored", l.to.path()))
			continue
		}
		if err := r.makeLink(l); err != nil {
			r.missing(name, fmt.Errorf("link to %s: %w", l.to.path(), err))
			continue
		}
		r.counts.files.Add(1)
		r.o.Progress.Done(1, 0)
		r.plan(name, Created, 0)
	}
}

func (r *restore) makeLink(l link) error {
	from, err := r.dirs.acquire(l.to.dir)
	if err != nil {
		return err
	}
	defer r.dirs.release(l.to.dir)
	to, err := r.dirs.acquire(l.dir)
	if err != nil {
		return err
	}
	defer r.dirs.release(l.dir)
	err = unix.Linkat(from, l.to.node.Name, to, l.name, 0)
	if !errors.Is(err, unix.EEXIST) || r.o.Overwrite == OverwriteNever {
		return err
	}
	if err := removeAll(to, l.name); err != nil {
		return err
	}
	return unix.Linkat(from, l.to.node.Name, to, l.name, 0)
}
