package sqlite

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/stream"
)

// blockBytes is how a base is cut: at multiples, because pages are changed in place.
const blockBytes = 64 << 10

// Base is the database as it was at one moment, as a backup.Source: one file that SQLite opens. While it is there, the
// write-ahead log grows; Close ends that.
type Base struct {
	tracker  *Tracker
	image    *image
	position stream.Position
	time     time.Time
	closed   bool
}

// Base captures what there is, and keeps that moment.
func (t *Tracker) Base(ctx context.Context) (*Base, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.capture(ctx); err != nil {
		return nil, fmt.Errorf("base of %s: %w", t.path, err)
	}
	b := &Base{tracker: t, image: t.image(), position: t.position, time: t.lastStamp}
	if b.time.IsZero() {
		b.time = t.stamp()
	}
	t.bases++
	return b, nil
}

// Close lets the write-ahead log go on.
func (b *Base) Close() {
	t := b.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	if !b.closed {
		t.bases--
		b.closed = true
	}
}

// Tag ties the snapshot of the base to the log.
func (b *Base) Tag() stream.Tag {
	return stream.Tag{
		Kind: stream.Base, Database: b.tracker.log.Database(), Line: b.tracker.Line().ID(),
		From: b.position, To: b.position, Time: b.time,
	}
}

// Paths are those of the database.
func (b *Base) Paths() []string {
	if path, err := filepath.Abs(b.tracker.path); err == nil {
		return []string{path}
	}
	return []string{b.tracker.path}
}

// Save stores the file, under its own path.
func (b *Base) Save(ctx context.Context, t backup.Target) (backup.Saved, error) {
	session := t.Writer.Session()
	defer session.Close()
	path := b.Paths()[0]
	t.Progress.At(&path)
	t.Progress.Expect(1, int64(b.image.pages)*int64(b.image.bytes))
	ids, n, err := session.SaveFixed(&counted{b.image.reader(ctx), t.Progress}, max(blockBytes, b.image.bytes), nil)
	if err != nil {
		return backup.Saved{}, fmt.Errorf("save %s: %w", path, err)
	}
	if b.time.IsZero() {
		return backup.Saved{}, fmt.Errorf("save %s: it has no time", path)
	}
	t.Progress.Done(1, 0)
	node, err := b.node(path, uint64(n), ids)
	if err != nil {
		return backup.Saved{}, err
	}
	tree, err := saveUnder(session, filepath.Dir(path), node)
	if err != nil {
		return backup.Saved{}, err
	}
	// The log up to the base must be there before the base is.
	if err := b.tracker.writer.Flush(ctx); err != nil {
		return backup.Saved{}, err
	}
	return backup.Saved{Tree: tree, Summary: repository.Summary{
		FilesChanged: 1, TotalFilesProcessed: 1, TotalBytesProcessed: uint64(n),
	}}, nil
}

type counted struct {
	r interface{ Read([]byte) (int, error) }
	p *backup.Progress
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.p.Done(0, int64(n))
	return n, err
}

// node describes the file.
func (b *Base) node(path string, size uint64, content []repository.ID) (*repository.Node, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	n := &repository.Node{
		Name: filepath.Base(path), Type: repository.TypeFile, Mode: info.Mode().Perm(), Size: size, Content: content, Links: 1,
		ModTime: b.time, AccessTime: b.time, ChangeTime: b.time,
	}
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err == nil {
		n.UID, n.GID, n.Inode = s.Uid, s.Gid, s.Ino
	}
	return n, nil
}

// saveUnder puts a node into the folders of dir, as restic would have it.
func saveUnder(s *repository.Session, dir string, node *repository.Node) (repository.ID, error) {
	names := strings.FieldsFunc(dir, func(r rune) bool { return r == '/' })
	for i := len(names); ; i-- {
		b := repository.NewTreeBuilder()
		if err := b.Add(node); err != nil {
			return repository.ID{}, err
		}
		id, err := s.SaveTree(b)
		if err != nil || i == 0 {
			return id, err
		}
		node = &repository.Node{
			Name: names[i-1], Type: repository.TypeDir, Mode: fs.ModeDir | 0o700, Subtree: &id, UID: node.UID, GID: node.GID,
			ModTime: node.ModTime, AccessTime: node.AccessTime, ChangeTime: node.ChangeTime,
		}
	}
}
