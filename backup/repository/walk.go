package repository

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// SkipDir is returned by the function given to Walk to pass over what is below a node.
var SkipDir = fs.SkipDir

// Walk calls fn for every node below a tree, a directory before what is in it, in the order of names. Paths are slash-separated and begin with a slash.
func (r *Repository) Walk(ctx context.Context, root ID, fn func(path string, n *Node) error) error {
	return r.walk(ctx, root, "/", fn)
}

func (r *Repository) walk(ctx context.Context, id ID, dir string, fn func(string, *Node) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t, err := r.LoadTree(ctx, id)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	for _, n := range t.Nodes {
		p := join(dir, n.Name)
		err := fn(p, n)
		if errors.Is(err, SkipDir) {
			continue
		}
		if err != nil {
			return err
		}
		if n.Type == TypeDir && n.Subtree != nil {
			if err := r.walk(ctx, *n.Subtree, p, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// join does not clean: a name is what it is.
func join(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}

// Lookup returns the node at a path below a tree: for "/" a directory node without a name. The error is fs.ErrNotExist if
// there is none.
func (r *Repository) Lookup(ctx context.Context, root ID, name string) (*Node, error) {
	node := &Node{Type: TypeDir, Mode: fs.ModeDir | 0o755, Subtree: &root}
	for part := range strings.SplitSeq(strings.Trim(path.Clean("/"+name), "/"), "/") {
		if part == "" {
			continue
		}
		if node.Subtree == nil {
			return nil, &fs.PathError{Op: "look up", Path: name, Err: fs.ErrNotExist}
		}
		t, err := r.LoadTree(ctx, *node.Subtree)
		if err != nil {
			return nil, fmt.Errorf("look up %s: %w", name, err)
		}
		if node = t.Find(part); node == nil {
			return nil, &fs.PathError{Op: "look up", Path: name, Err: fs.ErrNotExist}
		}
	}
	return node, nil
}
