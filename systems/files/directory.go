package files

import (
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files/scan"
	"github.com/trivet-ha/trivet/systems/files/state"
)

// directory is a directory being saved. One worker scans it, several may read its files, and the one that finishes the last
// of what is in it makes its tree.
type directory struct {
	parent *directory
	slot   int // its entry in the parent
	name   string
	// place is set for a directory above the paths asked for: it has no open file, and its entries have paths.
	place *place

	fd    int          // open until nothing needs it
	users atomic.Int32 // of fd: entries that are not opened yet
	dev   uint64
	start uint64 // the device of the path asked for
	rules rules

	entries []entry
	toRead  []int32 // positions of the files that must be read

	// What the last backup knew.
	known   before
	changed atomic.Bool // something here or below is not as it was
	pending atomic.Int32

	// The outcome.
	tree  repository.ID
	ref   state.Ref
	bytes uint64 // of the state's records here and below
}

// entry is one name in a directory.
type entry struct {
	name  string
	stat  scan.Stat
	extra *state.Extra // nil if it is as it was: known has it
	sub   *directory   // of a directory, once it is being saved
	was   int32        // its position in known; -1 if it is new
	flags state.Flags
	gone  bool // vanished, or could not be read: not in the tree
}

// path is where the directory is, for people and for patterns.
func (d *directory) path() string {
	var names []string
	for d.place == nil {
		names = append(names, d.name)
		d = d.parent
	}
	if len(names) == 0 {
		return d.place.path
	}
	names[len(names)-1] = d.childPath(names[len(names)-1]) // below a place: the path that was asked for
	slices.Reverse(names)
	return strings.Join(names, "/")
}

func (d *directory) childPath(name string) string {
	if d.place != nil {
		for _, c := range d.place.children {
			if c.name == name {
				return c.path
			}
		}
	}
	return path.Join(d.path(), name)
}

// at gives the arguments for a system call on an entry: the directory's file and the name, or a path.
func (d *directory) at(name string) (int, string) {
	if d.place != nil {
		return unix.AT_FDCWD, d.childPath(name)
	}
	return d.fd, name
}
