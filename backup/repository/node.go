package repository

import (
	"encoding/json"
	"io/fs"
	"time"
)

// NodeType is what kind of thing a Node describes.
type NodeType string

// The node types of the format.
const (
	TypeFile    NodeType = "file"
	TypeDir     NodeType = "dir"
	TypeSymlink NodeType = "symlink"
	TypeDev     NodeType = "dev"
	TypeCharDev NodeType = "chardev"
	TypeFifo    NodeType = "fifo"
	TypeSocket  NodeType = "socket"
)

// Xattr is one extended attribute; POSIX ACLs and file capabilities are such.
type Xattr struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

// Node is one entry of a directory. The field order is that of the JSON which restic writes.
type Node struct {
	Name       string // raw bytes, need not be UTF-8
	Type       NodeType
	Mode       fs.FileMode // Go's bits: fs.ModeDir, fs.ModeSetuid, …
	ModTime    time.Time
	AccessTime time.Time
	ChangeTime time.Time
	UID        uint32
	GID        uint32
	User       string
	Group      string
	Inode      uint64
	DeviceID   uint64 // st_dev; only for files with several links
	Size       uint64 // bytes
	Links      uint64
	LinkTarget string // of a symlink; raw bytes, need not be UTF-8
	Xattrs     []Xattr
	// GenericAttributes are attributes of other systems (Windows), kept as they are.
	GenericAttributes map[string]json.RawMessage
	Device            uint64 // st_rdev of a device
	Content           []ID   // the file's data blobs, in order
	Subtree           *ID    // the directory's tree blob
	Error             string // what went wrong while it was read
}

// Tree is one directory: its nodes in strictly ascending order of their raw names.
type Tree struct {
	Nodes []*Node
}
