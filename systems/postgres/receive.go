package postgres

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/postgres/replication"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// receiver takes the archives of a base backup apart. One goroutine reads what the server sends, and cuts files into blocks;
// the workers store the blocks, each with its own session. No more than a few blocks are in memory.
type receiver struct {
	ctx     context.Context
	config  Config
	target  backup.Target
	session *repository.Session // of trees and small files of our own

	root     *entry // of the snapshot's directory of this cluster
	manifest []byte
	files    int64
	dirs     int64
	bytes    int64

	jobs    chan block
	free    chan []byte
	workers sync.WaitGroup
	failed  context.CancelCauseFunc
}

// block is a part of a file on its way to the store.
type block struct {
	data []byte
	id   *repository.ID // where its name goes
}

// entry is a file, a link or a directory of the snapshot.
type entry struct {
	node     repository.Node
	children map[string]*entry
	sum      uint32 // CRC-32C of a file
}

func newReceiver(ctx context.Context, c Config, t backup.Target) *receiver {
	return &receiver{config: c, target: t, ctx: ctx, root: newDir(time.Now()), session: t.Writer.Session()}
}

func newDir(t time.Time) *entry {
	return &entry{node: repository.Node{Type: repository.TypeDir, Mode: dirMode, ModTime: t, AccessTime: t, ChangeTime: t}, children: map[string]*entry{}}
}

// receive takes the whole backup.
func (r *receiver) receive(conn *replication.Conn, base *Base) (err error) {
	ctx, cancel := context.WithCancelCause(r.ctx)
	defer cancel(nil)
	r.failed = cancel
	b, err := conn.StartBackup(ctx, replication.BackupOptions{Label: "trivet " + r.config.Name, Spread: r.config.Spread, WithWAL: !r.config.NoWAL, RateBytes: r.config.RateBytes})
	if err != nil {
		return err
	}
	base.Start, base.Timeline, base.Tablespaces = b.Start, b.Timeline, b.Tablespaces
	r.startWorkers()
	err = r.archives(ctx, b)
	close(r.jobs)
	r.workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil {
		return err
	}
	end, timeline, err := b.End()
	if err != nil && !errors.Is(err, replication.ErrCorrupt) {
		return err
	}
	if timeline != base.Timeline {
		return fmt.Errorf("the server was promoted while it was read: from timeline %d to %d", base.Timeline, timeline)
	}
	base.End, base.Bytes = end, r.bytes
	if base.History, err = r.history(base); err != nil {
		return err
	}
	return r.verify()
}

// history fetches the history of the backup's timeline, by a connection of its own: the other has just ended a backup.
func (r *receiver) history(base *Base) (string, error) {
	if base.Timeline <= 1 {
		return "", nil
	}
	conn, err := replication.Connect(r.ctx, r.config.Conninfo, replication.Options{})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	text, err := conn.History(r.ctx, base.Timeline)
	return string(text), err
}

func (r *receiver) startWorkers() {
	n := 2*r.config.Workers + 2
	r.jobs, r.free = make(chan block, n), make(chan []byte, n)
	for range n {
		r.free <- make([]byte, r.config.BlockBytes)
	}
	for range r.config.Workers {
		r.workers.Go(r.work)
	}
}

func (r *receiver) work() {
	session := r.target.Writer.Session()
	defer session.Close()
	for j := range r.jobs {
		id, _, err := session.SaveBlob(repository.DataBlob, j.data)
		if err != nil {
			r.failed(fmt.Errorf("store: %w", err))
		}
		*j.id = id
		r.target.Progress.Done(0, int64(len(j.data)))
		r.free <- j.data[:cap(j.data)]
	}
}

func (r *receiver) archives(ctx context.Context, b *replication.Backup) error {
	for {
		a, err := b.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && a.Manifest {
			r.manifest, err = io.ReadAll(b)
		} else if err == nil {
			err = r.archive(ctx, a.Tablespace, b)
		}
		if err != nil {
			return err
		}
	}
}

// archive takes one tar apart.
func (r *receiver) archive(ctx context.Context, space *replication.Tablespace, rd io.Reader) error {
	place := dataDir
	if space != nil {
		place = path.Join(tablespacesDir, strconv.FormatUint(uint64(space.OID), 10))
	}
	r.directory(place)
	t := tar.NewReader(rd)
	for ctx.Err() == nil {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = r.entry(ctx, path.Join(place, h.Name), h, t)
		}
		if err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// entry takes one member of an archive.
func (r *receiver) entry(ctx context.Context, name string, h *tar.Header, rd io.Reader) error {
	if strings.Contains("/"+h.Name+"/", "/../") || strings.HasPrefix(h.Name, "/") {
		return fmt.Errorf("the server sent a file named %q", h.Name)
	}
	e := r.place(name)
	mode := h.FileInfo().Mode()
	n := repository.Node{
		Name: path.Base(name), Mode: mode, ModTime: h.ModTime, AccessTime: h.ModTime, ChangeTime: h.ModTime,
		UID: uint32(h.Uid), GID: uint32(h.Gid), User: h.Uname, Group: h.Gname, Links: 1,
	}
	switch h.Typeflag {
	case tar.TypeDir:
		n.Type, n.Links = repository.TypeDir, 0
		if e.children == nil {
			e.children = map[string]*entry{}
		}
	case tar.TypeSymlink:
		n.Type, n.LinkTarget = repository.TypeSymlink, h.Linkname
		if path.Dir(name) == dataDir+"/pg_tblspc" {
			n.LinkTarget = "../../" + tablespacesDir + "/" + path.Base(name)
		}
	case tar.TypeReg:
		n.Type, n.Size = repository.TypeFile, uint64(h.Size)
	default:
		return fmt.Errorf("the server sent %q of kind %q", h.Name, h.Typeflag)
	}
	e.node = n
	if n.Type == repository.TypeFile {
		return r.content(ctx, e, h.Size, rd)
	}
	return nil
}

// content cuts a file into blocks.
func (r *receiver) content(ctx context.Context, e *entry, size int64, rd io.Reader) error {
	e.node.Content = make([]repository.ID, (size+int64(r.config.BlockBytes)-1)/int64(r.config.BlockBytes))
	for i := range e.node.Content {
		var buf []byte
		select {
		case buf = <-r.free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		buf = buf[:min(int64(r.config.BlockBytes), size-int64(i)*int64(r.config.BlockBytes))]
		if _, err := io.ReadFull(rd, buf); err != nil {
			return err
		}
		e.sum = crc32.Update(e.sum, castagnoli, buf)
		r.jobs <- block{buf, &e.node.Content[i]}
	}
	r.files++
	r.bytes += size
	r.target.Progress.Done(1, 0)
	return nil
}

// place finds the entry of a path, and makes it, and the directories above, where they are missing.
func (r *receiver) place(name string) *entry {
	parent := r.directory(path.Dir(name))
	base := path.Base(name)
	e := parent.children[base]
	if e == nil {
		e = &entry{}
		parent.children[base] = e
	}
	return e
}

func (r *receiver) directory(name string) *entry {
	if name == "." {
		return r.root
	}
	parent := r.directory(path.Dir(name))
	base := path.Base(name)
	e := parent.children[base]
	if e == nil {
		e = newDir(time.Now())
		e.node.Name = base
		parent.children[base] = e
	}
	if e.children == nil {
		e.children = map[string]*entry{}
	}
	return e
}

// find is the entry of a path; nil if there is none.
func (r *receiver) find(name string) *entry {
	e := r.root
	for part := range strings.SplitSeq(name, "/") {
		if e = e.children[part]; e == nil {
			return nil
		}
	}
	return e
}

// own stores a small file of ours.
func (r *receiver) own(name string, text []byte, mode uint32) error {
	ids, n, err := r.session.SaveReader(bytes.NewReader(text), nil)
	if err != nil {
		return err
	}
	now := time.Now()
	e := r.place(name)
	like := r.find(dataDir).node
	e.node = repository.Node{
		Name: path.Base(name), Type: repository.TypeFile, Mode: fsMode(mode), ModTime: now, AccessTime: now, ChangeTime: now, Size: uint64(n),
		Content: ids, UID: like.UID, GID: like.GID, User: like.User, Group: like.Group, Links: 1,
	}
	if e.node.Content == nil {
		e.node.Content = []repository.ID{}
	}
	return nil
}
