package postgres

import (
	"io/fs"
	"maps"
	"slices"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
)

// dirMode is that of a data directory: PostgreSQL does not start on one that others may read.
const dirMode = fs.ModeDir | 0o700

func fsMode(mode uint32) fs.FileMode { return fs.FileMode(mode) }

// finish stores what only we know of the backup, and the directories.
func (r *receiver) finish(name string, base *Base) (backup.Saved, error) {
	defer r.session.Close()
	data := r.find(dataDir)
	owner := r.find(dataDir + "/PG_VERSION").node // the directory itself is not among what the server sends
	for _, e := range []*entry{r.root, data, r.find(tablespacesDir)} {
		if e != nil {
			e.node.UID, e.node.GID, e.node.User, e.node.Group = owner.UID, owner.GID, owner.User, owner.Group
		}
	}
	if err := r.own(dataDir+"/"+manifestFile, r.manifest, 0o600); err != nil {
		return backup.Saved{}, err
	}
	text, err := base.json()
	if err != nil {
		return backup.Saved{}, err
	}
	if err := r.own(baseFile, text, 0o600); err != nil {
		return backup.Saved{}, err
	}
	// The directories above are ours: /postgres/<name>.
	outer := newDir(data.node.ModTime)
	outer.children[name] = r.root
	r.root.node.Name = name
	top := newDir(data.node.ModTime)
	top.children["postgres"] = outer
	outer.node.Name = "postgres"
	tree := repository.NewTreeBuilder()
	id, err := r.save(tree, top)
	return backup.Saved{Tree: id, Summary: repository.Summary{
		FilesNew: uint(r.files), DirsNew: uint(r.dirs), TotalFilesProcessed: uint(r.files), TotalBytesProcessed: uint64(r.bytes),
	}}, err
}

// save stores a directory, those below it first.
func (r *receiver) save(tree *repository.TreeBuilder, dir *entry) (repository.ID, error) {
	names := slices.Sorted(maps.Keys(dir.children))
	for _, name := range names {
		e := dir.children[name]
		if e.node.Type != repository.TypeDir {
			continue
		}
		id, err := r.save(tree, e)
		if err != nil {
			return repository.ID{}, err
		}
		e.node.Subtree = &id
	}
	r.dirs++
	tree.Reset()
	for _, name := range names {
		if err := tree.Add(&dir.children[name].node); err != nil {
			return repository.ID{}, err
		}
	}
	return r.session.SaveTree(tree)
}
