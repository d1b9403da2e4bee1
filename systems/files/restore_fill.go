package files

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files/scan"
)

// piece is where a planned blob goes.
type piece struct {
	file *restoreFile
	at   int64
}

// fill restores the content of a window of files: first it looks what is there already, then it reads each pack once.
func (r *restore) fill(w *window) error {
	wanted := make([][]wantedBlob, len(w.files))
	var blobs []repository.BlobHandle
	var pieces []piece
	r.each(len(w.files), func(i int, c *comparer) {
		wanted[i] = r.prepare(w.files[i], c)
	})
	if err := context.Cause(r.ctx); err != nil {
		return err
	}
	for i, f := range w.files {
		for _, p := range wanted[i] {
			blobs = append(blobs, repository.BlobHandle{ID: f.node.Content[p.index], Kind: repository.DataBlob})
			pieces = append(pieces, piece{f, p.at})
		}
	}
	reads, err := r.repo.PlanRead(r.ctx, blobs)
	if err != nil {
		return err
	}
	r.each(len(reads), func(i int, _ *comparer) { r.readPack(reads[i], pieces) })
	return context.Cause(r.ctx)
}

// each calls do(0) to do(n-1) by the workers.
func (r *restore) each(n int, do func(i int, c *comparer)) {
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(n, r.o.Workers) {
		wg.Go(func() {
			var c comparer
			for i := range next {
				do(i, &c)
			}
		})
	}
feed:
	for i := range n {
		select {
		case next <- i:
		case <-r.ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
}

// readPack writes the blobs of one pack to where they belong. What could not be read breaks its files.
func (r *restore) readPack(p repository.PackRead, pieces []piece) {
	done := 0
	err := r.repo.ReadPack(r.ctx, p, func(b repository.PlannedBlob, data []byte) error {
		done++
		to := pieces[b.Index]
		r.put(to.file, to.at, data)
		return context.Cause(r.ctx)
	})
	if err == nil || r.ctx.Err() != nil {
		return
	}
	if done < len(p.Blobs) {
		r.readSingly(p.Blobs[done:], pieces)
	}
}

// readSingly tries each blob by itself after a pack could not be read to its end: one bad blob costs one file.
func (r *restore) readSingly(blobs []repository.PlannedBlob, pieces []piece) {
	var buf []byte
	for _, b := range blobs {
		to := pieces[b.Index]
		data, err := r.repo.LoadBlob(r.ctx, b.Handle, buf)
		if r.ctx.Err() != nil {
			return
		}
		if err != nil {
			r.breakFile(to.file, err)
			data = nil
		} else {
			buf = data
		}
		r.put(to.file, to.at, data)
	}
}

// wantedBlob is a blob of a file that has to be written.
type wantedBlob struct {
	index int
	at    int64
}

// prepare decides which blobs of a file are needed. A file that needs none is concluded.
func (r *restore) prepare(f *restoreFile, c *comparer) []wantedBlob {
	keep, err := r.meet(f)
	if err != nil {
		r.breakFile(f, err)
		return nil
	}
	if keep {
		r.planFile(f, Kept, 0)
		r.o.Progress.Done(1, int64(f.node.Size))
		return nil
	}
	wanted, err := r.wanted(f, c)
	if err != nil {
		r.breakFile(f, err)
		return nil
	}
	f.left.Store(int32(len(wanted)))
	if len(wanted) == 0 {
		r.conclude(f)
	}
	return wanted
}

// meet looks at what is in the file's place: nothing, something to be left alone, or a regular file that can be
// changed in place (then f.there is set).
func (r *restore) meet(f *restoreFile) (keep bool, err error) {
	if f.dir.fresh {
		return false, nil // we made the directory: it was empty
	}
	dir, err := r.dirs.acquire(f.dir)
	if err != nil {
		return false, err
	}
	defer r.dirs.release(f.dir)
	var st unix.Stat_t
	if err := fstatat(dir, f.node.Name, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return false, nil
		}
		return false, err
	}
	mtime := scan.Time{Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)}.Time()
	if r.keeps(f.node, mtime) {
		return true, nil
	}
	// A file with several links is replaced: its other names, which may be anywhere, must not change with it.
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1 {
		return false, nil
	}
	fd, err := openBeneath(dir, f.node.Name, unix.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, nil // a program that runs, or a file we may not write: it is replaced, too
	}
	if st.Size != int64(f.node.Size) {
		if err := unix.Ftruncate(fd, int64(f.node.Size)); err != nil {
			unix.Close(fd)
			return false, err
		}
	}
	f.there, f.fd = true, fd
	f.alike = st.Size == int64(f.node.Size) && mtime.Equal(f.node.ModTime)
	r.openNow.Add(1)
	return false, nil
}

// wanted lists the blobs that the file lacks.
func (r *restore) wanted(f *restoreFile, c *comparer) (wanted []wantedBlob, err error) {
	content := f.node.Content
	if f.there && r.o.Overwrite == OverwriteIfChanged && f.alike {
		return nil, nil
	}
	at := int64(0)
	for i, id := range content {
		size, ok, err := r.repo.BlobSize(r.ctx, repository.BlobHandle{ID: id, Kind: repository.DataBlob})
		if err == nil && !ok {
			err = fmt.Errorf("data %s: %w", id.Short(), repository.ErrNoBlob)
		}
		if err != nil {
			return nil, err
		}
		if !f.there || !c.equal(f.fd, at, int64(size), id) {
			wanted = append(wanted, wantedBlob{i, at})
		}
		at += int64(size)
	}
	if at != int64(f.node.Size) {
		return nil, fmt.Errorf("its blobs have %d bytes, and it should have %d", at, f.node.Size)
	}
	return wanted, nil
}

// comparer compares what is on the disk with blobs.
type comparer struct{ buf []byte }

// equal reports whether the file has the blob at an offset.
func (c *comparer) equal(fd int, at, size int64, id repository.ID) bool {
	if int64(cap(c.buf)) < size {
		c.buf = make([]byte, max(size, repository.MaxChunkBytes))
	}
	p := c.buf[:size]
	for n := 0; n < len(p); {
		m, err := pread(fd, p[n:], at+int64(n))
		if err != nil || m == 0 {
			return false
		}
		n += m
	}
	return sha256.Sum256(p) == id
}
