package files

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files/pattern"
	"github.com/trivet-ha/trivet/systems/files/scan"
)

const (
	// windowBlobs and windowBytes bound what is planned at once: the memory of a restore does not grow with the
	// snapshot, and still almost every pack is read once, because packs were filled in the order of the walk.
	windowBlobs = 1 << 16
	windowBytes = 4 << 30
)

// window is a part of the files to restore.
type window struct {
	files []*restoreFile
	blobs int
	bytes int64
}

// walkAndFill walks the snapshot, making directories and everything without content, while the files of the
// last window are being filled.
func (r *restore) walkAndFill(root repository.ID) error {
	windows := make(chan *window, 1)
	var filler sync.WaitGroup
	filler.Go(func() {
		for w := range windows {
			if err := r.fill(w); err != nil {
				r.cancel(err)
			}
		}
	})
	w := walker{r: r, out: windows, window: &window{}}
	w.enter, w.visit = w.makeDirectory, w.restoreEntry
	err := w.dir(r.top(), root)
	if err == nil {
		err = w.flush()
	}
	close(windows)
	filler.Wait()
	return err
}

func placesOf(lists []*pattern.List) (places []pattern.Place) {
	for _, l := range lists {
		places = append(places, l.Root())
	}
	return places
}

// top is the target directory.
func (r *restore) top() *restoreDir {
	return &restoreDir{made: true, include: placesOf(r.o.Include), exclude: placesOf(r.o.Exclude), taken: len(r.o.Include) == 0}
}

// walker goes through what is selected of the snapshot's trees.
type walker struct {
	r *restore
	// enter is called for each directory, before what is in it; it is passed over if enter returns false.
	enter func(d *restoreDir) bool
	// visit is called for everything else.
	visit func(d *restoreDir, n *repository.Node) error

	out    chan<- *window
	window *window
}

func (w *walker) dir(d *restoreDir, id repository.ID) error {
	if err := context.Cause(w.r.ctx); err != nil {
		return err
	}
	tree, err := w.r.repo.LoadTree(w.r.ctx, id)
	if err != nil {
		if w.r.ctx.Err() == nil {
			w.r.missing(d.path(), err)
		}
		return nil
	}
	for _, n := range tree.Nodes {
		if err := w.node(d, n); err != nil {
			return err
		}
	}
	if w.r.o.Delete && w.out != nil {
		w.r.deleteOthers(d, tree)
	}
	return nil
}

// node restores one entry, or goes into it.
func (w *walker) node(d *restoreDir, n *repository.Node) error {
	if !validName(n.Name) {
		w.r.missing(d.join(fmt.Sprintf("%q", n.Name)), errBadName)
		return nil
	}
	isDir := n.Type == repository.TypeDir
	if slices.ContainsFunc(d.exclude, func(p pattern.Place) bool { return p.Chosen(n.Name, isDir) }) {
		return nil
	}
	taken := d.taken || slices.ContainsFunc(d.include, func(p pattern.Place) bool { return p.Chosen(n.Name, isDir) })
	if isDir {
		return w.subdir(d, n, taken)
	}
	if !taken {
		return nil
	}
	return w.visit(d, n)
}

func (w *walker) subdir(d *restoreDir, n *repository.Node, taken bool) error {
	sub := &restoreDir{parent: d, name: n.Name, node: n, taken: taken, include: enterAll(d.include, n.Name), exclude: enterAll(d.exclude, n.Name)}
	if !taken && !slices.ContainsFunc(sub.include, pattern.Place.MayHold) {
		return nil
	}
	if taken && !w.enter(sub) {
		return nil
	}
	if n.Subtree == nil {
		w.r.missing(sub.path(), errors.New("the snapshot lost what was in this directory"))
		return nil
	}
	return w.dir(sub, *n.Subtree)
}

// makeDirectory makes a directory that is selected by itself. One that only leads to something selected is made with that.
func (w *walker) makeDirectory(d *restoreDir) bool {
	if w.r.o.DryRun {
		w.r.counts.directories.Add(1)
		return true
	}
	if err := w.r.ensure(d); err != nil {
		w.r.missing(d.path(), err)
		return false
	}
	return true
}

// restoreEntry restores what is no directory: at once, or, for content, by adding it to the window.
func (w *walker) restoreEntry(d *restoreDir, n *repository.Node) error {
	r := w.r
	if r.o.DryRun {
		r.pretend(d, n)
		return nil
	}
	if err := r.ensure(d); err != nil {
		r.missing(d.join(n.Name), err)
		return nil
	}
	f := &restoreFile{dir: d, node: n, fd: -1}
	if n.Links > 1 {
		key := inode{n.Inode, n.DeviceID}
		if first, ok := r.first[key]; ok && n.Inode != 0 {
			r.links = append(r.links, link{dir: d, name: n.Name, to: first})
			return nil
		}
		r.first[key] = f
	}
	switch n.Type {
	case repository.TypeFile:
		w.window.files = append(w.window.files, f)
		w.window.blobs += len(n.Content)
		w.window.bytes += int64(n.Size)
		if w.window.blobs >= windowBlobs || w.window.bytes >= windowBytes || len(w.window.files) >= windowBlobs {
			return w.flush()
		}
	case repository.TypeSocket:
	default:
		r.makeOther(f)
	}
	return nil
}

// flush hands the window over. It waits if the one before is still being filled.
func (w *walker) flush() error {
	if len(w.window.files) == 0 {
		return nil
	}
	select {
	case w.out <- w.window:
	case <-w.r.ctx.Done():
		return context.Cause(w.r.ctx)
	}
	w.window = &window{}
	return nil
}

// pretend counts, in a dry run, what would be done for an entry.
func (r *restore) pretend(d *restoreDir, n *repository.Node) {
	name := d.join(n.Name)
	if n.Type != repository.TypeFile {
		r.counts.others.Add(1)
		r.plan(name, Created, 0)
		return
	}
	r.counts.files.Add(1)
	r.counts.bytes.Add(int64(n.Size))
	var s scan.Stat
	there := scan.Path(path.Join(r.o.Target, name), false, &s) == nil && s.IsRegular() // only looked at: a link on the way does no harm
	switch {
	case !there:
		r.counts.written.Add(int64(n.Size))
		r.plan(name, Created, int64(n.Size))
	case r.keeps(n, s.Mtime.Time()):
		r.plan(name, Kept, 0)
	case s.Size == int64(n.Size) && s.Mtime.Time().Equal(n.ModTime):
		r.plan(name, Unchanged, 0)
	default:
		r.counts.written.Add(int64(n.Size))
		r.plan(name, Updated, int64(n.Size))
	}
}

// keeps reports whether the rule of Overwrite leaves alone a file that is there.
func (r *restore) keeps(n *repository.Node, mtime time.Time) bool {
	return r.o.Overwrite == OverwriteNever || r.o.Overwrite == OverwriteIfNewer && !mtime.Before(n.ModTime)
}

// deleteOthers removes what is in a directory and not in the snapshot's.
func (r *restore) deleteOthers(d *restoreDir, tree *repository.Tree) {
	if d.fresh || !d.made && !r.o.DryRun {
		return
	}
	fd, err := r.openAgain(d)
	if err != nil {
		if !r.o.DryRun || !errors.Is(err, unix.ENOENT) {
			r.missing(d.path(), err)
		}
		return
	}
	defer unix.Close(fd)
	var reader scan.Reader
	names, err := reader.Names(fd)
	if err != nil {
		r.missing(d.path(), err)
		return
	}
	for _, name := range names {
		if tree.Find(name) != nil || !d.mayDelete(name) {
			continue
		}
		p := d.join(name)
		if !r.o.DryRun {
			if err := removeAll(fd, name); err != nil {
				r.missing(p, fmt.Errorf("delete: %w", err))
				continue
			}
		}
		r.plan(p, Deleted, 0)
	}
}

// openAgain opens a directory anew, with a place of its own in the listing.
func (r *restore) openAgain(d *restoreDir) (int, error) {
	if r.dirs.target < 0 {
		return -1, unix.ENOENT
	}
	fd, err := r.dirs.acquire(d)
	if err != nil {
		return -1, err
	}
	defer r.dirs.release(d)
	return unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// mayDelete reports whether a name is within what is restored.
func (d *restoreDir) mayDelete(name string) bool {
	chosen := func(p pattern.Place) bool { return p.Chosen(name, false) || p.Chosen(name, true) }
	return !slices.ContainsFunc(d.exclude, chosen) && (d.taken || slices.ContainsFunc(d.include, chosen))
}

// removeAll removes an entry with all below it, following no link.
func removeAll(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	fd, oerr := openBeneath(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if oerr != nil {
		return err
	}
	var reader scan.Reader
	names, err := reader.Names(fd)
	for _, n := range names {
		if err == nil {
			err = removeAll(fd, n)
		}
	}
	unix.Close(fd)
	if err != nil {
		return err
	}
	return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
}
