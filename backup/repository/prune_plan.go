package repository

import (
	"cmp"
	"errors"
	"slices"
)

// packUse is what the plan weighs of a pack.
type packUse struct {
	id                ID
	entries           []packEntry
	needed            []packEntry
	neededBytes, size int64
	mixed, old        bool
}

// plan chooses, for each blob that is stored several times, the copy to keep; then the packs that go.
func (p *pruner) plan() error {
	order := p.table.byPack()
	p.chooseCopies(order)
	p.remove, p.orphans = make(map[ID]struct{}), make(map[ID]struct{})
	var partly []packUse
	var small [2][]packUse
	var missing error
	var total int64
	indexed := make(map[ID]struct{})
	i := 0
	forEachPack(p.table, order, func(pack ID, entries []packEntry) {
		u := p.use(pack, entries, order[i:i+len(entries)])
		i += len(entries)
		indexed[pack] = struct{}{}
		p.count(u)
		total += u.size
		_, there := p.sizes[pack]
		switch {
		case !there && len(u.needed) > 0:
			missing = errors.Join(missing, Problem{Kind: PackMissing, Pack: pack})
		case len(u.needed) == 0:
			p.condemnPack(pack)
		case len(u.needed) < len(u.entries), u.mixed, u.old && p.o.RepackUncompressed:
			u.entries = nil
			partly = append(partly, u)
		case u.size < int64(p.r.options.PackBytes)/4:
			u.entries = nil
			small[u.needed[0].kind] = append(small[u.needed[0].kind], u)
		}
	})
	if missing != nil {
		return missing
	}
	p.chooseRepack(partly, total)
	for _, s := range small {
		if len(s) >= smallPacks {
			for _, u := range s {
				p.addRepack(u)
			}
		}
	}
	for pack := range p.sizes {
		_, known := indexed[pack]
		_, condemned := p.r.index.condemned[pack]
		if !known && !condemned {
			p.orphans[pack] = struct{}{}
		}
	}
	p.result.UnindexedPacks = len(p.orphans)
	p.result.Packs = len(indexed)
	return nil
}

func (p *pruner) condemnPack(pack ID) {
	p.remove[pack] = struct{}{}
	p.result.CondemnedPacks++
	p.result.CondemnedBytes += p.sizes[pack]
}

// chooseCopies moves the mark of each needed blob to the copy in the pack that is needed most.
func (p *pruner) chooseCopies(order []uint32) {
	needed := make([]int64, len(p.table.packs)) // bytes per pack, all copies counted
	copies := false
	for _, pos := range order {
		e := p.table.at(pos)
		h := BlobHandle{e.id, e.kind()}
		first, _ := p.table.position(&h)
		if p.keep.has(first) {
			needed[e.packPos()] += int64(e.length)
		}
		copies = copies || first != pos
	}
	if !copies {
		return
	}
	chosen := newBitset(p.table.n)
	for _, pos := range order {
		e := p.table.at(pos)
		h := BlobHandle{e.id, e.kind()}
		if first, _ := p.table.position(&h); first != pos || !p.keep.has(first) {
			continue
		}
		best := pos
		for other, step, ok := p.table.probe(&h, 0); ok; other, step, ok = p.table.probe(&h, step) {
			if p.betterCopy(other, best, needed) {
				best = other
			}
		}
		chosen.set(best)
	}
	p.keep = chosen
}

// betterCopy reports whether the copy at a is the one to keep rather than that at b: its pack is there, and more of it is needed.
func (p *pruner) betterCopy(a, b uint32, needed []int64) bool {
	x, y := p.table.at(a).packPos(), p.table.at(b).packPos()
	_, hasX := p.sizes[p.table.packs[x]]
	_, hasY := p.sizes[p.table.packs[y]]
	if hasX != hasY {
		return hasX
	}
	return needed[x] > needed[y]
}

func (p *pruner) use(pack ID, entries []packEntry, positions []uint32) packUse {
	u := packUse{id: pack, entries: entries, size: int64(headerBytes(entries))}
	for k, e := range entries {
		u.size += int64(e.length)
		u.mixed = u.mixed || e.kind != entries[0].kind
		u.old = u.old || (e.plain == 0 && p.r.config.Version >= 2 && e.length > sealedOverhead)
		if p.keep.has(positions[k]) {
			u.needed = append(u.needed, e)
			u.neededBytes += int64(e.length)
		}
	}
	return u
}

func (p *pruner) count(u packUse) {
	p.result.NeededBlobs += len(u.needed)
	p.result.UnneededBlobs += len(u.entries) - len(u.needed)
	p.result.NeededBytes += u.neededBytes
	p.result.UnneededBytes += u.size - u.neededBytes - int64(headerBytes(u.entries))
}

// chooseRepack copies from the packs with the most waste until what stays unused is within the bound.
func (p *pruner) chooseRepack(partly []packUse, total int64) {
	waste := func(u packUse) int64 { return u.size - u.neededBytes }
	slices.SortFunc(partly, func(a, b packUse) int {
		return cmp.Compare(float64(waste(b))/float64(b.size), float64(waste(a))/float64(a.size))
	})
	var unused int64
	for _, u := range partly {
		unused += waste(u)
	}
	allowed := int64(max(p.o.MaxUnusedPercent, 0) / 100 * float64(total))
	for _, u := range partly {
		if unused <= allowed && !u.mixed && !(u.old && p.o.RepackUncompressed) {
			continue
		}
		if p.addRepack(u) {
			unused -= waste(u)
		}
	}
}

func (p *pruner) addRepack(u packUse) bool {
	if p.o.MaxRepackBytes > 0 && p.result.RepackedBytes+u.neededBytes > p.o.MaxRepackBytes {
		return false
	}
	p.repack = append(p.repack, packToRead{u.id, u.needed})
	p.result.RepackedPacks++
	p.result.RepackedBytes += u.neededBytes
	p.condemnPack(u.id)
	return true
}
