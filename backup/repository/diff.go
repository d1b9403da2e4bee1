package repository

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// ChangeKind says how an entry differs between two trees. Its value is the mark that restic prints.
type ChangeKind byte

// The kinds of change.
const (
	Added       ChangeKind = '+'
	Removed     ChangeKind = '-'
	Modified    ChangeKind = 'M' // other content
	TypeChanged ChangeKind = 'T'
	MetaChanged ChangeKind = 'U' // only owner, mode, times, attributes
)

// Change is one difference. Old is nil for what was added, New for what was removed.
type Change struct {
	Kind     ChangeKind
	Path     string
	Old, New *Node
}

// Diff calls fn for every difference between two trees, in the order of paths. Subtrees with the same ID are not
// read. All that is below an added or removed directory is reported, too.
func (r *Repository) Diff(ctx context.Context, a, b ID, fn func(Change) error) error {
	if err := r.diffTrees(ctx, "/", a, b, fn); err != nil {
		return fmt.Errorf("diff: %w", err)
	}
	return nil
}

func (r *Repository) diffTrees(ctx context.Context, dir string, a, b ID, fn func(Change) error) error {
	if a == b {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	x, err := r.loadOrEmpty(ctx, a)
	if err != nil {
		return err
	}
	y, err := r.loadOrEmpty(ctx, b)
	if err != nil {
		return err
	}
	i, k := 0, 0
	for i < len(x.Nodes) || k < len(y.Nodes) {
		var old, new *Node
		switch order := compareHeads(x.Nodes[i:], y.Nodes[k:]); {
		case order < 0:
			old = x.Nodes[i]
			i++
		case order > 0:
			new = y.Nodes[k]
			k++
		default:
			old, new = x.Nodes[i], y.Nodes[k]
			i, k = i+1, k+1
		}
		if err := r.diffNodes(ctx, dir, old, new, fn); err != nil {
			return err
		}
	}
	return nil
}

// loadOrEmpty takes the zero ID for a directory that is not there.
func (r *Repository) loadOrEmpty(ctx context.Context, id ID) (*Tree, error) {
	if id.IsZero() {
		return &Tree{}, nil
	}
	return r.LoadTree(ctx, id)
}

func compareHeads(a, b []*Node) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return cmp.Compare(a[0].Name, b[0].Name)
}

func (r *Repository) diffNodes(ctx context.Context, dir string, old, new *Node, fn func(Change) error) error {
	kind := changeOf(old, new)
	named := new
	if named == nil {
		named = old
	}
	path := join(dir, named.Name)
	if kind != 0 {
		if err := fn(Change{kind, path, old, new}); err != nil {
			return err
		}
	}
	return r.diffTrees(ctx, path, subtree(old), subtree(new), fn)
}

func subtree(n *Node) ID {
	if n == nil || n.Subtree == nil {
		return ID{}
	}
	return *n.Subtree
}

func changeOf(old, new *Node) ChangeKind {
	switch {
	case old == nil:
		return Added
	case new == nil:
		return Removed
	case old.Type != new.Type:
		return TypeChanged
	case !slices.Equal(old.Content, new.Content) || old.LinkTarget != new.LinkTarget || old.Device != new.Device:
		return Modified
	case !sameMeta(old, new):
		return MetaChanged
	}
	return 0
}

// sameMeta leaves out what a restore does not bring back: the inode, the times of access and change, the number of links.
func sameMeta(a, b *Node) bool {
	return a.Mode == b.Mode && a.ModTime.Equal(b.ModTime) && a.UID == b.UID && a.GID == b.GID && a.User == b.User && a.Group == b.Group &&
		slices.EqualFunc(a.Xattrs, b.Xattrs, func(x, y Xattr) bool { return x.Name == y.Name && bytes.Equal(x.Value, y.Value) }) &&
		maps.EqualFunc(a.GenericAttributes, b.GenericAttributes, func(x, y json.RawMessage) bool { return bytes.Equal(x, y) })
}
