package repository

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"
)

// FindOptions select nodes. An empty field selects all; all fields must match.
type FindOptions struct {
	// Patterns are globs (path.Match). One without a slash is matched against the name, one with a slash against
	// the whole path.
	Patterns   []string
	IgnoreCase bool
	Types      []NodeType
	Newer      time.Time // modified after
	Older      time.Time // modified before
	MinBytes   uint64
	MaxBytes   uint64
	// Blobs selects the files and directories that are made of any of these blobs.
	Blobs []ID
}

// Found is one match.
type Found struct {
	Snapshot *Snapshot
	Path     string
	Node     *Node
}

// Find looks in the snapshots given for nodes that match, and calls fn for each. Where several snapshots share a
// directory at the same path it is read once.
func (r *Repository) Find(ctx context.Context, snapshots []*Snapshot, o FindOptions, fn func(Found) error) error {
	m, err := newMatcher(o)
	if err != nil {
		return fmt.Errorf("find: %w", err)
	}
	f := &finder{r: r, m: m, seen: make(map[finderKey][]match)}
	for _, s := range snapshots {
		matches, err := f.dir(ctx, *s.Tree, "/")
		if err != nil {
			return fmt.Errorf("find: snapshot %s: %w", s.id.Short(), err)
		}
		for _, found := range matches {
			if err := fn(Found{s, found.path, found.node}); err != nil {
				return err
			}
		}
	}
	return nil
}

type match struct {
	path string
	node *Node
}

type finderKey struct {
	tree ID
	path string
}

type finder struct {
	r    *Repository
	m    *matcher
	seen map[finderKey][]match // what was found below a directory
}

func (f *finder) dir(ctx context.Context, id ID, dir string) ([]match, error) {
	key := finderKey{id, dir}
	if found, ok := f.seen[key]; ok {
		return found, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t, err := f.r.LoadTree(ctx, id)
	if err != nil {
		return nil, err
	}
	var found []match
	for _, n := range t.Nodes {
		p := join(dir, n.Name)
		if f.m.match(p, n) {
			found = append(found, match{p, n})
		}
		if n.Subtree == nil {
			continue
		}
		below, err := f.dir(ctx, *n.Subtree, p)
		if err != nil {
			return nil, err
		}
		found = append(found, below...)
	}
	f.seen[key] = found
	return found, nil
}

type matcher struct {
	o     FindOptions
	blobs map[ID]struct{}
	types map[NodeType]struct{}
}

func newMatcher(o FindOptions) (*matcher, error) {
	m := &matcher{o: o, blobs: make(map[ID]struct{}), types: make(map[NodeType]struct{})}
	m.o.Patterns = nil
	for _, p := range o.Patterns {
		if o.IgnoreCase {
			p = strings.ToLower(p)
		}
		if _, err := path.Match(p, ""); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", p, err)
		}
		m.o.Patterns = append(m.o.Patterns, p)
	}
	for _, id := range o.Blobs {
		m.blobs[id] = struct{}{}
	}
	for _, t := range o.Types {
		m.types[t] = struct{}{}
	}
	return m, nil
}

func (m *matcher) match(p string, n *Node) bool {
	if _, ok := m.types[n.Type]; len(m.types) > 0 && !ok {
		return false
	}
	if !m.o.Newer.IsZero() && !n.ModTime.After(m.o.Newer) || !m.o.Older.IsZero() && !n.ModTime.Before(m.o.Older) {
		return false
	}
	if n.Size < m.o.MinBytes || (m.o.MaxBytes > 0 && n.Size > m.o.MaxBytes) {
		return false
	}
	return m.matchName(p, n.Name) && m.matchBlobs(n)
}

func (m *matcher) matchName(p, name string) bool {
	if len(m.o.Patterns) == 0 {
		return true
	}
	if m.o.IgnoreCase {
		p, name = strings.ToLower(p), strings.ToLower(name)
	}
	for _, pattern := range m.o.Patterns {
		subject := name
		if strings.Contains(pattern, "/") {
			subject = p
		}
		if ok, _ := path.Match(pattern, subject); ok {
			return true
		}
	}
	return false
}

func (m *matcher) matchBlobs(n *Node) bool {
	if len(m.blobs) == 0 {
		return true
	}
	if n.Subtree != nil {
		if _, ok := m.blobs[*n.Subtree]; ok {
			return true
		}
	}
	for _, id := range n.Content {
		if _, ok := m.blobs[id]; ok {
			return true
		}
	}
	return false
}
