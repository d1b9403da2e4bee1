package files

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files/scan"
)

var errNotVerified = errors.New("verify: what is on the disk is not what the snapshot has")

// verify reads every restored file again and compares it with the snapshot.
func (r *restore) verify(root repository.ID) error {
	w := walker{r: r, enter: func(*restoreDir) bool { return true }, window: &window{}}
	flush := func() error {
		files := w.window.files
		w.window = &window{}
		r.each(len(files), func(i int, c *comparer) {
			if err := r.verifyFile(files[i], c); err != nil {
				r.missing(files[i].path(), err)
				return
			}
			r.counts.verified.Add(1)
		})
		return context.Cause(r.ctx)
	}
	w.visit = func(d *restoreDir, n *repository.Node) error {
		if n.Type != repository.TypeFile {
			return nil
		}
		w.window.files = append(w.window.files, &restoreFile{dir: d, node: n, fd: -1})
		if len(w.window.files) < windowBlobs {
			return nil
		}
		return flush()
	}
	if err := w.dir(r.top(), root); err != nil {
		return err
	}
	return flush()
}

func (r *restore) verifyFile(f *restoreFile, c *comparer) error {
	dir, err := r.dirs.acquire(f.dir)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer r.dirs.release(f.dir)
	fd, err := openBeneath(dir, f.node.Name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer unix.Close(fd)
	var s scan.Stat
	if err := scan.FD(fd, &s); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if r.keeps(f.node, s.Mtime.Time()) && !s.Mtime.Time().Equal(f.node.ModTime) {
		return nil // it was left alone
	}
	if s.Size != int64(f.node.Size) {
		return fmt.Errorf("%w: %d bytes instead of %d", errNotVerified, s.Size, f.node.Size)
	}
	at := int64(0)
	for _, id := range f.node.Content {
		size, _, err := r.repo.BlobSize(r.ctx, repository.BlobHandle{ID: id, Kind: repository.DataBlob})
		if err != nil {
			return err
		}
		if !c.equal(fd, at, int64(size), id) {
			return fmt.Errorf("%w: bytes %d to %d differ", errNotVerified, at, at+int64(size))
		}
		at += int64(size)
	}
	return nil
}
