package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
)

// Stream saves what a reader yields as one file: the output of a program that dumps a database, say. It implements
// backup.Source. It can be saved once.
type Stream struct {
	name   string
	reader io.Reader
}

var _ backup.Source = (*Stream)(nil)

// NewStream names the file; the name may have directories. A reader that fails makes the backup fail: no snapshot
// has half a stream.
func NewStream(name string, r io.Reader) (*Stream, error) {
	name = path.Join("/", name)
	if name == "/" || strings.ContainsRune(name, 0) {
		return nil, fmt.Errorf("files: %q cannot name a stream", name)
	}
	return &Stream{name: name, reader: r}, nil
}

// Paths is the name, absolute.
func (s *Stream) Paths() []string { return []string{s.name} }

// Save reads up to the end.
func (s *Stream) Save(ctx context.Context, t backup.Target) (backup.Saved, error) {
	if s.reader == nil {
		return backup.Saved{}, errors.New("files: the stream was read already")
	}
	session := t.Writer.Session()
	defer session.Close()
	counted := &countingReader{ctx: ctx, r: s.reader, progress: t.Progress}
	s.reader = nil
	ids, n, err := session.SaveReader(counted, nil)
	if err != nil {
		return backup.Saved{}, fmt.Errorf("save %s: %w", s.name, err)
	}
	t.Progress.Done(1, 0)
	now := time.Now()
	names := newNames()
	node := repository.Node{
		Type: repository.TypeFile, Mode: 0o644, ModTime: now, AccessTime: now, ChangeTime: now, Size: uint64(n), Content: append([]repository.ID{}, ids...),
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Links: 1,
	}
	node.User, node.Group = names.user(node.UID), names.group(node.GID)
	tree := repository.NewTreeBuilder()
	var root repository.ID
	parts := components(s.name)
	for i := len(parts) - 1; i >= 0; i-- {
		node.Name = parts[i]
		tree.Reset()
		if err := tree.Add(&node); err != nil {
			return backup.Saved{}, err
		}
		if root, err = session.SaveTree(tree); err != nil {
			return backup.Saved{}, fmt.Errorf("save %s: %w", s.name, err)
		}
		subtree := root
		node = repository.Node{
			Type: repository.TypeDir, Mode: os.ModeDir | 0o755, ModTime: now, AccessTime: now, ChangeTime: now,
			UID: node.UID, GID: node.GID, User: node.User, Group: node.Group, Subtree: &subtree,
		}
	}
	return backup.Saved{Tree: root, Summary: repository.Summary{FilesNew: 1, DirsNew: uint(len(parts) - 1), TotalFilesProcessed: 1, TotalBytesProcessed: uint64(n)}}, nil
}

// countingReader counts, and ends with its context.
type countingReader struct {
	ctx      context.Context
	r        io.Reader
	progress *backup.Progress
}

func (c *countingReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.progress.Done(0, int64(n))
	return n, err
}
