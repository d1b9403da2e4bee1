package files

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/systems/files/scan"
	"github.com/trivet-ha/trivet/systems/files/state"
)

const (
	// batchFiles and batchBytes bound what a worker reads as one task: enough to make taking a task cheap, little
	// enough that other workers get their share.
	batchFiles = 32
	batchBytes = 2 << 20
)

// ErrSocket is the reason why a socket is not in a snapshot.
var ErrSocket = errors.New("is a socket, which is not saved: its owner makes it anew")

func (j *job) missing(d *directory, name string, err error) {
	j.report(backup.Missing, d.childPath(name), err)
}

// visit scans a directory, and pushes what is to be done for it.
func (w *worker) visit(d *directory) error {
	if d.place != nil {
		return w.visitPlace(d)
	}
	err := w.openDirectory(d)
	w.j.release(d.parent)
	if err != nil {
		return w.lose(d, err)
	}
	names, err := w.listNames(d)
	if err != nil {
		w.j.release(d)
		return w.lose(d, err)
	}
	if err := w.load(d); err != nil {
		return err
	}
	w.look(d, names)
	return w.follow(d)
}

// visitPlace does the same for a directory above the paths asked for.
func (w *worker) visitPlace(d *directory) error {
	d.users.Store(1)
	if d.parent != nil {
		if err := w.describePlace(d); err != nil {
			return w.lose(d, err)
		}
	}
	if err := w.load(d); err != nil {
		return err
	}
	names := make([]string, len(d.place.children))
	for i, c := range d.place.children {
		names[i] = c.name
	}
	w.look(d, names)
	if d.parent == nil && len(d.entries) == 0 {
		return nil // nothing of what was asked for is there
	}
	return w.follow(d)
}

func (w *worker) describePlace(d *directory) error {
	fd, err := unix.Open(d.place.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	e := &d.parent.entries[d.slot]
	if errors.Is(err, unix.EACCES) { // it may be passed through, but not be read
		e.extra = &state.Extra{}
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return w.describeDirectory(d, fd)
}

// openDirectory opens d relative to its parent, and takes its metadata from the open file.
func (w *worker) openDirectory(d *directory) error {
	dir, name := d.parent.at(d.name)
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := openQuietly(dir, name, flags)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if err := w.describeDirectory(d, fd); err != nil {
		unix.Close(fd)
		return err
	}
	d.fd = fd
	d.users.Store(1)
	w.j.opened(d)
	d.dev = d.parent.entries[d.slot].stat.Dev
	if d.start == 0 {
		d.start = d.dev
	}
	return nil
}

// openQuietly opens without a new time of access, where that is allowed.
func openQuietly(dir int, name string, flags int) (int, error) {
	for _, extra := range []int{unix.O_NOATIME, 0} {
		for {
			fd, err := unix.Openat(dir, name, flags|extra, 0)
			if err == unix.EINTR {
				continue
			}
			if err == unix.EPERM && extra != 0 {
				break // the file belongs to another user
			}
			return fd, err
		}
	}
	return -1, unix.EPERM
}

// describeDirectory takes stat and attributes of the open directory into its entry.
func (w *worker) describeDirectory(d *directory, fd int) error {
	e := &d.parent.entries[d.slot]
	var s scan.Stat
	if err := scan.FD(fd, &s); err != nil {
		return err
	}
	if !s.IsDir() {
		return unix.ENOTDIR
	}
	if s != e.stat || e.was < 0 {
		e.stat, e.was = s, -1
		d.parent.changed.Store(true)
		e.extra = &state.Extra{}
		if !w.j.config.NoXattrs {
			xattrs, err := w.xattrs.read(xattrSource{fd: fd})
			if err != nil {
				w.j.missing(d.parent, d.name, err)
			}
			e.extra.Xattrs = xattrs
		}
	}
	return nil
}

// lose leaves a directory out that cannot be read.
func (w *worker) lose(d *directory, err error) error {
	if d.parent == nil {
		return err
	}
	d.parent.entries[d.slot].gone = true
	d.parent.changed.Store(true)
	if !errors.Is(err, fs.ErrNotExist) || d.parent.place != nil {
		w.j.missing(d.parent, d.name, err)
	}
	return w.settle(d.parent)
}

// listNames lists what of the directory may be saved.
func (w *worker) listNames(d *directory) ([]string, error) {
	if w.j.config.Skip.OneFileSystem && d.dev != d.start {
		return nil, nil // another file system is mounted here
	}
	names, err := w.scan.Names(d.fd)
	if err != nil {
		return nil, err
	}
	skip := &w.j.config.Skip
	if tag, ok := tagged(d.fd, names, skip.Tagged); ok {
		return []string{tag}, nil
	}
	if d.rules, err = d.rules.withIgnoreFiles(d.fd, names, skip.IgnoreFiles); err != nil {
		w.j.report(backup.Note, d.path(), fmt.Errorf("an ignore file is not used: %w", err))
	}
	return slices.DeleteFunc(names, d.rules.excludesName), nil
}

// look stats every name and compares it with what is known.
func (w *worker) look(d *directory, names []string) {
	d.entries = make([]entry, 0, len(names))
	kept := 0 // entries that were known
	for _, name := range names {
		e := entry{name: name, was: -1}
		err := w.stat(d, &e)
		if errors.Is(err, fs.ErrNotExist) && d.place == nil {
			continue // it vanished since it was listed
		}
		if err != nil {
			w.j.missing(d, name, err)
			continue
		}
		if w.skips(d, &e) {
			continue
		}
		d.entries = append(d.entries, e)
		if w.compare(d, int32(len(d.entries)-1)) {
			kept++
		}
	}
	if d.known.ref == 0 || kept != len(d.entries) || kept != w.known.Len() || w.known.Dev() != d.dev {
		d.changed.Store(true)
	}
	d.known.nodes = nil // what is worth it was taken over
}

func (w *worker) stat(d *directory, e *entry) error {
	if d.place == nil {
		return w.scan.At(d.fd, e.name, &e.stat)
	}
	i, _ := slices.BinarySearchFunc(d.place.children, e.name, comparePlace)
	c := d.place.children[i]
	if err := scan.Path(c.path, !c.leaf, &e.stat); err != nil {
		return err
	}
	if !c.leaf && !e.stat.IsDir() {
		return unix.ENOTDIR
	}
	return nil
}

// skips reports whether the entry is left out by a rule that needs its stat.
func (w *worker) skips(d *directory, e *entry) bool {
	if d.place != nil {
		return false
	}
	if e.stat.Mode&unix.S_IFMT == unix.S_IFSOCK {
		w.j.report(backup.Note, d.childPath(e.name), ErrSocket)
		return true
	}
	limit := w.j.config.Skip.LargerThan
	if limit > 0 && e.stat.IsRegular() && e.stat.Size > limit {
		return true
	}
	return d.rules.excludes(e.name, e.stat.IsDir())
}

// compare decides what has to be done for an entry, and reports whether it is as it was.
func (w *worker) compare(d *directory, i int32) bool {
	e := &d.entries[i]
	seen, same, child := w.wasSame(d, e)
	switch {
	case e.stat.IsDir():
		e.sub = &directory{parent: d, slot: int(i), name: e.name, fd: -1, start: d.start, known: child}
		w.descend(d, e.sub)
		return same && e.was >= 0
	case e.stat.IsRegular():
		if !same {
			d.toRead = append(d.toRead, i)
			if seen {
				e.flags |= wasSeen
			}
			return false
		}
		w.j.counts.file(true, true, e.stat.Size)
		w.j.target.Progress.Done(1, e.stat.Size)
	default:
		w.j.counts.file(seen, same, 0)
		if !same {
			w.describeOther(d, e)
		}
	}
	return same
}

// wasSeen marks, while it is read, a file that the last backup knew with other content. It is never stored.
const wasSeen state.Flags = 1 << 31

// descend gives a subdirectory its rules, and its place if it is one.
func (w *worker) descend(d, sub *directory) {
	if d.place == nil {
		sub.rules = d.rules.enter(sub.name)
		return
	}
	i, _ := slices.BinarySearchFunc(d.place.children, sub.name, comparePlace)
	c := d.place.children[i]
	if !c.leaf {
		sub.place = c
		return
	}
	abs, err := filepath.Abs(c.path)
	if err != nil {
		abs = c.path
	}
	sub.rules = rootRules(w.j.config.Skip.Patterns).descend(abs)
}

// describeOther reads what makes up a link, a device or a pipe.
func (w *worker) describeOther(d *directory, e *entry) {
	e.extra = &state.Extra{}
	if e.stat.IsSymlink() {
		dir, name := d.at(e.name)
		target, err := readlink(dir, name)
		if err != nil {
			e.gone = true
			if !errors.Is(err, fs.ErrNotExist) {
				w.j.missing(d, e.name, fmt.Errorf("read link: %w", err))
			}
			return
		}
		e.extra.Target = target
	}
	e.extra.Xattrs = w.xattrsAt(d, e.name)
}

func readlink(dir int, name string) (string, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

// follow pushes the tasks for subdirectories and files, and lets go of the directory if there are none.
func (w *worker) follow(d *directory) error {
	var tasks []task
	for i := range slices.Backward(d.entries) {
		if sub := d.entries[i].sub; sub != nil {
			tasks = append(tasks, task{dir: sub, kind: visitDirectory})
			sub.pending.Store(1)
		}
	}
	tasks = append(tasks, w.batches(d)...)
	d.pending.Add(int32(len(tasks)))
	d.users.Add(int32(len(tasks)))
	if len(tasks) > 0 {
		w.j.stack.push(tasks...)
	}
	w.j.release(d)
	return w.settle(d)
}

// batches cuts the files to be read into tasks. The first is the last in the list: it is taken first.
func (w *worker) batches(d *directory) []task {
	var tasks []task
	from, bytes := 0, int64(0)
	for k := range d.toRead {
		bytes += d.entries[d.toRead[k]].stat.Size
		if k+1-from >= batchFiles || bytes >= batchBytes || k+1 == len(d.toRead) {
			tasks = append(tasks, task{dir: d, kind: readFiles, from: int32(from), to: int32(k + 1)})
			from, bytes = k+1, 0
		}
	}
	slices.Reverse(tasks)
	return tasks
}
