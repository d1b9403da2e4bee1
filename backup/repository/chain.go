package repository

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

// Every snapshot of ours carries a tag that names the snapshot before it: "chain:<number>:<first half of its ID>".
// An ID is the hash of sealed bytes, so the chain can't be forged without the key. A snapshot that is named but not there was
// removed; if RemoveSnapshots did it, a sealed record in the store says so.
//
// A tag is the one place that restic keeps when it changes a snapshot and that does not show in a restore.
// restic's own snapshots are no part of the chain.
const (
	chainPrefix = "chain:"
	chainNone   = "-" // the first of all
	linkBytes   = 16
)

// link is the content of a chain tag.
type link struct {
	number uint64
	before [linkBytes]byte // zero for the first
}

func (l link) tag() string {
	before := chainNone
	if l.before != [linkBytes]byte{} {
		before = hex.EncodeToString(l.before[:])
	}
	return chainPrefix + strconv.FormatUint(l.number, 10) + ":" + before
}

// chainLink returns the snapshot's link, if it has a valid one.
func (s *Snapshot) chainLink() (l link, ok bool) {
	for _, tag := range s.Tags {
		rest, is := strings.CutPrefix(tag, chainPrefix)
		number, before, both := strings.Cut(rest, ":")
		if !is || !both {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			continue
		}
		if before == chainNone {
			return link{number: n}, true
		}
		raw, err := hex.DecodeString(before)
		if err != nil || len(raw) != linkBytes {
			continue
		}
		return link{n, [linkBytes]byte(raw)}, true
	}
	return link{}, false
}

// IsChainTag reports whether a tag is kept by the repository itself and of no interest to people.
func IsChainTag(tag string) bool { return strings.HasPrefix(tag, chainPrefix) }

// chain ties s to the snapshot with the highest number.
func (r *Repository) chain(ctx context.Context, s *Snapshot) error {
	all, _, err := r.allSnapshots(ctx)
	if err != nil {
		return err
	}
	var last link
	var lastID ID
	for _, other := range all {
		if l, ok := other.chainLink(); ok && l.number >= last.number {
			last, lastID = l, other.id
		}
	}
	next := link{number: last.number + 1}
	copy(next.before[:], lastID[:])
	s.Tags = append(slices.DeleteFunc(slices.Clone(s.Tags), IsChainTag), next.tag())
	return nil
}

// removalRecord is stored, sealed, as trivet/removed/<hash>.
type removalRecord struct {
	Time    time.Time `json:"time"`
	Removed []removal `json:"removed"`
}

type removal struct {
	ID     ID     `json:"id"`
	Number uint64 `json:"number,omitempty"`
	Before string `json:"before,omitempty"`
}

const removedDir = "removed/"

// recordRemoval writes down that snapshots with a link are removed on purpose. A store that has no place for
// records does without: VerifyChain then reports the gaps as unexplained.
func (r *Repository) recordRemoval(ctx context.Context, snapshots []*Snapshot) error {
	record := removalRecord{Time: time.Now()}
	for _, s := range snapshots {
		if l, ok := s.chainLink(); ok {
			record.Removed = append(record.Removed, removal{s.id, l.number, hex.EncodeToString(l.before[:])})
		}
	}
	if len(record.Removed) == 0 {
		return nil
	}
	data, err := json.Marshal(record)
	if err != nil {
		return err
	}
	sealed := r.sealUnpacked(store.Record, data)
	err = r.store.Save(ctx, store.Handle{Kind: store.Record, Name: removedDir + Hash(sealed).String()}, sealed)
	if errors.Is(err, store.ErrUnsupported) {
		return nil
	}
	return err
}

// ChainGap is a snapshot that must have been there and is not, and that nobody wrote down to have removed.
type ChainGap struct {
	Missing string    // the first half of its ID, in hexadecimal
	Number  uint64    // its place in the chain; 0 if unknown
	By      ID        // the snapshot or the record that names it
	Before  time.Time // when that one was made: the missing one is older
}

// Error describes the gap.
func (g ChainGap) Error() string {
	return fmt.Sprintf("snapshot %s (number %d of the chain, before %s) is gone and no record says that it was removed",
		g.Missing[:min(8, len(g.Missing))], g.Number, g.Before.Format(time.RFC3339))
}

// ChainHead is the end of the chain. Kept elsewhere, it shows whether the newest snapshots were removed,
// which the chain itself can't.
type ChainHead struct {
	Number uint64 `json:"number"`
	ID     ID     `json:"id"`
}

// VerifyChain looks for snapshots that were removed by somebody else than RemoveSnapshots, and returns the end of the
// chain. known is a head from before; zero if there is none. Snapshots that stock restic forgot are reported, too.
func (r *Repository) VerifyChain(ctx context.Context, known ChainHead) ([]ChainGap, ChainHead, error) {
	all, _, err := r.allSnapshots(ctx)
	if err != nil {
		return nil, ChainHead{}, fmt.Errorf("verify chain: %w", err)
	}
	removed, err := r.removals(ctx)
	if err != nil {
		return nil, ChainHead{}, fmt.Errorf("verify chain: %w", err)
	}
	there := make(map[[linkBytes]byte]bool)
	for _, s := range all {
		there[half(s.id)] = true
		if s.Original != nil {
			there[half(*s.Original)] = true
		}
	}
	for _, x := range removed {
		there[half(x.ID)] = true
	}
	var gaps []ChainGap
	report := func(missing [linkBytes]byte, number uint64, by ID, at time.Time) {
		if missing == ([linkBytes]byte{}) || there[missing] {
			return
		}
		there[missing] = true // once
		gaps = append(gaps, ChainGap{hex.EncodeToString(missing[:]), number, by, at})
	}
	var head ChainHead
	for _, s := range all {
		l, ok := s.chainLink()
		if !ok {
			continue
		}
		if l.number >= head.Number {
			head = ChainHead{l.number, s.id}
		}
		report(l.before, l.number-1, s.id, s.Time)
	}
	for _, x := range removed {
		if raw, err := hex.DecodeString(x.Before); err == nil && len(raw) == linkBytes {
			report([linkBytes]byte(raw), x.Number-1, x.ID, x.at)
		}
	}
	if !known.ID.IsZero() {
		report(half(known.ID), known.Number, known.ID, time.Now())
	}
	return gaps, head, nil
}

func half(id ID) [linkBytes]byte { return [linkBytes]byte(id[:]) }

type datedRemoval struct {
	removal
	at time.Time
}

func (r *Repository) removals(ctx context.Context) ([]datedRemoval, error) {
	var names []string
	err := r.store.List(ctx, store.Record, removedDir, func(i store.Info) error {
		names = append(names, i.Name)
		return nil
	})
	if errors.Is(err, store.ErrUnsupported) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []datedRemoval
	for _, name := range names {
		sealed, err := store.ReadAll(ctx, r.store, store.Handle{Kind: store.Record, Name: name})
		if err != nil {
			return nil, err
		}
		data, err := r.openUnpacked(bytes.Clone(sealed))
		if err != nil {
			continue // not sealed with our key: it proves nothing
		}
		var record removalRecord
		if json.Unmarshal(data, &record) != nil {
			continue
		}
		for _, x := range record.Removed {
			all = append(all, datedRemoval{x, record.Time})
		}
	}
	return all, nil
}
