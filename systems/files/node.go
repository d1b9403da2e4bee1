package files

import (
	"os/user"
	"strconv"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files/scan"
	"github.com/trivet-ha/trivet/systems/files/state"
	"golang.org/x/sys/unix"
)

// names remembers the names of users and groups. It is for one goroutine.
type names struct {
	users, groups map[uint32]string
}

func newNames() *names {
	return &names{users: make(map[uint32]string), groups: make(map[uint32]string)}
}

func (n *names) user(id uint32) string {
	name, ok := n.users[id]
	if !ok {
		if u, err := user.LookupId(strconv.FormatUint(uint64(id), 10)); err == nil {
			name = u.Username
		}
		n.users[id] = name
	}
	return name
}

func (n *names) group(id uint32) string {
	name, ok := n.groups[id]
	if !ok {
		if g, err := user.LookupGroupId(strconv.FormatUint(uint64(id), 10)); err == nil {
			name = g.Name
		}
		n.groups[id] = name
	}
	return name
}

// describe fills n with what stat and extra say: the same fields, in the same cases, as restic.
func (n *names) describe(node *repository.Node, name string, s *scan.Stat, x *state.Extra) {
	*node = repository.Node{
		Name: name, Type: nodeType(s.Mode), Mode: s.FileMode(),
		ModTime: s.Mtime.Time(), ChangeTime: s.Ctime.Time(),
		UID: s.UID, GID: s.GID, User: n.user(s.UID), Group: n.group(s.GID), Inode: s.Ino,
	}
	node.AccessTime = node.ModTime
	if !s.IsDir() {
		node.Links = uint64(s.Links)
		if s.Links > 1 {
			node.DeviceID = s.Dev
		}
	}
	switch node.Type {
	case repository.TypeFile:
		node.Size = uint64(s.Size)
		node.Content = make([]repository.ID, len(x.Content))
		for i, id := range x.Content {
			node.Content[i] = id
		}
	case repository.TypeSymlink:
		node.LinkTarget = x.Target
	case repository.TypeDev, repository.TypeCharDev:
		node.Device = s.Rdev
	}
	for _, a := range x.Xattrs {
		node.Xattrs = append(node.Xattrs, repository.Xattr{Name: a.Name, Value: a.Value})
	}
}

func nodeType(mode uint32) repository.NodeType {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return repository.TypeFile
	case unix.S_IFDIR:
		return repository.TypeDir
	case unix.S_IFLNK:
		return repository.TypeSymlink
	case unix.S_IFBLK:
		return repository.TypeDev
	case unix.S_IFCHR:
		return repository.TypeCharDev
	case unix.S_IFIFO:
		return repository.TypeFifo
	}
	return repository.TypeSocket
}
