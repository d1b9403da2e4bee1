package files

import (
	"errors"
	"fmt"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files/scan"
	"github.com/trivet-ha/trivet/systems/files/state"
)

// before is what the last backup knew of a directory: a record of the state file, or a tree of the parent snapshot, or
// nothing.
type before struct {
	ref   state.Ref
	tree  repository.ID // of the record, once loaded; or of the parent
	bytes uint64        // of the record and all below it
	nodes *repository.Tree
}

// any reports whether the directory was known at all.
func (b *before) any() bool { return b.ref != 0 || !b.tree.IsZero() }

// load reads what is known of d into w.known or d.known.nodes. What cannot be read is not known.
func (w *worker) load(d *directory) error {
	w.known.Reset()
	w.loaded = d
	b := &d.known
	switch {
	case b.ref != 0:
		err := w.j.state.Load(b.ref, &w.known)
		if errors.Is(err, state.ErrDamaged) {
			*b = before{}
			w.known.Reset()
			return nil
		}
		if err != nil {
			return err
		}
		b.tree, b.bytes = w.known.Tree(), w.known.SubtreeBytes()
	case !b.tree.IsZero():
		tree, err := w.j.target.Repository.LoadTree(w.j.ctx, b.tree)
		if err != nil {
			if w.j.ctx.Err() != nil {
				return err
			}
			*b = before{} // the parent is damaged: read everything anew
			return nil
		}
		b.nodes = tree
	}
	return nil
}

// wasSame looks for an entry in what is known of its directory. seen tells whether the name was there, same whether
// it is as it was; then, for anything but a directory, the entry takes over what was saved.
func (w *worker) wasSame(d *directory, e *entry) (seen, same bool, child before) {
	if d.known.nodes != nil {
		return w.wasSameNode(d, e)
	}
	i, seen := w.known.Find(e.name)
	if !seen {
		return false, false, before{}
	}
	var was state.Entry
	w.known.Entry(i, &was)
	child.ref = was.Child
	if was.Same(&e.stat, w.j.config.IgnoreInode, w.j.config.IgnoreCtime) && !(w.j.config.ReadAll && e.stat.IsRegular()) {
		e.was = int32(i)
		return true, true, child
	}
	return true, false, child
}

// wasSameNode is wasSame for the trees of a parent snapshot, with restic's rule.
func (w *worker) wasSameNode(d *directory, e *entry) (seen, same bool, child before) {
	n := d.known.nodes.Find(e.name)
	if n == nil {
		return false, false, before{}
	}
	if e.stat.IsDir() {
		if n.Subtree != nil {
			child.tree = *n.Subtree
		}
		return true, false, child // of a directory only the way down is of use
	}
	if n.Type != nodeType(e.stat.Mode) || w.j.config.ReadAll || !w.sameNode(n, &e.stat) {
		return true, false, child
	}
	x := &state.Extra{Target: n.LinkTarget, Content: make([][32]byte, len(n.Content))}
	for i, id := range n.Content {
		x.Content[i] = id
	}
	for _, a := range n.Xattrs {
		x.Xattrs = append(x.Xattrs, state.Xattr{Name: a.Name, Value: a.Value})
	}
	if !n.ChangeTime.Equal(e.stat.Ctime.Time()) || w.j.config.NoXattrs {
		x.Xattrs = w.xattrsAt(d, e.name)
	}
	e.extra = x
	return true, true, child
}

func (w *worker) sameNode(n *repository.Node, s *scan.Stat) bool {
	return (n.Size == uint64(s.Size) || !s.IsRegular()) && n.ModTime.Equal(s.Mtime.Time()) &&
		(w.j.config.IgnoreCtime || n.ChangeTime.Equal(s.Ctime.Time())) && (w.j.config.IgnoreInode || n.Inode == s.Ino)
}

// xattrsAt reads the attributes of an entry that is not open.
func (w *worker) xattrsAt(d *directory, name string) []state.Xattr {
	if w.j.config.NoXattrs {
		return nil
	}
	path := d.childPath(name)
	if d.place == nil {
		path = fmt.Sprintf("/proc/self/fd/%d/%s", d.fd, name)
	}
	xattrs, err := w.xattrs.read(xattrSource{path: path})
	if err != nil {
		w.j.missing(d, name, err)
	}
	return xattrs
}
