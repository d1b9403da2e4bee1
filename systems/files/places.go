package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// place is a directory above the paths that are saved: it exists in the snapshot only for what was asked for below it.
type place struct {
	name string
	// path is where the place is in the file system; "" for the root of the snapshot.
	path string
	// leaf: the path itself was asked for, with all that is below it.
	leaf     bool
	children []*place // sorted by name
}

// absolutePaths gives the absolute forms of paths, sorted, each once.
func absolutePaths(paths []string) (absolute []string, err error) {
	for _, p := range paths {
		if p == "" {
			return nil, errors.New("files: a path is empty")
		}
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, fmt.Errorf("files: %q: %w", p, err)
		}
		absolute = append(absolute, abs)
	}
	slices.Sort(absolute)
	return slices.Compact(absolute), nil
}

// newPlaces builds the tree of places for paths.
func newPlaces(paths []string) (*place, error) {
	root := &place{}
	for _, p := range paths {
		if err := root.addPath(filepath.Clean(p)); err != nil {
			return nil, err
		}
	}
	return root, nil
}

// addPath adds one clean path. "/", "." and ".." stand for what is in them.
func (r *place) addPath(p string) error {
	names := components(p)
	if len(names) > 0 {
		r.add(names, prefix(p))
		return nil
	}
	entries, err := os.ReadDir(p)
	if err != nil {
		return fmt.Errorf("files: %w", err)
	}
	for _, e := range entries {
		r.add([]string{e.Name()}, p)
	}
	return nil
}

// components are the names of a clean path, without a leading slash and without "." and "..".
func components(p string) []string {
	var names []string
	for name := range strings.SplitSeq(p, "/") {
		if name != "" && name != "." && name != ".." {
			names = append(names, name)
		}
	}
	return names
}

// prefix is the part of a clean path before its first name: "/", "", or "../..".
func prefix(p string) string {
	if p[0] == '/' {
		return "/"
	}
	up := ""
	for strings.HasPrefix(p, "../") {
		up, p = filepath.Join(up, ".."), p[3:]
	}
	return up
}

// add adds a leaf below r. Below a leaf nothing needs to be added.
func (r *place) add(names []string, path string) {
	at := r
	for _, name := range names {
		if at.leaf {
			return
		}
		path = filepath.Join(path, name)
		at = at.child(name, path)
	}
	at.leaf, at.children = true, nil
}

// child returns the place of that name, made if need be. Two paths that differ but have the same names ("a" and "../a")
// are kept apart by a number, as restic does it.
func (r *place) child(name, path string) *place {
	for n := 0; ; n++ {
		tried := name
		if n > 0 {
			tried = fmt.Sprintf("%s-%d", name, n)
		}
		i, found := slices.BinarySearchFunc(r.children, tried, func(p *place, name string) int { return strings.Compare(p.name, name) })
		if !found {
			c := &place{name: tried, path: path}
			r.children = slices.Insert(r.children, i, c)
			return c
		}
		if samePath(r.children[i].path, path) {
			return r.children[i]
		}
	}
}

func samePath(a, b string) bool {
	x, errX := filepath.Abs(a)
	y, errY := filepath.Abs(b)
	return errX == nil && errY == nil && x == y
}

func comparePlace(p *place, name string) int { return strings.Compare(p.name, name) }
