package files

import (
	"fmt"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files/state"
)

// settle says that one of the things that d waited for is done. Whoever does the last of them finishes the directory,
// and with it, maybe, its parent.
func (w *worker) settle(d *directory) error {
	for d != nil && d.pending.Add(-1) == 0 {
		if err := w.finish(d); err != nil {
			return err
		}
		d = d.parent
	}
	return nil
}

// finish gives a directory its tree. All below it have theirs.
func (w *worker) finish(d *directory) error {
	counts := &w.j.counts
	if !d.changed.Load() {
		// Not one entry differs, and no subdirectory does: the record is good as it is.
		d.tree, d.ref, d.bytes = d.known.tree, d.known.ref, d.known.bytes
		counts.dirsUnmodified.Add(1)
		d.entries, d.toRead = nil, nil
		return nil
	}
	if d.known.any() {
		counts.dirsChanged.Add(1)
	} else {
		counts.dirsNew.Add(1)
	}
	if err := w.build(d); err != nil {
		return err
	}
	d.entries, d.toRead = nil, nil
	if d.parent != nil {
		d.parent.changed.Store(true)
	}
	return nil
}

// build writes the tree, and the record of it.
func (w *worker) build(d *directory) error {
	if d.known.ref != 0 && w.loaded != d {
		if err := w.load(d); err != nil {
			return err
		}
	}
	w.tree.Reset()
	w.record.Reset(d.dev)
	var node repository.Node
	for i := range d.entries {
		e := &d.entries[i]
		if e.gone {
			continue
		}
		if err := w.addEntry(d, e, &node); err != nil {
			return err
		}
	}
	id, err := w.session.SaveTree(w.tree)
	if err != nil {
		return fmt.Errorf("save directory %s: %w", d.path(), err)
	}
	w.record.SetTree(id)
	d.tree, d.bytes = id, w.record.SubtreeBytes()
	d.ref, err = w.j.state.Append(&w.record)
	if err != nil {
		w.j.stateFailed(err)
	}
	return nil
}

func (w *worker) addEntry(d *directory, e *entry, node *repository.Node) error {
	x := e.extra
	if x == nil {
		old, err := w.oldExtra(e)
		if err != nil {
			return err
		}
		x = &old
	}
	w.names.describe(node, e.name, &e.stat, x)
	if w.j.config.WithAtime {
		w.atime(d, e, node)
	}
	flags := e.flags &^ wasSeen
	if e.sub == nil {
		w.record.Add(e.name, &e.stat, flags, x)
		return w.tree.Add(node)
	}
	node.Subtree = &e.sub.tree
	if e.sub.ref == 0 {
		flags |= state.Uncertain // there is no record below: look again next time
	}
	w.record.AddDir(e.name, &e.stat, flags, x, e.sub.ref, e.sub.bytes)
	return w.tree.Add(node)
}

// oldExtra is what was known of an entry that is as it was.
func (w *worker) oldExtra(e *entry) (state.Extra, error) {
	if e.was < 0 || int(e.was) >= w.known.Len() || string(w.known.Name(int(e.was))) != e.name {
		// The record was whole when the directory was scanned, and is not now: another program writes to
		// our state. Nothing of it can be trusted.
		return state.Extra{}, fmt.Errorf("save %s: the state of the last backup changed while it was in use; run the backup again", e.name)
	}
	return state.DecodeExtra(w.known.RawExtra(int(e.was)))
}
