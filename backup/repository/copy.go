package repository

import (
	"context"
	"fmt"
	"runtime"
	"slices"
)

// CopyOptions say how to copy.
type CopyOptions struct {
	Writer WriterOptions
	// Done, if not nil, is called after each snapshot: with a zero ID if the destination has it already.
	Done func(src *Snapshot, copied ID)
}

// CopyStats counts what Copy did.
type CopyStats struct {
	Snapshots, Skipped int
	Blobs, Bytes       uint64 // of new blobs, before compression
}

// Copy copies snapshots, and what they need, into another repository: opened with one master key and sealed with the
// other. Blobs that the destination has are not read. Chunks stay as they were cut. A snapshot copied before is not copied again.
func Copy(ctx context.Context, dst, src *Repository, snapshots []*Snapshot, o CopyOptions) (CopyStats, error) {
	c := &copier{dst: dst, src: src, o: o}
	lock, err := src.Lock(ctx, Shared)
	if err != nil {
		return CopyStats{}, fmt.Errorf("copy: source: %w", err)
	}
	defer lock.Unlock()
	if err := c.run(lock.Context(), snapshots); err != nil {
		return c.stats, fmt.Errorf("copy: %w", err)
	}
	return c.stats, nil
}

type copier struct {
	dst, src *Repository
	o        CopyOptions
	stats    CopyStats
	there    map[ID][]*Snapshot // snapshots of the destination by the ID they stem from
}

func (c *copier) run(ctx context.Context, snapshots []*Snapshot) error {
	existing, err := c.dst.Snapshots(ctx)
	if err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	c.there = make(map[ID][]*Snapshot)
	for _, s := range existing {
		c.there[origin(s)] = append(c.there[origin(s)], s)
	}
	for _, s := range snapshots {
		if c.has(s) {
			c.stats.Skipped++
			c.done(s, ID{})
			continue
		}
		id, err := c.copySnapshot(ctx, s)
		if err != nil {
			return fmt.Errorf("snapshot %s: %w", s.id.Short(), err)
		}
		c.stats.Snapshots++
		c.done(s, id)
	}
	return nil
}

func (c *copier) done(s *Snapshot, id ID) {
	if c.o.Done != nil {
		c.o.Done(s, id)
	}
}

func origin(s *Snapshot) ID {
	if s.Original != nil {
		return *s.Original
	}
	return s.id
}

// has reports whether the destination holds a copy of s, or what s is a copy of.
func (c *copier) has(s *Snapshot) bool {
	return slices.ContainsFunc(c.there[origin(s)], func(d *Snapshot) bool {
		return d.Time.Equal(s.Time) && *d.Tree == *s.Tree && d.Hostname == s.Hostname && slices.Equal(d.Paths, s.Paths) &&
			slices.Equal(userTags(d.Tags), userTags(s.Tags))
	})
}

// userTags are the tags without those of the chain.
func userTags(tags []string) []string {
	return slices.DeleteFunc(slices.Clone(tags), IsChainTag)
}

func (c *copier) copySnapshot(ctx context.Context, s *Snapshot) (ID, error) {
	w, err := c.dst.NewWriter(ctx, c.o.Writer)
	if err != nil {
		return ID{}, fmt.Errorf("destination: %w", err)
	}
	defer w.Close()
	if err := c.copyBlobs(ctx, w, *s.Tree); err != nil {
		return ID{}, err
	}
	n := s.clone()
	from := origin(s)
	n.Original, n.Parent, n.Tags = &from, nil, userTags(s.Tags)
	id, err := w.SaveSnapshot(ctx, n)
	if err != nil {
		return ID{}, err
	}
	stats := w.Stats()
	c.stats.Blobs += stats.NewBlobs[DataBlob] + stats.NewBlobs[TreeBlob]
	c.stats.Bytes += stats.NewBytes[DataBlob] + stats.NewBytes[TreeBlob]
	return id, nil
}

// copyBlobs copies what is missing below root: the source's trees are walked, then its packs are read in order. A tree that the destination
// has says nothing about what is below it there (prune may be about to remove that), so all are walked.
func (c *copier) copyBlobs(ctx context.Context, w *Writer, root ID) error {
	missing, err := c.missing(ctx, w, root)
	if err != nil {
		return err
	}
	reads, err := c.src.PlanRead(ctx, missing)
	if err != nil {
		return err
	}
	sessions := make(chan *Session, runtime.GOMAXPROCS(0))
	for range cap(sessions) {
		sessions <- w.Session()
	}
	return eachParallelN(ctx, cap(sessions), reads, func(ctx context.Context, p PackRead) error {
		s := <-sessions
		defer func() { sessions <- s }()
		return c.src.ReadPack(ctx, p, func(b PlannedBlob, data []byte) error {
			_, _, err := s.SaveBlob(b.Handle.Kind, data)
			return err
		})
	})
}

func (c *copier) missing(ctx context.Context, w *Writer, root ID) ([]BlobHandle, error) {
	if err := c.src.index.ensure(ctx); err != nil {
		return nil, err
	}
	m := c.src.newUsedMarker(func(h BlobHandle, err error) error { return fmt.Errorf("%v: %w", h, err) })
	if err := m.run(ctx, []ID{root}); err != nil {
		return nil, err
	}
	var missing []BlobHandle
	for pos := range uint32(len(m.used) * 64) {
		if pos >= uint32(m.table.n) || !m.used.has(pos) {
			continue
		}
		e := m.table.at(pos)
		h := BlobHandle{e.id, e.kind()}
		has, err := w.Has(h)
		if err != nil {
			return nil, err
		}
		if !has {
			missing = append(missing, h)
		}
	}
	return missing, nil
}
