package repository

import (
	"context"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

// ripeMarks returns the marks whose condemned packs nobody can rely on any more.
func (p *pruner) ripeMarks(live []LockInfo) map[ID]*indexFile {
	x := p.r.index
	ripe := make(map[ID]*indexFile)
	for id, mark := range x.marks {
		waits := slices.ContainsFunc(live, func(l LockInfo) bool { return slices.Contains(mark.waitingFor, l.Session) })
		young := slices.ContainsFunc(mark.condemned, func(c condemnedPack) bool { return time.Since(c.since) < p.o.KeepCondemned })
		if !waits && !young && len(mark.packs) == 0 { // one with packs is another program's, with its own rules
			ripe[id] = mark
		}
	}
	return ripe
}

// findForlorn lists the packs that can be deleted whatever else happens in this run. A pack that was brought back is not
// among them: if it goes again, then by a new mark, which waits for the sessions of today.
func (p *pruner) findForlorn() {
	x := p.r.index
	unripe := make(map[ID]struct{})
	for id, mark := range x.marks {
		if _, ok := p.ripe[id]; ok {
			continue
		}
		for _, c := range mark.condemned {
			unripe[c.id] = struct{}{}
		}
	}
	for _, mark := range p.ripe {
		for _, c := range mark.condemned {
			if _, waits := unripe[c.id]; !waits && !x.hasPack(c.id) {
				p.forlorn = append(p.forlorn, c)
			}
		}
	}
}

// sweep deletes the packs that were condemned just now and that nobody can rely on, and those of ripe marks.
func (p *pruner) sweep(ctx context.Context, condemned []condemnedPack) error {
	for _, c := range condemned {
		if err := p.deletePack(ctx, c.id, c.bytes); err != nil {
			return err
		}
	}
	for _, c := range p.forlorn {
		if err := p.deletePack(ctx, c.id, c.bytes); err != nil {
			return err
		}
	}
	for id := range p.ripe {
		if err := p.removeFile(ctx, store.Index, id); err != nil {
			return err
		}
		p.r.index.forgetMark(id)
	}
	return nil
}

func (p *pruner) deletePack(ctx context.Context, id ID, bytes int64) error {
	if err := p.removeFile(ctx, store.Pack, id); err != nil {
		return err
	}
	if _, there := p.sizes[id]; there {
		p.result.DeletedPacks++
		p.result.DeletedBytes += bytes
	}
	return nil
}

func (x *masterIndex) hasPack(id ID) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, ok := x.table.names[id]
	return ok
}

func (x *masterIndex) forgetMark(id ID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range x.marks[id].condemned {
		delete(x.condemned, c.id)
	}
	delete(x.marks, id)
	delete(x.files, id)
}
